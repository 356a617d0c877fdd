//! The two halves of a connection joined in memory: what goes into an `Outbox` comes out of a
//! `FrameReader`, in all four forms of packets.

use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::samples::{every_control, pid, reference};
use super::*;
use crate::atom;
use crate::etf::{Atom, Payload, Pid};

const NO_FORM: Flags = Flags::OFFERED.without(Flags::FRAGMENTS.with(Flags::DIST_HDR_ATOM_CACHE));

pub(super) fn forms() -> [Flags; 4] {
    [
        NO_FORM,
        NO_FORM.with(Flags::DIST_HDR_ATOM_CACHE),
        NO_FORM.with(Flags::FRAGMENTS),
        NO_FORM.with(Flags::DIST_HDR_ATOM_CACHE).with(Flags::FRAGMENTS),
    ]
}

/// A connection in one direction, without a socket.
pub(super) struct Pair {
    flags: Flags,
    pub(super) outbox: Outbox,
    pub(super) reader: FrameReader,
}

impl Pair {
    pub(super) fn new(flags: Flags) -> Self {
        Self { flags, outbox: Outbox::new(flags), reader: reader(flags) }
    }

    pub(super) fn send(&mut self, control: &Control, payload: &[u8]) {
        let message = Outgoing::with_payload(control, self.flags, |enc| {
            enc.tuple_header(2);
            enc.atom(&atom!("payload"));
            enc.bytes(&Bytes::copy_from_slice(payload));
            Ok::<_, ()>(())
        });
        self.outbox.push(message.unwrap()).unwrap();
    }

    /// Takes what the outbox has for one write of `bound` bytes.
    pub(super) fn written(&mut self, bound: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.outbox.is_empty() && all.len() < bound {
            self.outbox.fill(bound);
            let mut slices = [IoSlice::new(&[]); 5];
            let count = self.outbox.slices(&mut slices);
            assert!(count > 0);
            // As a socket would: not always all of it.
            let offered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = offered.len().min(70_001);
            all.extend_from_slice(&offered[..taken]);
            self.outbox.advance_written(taken);
        }
        all
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.reader.buffer().put_slice(bytes);
        let mut came = Vec::new();
        while let Some(frame) = self.reader.next().unwrap() {
            came.push(frame);
        }
        came
    }

    pub(super) fn all(&mut self) -> Vec<Frame> {
        let bytes = self.written(usize::MAX);
        assert_eq!(self.outbox.backlog(), 0);
        let came = self.read(&bytes);
        assert_eq!(self.reader.pending(), 0);
        came
    }
}

pub(super) fn reader(flags: Flags) -> FrameReader {
    FrameReader::new(flags, FrameLimits::default(), BytesMut::new())
}

pub(super) fn send(id: u32) -> Control {
    Control::Send { from: Some(pid("a@h", id)), to: pid("b@h", 99) }
}

pub(super) fn sender(message: &Incoming) -> u32 {
    message.control.sender().unwrap().id
}

/// The binary in a payload of `Pair::send`.
pub(super) fn content(message: &Incoming) -> Bytes {
    let payload = message.payload.as_ref().unwrap();
    let mut reader = payload.reader();
    reader.tuple_of(2).unwrap();
    assert_eq!(reader.atom().unwrap(), "payload");
    let bytes = reader.bytes().unwrap();
    reader.finish().unwrap();
    bytes
}

pub(super) fn messages(came: Vec<Frame>) -> Vec<Incoming> {
    came.into_iter().filter_map(message).collect()
}

/// Messages as the control message that they came with: all senders of these tests are processes of `a@h`.
pub(super) fn message(frame: Frame) -> Option<Incoming> {
    let Sent { to, from, payload } = match frame {
        Frame::Sent(sent) => sent,
        Frame::Signal(signal) => return Some(*signal),
        Frame::Tick | Frame::Fragment => return None,
    };
    let from = from.map(|(id, serial)| Pid { serial, ..pid("a@h", id) });
    let control = match (Recipient::clone(&to), from) {
        (Recipient::Pid(to), from) => Control::Send { from, to },
        (Recipient::Name(to), from) => Control::RegSend { from: from.unwrap(), to },
        (Recipient::Alias(to), from) => Control::AliasSend { from: from.unwrap(), to },
    };
    Some(Incoming { control, payload: Some(payload) })
}

