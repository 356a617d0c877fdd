//! The terms that the benches measure, made from a fixed seed.

pub(crate) mod hostile;

use gusset::etf::{Creation, Pid, Ref};
use gusset::{Atom, Payload, Term, atom, list, tuple};
use serde::{Deserialize, Serialize};

/// The names that [`case`] knows.
pub(crate) const CASES: [&str; 10] =
    ["count", "call", "control", "small", "ints", "floats", "map", "proplist", "strings", "binary"];

pub(crate) struct Case {
    pub(crate) term: Term,
    pub(crate) payload: Payload,
}

pub(crate) fn case(name: &str) -> Case {
    let mut random = Random(1);
    let term = match name {
        "count" => tuple![atom!("n"), Term::binary(vec![7; 16])],
        "call" => call(1),
        "control" => tuple![6, pid(), atom!(""), atom!("bench")],
        "small" => {
            let inner = Term::map([(atom!("a").into(), 1.into()), (atom!("b").into(), "two".into())]);
            tuple![pid(), 42, tuple![atom!("hello"), atom!("world"), 3.5, list![1, 2, 3], inner], "sixteen bytes ok"]
        }
        "ints" => listed((0..10_000).map(|at| random.below(1 << (16 + 8 * (at % 3))).into())),
        "floats" => listed((0..10_000).map(|_| Term::Float(random.below(1 << 40) as f64 / 1e6))),
        "map" => Term::map((0..1000).map(|at| (format!("key-{at}").into(), entry(at, &mut random)))),
        "proplist" => listed((0..1000).map(|at| tuple![Atom::new(format!("key_{at}")).unwrap(), random.text(40)])),
        "strings" => tuple![
            listed((0..100).map(|_| Term::charlist("abcdefghijklmnopqrstuvwxyz"))),
            listed((0..70_000).map(|at| Term::from(97 + at % 26))),
            "grüße ".repeat(20_000),
        ],
        "binary" => tuple![atom!("blob"), 7, Term::binary(b"0123456789abcdef".repeat(1 << 16))],
        other => panic!("no case is called {other}"),
    };
    let payload = Payload::from_term(&term).unwrap();
    Case { term, payload }
}

/// What `gen_server:call(bench, {ping, N})` sends.
pub(crate) fn call(number: i64) -> Term {
    let reference = Ref::from_three(node(), Creation(1_700_000_000), [77, 88, 99]);
    tuple![atom!("$gen_call"), tuple![pid(), list![atom!("alias"); reference]], tuple![atom!("ping"), number]]
}

pub(crate) fn pid() -> Pid {
    Pid { node: node(), id: 4711, serial: 0, creation: Creation(1_700_000_000) }
}

fn node() -> Atom {
    atom!("driver@127.0.0.1")
}

fn listed(elements: impl Iterator<Item = Term>) -> Term {
    Term::list(elements)
}

fn entry(at: i64, random: &mut Random) -> Term {
    let pairs: [(Term, Term); 4] = [
        ("id".into(), at.into()),
        ("name".into(), random.text(12).into()),
        ("on".into(), (at % 2 == 0).into()),
        ("tags".into(), list!["a", "b"]),
    ];
    Term::map(pairs)
}

/// The same in Rust.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) on: bool,
    pub(crate) tags: Vec<String>,
}

/// The same, with text that stays in the message.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read to be measured")]
pub(crate) struct EntryRef<'a> {
    id: i64,
    name: &'a str,
    on: bool,
    #[serde(borrow)]
    tags: Vec<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Pair {
    a: i64,
    b: String,
}

pub(crate) type Control = (u8, Pid, Atom, Atom);
pub(crate) type Small = (Pid, i64, (Atom, Atom, f64, Vec<u8>, Pair), String);
pub(crate) type Call = (Atom, (Pid, Term), (Atom, i64));
pub(crate) type Strings = (Vec<Vec<u8>>, Vec<u8>, String);

/// xorshift64: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as i64
    }

    fn text(&mut self, most: i64) -> String {
        (0..=self.below(most)).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}
