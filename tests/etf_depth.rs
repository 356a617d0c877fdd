//! The depths of `Limits` on the smallest stack that a thread of a user may have, in a debug build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use gusset::etf::{DecodeErrorKind, Fun, Limits, OpaqueFun, Record, to_payload};
use gusset::{Creation, Payload, Pid, Term, atom};

/// A quarter of what Rust gives a thread, on every system. In a debug build trees need 416 KiB of it, derived
/// types 352 KiB.
const SMALL_STACK: usize = 512 << 10;

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(SMALL_STACK).spawn(work).unwrap().join().unwrap();
}

/// A term of exactly `depth` levels, of all kinds that nest in turn.
fn deep(depth: usize, kinds: &[fn(Term) -> Term]) -> Term {
    kinds.iter().cycle().take(depth).fold(Term::from(atom!("leaf")), |term, wrap| wrap(term))
}

fn fun(free: Term) -> Term {
    let pid = Pid { node: atom!("n@h"), id: 1, serial: 0, creation: Creation(1) };
    let fun = OpaqueFun {
        arity: 0,
        uniq: [0; 16],
        index: 0,
        module: atom!("m"),
        old_index: 0,
        old_uniq: 0,
        pid,
        free: vec![free],
    };
    Fun::Opaque(fun).into()
}

fn record(value: Term) -> Term {
    Record { flags: 0, module: atom!("m"), name: atom!("r"), fields: vec![(atom!("f"), value)] }.into()
}

const KINDS: [fn(Term) -> Term; 7] = [
    |term| Term::Tuple(vec![term]),
    |term| Term::from(vec![term]),
    |term| Term::ImproperList(vec![term], Box::new(1.into())),
    |term| Term::map([(term, 1.into())]),
    |term| Term::map([(1.into(), term)]),
    fun,
    record,
];

#[test]
fn a_tree_of_the_full_depth_is_safe_on_a_small_stack() {
    let limits = Limits::default();
    let each = KINDS.iter().map(|kind| vec![*kind]).chain([KINDS.to_vec()]);
    for kinds in each {
        on_a_small_stack(move || {
            let term = deep(limits.tree_depth, &kinds);
            let payload = Payload::from_term(&term).unwrap();
            let other = payload.term().unwrap();
            assert_eq!(term, other.clone());
            assert!(term.cmp_by_value(&other).is_eq());
            let state = RandomState::new();
            assert_eq!(state.hash_one(&term), state.hash_one(&other));
            let text = format!("{term} {term:?}");
            let (text, _) = text.split_at(text.len() / 2);
            if let Ok(parsed) = text.parse::<Term>() {
                assert_eq!(parsed, term);
            }
            assert_eq!(payload.decode::<(Term,)>().is_ok(), matches!(term, Term::Tuple(_) | Term::List(_)));
            assert_eq!(to_payload(&term).unwrap().bytes(), payload.bytes());
            #[cfg(feature = "eetf")]
            if let Ok(there) = eetf::Term::try_from(&term) {
                assert_eq!(Term::try_from(there).unwrap(), term);
            }
            let deeper = Payload::from_term(&Term::Tuple(vec![term])).unwrap();
            let error = deeper.term().unwrap_err();
            assert!(matches!(error.kind, DecodeErrorKind::Limit { setting: "tree_depth", .. }), "{error}");
        });
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    End,
    One(Box<Deep>),
    Many(Vec<Deep>),
    Named { maybe: Option<Box<Deep>>, by_name: HashMap<String, Deep> },
}

#[test]
fn derived_types_of_the_full_depth_are_safe_on_a_small_stack() {
    // A variant takes one level for itself and one for each container in it.
    type Wrap = fn(Deep) -> Deep;
    let wraps: [(Wrap, usize); 4] = [
        (|deep| Deep::One(Box::new(deep)), 1),
        (|deep| Deep::Many(vec![deep]), 2),
        (|deep| Deep::Named { maybe: Some(Box::new(deep)), by_name: HashMap::new() }, 2),
        (|deep| Deep::Named { maybe: None, by_name: HashMap::from([(String::new(), deep)]) }, 3),
    ];
    for (wrap, levels) in wraps {
        on_a_small_stack(move || {
            let depth = Limits::default().serde_depth / levels - 1;
            let value = (0..depth).fold(Deep::End, |deep, _| wrap(deep));
            let payload = to_payload(&value).unwrap();
            assert_eq!(payload.decode::<Deep>().unwrap(), value);
            let deeper = (0..levels * 2).fold(value, |deep, _| wrap(deep));
            let error = to_payload(&deeper).unwrap().decode::<Deep>().unwrap_err();
            assert!(matches!(error.kind, DecodeErrorKind::Limit { setting: "serde_depth", .. }), "{error}");
        });
    }
}
