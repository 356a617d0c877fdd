//! What comes in: from bytes to messages.
//!
//! Frames are cut out of one buffer without copies. The form of a packet follows from the flags of the
//! connection. Facts: "Protocol between Connected Nodes" of the distribution protocol, "Distribution
//! Header" of the external term format, `dist.c:erts_net_message`.

use std::sync::Arc;

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::etf::{Atom, DecodeError, DecodeErrorKind, Limits, Payload, Reader, tag, validate};

use super::atom_cache::CacheIn;
use super::control::{Control, Incoming, Parsed, Sent};
use super::flags::Flags;
use super::fragment::{BEHIND, Complete, FragmentError, NEXT_HEADER, Sequences};
use super::large::LargePacket;
use super::routes::{Route, Routes};
use super::spares::Spares;
use super::violation::ProtocolViolation;

/// The receiving half of a connection, apart from the socket: takes bytes, gives messages.
///
/// Read into [`room`](Self::room), then call [`next`](Self::next) until it has nothing more.
#[derive(Debug)]
pub struct FrameReader {
    form: Form,
    max_frame: usize,
    limits: Limits,
    buf: BytesMut,
    /// How much is read at once: more and more while a peer fills it, little from one that is quiet.
    ahead: usize,
    /// What `buf` was made for, if it is one to be used again.
    capacity: Option<usize>,
    spares: Spares,
    cache: CacheIn,
    routes: Routes,
    sequences: Sequences,
    large: LargePacket,
    /// How much is to be read at first: little where the next packet is likely one of those that go elsewhere.
    first_read: usize,
}

/// What a packet was.
#[derive(Debug)]
pub enum Frame {
    /// A sign of life.
    Tick,
    /// A part of a message that is not complete yet.
    Fragment,
    /// A message for a process.
    Sent(Sent),
    /// Any other signal.
    Signal(Box<Incoming>),
}

/// How much a peer may send at once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FrameLimits {
    /// The largest packet, and the largest message in fragments, in bytes.
    pub max_frame: usize,
    /// What terms may come.
    pub terms: Limits,
    /// How many messages may arrive in fragments at the same time.
    pub max_sequences: usize,
    /// How many bytes the unfinished ones of these may have together.
    pub max_sequence_bytes: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_frame: MAX_FRAME, terms: Limits::default(), max_sequences: 4096, max_sequence_bytes: 2 * MAX_FRAME }
    }
}

impl FrameReader {
    /// The receiving half of a connection with these flags. `leftover` is what was read behind the
    /// handshake.
    pub fn new(flags: Flags, limits: FrameLimits, leftover: BytesMut) -> Self {
        let FrameLimits { max_frame, terms, max_sequences, max_sequence_bytes } = limits;
        Self {
            form: Form::of(flags),
            max_frame,
            limits: terms,
            buf: leftover,
            ahead: LITTLE_AHEAD,
            capacity: None,
            spares: Spares::new(MOST_SPARES, 2 * READ_AHEAD),
            cache: CacheIn::new(),
            routes: Routes::default(),
            sequences: Sequences::new(max_sequences, max_sequence_bytes, max_frame),
            large: LargePacket::default(),
            first_read: usize::MAX,
        }
    }

