//! A service for PID 1's own tests. Each argument is one thing to do, in order; after the last one it
//! waits for SIGTERM.
//!
//! Responsible for: behaving badly on request. Never part of an image.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn main() {
    // Rust's own handler survives the first SIGSEGV that comes from another process.
    // SAFETY: SIG_DFL is always a valid disposition.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    let mut record = None;
    for order in std::env::args().skip(1) {
        let (verb, value) = order.split_once('=').unwrap_or((&order, ""));
        match verb {
            // Lines that tests read: "<name> up" now, "<name> down" at SIGTERM.
            "record" => {
                let (name, path) = value.split_once(':').expect("record=NAME:PATH");
                note(path, &format!("{name} up"));
                record = Some((name.to_owned(), path.to_owned()));
            }
            "say" => println!("{value}"),
            "flood" => {
                for number in 0..value.parse().expect("flood=COUNT") {
                    println!("line {number}");
                }
            }
            "notify" => notify(value),
            "pet" => loop {
                notify("WATCHDOG=1");
                std::thread::sleep(Duration::from_millis(value.parse().expect("pet=MS")));
            },
            // A grandchild that outlives its parent and ends a moment later.
            "orphan" => {
                let script = format!("(sleep {value} &) ; exit 0");
                Command::new("/bin/sh")
                    .args(["-c", &script])
                    .status()
                    .expect("a shell");
            }
            "descriptors" => {
                let open = std::fs::read_dir("/proc/self/fd").expect("procfs");
                let mut open: Vec<_> = open.flatten().map(|entry| entry.file_name()).collect();
                open.sort();
                println!("{} descriptors", open.len() - 1);
            }
            // Somebody else in this service speaks for it.
            "helper" => {
                let myself = std::env::current_exe().expect("its own path");
                let mut helper = Command::new(myself);
                helper.arg(format!("notify={value}")).stdin(Stdio::null());
                // Stays alive: PID 1 can't tell where a message came from when its sender is gone.
                #[expect(clippy::zombie_processes, reason = "PID 1 under test has to reap it")]
                helper.spawn().expect("a helper");
            }
            // What sd_listen_fds(3) tells: "passed NAME:NAME".
            "passed" => println!("passed {}", passed().join(":")),
            // Gives PID 1 a file to keep, unless it has it from an earlier life.
            "store" => {
                let (name, text) = value.split_once(':').expect("store=NAME:TEXT");
                if !passed().iter().any(|passed| passed == name) {
                    store(name, text);
                }
            }
            "fetch" => {
                let place = passed().iter().position(|name| name == value);
                let number = 3 + place.expect("PID 1 kept it");
                let text = std::fs::read_to_string(format!("/proc/self/fd/{number}"));
                println!("fetched {}", text.expect("a file"));
            }
            // Answers everybody who connects with its process id, after a while.
            "serve" => serve(value.parse().expect("serve=MS")),
            // One line each so many microseconds, numbered, for ever.
            "chat" => {
                let pause = Duration::from_micros(value.parse().expect("chat=US"));
                for number in 0_u64.. {
                    println!("line {number}");
                    std::thread::sleep(pause);
                }
            }
            "ignore-sigterm" => block_sigterm(),
            "sleep" => std::thread::sleep(Duration::from_millis(value.parse().expect("sleep=MS"))),
            "exit" => exit(value.parse().expect("exit=STATUS")),
            verb => panic!("no such order: {verb}"),
        }
    }
    match record {
        Some((name, path)) => {
            wait_for_sigterm();
            note(&path, &format!("{name} down"));
        }
        None => loop {
            std::thread::park();
        },
    }
}

fn note(path: &str, line: &str) {
    let file = File::options().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("the record is writable");
}

fn notify(message: &str) {
    let path = std::env::var("NOTIFY_SOCKET").expect("PID 1 gives a notify socket");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket
        .send_to(message.as_bytes(), path)
        .expect("PID 1 listens");
}

/// The names of what PID 1 passed.
fn passed() -> Vec<String> {
    let get = |key: &str| std::env::var(key).unwrap_or_default();
    if get("LISTEN_PID") != std::process::id().to_string() {
        return Vec::new();
    }
    let names: Vec<String> = get("LISTEN_FDNAMES").split(':').map(Into::into).collect();
    assert_eq!(get("LISTEN_FDS"), names.len().to_string());
    names
}

fn store(name: &str, text: &str) {
    let file = rustix::fs::memfd_create(c"kept", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    rustix::io::write(&file, text.as_bytes()).expect("room");
    let path = std::env::var("NOTIFY_SOCKET").expect("PID 1 gives a notify socket");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.connect(path).expect("PID 1 listens");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [file.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let message = format!("FDSTORE=1\nFDNAME={name}");
    let slices = [IoSlice::new(message.as_bytes())];
    sendmsg(&socket, &slices, &mut ancillary, SendFlags::empty()).expect("PID 1 listens");
}

fn serve(pause_ms: u64) {
    assert_eq!(passed(), ["door"]);
    // SAFETY: PID 1 passed it under this number, and nothing else here uses it.
    let listener = unsafe { UnixListener::from_raw_fd(3) };
    loop {
        let (mut stream, _) = listener.accept().expect("a client");
        std::thread::sleep(Duration::from_millis(pause_ms));
        stream
            .write_all(std::process::id().to_string().as_bytes())
            .ok();
    }
}

fn block_sigterm() {
    sigterm_set(|set| {
        // SAFETY: the set is initialised; a null old set is allowed.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, set, std::ptr::null_mut()) };
    });
}

fn wait_for_sigterm() {
    block_sigterm();
    sigterm_set(|set| {
        let mut signal = 0;
        // SAFETY: the set is initialised and `signal` is valid for writing.
        unsafe { libc::sigwait(set, &raw mut signal) };
    });
}

fn sigterm_set(with: impl FnOnce(*const libc::sigset_t)) {
    // SAFETY: sigset_t is plain data, which the next call initialises.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid for writing.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: the set is initialised.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGTERM) };
    with(&raw const set);
}
