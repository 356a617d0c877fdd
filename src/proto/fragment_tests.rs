//! Messages in fragments, between an `Outbox` and a `FrameReader` joined in memory.

use std::collections::HashSet;

use bytes::{BufMut, BytesMut};

use super::samples::pid;
use super::wire_tests::*;
use super::*;

#[test]
fn fragments_of_several_senders_take_turns_and_ticks_pass_between_them() {
    for flags in [forms()[2], forms()[3]] {
        let mut pair = Pair::new(flags);
        let big = |sender: u32| vec![sender as u8; 300_000 + sender as usize];
        for sender in 1..=3 {
            pair.send(&send(sender), &big(sender));
        }
        pair.send(&send(1), b"behind");
        pair.send(&send(4), b"passes");
        let mut came = Vec::new();
        let mut rounds = 0;
        while !pair.outbox.is_empty() {
            pair.outbox.tick();
            let bytes = pair.written(64 << 10);
            came.extend(pair.read(&bytes));
            rounds += 1;
        }
        assert!(rounds > 10, "{rounds}");
        let last_fragment = came.iter().rposition(|came| matches!(came, Frame::Fragment)).unwrap();
        let ticks = came[..last_fragment].iter().filter(|came| matches!(came, Frame::Tick)).count();
        assert!(ticks >= 10, "{ticks}");
        let done: Vec<_> = messages(came).iter().map(|message| (sender(message), content(message))).collect();
        let order: Vec<_> = done.iter().map(|(sender, content)| (*sender, content.len())).collect();
        assert_eq!(order, [(4, 6), (1, 300_001), (1, 6), (2, 300_002), (3, 300_003)]);
        assert!(done.iter().all(|(sender, content)| content.len() < 10 || *content == big(*sender)));
    }
}

/// Reads as from a socket that has `chunk` bytes each time.
pub(super) fn read_from_socket(reader: &mut FrameReader, mut wire: &[u8], chunk: usize) -> Vec<Frame> {
    let mut came = Vec::new();
    while !wire.is_empty() {
        let mut room = reader.room();
        let len = room.remaining_mut().min(room.chunk_mut().len()).min(chunk).min(wire.len());
        assert!(len > 0);
        room.put_slice(wire.get(..len).unwrap());
        wire = wire.get(len..).unwrap();
        while let Some(frame) = reader.next().unwrap() {
            came.push(frame);
        }
    }
    came
}

#[test]
fn fragments_may_come_in_pieces_of_any_size() {
    let mut pair = Pair::new(Flags::OFFERED);
    let big = |sender: u32| (0..400_000 + 70_000 * sender).map(|at| ((at * sender) >> 3) as u8).collect::<Vec<u8>>();
    let mut wire = Vec::new();
    for round in 0..3 {
        for sender in 1..=3 {
            pair.send(&send(sender), &big(sender));
        }
        pair.send(&send(9), b"small");
        pair.outbox.tick();
        wire.extend(pair.written(if round == 0 { usize::MAX } else { 32 << 10 }));
        while !pair.outbox.is_empty() {
            wire.extend(pair.written(usize::MAX));
        }
    }
    for chunk in [1000, 7777, 16 << 10, 65_536, 65_536 + 22, 65_600, 100_001, 1 << 20] {
        let mut reader = reader(Flags::OFFERED);
        let came = messages(read_from_socket(&mut reader, &wire, chunk));
        assert_eq!((came.len(), reader.pending()), (12, 0));
        for message in came {
            match sender(&message) {
                9 => assert_eq!(content(&message), &b"small"[..]),
                sender => assert!(content(&message) == big(sender), "pieces of {chunk}"),
            }
        }
    }
}

#[test]
fn a_large_message_takes_the_memory_of_one_that_is_gone() {
    let mut pair = Pair::new(Flags::OFFERED);
    let mut places = HashSet::new();
    for _ in 0..10 {
        pair.send(&send(1), &vec![7; 1 << 20]);
        let wire = pair.written(usize::MAX);
        let came = messages(read_from_socket(&mut pair.reader, &wire, 64 << 10));
        places.insert(content(&came[0]).as_ptr());
        assert!(!pair.reader.is_ahead());
    }
    assert_eq!(places.len(), 1);
    let mut kept = Vec::new();
    while !pair.reader.is_ahead() {
        pair.send(&send(1), &vec![kept.len() as u8; 1 << 20]);
        let wire = pair.written(usize::MAX);
        kept.extend(messages(read_from_socket(&mut pair.reader, &wire, 64 << 10)).iter().map(content));
    }
    assert_eq!(kept.len(), 3, "and none that somebody still has");
    assert!(kept.iter().enumerate().all(|(at, content)| content.iter().all(|byte| *byte == at as u8)));
}

#[test]
fn many_large_messages_at_once_open_a_bounded_number_of_sequences() {
    let mut pair = Pair::new(Flags::OFFERED);
    let limits = FrameLimits { max_sequences: 64, ..FrameLimits::default() };
    pair.reader = FrameReader::new(Flags::OFFERED, limits, BytesMut::new());
    for sender in 0..200 {
        pair.send(&send(sender), &vec![sender as u8; 150_000]);
    }
    let done = messages(pair.all());
    assert_eq!(done.len(), 200);
    assert!(done.iter().all(|message| content(message).iter().all(|&byte| byte == sender(message) as u8)));
}

