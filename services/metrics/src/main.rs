use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run(|| metrics::run(metrics::Sources::default()))
}
