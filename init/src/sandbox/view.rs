//! The files that a service sees: a root of its own, with the declared paths bound into it.

use std::path::{Path, PathBuf};

use manifest::Service;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use super::{Failure, elf};
use crate::spawn::Surroundings;

/// How a service may use a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    /// Programs and libraries: readable, executable.
    Run,
    Read,
    Write,
    Device,
    /// A mount point, shared with everybody.
    Mount,
    /// A procfs of its own; of other processes there is nothing to see.
    Proc {
        whole: bool,
        writable: bool,
    },
    /// A folder in memory of its own, gone with the service.
    Temporary,
}

/// What every service may open.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/zero"];
/// Where loader and libraries of Debian's programs are.
const LIBRARIES: [&str; 4] = [
    "/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
];
/// Nothing is stored in the root itself but empty folders and files to bind upon.
const ROOT_OPTIONS: &std::ffi::CStr = c"mode=0755,size=64k,nr_inodes=1k";
const TEMPORARY_OPTIONS: &std::ffi::CStr = c"mode=1777,size=16m,nr_inodes=1k";

/// The paths of a service, folders before what lies in them, each once.
pub(super) fn paths(surroundings: &Surroundings, service: &Service) -> Vec<(PathBuf, Use)> {
    let name = service.name.as_str();
    let files = &service.files;
    let mut all: Vec<(PathBuf, Use)> = Vec::new();
    let mut add = |path: &Path, how: Use| all.push((path.to_owned(), how));
    // Where one path is named twice the first counts.
    files
        .mount
        .iter()
        .for_each(|path| add(Path::new(path), Use::Mount));
    let in_proc = |path: &&String| Path::new(path).starts_with("/proc");
    let own_proc = |path: &String| *path == "/proc" || Path::new(path).starts_with("/proc/self");
    let proc = files.read.iter().chain(&files.write).filter(in_proc);
    let has_proc = proc.clone().any(own_proc);
    if has_proc {
        let whole = proc
            .clone()
            .any(|path| !Path::new(path).starts_with("/proc/self"));
        let writable = files.write.iter().any(|path| in_proc(&path));
        add(Path::new("/proc"), Use::Proc { whole, writable });
    }
    for (list, how) in [(&files.write, Use::Write), (&files.read, Use::Read)] {
        for path in list.iter().filter(|path| !(has_proc && in_proc(path))) {
            match (path.strip_suffix('*'), how) {
                (None, Use::Write) if path == "/tmp" => add(Path::new(path), Use::Temporary),
                (None, _) => add(Path::new(path), how),
                (Some(start), _) => starting_with(start).iter().for_each(|path| add(path, how)),
            }
        }
    }
    let program = Path::new(&service.program);
    add(program, Use::Run);
    files
        .exec
        .iter()
        .for_each(|path| add(Path::new(path), Use::Run));
    let programs = files.exec.iter().map(Path::new).chain([program]);
    if programs.into_iter().any(elf::is_dynamic) {
        LIBRARIES
            .iter()
            .for_each(|path| add(Path::new(path), Use::Run));
    }
    let devices = service.devices.iter().map(String::as_str).chain(DEVICES);
    devices.for_each(|path| add(Path::new(path), Use::Device));
    add(&surroundings.notify, Use::Read);
    add(&surroundings.run_dir.join(name), Use::Write);
    if service.state {
        add(&surroundings.data_dir.join(name), Use::Write);
    }
    // Stable: of equal paths the first stays.
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all.dedup_by(|(later, _), (earlier, _)| later == earlier);
    all
}

/// What there is at the moment whose path starts like that.
fn starting_with(start: &str) -> Vec<PathBuf> {
    let (folder, name) = start.rsplit_once('/').unwrap_or(("", start));
    let entries = std::fs::read_dir(format!("{folder}/"));
    let entries = entries.into_iter().flatten().flatten();
    let begins = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    begins.map(|entry| entry.path()).take(MAX_FOUND).collect()
}

/// More disks than that have no place in a router.
const MAX_FOUND: usize = 64;

/// Makes the view and goes there.
pub(super) fn enter(surroundings: &Surroundings, service: &Service) -> Result<(), Failure> {
    let root = surroundings.run_dir.join(".root");
    let failed = |error: Errno| Failure::new("its root folder", error);
    if service.files.mount.is_empty() {
        // What anybody mounts later is not for this service.
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", flags).map_err(failed)?;
    }
    match rustix::fs::mkdir(&root, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) | Ok(()) => {}
        Err(error) => return Err(failed(error)),
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount(c"tmpfs", &root, c"tmpfs", flags, ROOT_OPTIONS).map_err(failed)?;
    for (path, how) in paths(surroundings, service) {
        show(&root, &path, how)
            .map_err(|error| Failure::new(format!("showing it {}", path.display()), error))?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).map_err(failed)?;
    rustix::process::chdir(&root).map_err(failed)?;
    // The old root ends up on top of the new one and is taken off (pivot_root(2), NOTES). What is
    // shared in it must not hear of that; by its own descriptor, since "." still is the new root.
    rustix::process::pivot_root(".", ".").map_err(failed)?;
    rustix::process::fchdir(&old).map_err(failed)?;
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(".", flags).map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount("/", flags | MountFlags::NOEXEC, c"").map_err(failed)
}

/// Binds `path` to the same place below `root`. What does not exist is not shown.
fn show(root: &Path, path: &Path, how: Use) -> Result<(), Errno> {
    let target = root.join(path.strip_prefix("/").unwrap_or(path));
    let data = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match how {
        Use::Temporary => {
            folder(&target)?;
            return mount(c"tmpfs", &target, c"tmpfs", data, TEMPORARY_OPTIONS);
        }
        Use::Proc { whole, writable } => {
            folder(&target)?;
            let options = if whole {
                c"hidepid=invisible"
            } else {
                c"hidepid=invisible,subset=pid"
            };
            let only = if writable {
                MountFlags::empty()
            } else {
                MountFlags::RDONLY
            };
            return mount(c"proc", &target, c"proc", data | only, options);
        }
        _ => {}
    }
    let is_folder = match rustix::fs::stat(path) {
        Ok(stat) => rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir(),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error),
    };
    if is_folder {
        folder(&target)?;
    } else {
        target.parent().map_or(Ok(()), folder)?;
        // Not when a folder that is bound already holds it.
        if rustix::fs::stat(&target).is_err() {
            let kind = rustix::fs::FileType::RegularFile;
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &target,
                kind,
                Mode::from_raw_mode(0o600),
                0,
            )?;
        }
    }
    mount_bind(path, &target)?;
    let in_dev = path.starts_with("/dev");
    let flags = match how {
        Use::Run => MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY,
        Use::Read if in_dev => MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY,
        Use::Read => data | MountFlags::RDONLY,
        Use::Write if !in_dev => data,
        Use::Write | Use::Device => MountFlags::NOSUID | MountFlags::NOEXEC,
        Use::Mount | Use::Proc { .. } | Use::Temporary => return Ok(()),
    };
    mount_remount(&target, MountFlags::BIND | flags, c"")
}

fn folder(path: &Path) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o755);
    match rustix::fs::mkdir(path, mode) {
        Ok(()) => {}
        // It may be a real one, in a folder that is bound already: that keeps its mode.
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {
            path.parent().map_or(Ok(()), folder)?;
            rustix::fs::mkdir(path, mode)?;
        }
        Err(error) => return Err(error),
    }
    // Whatever the file mode mask took away: others must pass.
    rustix::fs::chmod(path, mode)
}