    /// The [`buffer`](Self::buffer), and how much of its room is to be filled with one read, for the least copying.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        let in_place = self.sequences.missing().map(|missing| missing + BEHIND).or_else(|| self.large.missing());
        let limit = match (in_place, self.announced()) {
            (Some(limit), _) => limit,
            (None, Some(len)) if self.is_first_fragment() => match (4 + len).saturating_sub(self.buf.len() as u64) {
                0 => usize::MAX,
                missing => usize::try_from(missing).unwrap_or(usize::MAX).saturating_add(BEHIND),
            },
            _ if self.buf.len() < BEHIND => self.first_read,
            _ => usize::MAX,
        };
        self.buffer().limit(limit)
    }

    /// The buffer, with room at its end to read into. It may be another one each time.
    ///
    /// The room never depends on what the peer announces alone: it is at most 64 KiB, or as much as has
    /// come of the packet already (a buffer that grows doubles), or up to 2 MiB for a large message.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.sequences.missing().is_some() {
            return self.sequences.tail(&mut self.buf);
        }
        if self.large.missing().is_some() {
            return self.large.tail().unwrap_or(&mut self.buf);
        }
        let spare = self.buf.capacity() - self.buf.len();
        if spare == 0 {
            self.ahead = READ_AHEAD.min(self.ahead * GROWTH);
        }
        let least = LEAST_ROOM.min(self.ahead / 4);
        let missing = self.announced().map_or(0, |len| (4 + len).saturating_sub(self.buf.len() as u64));
        let room = usize::try_from(missing).unwrap_or(READ_AHEAD).clamp(least, READ_AHEAD);
        if spare < room {
            self.make_room(room);
        }
        &mut self.buf
    }

    /// Makes room behind what is in the buffer. A peer that fills buffers has some that are used in turn.
    fn make_room(&mut self, room: usize) {
        if self.ahead < READ_AHEAD {
            self.capacity = None;
            return self.buf.reserve(room.max(self.ahead));
        }
        if self.buf.try_reclaim(room) {
            return;
        }
        let need = self.buf.len() + room;
        let mut next = self.spares.take(need).unwrap_or_else(|| BytesMut::with_capacity(need.max(READ_AHEAD)));
        next.extend_from_slice(&self.buf);
        let capacity = next.capacity();
        let last = std::mem::replace(&mut self.buf, next);
        if let Some(capacity) = self.capacity.replace(capacity) {
            self.spares.keep(last, capacity);
        }
    }

    /// True when there is no memory for another large message, as receivers still have all that is kept for these.
    pub fn is_ahead(&mut self) -> bool {
        self.sequences.spares.all_in_use()
    }

    /// True when the buffer is full and receivers still have something of all others: the next one would be new memory.
    pub fn is_out_of_buffers(&mut self) -> bool {
        self.buf.capacity() - self.buf.len() < LEAST_ROOM && self.spares.all_in_use()
    }

    /// How many bytes are buffered that belong to no packet yet, other than a large one.
    pub fn pending(&self) -> usize {
        self.buf.len()
    }

    /// The next packet that has come in full, if there is one.
    ///
    /// # Errors
    /// When the peer did what no node may do: the connection is to be closed.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Frame>, ProtocolViolation> {
        if self.sequences.missing().is_some() {
            return self.finish_fragment();
        }
        if self.large.missing().is_some() {
            return self.finish_large();
        }
        let Some(len) = self.announced() else { return Ok(None) };
        if len > self.max_frame as u64 {
            return Err(ProtocolViolation::FrameTooLarge { len, max: self.max_frame });
        }
        let len = len as usize;
        let Some(packet) = self.buf.get(4..4 + len) else {
            return self.begin(len).map(|()| None);
        };
        if packet.is_empty() {
            self.buf.advance(4);
            self.sequences.idle();
            self.rest();
            return Ok(Some(Frame::Tick));
        }
        let Some((at, atoms)) = whole_message(self.form, &mut self.cache, packet)? else {
            self.buf.advance(4);
            let packet = self.buf.split_to(len).freeze();
            return self.fragment(&packet).map(Some);
        };
        self.first_read = usize::MAX;
        // The usual message is looked at where it is, and only its payload is cut out.
        let terms = packet.get(at..).unwrap_or_default();
        if let Some(Route { from, to, len: control_len }) = self.routes.find(terms, atoms.as_ref())
            && let Some(start) = payload_start(terms, control_len, self.form)
            && let Ok(measured) = validate(
                terms.get(start..).unwrap_or_default(),
                atoms.as_ref().map_or(0, |atoms| atoms.len()),
                &self.limits,
            )
        {
            self.buf.advance(4 + at + start);
            let payload = Payload::split_off_front(&mut self.buf, measured, atoms);
            // A BEAM tolerates bytes behind the payload.
            self.buf.advance(len - at - start - measured);
            return Ok(Some(Frame::Sent(Sent { to, from, payload })));
        }
        self.buf.advance(4);
        let packet = self.buf.split_to(len).freeze();
        self.message(&packet, at, atoms).map(Some)
    }

    /// Gives the buffer back: who ticks has had nothing to say for a while, and many connections are like that.
    fn rest(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
            self.ahead = LITTLE_AHEAD;
            self.capacity = None;
            self.spares.clear();
        }
    }

    /// The length of the packet that starts the buffer.
    fn announced(&self) -> Option<u64> {
        let len = self.buf.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*len).into())
    }

    /// A packet that is no whole message.
    fn fragment(&mut self, packet: &Bytes) -> Result<Frame, ProtocolViolation> {
        let &[first, second, ..] = packet.as_ref() else {
            return Err(ProtocolViolation::TooShort);
        };
        match (first, second) {
            (tag::VERSION, FIRST_FRAGMENT) if self.form.fragments => self.first_fragment(packet),
            (tag::VERSION, NEXT_FRAGMENT) if self.form.fragments => self.next_fragment(packet),
            _ => Err(ProtocolViolation::Form { found: [first, second], expected: self.form.expected() }),
        }
    }

    /// A message whose control term starts at `at`.
    fn message(&self, packet: &Bytes, at: usize, atoms: Option<Arc<[Atom]>>) -> Result<Frame, ProtocolViolation> {
        let terms = packet.get(at..).unwrap_or_default();
        let Parsed { control, reason, len } =
            Control::parse(terms, atoms.as_deref().unwrap_or_default(), &self.limits)?;
        if let Some(reason) = reason {
            let payload = Payload::new(packet.slice(at + reason.start..at + reason.end), atoms);
            return Ok(Frame::Signal(Box::new(Incoming { control, payload: Some(payload) })));
        }
        let mut rest = packet.slice(at + len..);
        // In this form each of the terms has its version byte.
        if self.form.pass_through && control.has_payload() && !rest.is_empty() {
            let version = rest.split_to(1);
            Reader::new(&version, &[])
                .version()
                .map_err(|source| ProtocolViolation::Payload { operation: control.name(), source })?;
        }
        self.complete(control, rest, atoms)
    }

    /// A control message and the bytes behind it.
    fn complete(&self, control: Control, rest: Bytes, atoms: Option<Arc<[Atom]>>) -> Result<Frame, ProtocolViolation> {
        if !control.has_payload() {
            return Ok(Frame::Signal(Box::new(Incoming { control, payload: None })));
        }
        if rest.is_empty() {
            return Err(ProtocolViolation::NoPayload { operation: control.name() });
        }
        let known = atoms.as_ref().map_or(0, |atoms| atoms.len());
        let len = validate(&rest, known, &self.limits)
            .map_err(|source| ProtocolViolation::Payload { operation: control.name(), source })?;
        // A BEAM tolerates bytes behind the payload.
        let payload = Payload::new(rest.slice(..len), atoms);
        Ok(match control.into_sent() {
            Ok((to, from)) => Frame::Sent(Sent { to: Arc::new(to), from, payload }),
            Err(control) => Frame::Signal(Box::new(Incoming { control, payload: Some(payload) })),
        })
    }

    fn first_fragment(&mut self, packet: &Bytes) -> Result<Frame, ProtocolViolation> {
        let mut reader = header_reader(packet);
        let (id, fragment) = fragment_numbers(&mut reader)?;
        let atoms = self.header(&mut reader)?;
        if id == 0 || fragment == 0 {
            return Err(FragmentError::Zero.into());
        }
        let at = 2 + reader.offset();
        if fragment == 1 {
            return self.message(packet, at, atoms);
        }
        let terms = packet.get(at..).unwrap_or_default();
        let Parsed { control, reason, len } =
            Control::parse(terms, atoms.as_deref().unwrap_or_default(), &self.limits)?;
        if !control.has_payload() || reason.is_some() {
            return Err(FragmentError::NoPayload { operation: control.name() }.into());
        }
        self.sequences.first(id, fragment, control, atoms, terms.get(len..).unwrap_or_default())?;
        self.first_read = BEHIND;
        Ok(Frame::Fragment)
    }

    fn next_fragment(&mut self, packet: &Bytes) -> Result<Frame, ProtocolViolation> {
        let mut reader = header_reader(packet);
        let (id, fragment) = fragment_numbers(&mut reader)?;
        let message = self.sequences.next(id, fragment, reader.rest())?;
        self.fragment_done(message)
    }

    /// A packet of which only a part has come: the rest of a large one is read to where it stays.
    fn begin(&mut self, len: usize) -> Result<(), ProtocolViolation> {
        self.begin_fragment(len)?;
        if len >= LARGE_PACKET && self.sequences.missing().is_none() && self.buf.len() >= BEHIND {
            self.large.begin(len, self.buf.get(4..).unwrap_or_default(), &mut self.sequences.spares);
            self.buf.clear();
        }
        Ok(())
    }

    /// The large packet that was begun, once the rest of it has come.
    fn finish_large(&mut self) -> Result<Option<Frame>, ProtocolViolation> {
        let Some(packet) = self.large.finish(&mut self.buf, &mut self.sequences.spares) else { return Ok(None) };
        // Likely the next one is large as well.
        self.first_read = LEAST_ROOM;
        match whole_message(self.form, &mut self.cache, &packet)? {
            Some((at, atoms)) => self.message(&packet, at, atoms).map(Some),
            None => self.fragment(&packet).map(Some),
        }
    }

    /// The next fragment of a message, of which only a part has come.
    fn begin_fragment(&mut self, len: usize) -> Result<(), ProtocolViolation> {
        if !self.form.fragments || len < LEAST_ROOM {
            return Ok(());
        }
        let Some([tag::VERSION, NEXT_FRAGMENT, rest @ ..]) = self.buf.get(4..) else { return Ok(()) };
        let mut reader = Reader::new(rest, &[]);
        // Without all of the header it is too early.
        let Ok((id, fragment)) = fragment_numbers(&mut reader) else { return Ok(()) };
        self.sequences.begin(id, fragment, len - NEXT_HEADER, reader.rest())?;
        self.buf.clear();
        Ok(())
    }

    /// The fragment that was begun, once the rest of it has come.
    fn finish_fragment(&mut self) -> Result<Option<Frame>, ProtocolViolation> {
        match self.sequences.finish(&mut self.buf) {
            Some(message) => self.fragment_done(message).map(Some),
            None => Ok(None),
        }
    }

    fn fragment_done(&mut self, message: Option<Complete>) -> Result<Frame, ProtocolViolation> {
        self.first_read = if message.is_none() { BEHIND } else { usize::MAX };
        match message {
            Some(message) => self.complete(message.control, message.payload, message.atoms),
            None => Ok(Frame::Fragment),
        }
    }

    /// True where the packet that starts the buffer is the first of a message in fragments.
    fn is_first_fragment(&self) -> bool {
        self.form.fragments && self.buf.get(4..6) == Some(&[tag::VERSION, FIRST_FRAGMENT])
    }

    fn header(&mut self, reader: &mut Reader<'_>) -> Result<Option<Arc<[Atom]>>, ProtocolViolation> {
        self.cache.read(reader).map_err(ProtocolViolation::Header)
    }
}

