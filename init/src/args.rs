//! How PID 1 is called. The kernel calls it without arguments that mean anything.

use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
PID 1 of x0tta6bl4 OS: starts the services of the image and keeps them running.

Usage: init
         as PID 1 of a machine: sets it up, reads /usr/share/x0/services.json
       init --services FILE --run-dir DIR [--data-dir DIR] [--cgroup DIR] [--confine]
         supervises without touching the machine, e.g. under
         unshare --user --map-root-user --pid --mount --fork
       init --help | --version

  --services FILE  compiled service table (JSON)
  --run-dir DIR    for init.sock, notify and the services' folders
  --data-dir DIR   for services that keep state (default: DIR of --run-dir, data)
  --cgroup DIR     a cgroup v2 folder to put the services in (default: none)
  --confine        give services their sandbox, as on a machine (needs root)
";

/// Goes on with the record behind this descriptor.
pub(crate) const STATE: &str = "--state";
/// Why the program that wrote it crashed.
pub(crate) const CRASHED: &str = "--crashed";
/// Says whether it could go on with the record behind this descriptor.
pub(crate) const CHECK_STATE: &str = "--check-state";
/// What it says then.
pub(crate) const STATE_IS_FINE: &str = "init: this program can go on with it";

/// What PID 1 tells the program that comes after it, and nobody else says.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Handed {
    pub(crate) state: Option<i32>,
    pub(crate) crashed: Option<String>,
}

/// Takes those arguments out of `arguments`. They are its last ones.
pub(crate) fn take_handed(arguments: &mut Vec<String>) -> Handed {
    let mut take = |name: &str| {
        let place = arguments.len().checked_sub(2)?;
        (arguments[place] == name).then(|| arguments.split_off(place).pop())?
    };
    let crashed = take(CRASHED);
    let state = take(STATE).and_then(|fd| fd.parse().ok());
    Handed { state, crashed }
}

/// What to do.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    CheckState(i32),
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
    pub(crate) confine: bool,
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
    let mut confine = false;
    while let Some(argument) = arguments.next() {
        let place = match argument.as_str() {
            CHECK_STATE => {
                let fd = arguments.next().and_then(|fd| fd.parse().ok());
                return fd
                    .map(Mode::CheckState)
                    .ok_or(ArgsError::Incomplete(argument));
            }
            "--help" => return Ok(Mode::Help),
            "--version" => return Ok(Mode::Version),
            "--confine" => {
                confine = true;
                continue;
            }
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
            confine,
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
    fn what_was_handed_over_stands_last() {
        let mut arguments = ["splash", "--state", "7", "--crashed", "signal 11"]
            .map(str::to_owned)
            .to_vec();
        let handed = take_handed(&mut arguments);
        assert_eq!(
            (handed.state, handed.crashed.as_deref()),
            (Some(7), Some("signal 11"))
        );
        assert_eq!(arguments, ["splash"]);
        let nothing = Handed {
            state: None,
            crashed: None,
        };
        assert_eq!(take_handed(&mut arguments), nothing);
        assert_eq!(take_handed(&mut vec![]), nothing);
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
