//! What each command does.

mod apply;
mod boot;
mod config;
mod diag;
mod edit;
mod events;
#[cfg(test)]
mod golden;
mod service;
mod status;
mod store;

use crate::Error;
use crate::bus::Bus;
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
        Command::Config(config) => config::run(global, config, output),
        Command::Store(store) => store::run(global, store, output),
        Command::Events(events) => events::run(&Bus::open(&global.bus)?, events, output),
        Command::Diag { file } => diag::run(&Bus::open(&global.bus)?, file, output),
    }
}
