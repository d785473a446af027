//! seccomp(2): loading a filter, and answering what it refers to PID 1.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ioctl;

/// linux/seccomp.h; libc has no constant for it.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
// _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp).
const NOTIF_RECV: u64 = 3 << 30 | (size_of::<libc::seccomp_notif>() as u64) << 16 | 0x2100;
const NOTIF_SEND: u64 = 3 << 30 | (size_of::<libc::seccomp_notif_resp>() as u64) << 16 | 0x2101;

/// Confines this process for ever; gives the descriptor on which refused calls are reported.
///
/// # Errors
/// When the kernel refuses, e.g. because the bytes are no filter.
pub(crate) fn load_filter(bytes: &[u8]) -> io::Result<OwnedFd> {
    let instructions: Vec<libc::sock_filter> = bytes
        .chunks_exact(size_of::<libc::sock_filter>())
        .map(|i| libc::sock_filter {
            code: u16::from_le_bytes([i[0], i[1]]),
            jt: i[2],
            jf: i[3],
            k: u32::from_le_bytes([i[4], i[5], i[6], i[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: instructions.as_ptr().cast_mut(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV;
    // SAFETY: the program's instructions outlive the call, which copies and checks them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether something can be read right now.
#[must_use]
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::IN)
}

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    id: u64,
    pub(crate) pid: u32,
    pub(crate) number: u32,
    /// The first two arguments, as numbers.
    pub(crate) arguments: [u64; 2],
}

/// Takes one call from a listener that is ready; then it does not block: the kernel counts more calls
/// than are still waiting, never fewer, and ENOENT stands for one whose caller has died.
///
/// # Errors
/// When there is none.
pub(crate) fn receive_call(listener: BorrowedFd<'_>) -> io::Result<Asked> {
    // SAFETY: plain numbers; the kernel wants them to be zero.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: SECCOMP_IOCTL_NOTIF_RECV writes one seccomp_notif, which outlives the call.
    unsafe { ioctl(listener.as_fd(), NOTIF_RECV, (&raw mut asked).cast()) }?;
    Ok(Asked {
        id: asked.id,
        pid: asked.pid,
        number: u32::try_from(asked.data.nr).unwrap_or(u32::MAX),
        arguments: [asked.data.args[0], asked.data.args[1]],
    })
}

/// Lets the call fail with EPERM.
///
/// # Errors
/// When the caller has died in the meantime.
pub(crate) fn refuse_call(listener: BorrowedFd<'_>, asked: Asked) -> io::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id: asked.id,
        val: 0,
        error: -libc::EPERM,
        flags: 0,
    };
    // SAFETY: SECCOMP_IOCTL_NOTIF_SEND reads one seccomp_notif_resp, which outlives the call.
    unsafe { ioctl(listener.as_fd(), NOTIF_SEND, (&raw mut answer).cast()) }
}

/// Which Landlock the kernel has; 0 without any.
#[must_use]
pub(crate) fn landlock_version() -> u32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel takes no attributes and gives a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Namespaces of its own for this process: mounts, and with `network` an empty network.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn unshare(network: bool) -> io::Result<()> {
    let flags = libc::CLONE_NEWNS | if network { libc::CLONE_NEWNET } else { 0 };
    // SAFETY: there are no other threads, and the descriptor table is not shared.
    super::check(unsafe { libc::unshare(flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers() {
        assert_eq!(NOTIF_RECV, 0xc050_2100);
        assert_eq!(NOTIF_SEND, 0xc018_2101);
    }

    #[test]
    fn nonsense_is_no_filter() {
        assert!(load_filter(&[0xff; 16]).is_err());
        assert!(receive_call(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
