//! What memory is read into, between an `Outbox` and a `FrameReader` joined in memory.

use bytes::BufMut;

use super::fragment_tests::read_from_socket;
use super::wire_tests::*;
use super::*;

#[test]
fn an_announced_length_reserves_nothing_by_itself() {
    let mut reader = reader(Flags::OFFERED);
    let empty = reader.buffer().capacity();
    reader.buffer().put_slice(&(500_u32 << 20).to_be_bytes());
    assert!(reader.next().unwrap().is_none());
    assert!(reader.buffer().capacity() <= empty.max(64 << 10) + (64 << 10));
}

#[test]
fn who_only_ticks_takes_little_memory_and_may_say_anything_afterwards() {
    let mut pair = Pair::new(Flags::OFFERED);
    for round in 0..3 {
        let at_rest = pair.reader.buffer().capacity();
        assert!(at_rest <= 4 << 10, "{at_rest} bytes");
        for len in [0, 5, 900, 3000, 60_000, 400_000] {
            pair.send(&send(1), &vec![round; len]);
        }
        let wire = pair.written(usize::MAX);
        let mut came = Vec::new();
        for piece in wire.chunks(1000) {
            came.extend(messages(pair.read(piece)));
        }
        assert!(came.iter().map(|message| content(message).len()).eq([0, 5, 900, 3000, 60_000, 400_000]));
        assert!(came.iter().all(|message| content(message).iter().all(|byte| *byte == round)));
        drop(came);
        assert!(pair.reader.buffer().capacity() >= 32 << 10, "a peer that talks is read from in large pieces");
        pair.outbox.tick();
        assert!(matches!(pair.all()[..], [Frame::Tick]));
        // A tick with the start of a message behind it is no rest yet.
        assert!(pair.read(&[0, 0, 0]).is_empty() && matches!(pair.read(&[0, 0, 0, 0])[..], [Frame::Tick]));
        assert_eq!(pair.reader.pending(), 3);
        assert!(matches!(pair.read(&[0])[..], [Frame::Tick]));
    }
}

/// A flood of small messages, as bytes on the wire; each says which it is.
fn flood(pair: &mut Pair, count: u16) -> Vec<u8> {
    for number in 0..count {
        let mut content = vec![number as u8; 1000];
        content.extend(number.to_be_bytes());
        pair.send(&send(1), &content);
    }
    let mut wire = Vec::new();
    while !pair.outbox.is_empty() {
        wire.extend(pair.written(usize::MAX));
    }
    wire
}

#[test]
fn messages_that_somebody_keeps_stay_as_they_came() {
    let mut pair = Pair::new(Flags::OFFERED);
    let wire = flood(&mut pair, 2000);
    let mut kept = Vec::new();
    let (mut next, mut was_out_of_buffers) = (0, false);
    for part in wire.chunks(33_333) {
        for message in messages(read_from_socket(&mut pair.reader, part, usize::MAX)) {
            if next % 50 < 2 {
                kept.push((next, message));
            }
            next += 1;
        }
        was_out_of_buffers |= pair.reader.is_out_of_buffers();
    }
    assert_eq!((next, was_out_of_buffers), (2000, true));
    assert_eq!(kept.len(), 80);
    for (number, message) in kept {
        let content = content(&message);
        assert!(content[..1000].iter().all(|byte| *byte == number as u8));
        assert_eq!(content[1000..], (number as u16).to_be_bytes());
    }
    assert!(!pair.reader.is_out_of_buffers());
}

#[test]
fn large_packets_in_one_piece_may_come_in_pieces_of_any_size() {
    for flags in [Flags::OFFERED - Flags::FRAGMENTS, Flags::OFFERED - Flags::FRAGMENTS - Flags::DIST_HDR_ATOM_CACHE] {
        let mut pair = Pair::new(flags);
        let sizes = [5, 70_000, 200_000, 3_000_000, 127 << 10, 128 << 10, 129 << 10, 1 << 20, 0, 1 << 20, 900];
        let content_of = |len: usize| (0..len).map(|at| ((at * len) >> 3) as u8).collect::<Vec<u8>>();
        let mut wire = Vec::new();
        for len in sizes {
            pair.send(&send(1), &content_of(len));
            pair.outbox.tick();
            while !pair.outbox.is_empty() {
                wire.extend(pair.written(usize::MAX));
            }
        }
        for chunk in [1 << 10, 5_555, 64 << 10, usize::MAX] {
            let came = messages(read_from_socket(&mut pair.reader, &wire, chunk));
            assert!(came.iter().map(|message| content(message).len()).eq(sizes), "{chunk}");
            assert!(came.iter().zip(sizes).all(|(message, len)| content(message) == content_of(len)), "{chunk}");
            assert_eq!(pair.reader.pending(), 0);
        }
        // Whoever does not use the limit of a read finds the same.
        let came: Vec<_> = wire.chunks(50_000).flat_map(|piece| messages(pair.read(piece))).collect();
        assert!(came.iter().zip(sizes).all(|(message, len)| content(message) == content_of(len)));
        assert_eq!(came.len(), sizes.len());
    }
}

#[test]
fn large_packets_that_are_dropped_make_room_for_the_next_ones() {
    let mut pair = Pair::new(Flags::OFFERED - Flags::FRAGMENTS);
    pair.send(&send(1), &vec![7; 1 << 20]);
    let wire = pair.written(usize::MAX);
    let (mut places, mut others) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let came = messages(read_from_socket(&mut pair.reader, &wire, 60_000));
        places.push(content(&came[0]).as_ptr().addr());
        drop(came);
        // Takes the place of what was given back to the allocator.
        others.push(vec![1_u8; (1 << 20) + 200]);
    }
    // The first is in memory that grew with it.
    assert!(places[2..].iter().all(|place| *place == places[2]), "{places:x?}");
    let kept: Vec<_> = (0..4).flat_map(|_| messages(read_from_socket(&mut pair.reader, &wire, 60_000))).collect();
    assert!(pair.reader.is_ahead() && kept.iter().all(|message| content(message) == vec![7; 1 << 20]));
    drop(kept);
    assert!(!pair.reader.is_ahead());
}

#[test]
fn a_large_announcement_takes_no_more_than_two_mebibytes_ahead() {
    let mut reader = reader(Flags::OFFERED - Flags::FRAGMENTS);
    reader.buffer().put_slice(&(500_u32 << 20).to_be_bytes());
    for round in 0..100 {
        let mut room = reader.room();
        let len = room.remaining_mut().min(room.chunk_mut().len()).min(40 << 10);
        room.put_slice(&vec![131; len]);
        assert!(reader.next().unwrap().is_none());
        let buffer = reader.buffer();
        assert!(buffer.capacity() <= 2 * buffer.len() + (2 << 20) + (64 << 10), "{round}: {}", buffer.capacity());
    }
}
