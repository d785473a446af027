//! Messages as they lie on the wire: D-Bus specification, "Message Protocol".

use std::io::{self, Read};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{DynamicType, Endian, Type, Variant};

const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const SENDER: u8 = 7;

/// Bytes before the header's fields.
const FIXED: usize = 16;
/// The specification's limit, over header and body.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// The kind of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    Call {
        destination: &'a str,
        path: &'a str,
        interface: &'a str,
        member: &'a str,
    },
    Reply {
        to: &'a Message,
    },
    /// To everyone.
    Signal {
        path: &'a str,
        interface: &'a str,
        member: &'a str,
    },
}

impl<'a> Outgoing<'a> {
    /// A call of the bus itself.
    #[must_use]
    pub fn driver(member: &'a str) -> Self {
        let driver = "org.freedesktop.DBus";
        Self::call(driver, "/org/freedesktop/DBus", driver, member)
    }

    /// A call.
    #[must_use]
    pub fn call(destination: &'a str, path: &'a str, interface: &'a str, member: &'a str) -> Self {
        Self::Call {
            destination,
            path,
            interface,
            member,
        }
    }

    /// The message's bytes.
    ///
    /// # Errors
    /// When a name is not one, or the body cannot be encoded.
    pub fn encode<B: Serialize + DynamicType>(
        &self,
        serial: NonZeroU32,
        body: &B,
    ) -> io::Result<Vec<u8>> {
        let builder = match *self {
            Self::Call {
                destination,
                path,
                interface,
                member,
            } => zbus::Message::method_call(path, member)
                .destination(destination)
                .interface(interface),
            Self::Signal {
                path,
                interface,
                member,
            } => zbus::Message::signal(path, interface, member),
            Self::Reply { to } => {
                let call = zbus::Message::method_call("/", "Call")
                    .sender(to.sender.as_deref().unwrap_or_default())
                    .serial(NonZeroU32::new(to.serial).unwrap_or(NonZeroU32::MIN))
                    .build(&())
                    .map_err(invalid)?;
                zbus::Message::method_return(&call.header())
            }
        };
        let message = builder.serial(serial).build(body).map_err(invalid)?;
        Ok(message.data().bytes().to_vec())
    }
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u8,
    pub serial: u32,
    pub reply_serial: Option<u32>,
    pub sender: Option<String>,
    pub error_name: Option<String>,
    pub interface: Option<String>,
    pub member: Option<String>,
    pub bytes: Vec<u8>,
}

impl Message {
    /// Reads exactly one.
    ///
    /// # Errors
    /// When the stream ends before, or what it holds is none.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let body_at = read_bytes(from, &mut bytes)?;
        let body = bytes.split_off(body_at);
        let data = Data::new(bytes, Context::new(Endian::Little, 0));
        let (head, _): (Head<'_>, usize) = data.deserialize().map_err(invalid)?;
        let mut message = Self {
            kind: head.kind,
            serial: head.serial,
            reply_serial: None,
            sender: None,
            error_name: None,
            interface: None,
            member: None,
            bytes: body,
        };
        for (code, value) in head.fields {
            let slot = match (code, value) {
                (REPLY_SERIAL, Variant::U32(serial)) => {
                    message.reply_serial = Some(serial);
                    continue;
                }
                (SENDER, Variant::Str(text)) => (&mut message.sender, text),
                (ERROR_NAME, Variant::Str(text)) => (&mut message.error_name, text),
                (INTERFACE, Variant::Str(text)) => (&mut message.interface, text),
                (MEMBER, Variant::Str(text)) => (&mut message.member, text),
                _ => continue,
            };
            *slot.0 = Some(slot.1.to_string());
        }
        Ok(message)
    }

    /// The body as a `T`.
    ///
    /// # Errors
    /// When it is none.
    pub fn body<T: for<'a> Deserialize<'a> + Type>(&self) -> io::Result<T> {
        let data = Data::new(&self.bytes[..], Context::new(Endian::Little, 0));
        let (body, _) = data.deserialize().map_err(invalid)?;
        Ok(body)
    }

    /// An error becomes one whose text is its name.
    ///
    /// # Errors
    /// When it is one.
    pub fn into_result(self) -> io::Result<Self> {
        match &self.error_name {
            Some(name) => Err(io::Error::other(name.clone())),
            None => Ok(self),
        }
    }
}

/// Reads exactly one message into `bytes`, and returns where its body begins.
pub(crate) fn read_bytes(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<usize> {
    bytes.resize(FIXED, 0);
    from.read_exact(bytes)?;
    if bytes[0] != b'l' {
        return Err(invalid("only little-endian messages are expected here"));
    }
    let number = |at: usize| {
        let four = bytes[at..at + 4].try_into();
        usize::try_from(u32::from_le_bytes(four.expect("four bytes are four bytes")))
            .expect("at least 32 bits")
    };
    let (length, fields) = (number(4), number(12));
    let body_at = FIXED + fields.next_multiple_of(8);
    if body_at + length > MAX_BYTES {
        return Err(invalid("the message is longer than any may be"));
    }
    bytes.resize(body_at + length, 0);
    from.read_exact(&mut bytes[FIXED..])?;
    Ok(body_at)
}

#[derive(Debug, Deserialize, Type)]
#[expect(
    dead_code,
    reason = "fields that nobody asks for still take their place"
)]
struct Head<'a> {
    endian: u8,
    kind: u8,
    flags: u8,
    version: u8,
    length: u32,
    serial: u32,
    #[serde(borrow)]
    fields: Vec<(u8, Variant<'a>)>,
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
