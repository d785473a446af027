//! `x0ctl`: the command line of the appliance.
//!
//! Responsible for: commands, their help, completions and man pages; tables and JSON; the questions
//! before what can't be undone; the prompt that is the login shell.
//! Not responsible for: deciding who may do what, or doing it (`admin`, PID 1 and the store do).
//! Talks to: `admin` over the bus; PID 1's own socket when the bus is down.
#![forbid(unsafe_code)]

mod ask;
mod bus;
pub mod cli;
mod command;
mod error;
pub mod generate;
mod job;
mod link;
mod output;
mod prompt;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use runtime::Chain;

use crate::cli::Cli;
pub use crate::error::Error;
use crate::output::Output;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Some(command) => {
            let mut stdout = io::stdout().lock();
            let mut output = Output::new(&mut stdout, cli.global.json, output::colours_wanted());
            command::run(&cli, command, &mut output)
        }
        None => prompt::run(&cli),
    };
    match result {
        // Whoever reads the answer has seen enough, as in `x0ctl events | head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("x0ctl: {}", Chain(&error));
            error.exit_code()
        }
    }
}
