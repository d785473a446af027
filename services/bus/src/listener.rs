//! The listening socket, which PID 1 made (`sd_listen_fds(3)`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};

/// The first descriptor that is passed on; `SD_LISTEN_FDS_START` in `sd-daemon.h`.
const FIRST: RawFd = 3;

/// Takes the one socket that was passed. To be called once, before anything else is opened.
pub(crate) fn take() -> Result<OwnedFd, ListenerError> {
    let number = |name: &'static str| {
        let text = std::env::var(name).map_err(|_| ListenerError::Missing(name))?;
        text.parse::<u32>()
            .map_err(|_| ListenerError::Missing(name))
    };
    if number("LISTEN_PID")? != std::process::id() {
        return Err(ListenerError::Other);
    }
    match number("LISTEN_FDS")? {
        1 => {}
        count => return Err(ListenerError::Count(count)),
    }
    #[expect(
        unsafe_code,
        reason = "a number from the environment becomes a descriptor"
    )]
    // SAFETY: whoever started us passed descriptor 3 to this very process, as LISTEN_PID says, and
    // nothing else in it knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    // Inherited by the broker it would keep the socket open behind a controller's back.
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    // The broker accepts until there is nothing left to accept; it would wait there for ever.
    ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    #[error("{0} sockets were passed; the manifest has to name exactly one")]
    Count(u32),
    #[error(
        "no socket was passed: `{0}` does not tell a number; the manifest has to name one in [[sockets]]"
    )]
    Missing(&'static str),
    #[error("the passed socket is meant for another process (`LISTEN_PID`)")]
    Other,
    #[error("descriptor 3, which was passed, cannot be used")]
    Unusable(#[from] rustix::io::Errno),
}
