//! What the types of this crate hand over behind a token.

use serde::ser::{self, Impossible, Serialize};

use super::super::encode::Encoder;
use super::super::read::Reader;
use super::{EncodeError, EncodeErrorKind, Ok};

/// Takes what the types of this crate hand over behind a token: the text of an atom, or a term that
/// is encoded already.
pub(super) struct Raw<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) is_atom: bool,
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

    #[inline]
    fn serialize_str(self, text: &str) -> Result<Ok, EncodeError> {
        Ok(self.encoder.atom_of(text).map_err(EncodeErrorKind::from)?)
    }

    #[inline]
    fn serialize_bytes(self, term: &[u8]) -> Result<Ok, EncodeError> {
        if self.is_atom {
            return Ok(self.encoder.atom_of_bytes(term).map_err(EncodeErrorKind::from)?);
        }
        self.encoder.copy(&mut Reader::new(term, &[])).map_err(ser::Error::custom)
    }

    /// By this an atom knows that it may give its bytes.
    #[inline]
    fn is_human_readable(&self) -> bool {
        self.is_atom
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
