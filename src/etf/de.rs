//! serde out of bytes, with no tree between; text and binaries are borrowed where they can be.
//!
//! What `ser` writes is read back. Besides, as others write terms in more ways than one:
//!
//! - `String` and `str` from a binary in UTF-8 and from a list of characters; as the key of a map
//!   from an atom too. `char` from an integer or a text of one character.
//! - `None` from `nil` and `undefined`; `()` from `{}`, `ok`, `nil` and `undefined`.
//! - `f32` and `f64` from integers too. Integers up to `i128` and `u128`.
//! - bytes (`serde_bytes`) from a binary and from a list of bytes.
//! - a struct from a map with atoms or binaries as keys, and from a keyword list; so is a map.
//! - tuples and arrays from a list of that length, as arguments come.
//! - `Result` from `{ok, Value}`, `{error, Reason}`, and `ok` where the value is `()`.
//! - a struct named `Elixir.…` from a map that has this name under `__struct__`, and from nothing else.
//! - a struct named `#tag` from a tuple that starts with the tag; where it is shorter, `#[serde(default)]` fills up.
//!
//! Where the type does not say what it wants (untagged enums, flattened structs) an atom is text,
//! but for `true`, `false` and `nil`; and tagged tuples are not recognised as variants.

pub(super) mod byte;
mod structs;
mod values;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};

use super::access::{Counted, Elements, Entries, Variant};
use super::error::{DecodeError, DecodeErrorKind, Fault};
use super::handed;
use super::limits::Limits;
use super::named::Named;
use super::payload::Payload;
use super::raw::{ATOM_TOKEN, BYTES_TOKEN, TERM_TOKEN};
use super::read::Reader;
use super::tag;
use super::term::Term;
use super::twice::Keys;

/// Reads a value from a stand-alone term (with version byte, not compressed; for compressed ones see
/// [`open_blob`](super::open_blob)). Safe on bytes from anywhere.
///
/// # Errors
/// When the bytes are no term, or another one than the type asks for; the error has the path in the
/// value and the offset in the bytes.
pub fn from_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes, &[]);
    reader.version()?;
    let value = deserialize_from(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Reads a value from the next term of a reader.
///
/// # Errors
/// As [`from_bytes`].
pub fn deserialize_from<'de, T: Deserialize<'de>>(reader: &mut Reader<'de>) -> Result<T, DecodeError> {
    let limits = Limits::default();
    let start = reader.offset();
    let mut deserializer = Deserializer::new(reader.clone(), None, &limits);
    match T::deserialize(&mut deserializer) {
        Ok(value) => {
            *reader = deserializer.reader;
            Ok(value)
        }
        Err(fault) => Err(fault.at(start).into_error()),
    }
}

/// Reads a value from a tree.
///
/// # Errors
/// As [`from_bytes`], and for a tree that cannot be written.
pub fn from_term<T: DeserializeOwned>(term: &Term) -> Result<T, DecodeError> {
    let payload = Payload::from_term(term).map_err(|error| <Fault as de::Error>::custom(error).into_error())?;
    payload.decode()
}

impl Payload {
    /// Reads a value from the payload.
    ///
    /// # Errors
    /// When it holds another term than the type asks for; with the path in the value, and the offset.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.decode_borrowed()
    }

    /// Reads a value that may borrow text and binaries from the payload.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_borrowed<'de, T: Deserialize<'de>>(&'de self) -> Result<T, DecodeError> {
        self.decode_within(&Limits::default())
    }

    /// Reads a value that may nest deeper, or less deep, than usual: [`Limits::serde_depth`] counts.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_within<'de, T: Deserialize<'de>>(&'de self, limits: &Limits) -> Result<T, DecodeError> {
        let mut deserializer = Deserializer::new(self.reader(), Some(self), limits);
        // A value may be large: it is moved once, from one kind of result to the other.
        match T::deserialize(&mut deserializer) {
            Ok(value) => {
                deserializer.reader.finish()?;
                Ok(value)
            }
            Err(fault) => Err(fault.at(0).into_error()),
        }
    }
}

/// Reads values from a [`Reader`].
pub(super) struct Deserializer<'de, 'l> {
    pub(super) reader: Reader<'de>,
    /// Whose bytes these are, where parts may leave as slices of it.
    source: Option<&'de Payload>,
    limits: &'l Limits,
    depth: usize,
    /// Reading the key of a map, where text may be an atom.
    pub(super) is_key: bool,
}

impl<'de, 'l> Deserializer<'de, 'l> {
    /// `source` is the payload that the reader reads.
    #[inline]
    fn new(reader: Reader<'de>, source: Option<&'de Payload>, limits: &'l Limits) -> Self {
        Self { reader, source, limits, depth: 0, is_key: false }
    }

