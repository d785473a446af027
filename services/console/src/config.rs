use std::path::PathBuf;

use crate::session::Shell;

/// What `--help` prints.
pub const USAGE: &str = "\
The status page of the machine, on its serial line and screen.

usage: console [--init SOCKET] [--once] [DEVICE...]

  DEVICE         a terminal to show the page on; as many as there are.
                 Without one: /dev/ttyS0 /dev/tty1
  --once         print the page once, as plain text, and end
  --init SOCKET  where PID 1 listens; without it: /run/x0/init.sock
  --store SOCKET where the store listens; without it: /run/x0/store/store.sock
  --shell FILE   what a person who logs in works with; without it: /usr/bin/x0ctl
  --idle SECONDS without a key for so long a person is logged out; without it: 900
  --help         print this";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub init: PathBuf,
    pub network: PathBuf,
    pub store: PathBuf,
    pub shell: Shell,
    pub devices: Vec<PathBuf>,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Terminals,
    Once,
    Help,
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    #[error("unknown option {0}; see console --help")]
    Unknown(String),
    #[error("{0} needs the path of {1}")]
    NoPath(String, &'static str),
    #[error("--idle needs a number of seconds, at least 1")]
    NoTime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            init: api::SOCKET.into(),
            network: "/run/x0/network/status.json".into(),
            store: store_api::SOCKET.into(),
            shell: Shell {
                program: "/usr/bin/x0ctl".into(),
                idle_ms: 15 * 60 * 1_000,
            },
            devices: Vec::new(),
            mode: Mode::Terminals,
        }
    }
}

impl Config {
    /// Reads the command line, without the program's name.
    ///
    /// # Errors
    /// When an option is not known.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self, ArgumentError> {
        let mut config = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--once" => config.mode = Mode::Once,
                "--help" | "-h" => config.mode = Mode::Help,
                "--init" | "--store" | "--shell" => {
                    let what = match argument.as_str() {
                        "--shell" => "a program",
                        _ => "a socket",
                    };
                    let Some(path) = arguments.next() else {
                        return Err(ArgumentError::NoPath(argument, what));
                    };
                    match argument.as_str() {
                        "--init" => config.init = path.into(),
                        "--store" => config.store = path.into(),
                        _ => config.shell.program = path.into(),
                    }
                }
                "--idle" => {
                    let seconds = arguments.next().and_then(|text| text.parse::<u32>().ok());
                    let seconds = seconds.filter(|seconds| *seconds > 0);
                    let seconds = seconds.ok_or(ArgumentError::NoTime)?;
                    config.shell.idle_ms = u64::from(seconds) * 1_000;
                }
                option if option.starts_with('-') => {
                    return Err(ArgumentError::Unknown(argument));
                }
                _ => config.devices.push(argument.into()),
            }
        }
        if config.devices.is_empty() {
            config.devices = vec!["/dev/ttyS0".into(), "/dev/tty1".into()];
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, ArgumentError> {
        Config::from_arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_devices_and_options() {
        let config = parse("--init /tmp/i --once /dev/ttyS1").unwrap();
        assert_eq!(config.init, PathBuf::from("/tmp/i"));
        assert_eq!(config.devices, [PathBuf::from("/dev/ttyS1")]);
        assert_eq!(config.mode, Mode::Once);
        assert_eq!(parse("").unwrap().devices.len(), 2);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let error = parse("--fast").unwrap_err().to_string();
        assert_eq!(error, "unknown option --fast; see console --help");
        assert!(parse("--init").is_err());
    }
}
