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

use bytes::{Bytes, BytesMut};
use num_bigint::BigInt;
use serde::ser::{self, Impossible, Serialize};

use super::atom::Atom;
use super::encode::Encoder;
use super::error::{EncodeError, EncodeErrorKind};
use super::payload::Payload;
use super::raw::{ATOM_TOKEN, TERM_TOKEN};
use super::read::Reader;
use super::tag;
use super::term::Term;
use crate::atom;

/// Writes a value as a stand-alone term, as `term_to_binary` does.
///
/// # Errors
/// For what the format cannot say (a float that is not finite, a name that is too long for an atom,
/// a key that comes twice), and what the `Serialize` implementation says.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, EncodeError> {
    let mut buf = BytesMut::new();
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
    let mut buf = BytesMut::new();
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

/// A list whose length is written when its end is known.
struct Seq<'s, 'a> {
    encoder: &'s mut Encoder<'a>,
    at: usize,
    written: usize,
}

impl ser::SerializeSeq for Seq<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let index = self.written;
        self.written += 1;
        value.serialize(Serializer::new(self.encoder)).map_err(|error| error.within_index(index))
    }

    fn end(self) -> Result<Ok, EncodeError> {
        if self.written == 0 {
            self.encoder.buffer().truncate(self.at);
        } else {
            close(self.encoder, self.at, self.written)?;
        }
        self.encoder.nil();
        Ok(())
    }
}

/// Writes the number of elements behind the tag at `at`.
fn close(encoder: &mut Encoder<'_>, at: usize, written: usize) -> Result<(), EncodeError> {
    let too_many = EncodeErrorKind::TooMany { count: written, most: u32::MAX as usize };
    encoder.patch(at + 1, u32::try_from(written).map_err(|_| too_many)?);
    Ok(())
}

/// A tuple, whose length has to be known.
struct Tuple<'s, 'a> {
    encoder: &'s mut Encoder<'a>,
    announced: usize,
    written: usize,
}

impl Tuple<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let index = self.written;
        self.written += 1;
        value.serialize(Serializer::new(self.encoder)).map_err(|error| error.within_index(index))
    }

    fn close(self) -> Result<Ok, EncodeError> {
        let Self { announced, written, .. } = self;
        if announced != written {
            return Err(EncodeErrorKind::WrongCount { announced, written }.into());
        }
        Ok(())
    }
}

macro_rules! tuples {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Tuple<'_, '_> {
            type Ok = Ok;
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            fn end(self) -> Result<Ok, EncodeError> {
                self.close()
            }
        })*
    };
}

tuples!(SerializeTuple serialize_element, SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);

/// A map whose number of pairs is written when its end is known.
struct Pairs<'s, 'a> {
    encoder: &'s mut Encoder<'a>,
    at: usize,
    written: usize,
    /// Where the keys stand in the buffer, if this is a flattened struct: they may be the same.
    keys: Option<Vec<std::ops::Range<usize>>>,
}

impl Pairs<'_, '_> {
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
        self.written += 1;
        let mut serializer = Serializer::new(self.encoder);
        serializer.name(key).and_then(|()| serializer.value(value)).map_err(|error| error.within(key))
    }

    fn close(self) -> Result<Ok, EncodeError> {
        if let Some(keys) = self.keys {
            let buf = self.encoder.buffer();
            let mut keys: Vec<_> = keys.into_iter().filter_map(|key| buf.get(key)).collect();
            keys.sort_unstable();
            if let Some([twice, _]) = keys.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
                let key = Payload::new(Bytes::copy_from_slice(twice), None).term();
                let key = key.map_or_else(|_| "an atom".to_owned(), |key| key.to_string());
                return Err(EncodeErrorKind::KeyTwice(key).into());
            }
        }
        close(self.encoder, self.at, self.written)
    }
}

impl ser::SerializeMap for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.written += 1;
        let start = self.encoder.buffer().len();
        key.serialize(Serializer { encoder: self.encoder, is_name: self.keys.is_some() })?;
        let end = self.encoder.buffer().len();
        if let Some(keys) = &mut self.keys {
            keys.push(start..end);
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let index = self.written - 1;
        value.serialize(Serializer::new(self.encoder)).map_err(|error| error.within_index(index))
    }

    fn end(self) -> Result<Ok, EncodeError> {
        self.close()
    }
}

impl ser::SerializeStruct for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
        self.field(key, value)
    }

    fn end(self) -> Result<Ok, EncodeError> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Pairs<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), EncodeError> {
        self.field(key, value)
    }

    fn end(self) -> Result<Ok, EncodeError> {
        self.close()
    }
}

/// Takes what the types of this crate hand over behind a token: the text of an atom, or a term that
/// is encoded already.
struct Raw<'s, 'a> {
    encoder: &'s mut Encoder<'a>,
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) $(<$type:ident>)? -> $answer:ty;)*) => {
        $(fn $method $(<$type: Serialize + ?Sized>)? (self, $(_: $argument),*) -> Result<$answer, EncodeError> {
            Err(not_raw())
        })*
    };
}

fn not_raw() -> EncodeError {
    ser::Error::custom("a token of this crate is used by another type")
}

impl ser::Serializer for Raw<'_, '_> {
    type Ok = Ok;
    type Error = EncodeError;
    type SerializeSeq = Impossible<Ok, EncodeError>;
    type SerializeTuple = Impossible<Ok, EncodeError>;
    type SerializeTupleStruct = Impossible<Ok, EncodeError>;
    type SerializeTupleVariant = Impossible<Ok, EncodeError>;
    type SerializeMap = Impossible<Ok, EncodeError>;
    type SerializeStruct = Impossible<Ok, EncodeError>;
    type SerializeStructVariant = Impossible<Ok, EncodeError>;

    fn serialize_str(self, text: &str) -> Result<Ok, EncodeError> {
        self.encoder.atom(&Atom::new(text).map_err(EncodeErrorKind::from)?);
        Ok(())
    }

    fn serialize_bytes(self, term: &[u8]) -> Result<Ok, EncodeError> {
        self.encoder.copy(&mut Reader::new(term, &[])).map_err(ser::Error::custom)
    }

    refuse! {
        serialize_bool(bool) -> Ok;
        serialize_i8(i8) -> Ok;
        serialize_i16(i16) -> Ok;
        serialize_i32(i32) -> Ok;
        serialize_i64(i64) -> Ok;
        serialize_u8(u8) -> Ok;
        serialize_u16(u16) -> Ok;
        serialize_u32(u32) -> Ok;
        serialize_u64(u64) -> Ok;
        serialize_f32(f32) -> Ok;
        serialize_f64(f64) -> Ok;
        serialize_char(char) -> Ok;
        serialize_none() -> Ok;
        serialize_some(&T) <T> -> Ok;
        serialize_unit() -> Ok;
        serialize_unit_struct(&'static str) -> Ok;
        serialize_unit_variant(&'static str, u32, &'static str) -> Ok;
        serialize_newtype_struct(&'static str, &T) <T> -> Ok;
        serialize_newtype_variant(&'static str, u32, &'static str, &T) <T> -> Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

impl ser::Error for EncodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        EncodeErrorKind::Custom(message.to_string()).into()
    }
}