    /// Reads from elsewhere, at the same depth.
    pub(super) fn beside(&self, reader: Reader<'de>) -> Self {
        Self { reader, source: None, ..*self }
    }

    /// Goes one level down, to something that has parts. Not a closure around what is read there:
    /// the code of a type recurses through here, and each call counts.
    #[inline]
    fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > self.limits.serde_depth { self.too_deep() } else { Ok(()) }
    }

    #[cold]
    fn too_deep(&self) -> Result<(), Fault> {
        let (start, limit) = (self.reader.offset(), self.limits.serde_depth);
        Ok(self.limits.check("the nesting of the value", self.depth, limit, "serde_depth", start)?)
    }

    #[inline]
    fn leave<T>(&mut self, value: T) -> T {
        self.depth -= 1;
        value
    }

    /// Reads an element, and says which it is (by its name, or by its index) if that fails.
    #[inline(always)]
    pub(super) fn element<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
        index: usize,
        names: &[&str],
    ) -> Result<T::Value, Fault> {
        let start = self.reader.rest();
        match seed.deserialize(&mut *self) {
            Ok(value) => Ok(value),
            Err(fault) => Err(fault.in_element(self.reader.back_at(start).offset(), index, names)),
        }
    }

    /// The text of the atom that comes next, which stays unread.
    fn peek_atom(&self) -> Option<Cow<'de, str>> {
        self.reader.clone().atom_text().ok()
    }

    #[inline]
    fn next_is_atom(&self, names: &[&str]) -> bool {
        self.reader.is_at_atom() && self.peek_atom().is_some_and(|atom| names.contains(&&*atom))
    }

    fn is_unit(&self) -> bool {
        self.reader.rest().starts_with(&[tag::SMALL_TUPLE, 0]) || self.next_is_atom(&["ok", "nil", "undefined"])
    }

    fn sequence<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        self.enter()?;
        let mut elements = Elements::list(self)?;
        let value = visitor.visit_seq(&mut elements);
        if value.is_ok() {
            elements.end()?;
        }
        self.depth -= 1;
        value
    }

    #[inline]
    fn fixed<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        if !matches!(self.reader.peek_tag()?, tag::SMALL_TUPLE | tag::LARGE_TUPLE) {
            return self.fixed_list(len, visitor);
        }
        self.enter()?;
        self.reader.tuple_of(len)?;
        let mut elements = Counted::new(self, len, &[]);
        let value = visitor.visit_seq(&mut elements);
        if value.is_ok() {
            elements.end()?;
        }
        self.depth -= 1;
        value
    }

    /// As [`fixed`](Self::fixed), of a list.
    #[inline(never)]
    fn fixed_list<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.peek_tag()? {
            tag::NIL | tag::LIST | tag::STRING => self.sequence(visitor),
            _ => self.reader.unexpected(format!("a tuple of {len}")),
        }
    }

    #[inline]
    fn pairs<V: Visitor<'de>>(&mut self, visitor: V, is_struct: bool) -> Result<V::Value, Fault> {
        self.enter()?;
        // Outside of what is moved about; a struct finds keys that come twice itself.
        let mut keys = Keys::default();
        let mut entries = Entries::new(self, (!is_struct).then_some(&mut keys))?;
        let value = visitor.visit_map(&mut entries);
        if value.is_ok() {
            entries.end()?;
        }
        self.depth -= 1;
        value
    }

    /// The next term for a type of this crate, which reads it itself.
    #[inline]
    fn term<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        // What identifies something has no part that could be kept without a copy.
        if self.reader.atoms().is_empty()
            && let Some(term) = self.reader.identifier()
        {
            self.reader.go_on(self.reader.rest().get(term.len()..).unwrap_or_default());
            return visitor.visit_newtype_struct(Encoded::Borrowed(term));
        }
        self.part_of_source(visitor)
    }

    /// As [`term`](Self::term), for what is no identifier or refers to atoms.
    fn part_of_source<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let is_alone = self.reader.atoms().is_empty() && self.reader.is_at_identifier();
        let Some(source) = self.source.filter(|_| !is_alone) else {
            return visitor.visit_newtype_struct(self.encoded()?);
        };
        let start = self.reader.clone();
        self.reader.skip_within(self.limits)?;
        let len = self.reader.offset() - start.offset();
        let term = start.rest().get(..len).unwrap_or_default();
        let part = source.part(start.offset()..self.reader.offset());
        handed::over(part, term, || visitor.visit_newtype_struct(Encoded::Handed(term)))
    }

    /// As `deserialize_bool`, for what has another tag, and the errors.
    #[inline(never)]
    fn rare_bool<V: Visitor<'de>>(&mut self, start: &'de [u8], visitor: V) -> Result<V::Value, Fault> {
        self.reader.go_on(start);
        match self.reader.atom_text().as_deref() {
            Ok("true") => visitor.visit_bool(true),
            Ok("false") => visitor.visit_bool(false),
            _ => self.reader.back_at(start).unexpected("true or false"),
        }
    }

    /// An atom that is not short, or not ASCII, or no atom.
    #[inline(never)]
    fn atom<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.atom_text()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    /// A binary that may leave as a slice of the message.
    fn shared<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        match (self.source, self.reader.peek_tag()?) {
            (Some(source), tag::BINARY) => {
                let binary = self.reader.binary()?;
                let end = self.reader.offset();
                let part = source.slice(end - binary.len()..end);
                handed::over(part, binary, || visitor.visit_borrowed_bytes(binary))
            }
            _ => self.binary(visitor),
        }
    }

    fn variant<V: Visitor<'de>>(
        &mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let is_result = name == "Result" && variants == ["Ok", "Err"];
        self.enter()?;
        let value = visitor.visit_enum(Variant::new(self, is_result)?)?;
        Ok(self.leave(value))
    }
}

