//! Makes a service's process: in its cgroup, in its sandbox, as its user, with its capabilities and
//! nothing else.
//!
//! What can block (the disk under `/data`, the program's file) happens in the child, so that PID 1
//! waits for nobody. The child reports a failed step, and the listener of its system call filter,
//! through a socket that exec closes.

use std::ffi::CStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use manifest::{Service, group_id};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Resource, Rlimit};

use crate::keep::FIRST_FD;
use crate::sandbox::{self, Failure};
use crate::sys::{self, Program};

/// What all services share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) run_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) notify: PathBuf,
    pub(crate) null: OwnedFd,
    /// PID 1 is root here; otherwise users and capabilities stay as they are.
    pub(crate) privileged: bool,
    /// Services get their sandbox.
    pub(crate) confined: bool,
}

/// A process on its way to its program.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: u32,
    /// Ends when the program runs. Before that it may bring what [`Report`] lists.
    pub(crate) report: OwnedFd,
}

pub(crate) fn launch(
    surroundings: &Surroundings,
    service: &Service,
    output: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    passed: &[BorrowedFd<'_>],
    names: Vec<String>,
) -> io::Result<Launched> {
    let mut environment = environment(surroundings, service);
    environment.extend(names);
    let mut program = Program::new(&service.program, &service.arguments, &environment)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (report, reporter) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let child = || {
        if !passed.is_empty() {
            program.add_environment(&format!("LISTEN_PID={}", std::process::id()));
        }
        // Out of the way of what is passed.
        let above = FIRST_FD + i32::try_from(passed.len()).unwrap_or(0);
        let reporter = fcntl_dupfd_cloexec(&reporter, above).unwrap_or(reporter);
        let Err((step, failure)) =
            become_service(surroundings, service, output, passed, &program, &reporter);
        let code = failure.error.raw_os_error().unwrap_or(libc::EIO);
        let mut message = vec![step as u8];
        message.extend(code.to_ne_bytes());
        message.extend(failure.what.bytes().take(MAX_REPORT_BYTES - message.len()));
        // When even this fails, the status below still tells that it did not start.
        rustix::io::write(&reporter, &message).ok();
        127
    };
    let pid = sys::spawn(cgroup, child)?;
    Ok(Launched { pid, report })
}

/// What a child tells before its program runs.
#[derive(Debug)]
pub(crate) enum Report {
    /// A step failed; the process ends.
    Failed(String),
    /// Where refused system calls will be reported.
    Listener(OwnedFd),
    Nothing,
    /// Its program runs, or it was killed on the way.
    Over,
}

const MAX_REPORT_BYTES: usize = 512;
/// Where other messages have their step.
const LISTENER: u8 = 0xff;

pub(crate) fn read_report(report: &OwnedFd) -> Report {
    let mut message = [0; MAX_REPORT_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut message)];
    let length = match recvmsg(report, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Err(Errno::AGAIN | Errno::INTR) => return Report::Nothing,
        Ok(received) if received.bytes > 0 => received.bytes,
        Ok(_) | Err(_) => return Report::Over,
    };
    let mut passed = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match (&message[..length], passed.next()) {
        ([LISTENER], Some(listener)) => Report::Listener(listener),
        ([step, a, b, c, d, what @ ..], _) => {
            let step = STEPS.get(usize::from(*step)).copied().unwrap_or("set-up");
            let error = io::Error::from_raw_os_error(i32::from_ne_bytes([*a, *b, *c, *d]));
            Report::Failed(match what {
                [] => format!("{step}: {error}"),
                what => format!("{step}: {}: {error}", String::from_utf8_lossy(what)),
            })
        }
        _ => Report::Failed("its listener cannot be taken: no descriptors left".into()),
    }
}

fn send_listener(reporter: &OwnedFd, listener: &OwnedFd) -> Result<(), Errno> {
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(
        reporter,
        &[IoSlice::new(&[LISTENER])],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )
    .map(drop)
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Session,
    Output,
    RunFolder,
    StateFolder,
    Device,
    View,
    Limits,
    Capabilities,
    User,
    Sandbox,
    Passing,
    Exec,
}

/// In the order of [`Step`].
const STEPS: [&str; 12] = [
    "new session",
    "redirecting its output",
    "its folder in /run/x0",
    "its folder in /data",
    "its device",
    "its view",
    "its limits",
    "its capabilities",
    "its user",
    "its sandbox",
    "passing its descriptors",
    "running its program",
];

type Failed = (Step, Failure);

fn environment(surroundings: &Surroundings, service: &Service) -> Vec<String> {
    let name = service.name.as_str();
    let in_folder = |folder: &Path| folder.join(name).display().to_string();
    let mut environment = vec![
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin".into(),
        format!("NOTIFY_SOCKET={}", surroundings.notify.display()),
        format!("RUNTIME_DIRECTORY={}", in_folder(&surroundings.run_dir)),
    ];
    if service.state {
        let folder = in_folder(&surroundings.data_dir);
        environment.push(format!("STATE_DIRECTORY={folder}"));
    }
    if service.watchdog_s > 0 {
        let limit_us = u64::from(service.watchdog_s) * 1_000_000;
        environment.push(format!("WATCHDOG_USEC={limit_us}"));
    }
    environment
}

