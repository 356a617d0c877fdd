//! `erlang:phash2/2`: a hash that is the same on all nodes of all releases (the reference manual promises it), so that
//! every node finds the same shard, queue or partition for a key.
//!
//! Source: `make_hash2` of the emulator (`erl_term_hashing.c`, earlier `utils.c`), which mixes words and bytes by Bob
//! Jenkins' "lookup2"; checked with OTP 23, 25, 27 and 29.

use std::num::NonZeroU32;
use std::slice;

use num_bigint::{BigInt, Sign};
use num_traits::ToPrimitive;

use super::atom::Atom;
use super::term::{BitString, Fun, Term};

/// The range of `erlang:phash2/1`: 2^27.
pub const PHASH2_RANGE: NonZeroU32 = NonZeroU32::MIN.saturating_add((1 << 27) - 1);

/// `erlang:phash2(Binary, Range)`: a number from 0 to below `range`.
///
/// ```
/// use std::num::NonZeroU32;
///
/// // 1> erlang:phash2(<<"room:lobby">>, 16).
/// assert_eq!(gusset::etf::phash2(b"room:lobby", NonZeroU32::new(16).unwrap()), 12);
/// ```
pub fn phash2(binary: &[u8], range: NonZeroU32) -> u32 {
    of_binary(0, binary) % range.get()
}

/// `erlang:phash2(Term, Range)`: a number from 0 to below `range`; [`PHASH2_RANGE`] is that of `erlang:phash2(Term)`.
///
/// Iterative: a deep term costs memory on the heap, no stack.
///
/// `None` for what no figure is certain of: a native record (OTP 29), a fun whose numbers for old and new releases
/// differ, a float that Erlang does not have, and what is made of such.
///
/// ```
/// use gusset::etf::{PHASH2_RANGE, Term, phash2_term};
///
/// // 1> erlang:phash2({user, 7}).
/// let term: Term = "{user, 7}".parse().unwrap();
/// assert_eq!(phash2_term(&term, PHASH2_RANGE), Some(14_032_251));
/// ```
pub fn phash2_term(term: &Term, range: NonZeroU32) -> Option<u32> {
    Some(of_term(term)? % range.get())
}

