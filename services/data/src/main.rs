use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run(|| data::run(&data::Config::default()))
}