/// In the child. Ends in the service's program, or with the step that failed.
fn become_service(
    surroundings: &Surroundings,
    service: &Service,
    output: BorrowedFd<'_>,
    passed: &[BorrowedFd<'_>],
    program: &Program,
    reporter: &OwnedFd,
) -> Result<std::convert::Infallible, Failed> {
    let at = |step: Step| move |error: Errno| (step, Failure::plain(error.into()));
    let also = |step: Step| move |error: io::Error| (step, Failure::plain(error));
    sys::reset_signals();
    sys::close_on_exec_from_3();
    rustix::process::setsid().map_err(at(Step::Session))?;
    rustix::process::umask(Mode::from_raw_mode(0o027));
    rustix::process::chdir(c"/").map_err(at(Step::Session))?;
    redirect(surroundings.null.as_fd(), output).map_err(at(Step::Output))?;
    let id = service.user.id;
    let name = service.name.as_str();
    // Others may pass, not list: a service can offer a file or socket there to everybody.
    own_folder(&surroundings.run_dir.join(name), 0o751, id).map_err(at(Step::RunFolder))?;
    if service.state {
        own_folder(&surroundings.data_dir.join(name), 0o700, id).map_err(at(Step::StateFolder))?;
    }
    for device in &service.devices {
        own_device(device, id).map_err(at(Step::Device))?;
    }
    let confined = surroundings.confined && !service.unconfined;
    if confined {
        sandbox::isolate(surroundings, service).map_err(|failure| (Step::View, failure))?;
    }
    limit(service.limits.open_files).map_err(at(Step::Limits))?;
    if surroundings.privileged {
        let numbers = service
            .capabilities
            .iter()
            .map(|capability| capability.number());
        let keep = numbers.fold(0, |keep, number| keep | 1u64 << number);
        sys::bound_capabilities(keep).map_err(also(Step::Capabilities))?;
        if id != 0 {
            let groups: Vec<u32> = service.user.groups.iter().filter_map(group_id).collect();
            sys::keep_capabilities().map_err(also(Step::Capabilities))?;
            sys::become_user(id, &groups).map_err(also(Step::User))?;
        }
        sys::set_capabilities(keep).map_err(also(Step::Capabilities))?;
    }
    sys::no_new_privileges().map_err(also(Step::Capabilities))?;
    if confined {
        let listener = sandbox::restrict(surroundings, service);
        let listener = listener.map_err(|failure| (Step::Sandbox, failure))?;
        send_listener(reporter, &listener).map_err(at(Step::Sandbox))?;
    }
    // As late as possible: it overwrites the lowest descriptors, whatever they were.
    pass(passed).map_err(also(Step::Passing))?;
    sys::exec(program).map_err(also(Step::Exec))
}

fn redirect(null: BorrowedFd<'_>, output: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(null)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(output)
}

/// Puts descriptors where sd_listen_fds(3) looks for them.
fn pass(passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let above = FIRST_FD + i32::try_from(passed.len()).unwrap_or(0);
    // First away from the places that others will take.
    let away: Result<Vec<OwnedFd>, Errno> = (passed.iter())
        .map(|fd| fcntl_dupfd_cloexec(fd, above))
        .collect();
    for (place, fd) in (FIRST_FD..).zip(away?) {
        sys::place_fd(fd.as_fd(), place)?;
    }
    Ok(())
}

/// The folder above belongs to root, so nobody can have put a link there.
pub(crate) fn own_folder(path: &Path, mode: u32, id: u32) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) | Ok(()) => {}
        Err(error) => return Err(error),
    }
    // mkdir(2) heeds the file mode mask.
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    if id == 0 {
        return Ok(());
    }
    rustix::fs::chown(path, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
}

/// Gives a device node to a service. One that is not there yet is given when it appears.
pub(crate) fn own_device(path: &str, id: u32) -> Result<(), Errno> {
    match rustix::fs::chown(path, Some(Uid::from_raw(id)), None) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// What a service has that asks for nothing.
const OPEN_FILES: u64 = 1024;
const OPEN_FILES_MAX: u64 = 16 * 1024;

fn limit(open_files: Option<u32>) -> Result<(), Errno> {
    let set = |resource, current: u64, wanted: u64| {
        let ours = rustix::process::getrlimit(resource).maximum;
        let maximum = ours.map_or(wanted, |limit| limit.min(wanted));
        let limit = Rlimit {
            current: Some(maximum.min(current)),
            maximum: Some(maximum),
        };
        rustix::process::setrlimit(resource, limit)
    };
    set(Resource::Core, 0, 0)?;
    // Memory that cannot be taken back, and real-time processors, are for nobody.
    set(Resource::Memlock, 0, 0)?;
    set(Resource::Rtprio, 0, 0)?;
    match open_files.map(u64::from) {
        Some(count) => set(Resource::Nofile, count, count),
        None => set(Resource::Nofile, OPEN_FILES, OPEN_FILES_MAX),
    }
}

/// The null device, for services' standard input.
pub(crate) fn null() -> Result<OwnedFd, Errno> {
    const PATH: &CStr = c"/dev/null";
    rustix::fs::open(PATH, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}
