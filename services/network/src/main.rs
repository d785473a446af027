use std::process::ExitCode;

use network::config::{self, Command};
use network::service::StartError;
use network::source;
use runtime::Chain;

fn main() -> ExitCode {
    match Command::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => runtime::run(|| {
            let shutdown = runtime::shutdown().map_err(StartError::Signals)?;
            network::run(options, shutdown)
        }),
        Ok(Command::Check(file)) => match source::read(&file) {
            Ok(_) => {
                println!("{} is good", file.display());
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        Ok(Command::Show(options)) => match network::service::show(&source::load(&options)) {
            Ok(plan) => {
                println!("{plan}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        Ok(Command::Help) => {
            print!("{}", config::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{}", Chain(error));
    ExitCode::FAILURE
}
