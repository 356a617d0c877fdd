//! Erlang's order of terms (`utils.c:erts_cmp`), equality and hashes.
//!
//! number < atom < reference < fun < port < pid < tuple < record < map < empty list < list < bitstring.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use num_bigint::{BigInt, Sign};
use num_traits::{FromPrimitive, ToPrimitive};

use super::list::List;
use super::term::{Fun, OpaqueFun, Record, Term};

impl Term {
    /// Erlang's `==` and `<`: integers and floats compare by value, so 1 and 1.0 are equal.
    pub fn cmp_by_value(&self, other: &Self) -> Ordering {
        compare(self, other, false)
    }

    /// Erlang's order of map keys: every integer comes before every float, and only identical terms
    /// are equal.
    pub fn cmp_exact(&self, other: &Self) -> Ordering {
        compare(self, other, true)
    }
}

impl PartialEq for Term {
    /// Erlang's `=:=`.
    fn eq(&self, other: &Self) -> bool {
        self.cmp_exact(other).is_eq()
    }
}

impl Eq for Term {}

impl Ord for Term {
    /// Erlang's order by value; what is equal by value only (1 and 1.0) is then ordered exactly.
    fn cmp(&self, other: &Self) -> Ordering {
        self.cmp_by_value(other).then_with(|| self.cmp_exact(other))
    }
}

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare(a: &Term, b: &Term, exact: bool) -> Ordering {
    match (a, b) {
        (Term::Integer(a), Term::Integer(b)) => a.cmp(b),
        (Term::Atom(a), Term::Atom(b)) => a.cmp(b),
        (Term::Binary(a), Term::Binary(b)) => a.cmp(b),
        (Term::Tuple(a), Term::Tuple(b)) => a.len().cmp(&b.len()).then_with(|| compare_all(a, b, exact)),
        (Term::Pid(a), Term::Pid(b)) => a.cmp(b),
        (Term::Port(a), Term::Port(b)) => a.cmp(b),
        (Term::Ref(a), Term::Ref(b)) => a.cmp(b),
        (Term::Fun(a), Term::Fun(b)) => compare_funs(a, b, exact),
        (Term::Record(a), Term::Record(b)) => compare_records(a, b, exact),
        (Term::Map(a), Term::Map(b)) => {
            let keys = |(a, b): (&(Term, Term), &(Term, Term))| compare(&a.0, &b.0, true);
            let values = |(a, b): (&(Term, Term), &(Term, Term))| compare(&a.1, &b.1, exact);
            (a.len().cmp(&b.len()))
                .then_with(|| first_difference(a.iter().zip(b).map(keys)))
                .then_with(|| first_difference(a.iter().zip(b).map(values)))
        }
        _ => match (rank(a), rank(b)) {
            (Rank::Number, Rank::Number) => compare_numbers(a, b, exact),
            (Rank::List, Rank::List) => compare_lists(a, b, exact),
            (Rank::Bits, Rank::Bits) => compare_bits(a, b),
            (a, b) => a.cmp(&b),
        },
    }
}

/// The kinds of terms, in their order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number,
    Atom,
    Ref,
    Fun,
    Port,
    Pid,
    Tuple,
    Record,
    Map,
    Nil,
    List,
    Bits,
}