#[test]
fn every_message_comes_through_in_all_four_forms_with_payloads_of_all_sizes() {
    for flags in forms() {
        // Without EXIT_PAYLOAD reasons stand in the control tuple.
        for flags in [flags, flags - Flags::EXIT_PAYLOAD - Flags::ALTACT_SIG] {
            let mut pair = Pair::new(flags);
            for control in every_control().into_iter().filter(|control| control.is_expressible(flags)) {
                if !control.has_payload() {
                    pair.outbox.push(Outgoing::signal(&control, flags)).unwrap();
                    let came = messages(pair.all());
                    assert_eq!(came.len(), 1);
                    assert!(came[0].control == control && came[0].payload.is_none());
                    continue;
                }
                for len in [0, 10, 4095, 4096, 65_520, 65_536, 200_000] {
                    let bytes: Vec<u8> = (0..len).map(|at: usize| (at % 251) as u8).collect();
                    pair.send(&control, &bytes);
                    let came = messages(pair.all());
                    assert_eq!(came.len(), 1, "{control:?} {len}");
                    assert_eq!(came[0].control, control);
                    assert_eq!(content(&came[0]), bytes);
                }
            }
        }
    }
}

#[test]
fn packets_have_the_form_that_the_flags_ask_for() {
    let starts = forms().map(|flags| {
        let mut pair = Pair::new(flags);
        pair.send(&send(1), b"x");
        let bytes = pair.written(usize::MAX);
        assert_eq!(u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len() - 4);
        [bytes[4], bytes[5], bytes[6]]
    });
    assert_eq!(starts, [[112, 131, 104], [131, 68, 3], [131, 68, 0], [131, 68, 3]]);
}

#[test]
fn a_beams_first_message_is_understood() {
    // REG_SEND to rex with four new atoms, as OTP 25 sends it when a node comes up.
    let mut packet = vec![0x83, 0x44, 0x04, 0x8f, 0xcc, 0x00];
    for (slot, text) in [(0xbe, "n25@vm"), (0x05, ""), (0x59, "rex"), (0xe9, "features_request")] {
        packet.extend_from_slice(&[slot, text.len() as u8]);
        packet.extend_from_slice(text.as_bytes());
    }
    let their_pid = [0x58, 0x52, 0, 0, 0, 0, 46, 0, 0, 0, 0, 0x65, 0, 0, 1];
    packet.extend_from_slice(&[0x68, 4, 0x61, 6]);
    packet.extend_from_slice(&their_pid);
    packet.extend_from_slice(&[0x52, 1, 0x52, 2, 0x68, 2]);
    packet.extend_from_slice(&their_pid);
    packet.extend_from_slice(&[0x52, 3]);

    let mut pair = Pair::new(Flags::OFFERED);
    let mut framed = (packet.len() as u32).to_be_bytes().to_vec();
    framed.extend_from_slice(&packet);
    let came = pair.read(&framed);
    let [Frame::Sent(sent)] = came.as_slice() else { panic!("{came:?}") };
    assert_eq!((sent.from, &*sent.to), (Some((46, 0)), &Recipient::Name(atom!("rex"))));
    let mut reader = sent.payload.reader();
    reader.tuple_of(2).unwrap();
    let pid = reader.pid().unwrap();
    assert_eq!((pid.node.as_str(), pid.id), ("n25@vm", 46));
    assert_eq!(reader.atom().unwrap(), "features_request");

    // The slots are 0x7be, 0x405, 0x459 and 0x4e9 now.
    let known = [0x83, 0x44, 0x04, 0x4f, 0x44, 0x00, 0xbe, 0x05, 0x59, 0xe9];
    let mut reader = FrameReader::new(Flags::OFFERED, FrameLimits::default(), BytesMut::new());
    let mut again = known.to_vec();
    again.extend_from_slice(&packet[packet.len() - 40..]);
    reader.buffer().put_slice(&(again.len() as u32).to_be_bytes());
    reader.buffer().put_slice(&again);
    assert!(matches!(reader.next(), Err(ProtocolViolation::Header(_))), "another connection has another cache");
}

#[test]
fn more_atoms_than_a_header_holds_go_in_full() {
    for flags in forms() {
        let mut pair = Pair::new(flags);
        for count in [1_u32, 251, 252, 253, 254, 300] {
            let message = Outgoing::with_payload(&send(1), flags, |enc| {
                enc.tuple_header(count);
                for number in 0..count {
                    // Some of them long in bytes, so that the header needs its long form.
                    enc.atom(&Atom::new(format!("{number}{}", "é".repeat(250 * (number as usize % 2)))).unwrap());
                }
                Ok::<_, ()>(())
            });
            pair.outbox.push(message.unwrap()).unwrap();
            let came = messages(pair.all());
            let payload = came[0].payload.clone().unwrap();
            let mut reader = payload.reader();
            assert_eq!(reader.tuple().unwrap(), count as usize);
            for number in 0..count {
                assert!(reader.atom().unwrap().as_str().starts_with(&number.to_string()));
            }
        }
    }
}

