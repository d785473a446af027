//! Requests and answers over a netlink socket.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use thiserror::Error;

#[derive(Debug)]
pub(super) struct RequestSocket {
    socket: Socket,
    sequence: u32,
}

/// Why a request had no good answer.
#[derive(Debug, Error)]
pub enum RequestError {
    #[error("netlink {call} failed")]
    Call {
        call: &'static str,
        #[source]
        cause: io::Error,
    },
    /// The kernel's own error, with its words where it gives any.
    #[error("{0}")]
    Refused(io::Error),
    #[error("netlink answers make no sense: {0}")]
    Nonsense(String),
}

impl RequestError {
    /// The kernel's error number.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(error) => error.raw_os_error(),
            Self::Call { .. } | Self::Nonsense(_) => None,
        }
    }
}

impl RequestSocket {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Lets dumps be filtered by the kernel; without it they are filtered here.
        if let Err(error) = socket.set_netlink_get_strict_chk(true) {
            tracing::debug!(%error, "the kernel does not filter dumps");
        }
        // The kernel answers at once or never will; without a limit a lost answer would hang us.
        socket2::SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a change and waits for the acknowledgement.
    pub(super) fn change(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), RequestError> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags)
            .map(|_| ())
    }

    /// Sends a question and collects everything that the kernel answers.
    pub(super) fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, RequestError> {
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// Sends a question with one answer.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, RequestError> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK)
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, RequestError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket
            .send(&bytes, 0)
            .map_err(|cause| RequestError::Call {
                call: "send",
                cause,
            })?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self
                .socket
                .recv_from_full()
                .map_err(|cause| RequestError::Call {
                    call: "receive",
                    cause,
                })?;
            if self.read(&bytes, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Reads one datagram; true when it was the last.
    fn read(
        &self,
        mut bytes: &[u8],
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> Result<bool, RequestError> {
        while let Some((message, rest)) = split_message(bytes) {
            bytes = rest;
            let header = match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) {
                // An answer to an earlier question that timed out.
                Ok(answer) if answer.header.sequence_number != self.sequence => continue,
                Ok(answer) => answer,
                Err(error) => {
                    // One link with an attribute that the parser does not know must not hide all.
                    tracing::warn!(%error, "skipping a netlink answer that cannot be read");
                    continue;
                }
            };
            match header.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => return Err(RequestError::Refused(error.to_io())),
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                _ => {}
            }
        }
        if bytes.is_empty() {
            Ok(false)
        } else {
            Err(RequestError::Nonsense(format!(
                "{} bytes are left over",
                bytes.len()
            )))
        }
    }
}

/// The first of the messages in a datagram, and the rest (`NLMSG_NEXT`).
pub(super) fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = bytes
        .first_chunk::<4>()
        .map(|len| u32::from_ne_bytes(*len))?;
    let len = usize::try_from(len).ok().filter(|len| *len >= HEADER_LEN)?;
    let message = bytes.get(..len)?;
    Some((
        message,
        bytes.get(len.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

pub(super) const HEADER_LEN: usize = 16;
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
