//! The faults themselves.

use std::fs::{self, File};
use std::io::{self, Write};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::Request;

/// Does what is asked for; returns what it read.
pub(crate) fn act(request: Request) -> io::Result<String> {
    match request {
        Request::Datagram {
            group,
            socket,
            text,
        } => {
            let status = Command::new("/proc/self/exe")
                .args([group, socket, text])
                .status()?;
            if status.success() {
                Ok(String::new())
            } else {
                Err(io::Error::other("could not be sent; see the agent's log"))
            }
        }
        Request::Fill { path } => fill(&path),
        Request::List { path } => {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names.join("\n"))
        }
        Request::Read { path } => {
            fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        Request::Remove { path } => fs::remove_file(path).map(|()| String::new()),
        Request::Signal { pid, signal } => {
            let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("0 is no process"))?;
            let signal =
                Signal::from_named_raw(signal).ok_or_else(|| io::Error::other("no such signal"))?;
            kill_process(pid, signal)?;
            Ok(String::new())
        }
        Request::Write { path, text } => {
            let mut file = File::options().write(true).open(path)?;
            file.write_all(text.as_bytes()).map(|()| String::new())
        }
    }
}

fn fill(path: &str) -> io::Result<String> {
    let mut file = File::create(path)?;
    let chunk = vec![0x58; 1 << 20];
    let mut written = 0_u64;
    // Smaller and smaller pieces, until not one block is free.
    for size in [1 << 20, 1 << 16, 1 << 12] {
        loop {
            match file.write(&chunk[..size]) {
                Ok(length) => written += length as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    file.sync_all()?;
    Ok(written.to_string())
}
