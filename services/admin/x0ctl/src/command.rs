//! What each command does.

mod boot;
mod service;
mod status;

use crate::Error;
use crate::cli::{Cli, Command};
use crate::generate;
use crate::link::Link;
use crate::output::Output;

/// Runs one command.
pub(crate) fn run(cli: &Cli, command: &Command, output: &mut Output<'_>) -> Result<(), Error> {
    let global = &cli.global;
    match command {
        Command::Status => status::status(&mut Link::open(global)?, output),
        Command::Service(service) => service::run(&mut Link::open(global)?, service, output),
        Command::Boot(boot) => boot::run(global, boot, output),
        Command::Power(power) => boot::power(global, *power, output),
        Command::Generate { folder } => generate::write_to(folder),
        _ => Err(Error::Other("not there yet".into())),
    }
}
