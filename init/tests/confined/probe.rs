//! Tries what a sandbox forbids. Each argument is one attempt; for each it prints
//! `ATTEMPT denied: REASON` or `ATTEMPT allowed`, then `end`, and ends well.
//!
//! Responsible for: attempts that a compromised service would make. In test images only.

use std::ffi::{CString, c_long};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// As many threads or processes as no service needs.
const MANY: usize = 5000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for wanted in &wanted {
        let (name, value) = wanted.split_once('=').unwrap_or((wanted, ""));
        match attempt(name, value) {
            Ok(()) => println!("{wanted} allowed"),
            Err(error) => println!("{wanted} denied: {error}"),
        }
    }
    println!("end");
}

fn attempt(name: &str, value: &str) -> io::Result<()> {
    match name {
        "wait" => wait(),
        "write" => any(value, |path| std::fs::write(path, "x")),
        "create" => any(value, |folder| {
            std::fs::write(Path::new(folder).join("x0-probe"), "x")
        }),
        "read" => any(value, |path| std::fs::read(path).map(drop)),
        "list" => any(value, |path| std::fs::read_dir(path).map(drop)),
        "open-to-write" => any(value, |path| {
            std::fs::File::options().write(true).open(path).map(drop)
        }),
        "mount" => mount(),
        "ptrace" => call(libc::SYS_ptrace, [0x4206, 1, 0, 0]),
        "bpf" => call(libc::SYS_bpf, [0, 0, 0, 0]).or_else(unless_seen),
        "bind-tcp" => std::net::TcpListener::bind(("127.0.0.1", port(value))).map(drop),
        "connect-tcp" => std::net::TcpStream::connect(("127.0.0.1", port(value))).map(drop),
        "packet-socket" => call(libc::SYS_socket, [17, 3, 0, 0]),
        "netlink-socket" => call(libc::SYS_socket, [16, 3, 0, 0]),
        "stream-socket" => call(libc::SYS_socket, [1, 1, 0, 0]),
        "abstract-socket" => abstract_socket(value),
        "connect" => UnixStream::connect(value).map(drop),
        "listen" => any(value, |folder| {
            UnixListener::bind(Path::new(folder).join("probe.sock")).map(drop)
        }),
        "signal" => call(libc::SYS_kill, [value.parse().unwrap_or(1), 0, 0, 0]),
        "userns" => call(libc::SYS_unshare, [0x1000_0000, 0, 0, 0]),
        "netns" => call(libc::SYS_unshare, [0x4000_0000, 0, 0, 0]),
        "setuid" => call(libc::SYS_setuid, [1, 0, 0, 0]),
        "chown" => any(value, |path| {
            std::os::unix::fs::chown(path, Some(12), Some(12))
        }),
        "reboot" => call(libc::SYS_reboot, [0xfee1_dead, 0x2812_1969, 0, 0]),
        "hostname" => call(libc::SYS_sethostname, [c"x".as_ptr() as c_long, 1, 0, 0]),
        "clock" => call(libc::SYS_clock_settime, [0, 0, 0, 0]).or_else(unless_seen),
        "kernel-log" => call(libc::SYS_syslog, [10, 0, 0, 0]),
        "write-exec" => write_exec(),
        "exec-memory" => exec_memory(),
        "exec" => any(value, exec),
        "fork" => call(libc::SYS_fork, [0; 4]),
        "threads" => threads(),
        "memory" => memory(),
        "flood" => flood(),
        "repeat" => {
            for _ in 0..value.parse().unwrap_or(1) {
                call(libc::SYS_ptrace, [0x4206, 1, 0, 0]).ok();
            }
            Err(io::Error::other("as told"))
        }
        _ => panic!("unknown attempt {name}"),
    }
}

/// Until SIGUSR1 comes.
fn wait() -> io::Result<()> {
    // SAFETY: sigset_t is plain data, which the calls initialise and read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let mut signal = 0;
        libc::sigwait(&raw const set, &raw mut signal);
    }
    Ok(())
}

/// One success among many paths is one too many. What does not exist is denied as well.
fn any(paths: &str, mut act: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut last = Err(io::ErrorKind::InvalidInput.into());
    for path in paths.split(',') {
        last = act(path);
        if last.is_ok() {
            println!("it worked with {path}");
            return last;
        }
    }
    last
}

fn call(number: c_long, arguments: [c_long; 4]) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: the calls made here take numbers, or pointers that are null or outlive the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        // The child of a fork that worked says nothing.
        0 if number == libc::SYS_fork => std::process::exit(0),
        _ => Ok(()),
    }
}

/// A kernel that looks at the arguments has let the call in.
fn unless_seen(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EFAULT | libc::EINVAL) => Ok(()),
        _ => Err(error),
    }
}

fn port(value: &str) -> u16 {
    value.parse().expect("a port")
}

fn mount() -> io::Result<()> {
    let (kind, target) = (c"tmpfs", c"/run");
    let (kind, target) = (kind.as_ptr() as c_long, target.as_ptr() as c_long);
    call(libc::SYS_mount, [kind, target, kind, 0])
}

fn abstract_socket(name: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(drop)
}

fn write_exec() -> io::Result<()> {
    // SAFETY: a new anonymous mapping touches no memory that is in use.
    let memory = unsafe {
        let (access, how) = (
            libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANON,
        );
        libc::mmap(std::ptr::null_mut(), 4096, access, how, -1, 0)
    };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Writes a program to memory and runs it.
fn exec_memory() -> io::Result<()> {
    const EXECUTABLE: libc::c_uint = 0x10;
    // SAFETY: the name is NUL-terminated.
    let fd = unsafe { libc::memfd_create(c"probe".as_ptr(), EXECUTABLE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    exec(&format!("/proc/self/fd/{fd}"))
}

/// Whoever comes back from this has been denied.
fn exec(path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    let arguments = [path.as_ptr(), std::ptr::null()];
    // SAFETY: path and arguments are NUL-terminated and outlive the call.
    unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
    Err(io::Error::last_os_error())
}

fn threads() -> io::Result<()> {
    for _ in 0..MANY {
        let builder = std::thread::Builder::new().stack_size(64 * 1024);
        builder.spawn(|| {
            loop {
                std::thread::park();
            }
        })?;
    }
    Ok(())
}

/// Ends in the kernel's killing this process, or in success.
fn memory() -> io::Result<()> {
    let mut taken = Vec::new();
    for _ in 0..4096 {
        taken.push(vec![1u8; 1 << 20]);
    }
    (taken.len() == 4096)
        .then_some(())
        .ok_or(io::ErrorKind::OutOfMemory.into())
}

fn flood() -> io::Result<()> {
    for _ in 0..1_000_000 {
        call(libc::SYS_ptrace, [0x4206, 1, 0, 0]).ok();
    }
    Ok(())
}
