//! The parts of lists, tuples, maps and variants, as serde asks for them.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::value::{StrDeserializer, UnitDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};

use super::de::Deserializer;
use super::de::byte::Byte;
use super::error::{DecodeErrorKind, Fault};
use super::limits::Limits;
use super::read::Reader;
use super::tag;
use super::term::Term;
use super::twice::Keys;

/// The elements of a proper list, in whatever pieces it was written.
pub(super) struct Elements<'d, 'de, 'l> {
    de: &'d mut Deserializer<'de, 'l>,
    /// Of a compact piece.
    bytes: &'de [u8],
    /// Of a long piece.
    left: usize,
    /// The list is still to be ended by its tail.
    has_tail: bool,
    index: usize,
}

impl<'d, 'de, 'l> Elements<'d, 'de, 'l> {
    /// Made where it is used, as is what follows: it is not worth being moved.
    #[inline(always)]
    pub(super) fn list(de: &'d mut Deserializer<'de, 'l>) -> Result<Self, Fault> {
        let left = list_start(&mut de.reader)?;
        Ok(Self { de, bytes: &[], left, has_tail: true, index: 0 })
    }

    /// What comes where a long piece has ended.
    fn next_piece(&mut self) -> Result<Piece, Fault> {
        loop {
            if let Some((&byte, rest)) = self.bytes.split_first() {
                self.bytes = rest;
                return Ok(Piece::Byte(byte));
            }
            if self.left > 0 {
                return Ok(Piece::Long);
            }
            if !self.has_tail {
                return Ok(Piece::End);
            }
            match self.de.reader.peek_tag()? {
                // A compact piece is the tail, and has none of its own.
                tag::STRING => {
                    self.bytes = self.de.reader.byte_list()?;
                    self.has_tail = false;
                }
                tag::LIST => self.left = self.de.reader.list()?.unwrap_or_default(),
                tag::NIL => {
                    self.de.reader.nil()?;
                    self.has_tail = false;
                }
                _ => return self.de.reader.unexpected("the end of a proper list"),
            }
        }
    }

    /// Reads a byte of a compact piece.
    #[inline(never)]
    fn byte<T: DeserializeSeed<'de>>(&mut self, seed: T, byte: u8) -> Result<T::Value, Fault> {
        let (index, offset) = (self.index, self.de.reader.offset() - self.bytes.len() - 1);
        self.index += 1;
        let element = SMALL_INTEGERS.get(usize::from(byte)).map_or(&[][..], |element| element);
        let mut element = self.de.beside(Reader::new(element, &[]));
        match seed.deserialize(Byte(&mut element)) {
            Ok(value) => Ok(value),
            Err(error) => Err(error.moved(offset).in_element(offset, index, &[])),
        }
    }

    /// Checks that all were taken.
    #[inline]
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        if self.left == 0 && matches!(self.next_piece()?, Piece::End) {
            return Ok(());
        }
        more_than(self.index, &self.de.reader)
    }
}

/// What comes next in a list.
enum Piece {
    /// Elements that are terms; how many, is in `left`.
    Long,
    /// An element of a compact piece.
    Byte(u8),
    End,
}

/// Starts a list: how many elements come before its first piece ends.
#[inline]
fn list_start(reader: &mut Reader<'_>) -> Result<usize, Fault> {
    match reader.peek_tag()? {
        tag::LIST => Ok(reader.list()?.unwrap_or_default()),
        tag::NIL | tag::STRING => Ok(0),
        tag::BINARY => reader.unexpected("a list (a binary is read through serde_bytes or as a String)"),
        _ => reader.unexpected("a list"),
    }
}

#[cold]
fn more_than(count: usize, reader: &Reader<'_>) -> Result<(), Fault> {
    let (expected, found) = (format!("{count} elements").into(), "more of them".into());
    reader.fail(DecodeErrorKind::Unexpected { expected, found })
}

/// The elements of a tuple whose head is read, or the last of them.
pub(super) struct Counted<'d, 'de, 'l> {
    de: &'d mut Deserializer<'de, 'l>,
    left: usize,
    index: usize,
    /// What the elements are called, where they are the fields of a record.
    names: &'static [&'static str],
}

impl<'d, 'de, 'l> Counted<'d, 'de, 'l> {
    #[inline]
    pub(super) fn new(de: &'d mut Deserializer<'de, 'l>, left: usize, names: &'static [&'static str]) -> Self {
        Self { de, left, index: 0, names }
    }

    /// Checks that all were taken.
    #[inline]
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.left > 0 { more_than(self.index, &self.de.reader) } else { Ok(()) }
    }
}

// What follows is for references to them: serde has such implementations, but the functions in between are not always
// made part of what is around them, and each is one place more through which a value is moved.

