//! The reader: a cursor over encoded terms that hands out one item at a time and builds nothing.
//!
//! Everything is checked before it is used, so a reader is safe on bytes from the network; where
//! [`validate`](super::validate()) has been over them, only wrong *kinds* of terms remain as errors.

mod atom;
mod number;
mod opaque;

use std::borrow::Cow;

use bytes::Bytes;

use super::atom::Atom;
use super::error::{DecodeError, DecodeErrorKind};
use super::tag;

pub(crate) use number::Integer;

/// A cursor over encoded terms.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// What has not been read yet.
    rest: &'a [u8],
    /// How long all of it was.
    len: usize,
    atoms: &'a [Atom],
    /// The buffer that this reads the whole of, when parts of it may be handed out without a copy.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; `atoms` are those of the distribution header (empty for stand-alone terms).
    #[inline]
    pub fn new(bytes: &'a [u8], atoms: &'a [Atom]) -> Self {
        Self { rest: bytes, len: bytes.len(), atoms, shared: None }
    }

    /// Like [`new`](Self::new), and binaries come out as slices of `bytes` without a copy.
    pub fn shared(bytes: &'a Bytes, atoms: &'a [Atom]) -> Self {
        Self { rest: bytes, len: bytes.len(), atoms, shared: Some(bytes) }
    }

    /// Where the next item starts.
    #[inline]
    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// What has not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The atoms of the distribution header.
    pub fn atoms(&self) -> &'a [Atom] {
        self.atoms
    }

    /// True when everything is read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.error(DecodeErrorKind::TrailingBytes(left))),
        }
    }

    /// An error at the current offset.
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.offset(), kind)
    }

    #[cold]
    pub(crate) fn fail<T, E: From<DecodeError>>(&self, kind: DecodeErrorKind) -> Result<T, E> {
        Err(self.error(kind).into())
    }

    #[cold]
    pub(crate) fn unexpected<T, E: From<DecodeError>>(&self, expected: impl Into<Cow<'static, str>>) -> Result<T, E> {
        let found = self.rest.first().map_or(Cow::Borrowed("the end"), |&tag| describe(tag));
        self.fail(DecodeErrorKind::Unexpected { expected: expected.into(), found })
    }

    /// Goes on where a pattern over what was left has ended.
    #[inline]
    pub(super) fn go_on(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// Passes over what has been looked at.
    #[inline]
    fn pass(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// The tag of the next term, which stays unread.
    ///
    /// # Errors
    /// When nothing is left.
    #[inline]
    pub fn peek_tag(&self) -> Result<u8, DecodeError> {
        match self.rest.first() {
            Some(&tag) => Ok(tag),
            None => self.cut_off(1),
        }
    }

    #[cold]
    fn cut_off<T>(&self, needed: usize) -> Result<T, DecodeError> {
        self.fail(DecodeErrorKind::Truncated { needed: needed - self.rest.len() })
    }

    /// Takes `len` raw bytes.
    ///
    /// # Errors
    /// When fewer are left.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => self.cut_off(len),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => self.cut_off(N),
        }
    }

    /// Takes a raw byte.
    ///
    /// # Errors
    /// When nothing is left.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a raw big-endian u16.
    ///
    /// # Errors
    /// When fewer than two bytes are left.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Takes a raw big-endian u32.
    ///
    /// # Errors
    /// When fewer than four bytes are left.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Takes a raw big-endian u64.
    ///
    /// # Errors
    /// When fewer than eight bytes are left.
    #[inline]
    pub fn u64_raw(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Takes a count of elements that need at least `least` bytes each.
    #[inline]
    pub(crate) fn count(&mut self, least: u64) -> Result<usize, DecodeError> {
        let count = self.u32()?;
        if u64::from(count) * least > self.rest.len() as u64 {
            return self.too_many(count.into(), 4);
        }
        Ok(count as usize)
    }

    /// The error for a count that took `size` bytes.
    #[cold]
    fn too_many<T>(&self, count: u64, size: usize) -> Result<T, DecodeError> {
        Err(DecodeError::new(self.offset() - size, DecodeErrorKind::Count { count, left: self.rest.len() }))
    }

    /// Takes the version byte 131.
    ///
    /// # Errors
    /// When the next byte is another one.
    pub fn version(&mut self) -> Result<(), DecodeError> {
        match self.peek_tag()? {
            tag::VERSION => {
                self.pass(1);
                Ok(())
            }
            other => self.fail(DecodeErrorKind::Version(other)),
        }
    }

    /// Where this was when `rest` was left.
    #[cold]
    pub(crate) fn back_at(&self, rest: &'a [u8]) -> Self {
        Self { rest, ..*self }
    }

    /// The pid or port that comes next, by what it says of its length; whoever takes it checks the rest.
    #[inline]
    pub(super) fn identifier(&self) -> Option<&'a [u8]> {
        let (&tag, behind) = self.rest.split_first()?;
        let numbers = match tag {
            tag::NEW_PID | tag::V4_PORT => 12,
            tag::NEW_PORT => 8,
            _ => return None,
        };
        let atom = match behind {
            [tag::SMALL_ATOM_UTF8, len, ..] => 2 + usize::from(*len),
            [tag::ATOM, high, low, ..] => 3 + usize::from(u16::from_be_bytes([*high, *low])),
            [tag::ATOM_CACHE_REF, ..] => 2,
            _ => return None,
        };
        self.rest.get(..1 + atom + numbers)
    }

    /// Whether a pid, a port or a reference comes next.
    #[inline]
    pub(crate) fn is_at_identifier(&self) -> bool {
        matches!(self.rest.first(), Some(&(tag::NEW_PID | tag::NEW_PORT | tag::V4_PORT | tag::NEWER_REFERENCE)))
    }

    /// Starts a tuple: its arity; then come its elements.
    ///
    /// # Errors
    /// When the next term is no tuple, or announces more elements than there are bytes.
    #[inline]
    pub fn tuple(&mut self) -> Result<usize, DecodeError> {
        match self.rest {
            [tag::SMALL_TUPLE, arity, rest @ ..] => {
                self.go_on(rest);
                let arity = usize::from(*arity);
                if arity > rest.len() { self.too_many(arity as u64, 0) } else { Ok(arity) }
            }
            [tag::LARGE_TUPLE, rest @ ..] => {
                self.go_on(rest);
                self.count(1)
            }
            [tag::SMALL_TUPLE] => {
                self.go_on(&[]);
                self.cut_off(1)
            }
            _ => self.no("a tuple"),
        }
    }

    /// The error for a term of another kind, or for none.
    #[cold]
    fn no<T>(&self, expected: &'static str) -> Result<T, DecodeError> {
        self.peek_tag()?;
        self.unexpected(expected)
    }

    /// Starts a tuple that must have `arity` elements.
    ///
    /// # Errors
    /// As [`tuple`](Self::tuple), and for another arity.
    #[inline]
    pub fn tuple_of(&mut self, arity: usize) -> Result<(), DecodeError> {
        let start = self.rest;
        match self.tuple()? {
            found if found == arity => Ok(()),
            found => self.back_at(start).fail(DecodeErrorKind::Unexpected {
                expected: format!("a tuple of {arity}").into(),
                found: format!("a tuple of {found}").into(),
            }),
        }
    }

    /// Starts a list in its long form: the number of elements before the tail (0 for the empty list,
    /// which has no tail on the wire).
    ///
    /// # Errors
    /// When the next term is no such list; a compact byte list is one that
    /// [`byte_list`](Self::byte_list) takes.
    #[inline]
    pub fn list(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.rest {
            [tag::NIL, rest @ ..] => {
                self.go_on(rest);
                Ok(None)
            }
            [tag::LIST, rest @ ..] => {
                self.go_on(rest);
                self.count(1).map(Some)
            }
            _ => self.no("a list"),
        }
    }

    /// Takes a byte list in its compact form.
    ///
    /// # Errors
    /// When the next term is something else.
    #[inline]
    pub fn byte_list(&mut self) -> Result<&'a [u8], DecodeError> {
        let [tag::STRING, rest @ ..] = self.rest else { return self.no("a list of bytes") };
        self.go_on(rest);
        let len = self.u16()?;
        self.take(len.into())
    }

    /// Takes the empty list.
    ///
    /// # Errors
    /// When the next term is something else.
    #[inline]
    pub fn nil(&mut self) -> Result<(), DecodeError> {
        let [tag::NIL, rest @ ..] = self.rest else { return self.no("the end of the list") };
        self.go_on(rest);
        Ok(())
    }

    /// Starts a map: the number of its pairs.
    ///
    /// # Errors
    /// When the next term is no map, or announces more than there are bytes for.
    #[inline]
    pub fn map(&mut self) -> Result<usize, DecodeError> {
        let [tag::MAP, rest @ ..] = self.rest else { return self.no("a map") };
        self.go_on(rest);
        self.count(2)
    }

    /// Takes a binary (whole bytes).
    ///
    /// # Errors
    /// When the next term is something else.
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let [tag::BINARY, rest @ ..] = self.rest else { return self.no("a binary") };
        self.go_on(rest);
        let len = self.count(1)?;
        self.take(len)
    }

    /// Takes a binary as shared bytes: a slice without a copy where the reader is
    /// [`shared`](Self::shared).
    ///
    /// # Errors
    /// When the next term is something else.
    #[inline]
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let slice = self.binary()?;
        Ok(self.share(slice))
    }

    /// `slice`, which has to come from this reader, as shared bytes.
    #[inline]
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
        self.pass(1);
        let len = self.count(1)?;
        let bits = self.u8()?;
        let bytes = self.take(len)?;
        match (len, bits) {
            (0, 0) => Ok((bytes, 8)),
            (1.., 1..=8) => Ok((bytes, bits)),
            _ => start.fail(DecodeErrorKind::Invalid("the last byte of a bitstring has an illegal number of bits")),
        }
    }
}

/// The text that bytes are. Where it starts and how long it is come from two places, so the compiler does not fetch both
/// at once from where the check has just left them in turn, which has to wait.
#[inline]
pub(super) fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()?.get(..bytes.len())
}

/// What a tag stands for, in words.
pub(crate) fn describe(tag: u8) -> Cow<'static, str> {
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
        other => return format!("tag {other}").into(),
    }
    .into()
}