fn rank(term: &Term) -> Rank {
    match term {
        Term::Integer(_) | Term::BigInteger(_) | Term::Float(_) => Rank::Number,
        Term::Atom(_) => Rank::Atom,
        Term::Ref(_) => Rank::Ref,
        Term::Fun(_) => Rank::Fun,
        Term::Port(_) => Rank::Port,
        Term::Pid(_) => Rank::Pid,
        Term::Tuple(_) => Rank::Tuple,
        Term::Record(_) => Rank::Record,
        Term::Map(_) => Rank::Map,
        Term::List(elements) if elements.is_empty() => Rank::Nil,
        Term::ImproperList(elements, tail) if elements.is_empty() => rank(tail),
        Term::List(_) | Term::ImproperList(..) => Rank::List,
        Term::Binary(_) | Term::BitString(_) => Rank::Bits,
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_all(a: &[Term], b: &[Term], exact: bool) -> Ordering {
    first_difference(a.iter().zip(b).map(|(a, b)| compare(a, b, exact)))
}

fn compare_numbers(a: &Term, b: &Term, exact: bool) -> Ordering {
    match (a, b) {
        (Term::Float(a), Term::Float(b)) if exact => a.total_cmp(b),
        (Term::Float(a), Term::Float(b)) => a.partial_cmp(b).unwrap_or_else(|| a.total_cmp(b)),
        (Term::Float(_), _) if exact => Ordering::Greater,
        (_, Term::Float(_)) if exact => Ordering::Less,
        (Term::Float(a), b) => compare_with_float(b, *a).reverse(),
        (a, Term::Float(b)) => compare_with_float(a, *b),
        (a, b) => integer(a).cmp(&integer(b)),
    }
}

fn integer(term: &Term) -> BigInt {
    term.as_bigint().unwrap_or_default()
}

/// By value and without rounding: the whole part decides, then what is behind the point.
fn compare_with_float(integer_term: &Term, float: f64) -> Ordering {
    let Some(whole) = BigInt::from_f64(float) else {
        // Not a float of Erlang's; an infinity still has a side, and not-a-number goes last.
        return if float < 0.0 { Ordering::Greater } else { Ordering::Less };
    };
    integer(integer_term).cmp(&whole).then_with(|| 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}

/// Element by element; where one ends, its tail is compared with what is left of the other.
fn compare_lists(a: &Term, b: &Term, exact: bool) -> Ordering {
    if let (Term::List(a), Term::List(b)) = (a, b)
        && let (Some(a), Some(b)) = (a.as_bytes(), b.as_bytes())
    {
        return a.cmp(b);
    }
    let (mut left, mut left_tail) = parts(a);
    let (mut right, mut right_tail) = parts(b);
    loop {
        let common = left.len().min(right.len());
        let (left_head, left_rest) = left.split_at(common);
        let (right_head, right_rest) = right.split_at(common);
        let order = compare_all(left_head, right_head, exact);
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
        // Only a tail that somebody built by hand is a list again.
        let more = |term: Option<&Term>| term.is_some_and(|term| rank(term) == Rank::List);
        if left.is_empty() && more(left_tail) {
            (left, left_tail) = left_tail.map_or((&[][..], None), parts);
        } else if right.is_empty() && more(right_tail) {
            (right, right_tail) = right_tail.map_or((&[][..], None), parts);
        } else {
            break;
        }
    }
    match (left.is_empty(), right.is_empty()) {
        (true, true) => compare(left_tail.unwrap_or(&Term::NIL), right_tail.unwrap_or(&Term::NIL), exact),
        (true, false) => left_tail.map_or(Rank::Nil, rank).cmp(&Rank::List),
        _ => Rank::List.cmp(&right_tail.map_or(Rank::Nil, rank)),
    }
}

/// The elements of a list and its tail, where that is not the empty list.
fn parts(list: &Term) -> (&[Term], Option<&Term>) {
    match list {
        Term::List(elements) => (elements, None),
        Term::ImproperList(elements, tail) if elements.is_empty() => parts(tail),
        Term::ImproperList(elements, tail) => (elements, Some(tail)),
        _ => (&[], None),
    }
}

/// Bit by bit, the shorter prefix first.
fn compare_bits(a: &Term, b: &Term) -> Ordering {
    let ((a, a_bits), (b, b_bits)) = (bits(a), bits(b));
    let common = (a_bits.min(b_bits) / 8).min(a.len()).min(b.len());
    let (a_head, a_rest) = a.split_at(common);
    let (b_head, b_rest) = b.split_at(common);
    let partial = |rest: &[u8], used: usize| rest.first().map_or(0, |byte| byte & !(0xffu16 >> used) as u8);
    let used = a_bits.min(b_bits) % 8;
    a_head.cmp(b_head).then_with(|| partial(a_rest, used).cmp(&partial(b_rest, used))).then_with(|| a_bits.cmp(&b_bits))
}

fn bits(term: &Term) -> (&[u8], usize) {
    match term {
        Term::Binary(bytes) => (bytes, bytes.len() * 8),
        Term::BitString(bits) => (bits.bytes(), bits.bit_len()),
        _ => (&[], 0),
    }
}

fn compare_funs(a: &Fun, b: &Fun, exact: bool) -> Ordering {
    match (a, b) {
        (
            Fun::Export { module, function, arity },
            Fun::Export { module: module_b, function: function_b, arity: arity_b },
        ) => (module, function, arity).cmp(&(module_b, function_b, arity_b)),
        (Fun::Opaque(a), Fun::Opaque(b)) => {
            let key = |fun: &OpaqueFun| (fun.module.clone(), fun.old_index, fun.old_uniq, fun.free.len());
            let rest = |fun: &OpaqueFun| (fun.arity, fun.index, fun.uniq);
            key(a)
                .cmp(&key(b))
                .then_with(|| compare_all(&a.free, &b.free, exact))
                // A BEAM stops here: one version of a module has no two funs that differ in more.
                .then_with(|| if exact { rest(a).cmp(&rest(b)) } else { Ordering::Equal })
        }
        (Fun::Opaque(_), Fun::Export { .. }) => Ordering::Less,
        (Fun::Export { .. }, Fun::Opaque(_)) => Ordering::Greater,
    }
}

fn compare_records(a: &Record, b: &Record, exact: bool) -> Ordering {
    (&a.module, &a.name, a.flags, a.fields.len())
        .cmp(&(&b.module, &b.name, b.flags, b.fields.len()))
        .then_with(|| a.fields.iter().map(|(name, _)| name).cmp(b.fields.iter().map(|(name, _)| name)))
        .then_with(|| first_difference(a.fields.iter().zip(&b.fields).map(|(a, b)| compare(&a.1, &b.1, exact))))
}

impl PartialEq for super::Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a == b)
    }
}

