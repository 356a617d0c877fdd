//! A binary as [`bytes::Bytes`], without a copy where it can be: `#[serde(with = "gusset::etf::bytes")]` on a field, or
//! [`Binary`] around the bytes.
//!
//! [`Payload::decode`](super::Payload::decode) gives a slice of the message, which keeps the whole message in
//! memory: for a small part of a large message that is to be kept for long, use `serde_bytes::ByteBuf`. Whatever else
//! reads (from a [`Reader`](super::Reader), through an untagged enum) copies.
//!
//! ```
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Chunk {
//!     offset: u64,
//!     #[serde(with = "gusset::etf::bytes")]
//!     data: bytes::Bytes,
//! }
//!
//! let message = gusset::etf::to_payload(&Chunk { offset: 0, data: vec![7; 4096].into() })?;
//! let chunk: Chunk = message.decode()?;
//! assert!(message.bytes().as_ptr_range().contains(&chunk.data.as_ptr()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::ops::Deref;

use ::bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::handed;
use super::raw::BYTES_TOKEN;

/// Writes a binary.
///
/// # Errors
/// As [`to_bytes`](super::to_bytes).
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads a binary, or a list of bytes.
///
/// # Errors
/// As [`from_bytes`](super::from_bytes).
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_newtype_struct(BYTES_TOKEN, BytesVisitor)
}

/// Bytes that are a binary, for where `with` does not reach: in an `Option`, a `Vec` or a map.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binary(pub Bytes);

impl Deref for Binary {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl<T: Into<Bytes>> From<T> for Binary {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a binary")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_byte_buf(self)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(match handed::take(bytes) {
            Some(part) => part.into_bytes(),
            None => Bytes::copy_from_slice(bytes),
        })
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        self.visit_bytes(text.as_bytes())
    }

    /// Formats without bytes, JSON among them, have lists instead.
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = elements.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}
