use std::process::ExitCode;

fn main() -> ExitCode {
    let config = admin::Config::from_arguments(std::env::args().skip(1));
    runtime::run(|| admin::run(&config))
}
