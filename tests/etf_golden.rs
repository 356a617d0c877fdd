//! The codec against terms of real BEAMs: those in `interop/etf/`, and live ones.

// Clippy's leave for tests ends at functions that are no tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Ordering;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use gusset::etf::{Atom, BitString, Creation, Fun, Limits, OpaqueFun, Payload, Pid, Port, Record, Ref, Term, validate};
use gusset::{atom, tuple};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const RELEASES: [u32; 4] = [23, 25, 27, 29];

/// How long a BEAM may take to start and answer, on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

struct Golden {
    kind: String,
    /// Empty where the term has no text that can be read.
    text: String,
    blob: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/etf")
}

fn corpus(release: u32) -> Vec<Golden> {
    let text = fs::read_to_string(folder().join(format!("otp{release}.txt"))).unwrap();
    let line = |line: &str| {
        let [kind, text, hex] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let text = if text == "-" { "" } else { text };
        Golden { kind: kind.into(), text: text.into(), blob: (0..hex.len()).step_by(2).map(byte).collect() }
    };
    let all: Vec<Golden> = text.lines().map(line).collect();
    assert!(all.len() >= 149);
    all
}

fn decode(blob: &[u8]) -> Term {
    Term::from_binary(blob, &Limits::default()).unwrap()
}

#[test]
fn terms_of_every_release_are_read_printed_and_written_again() {
    for release in RELEASES {
        for Golden { kind, text, blob } in corpus(release) {
            let term = decode(&blob);
            let context = format!("OTP {release}, {kind} {term}");
            if !text.is_empty() {
                assert_eq!(text.parse::<Term>().unwrap(), term, "{context}");
                if kind == "map" {
                    // The order of pairs differs from release to release.
                    assert_eq!(term.to_string().parse::<Term>().unwrap(), term, "{context}");
                } else {
                    assert_eq!(term.to_string(), text, "{context}");
                }
            }
            let ours = term.to_binary().unwrap();
            assert_eq!(decode(&ours), term, "{context}");
            let same_bytes = match kind.as_str() {
                "map" | "float31" | "compressed" => false,
                "integer" | "float" | "binary" | "bitstring" => true,
                // Before OTP 26 latin-1 atoms have their own tag.
                _ if release < 26 => false,
                // We write a port that is small enough in the narrow form, which all releases take.
                "port" => blob[1] == ours[1],
                _ => true,
            };
            if same_bytes {
                assert_eq!(ours, blob, "{context}");
            }
        }
    }
}

#[test]
fn a_cut_term_is_an_error_at_every_length() {
    for Golden { blob, .. } in RELEASES.into_iter().flat_map(corpus) {
        for len in 1..blob.len() {
            let cut = Payload::from_binary(&Bytes::copy_from_slice(&blob[..len]), &Limits::default());
            assert!(cut.is_err(), "{len} of {blob:?}");
        }
    }
}

