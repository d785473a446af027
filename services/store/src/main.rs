use std::process::ExitCode;

use store::Config;

const HELP: &str = "\
Remembers what the appliance must not forget. PID 1 starts it; it takes no arguments.

  STATE_DIRECTORY   where its file is (/data/store)
  RUNTIME_DIRECTORY where its socket is (/run/x0/store)
  X0_LOG            error, warn, info, debug or trace

It answers org.x0tta6bl4.Store (Varlink) on /run/x0/store/store.sock.
";

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        None => runtime::run(|| store::run(&Config::default())),
        Some(argument) if argument == "--help" || argument == "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(argument) => {
            eprintln!("unknown argument {}; see --help", argument.display());
            ExitCode::from(2)
        }
    }
}
