//! The one definition of all commands: the parser, `--help`, completions, man pages and the
//! prompt's completion come from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where the tables of `--help` and the man pages say what a status means.
pub const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  failed
  2  the command line is wrong
  3  refused: a policy forbids it, and the message names the policy
  4  the bus, PID 1 or the store does not answer
  5  the configuration has mistakes, or it was not confirmed
  6  there is no such service, generation or file";

/// Administers this router.
///
/// Without a command, on a terminal, x0ctl asks for commands until Ctrl-D.
#[derive(Clone, Debug, Parser)]
#[command(name = "x0ctl", version, after_help = EXIT_STATUS, after_long_help = EXIT_STATUS)]
#[command(disable_help_subcommand = true, subcommand_required = false)]
pub struct Cli {
    /// Options for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options for every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the bus is, e.g. unix:path=/run/router/bus
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "DBUS_SYSTEM_BUS_ADDRESS"
    )]
    #[arg(
        default_value = "unix:path=/run/dbus/system_bus_socket",
        hide_env_values = true
    )]
    pub bus: String,
    /// PID 1's socket, asked when the bus is down
    #[arg(long, global = true, value_name = "SOCKET", default_value = api::SOCKET)]
    pub init: PathBuf,
}

/// Commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show how the router is
    Status,
    /// Look at services, start and stop them
    #[command(subcommand)]
    Service(Service),
    /// Look at the boot, restart parts of the system
    #[command(subcommand)]
    Boot(Boot),
    /// Look at the configuration and change it
    #[command(subcommand)]
    Config(Config),
    /// Back up, restore and check what the router remembers
    #[command(subcommand)]
    Store(Store),
    /// Show the event log
    Events(Events),
    /// Collect everything that a maintainer needs, and no secret, in one archive
    Diag {
        /// Where to write the .tar.gz; `-` is standard output
        file: PathBuf,
    },
    /// Reboot or switch off
    #[command(subcommand)]
    Power(Power),
    /// Write completions and man pages below a folder
    #[command(hide = true)]
    Generate {
        /// The root of the tree, below which usr/share lies
        folder: PathBuf,
    },
}

/// `service`.
#[derive(Clone, Debug, Subcommand)]
pub enum Service {
    /// List all services
    List,
    /// Show one service
    Show(Name),
    /// Start a service and what it needs, also one that was given up
    Start(Name),
    /// Stop a service until it is started, or the next boot
    Stop(Name),
    /// Stop a service and start it again
    Restart(Name),
    /// Show a service's log
    Logs {
        /// The service
        name: String,
        /// Go on with new lines, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// How many lines at most
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: u32,
    },
    /// Show in words what a service may do, and what it was denied
    Explain(Name),
}

/// A service.
#[derive(Args, Clone, Debug)]
pub struct Name {
    /// The service
    pub name: String,
}

/// `boot`.
#[derive(Clone, Debug, Subcommand)]
pub enum Boot {
    /// Show what took how long at the boot
    Blame,
    /// Replace PID 1's program, without touching any service
    Reexec,
    /// Stop every service and start all of them again, without the kernel
    SoftReboot(Yes),
}

/// `power`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Power {
    /// Stop everything and start the router again
    Reboot(Yes),
    /// Stop everything and switch the router off
    Off(Yes),
}

/// For what can't be undone.
#[derive(Args, Clone, Copy, Debug)]
pub struct Yes {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum Config {
    /// Print the configuration
    Show {
        /// Another generation than the one that applies
        #[arg(value_name = "GENERATION")]
        generation: Option<u64>,
    },
    /// Edit the configuration, then apply it
    Edit(Change),
    /// Set one key, e.g. `config set system.hostname '"edge-1"'`
    Set {
        /// The key, e.g. network.link.eth1.mtu
        key: String,
        /// A TOML value; what is none is taken as text
        value: String,
        /// How to apply it.
        #[command(flatten)]
        change: Change,
    },
    /// Remove one key
    Unset {
        /// The key, e.g. network.link.eth1.mtu
        key: String,
        /// How to apply it.
        #[command(flatten)]
        change: Change,
    },
    /// Check a file without applying it
    Check {
        /// The file; `-` is standard input
        file: PathBuf,
    },
    /// Compare a file, or two generations, with what applies
    Diff {
        /// A file, or the number of a generation
        from: String,
        /// The number of another generation
        to: Option<u64>,
    },
    /// Apply a file; it must be confirmed, or the old configuration comes back
    Apply {
        /// The file; `-` is standard input
        file: PathBuf,
        /// How to apply it.
        #[command(flatten)]
        change: Change,
    },
    /// Keep the configuration that waits for it
    Confirm {
        /// Its generation; the pending one when left out
        generation: Option<u64>,
    },
    /// Take the configuration back that waits for its confirmation
    Cancel {
        /// Its generation; the pending one when left out
        generation: Option<u64>,
    },
    /// Apply the text of an old generation again
    Rollback {
        /// The old generation
        generation: u64,
        /// How to apply it.
        #[command(flatten)]
        change: Change,
    },
    /// List the generations
    History {
        /// How many at most
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Show what applies, what waits for its confirmation, and who edits
    Status,
}

/// How to apply a change.
#[derive(Args, Clone, Debug)]
pub struct Change {
    /// Why, for the history
    #[arg(short, long, default_value = "")]
    pub reason: String,
    /// Seconds until the old configuration comes back
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub confirm_within: u32,
    /// Do not ask; confirm later with `config confirm`
    #[arg(short, long)]
    pub yes: bool,
}

/// `store`.
#[derive(Clone, Debug, Subcommand)]
pub enum Store {
    /// Write an encrypted backup (age format)
    Backup {
        /// Where to; `-` is standard output
        file: PathBuf,
        /// Where the passphrase comes from.
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Take a backup back
    Restore {
        /// The file; `-` is standard input
        file: PathBuf,
        /// Where the passphrase comes from.
        #[command(flatten)]
        passphrase: Passphrase,
        /// Only show what is in it
        #[arg(long)]
        dry_run: bool,
        /// How to go on.
        #[command(flatten)]
        yes: Yes,
    },
    /// Check the event log's chain of hashes
    Verify,
    /// Show the store's sizes and speed
    Stats,
}

/// Where a passphrase comes from.
#[derive(Args, Clone, Debug)]
pub struct Passphrase {
    /// Read the passphrase from a file's first line; else x0ctl asks for it
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `events`.
#[derive(Args, Clone, Debug)]
pub struct Events {
    /// Go on with new events, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many at most
    #[arg(short = 'n', long, default_value_t = 50)]
    pub limit: u32,
    /// Only of this service
    #[arg(long)]
    pub service: Option<String>,
    /// Only of this kind, e.g. config.applied
    #[arg(long)]
    pub kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