/// What is still to be mixed in, the last one first.
enum Todo<'a> {
    Term(&'a Term),
    /// The elements of a tuple, or the values of a fun.
    Each(slice::Iter<'a, Term>),
    /// The rest of a list, with its end when that is not `[]`.
    List(&'a [Term], Option<&'a Term>),
    /// Pairs of a map. Each is hashed by itself and all are combined, as their order means nothing.
    Pairs(slice::Iter<'a, (Term, Term)>),
    EndOfPair,
    /// With what was known before the map.
    EndOfMap {
        hash: u32,
        pairs: u32,
    },
}

fn of_term(term: &Term) -> Option<u32> {
    let mut todo = vec![Todo::Term(term)];
    let (mut hash, mut pairs) = (0, 0);
    while let Some(next) = todo.pop() {
        match next {
            Todo::Term(term) => match term {
                Term::List(elements) => todo.push(Todo::List(elements, None)),
                Term::ImproperList(elements, end) => todo.push(Todo::List(elements, Some(end))),
                Term::Tuple(elements) => {
                    hash = one(hash, low(elements.len()), 9);
                    todo.push(Todo::Each(elements.iter()));
                }
                Term::Map(map) => {
                    hash = one(hash, low(map.len()), 16);
                    if !map.is_empty() {
                        todo.push(Todo::EndOfMap { hash, pairs });
                        todo.push(Todo::Pairs(map.iter()));
                        (hash, pairs) = (0, 0);
                    }
                }
                Term::Fun(fun) => match &**fun {
                    Fun::Export { module, function, arity } => {
                        hash = two(hash, u32::from(*arity), of_text(module), 1);
                        hash = one(hash, of_text(function), 14);
                    }
                    // A fun has a number for old releases and one for new ones, which compilers give alike.
                    Fun::Opaque(fun) if i64::from(fun.index) == fun.old_index => {
                        hash = two(hash, low(fun.free.len()), of_text(&fun.module), 1);
                        hash = two(hash, fun.index, fun.old_uniq as u32, 1);
                        todo.push(Todo::Each(fun.free.iter()));
                    }
                    Fun::Opaque(_) => return None,
                },
                flat => hash = of_flat(hash, flat)?,
            },
            Todo::Each(mut terms) => {
                if let Some(term) = terms.next() {
                    todo.push(Todo::Each(terms));
                    todo.push(Todo::Term(term));
                }
            }
            Todo::List(elements, end) => {
                let rest;
                (hash, rest) = of_text_in(hash, elements);
                match (rest.split_first(), end) {
                    (Some((term, rest)), _) => todo.extend([Todo::List(rest, end), Todo::Term(term)]),
                    (None, Some(end)) => todo.push(Todo::Term(end)),
                    (None, None) if hash == 0 => hash = EMPTY_LIST,
                    (None, None) => hash = one(hash, 2, 2),
                }
            }
            Todo::Pairs(mut rest) => {
                if let Some((key, value)) = rest.next() {
                    todo.extend([Todo::Pairs(rest), Todo::EndOfPair, Todo::Term(value), Todo::Term(key)]);
                }
            }
            Todo::EndOfPair => (hash, pairs) = (0, pairs ^ hash),
            Todo::EndOfMap { hash: before, pairs: outside } => (hash, pairs) = (one(before, pairs, 19), outside),
        }
    }
    Some(hash)
}

/// A term without others in it.
fn of_flat(hash: u32, term: &Term) -> Option<u32> {
    Some(match term {
        Term::Integer(value) => of_integer(hash, *value),
        Term::BigInteger(value) => value.to_i64().map_or_else(|| of_big(hash, value), |value| of_integer(hash, value)),
        Term::Float(value) if value.is_finite() => {
            // Both zeros have one hash.
            let bits = (value + 0.0).to_bits();
            two(hash, (bits >> 32) as u32, bits as u32, 12)
        }
        // What is first is the bare hash of the text.
        Term::Atom(atom) if hash == 0 => of_text(atom),
        Term::Atom(atom) => one(hash, of_text(atom), 3),
        Term::Pid(pid) => one(hash, pid.id, 5),
        Term::Port(port) => two(hash, port.id as u32, (port.id >> 32) as u32, 6),
        Term::Ref(reference) => one(hash, reference.words().first().copied()?, 7),
        Term::Binary(bytes) => of_binary(hash, bytes),
        Term::BitString(bits) => of_bits(hash, bits)?,
        _ => return None,
    })
}

/// The bytes that a list begins with, four at a time, and the rest of the list.
fn of_text_in(mut hash: u32, elements: &[Term]) -> (u32, &[Term]) {
    let (mut word, mut count) = (0, 0);
    let mut rest = elements;
    while let Some((term, others)) = rest.split_first() {
        let Some(byte) = term.as_i64().and_then(|value| u8::try_from(value).ok()) else { break };
        word = word << 8 | u32::from(byte);
        count += 1;
        if count == 4 {
            hash = one(hash, word, 4);
            (word, count) = (0, 0);
        }
        rest = others;
    }
    (if count > 0 { one(hash, word, 4) } else { hash }, rest)
}

fn of_integer(mut hash: u32, value: i64) -> u32 {
    if (-SMALL..SMALL).contains(&value) {
        if value < 0 {
            hash = one(hash, value.unsigned_abs() as u32, 1);
        }
        return one(hash, value as u32, 1);
    }
    let size = value.unsigned_abs();
    two(hash, size as u32, (size >> 32) as u32, if value < 0 { 10 } else { 11 })
}

fn of_big(hash: u32, value: &BigInt) -> u32 {
    let kind = if value.sign() == Sign::Minus { 10 } else { 11 };
    value.iter_u64_digits().fold(hash, |hash, digit| two(hash, digit as u32, (digit >> 32) as u32, kind))
}

/// The hash of the text of an atom: that of P. J. Weinberger, of latin-1 where the characters are of it.
fn of_text(atom: &Atom) -> u32 {
    let mut bytes = atom.as_str().bytes().peekable();
    let mut hash = 0_u32;
    while let Some(mut byte) = bytes.next() {
        if byte & 0xfe == 0xc2
            && let Some(second) = bytes.next_if(|second| second & 0xc0 == 0x80)
        {
            byte = byte << 6 | second & 0x3f;
        }
        hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        hash = (hash ^ high >> 24) & !high;
    }
    hash
}

fn of_bits(hash: u32, bits: &BitString) -> Option<u32> {
    let (last, whole) = bits.bytes().split_last()?;
    let seed = GOLDEN.wrapping_mul(OF_BINARIES).wrapping_add(hash);
    Some(two(of_bytes(seed, whole), u32::from(bits.bits()), u32::from(*last >> (8 - bits.bits())), 15))
}

fn of_binary(hash: u32, binary: &[u8]) -> u32 {
    let seed = GOLDEN.wrapping_mul(OF_BINARIES).wrapping_add(hash);
    if binary.is_empty() { seed } else { of_bytes(seed, binary) }
}

fn of_bytes(seed: u32, bytes: &[u8]) -> u32 {
    let (mut a, mut b, mut c) = (GOLDEN, GOLDEN, seed);
    let mut blocks = bytes.chunks_exact(BLOCK);
    for block in &mut blocks {
        let [x, y, z] = words(block);
        (a, b, c) = mix(a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z));
    }
    // The lowest byte of the last word belongs to the length.
    let [x, y, z] = words(blocks.remainder());
    c = c.wrapping_add(low(bytes.len())).wrapping_add(z << 8);
    mix(a.wrapping_add(x), b.wrapping_add(y), c).2
}

/// Up to twelve bytes as three words, little-endian.
fn words(bytes: &[u8]) -> [u32; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(4)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

/// Mixes in one word; `kind` is the multiple of [`GOLDEN`] for terms of this kind.
fn one(hash: u32, word: u32, kind: u32) -> u32 {
    two(hash, word, 0, kind)
}

fn two(hash: u32, first: u32, second: u32, kind: u32) -> u32 {
    let constant = GOLDEN.wrapping_mul(kind);
    mix(constant.wrapping_add(first), constant.wrapping_add(second), hash).2
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    for (x, y, z) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> x);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << y);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> z);
    }
    (a, b, c)
}

