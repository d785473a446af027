use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use config::IfName;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::dhcp::client::Transmit;
use crate::dhcp::frame;
use crate::watch::watch;

/// A DHCP client's packets on one link, below the kernel's IP: it works without any address.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<Socket>,
    link_name: IfName,
    link_index: i32,
    /// For messages to one server, which may be behind a relay: the kernel finds the way. Answers
    /// are read from the packet socket all the same; this one only keeps the port open, so that
    /// the kernel does not refuse them.
    datagrams: Option<Socket>,
}

impl PacketSocket {
    /// # Errors
    /// When the link is gone, or `CAP_NET_RAW` is missing.
    pub fn open(link_name: &IfName, link_index: u32) -> io::Result<Self> {
        let link_index = i32::try_from(link_index).map_err(io::Error::other)?;
        // Protocol 0 hears nothing yet: otherwise packets of every link would come in before the
        // filter is set and the socket bound.
        let socket = Socket::new(
            Domain::PACKET,
            Type::DGRAM.nonblocking(),
            Some(Protocol::from(0)),
        )?;
        set_filter(&socket)?;
        socket.bind(&address(link_index, None)?)?;
        Ok(Self {
            socket: watch(socket)?,
            link_name: link_name.clone(),
            link_index,
            datagrams: None,
        })
    }

    /// Sends a message to a server, or to all on the link.
    ///
    /// # Errors
    /// When the link is down, or there is no way to the server.
    pub fn send(&mut self, message: &Transmit) -> io::Result<()> {
        let Transmit {
            source,
            server,
            payload,
        } = message;
        let Some(server) = server else {
            let packet = frame::wrap(*source, Ipv4Addr::BROADCAST, payload);
            let to = address(self.link_index, Some([0xff; 6]))?;
            return self.socket.get_ref().send_to(&packet, &to).map(|_| ());
        };
        let socket = match self.datagrams.take() {
            Some(socket) => socket,
            None => self.open_datagrams(*source)?,
        };
        let to = SocketAddrV4::new(*server, frame::SERVER_PORT);
        socket.send_to(payload, &to.into())?;
        self.datagrams = Some(socket);
        Ok(())
    }

    fn open_datagrams(&self, source: Ipv4Addr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.bind_device(Some(self.link_name.as_str().as_bytes()))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddrV4::new(source, frame::CLIENT_PORT).into())?;
        Ok(socket)
    }

    /// The next message from a server.
    pub fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let mut buffer = [0; PACKET_MAX];
        loop {
            let mut guard = std::task::ready!(self.socket.poll_read_ready(context))?;
            let received = guard.try_io(|socket| {
                // MSG_TRUNC: the true length, so that a packet that was cut is noticed.
                let mut socket = socket.get_ref();
                io::Read::read(&mut socket, &mut buffer)
            });
            match received {
                Ok(Ok(len)) => {
                    if let Some(payload) = buffer.get(..len).and_then(frame::unwrap) {
                        return Poll::Ready(Ok(payload.to_vec()));
                    }
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

/// Only UDP over IPv4 to the client's port, no fragments: the link's other traffic stays in the
/// kernel. Offsets count from the IP header, as the socket is of type SOCK_DGRAM.
fn set_filter(socket: &Socket) -> io::Result<()> {
    const LD_B_ABS: u16 = 0x30;
    const LD_H_ABS: u16 = 0x28;
    const LDX_B_MSH: u16 = 0xb1;
    const LD_H_IND: u16 = 0x48;
    const JEQ: u16 = 0x15;
    const JSET: u16 = 0x45;
    const RET: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LD_B_ABS, 0, 0, 9),
        step(JEQ, 0, 6, 17),
        step(LD_H_ABS, 0, 0, 6),
        step(JSET, 4, 0, 0x1fff),
        step(LDX_B_MSH, 0, 0, 0),
        step(LD_H_IND, 0, 0, 2),
        step(JEQ, 0, 1, u32::from(frame::CLIENT_PORT)),
        step(RET, 0, 0, u32::MAX),
        step(RET, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("nine steps"),
        filter: program.as_mut_ptr(),
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).expect("16 bytes");
    // SAFETY: SO_ATTACH_FILTER reads a sock_fprog of this size, and `len` steps behind its pointer;
    // both outlive the call, and the kernel keeps a copy.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `sockaddr_ll` for IPv4 on a link.
fn address(link_index: i32, mac: Option<[u8; 6]>) -> io::Result<SockAddr> {
    let protocol = u16::try_from(libc::ETH_P_IP).expect("an EtherType has 16 bits");
    // SAFETY: the closure gets zeroed storage that is large and aligned enough for every kind of
    // address, fills in a sockaddr_ll, for which all-zero bytes are valid, and sets its length.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let link = &mut *storage.cast::<libc::sockaddr_ll>();
            link.sll_family = u16::try_from(libc::AF_PACKET).expect("17");
            link.sll_protocol = protocol.to_be();
            link.sll_ifindex = link_index;
            if let Some(mac) = mac {
                link.sll_halen = 6;
                link.sll_addr[..6].copy_from_slice(&mac);
            }
            *len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("20 bytes");
            Ok(())
        })
    }?;
    Ok(address)
}

/// More than any DHCP reply: what is longer is cut, and then refused for its length.
const PACKET_MAX: usize = 4096;
