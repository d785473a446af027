use std::io;
use std::mem::{self, size_of};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::watch::watch;

/// Router discovery on one link: solicitations in, advertisements out. The kernel makes and checks
/// the checksums.
#[derive(Debug)]
pub struct IcmpSocket {
    socket: AsyncFd<Socket>,
    link_index: u32,
}

/// An ICMPv6 message as it came, for `ra::solicitation` to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solicitation {
    pub source: Ipv6Addr,
    pub hop_limit: Option<u8>,
    pub message: Vec<u8>,
}

impl IcmpSocket {
    /// # Errors
    /// When the link is gone or has no IPv6, or `CAP_NET_RAW` is missing.
    pub fn open(link_name: &str, link_index: u32) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
        accept_only(&socket, ROUTER_SOLICITATION)?;
        socket.bind_device(Some(link_name.as_bytes()))?;
        // RFC 4861 section 6.1.2: receivers refuse what may have come over a router.
        socket.set_multicast_hops_v6(255)?;
        socket.set_unicast_hops_v6(255)?;
        socket.set_multicast_if_v6(link_index)?;
        socket.set_multicast_loop_v6(false)?;
        socket.join_multicast_v6(&ALL_ROUTERS, link_index)?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &1i32)?;
        Ok(Self {
            socket: watch(socket)?,
            link_index,
        })
    }

    /// Sends an advertisement to all hosts on the link.
    ///
    /// # Errors
    /// When the link is down, or has no link-local address yet.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.link_index);
        self.socket
            .get_ref()
            .send_to(message, &to.into())
            .map(|_| ())
    }

    /// The next solicitation.
    pub fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Solicitation>> {
        loop {
            let mut guard = std::task::ready!(self.socket.poll_read_ready(context))?;
            match guard.try_io(|socket| receive(socket.as_raw_fd())) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }
}

fn receive(socket: RawFd) -> io::Result<Solicitation> {
    let mut message = vec![0u8; MESSAGE_MAX];
    let mut control = [0u64; 8];
    let mut parts = [libc::iovec {
        iov_base: message.as_mut_ptr().cast(),
        iov_len: message.len(),
    }];
    // SAFETY: all-zero bytes are a valid sockaddr_in6 and a valid msghdr.
    let (mut source, mut header): (libc::sockaddr_in6, libc::msghdr) = unsafe { mem::zeroed() };
    header.msg_name = std::ptr::from_mut(&mut source).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in6>()).expect("28");
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control);
    // SAFETY: every pointer in the header leads to memory of the stated length that outlives the
    // call; `control` is aligned for a cmsghdr.
    let len = unsafe { libc::recvmsg(socket, &raw mut header, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    message.truncate(len);
    let mut hop_limit = None;
    // SAFETY: the kernel has filled in the header; the CMSG functions stay within msg_controllen.
    let mut item = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !item.is_null() {
        // SAFETY: not null, so it points to a whole cmsghdr within `control`.
        let (level, kind) = unsafe { ((*item).cmsg_level, (*item).cmsg_type) };
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) {
            // SAFETY: the data of IPV6_HOPLIMIT is an int, perhaps unaligned.
            let value = unsafe { libc::CMSG_DATA(item).cast::<i32>().read_unaligned() };
            hop_limit = u8::try_from(value).ok();
        }
        // SAFETY: as above; `item` came from the same header.
        item = unsafe { libc::CMSG_NXTHDR(&raw const header, item) };
    }
    Ok(Solicitation {
        source: source.sin6_addr.s6_addr.into(),
        hop_limit,
        message,
    })
}

/// RFC 3542 section 3.2: a set bit blocks the type.
fn accept_only(socket: &Socket, kind: u8) -> io::Result<()> {
    let mut filter = [u32::MAX; 8];
    filter[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    set_option(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &filter)
}

fn set_option<T>(socket: &Socket, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).expect("options are a few bytes");
    // SAFETY: the kernel reads `len` bytes from `value`, which is a plain number or an array of
    // them and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const ROUTER_SOLICITATION: u8 = 133;
const ICMP6_FILTER: i32 = 1;
const MESSAGE_MAX: usize = 2048;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
