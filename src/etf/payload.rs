//! The payload of a message: one encoded term, and the atoms it refers to.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::atom::Atom;
use super::encode::Encoder;
use super::error::{DecodeError, EncodeError};
use super::held::Held;
use super::limits::Limits;
use super::read::Reader;
use super::scratch;
use super::term::Term;

/// One encoded term, as it came or as it will go out, not looked at until somebody asks: a slice of the frame, or, where
/// it is small (32 bytes), a copy of its own that does not keep the frame in memory. Cheap to clone.
#[derive(Clone)]
pub struct Payload {
    bytes: Held,
    /// The atoms of the distribution header that the message came with, for the references in it.
    atoms: Option<Arc<[Atom]>>,
}

impl Payload {
    /// A term without version byte, and the atoms that its cache references mean. What comes from
    /// the network has been through [`validate`](super::validate()).
    pub fn new(bytes: Bytes, atoms: Option<Arc<[Atom]>>) -> Self {
        Self { bytes: bytes.into(), atoms }
    }

    /// The same for bytes that have to be copied.
    pub(crate) fn copied(bytes: &[u8], atoms: Option<Arc<[Atom]>>) -> Self {
        let bytes = Held::copied(bytes).unwrap_or_else(|| Held::Shared(Bytes::copy_from_slice(bytes)));
        Self { bytes, atoms }
    }

    /// [`new`](Self::new) for the first `len` bytes of a buffer, which are taken off it.
    pub(crate) fn split_off_front(buf: &mut BytesMut, len: usize, atoms: Option<Arc<[Atom]>>) -> Self {
        let bytes = match Held::copied_front(buf, len) {
            Some(copied) => {
                buf.advance(len);
                copied
            }
            None => Held::Shared(buf.split_to(len).freeze()),
        };
        Self { bytes, atoms }
    }

    /// The encoded term, without version byte.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The same, to be kept: a slice of the frame, where the term is not a small one.
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.to_bytes()
    }

    /// The atoms that the cache references in it mean; empty where it has none.
    pub fn atoms(&self) -> &[Atom] {
        self.atoms.as_deref().unwrap_or_default()
    }

    /// A part of it, as a payload of its own: one whole term, from `start` (as of
    /// [`Reader::offset`]) on. Nothing large is copied; out of range it is empty, and reading it an error.
    pub fn part_from(&self, start: usize) -> Self {
        self.part(start..self.bytes().len())
    }

    /// Other bytes, in which references mean the same atoms.
    pub(crate) fn with_bytes(&self, bytes: Bytes) -> Self {
        Self { bytes: bytes.into(), atoms: self.atoms.clone() }
    }

    /// A part of it, as a payload of its own: one whole term, as measured with [`Reader::offset`] and
    /// [`Reader::skip`]. Nothing large is copied; out of range it is empty, and reading it an error.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self { bytes: self.bytes.part(range), atoms: self.atoms.clone() }
    }

    /// The same, and a small part is a slice as well where the whole is one.
    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let part = self.bytes().get(range.clone()).unwrap_or_default();
        let bytes = match &self.bytes {
            Held::Shared(bytes) if !part.is_empty() => Held::Shared(bytes.slice_ref(part)),
            held => held.part(range),
        };
        Self { bytes, atoms: self.atoms.clone() }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.bytes {
            Held::Shared(bytes) => bytes,
            here @ Held::Here(..) => here.to_bytes(),
        }
    }

    /// Reads it piece by piece, without building anything.
    pub fn reader(&self) -> Reader<'_> {
        match &self.bytes {
            Held::Here(..) => Reader::new(self.bytes(), self.atoms()),
            Held::Shared(bytes) => Reader::shared(bytes, self.atoms()),
        }
    }

    /// A payload of a term.
    ///
    /// # Errors
    /// For what the format cannot say, as [`Term::encode`].
    pub fn from_term(term: &Term) -> Result<Self, EncodeError> {
        Self::of(|encoder| term.encode(encoder))
    }

    /// What `write` encodes: one term. One that does not stand in place is a single allocation of just its size, unless
    /// it is large.
    pub(super) fn of<E>(write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>) -> Result<Self, E> {
        scratch::encode(write, |small| Self::copied(small, None), |large| Self::new(large, None))
    }

    /// Builds the whole tree, within the default [`Limits`].
    ///
    /// # Errors
    /// As [`Term::decode`].
    pub fn term(&self) -> Result<Term, DecodeError> {
        self.term_within(&Limits::default())
    }

    /// Builds the whole tree.
    ///
    /// # Errors
    /// As [`Term::decode`].
    pub fn term_within(&self, limits: &Limits) -> Result<Term, DecodeError> {
        let mut reader = self.reader();
        // A tree is large, and stays where it was made.
        let term = Term::decode(&mut reader, limits);
        if term.is_ok() {
            reader.finish()?;
        }
        term
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes().len())
    }
}
