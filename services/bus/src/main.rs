use std::process::ExitCode;

fn main() -> ExitCode {
    let config = bus::Config::from_arguments(std::env::args_os().skip(1));
    runtime::run(|| bus::run(&config))
}
