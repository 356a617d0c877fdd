//! The payload of a message: one encoded term, and the atoms it refers to.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::atom::Atom;
use super::encode::{Encoder, TYPICAL_TERM};
use super::error::{DecodeError, EncodeError};
use super::limits::Limits;
use super::read::Reader;
use super::term::Term;

thread_local! {
    /// What the last small payload of this thread was made in.
    static SCRATCH: Cell<BytesMut> = Cell::default();
}

/// To copy a larger payload costs more than to give its buffer away.
const SMALL: usize = 2048;

/// One encoded term, as it came or as it will go out: a slice of the frame, not looked at until
/// somebody asks. Cheap to clone.
#[derive(Clone)]
pub struct Payload {
    bytes: Bytes,
    /// The atoms of the distribution header that the message came with, for the references in it.
    atoms: Option<Arc<[Atom]>>,
}

impl Payload {
    /// A term without version byte, and the atoms that its cache references mean. What comes from
    /// the network has been through [`validate`](super::validate()).
    pub fn new(bytes: Bytes, atoms: Option<Arc<[Atom]>>) -> Self {
        Self { bytes, atoms }
    }

    /// The encoded term, without version byte.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The atoms that the cache references in it mean; empty where it has none.
    pub fn atoms(&self) -> &[Atom] {
        self.atoms.as_deref().unwrap_or_default()
    }

    /// A part of it, as a payload of its own: one whole term, from `start` (as of
    /// [`Reader::offset`]) on. Nothing is copied; out of range it is empty, and reading it an error.
    pub fn part_from(&self, start: usize) -> Self {
        let start = start.min(self.bytes.len());
        Self { bytes: self.bytes.slice(start..), atoms: self.atoms.clone() }
    }

    /// Other bytes, in which references mean the same atoms.
    pub(crate) fn with_bytes(&self, bytes: Bytes) -> Self {
        Self { bytes, atoms: self.atoms.clone() }
    }

    /// A part of it, as a payload of its own: one whole term, as measured with [`Reader::offset`] and
    /// [`Reader::skip`]. Nothing is copied; out of range it is empty, and reading it an error.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let bytes = if range.start <= range.end && range.end <= self.bytes.len() {
            self.bytes.slice(range)
        } else {
            Bytes::new()
        };
        Self { bytes, atoms: self.atoms.clone() }
    }

    /// Reads it piece by piece, without building anything.
    pub fn reader(&self) -> Reader<'_> {
        Reader::shared(&self.bytes, self.atoms())
    }

    /// A payload of a term.
    ///
    /// # Errors
    /// For what the format cannot say, as [`Term::encode`].
    pub fn from_term(term: &Term) -> Result<Self, EncodeError> {
        Self::of(|encoder| term.encode(encoder))
    }

    /// What `write` encodes: one term. A small one is a single allocation of just its size.
    pub(super) fn of<E>(write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>) -> Result<Self, E> {
        let mut buf = SCRATCH.try_with(Cell::take).unwrap_or_default();
        buf.clear();
        buf.reserve(TYPICAL_TERM);
        write(&mut Encoder::new(&mut buf))?;
        if buf.len() > SMALL {
            return Ok(Self::new(buf.freeze(), None));
        }
        let bytes = Bytes::copy_from_slice(&buf);
        // A thread that ends has no more use for it.
        let _ = SCRATCH.try_with(|scratch| scratch.set(buf));
        Ok(Self::new(bytes, None))
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
        write!(f, "Payload({} bytes)", self.bytes.len())
    }
}
