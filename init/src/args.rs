//! How PID 1 is called. The kernel calls it without arguments that mean anything.

use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
PID 1 of x0tta6bl4 OS: starts the services of the image and keeps them running.

Usage: init
         as PID 1 of a machine: sets it up, reads /usr/share/x0/services.json
       init --services FILE --run-dir DIR [--data-dir DIR] [--cgroup DIR]
         supervises without touching the machine, e.g. under
         unshare --user --map-root-user --pid --mount --fork
       init --help | --version

  --services FILE  compiled service table (JSON)
  --run-dir DIR    for init.sock, notify and the services' folders
  --data-dir DIR   for services that keep state (default: DIR of --run-dir, data)
  --cgroup DIR     a cgroup v2 folder to put the services in (default: none)
";

/// What to do.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Contained(Folders),
    Help,
    Machine,
    Version,
}

/// Where a PID 1 that has no machine of its own works.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Folders {
    pub(crate) services: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) cgroup: Option<PathBuf>,
}

/// A mistake in the arguments.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArgsError {
    #[error("`{0}` is missing its value; see --help")]
    Incomplete(String),
    #[error("--services and --run-dir belong together; see --help")]
    Missing,
    #[error("this process is not PID 1: give it --services and --run-dir, see --help")]
    NotPidOne,
    #[error("unknown argument `{0}`; see --help")]
    Unknown(String),
}

/// Reads the arguments, without the program's name.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = String>,
    pid: u32,
) -> Result<Mode, ArgsError> {
    let mut arguments = arguments.into_iter().peekable();
    let ours = |argument: &String| argument.starts_with("--");
    // The kernel passes on whatever it did not understand of its command line.
    if pid == 1 && !arguments.peek().is_some_and(ours) {
        return Ok(Mode::Machine);
    }
    let (mut services, mut run_dir, mut data_dir, mut cgroup) = (None, None, None, None);
    while let Some(argument) = arguments.next() {
        let place = match argument.as_str() {
            "--help" => return Ok(Mode::Help),
            "--version" => return Ok(Mode::Version),
            "--services" => &mut services,
            "--run-dir" => &mut run_dir,
            "--data-dir" => &mut data_dir,
            "--cgroup" => &mut cgroup,
            _ => return Err(ArgsError::Unknown(argument)),
        };
        match arguments.next() {
            Some(value) => *place = Some(PathBuf::from(value)),
            None => return Err(ArgsError::Incomplete(argument)),
        }
    }
    match (services, run_dir) {
        (Some(services), Some(run_dir)) => Ok(Mode::Contained(Folders {
            services,
            data_dir: data_dir.unwrap_or_else(|| run_dir.join("data")),
            run_dir,
            cgroup,
        })),
        (None, None) => Err(ArgsError::NotPidOne),
        _ => Err(ArgsError::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str], pid: u32) -> Result<Mode, ArgsError> {
        parse(arguments.iter().map(ToString::to_string), pid)
    }

    #[test]
    fn the_kernels_leftovers_do_not_matter() {
        assert_eq!(of(&[], 1), Ok(Mode::Machine));
        assert_eq!(of(&["splash", "--"], 1), Ok(Mode::Machine));
    }

    #[test]
    fn a_contained_init_needs_its_folders() {
        let mode = of(&["--services", "/t", "--run-dir", "/r"], 1).unwrap();
        let Mode::Contained(folders) = mode else {
            panic!("{mode:?}");
        };
        assert_eq!(folders.data_dir, PathBuf::from("/r/data"));
        assert_eq!(of(&[], 7), Err(ArgsError::NotPidOne));
        assert_eq!(of(&["--run-dir", "/r"], 7), Err(ArgsError::Missing));
        assert_eq!(
            of(&["--run-dir"], 7),
            Err(ArgsError::Incomplete("--run-dir".into()))
        );
        assert_eq!(of(&["-x"], 7), Err(ArgsError::Unknown("-x".into())));
    }
}
