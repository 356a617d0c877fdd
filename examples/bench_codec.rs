//! The codec over files of the external term format, to be compared with other codecs.
//!
//! `bench_codec DIR MILLISECONDS [FILTER]` reads `DIR/*.etf`, stand-alone terms of the shapes named in [`file()`], and prints a line a
//! result: file, operation, codec, bytes, calls per second, with tabs between. The codecs:
//!
//! - `gusset`: serde, types that own what they hold; binaries as slices of the message.
//! - `gusset-borrowed`: serde, types that borrow text and bytes from the message.
//! - `gusset-borrowed-foldhash`: the same, with a map that hashes by foldhash and not by SipHash.
//! - `gusset-term`: a tree (`Term`).
//! - `gusset-warm`, `gusset-term-warm`: the same values into a buffer that is kept; the others make a new one each time.
//! - `gusset-term-chained`: large binaries are chained to the message instead of copied, as the node sends them.
//! - `walk` by `gusset` is `validate`, which goes over every message before anybody reads it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use gusset::etf::{Binary, Charlist, Encoder, Limits, Pid, serialize_into, to_bytes, validate};
use gusset::{Atom, Payload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Entry {
    id: i64,
    name: String,
    on: bool,
    tags: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Pair {
    a: i64,
    b: String,
}

#[derive(Deserialize)]
#[serde(rename = "#blob")]
#[expect(dead_code, reason = "read to be measured")]
struct BlobRef<'a>(i64, &'a [u8]);

#[derive(Deserialize)]
#[expect(dead_code, reason = "read to be measured")]
struct EntryRef<'a> {
    id: i64,
    name: &'a str,
    on: bool,
    #[serde(borrow)]
    tags: Vec<&'a str>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read to be measured")]
struct PairRef<'a> {
    a: i64,
    b: &'a str,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (directory, milliseconds) = (arguments.next().unwrap(), arguments.next().unwrap().parse().unwrap());
    let filter = arguments.next().unwrap_or_default();
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "etf")).collect();
    files.sort();
    for path in files {
        let bytes: Bytes = std::fs::read(&path).unwrap().into();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let payload = Payload::new(bytes.slice(1..), None);
        file(&Bench { name, payload, time: Duration::from_millis(milliseconds), filter: &filter });
    }
}

/// What each file of the corpus holds, in Rust.
fn file(bench: &Bench<'_>) {
    match bench.name {
        "bin_1m" => {
            bench.typed::<(Atom, i64, Binary)>();
            bench.borrowed(|payload| payload.decode_borrowed::<BlobRef<'_>>().unwrap());
        }
        "ctrl_reg_send" => bench.typed::<(u8, Pid, Atom, Atom)>(),
        "floats_10k" => bench.typed::<Vec<f64>>(),
        "ints_10k" => bench.typed::<Vec<i64>>(),
        "map_1k" => {
            bench.typed::<HashMap<String, Entry>>();
            bench.borrowed(|payload| payload.decode_borrowed::<HashMap<&str, EntryRef<'_>>>().unwrap());
            type Hashed<'a> = HashMap<&'a str, EntryRef<'a>, foldhash::fast::RandomState>;
            let decode = |payload: &Payload| drop(black_box(payload.decode_borrowed::<Hashed<'_>>().unwrap()));
            bench.rate("decode", "gusset-borrowed-foldhash", || decode(black_box(&bench.payload)));
        }
        "proplist_1k" => {
            bench.typed::<Vec<(Atom, String)>>();
            bench.borrowed(|payload| payload.decode_borrowed::<Vec<(Atom, &str)>>().unwrap());
        }
        "small_tuple" => {
            bench.typed::<(Pid, i64, (Atom, Atom, f64, Vec<u8>, Pair), Binary)>();
            type Borrowed<'a> = (Pid, i64, (Atom, Atom, f64, &'a [u8], PairRef<'a>), &'a [u8]);
            bench.borrowed(|payload| payload.decode_borrowed::<Borrowed<'_>>().unwrap());
        }
        "strings" => {
            bench.typed::<(Vec<Charlist>, Charlist, Binary)>();
            bench.borrowed(|payload| payload.decode_borrowed::<(Vec<&[u8]>, &[u8], &[u8])>().unwrap());
        }
        _ => {}
    }
    bench.term();
}

struct Bench<'a> {
    name: &'a str,
    payload: Payload,
    time: Duration,
    filter: &'a str,
}

impl Bench<'_> {
    /// Runs `call` for a fifth of the time, and then for the time; prints how often it was done in a second.
    fn rate<T>(&self, operation: &str, codec: &str, mut call: impl FnMut() -> T) {
        let (name, len) = (self.name, self.payload.bytes().len() + 1);
        if !format!("{name} {operation} {codec} ").contains(self.filter) {
            return;
        }
        let mut last = 0.0;
        for time in [self.time / 5, self.time] {
            let (start, mut calls) = (Instant::now(), 0_u64);
            while start.elapsed() < time {
                for _ in 0..4 {
                    black_box(call());
                }
                calls += 4;
            }
            last = calls as f64 / start.elapsed().as_secs_f64();
        }
        println!("{name}\t{operation}\t{codec}\t{len}\t{last:.1}");
    }

    fn typed<T: DeserializeOwned + Serialize>(&self) {
        self.rate("decode", "gusset", || black_box(&self.payload).decode::<T>().unwrap());
        let value: T = self.payload.decode().unwrap();
        self.check("gusset", to_bytes(&value).unwrap().len());
        self.rate("encode", "gusset", || to_bytes(black_box(&value)).unwrap());
        let mut buf = BytesMut::new();
        self.rate("encode", "gusset-warm", || {
            buf.clear();
            let mut encoder = Encoder::new(&mut buf);
            encoder.version();
            serialize_into(black_box(&value), &mut encoder).unwrap();
            buf.len()
        });
    }

    fn borrowed<'a, T>(&'a self, decode: impl Fn(&'a Payload) -> T) {
        self.rate("decode", "gusset-borrowed", || decode(black_box(&self.payload)));
    }

    fn term(&self) {
        let limits = Limits::default();
        self.rate("decode", "gusset-term", || black_box(&self.payload).term().unwrap());
        let term = self.payload.term().unwrap();
        self.check("gusset-term", term.to_binary().unwrap().len());
        self.rate("encode", "gusset-term", || black_box(&term).to_binary().unwrap());
        let mut buf = BytesMut::new();
        self.rate("encode", "gusset-term-warm", || {
            buf.clear();
            let mut encoder = Encoder::new(&mut buf);
            encoder.version();
            black_box(&term).encode(&mut encoder).unwrap();
            buf.len()
        });
        let mut chain = Vec::new();
        self.rate("encode", "gusset-term-chained", || {
            buf.clear();
            chain.clear();
            let mut encoder = Encoder::new(&mut buf).chaining(&mut chain);
            encoder.version();
            black_box(&term).encode(&mut encoder).unwrap();
            buf.len()
        });
        self.rate("walk", "gusset", || validate(black_box(self.payload.bytes()), 0, &limits).unwrap());
    }

    fn check(&self, codec: &str, len: usize) {
        let bytes = self.payload.bytes().len() + 1;
        if len != bytes {
            eprintln!("{} {codec}: encodes to {len} bytes, was {bytes}", self.name);
        }
    }
}