#[test]
fn eetf_is_of_the_same_opinion_on_the_corpus() {
    let mut compared = 0;
    // It takes latin-1 atoms, which older releases send, for UTF-8.
    for Golden { kind, blob, .. } in [27, 29].into_iter().flat_map(corpus) {
        // Native records are newer than eetf, and it reads old floats through 32 bits.
        if kind == "record" || kind == "float31" {
            continue;
        }
        let term = decode(&blob);
        let ours = eetf::Term::decode(&term.to_binary().unwrap()[..]).unwrap();
        assert_eq!(eetf::Term::decode(&blob[..]).unwrap(), ours, "{kind} {term}");
        // It writes [-1] wrongly.
        if kind == "list" && term.to_string().contains('-') {
            continue;
        }
        let mut theirs = Vec::new();
        ours.encode(&mut theirs).unwrap();
        assert_eq!(decode(&theirs), term, "{kind}");
        compared += 1;
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn live_beams_agree_on_the_corpus() {
    for mut beam in beams() {
        for Golden { kind, blob, .. } in corpus(beam.release) {
            let ours = decode(&blob).to_binary().unwrap();
            let same = beam.ask(tuple![atom!("same"), Term::from(blob), Term::from(ours.to_vec())]);
            assert_eq!(same, true.into(), "OTP {}, {kind}", beam.release);
        }
    }
}

#[test]
fn live_beams_send_random_terms_back_as_they_were() {
    for mut beam in beams() {
        let terms = Term::from(samples(term(beam.release), 400));
        let answer = beam.ask(tuple![atom!("echo"), Term::from(terms.to_binary().unwrap().to_vec())]);
        assert_eq!(decode(answer.as_binary().unwrap()), terms, "OTP {}", beam.release);
    }
}

#[test]
fn live_beams_read_what_is_printed_and_print_what_is_read() {
    for mut beam in beams() {
        for term in samples(printable(), 150) {
            let text = term.to_string();
            let answer = beam.ask(tuple![atom!("parse"), text.as_str()]);
            assert_eq!(decode(answer.as_binary().unwrap()), term, "OTP {}: {text}", beam.release);
            let answer = beam.ask(tuple![atom!("print"), Term::from(term.to_binary().unwrap().to_vec())]);
            let theirs = answer.as_str().unwrap();
            assert_eq!(theirs.parse::<Term>().as_ref(), Ok(&term), "OTP {}: {theirs}", beam.release);
        }
        if beam.release < 25 {
            // Another choice between the forms of a float.
            continue;
        }
        for float in samples(float(), 300) {
            let answer = beam.ask(tuple![atom!("print"), Term::from(float.to_binary().unwrap().to_vec())]);
            assert_eq!(answer.as_str(), Some(&*float.to_string()), "OTP {}", beam.release);
        }
    }
}

#[test]
fn order_is_that_of_a_beam() {
    for mut beam in beams() {
        let release = beam.release;
        let mut strategies = vec![term(release), close(release), identifier(release), number(), list_like(), fun()];
        if release >= 29 {
            strategies.push(record());
        }
        for strategy in strategies {
            let mut terms = samples(strategy, 400);
            let unsorted = Term::from(terms.clone());
            let answer = beam.ask(tuple![atom!("sort"), Term::from(unsorted.to_binary().unwrap().to_vec())]);
            let theirs = decode(answer.as_binary().unwrap());
            // Stable, as `lists:sort/1` is: 1 and 1.0 stay as they were.
            terms.sort_by(Term::cmp_by_value);
            for (ours, theirs) in terms.iter().zip(theirs.as_list().unwrap()) {
                assert_eq!(ours, theirs, "OTP {}", beam.release);
            }
            for pair in terms.windows(2) {
                let order = pair[0].cmp(&pair[1]);
                assert!(pair[0].cmp_by_value(&pair[1]) == Ordering::Equal || order == Ordering::Less);
            }
        }
    }
}

fn samples(strategy: BoxedStrategy<Term>, count: usize) -> Vec<Term> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn any_atom() -> BoxedStrategy<Atom> {
    prop_oneof![
        Just(atom!("ok")),
        Just(atom!("true")),
        Just(atom!("")),
        "[a-c@]{1,3}".prop_map(|text| Atom::new(text).unwrap()),
        "[a-zA-Zé-üπ€ '\\\\]{0,8}".prop_map(|text| Atom::new(text).unwrap()),
    ]
    .boxed()
}

fn integer() -> BoxedStrategy<Term> {
    let power = |bits: u32, off: i64, negative: bool| {
        let value = (num_bigint::BigInt::from(1) << bits) + off;
        Term::from(if negative { -value } else { value })
    };
    prop_oneof![
        (-3i64..300).prop_map(Term::from),
        any::<i32>().prop_map(Term::from),
        any::<i64>().prop_map(Term::from),
        (0u32..2100, -2i64..=2, any::<bool>()).prop_map(move |(bits, off, negative)| power(bits, off, negative)),
    ]
    .boxed()
}

fn float() -> BoxedStrategy<Term> {
    prop_oneof![
        any::<f64>().prop_filter("Erlang has no other floats", |value| value.is_finite()),
        (-3i64..300).prop_map(|value| value as f64),
        any::<i64>().prop_map(|value| value as f64),
        (-1e6..1e6f64).prop_map(|value| (value * 100.0).round() / 100.0),
    ]
    // Before OTP 27 -0.0 =:= 0.0.
    .prop_map(|value| Term::Float(value + 0.0))
    .boxed()
}

fn number() -> BoxedStrategy<Term> {
    let near = (50u32..70, -2i64..=2).prop_map(|(bits, off)| Term::from((1i128 << bits) + i128::from(off)));
    let near_float = (50u32..70, -2i64..=2).prop_map(|(bits, off)| Term::Float((1i128 << bits) as f64 + off as f64));
    prop_oneof![integer(), float(), near, near_float].boxed()
}

fn list_like() -> BoxedStrategy<Term> {
    let element = prop_oneof![(0i64..3).prop_map(Term::from), Just(Term::from(1.0)), Just(Term::NIL)];
    let tail = prop_oneof![Just(Term::NIL), (0i64..3).prop_map(Term::from), Just(atom!("t").into())];
    (vec(element, 0..4), tail).prop_map(|(elements, tail)| Term::list_with_tail(elements, tail)).boxed()
}

fn node() -> BoxedStrategy<Atom> {
    prop_oneof![Just(atom!("a@h")), Just(atom!("b@h")), Just(atom!("ab@h"))].boxed()
}

/// OTP 23 takes narrow pids and short references only.
fn identifier(release: u32) -> BoxedStrategy<Term> {
    let (ids, serials, words) = if release < 24 { (1 << 15, 1 << 13, 3) } else { (u32::MAX, u32::MAX, 5) };
    let creation = (1u32..4).prop_map(Creation);
    let id = prop_oneof![0..3u32, 0..ids];
    let serial = prop_oneof![0..3u32, 0..serials];
    let pid = (node(), creation.clone(), id, serial)
        .prop_map(|(node, creation, id, serial)| Pid { node, creation, id, serial }.into());
    let port_id = if release < 24 { (0..1u64 << 28).boxed() } else { prop_oneof![0..3u64, any::<u64>()].boxed() };
    let port = (node(), creation.clone(), port_id).prop_map(|(node, creation, id)| Port { node, creation, id }.into());
    let word = prop_oneof![0..3u32, 0..1u32 << 18];
    let reference = (node(), creation, vec(word, 1..=words))
        .prop_map(|(node, creation, words)| Ref::new(node, creation, &words).unwrap().into());
    prop_oneof![pid, port, reference].boxed()
}

fn fun() -> BoxedStrategy<Term> {
    let module = || prop_oneof![Just(atom!("m")), Just(atom!("n"))];
    let pid = Pid { node: atom!("a@h"), id: 1, serial: 0, creation: Creation(1) };
    let free = || prop_oneof![(0i64..3).prop_map(Term::from), Just(Term::from(1.0)), Just(atom!("a").into())];
    let opaque = (module(), 0u8..3, 0u8..3, vec(free(), 0..3)).prop_map(move |(module, number, hash, free)| {
        // In a BEAM the old numbers and the new ones go together.
        let (index, old_index, old_uniq) = (number.into(), number.into(), hash.into());
        let (arity, uniq, pid) = (number, [hash; 16], pid.clone());
        Fun::Opaque(OpaqueFun { arity, uniq, index, module, old_index, old_uniq, pid, free }).into()
    });
    let export =
        (module(), module(), 0u8..3).prop_map(|(module, function, arity)| Term::export(module, function, arity));
    prop_oneof![4 => opaque, 1 => export, 1 => Just(Term::from(atom!("a"))), 1 => identifier(23)].boxed()
}

/// Native records and what stands around them in the order.
fn record() -> BoxedStrategy<Term> {
    let name = || prop_oneof![Just(atom!("m")), Just(atom!("n")), Just(atom!("z"))];
    let value = || prop_oneof![(0i64..3).prop_map(Term::from), Just(Term::from(1.0))];
    let record = (0u8..2, name(), name(), vec((name(), value()), 0..3)).prop_filter_map(
        "a record has each field once",
        |(flags, module, name, fields)| match &fields[..] {
            [(a, _), (b, _)] if a == b => None,
            _ => Some(Record { flags, module, name, fields }.into()),
        },
    );
    let other = prop_oneof![
        Just(tuple![]),
        Just(tuple![1, 2, 3, 4]),
        Just(Term::map([])),
        Just(Term::map([(1.into(), 2.into())])),
        Just(Term::NIL),
    ];
    prop_oneof![5 => record, 1 => other, 1 => identifier(29)].boxed()
}

fn bits() -> BoxedStrategy<Term> {
    let whole = prop_oneof![vec(any::<u8>(), 0..5), "[a-zé\n\"]{0,9}".prop_map(String::into_bytes)];
    let partial =
        (vec(any::<u8>(), 1..4), 1u8..8).prop_map(|(bytes, bits)| BitString::new(bytes.into(), bits).unwrap().into());
    prop_oneof![whole.prop_map(Term::from), partial].boxed()
}

fn nested(leaf: BoxedStrategy<Term>) -> BoxedStrategy<Term> {
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Term::Tuple),
            vec(inner.clone(), 0..5).prop_map(Term::from),
            (vec(inner.clone(), 1..4), inner.clone()).prop_map(|(list, tail)| Term::list_with_tail(list, tail)),
            vec((inner.clone(), inner), 0..5).prop_map(Term::map),
        ]
    })
    .boxed()
}

