//! serde into bytes, with no tree between.
//!
//! | Rust | Erlang |
//! |---|---|
//! | `bool`, unit variant, unit struct | atom |
//! | `None` / `Some(value)` | `nil` / the value itself |
//! | `()` | `{}` |
//! | integers, `char` | integer |
//! | `f32`, `f64` | float |
//! | `str`, `String` | binary |
//! | `serde_bytes` | binary |
//! | `Vec` and other sequences | list |
//! | tuple, tuple struct, array | tuple |
//! | newtype struct | what it holds |
//! | newtype variant, tuple variant | `{tag, …}` |
//! | struct | map with atoms as keys |
//! | struct variant | `{tag, #{…}}` |
//! | map | map |
//! | `Result` | `{ok, Value}` or `{error, Reason}`; `ok` for `Ok(())` |
//! | [`Atom`], [`Pid`](super::Pid), [`Port`](super::Port), [`Ref`](super::Ref), [`Term`], [`Payload`] | themselves |
//!
//! A struct with `#[serde(flatten)]` is a map of unknown length to serde; the text keys of such a map
//! become atoms, as those of a struct.
//!
//! The names of variants and fields become atoms as they stand; `#[serde(rename_all = "snake_case")]`
//! makes them look native.

mod compound;
mod token;

use bytes::{Bytes, BytesMut};
use num_bigint::BigInt;
use serde::ser::{self, Serialize};

use super::atom::Atom;
use super::encode::{Encoder, TYPICAL_TERM};
use super::error::{EncodeError, EncodeErrorKind};
use super::payload::Payload;
use super::raw::{ATOM_TOKEN, TERM_TOKEN};
use super::tag;
use super::term::Term;
use crate::atom;

use compound::{Pairs, Seq, Tuple};
use token::Raw;

/// Writes a value as a stand-alone term, as `term_to_binary` does.
///
/// # Errors
/// For what the format cannot say (a float that is not finite, a name that is too long for an atom,
/// a key that comes twice), and what the `Serialize` implementation says.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, EncodeError> {
    let mut buf = BytesMut::with_capacity(TYPICAL_TERM);
    let mut encoder = Encoder::new(&mut buf);
    encoder.version();
    serialize_into(value, &mut encoder)?;
    Ok(buf.freeze())
}

/// Writes a value as the payload of a message.
///
/// # Errors
/// As [`to_bytes`].
pub fn to_payload<T: Serialize + ?Sized>(value: &T) -> Result<Payload, EncodeError> {
    let mut buf = BytesMut::with_capacity(TYPICAL_TERM);
    serialize_into(value, &mut Encoder::new(&mut buf))?;
    Ok(Payload::new(buf.freeze(), None))
}

/// Makes a tree of a value.
///
/// # Errors
/// As [`to_bytes`], and for a tree that is too deep.
pub fn to_term<T: Serialize + ?Sized>(value: &T) -> Result<Term, EncodeError> {
    to_payload(value)?.term().map_err(ser::Error::custom)
}

/// Writes a value with an encoder, as one term among others.
///
/// # Errors
/// As [`to_bytes`]; the buffer then holds half a term.
pub fn serialize_into<T: Serialize + ?Sized>(value: &T, encoder: &mut Encoder<'_>) -> Result<(), EncodeError> {
    value.serialize(Serializer::new(encoder))
}

/// Writes one value with an [`Encoder`].
struct Serializer<'s, 'a> {
    encoder: &'s mut Encoder<'a>,
    /// Text becomes an atom: the name of a field.
    is_name: bool,
}

type Ok = ();

impl<'s, 'a> Serializer<'s, 'a> {
    fn new(encoder: &'s mut Encoder<'a>) -> Self {
        Self { encoder, is_name: false }
    }

    fn name(&mut self, name: &str) -> Result<(), EncodeError> {
        self.encoder.atom(&Atom::new(name).map_err(EncodeErrorKind::from)?);
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(Serializer::new(self.encoder))
    }

    /// A tuple of `len` elements, behind the name of a variant.
    fn tuple(mut self, len: usize, variant: Option<&'static str>) -> Result<Tuple<'s, 'a>, EncodeError> {
        let arity = len.saturating_add(usize::from(variant.is_some()));
        let too_many = EncodeErrorKind::TooMany { count: arity, most: u32::MAX as usize };
        self.encoder.tuple_header(u32::try_from(arity).map_err(|_| too_many)?);
        if let Some(variant) = variant {
            self.name(variant)?;
        }
        Ok(Tuple { encoder: self.encoder, announced: len, written: 0 })
    }

    fn map(self, is_flattened: bool) -> Pairs<'s, 'a> {
        let at = self.encoder.buffer().len();
        self.encoder.map_header(0);
        Pairs { encoder: self.encoder, at, written: 0, keys: is_flattened.then(Vec::new) }
    }
}