impl<'de> de::SeqAccess<'de> for &mut Counted<'_, 'de, '_> {
    type Error = Fault;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        let index = self.index;
        self.left -= 1;
        self.index += 1;
        match self.de.element(seed, index, self.names) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => Err(fault),
        }
    }

    #[inline(always)]
    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Fault> {
        self.next_element_seed(PhantomData)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, 'de, '_> {
    type Error = Fault;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            match self.next_piece()? {
                Piece::Long => {}
                Piece::Byte(byte) => return self.byte(seed, byte).map(Some),
                Piece::End => return Ok(None),
            }
        }
        let index = self.index;
        self.left -= 1;
        self.index += 1;
        match self.de.element(seed, index, &[]) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => Err(fault),
        }
    }

    #[inline(always)]
    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Fault> {
        self.next_element_seed(PhantomData)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left + self.bytes.len())
    }
}

/// The elements of a compact list as terms of their own, whatever a type wants to see in them.
static SMALL_INTEGERS: [[u8; 2]; 256] = {
    let mut all = [[tag::SMALL_INTEGER, 0]; 256];
    let mut byte = 0;
    while byte < all.len() {
        all[byte][1] = byte as u8;
        byte += 1;
    }
    all
};

/// The pairs of a map, or of a keyword list.
pub(super) struct Entries<'d, 'de, 'l> {
    de: &'d mut Deserializer<'de, 'l>,
    source: Source,
    /// Where the last key stands: it, and all behind it.
    key: &'de [u8],
    /// All keys as they stand, to find one that comes twice; none where the type finds that itself.
    keys: Option<&'d mut Keys<'de>>,
}

enum Source {
    Map {
        left: usize,
    },
    /// A list of pairs, with so many left in the present piece; `None` at its end.
    List {
        left: Option<usize>,
    },
}

impl Source {
    #[inline]
    fn start(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.peek_tag()? {
            tag::MAP => Ok(Self::Map { left: reader.map()? }),
            tag::LIST | tag::NIL => Ok(Self::List { left: Some(0) }),
            _ => reader.unexpected("a map"),
        }
    }
}

impl<'d, 'de, 'l> Entries<'d, 'de, 'l> {
    #[inline(always)]
    pub(super) fn new(de: &'d mut Deserializer<'de, 'l>, mut keys: Option<&'d mut Keys<'de>>) -> Result<Self, Fault> {
        let key = de.reader.rest();
        let source = Source::start(&mut de.reader)?;
        if let (Some(keys), Source::Map { left }) = (&mut keys, &source) {
            keys.expect(*left);
        }
        Ok(Self { de, source, key, keys })
    }

    /// Goes to the next key; `false` at the end.
    #[inline]
    pub(super) fn more(&mut self) -> Result<bool, Fault> {
        let reader = &mut self.de.reader;
        match &mut self.source {
            Source::Map { left: 0 } => return Ok(false),
            Source::Map { left } => *left -= 1,
            Source::List { left } => return next_pair(reader, left),
        }
        Ok(true)
    }

    /// Checks that all were taken, and no key twice.
    #[inline]
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        if self.more()? {
            let kind = DecodeErrorKind::Invalid("the map has more pairs than were asked for");
            return self.de.reader.fail(kind);
        }
        if self.keys.as_mut().is_some_and(|keys| keys.has_twice()) {
            return self.de.reader.fail(DecodeErrorKind::Invalid(super::decode::KEY_TWICE));
        }
        Ok(())
    }

    /// How many are known to come.
    pub(super) fn at_least(&self) -> Option<usize> {
        match self.source {
            Source::Map { left } => Some(left),
            Source::List { left } => left,
        }
    }

    /// What is read: the next key, after [`more`](Self::more).
    pub(super) fn reader(&mut self) -> &mut Reader<'de> {
        &mut self.de.reader
    }

    /// Reads the next key.
    #[inline]
    pub(super) fn key<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<K::Value, Fault> {
        self.key = self.de.reader.rest();
        self.de.is_key = true;
        let key = seed.deserialize(&mut *self.de);
        self.de.is_key = false;
        if let Some(keys) = &mut self.keys {
            let len = self.key.len() - self.de.reader.rest().len();
            keys.push(self.key.get(..len).unwrap_or_default());
        }
        match key {
            Ok(key) => Ok(key),
            Err(fault) => Err(self.fault_at(self.key, fault)),
        }
    }

    /// A fault in the last key, or in what belongs to it and starts there.
    #[cold]
    #[inline(never)]
    fn fault_at(&self, start: &'de [u8], fault: Fault) -> Fault {
        let (start, key) = (self.de.reader.back_at(start), self.de.reader.back_at(self.key));
        fault.at(start.offset()).within(&key_in_path(&key))
    }
}

/// Goes to the key of the next pair of a list; `false` at the end.
fn next_pair(reader: &mut Reader<'_>, left: &mut Option<usize>) -> Result<bool, Fault> {
    while *left == Some(0) {
        *left = match reader.peek_tag()? {
            tag::LIST => reader.list()?,
            _ => reader.nil().map(|()| None)?,
        };
    }
    let Some(left) = left else { return Ok(false) };
    *left -= 1;
    // Behind a key alone stands `true` in a property list; whoever sends that wants a list.
    reader.tuple_of(2)?;
    Ok(true)
}

