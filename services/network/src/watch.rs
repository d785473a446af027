use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime tell when a socket is readable.
pub(crate) fn watch<T: OwnsDescriptor>(socket: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: T owns its descriptor, keeps it open until it is dropped, and never exchanges it: that
    // is what implementing OwnsDescriptor promises.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// Types that own one descriptor from their making to their drop.
pub(crate) trait OwnsDescriptor: AsRawFd {}

impl OwnsDescriptor for netlink_sys::Socket {}
impl OwnsDescriptor for socket2::Socket {}