impl Eq for super::Map {}

impl PartialEq for Fun {
    fn eq(&self, other: &Self) -> bool {
        compare_funs(self, other, true).is_eq()
    }
}

impl Eq for Fun {}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        compare_records(self, other, true).is_eq()
    }
}

impl Eq for Record {}

impl Hash for Term {
    /// Agrees with `==`: the kind of number, list or binary variant that holds a value does not count.
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Self::ImproperList(elements, tail) = self
            && elements.is_empty()
        {
            return tail.hash(state);
        }
        (rank(self) as u8).hash(state);
        match self {
            Self::Integer(value) => value.hash(state),
            Self::BigInteger(value) => match value.to_i64() {
                Some(value) => value.hash(state),
                None => hash_big(value, state),
            },
            Self::Float(value) => value.to_bits().hash(state),
            Self::Atom(atom) => atom.hash(state),
            Self::Pid(pid) => pid.hash(state),
            Self::Port(port) => port.hash(state),
            Self::Ref(reference) => reference.hash(state),
            Self::Tuple(elements) => elements.hash(state),
            // The elements alone, so that a list whose tail is a list by hand still agrees.
            Self::List(list) => hash_list(list, state),
            Self::ImproperList(elements, tail) => hash_improper(elements, tail, state),
            Self::Map(map) => map.iter().for_each(|pair| pair.hash(state)),
            Self::Binary(bytes) => hash_bits(bytes, 8, state),
            Self::BitString(bits) => hash_bits(bits.bytes(), bits.bits(), state),
            Self::Fun(fun) => match &**fun {
                Fun::Export { module, function, arity } => (module, function, arity).hash(state),
                Fun::Opaque(fun) => (&fun.module, fun.old_index, fun.old_uniq, &fun.free).hash(state),
            },
            Self::Record(record) => (&record.module, &record.name, &record.fields).hash(state),
        }
    }
}

fn hash_big<H: Hasher>(value: &BigInt, state: &mut H) {
    (value.sign() == Sign::Minus).hash(state);
    value.iter_u64_digits().for_each(|digit| digit.hash(state));
}

fn hash_list<H: Hasher>(list: &List, state: &mut H) {
    match list.as_bytes() {
        Some(bytes) => bytes.iter().for_each(|&byte| Term::Integer(byte.into()).hash(state)),
        None => list.iter().for_each(|element| element.hash(state)),
    }
}

fn hash_improper<H: Hasher>(elements: &[Term], tail: &Term, state: &mut H) {
    elements.iter().for_each(|element| element.hash(state));
    match tail {
        Term::List(more) => hash_list(more, state),
        Term::ImproperList(more, tail) => hash_improper(more, tail, state),
        tail => tail.hash(state),
    }
}

fn hash_bits<H: Hasher>(bytes: &Bytes, bits: u8, state: &mut H) {
    bytes.hash(state);
    bits.hash(state);
}