fn printable() -> BoxedStrategy<Term> {
    let charlist = "[a-zé π\n\"\\\\]{0,9}".prop_map(|text| Term::charlist(&text));
    // OTP 23 prints the names in funs wrongly when they go beyond ASCII.
    let name = || "[a-zA-Z' ]{0,5}".prop_map(|text| Atom::new(text).unwrap());
    let fun = (name(), name(), any::<u8>()).prop_map(|(module, function, arity)| Term::export(module, function, arity));
    nested(prop_oneof![integer(), float(), any_atom().prop_map(Term::from), bits(), charlist, fun].boxed())
}

fn term(release: u32) -> BoxedStrategy<Term> {
    nested(prop_oneof![printable(), identifier(release)].boxed())
}

/// Terms that are alike, so that the order of their parts decides.
fn close(release: u32) -> BoxedStrategy<Term> {
    let leaf = prop_oneof![
        (0i64..3).prop_map(Term::from),
        (0..3i32).prop_map(|value| Term::Float(value.into())),
        Just(atom!("a").into()),
        Just(Term::NIL),
        Just(Term::from("")),
        Just(Term::export(atom!("m"), atom!("f"), 1)),
        identifier(release),
    ];
    nested(leaf.boxed())
}

proptest! {
    #[test]
    fn random_terms_come_back_as_they_were(term in term(29)) {
        let blob = term.to_binary().unwrap();
        prop_assert_eq!(validate(&blob[1..], 0, &Limits::default()), Ok(blob.len() - 1));
        prop_assert_eq!(&decode(&blob), &term);
        let passed: Term = gusset::etf::from_bytes(&blob).unwrap();
        prop_assert_eq!(&passed, &term);
        prop_assert_eq!(gusset::etf::to_bytes(&term).unwrap(), blob);
    }

    #[test]
    fn printed_terms_are_read_as_they_were(term in printable()) {
        prop_assert_eq!(term.to_string().parse::<Term>(), Ok(term));
    }

    #[test]
    fn order_and_equality_and_hash_agree(a in close(29), b in close(29), c in close(29)) {
        use std::hash::{BuildHasher, RandomState};
        let state = RandomState::new();
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
        if a == b {
            prop_assert_eq!(state.hash_one(&a), state.hash_one(&b));
        }
    }

    #[test]
    fn damaged_bytes_never_panic_and_valid_ones_decode(
        term in term(29),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = term.to_binary().unwrap()[1..].to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes)?;
    }

    #[test]
    fn random_bytes_never_panic_and_valid_ones_decode(bytes in vec(prop_oneof![any::<u8>(), 97..121u8, 0..3u8], 0..60)) {
        survives(&bytes)?;
    }

    #[test]
    fn random_text_never_panics(text in "[a-z0-9{}\\[\\]<>#=|,.:'\"~$\\\\ %_-]{0,40}") {
        if let Ok(term) = text.parse::<Term>() {
            prop_assert_eq!(term.to_string().parse::<Term>(), Ok(term));
        }
    }
}