/// The emulator counts in 32 bits, too.
fn low(count: usize) -> u32 {
    count as u32
}

const BLOCK: usize = 12;
/// The golden ratio of 2^32, with which all hashes begin.
const GOLDEN: u32 = 0x9e37_79b9;
/// The multiple of [`GOLDEN`] that stands for binaries.
const OF_BINARIES: u32 = 13;
/// `erlang:phash2([], 1 bsl 32)`.
const EMPTY_LIST: u32 = 3_468_870_702;
/// From here on, and below its negative, integers are hashed by their size and sign.
const SMALL: i64 = 1 << 27;

#[cfg(test)]
mod tests {
    use super::*;

    /// What `erlang:phash2(Binary, 1 bsl 32)` gives, the same in OTP 23, 25, 27 and 29.
    #[test]
    fn hashes_are_those_of_a_beam() {
        let all: Vec<u8> = (0..=255).collect();
        let known: [(&[u8], u32); 8] = [
            (b"", 147_926_629),
            (b"a", 1_589_197_455),
            (b"room:lobby", 225_471_484),
            (b"elevenbytes", 2_322_354_142),
            (b"twelve bytes", 93_359_736),
            (b"thirteenbytes", 2_292_863_227),
            (&all, 4_163_814_291),
            ("bücher".as_bytes(), 47_472_627),
        ];
        for (binary, expected) in known {
            assert_eq!(of_binary(0, binary), expected, "{binary:?}");
        }
        assert_eq!(phash2(b"room:lobby", NonZeroU32::new(16).unwrap()), 225_471_484 % 16);
    }
}
