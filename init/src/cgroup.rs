//! The cgroup v2 tree: PID 1 in a leaf of its own, and one group per service, so that a service's
//! processes can be limited, counted and killed together, whatever they fork.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use manifest::Limits;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What a service may take that declares nothing: nobody exhausts the machine.
const MEMORY_MAX_MB: u32 = 256;
const PIDS_MAX: u32 = 256;

const MACHINE_MARKER: &str = "0::/services/";

/// The groups of all services.
#[derive(Debug)]
pub(crate) struct Cgroups {
    services: PathBuf,
    /// How the kernel calls the folder above, from its end: `/proc/<pid>/cgroup` is compared with it.
    marker: String,
}

impl Cgroups {
    /// Sets up the tree of a machine, mounted at `root`.
    pub(crate) fn machine(root: &Path) -> io::Result<Self> {
        let own = root.join("init");
        make(&own)?;
        // With processes in a group the kernel refuses controllers for its children.
        std::fs::write(own.join("cgroup.procs"), "1")?;
        delegate(root);
        Self::below(root, MACHINE_MARKER.into())
    }

    /// The tree of a machine that an earlier PID 1 set up. Moving a process, even to where it is,
    /// makes the kernel wait for all processors: a re-execution must not.
    pub(crate) fn resume_machine(root: &Path) -> Self {
        Self {
            services: root.join("services"),
            marker: MACHINE_MARKER.into(),
        }
    }

    /// Sets up a tree in the folder `top`, for a PID 1 that is none.
    pub(crate) fn contained(top: &Path) -> io::Result<Self> {
        make(top)?;
        delegate(top);
        let name = top.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        Self::below(top, format!("/{name}/services/"))
    }

    fn below(top: &Path, marker: String) -> io::Result<Self> {
        let services = top.join("services");
        make(&services)?;
        delegate(&services);
        Ok(Self { services, marker })
    }

    /// Makes the group of a service, with its limits.
    pub(crate) fn service(&self, name: &str, limits: &Limits) -> io::Result<Cgroup> {
        let path = self.services.join(name);
        make(&path)?;
        let set = |file: &str, value: String| {
            // A kernel without this controller must not keep the service from running.
            std::fs::write(path.join(file), value).ok();
        };
        set("memory.oom.group", "1".into());
        let limit_mb = limits.memory_max_mb.unwrap_or(MEMORY_MAX_MB);
        set("memory.max", (u64::from(limit_mb) << 20).to_string());
        if let Some(limit_mb) = limits.memory_high_mb {
            set("memory.high", (u64::from(limit_mb) << 20).to_string());
        }
        set("pids.max", limits.pids_max.unwrap_or(PIDS_MAX).to_string());
        if let Some(weight) = limits.io_weight {
            set("io.weight", format!("default {weight}"));
        }
        if let Some(weight) = limits.cpu_weight {
            set("cpu.weight", weight.to_string());
        }
        let open =
            |path: &Path, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        Ok(Cgroup {
            folder: open(&path, OFlags::PATH | OFlags::DIRECTORY)?,
            events: open(&path.join("cgroup.events"), OFlags::RDONLY)?,
        })
    }

    /// The service to which a process belongs, by its group.
    pub(crate) fn service_of(&self, pid: u32) -> Option<String> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        service_in(&text, &self.marker).map(Into::into)
    }
}

/// One service's group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: OwnedFd,
    /// Becomes ready for `EPOLLPRI` when the group becomes empty.
    events: OwnedFd,
}

impl Cgroup {
    /// One that an earlier PID 1 opened.
    pub(crate) fn adopt(folder: OwnedFd, events: OwnedFd) -> Self {
        Self { folder, events }
    }

    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Whether a process is left in it.
    pub(crate) fn populated(&self) -> bool {
        let mut bytes = [0; 64];
        let length = rustix::io::pread(&self.events, &mut bytes, 0).unwrap_or(0);
        bytes[..length].starts_with(b"populated 1")
    }

    /// Kills all processes in it, also while they fork.
    pub(crate) fn kill(&self) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, c"cgroup.kill", flags, Mode::empty())?;
        rustix::io::write(file, b"1").map(drop)
    }
}

fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// One by one: a kernel without one of them shall still give us the others.
fn delegate(group: &Path) {
    for controller in ["+cpu", "+io", "+memory", "+pids"] {
        std::fs::write(group.join("cgroup.subtree_control"), controller).ok();
    }
}

/// Finds the service's name in the text of `/proc/<pid>/cgroup`. Only root makes cgroups, so a name
/// after the marker is one of ours.
fn service_in<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with("0::"))?;
    let start = line.find(marker)? + marker.len();
    let name = line[start..].split('/').next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_service_of_its_group() {
        let of = |text| service_in(text, "0::/services/");
        assert_eq!(of("0::/services/network\n"), Some("network"));
        assert_eq!(
            of("1:cpu:/\n0::/services/network/worker\n"),
            Some("network")
        );
        for other in [
            "0::/\n",
            "0::/init\n",
            "",
            "0::/x/services/network\n",
            "1:cpu:/services/x\n",
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
        let contained = service_in("0::/a/x0/services/web\n", "/x0/services/");
        assert_eq!(contained, Some("web"));
    }
}
