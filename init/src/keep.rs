//! What PID 1 keeps open for a service from one of its processes to the next: the sockets of its
//! manifest, so that no client is refused while it restarts, and descriptors that it stored itself
//! (`FDSTORE=1`, sd_notify(3)).
//!
//! All services are started anyway, so a socket starts nobody: a client that comes early waits in
//! its queue. Once a service is stopped for good or given up, its sockets are closed, since nobody
//! would ever answer there, and what it stored is dropped, as systemd does.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use manifest::{Service, Socket, SocketKind, group_id};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{Gid, Mode, Uid, fstat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use crate::event::{Level, ServiceId};
use crate::notify::Store;
use crate::shell::{Shell, Token};

/// Clients that wait for a service to come back; the kernel has a limit of its own.
const QUEUE: i32 = 4096;
/// The first descriptor that is passed (sd_listen_fds(3)).
pub(crate) const FIRST_FD: i32 = 3;

/// The descriptors of one service.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) sockets: Vec<Named>,
    pub(crate) stored: Vec<Named>,
}

#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) fd: OwnedFd,
    /// Dropped when its other end hangs up.
    pub(crate) watched: bool,
}

impl Kept {
    /// Makes the sockets that are not there yet.
    pub(crate) fn listen(&mut self, service: &Service, privileged: bool) -> Result<(), String> {
        if !self.sockets.is_empty() {
            return Ok(());
        }
        for socket in &service.sockets {
            let fd = open(socket, privileged)
                .map_err(|error| format!("its socket {}: {error}", socket.path))?;
            self.sockets.push(Named {
                name: socket.name.to_string(),
                fd,
                watched: false,
            });
        }
        Ok(())
    }

    /// What the next process gets, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Named> {
        self.sockets.iter().chain(&self.stored)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.stored.is_empty()
    }
}

impl Shell {
    /// Makes every socket before any service starts, so that nobody finds one missing.
    pub(crate) fn listen_for_services(&mut self) {
        for position in 0..self.processes.len() {
            let service = &self.core.units()[position].service;
            let kept = &mut self.processes[position].kept;
            // It is tried again, and then reported, when the service starts.
            kept.listen(service, self.surroundings.privileged).ok();
        }
    }

    /// Does what a service asked for, with the descriptors that came along.
    pub(crate) fn store(&mut self, id: ServiceId, order: Store, fds: Vec<OwnedFd>) {
        self.dirty = true;
        match order {
            Store::Keep { name, watched } => {
                for fd in fds {
                    self.keep(id, &name, fd, watched);
                }
            }
            Store::Remove { name } => {
                let stored = &mut self.processes[id.0].kept.stored;
                for gone in stored.extract_if(.., |named| named.name == name) {
                    forget(&self.epoll, &gone);
                }
            }
        }
    }

    fn keep(&mut self, id: ServiceId, name: &str, fd: OwnedFd, watched: bool) {
        let limit = self.core.units()[id.0].service.fd_store as usize;
        let stored = &mut self.processes[id.0].kept.stored;
        if stored
            .iter()
            .any(|known| known.name == name && same(&known.fd, &fd))
        {
            return;
        }
        if stored.len() >= limit {
            let text = format!("may keep {limit} descriptors with PID 1: `{name}` is not kept");
            return self.tell(Level::Warning, Some(id), &text);
        }
        // What can't be polled, such as a file, can't hang up.
        let watched = watched
            && epoll::add(
                &self.epoll,
                &fd,
                Token::Kept(id.0).pack(),
                epoll::EventFlags::empty(),
            )
            .is_ok();
        stored.push(Named {
            name: name.into(),
            fd,
            watched,
        });
    }

    /// The other end of something that a service stored hung up.
    pub(crate) fn on_kept(&mut self, id: ServiceId) {
        self.dirty = true;
        let Some(process) = self.processes.get_mut(id.0) else {
            return;
        };
        let stored = &mut process.kept.stored;
        for gone in stored.extract_if(.., |named| named.watched && hung_up(&named.fd)) {
            forget(&self.epoll, &gone);
        }
    }

    /// Drops what belongs to services that do not come back by themselves.
    pub(crate) fn drop_kept(&mut self) {
        for (process, unit) in self.processes.iter_mut().zip(self.core.units()) {
            if process.kept.is_empty() || !unit.rests() {
                continue;
            }
            self.dirty = true;
            for socket in &unit.service.sockets {
                fs::remove_file(&socket.path).ok();
            }
            let kept = std::mem::take(&mut process.kept);
            for named in kept.stored {
                forget(&self.epoll, &named);
            }
        }
    }
}

/// The service may hold the same description, so that closing ours would not end the watch.
fn forget(epoll: &OwnedFd, named: &Named) {
    if named.watched {
        epoll::delete(epoll, &named.fd).ok();
    }
}

fn open(socket: &Socket, privileged: bool) -> Result<OwnedFd, Errno> {
    let path = Path::new(&socket.path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).ok();
    }
    rustix::fs::unlink(path).ok();
    let kind = match socket.kind {
        SocketKind::Stream => SocketType::STREAM,
        SocketKind::Datagram => SocketType::DGRAM,
        SocketKind::Seqpacket => SocketType::SEQPACKET,
    };
    // Blocking, as sd_listen_fds(3) leads to expect.
    let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&fd, &SocketAddrUnix::new(path)?)?;
    if let (Some(group), true) = (socket.group.as_ref().and_then(group_id), privileged) {
        rustix::fs::chown(path, Some(Uid::ROOT), Some(Gid::from_raw(group)))?;
    }
    // In this order: nobody can connect before it listens.
    rustix::fs::chmod(path, Mode::from_raw_mode(socket.mode.bits()))?;
    if kind != SocketType::DGRAM {
        listen(&fd, QUEUE)?;
    }
    Ok(fd)
}

fn same(one: &OwnedFd, other: &OwnedFd) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn hung_up(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// What the child has to know to pass descriptors on.
pub(crate) fn borrowed(kept: &Kept) -> Vec<BorrowedFd<'_>> {
    kept.all().map(|named| named.fd.as_fd()).collect()
}

/// The environment that goes with them; `LISTEN_PID` is known in the child only.
pub(crate) fn environment(kept: &Kept) -> Vec<String> {
    if kept.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = kept.all().map(|named| named.name.as_str()).collect();
    vec![
        format!("LISTEN_FDS={}", names.len()),
        format!("LISTEN_FDNAMES={}", names.join(":")),
    ]
}