macro_rules! forward {
    ($target:ident: $($method:ident)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$target(visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de, '_> {
    type Error = Fault;

    forward!(integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    forward!(number: deserialize_f32 deserialize_f64);
    forward!(text: deserialize_str deserialize_string);
    forward!(binary: deserialize_bytes deserialize_byte_buf);
    forward!(name: deserialize_identifier);
    forward!(sequence: deserialize_seq);
    forward!(any: deserialize_any);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.rest();
        match self.reader.ascii_atom() {
            Some(b"true") => visitor.visit_bool(true),
            Some(b"false") => visitor.visit_bool(false),
            _ => self.rare_bool(start, visitor),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let start = self.reader.clone();
        if !matches!(self.reader.peek_tag()?, tag::SMALL_INTEGER | tag::INTEGER) {
            return self.text(visitor);
        }
        match u32::try_from(self.reader.i64()?).ok().and_then(char::from_u32) {
            Some(character) => visitor.visit_char(character),
            None => start.fail(DecodeErrorKind::Invalid("the integer is no character")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.next_is_atom(&["nil", "undefined"]) {
            self.reader.atom_text()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if !self.is_unit() {
            return self.reader.unexpected("{} or ok");
        }
        self.reader.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if let Named::Record(tag) = Named::of(name) {
            return self.tagged(tag, 0, |_, visitor: V| visitor.visit_unit(), visitor);
        }
        if !self.next_is_atom(&[name]) {
            return self.reader.unexpected(format!("the atom {name}"));
        }
        self.reader.atom_text()?;
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match name {
            TERM_TOKEN => self.term(visitor),
            BYTES_TOKEN => self.shared(visitor),
            ATOM_TOKEN => match self.reader.ascii_atom() {
                Some(text) => visitor.visit_borrowed_bytes(text),
                None => self.atom(visitor),
            },
            _ => match Named::of(name) {
                Named::Record(tag) => {
                    self.tagged(tag, 1, |held, visitor: V| visitor.visit_newtype_struct(held), visitor)
                }
                _ => visitor.visit_newtype_struct(self),
            },
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.fixed(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match Named::of(name) {
            Named::Record(tag) => {
                let visit = |held: &mut Deserializer<'de, '_>, visitor: V| {
                    let mut elements = Counted::new(held, len, &[]);
                    let value = visitor.visit_seq(&mut elements)?;
                    elements.end()?;
                    Ok(value)
                };
                self.tagged(tag, len, visit, visitor)
            }
            _ => self.fixed(len, visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.pairs(visitor, false)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match Named::of(name) {
            Named::Plain => self.pairs(visitor, true),
            Named::Elixir => self.elixir(name, visitor),
            Named::Record(tag) => self.record(tag, fields, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.variant(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Hands the bytes of an encoded term to a type of this crate.
pub(super) enum Encoded<'de> {
    Borrowed(&'de [u8]),
    Owned(Vec<u8>),
    /// What [`handed::take`] finds.
    Handed(&'de [u8]),
}

impl<'de> de::Deserializer<'de> for Encoded<'de> {
    type Error = Fault;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self {
            Self::Borrowed(term) => visitor.visit_borrowed_bytes(term),
            Self::Owned(term) => visitor.visit_byte_buf(term),
            Self::Handed(term) => visitor.visit_bytes(term),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
