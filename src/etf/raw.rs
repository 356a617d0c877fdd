//! Identifiers, atoms, funs, terms and payloads inside types that derive serde.
//!
//! They travel through serde as a newtype struct with a name that nobody else uses. The serializer
//! and the deserializer of this crate know these names, and hand the text of an atom or the bytes of
//! the encoded term through. Other formats see these bytes; those for humans see Erlang syntax.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use bytes::BytesMut;
use num_bigint::BigInt;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use super::atom::Atom;
use super::encode::Encoder;
use super::error::DecodeError;
use super::handed;
use super::ids::{Pid, Port, Ref};
use super::limits::Limits;
use super::payload::Payload;
use super::read::{Integer, Reader};
use super::term::{BitString, Fun, Record, Term};

/// What follows is the text of an atom.
pub(crate) const ATOM_TOKEN: &str = "$gusset::atom";
/// What follows are the bytes of an encoded term.
pub(crate) const TERM_TOKEN: &str = "$gusset::term";
/// What follows is a binary, to be kept without a copy where that can be.
pub(crate) const BYTES_TOKEN: &str = "$gusset::bytes";
/// What follows is a map or a struct, to be written as a keyword list.
pub(crate) const KEYWORD_TOKEN: &str = "$gusset::keyword";
/// What follows is text, to be written as a list of characters.
pub(crate) const CHARLIST_TOKEN: &str = "$gusset::charlist";
/// What follows is a sequence, to be written as the keys of a map.
pub(crate) const SET_TOKEN: &str = "$gusset::set";

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.as_str());
        }
        serializer.serialize_newtype_struct(ATOM_TOKEN, &AtomText(self))
    }
}

/// An atom behind its token.
struct AtomText<'a>(&'a Atom);

impl Serialize for AtomText<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Formats for humans do not come here, so this is the serializer of this crate: its atoms need not be text.
        if serializer.is_human_readable() {
            return serializer.serialize_bytes(self.0.as_bytes());
        }
        serializer.serialize_str(self.0.as_str())
    }
}

/// Bytes for `serialize_bytes`; a slice of its own would become a list.
pub(super) struct Encoded<'a>(pub(super) &'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

pub(super) fn serialize<S: Serializer>(
    serializer: S,
    text: &dyn fmt::Display,
    encode: impl FnOnce(&mut Encoder<'_>) -> Result<(), S::Error>,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.collect_str(text);
    }
    let mut buf = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buf.clear();
    encode(&mut Encoder::new(&mut buf))?;
    let serialized = serializer.serialize_newtype_struct(TERM_TOKEN, &Encoded(&buf));
    if buf.capacity() <= KEPT {
        let _ = SCRATCH.try_with(|scratch| scratch.set(buf));
    }
    serialized
}

thread_local! {
    /// Where terms are encoded before serde takes their bytes.
    static SCRATCH: Cell<BytesMut> = Cell::default();
}

/// A larger buffer is not kept.
const KEPT: usize = 4096;

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
            #[inline(always)]
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$method()
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
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode(reader, &Limits::default())
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

macro_rules! parts {
    ($($type:ty, $pattern:pat => $value:expr, $expected:literal;)*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Term::from(self.clone()).serialize(serializer)
            }
        }

        impl FromEncoded for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let start = reader.clone();
                match Term::read(reader)? {
                    $pattern => Ok($value),
                    _ => start.unexpected($expected),
                }
            }
        })*
    };
}

parts! {
    Fun, Term::Fun(fun) => *fun, "a fun";
    Record, Term::Record(record) => *record, "a native record";
    BitString, Term::BitString(bits) => *bits, "a bitstring";
}

/// An integer of any size, within the default limits as a tree.
pub(super) fn integer(reader: &mut Reader<'_>) -> Result<BigInt, DecodeError> {
    let (start, limits) = (reader.offset(), Limits::default());
    let integer = reader.integer()?;
    if let Integer::Big { magnitude, .. } = &integer {
        limits.check("the size of an integer", magnitude.len(), limits.integer_bytes, "integer_bytes", start)?;
    }
    Ok(integer.to_bigint())
}

impl FromEncoded for BigInt {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        integer(reader)
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
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let term = reader.rest();
        reader.skip()?;
        let len = term.len() - reader.rest().len();
        Ok(Self::copied(term.get(..len).unwrap_or_default(), None))
    }

    fn from_part(part: Payload) -> Result<Self, DecodeError> {
        Ok(part)
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::from_term(&Term::from_text(text)?).ok()
    }
}

/// What can be made of a term that stands for itself.
pub(super) trait FromEncoded: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// From a slice of the message.
    fn from_part(part: Payload) -> Result<Self, DecodeError> {
        read_all(&mut part.reader())
    }

    /// From Erlang syntax, where a format for humans has it.
    fn from_text(_: &str) -> Option<Self> {
        None
    }
}

#[inline(always)]
fn read_all<T: FromEncoded>(reader: &mut Reader<'_>) -> Result<T, DecodeError> {
    let value = T::read(reader)?;
    reader.finish()?;
    Ok(value)
}

/// Reads what [`serialize`] writes.
#[inline]
pub(super) fn deserialize<'de, T: FromEncoded, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(TERM_TOKEN, EncodedVisitor { expected, made: PhantomData })
}

macro_rules! deserialize {
    ($($type:ty, $expected:literal;)*) => {
        $(impl<'de> Deserialize<'de> for $type {
            #[inline]
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer, $expected)
            }
        })*
    };
}

deserialize! {
    Pid, "a pid";
    Port, "a port";
    Ref, "a reference";
    Fun, "a fun";
    Record, "a native record";
    BitString, "a bitstring";
    Term, "a term";
    Payload, "a term";
}

struct EncodedVisitor<T> {
    expected: &'static str,
    made: PhantomData<T>,
}

impl<'de, T: FromEncoded> Visitor<'de> for EncodedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        // Text in formats for humans; and what serde keeps for untagged enums, which says it is one.
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(self);
        }
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        match handed::take(bytes) {
            Some(part) => placeless(T::from_part(part)),
            None => placeless(read_all(&mut Reader::new(bytes, &[]))),
        }
    }

    /// These are never handed over.
    #[inline(always)]
    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<T, E> {
        placeless(read_all(&mut Reader::new(bytes, &[])))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Atom {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(ATOM_TOKEN, AtomVisitor)
    }
}

/// The place is known better by the deserializer.
#[inline(always)]
fn placeless<T, E: de::Error>(made: Result<T, DecodeError>) -> Result<T, E> {
    match made {
        Ok(made) => Ok(made),
        Err(error) => Err(E::custom(error.kind)),
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

    #[inline]
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Atom, E> {
        Atom::new(text).map_err(E::custom)
    }

    /// Text that need not be made a `str` before it becomes an atom.
    #[inline]
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Atom, E> {
        match Atom::of_ascii(bytes) {
            Some(atom) => Ok(atom),
            None => self.visit_str(std::str::from_utf8(bytes).map_err(E::custom)?),
        }
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
