//! The codec over terms of ten shapes, from a small tuple to a megabyte. MB/s are those of the external format, and
//! allocations are counted as well. `examples/bench_codec.rs` does the same over files.
//!
//! `cargo bench --bench codec [FILTER]`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod samples;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use gusset::Payload;
use gusset::etf::{Limits, to_payload, validate};
use samples::{CASES, Case, case};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// What every message from a peer goes through.
#[divan::bench(args = CASES)]
fn validation(bencher: Bencher<'_, '_>, name: &str) {
    let Case { payload, .. } = case(name);
    let limits = Limits::default();
    let bencher = bencher.counter(BytesCount::new(payload.bytes().len()));
    bencher.bench(|| validate(black_box(payload.bytes()), 0, &limits).unwrap());
}

#[divan::bench(args = CASES)]
fn decode_tree(bencher: Bencher<'_, '_>, name: &str) {
    let Case { payload, .. } = case(name);
    let bencher = bencher.counter(BytesCount::new(payload.bytes().len()));
    bencher.bench(|| black_box(&payload).term().unwrap());
}

#[divan::bench(args = CASES)]
fn encode_tree(bencher: Bencher<'_, '_>, name: &str) {
    let Case { payload, term } = case(name);
    let bencher = bencher.counter(BytesCount::new(payload.bytes().len()));
    bencher.bench(|| Payload::from_term(black_box(&term)).unwrap());
}

fn decode<T: DeserializeOwned>(bencher: Bencher<'_, '_>, name: &str) {
    let Case { payload, .. } = case(name);
    let bencher = bencher.counter(BytesCount::new(payload.bytes().len()));
    bencher.bench(|| black_box(&payload).decode::<T>().unwrap());
}

fn encode<T: DeserializeOwned + Serialize + Sync>(bencher: Bencher<'_, '_>, name: &str) {
    let Case { payload, .. } = case(name);
    let value: T = payload.decode().unwrap();
    let bencher = bencher.counter(BytesCount::new(payload.bytes().len()));
    bencher.bench(|| to_payload(black_box(&value)).unwrap());
}

/// Through serde: straight between bytes and a type of the user's.
macro_rules! typed {
    ($($name:ident: $type:ty;)*) => {
        mod decode_typed {
            use super::*;
            $(#[divan::bench]
            fn $name(bencher: Bencher<'_, '_>) {
                decode::<$type>(bencher, stringify!($name));
            })*
        }

        mod encode_typed {
            use super::*;
            $(#[divan::bench]
            fn $name(bencher: Bencher<'_, '_>) {
                encode::<$type>(bencher, stringify!($name));
            })*
        }
    };
}

typed! {
    count: (gusset::Atom, serde_bytes::ByteBuf);
    call: samples::Call;
    control: samples::Control;
    small: samples::Small;
    ints: Vec<i64>;
    floats: Vec<f64>;
    map: std::collections::HashMap<String, samples::Entry>;
    proplist: Vec<(gusset::Atom, String)>;
    strings: samples::Strings;
    binary: (gusset::Atom, i64, serde_bytes::ByteBuf);
}

/// Text and binaries stay where they are.
mod decode_borrowed {
    use std::collections::HashMap;

    use super::*;
    use crate::samples::EntryRef;

    macro_rules! borrowed {
        ($($name:ident: $type:ty;)*) => {
            $(#[divan::bench]
            fn $name(bencher: Bencher<'_, '_>) {
                let Case { payload, .. } = case(stringify!($name));
                let bencher = bencher.counter(BytesCount::new(payload.bytes().len()));
                bencher.bench(|| black_box(&payload).decode_borrowed::<$type>().map(drop).unwrap());
            })*
        };
    }

    borrowed! {
        map: HashMap<&str, EntryRef<'_>>;
        proplist: Vec<(gusset::Atom, &str)>;
        strings: (Vec<&[u8]>, gusset::etf::Charlist, &[u8]);
        binary: (gusset::Atom, i64, &[u8]);
    }
}

/// Short inputs that ask for much: how soon they are refused.
mod refused {
    use super::*;
    use crate::samples::hostile;

    fn names() -> Vec<&'static str> {
        hostile::inputs().into_iter().map(|(name, _)| name).collect()
    }

    fn input(wanted: &str) -> bytes::Bytes {
        let input = hostile::inputs().into_iter().find(|(name, _)| *name == wanted);
        input.map_or_else(bytes::Bytes::new, |(_, bytes)| bytes.into())
    }

    #[divan::bench(args = names())]
    fn validation(bencher: Bencher<'_, '_>, name: &str) {
        let (blob, limits) = (input(name), Limits::default());
        bencher.bench(|| validate(&black_box(&blob)[1..], 0, &limits));
    }

    #[divan::bench(args = names())]
    fn blob(bencher: Bencher<'_, '_>, name: &str) {
        let (blob, limits) = (input(name), Limits::default());
        bencher.bench(|| gusset::Term::from_binary(black_box(&blob), &limits).unwrap_err());
    }
}