#[test]
fn a_down_by_name_keeps_its_place_behind_the_messages_of_its_process() {
    let mut pair = Pair::new(Flags::OFFERED);
    pair.send(&send(1), &[1; 200_000]);
    let down =
        Control::MonitorExit { from: ProcRef::Name(atom!("logger")), to: pid("b@h", 99), reference: reference("b@h") };
    let reason = |enc: &mut crate::etf::Encoder<'_>| {
        enc.atom(&atom!("normal"));
        Ok::<_, ()>(())
    };
    let message = Outgoing::with_payload(&down, pair.flags, reason).unwrap().sent_by(&pid("a@h", 1));
    pair.outbox.push(message).unwrap();
    let done = messages(pair.all());
    assert!(matches!(done[0].control, Control::Send { .. }) && done[1].control == down);
}

#[test]
fn a_payload_with_atoms_of_another_connection_is_sent_on() {
    for from in forms() {
        for to in forms() {
            for len in [10, 100_000] {
                let (mut first, mut second) = (Pair::new(from), Pair::new(to));
                first.send(&Control::RegSend { from: pid("a@h", 1), to: atom!("x") }, &vec![7; len]);
                let came = messages(first.all());
                let payload = came[0].payload.clone().unwrap();
                let message = Outgoing::with_term_bytes(&send(5), to, &payload).unwrap();
                second.outbox.push(message).unwrap();
                let came = messages(second.all());
                assert_eq!(content(&came[0]), vec![7; len]);
            }
        }
    }
    let broken = Payload::new(Bytes::from_static(&[104, 2, 82]), Some([atom!("a")].as_slice().into()));
    assert!(Outgoing::with_term_bytes(&send(1), Flags::OFFERED, &broken).is_err());
}

#[test]
fn bytes_may_come_one_by_one_and_a_thousand_packets_at_once() {
    for flags in forms() {
        let mut pair = Pair::new(flags);
        for number in 0..1000_u32 {
            pair.send(&send(number), &number.to_be_bytes());
            if number % 100 == 0 {
                pair.outbox.tick();
                pair.outbox.fill(usize::MAX);
            }
        }
        let bytes = pair.written(usize::MAX);
        let at_once = messages(pair.read(&bytes));
        assert!(at_once.iter().map(sender).eq(0..1000));
        pair.reader = reader(flags);
        let mut ticks = 0;
        let mut one_by_one = Vec::new();
        for byte in &bytes {
            let came = pair.read(&[*byte]);
            ticks += came.iter().filter(|came| matches!(came, Frame::Tick)).count();
            one_by_one.extend(messages(came));
        }
        assert_eq!(ticks, 10);
        assert!(one_by_one.iter().map(sender).eq(0..1000));
        assert!(one_by_one.iter().zip(0_u32..).all(|(message, number)| content(message) == number.to_be_bytes()[..]));
    }
}

/// What a reader says to these packets, each without its length.
pub(super) fn verdict(flags: Flags, packets: &[Vec<u8>]) -> Result<usize, ProtocolViolation> {
    let mut limits = FrameLimits::default();
    (limits.max_frame, limits.max_sequences, limits.max_sequence_bytes) = (100_000, 2, 150_000);
    let mut reader = FrameReader::new(flags, limits, BytesMut::new());
    let mut count = 0;
    for packet in packets {
        reader.buffer().put_slice(&(packet.len() as u32).to_be_bytes());
        reader.buffer().put_slice(packet);
        while reader.next()?.is_some() {
            count += 1;
        }
    }
    Ok(count)
}

pub(super) fn control_bytes(control: &Control) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    control.encode(Flags::OFFERED, &mut crate::etf::Encoder::new(&mut bytes));
    bytes.to_vec()
}

pub(super) fn first(sequence: u64, fragment: u64, terms: &[u8]) -> Vec<u8> {
    let mut packet = vec![131, 69];
    packet.put_u64(sequence);
    packet.put_u64(fragment);
    packet.push(0);
    packet.extend_from_slice(terms);
    packet
}

pub(super) fn next(sequence: u64, fragment: u64, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![131, 70];
    packet.put_u64(sequence);
    packet.put_u64(fragment);
    packet.extend_from_slice(bytes);
    packet
}

