//! What the types of this crate hand over behind a token.

use serde::ser::{self, Impossible, Serialize};

use super::super::encode::Encoder;
use super::super::read::Reader;
use super::{Ok, Unwritable};

/// Takes what the types of this crate hand over behind a token: the text of an atom, or a term that
/// is encoded already.
pub(super) struct Raw<'s, 'a> {
    pub(super) encoder: &'s mut Encoder<'a>,
    pub(super) is_atom: bool,
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) $(<$type:ident>)? -> $answer:ty;)*) => {
        $(fn $method $(<$type: Serialize + ?Sized>)? (self, $(_: $argument),*) -> Result<$answer, Unwritable> {
            Err(not_raw())
        })*
    };
}

fn not_raw() -> Unwritable {
    ser::Error::custom("a token of this crate is used by another type")
}

impl ser::Serializer for Raw<'_, '_> {
    type Ok = Ok;
    type Error = Unwritable;
    type SerializeSeq = Impossible<Ok, Unwritable>;
    type SerializeTuple = Impossible<Ok, Unwritable>;
    type SerializeTupleStruct = Impossible<Ok, Unwritable>;
    type SerializeTupleVariant = Impossible<Ok, Unwritable>;
    type SerializeMap = Impossible<Ok, Unwritable>;
    type SerializeStruct = Impossible<Ok, Unwritable>;
    type SerializeStructVariant = Impossible<Ok, Unwritable>;

    #[inline]
    fn serialize_str(self, text: &str) -> Result<Ok, Unwritable> {
        Ok(self.encoder.atom_of(text)?)
    }

    #[inline]
    fn serialize_bytes(self, term: &[u8]) -> Result<Ok, Unwritable> {
        if self.is_atom {
            return Ok(self.encoder.atom_of_bytes(term)?);
        }
        let mut reader = Reader::new(term, &[]);
        // What identifies something has just been written for itself, and goes as it stands where atoms do.
        if !self.encoder.refers_to_atoms() && reader.identifier().is_some_and(|whole| whole.len() == term.len()) {
            self.encoder.buffer().extend_from_slice(term);
            return Ok(());
        }
        self.encoder.copy(&mut reader).map_err(ser::Error::custom)
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
