//! Small messages between two connected nodes without a socket: encoded by a sender, headers and atom cache by the
//! outbox, cut and checked by the reader at the other end.
//!
//! `cargo bench --bench framing [FILTER]`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[expect(dead_code, reason = "the other bench needs the rest")]
mod samples;

use std::io::IoSlice;

use bytes::BytesMut;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use gusset::atom;
use gusset::proto::{Control, Flags, Frame, FrameLimits, FrameReader, Outbox, Outgoing};
use samples::{Case, call, case, pid};

/// Of one round: as many as a writer finds queued under load.
const MESSAGES: usize = 1000;

const SMALL: [&str; 2] = ["count", "call"];

/// With headers and an atom cache, as between all BEAM nodes; and without, as with other kinds.
const HEADERS: Flags = Flags::OFFERED;
const PASS_THROUGH: Flags = Flags::OFFERED.without(Flags::DIST_HDR_ATOM_CACHE).without(Flags::FRAGMENTS);

fn main() {
    divan::main();
}

fn message(name: &str, flags: Flags) -> Outgoing {
    let Case { term, .. } = case(name);
    let control = Control::RegSend { from: pid(), to: atom!("bench") };
    Outgoing::with_payload(&control, flags, |encoder| term.encode(encoder)).unwrap()
}

/// What the task of a sender does.
#[divan::bench(args = SMALL)]
fn encode(bencher: Bencher<'_, '_>, name: &str) {
    let Case { term, .. } = case(name);
    let control = Control::RegSend { from: pid(), to: atom!("bench") };
    bencher
        .counter(ItemsCount::new(1usize))
        .bench(|| Outgoing::with_payload(black_box(&control), HEADERS, |encoder| term.encode(encoder)).unwrap());
}

/// What the writer of a connection does before the system call.
#[divan::bench(args = SMALL)]
fn outbox(bencher: Bencher<'_, '_>, name: &str) {
    let mut outbox = Outbox::new(HEADERS);
    let mut wire = Vec::new();
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| (0..MESSAGES).map(|_| message(name, HEADERS)).collect::<Vec<_>>())
        .bench_local_values(|messages| {
            wire.clear();
            write(&mut outbox, messages, &mut wire);
            wire.len()
        });
}

/// What the reader of a connection does behind the system call: atoms from the cache.
#[divan::bench(args = SMALL)]
fn frame_reader(bencher: Bencher<'_, '_>, name: &str) {
    read(bencher, name, HEADERS);
}

/// The same where every message spells its atoms.
#[divan::bench(args = SMALL)]
fn frame_reader_pass_through(bencher: Bencher<'_, '_>, name: &str) {
    read(bencher, name, PASS_THROUGH);
}

fn read(bencher: Bencher<'_, '_>, name: &str, flags: Flags) {
    let mut outbox = Outbox::new(flags);
    let mut reader = FrameReader::new(flags, FrameLimits::default(), BytesMut::new());
    let (mut first, mut wire) = (Vec::new(), Vec::new());
    // The atoms go over the wire once; what is measured comes later.
    write(&mut outbox, vec![message(name, flags)], &mut first);
    assert_eq!(take(&mut reader, &first), 1);
    write(&mut outbox, (0..MESSAGES).map(|_| message(name, flags)).collect(), &mut wire);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        assert_eq!(take(&mut reader, black_box(&wire)), MESSAGES);
    });
}

/// From the term of one node to the values of the other.
#[divan::bench]
fn there_and_decoded(bencher: Bencher<'_, '_>) {
    let mut outbox = Outbox::new(HEADERS);
    let mut reader = FrameReader::new(HEADERS, FrameLimits::default(), BytesMut::new());
    let control = Control::RegSend { from: pid(), to: atom!("bench") };
    let mut wire = Vec::new();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let term = call(1);
        let message = Outgoing::with_payload(&control, HEADERS, |encoder| term.encode(encoder)).unwrap();
        wire.clear();
        write(&mut outbox, vec![message], &mut wire);
        reader.buffer().extend_from_slice(&wire);
        let Some(Frame::Sent(message)) = reader.next().unwrap() else { panic!("a message was sent") };
        message.payload.decode::<samples::Call>().unwrap()
    });
}

fn write(outbox: &mut Outbox, messages: Vec<Outgoing>, wire: &mut Vec<u8>) {
    for message in messages {
        outbox.push(message).unwrap();
    }
    while !outbox.is_empty() {
        outbox.fill(64 << 10);
        let mut slices = [IoSlice::new(&[]); 64];
        let count = outbox.slices(&mut slices);
        let before = wire.len();
        slices[..count].iter().for_each(|slice| wire.extend_from_slice(slice));
        let written = wire.len() - before;
        outbox.advance_written(written);
    }
}

fn take(reader: &mut FrameReader, wire: &[u8]) -> usize {
    let mut count = 0;
    for piece in wire.chunks(64 << 10) {
        reader.buffer().extend_from_slice(piece);
        while let Some(frame) = reader.next().unwrap() {
            count += usize::from(matches!(black_box(frame), Frame::Sent(_)));
        }
    }
    count
}