#[test]
fn packets_of_the_wrong_form_are_errors() {
    let control = control_bytes(&send(1));
    let pass = |rest: &[u8]| [&[112, 131], &control[..], rest].concat();
    let head = |rest: &[u8]| [&[131, 68, 0], &control[..], rest].concat();
    let (cached, plain) = (Flags::OFFERED, NO_FORM);
    assert_eq!(verdict(plain, &[pass(&[131, 106])]), Ok(1));
    assert_eq!(verdict(cached, &[head(&[106])]), Ok(1));
    assert_eq!(verdict(cached, &[head(&[106, 1, 2, 3])]), Ok(1), "bytes behind the payload");
    assert_eq!(verdict(cached, &[vec![]]), Ok(1), "a tick");
    for (flags, packet) in [
        (cached, pass(&[131, 106])),
        (plain, head(&[106])),
        (cached, head(&[131, 106])),
        (plain, pass(&[106])),
        (cached, head(&[])),
        (plain, pass(&[])),
        (plain, pass(&[131])),
        (cached, vec![131]),
        (cached, vec![131, 68]),
        (cached, vec![131, 68, 0]),
        (cached, vec![131, 71, 0]),
        (plain, vec![112, 130]),
        // An atom cache reference without such an atom in the header.
        (cached, head(&[82, 0])),
    ] {
        assert!(verdict(flags, std::slice::from_ref(&packet)).is_err(), "{packet:?}");
    }
    let mut reader = reader(Flags::OFFERED);
    reader.buffer().put_u32(u32::MAX);
    let error = reader.next().unwrap_err();
    assert!(error.to_string().contains("max_frame"), "{error}");
}

#[test]
fn a_message_too_long_for_a_packet_is_refused_without_fragments() {
    let huge = Bytes::from(vec![0; 64 << 20]);
    let message = |flags| {
        Outgoing::with_payload(&send(1), flags, |enc| {
            enc.tuple_header(64);
            (0..64).for_each(|_| enc.bytes(&huge));
            Ok::<_, ()>(())
        })
        .unwrap()
    };
    assert!(Outbox::new(NO_FORM).push(message(NO_FORM)).is_err());
    assert!(Outbox::new(Flags::OFFERED).push(message(Flags::OFFERED)).is_ok());
}

/// Bytes of a lively connection.
fn traffic(flags: Flags) -> Vec<u8> {
    let mut pair = Pair::new(flags);
    for control in every_control().into_iter().filter(|control| control.is_expressible(flags)) {
        if control.has_payload() {
            pair.send(&control, b"some bytes");
        } else {
            pair.outbox.push(Outgoing::signal(&control, flags)).unwrap();
        }
    }
    pair.send(&send(7), &[3; 70_000]);
    pair.outbox.tick();
    pair.written(usize::MAX)
}

/// Reads until the end or an error, and looks at every payload.
fn survey(flags: Flags, bytes: &[u8]) {
    let mut reader = reader(flags);
    reader.buffer().put_slice(bytes);
    while let Ok(Some(frame)) = reader.next() {
        if let Some(Incoming { payload: Some(payload), .. }) = message(frame) {
            let _read: Result<_, _> = payload.reader().tuple();
            Outgoing::with_term_bytes(&send(1), flags, &payload).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changed_bytes_never_panic(
        form in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let flags = forms()[form];
        let mut bytes = traffic(flags);
        // Most of it is the large binary at the end, which is of little interest.
        let interesting = bytes.len() - 70_000;
        for (at, byte) in changes {
            bytes[at.index(interesting)] = byte;
        }
        survey(flags, &bytes);
        bytes.truncate(cut.index(interesting));
        survey(flags, &bytes);
    }

    #[test]
    fn any_packet_never_panics(packet in prop::collection::vec(any::<u8>(), 0..64), start in 0..4_usize) {
        let mut bytes = Vec::new();
        let start: &[u8] = [&[131, 68][..], &[131, 69], &[131, 70], &[112, 131]][start];
        bytes.put_u32((packet.len() + start.len()) as u32);
        bytes.extend_from_slice(start);
        bytes.extend_from_slice(&packet);
        for flags in forms() {
            survey(flags, &bytes);
        }
    }

    #[test]
    fn whatever_is_sent_arrives_in_the_order_of_its_sender(
        sent in prop::collection::vec((0..4_u32, 0..4_usize), 1..25),
        form in 0..4_usize,
        bound in 1..300_000_usize,
    ) {
        let mut pair = Pair::new(forms()[form]);
        let sizes = [3, 5000, 66_000, 140_000];
        let mut came = Vec::new();
        for (number, (from, size)) in sent.iter().enumerate() {
            pair.send(&send(*from), &vec![number as u8; sizes[*size]]);
            if number % 3 == 0 {
                let bytes = pair.written(bound);
                came.extend(pair.read(&bytes));
            }
        }
        came.extend(pair.all());
        let came: Vec<(u32, u8)> =
            messages(came).iter().map(|message| (sender(message), content(message)[0])).collect();
        prop_assert_eq!(came.len(), sent.len());
        for from in 0..4 {
            let numbers = came.iter().filter(|(sender, _)| *sender == from).map(|(_, number)| *number);
            let expected = sent.iter().enumerate().filter(|(_, (sender, _))| *sender == from).map(|(at, _)| at as u8);
            prop_assert!(numbers.eq(expected));
        }
    }
}
