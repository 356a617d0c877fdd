//! The reader: a cursor over encoded terms that hands out one item at a time and builds nothing.
//!
//! Everything is checked before it is used, so a reader is safe on bytes from the network; where
//! [`validate`](super::validate()) has been over them, only wrong *kinds* of terms remain as errors.

use std::borrow::Cow;

use bytes::Bytes;
use num_bigint::{BigInt, Sign};

use super::atom::{Atom, MAX_ATOM_CHARACTERS};
use super::error::{DecodeError, DecodeErrorKind};
use super::ids::{Creation, MAX_REF_WORDS, Pid, Port, Ref};
use super::tag;
use super::term::{MAX_FREE, OpaqueFun, Record, Term};

/// A cursor over encoded terms.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    atoms: &'a [Atom],
    /// The buffer that `bytes` is the whole of, when parts of it may be handed out without a copy.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `atoms` are those of the distribution header (empty for stand-alone terms).
    pub fn new(bytes: &'a [u8], atoms: &'a [Atom]) -> Self {
        Self { bytes, offset: 0, atoms, shared: None }
    }

    /// Like [`new`](Self::new), and binaries come out as slices of `bytes` without a copy.
    pub fn shared(bytes: &'a Bytes, atoms: &'a [Atom]) -> Self {
        Self { bytes, offset: 0, atoms, shared: Some(bytes) }
    }

    /// Where the next item starts.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// The atoms of the distribution header.
    pub fn atoms(&self) -> &'a [Atom] {
        self.atoms
    }

    /// True when everything is read.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.error(DecodeErrorKind::TrailingBytes(left))),
        }
    }

    /// An error at the current offset.
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.offset, kind)
    }

    pub(crate) fn fail<T>(&self, kind: DecodeErrorKind) -> Result<T, DecodeError> {
        Err(self.error(kind))
    }

    pub(crate) fn unexpected<T>(&self, expected: &str) -> Result<T, DecodeError> {
        let found = match self.rest().first() {
            Some(&tag) => describe(tag),
            None => "the end".to_owned(),
        };
        self.fail(DecodeErrorKind::Unexpected { expected: expected.to_owned(), found })
    }

    /// The tag of the next term, which stays unread.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn peek_tag(&self) -> Result<u8, DecodeError> {
        match self.rest().first() {
            Some(&tag) => Ok(tag),
            None => self.fail(DecodeErrorKind::Truncated { needed: 1 }),
        }
    }

    /// Takes `len` raw bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.rest();
        match rest.get(..len) {
            Some(taken) => {
                self.offset += len;
                Ok(taken)
            }
            None => self.fail(DecodeErrorKind::Truncated { needed: len - rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Takes a raw byte.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a raw big-endian u16.
    ///
    /// # Errors
    /// When fewer than two bytes are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Takes a raw big-endian u32.
    ///
    /// # Errors
    /// When fewer than four bytes are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Takes a raw big-endian u64.
    ///
    /// # Errors
    /// When fewer than eight bytes are left.
    pub fn u64_raw(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Takes a count of elements that need at least `least` bytes each.
    pub(crate) fn count(&mut self, least: u64) -> Result<usize, DecodeError> {
        let start = self.offset;
        let count = self.u32()?;
        let left = self.rest().len();
        if u64::from(count) * least > left as u64 {
            return Err(DecodeError::new(start, DecodeErrorKind::Count { count: count.into(), left }));
        }
        Ok(count as usize)
    }

    /// Takes the version byte 131.
    ///
    /// # Errors
    /// When the next byte is another one.
    pub fn version(&mut self) -> Result<(), DecodeError> {
        match self.peek_tag()? {
            tag::VERSION => {
                self.offset += 1;
                Ok(())
            }
            other => self.fail(DecodeErrorKind::Version(other)),
        }
    }

    /// Takes an atom, in any of its four tags or as a reference into the header.
    ///
    /// # Errors
    /// When the next term is no atom, or one that is too long or not UTF-8.
    pub fn atom(&mut self) -> Result<Atom, DecodeError> {
        let start = self.clone();
        let text = self.atom_text()?;
        if let &[tag::ATOM_CACHE_REF, index, ..] = start.rest()
            && let Some(atom) = self.atoms.get(usize::from(index))
        {
            return Ok(atom.clone());
        }
        Atom::new(text).or_else(|_| start.fail(DecodeErrorKind::Invalid(ATOM_TOO_LONG)))
    }

    /// Takes an atom as its text, which is copied only where it is latin-1 beyond ASCII.
    ///
    /// # Errors
    /// As [`atom`](Self::atom).
    pub fn atom_text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let start = self.clone();
        let (len, utf8) = match self.u8()? {
            tag::ATOM_CACHE_REF => {
                let index = self.u8()?;
                return match self.atoms.get(usize::from(index)) {
                    Some(atom) => Ok(Cow::Borrowed(atom.as_str())),
                    None => start.fail(DecodeErrorKind::AtomCacheRef { index, known: self.atoms.len() }),
                };
            }
            tag::SMALL_ATOM_UTF8 => (usize::from(self.u8()?), true),
            tag::ATOM_UTF8 => (usize::from(self.u16()?), true),
            tag::SMALL_ATOM => (usize::from(self.u8()?), false),
            tag::ATOM => (usize::from(self.u16()?), false),
            _ => {
                *self = start;
                return self.unexpected("an atom");
            }
        };
        let bytes = self.take(len)?;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if utf8 || text.is_ascii() => Cow::Borrowed(text),
            _ if !utf8 => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
            _ => return start.fail(DecodeErrorKind::Invalid("an atom is not UTF-8")),
        };
        if len > MAX_ATOM_CHARACTERS && text.chars().count() > MAX_ATOM_CHARACTERS {
            return start.fail(DecodeErrorKind::Invalid(ATOM_TOO_LONG));
        }
        Ok(text)
    }

    /// Takes an integer that fits 64 bits with a sign.
    ///
    /// # Errors
    /// When the next term is no integer, or a larger one.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        let value = self.i128()?;
        i64::try_from(value).or_else(|_| self.fail(DecodeErrorKind::Invalid("the integer does not fit an i64")))
    }

    /// Takes an integer that fits 64 bits without a sign.
    ///
    /// # Errors
    /// When the next term is no integer, or is negative, or a larger one.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let value = self.i128()?;
        u64::try_from(value).or_else(|_| self.fail(DecodeErrorKind::Invalid("the integer does not fit a u64")))
    }

    fn i128(&mut self) -> Result<i128, DecodeError> {
        let start = self.clone();
        match self.integer()? {
            Integer::Small(value) => Ok(value.into()),
            Integer::Big { negative, magnitude } if magnitude.len() <= 8 => {
                let mut bytes = [0; 16];
                bytes.iter_mut().zip(magnitude).for_each(|(to, from)| *to = *from);
                let value = i128::from_le_bytes(bytes);
                Ok(if negative { -value } else { value })
            }
            Integer::Big { .. } => start.fail(DecodeErrorKind::Invalid("the integer does not fit 64 bits")),
        }
    }

    /// Takes an integer of any size, without copying a large one.
    pub(crate) fn integer(&mut self) -> Result<Integer<'a>, DecodeError> {
        let start = self.clone();
        let (sign, magnitude) = match self.u8()? {
            tag::SMALL_INTEGER => return Ok(Integer::Small(self.u8()?.into())),
            tag::INTEGER => return Ok(Integer::Small(i32::from_be_bytes(self.array()?).into())),
            tag::SMALL_BIG => {
                let len = self.u8()?;
                (self.u8()?, self.take(len.into())?)
            }
            tag::LARGE_BIG => {
                let len = self.count(1)?;
                (self.u8()?, self.take(len)?)
            }
            _ => {
                *self = start;
                return self.unexpected("an integer");
            }
        };
        let significant = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let magnitude = magnitude.get(..significant).unwrap_or_default();
        let negative = sign != 0;
        if significant < 8 {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(magnitude).for_each(|(to, from)| *to = *from);
            let value = i64::from_le_bytes(bytes);
            return Ok(Integer::Small(if negative { -value } else { value }));
        }
        Ok(Integer::Big { negative, magnitude })
    }

    /// Starts a tuple: its arity; then come its elements.
    ///
    /// # Errors
    /// When the next term is no tuple, or announces more elements than there are bytes.
    pub fn tuple(&mut self) -> Result<usize, DecodeError> {
        match self.peek_tag()? {
            tag::SMALL_TUPLE => {
                self.offset += 1;
                let arity = usize::from(self.u8()?);
                let left = self.rest().len();
                if arity > left {
                    return self.fail(DecodeErrorKind::Count { count: arity as u64, left });
                }
                Ok(arity)
            }
            tag::LARGE_TUPLE => {
                self.offset += 1;
                self.count(1)
            }
            _ => self.unexpected("a tuple"),
        }
    }

    /// Starts a tuple that must have `arity` elements.
    ///
    /// # Errors
    /// As [`tuple`](Self::tuple), and for another arity.
    pub fn tuple_of(&mut self, arity: usize) -> Result<(), DecodeError> {
        let start = self.clone();
        match self.tuple()? {
            found if found == arity => Ok(()),
            found => start.fail(DecodeErrorKind::Unexpected {
                expected: format!("a tuple of {arity}"),
                found: format!("a tuple of {found}"),
            }),
        }
    }

    /// Starts a list in its long form: the number of elements before the tail (0 for the empty list,
    /// which has no tail on the wire).
    ///
    /// # Errors
    /// When the next term is no such list; a compact byte list is one that
    /// [`byte_list`](Self::byte_list) takes.
    pub fn list(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.peek_tag()? {
            tag::NIL => {
                self.offset += 1;
                Ok(None)
            }
            tag::LIST => {
                self.offset += 1;
                self.count(1).map(Some)
            }
            _ => self.unexpected("a list"),
        }
    }

    /// Takes a byte list in its compact form.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn byte_list(&mut self) -> Result<&'a [u8], DecodeError> {
        if self.peek_tag()? != tag::STRING {
            return self.unexpected("a list of bytes");
        }
        self.offset += 1;
        let len = self.u16()?;
        self.take(len.into())
    }

    /// Takes the empty list.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn nil(&mut self) -> Result<(), DecodeError> {
        if self.peek_tag()? != tag::NIL {
            return self.unexpected("the end of the list");
        }
        self.offset += 1;
        Ok(())
    }

    /// Starts a map: the number of its pairs.
    ///
    /// # Errors
    /// When the next term is no map, or announces more than there are bytes for.
    pub fn map(&mut self) -> Result<usize, DecodeError> {
        if self.peek_tag()? != tag::MAP {
            return self.unexpected("a map");
        }
        self.offset += 1;
        self.count(2)
    }

    /// Takes a binary (whole bytes).
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        if self.peek_tag()? != tag::BINARY {
            return self.unexpected("a binary");
        }
        self.offset += 1;
        let len = self.count(1)?;
        self.take(len)
    }

    /// Takes a binary as shared bytes: a slice without a copy where the reader is
    /// [`shared`](Self::shared).
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let slice = self.binary()?;
        Ok(self.share(slice))
    }

    /// `slice`, which has to come from this reader, as shared bytes.
    pub(crate) fn share(&self, slice: &'a [u8]) -> Bytes {
        match self.shared {
            Some(shared) if !slice.is_empty() => shared.slice_ref(slice),
            _ => Bytes::copy_from_slice(slice),
        }
    }

    /// Takes a bitstring or binary: its bytes, and how many bits of the last one count (8 where it
    /// is whole).
    ///
    /// # Errors
    /// When the next term is something else, or has an illegal number of bits.
    pub fn bitstring(&mut self) -> Result<(&'a [u8], u8), DecodeError> {
        if self.peek_tag()? != tag::BIT_BINARY {
            return Ok((self.binary()?, 8));
        }
        let start = self.clone();
        self.offset += 1;
        let len = self.count(1)?;
        let bits = self.u8()?;
        let bytes = self.take(len)?;
        match (len, bits) {
            (0, 0) => Ok((bytes, 8)),
            (1.., 1..=8) => Ok((bytes, bits)),
            _ => start.fail(DecodeErrorKind::Invalid("the last byte of a bitstring has an illegal number of bits")),
        }
    }

    /// Takes `fun Module:Function/Arity`.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn export(&mut self) -> Result<(Atom, Atom, u8), DecodeError> {
        if self.peek_tag()? != tag::EXPORT {
            return self.unexpected("a fun of the form module:function/arity");
        }
        self.offset += 1;
        Ok((self.atom()?, self.atom()?, self.arity()?))
    }

    /// Takes the number of arguments of an exported fun.
    pub(crate) fn arity(&mut self) -> Result<u8, DecodeError> {
        let start = self.clone();
        u8::try_from(self.i64()?)
            .or_else(|_| start.fail(DecodeErrorKind::Invalid("the arity of a fun is not between 0 and 255")))
    }

    /// Takes an opaque fun up to the values it closes over: these come next, as many as the second
    /// part of the answer says.
    pub(crate) fn fun_head(&mut self) -> Result<(OpaqueFun, usize), DecodeError> {
        let start = self.clone();
        if self.u8()? != tag::NEW_FUN {
            *self = start;
            return self.unexpected("a fun");
        }
        // The size is what some sender believes; a BEAM does not look at it either.
        self.u32()?;
        let arity = self.u8()?;
        let uniq = self.array()?;
        let index = self.u32()?;
        let free = self.count(1)?;
        if free > MAX_FREE {
            return start.fail(DecodeErrorKind::Invalid("a fun closes over more than 255 values"));
        }
        let module = self.atom()?;
        let (old_index, old_uniq) = (self.i64()?, self.i64()?);
        let pid = self.pid()?;
        Ok((OpaqueFun { arity, uniq, index, module, old_index, old_uniq, pid, free: Vec::new() }, free))
    }

    /// Takes a native record up to the values of its fields, which come next; they are empty lists
    /// in the answer.
    pub(crate) fn record_head(&mut self) -> Result<Record, DecodeError> {
        if self.peek_tag()? != tag::RECORD {
            return self.unexpected("a native record");
        }
        self.offset += 1;
        let count = self.count(2)?;
        let flags = self.u8()?;
        let (module, name) = (self.atom()?, self.atom()?);
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push((self.atom()?, Term::NIL));
        }
        Ok(Record { flags, module, name, fields })
    }

    /// Takes a float, new or old.
    ///
    /// # Errors
    /// When the next term is no float, or is not a number or infinite.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        let start = self.clone();
        let value = match self.u8()? {
            tag::NEW_FLOAT => f64::from_be_bytes(self.array()?),
            tag::FLOAT => {
                let text = self.take(31)?;
                let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
                let text = std::str::from_utf8(text).unwrap_or_default().trim();
                match text.parse() {
                    Ok(value) => value,
                    Err(_) => return start.fail(DecodeErrorKind::Invalid("an old float is not a number")),
                }
            }
            _ => {
                *self = start;
                return self.unexpected("a float");
            }
        };
        if value.is_finite() { Ok(value) } else { start.fail(DecodeErrorKind::Invalid("a float is not finite")) }
    }

    pub(crate) fn narrow_creation(&mut self) -> Result<Creation, DecodeError> {
        match self.u8()? {
            creation @ 0..=3 => Ok(Creation(creation.into())),
            _ => self.fail(DecodeErrorKind::Invalid("a creation of one byte is above 3")),
        }
    }

    /// Takes a pid, new or old.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn pid(&mut self) -> Result<Pid, DecodeError> {
        let wide = match self.peek_tag()? {
            tag::NEW_PID => true,
            tag::PID => false,
            _ => return self.unexpected("a pid"),
        };
        self.offset += 1;
        let node = self.atom()?;
        let (id, serial) = (self.u32()?, self.u32()?);
        let creation = if wide { Creation(self.u32()?) } else { self.narrow_creation()? };
        Ok(Pid { node, id, serial, creation })
    }

    /// Takes a port, in any of its three forms.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn port(&mut self) -> Result<Port, DecodeError> {
        let tag = self.peek_tag()?;
        if !matches!(tag, tag::V4_PORT | tag::NEW_PORT | tag::PORT) {
            return self.unexpected("a port");
        }
        self.offset += 1;
        let node = self.atom()?;
        let id = if tag == tag::V4_PORT { self.u64_raw()? } else { self.u32()?.into() };
        let creation = if tag == tag::PORT { self.narrow_creation()? } else { Creation(self.u32()?) };
        Ok(Port { node, id, creation })
    }

    /// Takes a reference, in any of its three forms.
    ///
    /// # Errors
    /// When the next term is something else, or has no words or more than five.
    pub fn reference(&mut self) -> Result<Ref, DecodeError> {
        let start = self.clone();
        let tag = self.u8()?;
        let (len, node, creation) = match tag {
            tag::REFERENCE => (1, self.atom()?, None),
            tag::NEW_REFERENCE | tag::NEWER_REFERENCE => {
                let len = usize::from(self.u16()?);
                let node = self.atom()?;
                let creation = if tag == tag::NEW_REFERENCE { self.narrow_creation()? } else { Creation(self.u32()?) };
                (len, node, Some(creation))
            }
            _ => {
                *self = start;
                return self.unexpected("a reference");
            }
        };
        let mut words = [0; MAX_REF_WORDS];
        for word in words.iter_mut().take(len) {
            *word = self.u32()?;
        }
        let creation = match creation {
            Some(creation) => creation,
            None => self.narrow_creation()?,
        };
        match words.get(..len).and_then(|words| Ref::new(node, creation, words)) {
            Some(reference) => Ok(reference),
            None => start.fail(DecodeErrorKind::Invalid("a reference has one to five words")),
        }
    }
}

