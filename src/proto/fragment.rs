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
use super::spares::Spares;

/// The sequences that are not complete yet.
///
/// A fragment that comes bit by bit is read to where it stays, see [`begin`](Self::begin).
#[derive(Debug)]
pub(super) struct Sequences {
    open: HashMap<u64, Sequence>,
    /// How many bytes all of them hold, or will when the fragment has come that is being read.
    bytes: usize,
    /// The sequence whose fragment is being read in place.
    reading: Option<u64>,
    /// Also those of large packets in one piece.
    pub(super) spares: Spares,
    max_open: usize,
    max_bytes: usize,
    max_message: usize,
}

#[derive(Debug)]
struct Sequence {
    /// How many fragments are to come, which is the number of the next one.
    more: u64,
    control: Control,
    atoms: Option<Arc<[Atom]>>,
    payload: BytesMut,
    /// How long `payload` is when the last fragment of which something came is there as a whole.
    end: usize,
    /// The length of that fragment; all but the last are of one length.
    step: usize,
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
        let (open, spares) = (HashMap::new(), Spares::new(MOST_SPARES, LARGEST_SPARE));
        Self { open, bytes: 0, reading: None, spares, max_open, max_bytes, max_message }
    }

    /// Takes the first fragment of a sequence that has more.
    pub(super) fn first(
        &mut self,
        id: u64,
        fragment: u64,
        control: Control,
        atoms: Option<Arc<[Atom]>>,
        bytes: &[u8],
    ) -> Result<(), FragmentError> {
        if id == 0 || fragment == 0 {
            return Err(FragmentError::Zero);
        }
        if self.open.len() >= self.max_open && !self.open.contains_key(&id) {
            return Err(FragmentError::TooMany { limit: self.max_open });
        }
        let ahead = ahead(bytes.len(), self.open.len());
        match self.open.entry(id) {
            Entry::Occupied(_) => return Err(FragmentError::AlreadyOpen { sequence: id }),
            Entry::Vacant(place) => {
                let expected = rest(fragment, bytes.len());
                let new = || BytesMut::with_capacity(expected.min(bytes.len() + ahead));
                let payload = self.spares.take(expected).unwrap_or_else(new);
                place.insert(Sequence { more: fragment, control, atoms, payload, end: 0, step: 0 })
            }
        };
        self.next(id, fragment, bytes).map(|_more| ())
    }

    /// Takes another fragment; the message, if it was the last.
    pub(super) fn next(&mut self, id: u64, fragment: u64, bytes: &[u8]) -> Result<Option<Complete>, FragmentError> {
        self.expect(id, fragment, bytes.len())?.payload.extend_from_slice(bytes);
        Ok(self.complete(id))
    }

    /// Takes the start of another fragment, which is `len` bytes long: the rest is read into
    /// [`tail`](Self::tail), until [`finish`](Self::finish) finds it there.
    pub(super) fn begin(&mut self, id: u64, fragment: u64, len: usize, start: &[u8]) -> Result<(), FragmentError> {
        self.expect(id, fragment, len)?.payload.extend_from_slice(start);
        self.reading = Some(id);
        Ok(())
    }

    /// How many bytes of the fragment that is being read are missing.
    pub(super) fn missing(&self) -> Option<usize> {
        let Sequence { payload, end, .. } = self.open.get(&self.reading?)?;
        Some(end.saturating_sub(payload.len()))
    }

    /// Where the fragment that is being read goes to, with room at its end; `otherwise` when there is none.
    pub(super) fn tail<'a>(&'a mut self, otherwise: &'a mut BytesMut) -> &'a mut BytesMut {
        let open = self.open.len();
        let Some(sequence) = self.reading.and_then(|id| self.open.get_mut(&id)) else { return otherwise };
        let Sequence { more, payload, end, step, .. } = sequence;
        let missing = end.saturating_sub(payload.len()) + BEHIND;
        if payload.capacity() - payload.len() < missing.min(LEAST_ROOM) {
            let rest = rest(*more, *step).saturating_add(missing);
            payload.reserve(rest.min(ahead(payload.len(), open)));
        }
        payload
    }

    /// When the fragment that is being read has come as a whole: the message, if it was the last fragment. What was
    /// read behind it goes to `behind`.
    pub(super) fn finish(&mut self, behind: &mut BytesMut) -> Option<Option<Complete>> {
        let id = self.reading?;
        let Sequence { payload, end, .. } = self.open.get_mut(&id)?;
        behind.extend_from_slice(payload.get(*end..)?);
        payload.truncate(*end);
        self.reading = None;
        Some(self.complete(id))
    }

    /// Gives back memory that was kept for the next messages.
    pub(super) fn idle(&mut self) {
        self.spares.clear();
    }

    /// The sequence that a fragment belongs to, if it is its turn and `len` bytes are not too many.
    fn expect(&mut self, id: u64, fragment: u64, len: usize) -> Result<&mut Sequence, FragmentError> {
        let Some(sequence) = self.open.get_mut(&id) else {
            return Err(FragmentError::NotOpen { sequence: id });
        };
        if fragment != sequence.more {
            return Err(FragmentError::Gap { sequence: id, expected: sequence.more, found: fragment });
        }
        if sequence.end + len > self.max_message {
            return Err(FragmentError::MessageTooLarge { limit: self.max_message });
        }
        if self.bytes + len > self.max_bytes {
            return Err(FragmentError::TooManyBytes { limit: self.max_bytes });
        }
        self.bytes += len;
        (sequence.more, sequence.end, sequence.step) = (fragment - 1, sequence.end + len, len);
        Ok(sequence)
    }

    /// The message, if the last fragment of it has come.
    fn complete(&mut self, id: u64) -> Option<Complete> {
        if self.open.get(&id)?.more > 0 {
            return None;
        }
        let Sequence { control, atoms, mut payload, .. } = self.open.remove(&id)?;
        self.bytes -= payload.len();
        let capacity = payload.capacity();
        let bytes = payload.split().freeze();
        self.spares.keep(payload, capacity);
        Some(Complete { control, atoms, payload: bytes })
    }
}

/// How many bytes so many fragments have, and one look further.
fn rest(fragments: u64, step: usize) -> usize {
    usize::try_from(fragments).unwrap_or(usize::MAX).saturating_mul(step).saturating_add(BEHIND)
}

/// How far memory is reserved ahead of the `come` bytes of a sequence, whatever is announced: as much as has come, and a
/// little more for the first sequences.
pub(super) fn ahead(come: usize, open: usize) -> usize {
    let least = if open < FEW && come >= AHEAD / 64 { AHEAD } else { LEAST_ROOM };
    come.max(least)
}

/// How much is read behind a fragment: the header of the next one of a sequence, with the length of its packet.
pub(super) const BEHIND: usize = 4 + NEXT_HEADER;

/// How long the header of a fragment is that is not the first.
pub(super) const NEXT_HEADER: usize = 2 + 8 + 8;

/// Less room than this makes for many small reads.
const LEAST_ROOM: usize = 64 << 10;

/// How much the first sequences may reserve ahead…
const AHEAD: usize = 2 << 20;

/// … and how many these are.
const FEW: usize = 8;

/// Larger buffers go back to the system at once.
const LARGEST_SPARE: usize = 2 * AHEAD;

/// One is read into while the receiver looks at the others.
const MOST_SPARES: usize = 3;

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