/// The form of packets on a connection, which its flags decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Neither header nor cache: every term stands for itself.
    pub(super) pass_through: bool,
    /// The header names atoms.
    pub(super) cache: bool,
    /// Large messages may be cut.
    pub(super) fragments: bool,
}

impl Form {
    pub(super) fn of(flags: Flags) -> Self {
        let cache = flags.contains(Flags::DIST_HDR_ATOM_CACHE);
        let fragments = flags.contains(Flags::FRAGMENTS);
        Self { pass_through: !cache && !fragments, cache, fragments }
    }

    fn expected(self) -> &'static str {
        match (self.pass_through, self.fragments) {
            (true, _) => "112 131 (no distribution header)",
            (false, false) => "131 68 (a distribution header)",
            (false, true) => "131 68, 131 69 or 131 70 (a distribution header or a fragment)",
        }
    }
}

/// Where the control term of a packet starts, and the atoms that its header names.
type Head = (usize, Option<Arc<[Atom]>>);

/// The head of a packet; `None` where it is no whole message.
#[inline]
fn whole_message(form: Form, cache: &mut CacheIn, packet: &[u8]) -> Result<Option<Head>, ProtocolViolation> {
    match (form.pass_through, packet) {
        (true, [PASS_THROUGH, tag::VERSION, ..]) => Ok(Some((2, None))),
        (false, [tag::VERSION, HEADER, rest @ ..]) => {
            let mut reader = Reader::new(rest, &[]);
            let atoms = cache.read(&mut reader).map_err(ProtocolViolation::Header)?;
            Ok(Some((2 + reader.offset(), atoms)))
        }
        _ => Ok(None),
    }
}

