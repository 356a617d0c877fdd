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
//! | struct named `Elixir.MyApp.Order` | the same, and `'__struct__' => 'Elixir.MyApp.Order'` |
//! | struct, tuple struct, newtype or unit struct named `#order` | `{order, …}`; a field that is `None` as `undefined` |
//! | struct variant | `{tag, #{…}}` |
//! | map | map |
//! | `Result` | `{ok, Value}` or `{error, Reason}`; `ok` for `Ok(())` |
//! | [`Atom`], [`Pid`](super::Pid), [`Port`](super::Port), [`Ref`](super::Ref), [`Term`], [`Payload`] | themselves |
//!
//! [`keyword`](super::keyword), [`charlist`](super::charlist), [`mapset`](super::mapset), [`bytes`](super::bytes) and
//! [`bigint`](super::bigint) give a field another form than its type has.
//!
//! A struct with `#[serde(flatten)]` is a map of unknown length to serde; the text keys of such a map
//! become atoms, as those of a struct.
//!
//! The names of variants and fields become atoms as they stand; `#[serde(rename_all = "snake_case")]`
//! makes them look native.

mod compound;
mod token;

use bytes::Bytes;
use num_bigint::BigInt;
use serde::ser::{self, Serialize};

use super::encode::Encoder;
use super::error::{EncodeError, EncodeErrorKind, Unwritable};
use super::named::{Named, STRUCT};
use super::payload::Payload;
use super::raw::{ATOM_TOKEN, CHARLIST_TOKEN, KEYWORD_TOKEN, SET_TOKEN, TERM_TOKEN};
use super::scratch;
use super::tag;
use super::term::Term;
use crate::atom;

use compound::{Form, Pairs, Seq, Tuple};
use token::Raw;

/// Writes a value as a stand-alone term, as `term_to_binary` does.
///
/// # Errors
/// For what the format cannot say (a float that is not finite, a name that is too long for an atom,
/// a key that comes twice), and what the `Serialize` implementation says.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, EncodeError> {
    let write = |encoder: &mut Encoder<'_>| {
        encoder.version();
        serialize_into(value, encoder)
    };
    scratch::encode(write, Bytes::copy_from_slice, |large| large)
}

/// Writes a value as the payload of a message.
///
/// # Errors
/// As [`to_bytes`].
pub fn to_payload<T: Serialize + ?Sized>(value: &T) -> Result<Payload, EncodeError> {
    Payload::of(|encoder| serialize_into(value, encoder))
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
    value.serialize(Serializer::new(encoder)).map_err(Unwritable::into_error)
}

/// Writes one value with an [`Encoder`].
struct Serializer<'s, 'a> {
    encoder: &'s mut Encoder<'a>,
    wanted: Wanted,
}

/// What the place where a value stands makes of it, where that is not the usual.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    Usual,
    /// Of text an atom: the name of a field, or of the module of a struct.
    Name,
    /// Of `None` the atom `undefined`, as in the records of Erlang.
    RecordField,
    /// Of a map or a struct a keyword list.
    Keyword,
    /// Of text a list of characters.
    Charlist,
    /// Of a sequence the keys of a map.
    Set,
}

type Ok = ();

impl<'s, 'a> Serializer<'s, 'a> {
    fn new(encoder: &'s mut Encoder<'a>) -> Self {
        Self { encoder, wanted: Wanted::Usual }
    }

    #[inline]
    fn name(&mut self, name: &str) -> Result<(), Unwritable> {
        Ok(self.encoder.atom_of(name)?)
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unwritable> {
        value.serialize(Serializer::new(self.encoder))
    }

    /// The head of a tuple of `len` elements, behind a tag.
    fn tuple_head(&mut self, len: usize, tag: Option<&'static str>) -> Result<(), Unwritable> {
        let arity = len.saturating_add(usize::from(tag.is_some()));
        let too_many = EncodeErrorKind::TooMany { count: arity, most: u32::MAX as usize };
        self.encoder.tuple_header(u32::try_from(arity).map_err(|_| too_many)?);
        tag.map_or(Ok(()), |tag| self.name(tag))
    }

    fn tuple(mut self, len: usize, tag: Option<&'static str>) -> Result<Tuple<'s, 'a>, Unwritable> {
        self.tuple_head(len, tag)?;
        Ok(Tuple { encoder: self.encoder, announced: len, written: 0, variant: None })
    }

    /// A sequence as the keys of a map.
    fn set<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unwritable> {
        let start = self.encoder.buffer().len();
        value.serialize(Serializer { encoder: &mut *self.encoder, wanted: Wanted::Set })?;
        match self.encoder.buffer().get(start) {
            Some(&tag::MAP) => Ok(()),
            _ => Err(ser::Error::custom("only a sequence can be a MapSet")),
        }
    }

    /// A map, or what is wanted instead.
    fn pairs(self) -> Pairs<'s, 'a> {
        let at = self.encoder.buffer().len();
        // A map that should be a set becomes no map, which is how it is found.
        let form = if matches!(self.wanted, Wanted::Keyword | Wanted::Set) {
            self.encoder.list_header(0);
            Form::Keyword
        } else {
            self.encoder.map_header(0);
            Form::Map
        };
        Pairs { encoder: self.encoder, at, written: 0, form, keys: None, key: 0, variant: None }
    }
}

macro_rules! integers {
    ($($method:ident $type:ty => $encode:ident),* $(,)?) => {
        $(#[inline]
        fn $method(self, value: $type) -> Result<Ok, Unwritable> {
            self.encoder.$encode(value.into());
            Ok(())
        })*
    };
}

impl<'s, 'a> ser::Serializer for Serializer<'s, 'a> {
    type Ok = Ok;
    type Error = Unwritable;
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