macro_rules! integers {
    ($($method:ident $type:ty => $encode:ident),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<Ok, EncodeError> {
            self.encoder.$encode(value.into());
            Ok(())
        })*
    };
}

impl<'s, 'a> ser::Serializer for Serializer<'s, 'a> {
    type Ok = Ok;
    type Error = EncodeError;
    type SerializeSeq = Seq<'s, 'a>;
    type SerializeTuple = Tuple<'s, 'a>;
    type SerializeTupleStruct = Tuple<'s, 'a>;
    type SerializeTupleVariant = Tuple<'s, 'a>;
    type SerializeMap = Pairs<'s, 'a>;
    type SerializeStruct = Pairs<'s, 'a>;
    type SerializeStructVariant = Pairs<'s, 'a>;

    integers! {
        serialize_i8 i8 => i64,
        serialize_i16 i16 => i64,
        serialize_i32 i32 => i64,
        serialize_i64 i64 => i64,
        serialize_u8 u8 => u64,
        serialize_u16 u16 => u64,
        serialize_u32 u32 => u64,
        serialize_u64 u64 => u64,
    }

    fn serialize_i128(self, value: i128) -> Result<Ok, EncodeError> {
        self.encoder.big(&BigInt::from(value));
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<Ok, EncodeError> {
        self.encoder.big(&BigInt::from(value));
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<Ok, EncodeError> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Ok, EncodeError> {
        if !value.is_finite() {
            return Err(EncodeErrorKind::NotFinite(value).into());
        }
        self.encoder.f64(value);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<Ok, EncodeError> {
        self.encoder.atom(&if value { atom!("true") } else { atom!("false") });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<Ok, EncodeError> {
        self.serialize_u32(value.into())
    }

    fn serialize_str(mut self, value: &str) -> Result<Ok, EncodeError> {
        if self.is_name {
            return self.name(value);
        }
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Ok, EncodeError> {
        if u32::try_from(value.len()).is_err() {
            return Err(EncodeErrorKind::TooMany { count: value.len(), most: u32::MAX as usize }.into());
        }
        self.encoder.binary(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<Ok, EncodeError> {
        self.encoder.atom(&atom!("nil"));
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Ok, EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Ok, EncodeError> {
        self.encoder.tuple_header(0);
        Ok(())
    }

    fn serialize_unit_struct(mut self, name: &'static str) -> Result<Ok, EncodeError> {
        self.name(name)
    }

    fn serialize_unit_variant(mut self, _: &'static str, _: u32, variant: &'static str) -> Result<Ok, EncodeError> {
        self.name(variant).map_err(|error| error.within(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<Ok, EncodeError> {
        match name {
            TERM_TOKEN | ATOM_TOKEN => value.serialize(Raw { encoder: self.encoder }),
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Ok, EncodeError> {
        let variant = match (name, variant) {
            ("Result", "Ok") => "ok",
            ("Result", "Err") => "error",
            _ => variant,
        };
        let start = self.encoder.buffer().len();
        self.encoder.tuple_header(2);
        self.name(variant)?;
        let value_at = self.encoder.buffer().len();
        self.value(value).map_err(|error| error.within(variant))?;
        // `Ok(())` is the atom alone, as everywhere in Erlang.
        if name == "Result" && variant == "ok" && self.encoder.buffer().get(value_at..) == Some(EMPTY_TUPLE) {
            self.encoder.buffer().truncate(start);
            self.name(variant)?;
        }
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Seq<'s, 'a>, EncodeError> {
        let at = self.encoder.buffer().len();
        self.encoder.list_header(0);
        Ok(Seq { encoder: self.encoder, at, written: 0 })
    }

    fn serialize_tuple(self, len: usize) -> Result<Tuple<'s, 'a>, EncodeError> {
        self.tuple(len, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Tuple<'s, 'a>, EncodeError> {
        self.tuple(len, None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Tuple<'s, 'a>, EncodeError> {
        self.tuple(len, Some(variant))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Pairs<'s, 'a>, EncodeError> {
        // Collections know their length and have each key once. Who does not is a struct with
        // `#[serde(flatten)]`: its fields are to be atoms as well, and may come twice.
        Ok(self.map(len.is_none()))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Pairs<'s, 'a>, EncodeError> {
        Ok(self.map(false))
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Pairs<'s, 'a>, EncodeError> {
        self.encoder.tuple_header(2);
        self.name(variant)?;
        Ok(self.map(false))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

const EMPTY_TUPLE: &[u8] = &[tag::SMALL_TUPLE, 0];

impl ser::Error for EncodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        EncodeErrorKind::Custom(message.to_string()).into()
    }
}