/// What `validate` lets pass decodes, but for a key that comes twice; what it refuses is refused by all.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let limits = Limits::default();
    let valid = validate(bytes, 0, &limits);
    let mut reader = gusset::etf::Reader::new(bytes, &[]);
    let decoded = Term::decode(&mut reader, &limits);
    match (&valid, &decoded) {
        (Ok(len), Ok(term)) => {
            prop_assert_eq!(*len, reader.offset());
            prop_assert_eq!(&decode(&term.to_binary().unwrap()), term);
        }
        (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("a map has a key twice"), "{}", error),
        (Err(_), Err(_)) => {}
        (Err(error), Ok(term)) => prop_assert!(false, "{} but {}", error, term),
    }
    let skipped = gusset::etf::Reader::new(bytes, &[]).skip();
    prop_assert_eq!(valid.is_ok(), skipped.is_ok());
    let payload = Payload::new(Bytes::copy_from_slice(bytes), None);
    let _ = payload.decode::<serde_json::Value>();
    let _ = payload.decode::<(Option<String>, Vec<i128>)>();
    let _ = payload.decode::<std::collections::HashMap<String, Result<(), Term>>>();
    Ok(())
}

fn beams() -> Vec<Beam> {
    RELEASES.into_iter().filter_map(Beam::start).collect()
}

