//! The little of a device manager that a fixed appliance needs: names for virtio ports, the power
//! button, and service users as owners of their devices, also of those that appear late.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::sys;

/// Makes `/dev/virtio-ports/<name>` for each virtio port that has a name.
pub(crate) fn link_virtio_ports() {
    let Ok(ports) = std::fs::read_dir("/sys/class/virtio-ports") else {
        return;
    };
    let folder = Path::new("/dev/virtio-ports");
    for port in ports.flatten() {
        let Ok(name) = std::fs::read_to_string(port.path().join("name")) else {
            continue;
        };
        // The name comes from the hypervisor: it must not lead out of the folder.
        let name = name.trim();
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            continue;
        }
        std::fs::create_dir(folder).ok();
        let target = Path::new("..").join(port.file_name());
        std::os::unix::fs::symlink(target, folder.join(name)).ok();
    }
}

/// Opens every input device that has a power key.
pub(crate) fn power_buttons() -> Vec<OwnedFd> {
    let Ok(devices) = std::fs::read_dir("/dev/input") else {
        return Vec::new();
    };
    let open = |path: &Path| {
        let mut options = std::fs::File::options();
        let device = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .ok()?;
        let keys = sys::input_keys(&device).ok()?;
        let power = keys[usize::from(KEY_POWER / 8)] & (1 << (KEY_POWER % 8)) != 0;
        power.then(|| OwnedFd::from(device))
    };
    let events = devices
        .flatten()
        .filter(|device| device.file_name().to_string_lossy().starts_with("event"));
    events
        .take(MAX_BUTTONS)
        .filter_map(|device| open(&device.path()))
        .collect()
}

/// Whether the power button of this device was pressed.
pub(crate) fn power_pressed(device: &OwnedFd) -> bool {
    let mut pressed = false;
    let mut event = [0; EVENT_BYTES];
    while let Ok(EVENT_BYTES) = rustix::io::read(device, &mut event) {
        let number = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        pressed |= number(16) == EV_KEY && number(18) == KEY_POWER && value == 1;
    }
    pressed
}

const KEY_POWER: u16 = 116;
const EV_KEY: u16 = 1;
/// `struct input_event` on 64-bit machines: time (16), type, code, value.
const EVENT_BYTES: usize = 24;
const MAX_BUTTONS: usize = 64;

/// The kernel's announcements of new devices.
#[derive(Debug)]
pub(crate) struct Announcements(OwnedFd);

/// What changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Announced {
    Input,
    Other,
    VirtioPort,
}

impl Announcements {
    pub(crate) fn listen() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = Some(netlink::KOBJECT_UEVENT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, family)?;
        // Group 1 is the kernel's own; only it (and root) can send there.
        bind(&socket, &SocketAddrNetlink::new(0, 1))?;
        Ok(Self(socket))
    }

    pub(crate) fn next(&self) -> Option<Announced> {
        let mut bytes = [0; 4096];
        match recv(&self.0, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => Some(announced(&bytes[..length])),
            // Announcements were lost: look at everything.
            Err(Errno::NOBUFS) => Some(Announced::VirtioPort),
            Err(_) => None,
        }
    }
}

impl AsFd for Announcements {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn announced(message: &[u8]) -> Announced {
    let mut fields = message.split(|byte| *byte == 0);
    match fields.find_map(|field| field.strip_prefix(b"SUBSYSTEM=")) {
        Some(b"input") => Announced::Input,
        Some(b"virtio-ports") => Announced::VirtioPort,
        _ => Announced::Other,
    }
}

/// The line in which the kernel said why it panicked, from what pstore kept of the boot before.
pub(crate) fn last_panic() -> Option<String> {
    let records = std::fs::read_dir("/sys/fs/pstore").ok()?;
    let mut found = None;
    for record in records.flatten().take(MAX_RECORDS) {
        if !record.file_name().to_string_lossy().starts_with("dmesg-") {
            continue;
        }
        let Ok(file) = std::fs::File::open(record.path()) else {
            continue;
        };
        let mut bytes = Vec::new();
        if file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes).is_ok() {
            let line = panic_line(&String::from_utf8_lossy(&bytes));
            found = Some(line.or(found.flatten()));
        }
    }
    found.map(|line| line.unwrap_or_else(|| "kernel panic, its reason was not kept".into()))
}

const MAX_RECORDS: usize = 64;
const MAX_RECORD_BYTES: u64 = 128 * 1024;

/// PID 1's own last words say more than the kernel's about it.
fn panic_line(text: &str) -> Option<String> {
    let after = |mark: &str| {
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.find(mark).map(|at| &line[at..]))?;
        let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        Some(printable.take(140).collect())
    };
    after("x0: PID 1 ").or_else(|| after("Kernel panic - not syncing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_told_apart() {
        let message = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=virtio-ports\0SEQNUM=7\0";
        assert_eq!(announced(message), Announced::VirtioPort);
        assert_eq!(announced(b"SUBSYSTEM=input"), Announced::Input);
        assert_eq!(announced(b"\xff\0\0SUBSYSTEM="), Announced::Other);
    }

    #[test]
    fn the_reason_of_a_panic_is_found() {
        let dump = "Panic#1 Part1\n<6>[ 1.0] x\n<0>[ 9.1] Kernel panic - not syncing: dm-verity device corrupted\n";
        let line = panic_line(dump).unwrap();
        assert_eq!(
            line,
            "Kernel panic - not syncing: dm-verity device corrupted"
        );
        let ours = format!("<2>[ 9.0] x0: PID 1 got fatal signal 11; it ends now\n{dump}");
        assert_eq!(
            panic_line(&ours).unwrap(),
            "x0: PID 1 got fatal signal 11; it ends now"
        );
        assert_eq!(panic_line("nothing"), None);
    }
}
