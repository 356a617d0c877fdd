//! What goes out: the order and form in which encoded messages go on the wire.
//!
//! The task that sends a message encodes it ([`Outgoing`]) and puts it behind the others as a packet; only the
//! header has to wait for its turn, as its atom cache depends on what goes out before. Messages of one process
//! keep their order. One that is cut into fragments lets the messages of other processes pass between them.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::etf::{CHAIN_FROM, tag};

use super::atom_cache::CacheOut;
use super::flags::Flags;
use super::frame::{FIRST_FRAGMENT, Form, HEADER, NEXT_FRAGMENT, PASS_THROUGH};
use super::outgoing::Outgoing;

/// The sending half of a connection, apart from the socket: takes messages, gives bytes.
#[derive(Debug)]
pub struct Outbox {
    form: Form,
    cache: CacheOut,
    queue: VecDeque<Outgoing>,
    /// Senders that have a message in fragments on its way or waiting for it.
    lanes: HashMap<u64, Lane>,
    /// The lanes that may send, in the order of their turns.
    turns: VecDeque<u64>,
    /// The lanes that wait until fewer sequences are open.
    waiting: VecDeque<u64>,
    tick: bool,
    ready: VecDeque<Bytes>,
    /// Packets that belong behind what is in `ready`.
    tail: BytesMut,
    ready_bytes: usize,
    queued_bytes: usize,
    packets: u64,
}

#[derive(Debug, Default)]
struct Lane {
    sequence: Option<Sequence>,
    behind: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Sequence {
    /// How many fragments are to come.
    left: u64,
    parts: VecDeque<Bytes>,
    /// How many bytes `parts` have.
    len: usize,
}

impl Outbox {
    /// The sending half of a connection with these flags.
    pub fn new(flags: Flags) -> Self {
        Self {
            form: Form::of(flags),
            cache: CacheOut::default(),
            queue: VecDeque::new(),
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            waiting: VecDeque::new(),
            tick: false,
            ready: VecDeque::new(),
            tail: BytesMut::new(),
            ready_bytes: 0,
            queued_bytes: 0,
            packets: 0,
        }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// When the message is larger than a packet can be, on a connection without fragments.
    pub fn push(&mut self, mut message: Outgoing) -> Result<(), TooLarge> {
        self.put(&mut message)
    }

    /// Takes a message, and leaves its buffers where it can.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(crate) fn put(&mut self, message: &mut Outgoing) -> Result<(), TooLarge> {
        let len = message.len;
        if len > MAX_PACKET && !(self.form.fragments && message.separate_payload) {
            return Err(TooLarge { len });
        }
        self.queued_bytes += len;
        if self.queue.is_empty() && self.lanes.is_empty() && !self.is_fragmented(message) {
            self.whole(message);
        } else {
            self.queue.push_back(std::mem::take(message));
        }
        Ok(())
    }

    /// Sends a tick as soon as possible: between two packets.
    pub fn tick(&mut self) {
        if self.is_empty() {
            // Nothing has been sent for a while, and many connections are like that.
            (self.queue, self.ready, self.tail) = Default::default();
        }
        self.tick = true;
    }

    /// How many bytes are still to be written.
    pub fn backlog(&self) -> usize {
        self.queued_bytes + self.ready_bytes
    }

    /// True when nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.ready_bytes == 0 && self.queue.is_empty() && self.lanes.is_empty() && !self.tick
    }

    /// How many packets have been made, ticks included.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Makes packets until at least `bound` bytes wait to be written, or nothing is left. The work is
    /// bounded by `bound` and the number of messages.
    pub fn fill(&mut self, bound: usize) {
        if std::mem::take(&mut self.tick) {
            self.tail.put_u32(0);
            self.ready_bytes += 4;
            self.packets += 1;
        }
        while self.ready_bytes < bound && !(self.queue.is_empty() && self.turns.is_empty()) {
            // A fragment's worth of whole messages, then a fragment: neither holds up the other.
            let turn = bound.min(self.ready_bytes + FRAGMENT);
            while self.ready_bytes < turn
                && let Some(message) = self.queue.pop_front()
            {
                self.start(message);
            }
            if self.ready_bytes < bound
                && let Some(lane) = self.turns.pop_front()
            {
                self.advance(lane);
            }
        }
        self.flush_tail();
    }

