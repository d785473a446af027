use std::process::ExitCode;

fn main() -> ExitCode {
    let config = channel::Config::from_arguments(std::env::args().skip(1));
    runtime::run(|| channel::run(&config))
}
