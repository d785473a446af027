//! The program `/init`.

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Err(error) = init::run(std::env::args().skip(1)) else {
        return ExitCode::SUCCESS;
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    eprintln!("init: {text}");
    if std::process::id() == 1 {
        // The kernel panics when PID 1 ends; its log, which pstore keeps, says why.
        std::fs::write("/dev/kmsg", format!("<2>x0: PID 1 cannot begin: {text}\n")).ok();
    }
    ExitCode::FAILURE
}
