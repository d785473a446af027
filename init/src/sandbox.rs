//! The cage of a service, built from its manifest in the child that becomes the service.
//!
//! Several walls, because each has holes that another covers:
//! - a mount namespace that holds only the declared paths ([`view`]): what is not named does not exist;
//! - a network namespace without any link, unless the manifest grants the router's network;
//! - Landlock ([`rules`]): which of the visible files may be run or written, which TCP ports, no
//!   abstract sockets of others and no signals to others;
//! - a seccomp filter, compiled when the image was built (crate `manifest`).
//!
//! The kernel has no SysV IPC and no message queues, and `user.max_user_namespaces` is 0, so there is
//! nothing to unshare for either. PID namespaces are not used: a service sees no `/proc` of others,
//! and Landlock stops its signals.
//!
//! A refused system call is not answered by the filter itself but goes to PID 1
//! (`SECCOMP_RET_USER_NOTIF`), which counts it and answers EPERM ([`denials`]). Without that only the
//! kernel's audit log would tell what was refused, and it can neither be bounded per service nor read
//! on a kernel without CONFIG_AUDIT. PID 1 never continues a call (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`
//! is open to races), so that losing the listener is safe: the kernel then answers ENOSYS.
//!
//! Steps that need privileges come first, the filter comes last: after it there is only exec.

mod denials;
mod elf;
mod explain;
mod rules;
mod view;
mod watch;

pub(crate) use denials::Denials;
pub(crate) use watch::Watch;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use manifest::{NetAccess, Service, Table};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use crate::spawn::Surroundings;
use crate::sys;

/// A wall that cannot be built, and with what.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) error: std::io::Error,
}

impl Failure {
    /// Of a step that says enough by itself.
    pub(crate) fn plain(error: std::io::Error) -> Self {
        Self::new(String::new(), error)
    }

    fn new(what: impl Into<String>, error: impl Into<std::io::Error>) -> Self {
        Self {
            what: what.into(),
            error: error.into(),
        }
    }
}

/// In the child, as root: from here on it sees its own files and network only.
pub(crate) fn isolate(surroundings: &Surroundings, service: &Service) -> Result<(), Failure> {
    let private_network = service.net.access != NetAccess::Host;
    sys::unshare(private_network).map_err(|error| Failure::new("its namespaces", error))?;
    view::enter(surroundings, service)
}

/// In the child, as its user and without privileges. What follows must be allowed by the filter.
pub(crate) fn restrict(surroundings: &Surroundings, service: &Service) -> Result<OwnedFd, Failure> {
    rules::restrict(surroundings, service).map_err(|error| {
        Failure::new(
            "its Landlock rules",
            std::io::Error::other(error.to_string()),
        )
    })?;
    sys::load_filter(service.filter.bytes()).map_err(|error| Failure::new("its filter", error))
}

/// In PID 1, before any service starts: what services mount here, all others shall see.
pub(crate) fn share_mount_points(table: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    for path in table
        .services()
        .iter()
        .flat_map(|service| &service.files.mount)
    {
        let share = || -> Result<(), Errno> {
            rustix::mount::mount_bind(path, path)?;
            rustix::mount::mount_change(path, MountPropagationFlags::SHARED)
        };
        if let Err(error) = share() {
            problems.push(format!("cannot share the mount point {path}: {error}"));
        }
    }
    problems
}

/// In PID 1, before any service starts: the folders of services in /run, so that a service can see
/// the folder of one that starts later.
pub(crate) fn make_run_folders(run_dir: &std::path::Path, table: &Table) {
    for service in table.services() {
        let path: PathBuf = run_dir.join(service.name.as_str());
        // The service's own start reports what is wrong with it.
        crate::spawn::own_folder(&path, 0o751, service.user.id).ok();
    }
}
