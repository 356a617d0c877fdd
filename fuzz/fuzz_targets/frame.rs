//! A connected peer that sends anything: frames, headers, fragments, control messages. However the bytes are cut into
//! reads, the same messages come out, and what came in can be told apart from damage without a panic.
#![no_main]

use bytes::BytesMut;
use gusset::proto::{Flags, Frame, FrameLimits, FrameReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [form, step, stream @ ..] = input else { return };
    let flags = match form % 4 {
        0 => Flags::OFFERED,
        1 => Flags::OFFERED.without(Flags::FRAGMENTS),
        2 => Flags::OFFERED.without(Flags::FRAGMENTS).without(Flags::DIST_HDR_ATOM_CACHE),
        _ => Flags::OFFERED.without(Flags::DIST_HDR_ATOM_CACHE),
    };
    // Half of the inputs get lengths and tags that are right, so that what is behind them is reached.
    let framed;
    let stream = if form & 0x80 == 0 {
        stream
    } else {
        framed = frames(stream);
        &framed
    };
    let whole = read(flags, stream, stream.len().max(1));
    let pieces = read(flags, stream, usize::from(*step).max(1));
    assert_eq!(whole, pieces, "what comes out must not depend on how the bytes arrive");
});

/// Packets out of (kind, length, bytes).
fn frames(mut input: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [kind, len, rest @ ..] = input {
        let (body, behind) = rest.split_at(usize::from(*len).min(rest.len()));
        let head: &[u8] = match kind % 5 {
            // Header without atoms, and the tuple that a control message is.
            0 => &[131, 68, 0, 104],
            1 => &[131, 68],
            2 => &[131, 69, 0, 0, 0, 0, 0, 0, 0],
            3 => &[131, 70, 0, 0, 0, 0, 0, 0, 0],
            _ => &[112, 131, 104],
        };
        stream.extend_from_slice(&((head.len() + body.len()) as u32).to_be_bytes());
        stream.extend_from_slice(head);
        stream.extend_from_slice(body);
        input = behind;
    }
    stream
}

/// What a reader makes of the stream, as text.
fn read(flags: Flags, stream: &[u8], step: usize) -> Vec<String> {
    let mut limits = FrameLimits::default();
    limits.max_frame = 1 << 20;
    limits.max_sequence_bytes = 1 << 20;
    let mut reader = FrameReader::new(flags, limits, BytesMut::new());
    let mut seen = Vec::new();
    for piece in stream.chunks(step) {
        reader.buffer().extend_from_slice(piece);
        loop {
            match reader.next() {
                Ok(None) => break,
                Ok(Some(Frame::Sent(message))) => {
                    let payload = message.payload.term().map(|term| term.to_string());
                    seen.push(format!("{:?} {:?} {payload:?}", message.from, message.to));
                }
                Ok(Some(Frame::Signal(signal))) => {
                    let payload = signal.payload.map(|payload| payload.term().map(|term| term.to_string()));
                    seen.push(format!("{:?} {payload:?}", signal.control));
                }
                Ok(Some(frame)) => seen.push(format!("{frame:?}")),
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
    }
    seen
}
