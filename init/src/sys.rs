//! The system calls that `rustix` does not offer safely: all unsafe code of PID 1.
//!
//! PID 1 never starts a thread. That is what makes a fork without exec, changing signal handlers
//! and changing credentials here as simple as the manual pages say.

mod seccomp;

pub(crate) use seccomp::{
    Asked, is_readable, landlock_version, load_filter, receive_call, refuse_call, unshare,
};

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// linux/sched.h; libc's constant is a number too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child process that runs `child` and ends with the status it returns; with `cgroup` it is
/// born there, so that no moment exists in which it runs outside.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn spawn(
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<u32> {
    // SAFETY: clone_args is plain numbers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(cgroup) = cgroup {
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM the child gets a copy of the memory, like fork(2); there are no other
    // threads that could hold a lock. `arguments` outlives the call and its size is given.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        0 => exit(child()),
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(u32::try_from(pid).expect("the kernel's process ids are positive")),
    }
}

/// Ends this process at once: no destructors, no handlers. PID 1 makes the kernel panic so.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// A program with its arguments and environment, ready for [`exec`].
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// None when a string holds a NUL byte.
    #[must_use]
    pub(crate) fn new(path: &str, arguments: &[String], environment: &[String]) -> Option<Self> {
        let convert = |strings: &[String]| -> Option<Vec<CString>> {
            strings
                .iter()
                .map(|s| CString::new(s.as_str()).ok())
                .collect()
        };
        let path = CString::new(path).ok()?;
        let mut all = vec![path.clone()];
        all.extend(convert(arguments)?);
        Some(Self {
            path,
            arguments: all,
            environment: convert(environment)?,
        })
    }
}

impl Program {
    /// Adds `KEY=value`.
    pub(crate) fn add_environment(&mut self, pair: &str) {
        self.environment.extend(CString::new(pair));
    }
}

/// In a child: makes `fd` known by `number` too, for the program that follows. Whatever had the
/// number is closed.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn place_fd(fd: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
    // SAFETY: in a child that ends in exec or exit nothing uses the descriptor that had the number.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

impl Program {
    /// Makes it ready to be executed from a signal handler, with one more argument.
    pub(crate) fn prepare(self) -> PreparedProgram {
        let mut arguments = pointers(&self.arguments);
        arguments.push(ptr::null());
        PreparedProgram {
            arguments,
            environment: pointers(&self.environment),
            program: self,
        }
    }
}

/// A program that can be executed without any allocation.
#[derive(Debug)]
pub(crate) struct PreparedProgram {
    /// Point into `program`; two null pointers end the arguments.
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    program: Program,
}