#[test]
fn an_announced_fragment_and_a_number_of_fragments_reserve_little() {
    let mut reader = reader(Flags::OFFERED);
    let start = [&control_bytes(&send(1))[..], &[0; 100_000]].concat();
    for packet in [first(9, u64::MAX, &start), next(9, u64::MAX - 1, &[0; 50])] {
        let announced = if packet[1] == 69 { packet.len() as u32 } else { 400 << 20 };
        reader.buffer().put_slice(&announced.to_be_bytes());
        reader.buffer().put_slice(&packet);
        while reader.next().unwrap().is_some() {}
    }
    assert!(reader.buffer().capacity() <= 3 << 20, "{}", reader.buffer().capacity());
}

#[test]
fn fragments_out_of_order_or_beyond_the_limits_are_errors() {
    let flags = Flags::OFFERED;
    let control = control_bytes(&send(1));
    let with = |payload: &[u8]| [&control[..], payload].concat();
    // The binary <<1,2,3>> in three pieces, the last one of them empty.
    let binary = [109, 0, 0, 0, 3, 1, 2, 3];
    let good = [first(9, 3, &with(&binary[..2])), next(9, 2, &binary[2..]), next(9, 1, &[])];
    assert_eq!(verdict(flags, &good), Ok(3));
    assert_eq!(verdict(flags, &[first(9, 1, &with(&binary))]), Ok(1), "a sequence of one");
    assert_eq!(verdict(flags, &[first(9, 2, &control), next(9, 1, &binary)]), Ok(2), "all of the payload later");

    let fragment = |packets: &[Vec<u8>]| match verdict(flags, packets) {
        Err(ProtocolViolation::Fragment(error)) => error,
        other => panic!("{other:?}"),
    };
    let [a, b, c] = good;
    assert_eq!(fragment(&[a.clone(), c.clone()]), FragmentError::Gap { sequence: 9, expected: 2, found: 1 });
    assert_eq!(fragment(&[a.clone(), b.clone(), b.clone()]), FragmentError::Gap { sequence: 9, expected: 1, found: 2 });
    assert_eq!(fragment(&[a.clone(), a.clone()]), FragmentError::AlreadyOpen { sequence: 9 });
    assert_eq!(fragment(std::slice::from_ref(&b)), FragmentError::NotOpen { sequence: 9 });
    assert_eq!(fragment(&[a.clone(), b, c.clone(), c]), FragmentError::NotOpen { sequence: 9 });
    assert_eq!(fragment(&[first(0, 2, &with(&binary))]), FragmentError::Zero);
    assert_eq!(fragment(&[first(9, 0, &with(&binary))]), FragmentError::Zero);
    let link = control_bytes(&Control::Link { from: pid("a@h", 1), to: pid("b@h", 1) });
    assert!(matches!(fragment(&[first(9, 2, &link)]), FragmentError::NoPayload { .. }));
    let three: Vec<_> = (1..=3).map(|sequence| first(sequence, 9, &control)).collect();
    assert_eq!(fragment(&three), FragmentError::TooMany { limit: 2 });
    let chunk = vec![0; 60_000];
    let long = [first(1, 9, &control), next(1, 8, &chunk), next(1, 7, &chunk)];
    assert_eq!(fragment(&long), FragmentError::MessageTooLarge { limit: 100_000 });
    let cut = [first(1, 9, &with(&chunk)), next(1, 8, &chunk)];
    let limits = FrameLimits { max_frame: 100_000, ..FrameLimits::default() };
    let mut reader = FrameReader::new(flags, limits, BytesMut::new());
    let wire: Vec<u8> =
        cut.iter().flat_map(|packet| [&(packet.len() as u32).to_be_bytes(), &packet[..]].concat()).collect();
    reader.buffer().put_slice(&wire[..wire.len() - 1000]);
    assert!(matches!(reader.next(), Ok(Some(Frame::Fragment))));
    assert!(reader.next().is_err(), "before the last of it has come");
    let two = [first(1, 9, &with(&chunk)), first(2, 9, &with(&chunk)), next(1, 8, &[0; 39_000])];
    assert_eq!(fragment(&two), FragmentError::TooManyBytes { limit: 150_000 });

    for cut in 0..control.len() {
        let result = verdict(flags, &[first(9, 2, &control[..cut]), next(9, 1, &with(&binary)[cut..])]);
        assert!(matches!(result, Err(ProtocolViolation::Control(_))), "the control term is cut at {cut}");
    }
    let bad_payload = [first(9, 2, &with(&binary[..2])), next(9, 1, &[255])];
    assert!(matches!(verdict(flags, &bad_payload), Err(ProtocolViolation::Payload { .. })));
    assert!(verdict(flags, &[vec![131, 70, 0, 0]]).is_err());
    assert!(verdict(flags - Flags::FRAGMENTS, &[first(9, 1, &with(&binary))]).is_err(), "not negotiated");
}
