//! From the first instruction to the loop.

use std::io;
use std::path::{Path, PathBuf};

use manifest::Table;

use crate::args::{self, ArgsError, Folders, HELP, Handed, Mode};
use crate::cgroup::Cgroups;
use crate::early::{self, Facts};
use crate::event::{Level, Moment};
use crate::shell::{Place, SetUpError, Shell, now};
use crate::tell::Teller;
use crate::{crash, devices, reexec, resume, sandbox, sys};

const TABLE: &str = "/usr/share/x0/services.json";
/// Where the kernel finds PID 1, and PID 1 its successor.
const INIT: &str = "/init";
const RUN_DIR: &str = "/run/x0";
const DATA_DIR: &str = "/data";
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Does what the arguments say. As PID 1 of a machine it does not return.
///
/// # Errors
/// When it cannot begin.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<(), RunError> {
    let started = now();
    let mut arguments: Vec<String> = arguments.into_iter().collect();
    let handed = args::take_handed(&mut arguments);
    match args::parse(arguments.clone(), std::process::id())? {
        Mode::CheckState(fd) => {
            match reexec::check(fd) {
                Ok(()) => println!("{}", args::STATE_IS_FINE),
                Err(error) => println!("{error}"),
            }
            Ok(())
        }
        Mode::Contained(folders) => contained(started, folders, arguments, handed),
        Mode::Help => {
            print!("{HELP}");
            Ok(())
        }
        Mode::Machine => machine(started, handed),
        Mode::Version => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

/// Why PID 1 ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error("cannot set up cgroups in {path}")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error("cannot make {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    #[error("{path} is not usable")]
    Table {
        path: PathBuf,
        source: manifest::LoadError,
    },
}

fn machine(started: Moment, handed: Handed) -> Result<(), RunError> {
    let (facts, problems) = match handed.state {
        None => early::set_up(),
        Some(_) => (Facts::read(), Vec::new()),
    };
    crash::install();
    let mut teller = Teller::machine();
    if handed.state.is_none() {
        let hello = format!("x0tta6bl4 OS {} ({})", facts.version, facts.build);
        teller.tell(Level::Info, &hello);
    }
    for problem in &problems {
        teller.tell(Level::Error, problem);
    }
    devices::link_virtio_ports();
    make_folder(Path::new(RUN_DIR))?;
    let cgroups = match handed.state {
        None => Cgroups::machine(Path::new(CGROUP_ROOT)),
        Some(_) => Ok(Cgroups::resume_machine(Path::new(CGROUP_ROOT))),
    };
    let cgroups = match cgroups {
        Ok(cgroups) => Some(cgroups),
        Err(error) => {
            teller.tell(
                Level::Error,
                &format!("no cgroups, no limits for services: {error}"),
            );
            None
        }
    };
    let place = Place {
        run_dir: RUN_DIR.into(),
        data_dir: DATA_DIR.into(),
        cgroups,
        facts,
        started,
        confined: true,
        machine: true,
        program: INIT.into(),
        arguments: Vec::new(),
    };
    let table = load(Path::new(TABLE))?;
    if handed.state.is_none() {
        for problem in sandbox::share_mount_points(&table) {
            teller.tell(Level::Error, &problem);
        }
    }
    supervise(table, place, teller, handed)
}

fn contained(
    started: Moment,
    folders: Folders,
    arguments: Vec<String>,
    handed: Handed,
) -> Result<(), RunError> {
    let table = load(&folders.services)?;
    make_folder(&folders.run_dir)?;
    make_folder(&folders.data_dir)?;
    let cgroups = match folders.cgroup {
        None => None,
        Some(path) => {
            let cgroups = Cgroups::contained(&path);
            Some(cgroups.map_err(|source| RunError::Cgroup { path, source })?)
        }
    };
    crash::install();
    if std::process::id() != 1 {
        // Orphaned descendants of services come to us, as they would to PID 1. Without that they
        // go elsewhere, which does no harm.
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).ok();
    }
    let place = Place {
        run_dir: folders.run_dir,
        data_dir: folders.data_dir,
        cgroups,
        facts: Facts::of_this_build(),
        started,
        confined: folders.confine,
        machine: false,
        program: std::env::args_os().next().unwrap_or_default().into(),
        arguments,
    };
    supervise(table, place, Teller::contained(), handed)
}

fn supervise(table: Table, place: Place, teller: Teller, handed: Handed) -> Result<(), RunError> {
    if place.confined {
        sandbox::make_run_folders(&place.run_dir, &table);
    }
    let mut shell = match handed.state.map(resume::load) {
        None => Shell::new(table, place, teller)?,
        Some(Ok(loaded)) => Shell::resume(table, place, teller, loaded, handed.crashed.as_deref())?,
        Some(Err(error)) => {
            let mut shell = Shell::new(table, place, teller)?;
            shell.adopt_survivors(&error);
            shell
        }
    };
    if handed.state.is_some() {
        sys::close_inherited();
    }
    let power = shell.run();
    shell.finish(power);
    Ok(())
}

fn load(path: &Path) -> Result<Table, RunError> {
    let bytes = std::fs::read(path).map_err(|source| RunError::Read {
        path: path.into(),
        source,
    })?;
    Table::load(&bytes).map_err(|source| RunError::Table {
        path: path.into(),
        source,
    })
}

fn make_folder(path: &Path) -> Result<(), RunError> {
    early::run_folder(path).map_err(|source| RunError::Folder {
        path: path.into(),
        source,
    })
}
