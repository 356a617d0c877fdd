//! Identifiers, atoms, terms and payloads inside types that derive serde.
//!
//! They travel through serde as a newtype struct with a name that nobody else uses. The serializer
//! and the deserializer of this crate know these names, and hand the text of an atom or the bytes of
//! the encoded term through. Other formats see these bytes; those for humans see Erlang syntax.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use super::atom::Atom;
use super::encode::{Encoder, TYPICAL_TERM};
use super::error::DecodeError;
use super::ids::{Pid, Port, Ref};
use super::limits::Limits;
use super::payload::Payload;
use super::read::Reader;
use super::term::Term;

/// What follows is the text of an atom.
pub(crate) const ATOM_TOKEN: &str = "$gusset::atom";
/// What follows are the bytes of an encoded term.
pub(crate) const TERM_TOKEN: &str = "$gusset::term";

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.as_str());
        }
        serializer.serialize_newtype_struct(ATOM_TOKEN, self.as_str())
    }
}

/// Bytes for `serialize_bytes`; a slice of its own would become a list.
struct Encoded<'a>(&'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn serialize<S: Serializer>(
    serializer: S,
    text: &dyn fmt::Display,
    encode: impl FnOnce(&mut Encoder<'_>) -> Result<(), S::Error>,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.collect_str(text);
    }
    let mut buf = BytesMut::with_capacity(TYPICAL_TERM);
    encode(&mut Encoder::new(&mut buf))?;
    serializer.serialize_newtype_struct(TERM_TOKEN, &Encoded(&buf))
}

macro_rules! identifiers {
    ($($type:ty, $method:ident;)*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize(serializer, self, |encoder| {
                    encoder.$method(self);
                    Ok(())
                })
            }
        }

        impl FromEncoded for $type {
            fn from_encoded(bytes: Cow<'_, [u8]>) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(&bytes, &[]);
                let value = reader.$method()?;
                reader.finish()?;
                Ok(value)
            }
        })*
    };
}

identifiers! {
    Pid, pid;
    Port, port;
    Ref, reference;
}

impl Serialize for Term {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(serializer, self, |encoder| self.encode(encoder).map_err(S::Error::custom))
    }
}

impl FromEncoded for Term {
    fn from_encoded(bytes: Cow<'_, [u8]>) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&bytes, &[]);
        let term = Self::decode(&mut reader, &Limits::default())?;
        reader.finish()?;
        Ok(term)
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let contained = self.self_contained().map_err(S::Error::custom)?;
        if serializer.is_human_readable() {
            return serializer.collect_str(&contained.term().map_err(S::Error::custom)?);
        }
        serializer.serialize_newtype_struct(TERM_TOKEN, &Encoded(contained.bytes()))
    }
}

impl FromEncoded for Payload {
    fn from_encoded(bytes: Cow<'_, [u8]>) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&bytes, &[]);
        reader.skip()?;
        reader.finish()?;
        Ok(Self::new(Bytes::from(bytes.into_owned()), None))
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::from_term(&Term::from_text(text)?).ok()
    }
}

/// What can be made of a term that stands for itself.
trait FromEncoded: Sized {
    fn from_encoded(bytes: Cow<'_, [u8]>) -> Result<Self, DecodeError>;

    /// From Erlang syntax, where a format for humans has it.
    fn from_text(_: &str) -> Option<Self> {
        None
    }
}

macro_rules! deserialize {
    ($($type:ty, $expected:literal;)*) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = EncodedVisitor { expected: $expected, made: PhantomData };
                deserializer.deserialize_newtype_struct(TERM_TOKEN, visitor)
            }
        })*
    };
}

deserialize! {
    Pid, "a pid";
    Port, "a port";
    Ref, "a reference";
    Term, "a term";
    Payload, "a term";
}

struct EncodedVisitor<T> {
    expected: &'static str,
    made: PhantomData<T>,
}

impl<T: FromEncoded> EncodedVisitor<T> {
    fn make<E: de::Error>(bytes: Cow<'_, [u8]>) -> Result<T, E> {
        // The place is known better by the deserializer.
        T::from_encoded(bytes).map_err(|error| E::custom(error.kind))
    }
}

impl<'de, T: FromEncoded> Visitor<'de> for EncodedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        // Text in formats for humans; and what serde keeps for untagged enums, which says it is one.
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(self);
        }
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        Self::make(Cow::Borrowed(bytes))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<T, E> {
        Self::make(Cow::Owned(bytes))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(ATOM_TOKEN, AtomVisitor)
    }
}

struct AtomVisitor;

impl<'de> Visitor<'de> for AtomVisitor {
    type Value = Atom;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an atom")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Atom, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(self);
        }
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Atom, E> {
        Atom::new(text).map_err(E::custom)
    }

    /// What an atom becomes on its way through an untagged enum or a flattened struct.
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Atom, E> {
        self.visit_str(if value { "true" } else { "false" })
    }

    /// As [`visit_bool`](Self::visit_bool).
    fn visit_unit<E: de::Error>(self) -> Result<Atom, E> {
        self.visit_str("nil")
    }
}