/// An integer as it stands on the wire.
pub(crate) enum Integer<'a> {
    Small(i64),
    /// At least eight bytes, little-endian, the last of them not zero.
    Big {
        negative: bool,
        magnitude: &'a [u8],
    },
}

impl Integer<'_> {
    pub(crate) fn to_bigint(&self) -> BigInt {
        match self {
            Self::Small(value) => (*value).into(),
            Self::Big { negative, magnitude } => {
                BigInt::from_bytes_le(if *negative { Sign::Minus } else { Sign::Plus }, magnitude)
            }
        }
    }
}

const ATOM_TOO_LONG: &str = "an atom has more than 255 characters";

/// What a tag stands for, in words.
pub(crate) fn describe(tag: u8) -> String {
    match tag {
        tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => "an atom",
        tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG => "an integer",
        tag::NEW_FLOAT | tag::FLOAT => "a float",
        tag::NEW_PID | tag::PID => "a pid",
        tag::NEW_PORT | tag::V4_PORT | tag::PORT => "a port",
        tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => "a reference",
        tag::SMALL_TUPLE | tag::LARGE_TUPLE => "a tuple",
        tag::NIL => "an empty list",
        tag::STRING => "a list of bytes",
        tag::LIST => "a list",
        tag::BINARY => "a binary",
        tag::BIT_BINARY => "a bitstring",
        tag::NEW_FUN | tag::EXPORT => "a fun",
        tag::MAP => "a map",
        tag::RECORD => "a native record",
        tag::COMPRESSED => "a compressed term",
        other => return format!("tag {other}"),
    }
    .to_owned()
}