    /// Moves what [`fill`](Self::fill) has made ready behind `bytes`; how many bytes that are.
    pub(crate) fn take_ready(&mut self, bytes: &mut VecDeque<Bytes>) -> usize {
        if bytes.is_empty() {
            std::mem::swap(&mut self.ready, bytes);
        } else {
            bytes.append(&mut self.ready);
        }
        std::mem::take(&mut self.ready_bytes)
    }

    /// The bytes to write next, as many slices as there is room for; how many are set.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.ready) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// Says that the first `written` bytes of [`slices`](Self::slices) are written.
    pub fn advance_written(&mut self, mut written: usize) {
        self.ready_bytes = self.ready_bytes.saturating_sub(written);
        while let Some(first) = self.ready.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.ready.pop_front();
        }
    }

    fn start(&mut self, message: Outgoing) {
        let sequence = message.sequence;
        if let Some(lane) = self.lanes.get_mut(&sequence) {
            lane.behind.push_back(message);
        } else if self.is_fragmented(&message) {
            self.lanes.insert(sequence, Lane { sequence: None, behind: [message].into() });
            let line = if self.turns.len() < MAX_OPEN_SEQUENCES { &mut self.turns } else { &mut self.waiting };
            line.push_back(sequence);
        } else {
            self.whole(&mut { message });
        }
    }

    fn is_fragmented(&self, message: &Outgoing) -> bool {
        self.form.fragments && message.separate_payload && message.len - message.control_len > FRAGMENT
    }

    /// Gives a lane its turn.
    fn advance(&mut self, id: u64) {
        let Some(mut lane) = self.lanes.remove(&id) else { return };
        let turn = self.ready_bytes + FRAGMENT;
        while self.ready_bytes < turn {
            if let Some(sequence) = &mut lane.sequence {
                self.next_fragment(id, sequence);
                if sequence.left == 0 {
                    lane.sequence = None;
                }
                continue;
            }
            match lane.behind.pop_front() {
                Some(message) if self.is_fragmented(&message) => lane.sequence = self.first_fragment(id, message),
                Some(mut message) => self.whole(&mut message),
                None => break,
            }
        }
        if lane.sequence.is_some() || !lane.behind.is_empty() {
            self.lanes.insert(id, lane);
            self.turns.push_back(id);
        } else if let Some(next) = self.waiting.pop_front() {
            self.turns.push_back(next);
        }
    }

    fn whole(&mut self, message: &mut Outgoing) {
        let packet = self.open_packet(message.tail.len().min(CHAIN_FROM));
        if self.form.pass_through {
            self.tail.put_u8(PASS_THROUGH);
        } else {
            self.tail.put_slice(&[tag::VERSION, HEADER]);
            self.cache.write(&message.atoms, &mut self.tail);
        }
        self.close_packet(packet, message.len);
        for part in message.chain.drain(..) {
            self.body(part);
        }
        // The usual message: copied behind the others, so that many of them are one slice.
        if message.tail.len() < CHAIN_FROM {
            self.queued_bytes -= message.tail.len();
            self.ready_bytes += message.tail.len();
            self.tail.put_slice(&message.tail);
        } else {
            self.body(message.tail.split().freeze());
        }
    }

    fn first_fragment(&mut self, id: u64, message: Outgoing) -> Option<Sequence> {
        let payload_len = message.len - message.control_len;
        let count = payload_len.div_ceil(FRAGMENT) as u64;
        let packet = self.open_packet(0);
        self.tail.put_slice(&[tag::VERSION, FIRST_FRAGMENT]);
        self.tail.put_u64(id);
        self.tail.put_u64(count);
        self.cache.write(&message.atoms, &mut self.tail);
        self.close_packet(packet, message.control_len + FRAGMENT.min(payload_len));
        let (control, parts) = into_parts(message);
        self.body(control);
        let mut sequence = Sequence { left: count, parts, len: payload_len };
        self.fragment_body(&mut sequence);
        Some(sequence)
    }

    fn next_fragment(&mut self, id: u64, sequence: &mut Sequence) {
        let packet = self.open_packet(0);
        self.tail.put_slice(&[tag::VERSION, NEXT_FRAGMENT]);
        self.tail.put_u64(id);
        self.tail.put_u64(sequence.left);
        self.close_packet(packet, FRAGMENT.min(sequence.len));
        self.fragment_body(sequence);
    }

    fn fragment_body(&mut self, sequence: &mut Sequence) {
        sequence.left -= 1;
        let mut room = FRAGMENT;
        while room > 0
            && let Some(part) = sequence.parts.front_mut()
        {
            let piece = part.split_to(room.min(part.len()));
            room -= piece.len();
            sequence.len -= piece.len();
            if part.is_empty() {
                sequence.parts.pop_front();
            }
            self.body(piece);
        }
    }

    /// Starts a packet, of whose body `body` bytes will be copied: leaves room for its length.
    fn open_packet(&mut self, body: usize) -> usize {
        let needed = TYPICAL_HEADER + body;
        if self.tail.capacity() - self.tail.len() < needed {
            // Little for a connection where little is said, and much where each piece is one slice of many.
            self.flush_tail();
            self.tail.reserve(needed.max(if self.ready.is_empty() { FIRST_TAIL } else { TAIL }));
        }
        self.packets += 1;
        self.tail.put_u32(0);
        self.tail.len()
    }

    /// Ends the header of a packet, behind which `body` bytes follow.
    fn close_packet(&mut self, packet: usize, body: usize) {
        let header = self.tail.len() - packet;
        // At most a packet of MAX_PACKET and a header of 64 KiB: fits 32 bits.
        let len = (header + body) as u32;
        if let Some(field) = self.tail.get_mut(packet - 4..packet) {
            field.copy_from_slice(&len.to_be_bytes());
        }
        self.ready_bytes += header + 4;
    }

    /// A part of a message: small ones are copied together, large ones chained.
    fn body(&mut self, part: Bytes) {
        self.queued_bytes -= part.len();
        self.ready_bytes += part.len();
        if part.len() < CHAIN_FROM {
            self.tail.put_slice(&part);
        } else {
            self.flush_tail();
            self.ready.push_back(part);
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }
}

