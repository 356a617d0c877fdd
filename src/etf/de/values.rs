//! What stands in one place: numbers, text, binaries, and what the type leaves open.

use std::borrow::Cow;

use num_traits::ToPrimitive;
use serde::de::{self, Visitor};

use super::super::access::Elements;
use super::super::encode::{Encoder, TYPICAL_TERM};
use super::super::read::{Integer, text_of};
use super::super::tag;
use super::{DecodeErrorKind, Deserializer, Encoded, Fault};

impl<'de> Deserializer<'de, '_> {
    #[inline]
    pub(super) fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.usual_integer() {
            Some(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value.into()),
            },
            None => self.rare_integer(visitor),
        }
    }

    /// An integer that takes more than four bytes, and the errors.
    #[inline(never)]
    fn rare_integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.rest();
        match self.reader.integer()? {
            Integer::Small(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Integer::Big { negative, magnitude } => self.wide_integer(start, negative, magnitude, visitor),
        }
    }

    /// An integer that takes eight bytes or more.
    fn wide_integer<V: Visitor<'de>>(
        &self,
        start: &'de [u8],
        negative: bool,
        magnitude: &[u8],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let wide = |bytes: &[u8]| {
            let mut all = [0; 16];
            all.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(u128::from_le_bytes(all))
        };
        match (negative, wide(magnitude)) {
            (false, Some(value)) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => match i128::try_from(value) {
                    Ok(value) => visitor.visit_i128(value),
                    Err(_) => visitor.visit_u128(value),
                },
            },
            (true, Some(value)) if value <= 1 << 127 => {
                let value = (value as i128).wrapping_neg();
                match i64::try_from(value) {
                    Ok(value) => visitor.visit_i64(value),
                    Err(_) => visitor.visit_i128(value),
                }
            }
            _ => self.reader.back_at(start).fail(DecodeErrorKind::Invalid("the integer does not fit 128 bits")),
        }
    }

    #[inline]
    pub(super) fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.usual_f64() {
            Some(value) => visitor.visit_f64(value),
            None => self.rare_number(visitor),
        }
    }

    /// A number that is no new float, and the errors.
    #[inline(never)]
    fn rare_number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        match self.reader.peek_tag()? {
            tag::SMALL_INTEGER | tag::INTEGER => visitor.visit_i64(self.reader.i64()?),
            tag::SMALL_BIG | tag::LARGE_BIG => {
                // `Limits` may bound it, but `to_f64` takes time in proportion at worst.
                match self.reader.integer()?.to_bigint().to_f64().filter(|value| value.is_finite()) {
                    Some(value) => visitor.visit_f64(value),
                    None => start.fail(DecodeErrorKind::Invalid("the integer does not fit a float")),
                }
            }
            _ => visitor.visit_f64(self.reader.f64()?),
        }
    }

    /// Text from a binary or a list of characters; from an atom in the key of a map.
    #[inline]
    pub(super) fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.rest();
        if self.reader.peek_tag()? != tag::BINARY {
            return self.rare_text(visitor);
        }
        match text_of(self.reader.binary()?) {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.reader.back_at(start).fail(DecodeErrorKind::Invalid("the binary is not UTF-8")),
        }
    }

    /// Text that is no binary.
    fn rare_text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        match self.reader.peek_tag()? {
            tag::STRING => {
                let bytes = self.reader.byte_list()?;
                match std::str::from_utf8(bytes) {
                    Ok(text) if text.is_ascii() => visitor.visit_borrowed_str(text),
                    _ => visitor.visit_string(bytes.iter().map(|&byte| char::from(byte)).collect()),
                }
            }
            tag::NIL | tag::LIST => {
                let mut text = String::new();
                let mut elements = Elements::list(self)?;
                while let Some(code) = de::SeqAccess::next_element::<u32>(&mut &mut elements)? {
                    match char::from_u32(code) {
                        Some(character) => text.push(character),
                        None => return start.fail(DecodeErrorKind::Invalid("the list is not one of characters")),
                    }
                }
                visitor.visit_string(text)
            }
            _ if self.is_key => match self.reader.atom_text() {
                Ok(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
                Ok(Cow::Owned(text)) => visitor.visit_string(text),
                Err(_) => start.unexpected("text"),
            },
            _ => start.unexpected("text (a binary or a list of characters; for an atom use the type Atom)"),
        }
    }

    /// Names of fields, where atoms and binaries are as good. Other keys go as bytes that are no
    /// field's name: an integer would pass for the number of a field.
    #[inline]
    pub(super) fn name<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.is_at_atom() {
            return match self.reader.atom_text()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            };
        }
        if self.reader.peek_tag()? != tag::BINARY {
            let from = self.reader.rest();
            self.reader.skip()?;
            let len = from.len() - self.reader.rest().len();
            return visitor.visit_borrowed_bytes(from.get(..len).unwrap_or_default());
        }
        let bytes = self.reader.binary()?;
        match text_of(bytes) {
            Some(text) => visitor.visit_borrowed_str(text),
            None => visitor.visit_borrowed_bytes(bytes),
        }
    }

    #[inline]
    pub(super) fn binary<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.peek_tag()? == tag::BINARY {
            return visitor.visit_borrowed_bytes(self.reader.binary()?);
        }
        self.rare_binary(visitor)
    }

    /// Bytes that are no binary.
    fn rare_binary<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        match self.reader.peek_tag()? {
            tag::BIT_BINARY => match self.reader.bitstring()? {
                (bytes, 8) => visitor.visit_borrowed_bytes(bytes),
                _ => start.unexpected("a binary of whole bytes"),
            },
            tag::STRING => visitor.visit_borrowed_bytes(self.reader.byte_list()?),
            tag::NIL | tag::LIST => {
                let mut bytes = Vec::new();
                let mut elements = Elements::list(self)?;
                while let Some(byte) = de::SeqAccess::next_element::<u8>(&mut &mut elements)? {
                    bytes.push(byte);
                }
                visitor.visit_byte_buf(bytes)
            }
            _ => start.unexpected("a binary"),
        }
    }

    /// The next term as it stands, for the types of this crate.
    pub(super) fn encoded(&mut self) -> Result<Encoded<'de>, Fault> {
        let start = self.reader.clone();
        if !start.atoms().is_empty() {
            let mut buf = bytes::BytesMut::with_capacity(TYPICAL_TERM);
            Encoder::new(&mut buf).copy(&mut self.reader)?;
            return Ok(Encoded::Owned(buf.into()));
        }
        self.reader.skip_within(self.limits)?;
        let len = self.reader.offset() - start.offset();
        Ok(Encoded::Borrowed(start.rest().get(..len).unwrap_or_default()))
    }

    pub(super) fn any<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.peek_tag()? {
            tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG => self.integer(visitor),
            tag::NEW_FLOAT | tag::FLOAT => visitor.visit_f64(self.reader.f64()?),
            tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => {
                match self.reader.atom_text()? {
                    text if text == "true" => visitor.visit_bool(true),
                    text if text == "false" => visitor.visit_bool(false),
                    text if text == "nil" => visitor.visit_unit(),
                    Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                    Cow::Owned(text) => visitor.visit_string(text),
                }
            }
            tag::BINARY => {
                let bytes = self.reader.binary()?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => visitor.visit_borrowed_str(text),
                    Err(_) => visitor.visit_borrowed_bytes(bytes),
                }
            }
            tag::SMALL_TUPLE | tag::LARGE_TUPLE => {
                let arity = self.reader.clone().tuple()?;
                self.fixed(arity, visitor)
            }
            tag::NIL | tag::STRING | tag::LIST => self.sequence(visitor),
            tag::MAP => self.pairs(visitor, false),
            _ => visitor.visit_newtype_struct(self.encoded()?),
        }
    }
}
