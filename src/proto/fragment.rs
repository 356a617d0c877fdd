//! Messages that come in fragments: one for each process of the peer that is sending a large one.
//!
//! The fragments of a sequence come in order, counted down to 1; those of different sequences, ticks and
//! whole messages may come between. The first one has the header and all of the control term.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::etf::Atom;

use super::control::Control;

/// The sequences that are not complete yet.
#[derive(Debug)]
pub(super) struct Sequences {
    open: HashMap<u64, Sequence>,
    /// How many bytes all of them hold.
    bytes: usize,
    max_open: usize,
    max_bytes: usize,
    max_message: usize,
}

#[derive(Debug)]
struct Sequence {
    /// The number of the last fragment that came.
    fragment: u64,
    control: Control,
    atoms: Option<Arc<[Atom]>>,
    payload: BytesMut,
}

/// A message whose fragments have all come.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) control: Control,
    pub(super) atoms: Option<Arc<[Atom]>>,
    pub(super) payload: Bytes,
}

impl Sequences {
    pub(super) fn new(max_open: usize, max_bytes: usize, max_message: usize) -> Self {
        Self { open: HashMap::new(), bytes: 0, max_open, max_bytes, max_message }
    }

    /// Takes the first fragment of a sequence that has more.
    pub(super) fn first(
        &mut self,
        id: u64,
        fragment: u64,
        control: Control,
        atoms: Option<Arc<[Atom]>>,
        payload: &[u8],
    ) -> Result<(), FragmentError> {
        if id == 0 || fragment == 0 {
            return Err(FragmentError::Zero);
        }
        if self.open.len() >= self.max_open && !self.open.contains_key(&id) {
            return Err(FragmentError::TooMany { limit: self.max_open });
        }
        match self.open.entry(id) {
            Entry::Occupied(_) => return Err(FragmentError::AlreadyOpen { sequence: id }),
            Entry::Vacant(place) => place.insert(Sequence { fragment, control, atoms, payload: BytesMut::new() }),
        };
        self.append(id, payload)
    }

    /// Takes another fragment; the message, if it was the last.
    pub(super) fn next(&mut self, id: u64, fragment: u64, payload: &[u8]) -> Result<Option<Complete>, FragmentError> {
        let Some(sequence) = self.open.get_mut(&id) else {
            return Err(FragmentError::NotOpen { sequence: id });
        };
        if fragment != sequence.fragment - 1 {
            return Err(FragmentError::Gap { sequence: id, expected: sequence.fragment - 1, found: fragment });
        }
        sequence.fragment = fragment;
        self.append(id, payload)?;
        if fragment > 1 {
            return Ok(None);
        }
        let Some(Sequence { control, atoms, payload, .. }) = self.open.remove(&id) else { return Ok(None) };
        self.bytes -= payload.len();
        Ok(Some(Complete { control, atoms, payload: payload.freeze() }))
    }

    fn append(&mut self, id: u64, bytes: &[u8]) -> Result<(), FragmentError> {
        let Some(sequence) = self.open.get_mut(&id) else { return Ok(()) };
        if sequence.payload.len() + bytes.len() > self.max_message {
            return Err(FragmentError::MessageTooLarge { limit: self.max_message });
        }
        if self.bytes + bytes.len() > self.max_bytes {
            return Err(FragmentError::TooManyBytes { limit: self.max_bytes });
        }
        self.bytes += bytes.len();
        sequence.payload.extend_from_slice(bytes);
        Ok(())
    }
}

/// A fragment that no node may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// A number that must not be 0 is.
    #[error("the number of a fragment or of its sequence is 0")]
    Zero,
    /// A sequence starts while it is under way.
    #[error("sequence {sequence:#x} starts again before it has ended")]
    AlreadyOpen {
        /// Its number.
        sequence: u64,
    },
    /// A sequence goes on that has not started.
    #[error("a fragment of sequence {sequence:#x}, which has not started")]
    NotOpen {
        /// Its number.
        sequence: u64,
    },
    /// A fragment is missing.
    #[error("fragment {found} of sequence {sequence:#x} instead of {expected}")]
    Gap {
        /// The number of the sequence.
        sequence: u64,
        /// The number of the fragment that should come.
        expected: u64,
        /// The number of the one that came.
        found: u64,
    },
    /// A message without payload comes in fragments.
    #[error("{operation} has no payload, and comes in fragments")]
    NoPayload {
        /// The operation.
        operation: &'static str,
    },
    /// Too many sequences are open.
    #[error("more than {limit} messages come in fragments at the same time; `max_sequences` changes the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The open sequences have too many bytes.
    #[error("unfinished messages have more than {limit} bytes; `max_sequence_bytes` changes the limit")]
    TooManyBytes {
        /// The limit, in bytes.
        limit: usize,
    },
    /// One message has too many bytes.
    #[error("a message in fragments has more than {limit} bytes; `max_frame` changes the limit")]
    MessageTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}