impl PreparedProgram {
    /// Replaces this process by the program, with `last` as its last argument. Returns when that
    /// fails. Safe to call from a signal handler.
    pub(crate) fn exec_with(&mut self, last: &CStr) {
        let Some(place) = self.arguments.len().checked_sub(2) else {
            return;
        };
        self.arguments[place] = last.as_ptr();
        // SAFETY: as in `exec`; `last` lives until execve returns.
        unsafe {
            libc::execve(
                self.program.path.as_ptr(),
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
            )
        };
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let strings = strings.iter().map(|string| string.as_ptr());
    strings.chain([ptr::null()]).collect()
}

/// Replaces this process by `program`.
///
/// # Errors
/// Whenever it returns.
pub(crate) fn exec(program: &Program) -> io::Result<Infallible> {
    let arguments = pointers(&program.arguments);
    let environment = pointers(&program.environment);
    // SAFETY: path and strings are NUL-terminated, the arrays end with a null pointer, and all of
    // them are borrowed from `program` until execve returns.
    unsafe {
        libc::execve(
            program.path.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    Err(io::Error::last_os_error())
}

/// Blocks `signals` and no others, whatever was blocked before, and gives a descriptor to read them from.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn signal_fd(signals: &[c_int]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised; a null old set is allowed.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) })?;
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next pending signal of a descriptor from [`signal_fd`].
#[must_use]
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<c_int> {
    let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
    let length = rustix::io::read(fd, &mut bytes).ok()?;
    let number = bytes.first_chunk::<4>()?;
    (length == bytes.len()).then(|| i32::from_ne_bytes(*number))
}

/// In a child: no signal blocked or ignored any more.
pub(crate) fn reset_signals() {
    for signal in 1..32 {
        // SAFETY: SIG_DFL is always a valid disposition. SIGKILL and SIGSTOP refuse, as they may.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let empty = signal_set(&[]);
    // SAFETY: `empty` is initialised; a null old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, ptr::null_mut()) };
}

/// Lets `handler` run on a stack of its own when one of `signals` comes. It gets the signal's number
/// and whether the kernel raised it (a fault of ours) rather than another process.
///
/// # Errors
/// When the kernel refuses.
///
/// # Safety
/// `handler` may only do what signal-safety(7) lists.
pub(crate) unsafe fn on_fault(signals: &[c_int], handler: FaultHandler) -> io::Result<()> {
    let stack = Box::leak(vec![0u8; FAULT_STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast::<c_void>(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: the stack was leaked, so it lives as long as the process.
    check(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) })?;
    for signal in signals {
        // SAFETY: sigaction is plain data, for which zero is valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO | libc::SA_RESETHAND;
        action.sa_mask = signal_set(&[]);
        // SAFETY: `action` is initialised and its handler has the signature of SA_SIGINFO.
        check(unsafe { libc::sigaction(*signal, &raw const action, ptr::null_mut()) })?;
    }
    Ok(())
}

/// What [`on_fault`] installs.
pub(crate) type FaultHandler = extern "C" fn(c_int, *const libc::siginfo_t, *mut c_void);

const FAULT_STACK_BYTES: usize = 16 * 1024;

/// Writes `bytes` in one system call, from a signal handler too.
pub(crate) fn write_raw(fd: c_int, bytes: &[u8]) {
    // SAFETY: the buffer is valid for its length. A bad descriptor is an error, which nobody could
    // be told about here.
    unsafe { libc::write(fd, bytes.as_ptr().cast::<c_void>(), bytes.len()) };
}

/// Lets exec close everything but the standard streams, also what PID 1 itself was started with.
pub(crate) fn close_on_exec_from_3() {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: marking descriptors invalidates none of them. All of ours are marked already, so that
    // nothing is lost should the kernel refuse.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, flags) };
}

/// Who runs a service: the last step before its program.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn become_user(id: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: `groups` is valid for its length.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setresgid(id, id, id) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setresuid(id, id, id) }).map(drop)
}

/// Removes all capabilities but `keep` from the bounding set.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn bound_capabilities(keep: u64) -> io::Result<()> {
    for capability in 0..64u64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            // The first that this kernel does not know.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Gives this process exactly the capabilities `keep`, also after exec.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn set_capabilities(keep: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // _LINUX_CAPABILITY_VERSION_3: two halves of 32 bits.
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let halves = [keep & 0xffff_ffff, keep >> 32].map(|half| {
        let half = u32::try_from(half).expect("a half has 32 bits");
        Data {
            effective: half,
            permitted: half,
            inheritable: half,
        }
    });
    // SAFETY: header and data have the layout of capset(2) version 3 and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    for capability in (0..64u64).filter(|capability| keep & (1 << capability) != 0) {
        let raise = u64::from(libc::PR_CAP_AMBIENT_RAISE.unsigned_abs());
        prctl(libc::PR_CAP_AMBIENT, raise, capability)?;
    }
    Ok(())
}

/// Capabilities survive the change of user that follows.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn keep_capabilities() -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0)
}

/// No exec can give this process more than it has.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Sets the timeout of a hardware watchdog; gives the one that it really has.
///
/// # Errors
/// When the device is no watchdog or cannot do that.
pub(crate) fn set_watchdog_timeout_s(device: impl AsFd, timeout_s: c_int) -> io::Result<c_int> {
    let mut value = timeout_s;
    // SAFETY: WDIOC_SETTIMEOUT reads and writes one int, which outlives the call.
    unsafe {
        ioctl(
            device.as_fd(),
            WDIOC_SETTIMEOUT,
            (&raw mut value).cast::<c_void>(),
        )
    }?;
    Ok(value)
}

/// Why a hardware watchdog's card was reset before this boot (`WDIOF_*`).
///
/// # Errors
/// When the device is no watchdog.
pub(crate) fn watchdog_boot_status(device: impl AsFd) -> io::Result<c_int> {
    let mut value: c_int = 0;
    // SAFETY: WDIOC_GETBOOTSTATUS writes one int, which outlives the call.
    unsafe {
        ioctl(
            device.as_fd(),
            WDIOC_GETBOOTSTATUS,
            (&raw mut value).cast::<c_void>(),
        )
    }?;
    Ok(value)
}

/// The keys that an input device has, as a bit field.
///
/// # Errors
/// When it is no input device.
pub(crate) fn input_keys(device: impl AsFd) -> io::Result<[u8; KEY_BYTES]> {
    let mut keys = [0u8; KEY_BYTES];
    // SAFETY: EVIOCGBIT(EV_KEY, KEY_BYTES) writes at most KEY_BYTES bytes, which outlive the call.
    unsafe {
        ioctl(
            device.as_fd(),
            EVIOCGBIT_KEYS,
            keys.as_mut_ptr().cast::<c_void>(),
        )
    }?;
    Ok(keys)
}

const KEY_BYTES: usize = 96;

const IOC_READ: u64 = 2 << 30;
const IOC_WRITE: u64 = 1 << 30;
// linux/watchdog.h: _IOWR('W', 6, int) and _IOR('W', 2, int).
const WDIOC_SETTIMEOUT: u64 = IOC_READ | IOC_WRITE | (4 << 16) | (0x57 << 8) | 6;
const WDIOC_GETBOOTSTATUS: u64 = IOC_READ | (4 << 16) | (0x57 << 8) | 2;
// linux/input.h: EVIOCGBIT(EV_KEY, KEY_BYTES) = _IOR('E', 0x20 + EV_KEY, KEY_BYTES).
const EVIOCGBIT_KEYS: u64 = IOC_READ | ((KEY_BYTES as u64) << 16) | (0x45 << 8) | 0x21;

/// # Safety
/// `argument` must be valid for what `request` reads and writes.
unsafe fn ioctl(fd: BorrowedFd<'_>, request: u64, argument: *mut c_void) -> io::Result<()> {
    // SAFETY: the caller's promise is just what ioctl(2) asks for.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) }).map(drop)
}

fn prctl(operation: c_int, argument2: u64, argument3: u64) -> io::Result<()> {
    // SAFETY: the operations used above take numbers only, and want the rest to be zero.
    check(unsafe { libc::prctl(operation, argument2, argument3, 0u64, 0u64) }).map(drop)
}

fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigemptyset initialises all of it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writing.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        // SAFETY: `set` is initialised.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Whether a number is an open descriptor.
#[must_use]
pub(crate) fn is_open(fd: c_int) -> bool {
    // SAFETY: F_GETFD reads a flag; a number that is no descriptor is an error.
    fd >= 0 && unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0
}

/// Takes a descriptor that an earlier program left open, and marks it as our own. The caller sees to
/// it that each number is taken once.
///
/// # Errors
/// When it is not open, or already somebody's: what this program opens or has taken is marked.
pub(crate) fn adopt_fd(fd: c_int) -> io::Result<OwnedFd> {
    // SAFETY: as in `is_open`.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    if fd < 3 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    keep_over_exec(fd, false);
    // SAFETY: it is open, and was not marked: whatever this program owns is, so nobody owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether exec leaves a descriptor open. Safe to call from a signal handler.
pub(crate) fn keep_over_exec(fd: c_int, keep: bool) {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: F_SETFD sets a flag; a number that is no descriptor is an error, and no harm.
    unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
}

/// Closes what an earlier program left open and nobody took.
pub(crate) fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = entries.flatten();
    let numbers: Vec<c_int> = numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in numbers {
        // Taking it closes it.
        adopt_fd(fd).ok();
    }
}

/// Opens a file for writing from now on, for use in [`write_raw`]; never closed.
#[must_use]
pub(crate) fn open_for_ever(path: &CStr) -> c_int {
    // SAFETY: the path is NUL-terminated. -1 on failure is what `write_raw` tolerates.
    unsafe {
        libc::open(
            path.as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOCTTY,
        )
    }
}
