//! One encoded message, made by whoever sends it.

use std::convert::Infallible;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::etf::{AtomRefs, CHAIN_FROM, DecodeError, Encoder, Payload, Pid, tag};

use super::control::{Address, Control, encode_send};
use super::flags::Flags;
use super::frame::Form;

/// One encoded message, made by whoever sends it. Only its header is missing, which depends on what
/// goes out before it.
///
/// It fits the connection whose flags it was made with, and no other. Made anew it keeps its buffers, so whoever
/// sends many messages needs one.
#[derive(Default)]
pub struct Outgoing {
    pub(super) atoms: AtomRefs,
    /// Large binaries, and what stands before each.
    pub(super) chain: Vec<Bytes>,
    /// What stands behind the last of them.
    pub(super) tail: BytesMut,
    pub(super) control_len: usize,
    /// Whether the payload may be cut into fragments.
    pub(super) separate_payload: bool,
    pub(super) len: usize,
    pub(super) sequence: u64,
}

impl Outgoing {
    /// A control message without payload.
    pub fn signal(control: &Control, flags: Flags) -> Self {
        debug_assert!(!control.has_payload(), "{} needs a payload", control.name());
        let mut message = Self::default();
        message.control(control, flags);
        message.finish();
        message
    }

    /// A control message, and the payload that `write` encodes: exactly one term.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn with_payload<E>(
        control: &Control,
        flags: Flags,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut message = Self::default();
        message.control(control, flags);
        message.encode(flags, write)?;
        message.finish();
        Ok(message)
    }

    /// A control message, and a payload that is encoded already, maybe with atoms of another
    /// message's header. Large payloads and binaries stay shared.
    ///
    /// # Errors
    /// When the payload is not a term, which cannot be where it came through a connection.
    pub fn with_term_bytes(control: &Control, flags: Flags, payload: &Payload) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        message.control(control, flags);
        message.term_bytes(flags, payload)?;
        message.finish();
        Ok(message)
    }

    /// Makes this a message for a process, with the payload that `write` encodes: exactly one term.
    ///
    /// # Errors
    /// Those of `write`; what was made is of no use then.
    pub(crate) fn make<E>(
        &mut self,
        from: &Pid,
        to: Address<'_>,
        flags: Flags,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.address(from, to, flags);
        self.encode(flags, write)?;
        self.finish();
        Ok(())
    }

    /// Makes this a message for a process, with a payload that is encoded already.
    ///
    /// # Errors
    /// As [`with_term_bytes`](Self::with_term_bytes); what was made is of no use then.
    pub(crate) fn make_of(
        &mut self,
        from: &Pid,
        to: Address<'_>,
        flags: Flags,
        payload: &Payload,
    ) -> Result<(), DecodeError> {
        self.address(from, to, flags);
        self.term_bytes(flags, payload)?;
        self.finish();
        Ok(())
    }

    /// Says which process this comes from where the control message does not
    /// ([`Control::sender`]): signals of one process keep their order on the wire.
    #[must_use]
    pub fn sent_by(mut self, sender: &Pid) -> Self {
        self.sequence = sequence(Some(sender));
        self
    }

    /// How many bytes it has, without its header.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes its buffers hold, used or not.
    pub(crate) fn room(&self) -> usize {
        self.tail.capacity() + self.chain.capacity() * size_of::<Bytes>()
    }

    fn control(&mut self, control: &Control, flags: Flags) {
        self.start(flags, control.payload_is_separate(flags), control.sender(), |enc| control.encode(flags, enc));
    }

    fn address(&mut self, from: &Pid, to: Address<'_>, flags: Flags) {
        self.start(flags, true, Some(from), |enc| encode_send(from, to, flags, enc));
    }

    fn start(
        &mut self,
        flags: Flags,
        separate_payload: bool,
        sender: Option<&Pid>,
        control: impl FnOnce(&mut Encoder<'_>),
    ) {
        self.atoms.clear();
        self.chain.clear();
        self.tail.clear();
        self.tail.reserve(TYPICAL_MESSAGE);
        (self.separate_payload, self.sequence) = (separate_payload, sequence(sender));
        let pass_through = Form::of(flags).pass_through;
        if pass_through {
            self.tail.put_u8(tag::VERSION);
        }
        let Ok(()) = self.encode(flags, |enc| {
            control(enc);
            Ok::<(), Infallible>(())
        });
        self.control_len = self.tail.len();
        if pass_through && separate_payload {
            self.tail.put_u8(tag::VERSION);
        }
    }

    fn term_bytes(&mut self, flags: Flags, payload: &Payload) -> Result<(), DecodeError> {
        let bytes = payload.bytes();
        // Bytes that refer to no header are legal in any message.
        if payload.atoms().is_empty() && bytes.len() >= CHAIN_FROM {
            self.chain.push(self.tail.split().freeze());
            self.chain.push(payload.to_bytes());
        } else if payload.atoms().is_empty() {
            self.tail.put_slice(bytes);
        } else {
            self.encode(flags, |enc| enc.payload(payload))?;
        }
        Ok(())
    }

    fn encode<E>(&mut self, flags: Flags, write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>) -> Result<(), E> {
        let enc = if Form::of(flags).cache {
            Encoder::with_atoms(&mut self.tail, &mut self.atoms)
        } else {
            Encoder::new(&mut self.tail)
        };
        write(&mut enc.chaining(&mut self.chain))
    }

    fn finish(&mut self) {
        self.len = self.chain.iter().map(Bytes::len).sum::<usize>() + self.tail.len();
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes)", self.len)
    }
}

/// What names the fragments of a process's messages. Two processes may share a number: their messages
/// then keep a common order.
fn sequence(sender: Option<&Pid>) -> u64 {
    match sender {
        Some(pid) => FROM_A_PROCESS | u64::from(pid.serial) << 32 | u64::from(pid.id),
        None => FROM_NOBODY,
    }
}

/// Room for a control message with a small payload, so that most messages are one allocation.
const TYPICAL_MESSAGE: usize = 192;

/// A number of a fragment sequence is never 0, which a BEAM takes for "not fragmented".
const FROM_NOBODY: u64 = 1;
const FROM_A_PROCESS: u64 = 1 << 63;