/// Where the payload stands behind a control term of `control_len` bytes; `None` where it is not as it should be.
fn payload_start(terms: &[u8], control_len: usize, form: Form) -> Option<usize> {
    match terms.get(control_len..)? {
        [tag::VERSION, _, ..] if form.pass_through => Some(control_len + 1),
        [_, ..] if !form.pass_through => Some(control_len),
        _ => None,
    }
}

/// Reads a packet behind its first two bytes.
fn header_reader(packet: &Bytes) -> Reader<'_> {
    Reader::new(packet.get(2..).unwrap_or_default(), &[])
}

/// The numbers of the sequence and of the fragment.
fn fragment_numbers(reader: &mut Reader<'_>) -> Result<(u64, u64), ProtocolViolation> {
    let cut = |error: DecodeError| {
        ProtocolViolation::Header(DecodeError::new(error.offset, DecodeErrorKind::Invalid("a fragment is cut off")))
    };
    Ok((reader.u64_raw().map_err(cut)?, reader.u64_raw().map_err(cut)?))
}

pub(super) const PASS_THROUGH: u8 = 112;
pub(super) const HEADER: u8 = 68;
pub(super) const FIRST_FRAGMENT: u8 = 69;
pub(super) const NEXT_FRAGMENT: u8 = 70;

/// The default of the largest packet: a message of half a gigabyte is a file on the wrong way, and a
/// BEAM sends it in one piece when the peer takes no fragments.
const MAX_FRAME: usize = 512 << 20;

/// How many bytes are read at once at most, which is also how far memory is reserved ahead of what has
/// come.
const READ_AHEAD: usize = 64 << 10;

/// So many buffers of a connection are kept to be read into again, apart from the one in use. With few of them what is read
/// next goes where the processor still has its memory at hand.
const MOST_SPARES: usize = 2;

/// The first buffer has [`GROWTH`] times as much: room for most single messages.
const LITTLE_AHEAD: usize = 128;

/// Two reads that fill the buffer, and it has its full size.
const GROWTH: usize = 8;

/// A packet from this size on has memory of its own, which is used again for the next one.
const LARGE_PACKET: usize = 128 << 10;

/// With less room than this left in the buffer, reading would take many small calls.
const LEAST_ROOM: usize = 4 << 10;