    fn serialize_i128(self, value: i128) -> Result<Ok, Unwritable> {
        self.encoder.big(&BigInt::from(value));
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<Ok, Unwritable> {
        self.encoder.big(&BigInt::from(value));
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<Ok, Unwritable> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<Ok, Unwritable> {
        if !value.is_finite() {
            return Err(EncodeErrorKind::NotFinite(value).into());
        }
        self.encoder.f64(value);
        Ok(())
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<Ok, Unwritable> {
        Ok(self.encoder.atom_of(if value { "true" } else { "false" })?)
    }

    fn serialize_char(self, value: char) -> Result<Ok, Unwritable> {
        self.serialize_u32(value.into())
    }

    #[inline]
    fn serialize_str(mut self, value: &str) -> Result<Ok, Unwritable> {
        match self.wanted {
            Wanted::Name => self.name(value),
            Wanted::Charlist => {
                self.encoder.charlist(value);
                Ok(())
            }
            _ => self.serialize_bytes(value.as_bytes()),
        }
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<Ok, Unwritable> {
        if u32::try_from(value.len()).is_err() {
            return Err(EncodeErrorKind::TooMany { count: value.len(), most: u32::MAX as usize }.into());
        }
        self.encoder.binary(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<Ok, Unwritable> {
        let is_record = self.wanted == Wanted::RecordField;
        self.encoder.atom(&if is_record { atom!("undefined") } else { atom!("nil") });
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Ok, Unwritable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Ok, Unwritable> {
        self.encoder.tuple_header(0);
        Ok(())
    }

    fn serialize_unit_struct(mut self, name: &'static str) -> Result<Ok, Unwritable> {
        match Named::of(name) {
            Named::Record(tag) => self.tuple_head(0, Some(tag)),
            _ => self.name(name),
        }
    }

    fn serialize_unit_variant(mut self, _: &'static str, _: u32, variant: &'static str) -> Result<Ok, Unwritable> {
        self.name(variant).map_err(|error| error.within(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<Ok, Unwritable> {
        let wanted = match name {
            TERM_TOKEN => return value.serialize(Raw { encoder: self.encoder, is_atom: false }),
            ATOM_TOKEN => return value.serialize(Raw { encoder: self.encoder, is_atom: true }),
            KEYWORD_TOKEN => Wanted::Keyword,
            CHARLIST_TOKEN => Wanted::Charlist,
            SET_TOKEN => return self.set(value),
            _ => match Named::of(name) {
                Named::Record(tag) => {
                    self.tuple_head(1, Some(tag))?;
                    Wanted::RecordField
                }
                _ => self.wanted,
            },
        };
        value.serialize(Self { wanted, ..self })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Ok, Unwritable> {
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

    fn serialize_seq(self, _: Option<usize>) -> Result<Seq<'s, 'a>, Unwritable> {
        let at = self.encoder.buffer().len();
        let keys = (self.wanted == Wanted::Set).then(Vec::new);
        match keys {
            None => self.encoder.list_header(0),
            Some(_) => self.encoder.map_header(0),
        }
        Ok(Seq { encoder: self.encoder, at, written: 0, keys })
    }

    fn serialize_tuple(self, len: usize) -> Result<Tuple<'s, 'a>, Unwritable> {
        self.tuple(len, None)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Tuple<'s, 'a>, Unwritable> {
        match Named::of(name) {
            Named::Record(tag) => self.tuple(len, Some(tag)),
            _ => self.tuple(len, None),
        }
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Tuple<'s, 'a>, Unwritable> {
        let tuple = self.tuple(len, Some(variant)).map_err(|error| error.within(variant))?;
        Ok(Tuple { variant: Some(variant), ..tuple })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Pairs<'s, 'a>, Unwritable> {
        // Collections know their length and have each key once. Who does not is a struct with
        // `#[serde(flatten)]`: its fields are to be atoms as well, and may come twice.
        let keys = len.is_none().then(Vec::new);
        Ok(Pairs { keys, ..self.pairs() })
    }

    fn serialize_struct(mut self, name: &'static str, len: usize) -> Result<Pairs<'s, 'a>, Unwritable> {
        match Named::of(name) {
            Named::Plain => Ok(self.pairs()),
            Named::Elixir => {
                if self.wanted == Wanted::Keyword {
                    self.wanted = Wanted::Usual;
                }
                let mut pairs = self.pairs();
                pairs.field(STRUCT, name)?;
                Ok(Pairs { form: Form::Elixir, ..pairs })
            }
            Named::Record(tag) => {
                self.tuple_head(len, Some(tag))?;
                let form = Form::Record { announced: len };
                Ok(Pairs { encoder: self.encoder, at: 0, written: 0, form, keys: None, key: 0, variant: None })
            }
        }
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Pairs<'s, 'a>, Unwritable> {
        self.encoder.tuple_header(2);
        self.name(variant).map_err(|error| error.within(variant))?;
        Ok(Pairs { variant: Some(variant), ..self.pairs() })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

const EMPTY_TUPLE: &[u8] = &[tag::SMALL_TUPLE, 0];
