use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A VLAN's number: 1 to 4094 (IEEE 802.1Q).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct VlanId(u16);

/// A link's MTU in bytes: 576 to 65535; with IPv6 on the link 1280 at least (RFC 8200 section 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "i64", into = "u32")]
pub struct Mtu(u32);

/// Why a number is not such a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NumberError {
    /// For [`VlanId`].
    #[error("a VLAN id is a number from 1 to 4094")]
    VlanId,
    /// For [`Mtu`].
    #[error("an MTU is a number of bytes from 576 to 65535")]
    Mtu,
}

impl VlanId {
    /// The number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl Mtu {
    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for VlanId {
    type Error = NumberError;

    fn try_from(number: i64) -> Result<Self, NumberError> {
        match u16::try_from(number) {
            Ok(id @ 1..=4094) => Ok(Self(id)),
            _ => Err(NumberError::VlanId),
        }
    }
}

impl TryFrom<i64> for Mtu {
    type Error = NumberError;

    fn try_from(number: i64) -> Result<Self, NumberError> {
        match u32::try_from(number) {
            Ok(bytes @ 576..=65535) => Ok(Self(bytes)),
            _ => Err(NumberError::Mtu),
        }
    }
}

impl JsonSchema for VlanId {
    fn schema_name() -> Cow<'static, str> {
        "vlan-id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 4094 })
    }
}

impl JsonSchema for Mtu {
    fn schema_name() -> Cow<'static, str> {
        "mtu".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "minimum": 576,
            "maximum": 65535,
            "description": "Bytes; with IPv6 on the link 1280 at least",
        })
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> Self {
        id.0
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> Self {
        mtu.0
    }
}

impl fmt::Debug for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
