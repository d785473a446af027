use std::path::Path;
use std::process::ExitCode;

use provision::{Config, RunError, reader};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(argument), Some(device)) if argument == reader::CHILD_ARGUMENT => {
            reader::child(Path::new(&device))
        }
        _ => runtime::run(|| {
            let shutdown = runtime::shutdown().map_err(RunError::Wait)?;
            provision::run(&Config::default(), &shutdown)
        }),
    }
}