/// A key, as a part of a path.
pub(super) fn key_in_path(key: &Reader<'_>) -> String {
    if let Ok(text) = key.clone().atom_text() {
        return text.into_owned();
    }
    match (key.clone().binary().map(std::str::from_utf8), Term::decode(&mut key.clone(), &Limits::default())) {
        (Ok(Ok(text)), _) => format!("[{text:?}]"),
        (_, Ok(key)) => format!("[{key}]"),
        _ => "[?]".to_owned(),
    }
}

impl<'de> de::MapAccess<'de> for &mut Entries<'_, 'de, '_> {
    type Error = Fault;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        if !self.more()? {
            return Ok(None);
        }
        match self.key(seed) {
            Ok(key) => Ok(Some(key)),
            Err(fault) => Err(fault),
        }
    }

    #[inline(always)]
    fn next_key<K: Deserialize<'de>>(&mut self) -> Result<Option<K>, Fault> {
        self.next_key_seed(PhantomData)
    }

    #[inline(always)]
    fn next_value<V: Deserialize<'de>>(&mut self) -> Result<V, Fault> {
        self.next_value_seed(PhantomData)
    }

    #[inline(always)]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let start = self.de.reader.rest();
        match seed.deserialize(&mut *self.de) {
            Ok(value) => Ok(value),
            Err(fault) => Err(self.fault_at(start, fault)),
        }
    }

    #[inline(always)]
    fn next_entry<K: Deserialize<'de>, V: Deserialize<'de>>(&mut self) -> Result<Option<(K, V)>, Fault> {
        match self.next_key() {
            Ok(Some(key)) => match self.next_value() {
                Ok(value) => Ok(Some((key, value))),
                Err(fault) => Err(fault),
            },
            Ok(None) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.at_least()
    }
}

/// A variant: an atom alone, or a tuple that starts with it.
pub(super) struct Variant<'d, 'de, 'l> {
    de: &'d mut Deserializer<'de, 'l>,
    name: Cow<'de, str>,
    /// Of the tuple, without the name; `None` for an atom alone.
    fields: Option<usize>,
    /// `ok` and `error`, where serde says `Ok` and `Err`.
    is_result: bool,
    start: Reader<'de>,
}

impl<'d, 'de, 'l> Variant<'d, 'de, 'l> {
    pub(super) fn new(de: &'d mut Deserializer<'de, 'l>, is_result: bool) -> Result<Self, Fault> {
        let start = de.reader.clone();
        let fields = match de.reader.peek_tag()? {
            tag::SMALL_TUPLE | tag::LARGE_TUPLE => match de.reader.tuple()? {
                0 => return start.unexpected("an atom, or a tuple that starts with one"),
                arity => Some(arity - 1),
            },
            _ => None,
        };
        match de.reader.atom_text() {
            Ok(name) => Ok(Self { de, name, fields, is_result, start }),
            Err(_) => start.unexpected("an atom, or a tuple that starts with one"),
        }
    }

    fn expect(&self, fields: usize) -> Result<(), Fault> {
        if self.fields == Some(fields) {
            return Ok(());
        }
        let name = &self.name;
        let found = match self.fields {
            Some(found) => format!("a tuple of {}", found + 1).into(),
            None => "the atom alone".into(),
        };
        let expected = match fields {
            0 => format!("the atom {name} alone").into(),
            fields => format!("a tuple of {} that starts with {name}", fields + 1).into(),
        };
        self.start.fail(DecodeErrorKind::Unexpected { expected, found })
    }
}

impl<'de, 'd, 'l> de::EnumAccess<'de> for Variant<'d, 'de, 'l> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name = match (&*self.name, self.is_result) {
            ("ok", true) => "Ok",
            ("error", true) => "Err",
            (name, _) => name,
        };
        let name: StrDeserializer<'_, Fault> = name.into_deserializer();
        let value = seed.deserialize(name).map_err(|error| error.at(self.start.offset()))?;
        Ok((value, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.fields {
            None => Ok(()),
            Some(_) => self.expect(0),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        if self.is_result && self.fields.is_none() {
            let unit: UnitDeserializer<Fault> = ().into_deserializer();
            let start = self.start.offset();
            return seed.deserialize(unit).map_err(|error| error.at(start));
        }
        self.expect(1)?;
        self.de.element(seed, 0, &[&self.name])
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.expect(len)?;
        let name = self.name;
        let mut elements = Counted::new(self.de, len, &[]);
        let value = visitor.visit_seq(&mut elements).map_err(|error| error.within(&name))?;
        elements.end().map_err(|error| error.within(&name))?;
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.expect(1)?;
        let start = self.de.reader.offset();
        let name = self.name;
        de::Deserializer::deserialize_struct(&mut *self.de, "", fields, visitor)
            .map_err(|error| error.at(start).within(&name))
    }
}
