//! How many allocations the codec makes: the same on every machine, however busy.

use std::collections::HashMap;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use gusset::etf::{Encoder, Limits, serialize_into, to_payload, validate};
use gusset::{Atom, Creation, Payload, Pid, Term, atom, list, tuple};
use serde::{Deserialize, Serialize};

fn allocations(mut call: impl FnMut()) -> u64 {
    // Once before, for what is made on the first use.
    call();
    measure(call).count_total
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Entry<'a> {
    id: i64,
    name: &'a str,
    #[serde(with = "serde_bytes")]
    data: &'a [u8],
    on: bool,
    ratio: Option<f64>,
    state: State,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Idle,
    Busy(u32, i64),
}

fn entry() -> Entry<'static> {
    Entry { id: 7, name: "grüße", data: b"bytes", on: true, ratio: Some(0.5), state: State::Busy(1, -2) }
}

fn pid() -> Pid {
    Pid { node: atom!("driver@127.0.0.1"), id: 4711, serial: 0, creation: Creation(1_700_000_000) }
}

#[test]
fn values_that_borrow_are_read_without_an_allocation() {
    let message = to_payload(&entry()).unwrap();
    assert_eq!(message.decode_borrowed::<Entry<'_>>().unwrap(), entry());
    assert_eq!(allocations(|| drop(message.decode_borrowed::<Entry<'_>>())), 0);
    let control = to_payload(&(6, pid(), atom!(""), atom!("bench"))).unwrap();
    assert_eq!(control.decode::<(u8, Pid, Atom, Atom)>().unwrap().1, pid());
    assert_eq!(allocations(|| drop(control.decode::<(u8, Pid, Atom, Atom)>())), 0);
}

#[test]
fn what_owns_its_parts_allocates_once_for_each() {
    let numbers = to_payload(&(0..10_000).collect::<Vec<i64>>()).unwrap();
    assert_eq!(allocations(|| drop(numbers.decode::<Vec<i64>>())), 1);
    let names = to_payload(&["a", "b", "c"]).unwrap();
    assert_eq!(allocations(|| drop(names.decode::<(String, String, String)>())), 3);
    // The table, and nothing to find keys that come twice.
    let few = to_payload(&HashMap::from([("a", 1), ("b", 2)])).unwrap();
    assert_eq!(allocations(|| drop(few.decode_borrowed::<HashMap<&str, i64>>())), 1);
}

#[test]
fn errors_on_the_way_to_an_answer_cost_nothing() {
    // Each of these looks at what comes next and finds something else.
    let message = to_payload(&(Some(1), true, Some(atom!("up")))).unwrap();
    assert_eq!(allocations(|| drop(message.decode::<(Option<i64>, bool, Option<Atom>)>())), 0);
    // The error, its path, and the name of the last part of it.
    assert_eq!(allocations(|| drop(message.decode::<(i64, bool, bool)>().unwrap_err())), 3);
}

#[test]
fn into_a_warm_buffer_nothing_is_allocated() {
    let mut buf = BytesMut::with_capacity(4096);
    let typed = allocations(|| {
        buf.clear();
        serialize_into(&(entry(), pid(), vec![(); 0]), &mut Encoder::new(&mut buf)).unwrap();
    });
    let term = tuple![atom!("n"), pid(), 1, 2.5, list![1, 2, 300], "text", Term::map([(1.into(), 2.into())])];
    let tree = allocations(|| {
        buf.clear();
        term.encode(&mut Encoder::new(&mut buf)).unwrap();
    });
    assert_eq!((typed, tree), (0, 0));
}

#[test]
fn a_tree_has_an_allocation_for_each_term_with_parts() {
    let decode = |term: Term| {
        let message = Payload::from_term(&term).unwrap();
        assert_eq!(message.term().unwrap(), term);
        allocations(|| drop(message.term()))
    };
    for len in [1_i64, 4, 8] {
        assert_eq!(decode(Term::tuple((0..len).map(Term::from))), 1, "{len}");
    }
    // Lists of numbers as well, and room for what encloses them.
    assert_eq!(decode(Term::list((0..1000).map(Term::from))), 2);
    assert_eq!(decode(Term::tuple([list![1, 2], list![3, 4], "shared with the message".into(), pid().into()])), 3);
}

#[test]
fn what_comes_from_a_peer_is_validated_without_an_allocation() {
    let term = tuple![pid(), list![1, 2.5, "text"], Term::map([(atom!("a").into(), list![list![1]])])];
    let bytes: Bytes = Payload::from_term(&term).unwrap().to_bytes();
    let limits = Limits::default();
    assert_eq!(validate(&bytes, 0, &limits), Ok(bytes.len()));
    assert_eq!(allocations(|| drop(validate(&bytes, 0, &limits))), 0);
}