/// The control term, and the rest.
fn into_parts(message: Outgoing) -> (Bytes, VecDeque<Bytes>) {
    let mut parts: VecDeque<Bytes> = message.chain.into();
    if !message.tail.is_empty() {
        parts.push_back(message.tail.freeze());
    }
    let control = match parts.front_mut() {
        Some(first) => first.split_to(message.control_len.min(first.len())),
        None => Bytes::new(),
    };
    (control, parts)
}

/// A message that no packet can hold, for a peer that does not take fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes is larger than a packet can be, and the peer does not take fragments")]
pub struct TooLarge {
    /// How many bytes it has.
    pub len: usize,
}

/// Bytes of payload in a fragment, as a BEAM cuts it (`ERTS_DIST_FRAGMENT_SIZE`).
const FRAGMENT: usize = 64 << 10;

/// The longest message in one packet: what the length field holds, less the longest header (255 atoms
/// of 1020 bytes).
const MAX_PACKET: usize = u32::MAX as usize - (300 << 10);

/// How many messages are sent in fragments at the same time. The peer holds each of them in memory until
/// it is complete, and each one more makes all of them slower.
const MAX_OPEN_SEQUENCES: usize = 64;

/// Room for packets that are copied together.
const TAIL: usize = 16 << 10;
const FIRST_TAIL: usize = 2 << 10;

/// Room for the header of most packets.
const TYPICAL_HEADER: usize = 64;