/// `beam.escript serve` of one release.
struct Beam {
    release: u32,
    process: Child,
    requests: ChildStdin,
    answers: Receiver<Vec<u8>>,
}

impl Beam {
    /// `None`, with the reason printed, where the release is not installed.
    fn start(release: u32) -> Option<Self> {
        let cache = || {
            let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            cache
                .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
                .map(|cache| cache.join("otp-matrix/bin"))
        };
        let escript =
            env::var_os("GUSSET_OTP_DIR").map(PathBuf::from).or_else(cache)?.join(format!("escript{release}"));
        if !escript.exists() {
            let reason = format!("OTP {release} is not installed ({} is missing)", escript.display());
            assert!(env::var("CI").as_deref() != Ok("true"), "{reason}");
            println!("skipped: {reason}");
            return None;
        }
        let mut process = Command::new(escript)
            .arg(folder().join("beam.escript"))
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = process.stdin.take().unwrap();
        let mut output = process.stdout.take().unwrap();
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut len = [0; 4];
            while output.read_exact(&mut len).is_ok() {
                let mut answer = vec![0; u32::from_be_bytes(len) as usize];
                if output.read_exact(&mut answer).is_err() || sender.send(answer).is_err() {
                    return;
                }
            }
        });
        Some(Self { release, process, requests, answers })
    }

    fn ask(&mut self, request: Term) -> Term {
        let request = request.to_binary().unwrap();
        self.requests.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
        self.requests.write_all(&request).unwrap();
        self.requests.flush().unwrap();
        let answer = self.answers.recv_timeout(ANSWER_WITHIN).expect("the BEAM answers in time");
        match decode(&answer).as_tuple_of::<2>() {
            Some([ok, answer]) if ok.is_atom("ok") => answer.clone(),
            _ => panic!("OTP {}: {}", self.release, decode(&answer)),
        }
    }
}

impl Drop for Beam {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
