//! Terms from a stranger: what validates decodes, what decodes can be printed, and comes back equal from its own
//! encoding.
#![no_main]

use bytes::BytesMut;
use gusset::etf::{Encoder, Limits, Reader, Term, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    let mut limits = Limits::default();
    // A short input that inflates to much is found by its size alone, and slow.
    limits.inflated_bytes = 1 << 20;

    let walked = validate(blob, 0, &limits);
    let mut reader = Reader::new(blob, &[]);
    match Term::decode(&mut reader, &limits) {
        Ok(term) => {
            assert_eq!(walked.ok(), Some(reader.offset()), "what decodes must validate, to the same length");
            comes_back(&term, &limits);
        }
        Err(_) => assert!(reader.offset() <= blob.len()),
    }
    if let Ok(term) = Term::from_binary(blob, &limits) {
        comes_back(&term, &limits);
    }
});

fn comes_back(term: &Term, limits: &Limits) {
    let _ = term.to_string();
    let mut bytes = BytesMut::new();
    term.encode(&mut Encoder::new(&mut bytes)).expect("what came can be sent on");
    let mut reader = Reader::new(&bytes, &[]);
    let again = Term::decode(&mut reader, limits).expect("what we send can be read");
    reader.finish().expect("all of it");
    assert_eq!(&again, term);
}
