//! [`validate`]: one walk over bytes from the network, before anybody else looks at them.
//!
//! The walk has no recursion, and no allocation up to a nesting of 256. What it lets pass can be
//! read to its end without a structural error. Two things it leaves to those who build something:
//! keys that come twice in a map (to find them takes memory), and how deep a tree may be.

use smallvec::SmallVec;

use super::atom::{MAX_ATOM_CHARACTERS, is_ascii_in};
use super::decode::refused;
use super::error::{DecodeError, DecodeErrorKind};
use super::ids::MAX_REF_WORDS;
use super::limits::Limits;
use super::read::{Integer, Reader};
use super::tag;
use super::term::MAX_FREE;

/// Walks over the term at the start of `bytes` (without version byte) and gives back how many bytes
/// it takes; `atoms` is how many atoms the distribution header has (0 without one).
///
/// # Errors
/// For whatever a BEAM would close the connection for, but for a key that comes twice in a map; for
/// unknown tags; and for what exceeds `limits`. The error has the offset of the offending item.
pub fn validate(bytes: &[u8], atoms: usize, limits: &Limits) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes, &[]);
    walk(&mut reader, atoms, limits)?;
    Ok(reader.offset())
}

impl Reader<'_> {
    /// Passes over the next term, however large, and checks it on the way as
    /// [`validate`](super::validate()) does, without limits.
    ///
    /// # Errors
    /// For what is no term.
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let limits = Limits { depth: usize::MAX, integer_bytes: usize::MAX, items: usize::MAX, ..Limits::default() };
        self.skip_within(&limits)
    }

    /// Passes over the next term as [`skip`](Self::skip) does, within limits.
    pub(crate) fn skip_within(&mut self, limits: &Limits) -> Result<(), DecodeError> {
        let atoms = self.atoms().len();
        walk(self, atoms, limits)
    }

    /// Passes over an atom, which is checked and not made.
    pub(crate) fn pass_atom(&mut self) -> Result<(), DecodeError> {
        let atoms = self.atoms().len();
        atom(self, atoms)
    }

    /// Passes over a pid in the form of today: its id and its serial.
    pub(crate) fn pass_pid(&mut self) -> Result<(u32, u32), DecodeError> {
        if self.peek_tag()? != tag::NEW_PID {
            return self.unexpected("a pid");
        }
        self.u8()?;
        self.pass_atom()?;
        let number = (self.u32()?, self.u32()?);
        self.u32()?;
        Ok(number)
    }
}

/// A term whose parts are still coming: how many, twice, plus one for a list (whose last part is its tail).
type Open = u64;

const PART: Open = 2;
/// A list of which only the tail is to come.
const LAST_OF_LIST: Open = PART | 1;

fn walk(reader: &mut Reader<'_>, atoms: usize, limits: &Limits) -> Result<(), DecodeError> {
    let mut outer = Outer::default();
    let mut open = PART;
    let mut items: usize = 1;
    loop {
        if open >= LONG_LIST && open & 1 == 1 && is_number(reader.rest()) {
            // Not the tail, which may be a list.
            let (count, rest) = numbers(reader.rest(), open / PART - 1);
            reader.go_on(rest);
            open -= count * PART;
        }
        let start = reader.rest();
        let found = match common(start, atoms) {
            Some((found, rest)) => {
                reader.go_on(rest);
                found
            }
            None => item(reader, atoms, limits)?,
        };
        if found.items > 0 {
            items = items.saturating_add(found.items);
            if items > limits.items {
                let offset = reader.back_at(start).offset();
                limits.check("the number of items", items, limits.items, "items", offset)?;
            }
        }
        if found.open >= PART {
            // A list as the tail of a list continues it.
            if open != LAST_OF_LIST || found.open & 1 == 0 {
                if outer.len >= limits.depth {
                    let offset = reader.back_at(start).offset();
                    limits.check("the nesting", outer.len + 1, limits.depth, "depth", offset)?;
                }
                outer.push(open - PART);
            }
            open = found.open;
            continue;
        }
        open -= PART;
        while open < PART {
            match outer.pop() {
                Some(last) => open = last,
                None => return Ok(()),
            }
        }
    }
}

/// What is open around the innermost term. The outermost few stand in an array: to put one there and to take it back is
/// a single store and a single load.
#[derive(Default)]
struct Outer {
    few: [Open; FEW],
    more: SmallVec<[Open; 256 - FEW]>,
    len: usize,
}

const FEW: usize = 8;

impl Outer {
    #[inline(always)]
    fn push(&mut self, open: Open) {
        match self.few.get_mut(self.len) {
            Some(place) => *place = open,
            None => self.more.push(open),
        }
        self.len += 1;
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Open> {
        self.len = self.len.checked_sub(1)?;
        match self.few.get(self.len) {
            Some(open) => Some(*open),
            None => self.more.pop(),
        }
    }
}

/// A list of which so much is to come may be one of numbers.
const LONG_LIST: Open = 8 * PART;

#[inline]
fn is_number(rest: &[u8]) -> bool {
    matches!(rest.first(), Some(&(tag::NEW_FLOAT | tag::INTEGER | tag::SMALL_INTEGER | tag::SMALL_BIG)))
}

/// Passes over at most so many numbers and empty lists. Lengths that stand in the code are guessed with the branch, and
/// the next item is looked at before this one is done; a table of lengths would be waited for.
#[inline]
fn numbers(mut rest: &[u8], most: u64) -> (u64, &[u8]) {
    let mut count = 0;
    while count < most {
        let behind = match *rest {
            [tag::NEW_FLOAT, a, b, _, _, _, _, _, _, ref behind @ ..] if a & 0x7f < 0x7f || b < 0xf0 => behind,
            [tag::INTEGER, _, _, _, _, ref behind @ ..] => behind,
            [tag::SMALL_INTEGER, _, ref behind @ ..] => behind,
            [tag::SMALL_BIG, 4, _, _, _, _, _, ref behind @ ..] => behind,
            [tag::NIL, ref behind @ ..] => behind,
            _ => break,
        };
        rest = behind;
        count += 1;
    }
    (count, rest)
}

/// The next item, if it is of a kind that is common and nothing is wrong with it; and what follows it.
#[inline]
fn common(rest: &[u8], atoms: usize) -> Option<(Found, &[u8])> {
    let (&found, behind) = rest.split_first()?;
    let leaf = |len: usize, rest: &'_ [u8]| rest.get(len..).map(|rest| (Found::LEAF, rest.len()));
    let (found, left) = match found {
        tag::BINARY => {
            let (len, behind) = behind.split_first_chunk()?;
            leaf(u32::from_be_bytes(*len) as usize, behind)?
        }
        tag::SMALL_INTEGER => leaf(1, behind)?,
        tag::INTEGER => leaf(4, behind)?,
        tag::NIL => leaf(0, behind)?,
        tag::NEW_FLOAT => {
            let (bits, behind) = behind.split_first_chunk()?;
            if !f64::from_be_bytes(*bits).is_finite() {
                return None;
            }
            (Found::LEAF, behind.len())
        }
        // An integer of so few bytes is never too large.
        tag::SMALL_BIG => match behind {
            [len @ 0..=7, behind @ ..] => leaf(usize::from(*len) + 1, behind)?,
            _ => return None,
        },
        tag::SMALL_ATOM_UTF8 => (Found::LEAF, behind_small_atom(behind)?.len()),
        tag::ATOM => match behind {
            [0, len, behind @ ..] => leaf(usize::from(*len), behind)?,
            _ => return None,
        },
        tag::ATOM_CACHE_REF => match behind {
            [index, behind @ ..] if usize::from(*index) < atoms => (Found::LEAF, behind.len()),
            _ => return None,
        },
        tag::SMALL_TUPLE => match behind {
            [arity, behind @ ..] if usize::from(*arity) <= behind.len() => {
                (Found::parts(usize::from(*arity)), behind.len())
            }
            _ => return None,
        },
        tag::LIST => {
            let (count, behind) = behind.split_first_chunk()?;
            let count = u32::from_be_bytes(*count) as usize;
            if count > behind.len() {
                return None;
            }
            (Found::list(count), behind.len())
        }
        tag::MAP => {
            let (pairs, behind) = behind.split_first_chunk()?;
            let parts = u32::from_be_bytes(*pairs) as usize * 2;
            if parts > behind.len() {
                return None;
            }
            (Found::parts(parts), behind.len())
        }
        tag::NEW_PID => {
            let behind = match behind {
                [tag::SMALL_ATOM_UTF8, behind @ ..] => behind_small_atom(behind)?,
                [tag::ATOM, 0, len, behind @ ..] => behind.get(usize::from(*len)..)?,
                [tag::ATOM_CACHE_REF, index, behind @ ..] if usize::from(*index) < atoms => behind,
                _ => return None,
            };
            leaf(12, behind)?
        }
        _ => return None,
    };
    Some((found, rest.get(rest.len() - left..)?))
}

/// What follows a short atom, of which the tag is read.
#[inline(always)]
fn behind_small_atom(rest: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = rest.split_first()?;
    let len = usize::from(len);
    // Most are short, of ASCII, and not at the very end: that is one look, without a call.
    if rest.first_chunk().is_some_and(|bytes| is_ascii_in(bytes, len)) {
        return rest.get(len..);
    }
    let (text, rest) = rest.split_at_checked(len)?;
    std::str::from_utf8(text).ok()?;
    Some(rest)
}

/// What follows the head of a term.
struct Found {
    /// Its parts.
    open: Open,
    /// How many items these are, or how many elements a compact byte list has.
    items: usize,
}

impl Found {
    const LEAF: Self = Self { open: 0, items: 0 };

    #[inline]
    fn parts(parts: usize) -> Self {
        Self { open: parts as Open * PART, items: parts }
    }

    #[inline]
    fn list(len: usize) -> Self {
        Self { open: ((len as Open + 1) * PART) | 1, items: len + 1 }
    }
}

#[inline(never)]
fn item(reader: &mut Reader<'_>, atoms: usize, limits: &Limits) -> Result<Found, DecodeError> {
    let start = reader.offset();
    let invalid = |what| Err(DecodeError::new(start, DecodeErrorKind::Invalid(what)));
    match reader.peek_tag()? {
        tag::SMALL_INTEGER => {
            reader.take(2)?;
        }
        tag::INTEGER => {
            reader.take(5)?;
        }
        tag::SMALL_BIG | tag::LARGE_BIG => {
            if let Integer::Big { magnitude, .. } = reader.integer()? {
                let (len, most) = (magnitude.len(), limits.integer_bytes);
                limits.check("the size of an integer", len, most, "integer_bytes", start)?;
            }
        }
        tag::NEW_FLOAT | tag::FLOAT => {
            reader.f64()?;
        }
        tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => {
            atom(reader, atoms)?;
        }
        tag::NEW_PID | tag::PID => pid(reader, atoms)?,
        found @ (tag::NEW_PORT | tag::V4_PORT | tag::PORT) => {
            reader.u8()?;
            atom(reader, atoms)?;
            reader.take(if found == tag::V4_PORT { 8 } else { 4 })?;
            creation(reader, found != tag::PORT)?;
        }
        found @ (tag::NEWER_REFERENCE | tag::NEW_REFERENCE) => {
            reader.u8()?;
            let words = usize::from(reader.u16()?);
            if !(1..=MAX_REF_WORDS).contains(&words) {
                return invalid("a reference has one to five words");
            }
            atom(reader, atoms)?;
            creation(reader, found == tag::NEWER_REFERENCE)?;
            reader.take(words * 4)?;
        }
        tag::REFERENCE => {
            reader.u8()?;
            atom(reader, atoms)?;
            reader.take(4)?;
            creation(reader, false)?;
        }
        tag::SMALL_TUPLE | tag::LARGE_TUPLE => return Ok(Found::parts(reader.tuple()?)),
        tag::NIL => {
            reader.u8()?;
        }
        tag::STRING => return Ok(Found { items: reader.byte_list()?.len(), ..Found::LEAF }),
        tag::LIST => {
            return Ok(Found::list(reader.list()?.unwrap_or_default()));
        }
        tag::BINARY => {
            reader.binary()?;
        }
        tag::BIT_BINARY => {
            reader.bitstring()?;
        }
        tag::MAP => return Ok(Found::parts(reader.map()? * 2)),
        tag::EXPORT => {
            reader.u8()?;
            atom(reader, atoms)?;
            atom(reader, atoms)?;
            reader.arity()?;
        }
        tag::NEW_FUN => {
            // Tag, size, arity, hash, index.
            reader.take(1 + 4 + 1 + 16 + 4)?;
            let free = reader.count(1)?;
            if free > MAX_FREE {
                return invalid("a fun closes over more than 255 values");
            }
            atom(reader, atoms)?;
            reader.i64()?;
            reader.i64()?;
            match reader.peek_tag()? {
                tag::NEW_PID | tag::PID => pid(reader, atoms)?,
                // For the error.
                _ => drop(reader.pid()?),
            }
            return Ok(Found::parts(free));
        }
        tag::RECORD => {
            reader.u8()?;
            let fields = reader.count(2)?;
            reader.u8()?;
            for _ in 0..fields + 2 {
                atom(reader, atoms)?;
            }
            return Ok(Found::parts(fields));
        }
        other => return Err(refused(start, other)),
    }
    Ok(Found::LEAF)
}

fn pid(reader: &mut Reader<'_>, atoms: usize) -> Result<(), DecodeError> {
    let wide = reader.u8()? == tag::NEW_PID;
    atom(reader, atoms)?;
    reader.take(8)?;
    creation(reader, wide)
}

fn creation(reader: &mut Reader<'_>, wide: bool) -> Result<(), DecodeError> {
    if wide {
        reader.take(4)?;
    } else {
        reader.narrow_creation()?;
    }
    Ok(())
}

/// Passes over an atom without making it.
fn atom(reader: &mut Reader<'_>, atoms: usize) -> Result<(), DecodeError> {
    let start = reader.offset();
    let invalid = |what| Err(DecodeError::new(start, DecodeErrorKind::Invalid(what)));
    let (len, utf8) = match reader.peek_tag()? {
        tag::ATOM_CACHE_REF => {
            let head = reader.take(2)?;
            return match head {
                &[_, index] if usize::from(index) >= atoms => {
                    Err(DecodeError::new(start, DecodeErrorKind::AtomCacheRef { index, known: atoms }))
                }
                _ => Ok(()),
            };
        }
        found @ (tag::SMALL_ATOM_UTF8 | tag::SMALL_ATOM) => {
            reader.u8()?;
            (usize::from(reader.u8()?), found == tag::SMALL_ATOM_UTF8)
        }
        found @ (tag::ATOM_UTF8 | tag::ATOM) => {
            reader.u8()?;
            (usize::from(reader.u16()?), found == tag::ATOM_UTF8)
        }
        // For the error.
        _ => return reader.atom().map(drop),
    };
    let bytes = reader.take(len)?;
    let characters = match std::str::from_utf8(bytes) {
        _ if !utf8 => len,
        Ok(_) if len <= MAX_ATOM_CHARACTERS => len,
        Ok(text) => text.chars().count(),
        Err(_) => return invalid("an atom is not UTF-8"),
    };
    if characters > MAX_ATOM_CHARACTERS {
        return invalid("an atom has more than 255 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<usize, DecodeError> {
        validate(bytes, 2, &Limits::default())
    }

    fn kind(bytes: &[u8]) -> DecodeErrorKind {
        check(bytes).unwrap_err().kind
    }

    #[test]
    fn a_term_is_measured_and_what_follows_is_left() {
        assert_eq!(check(&[104, 2, 97, 1, 106, 99, 99]), Ok(5));
        assert_eq!(check(&[82, 1]), Ok(2));
        assert_eq!(check(&[108, 0, 0, 0, 1, 97, 1, 108, 0, 0, 0, 0, 106]), Ok(13));
    }

    #[test]
    fn announced_counts_that_cannot_be_are_refused_at_once() {
        for bytes in [
            &[108, 255, 255, 255, 255][..],
            &[105, 255, 255, 255, 255],
            &[116, 255, 255, 255, 255],
            &[109, 255, 255, 255, 255],
            &[77, 255, 255, 255, 255, 8],
            &[111, 255, 255, 255, 255, 0],
            &[67, 255, 255, 255, 255, 0],
            &[104, 255],
        ] {
            assert!(matches!(kind(bytes), DecodeErrorKind::Count { .. }), "{bytes:?}");
        }
    }

    #[test]
    fn tags_that_no_node_may_send_are_refused_with_their_place() {
        for tag in [73, 74, 75, 76, 78, 72, 117, 121, 0, 131, 68, 69, 255] {
            let error = check(&[104, 2, 106, tag, 0, 0, 0, 0]).unwrap_err();
            assert_eq!((error.offset, error.kind), (3, DecodeErrorKind::UnknownTag(tag)));
        }
        assert_eq!(kind(&[80, 0, 0, 0, 1]), DecodeErrorKind::TagNotAllowed(80));
    }

    #[test]
    fn a_million_levels_end_at_the_limit() {
        for unit in [&[104, 1][..], &[108, 0, 0, 0, 1], &[116, 0, 0, 0, 1]] {
            let bytes = unit.repeat(1_000_000);
            assert!(matches!(kind(&bytes), DecodeErrorKind::Limit { setting: "depth", limit: 10_000, .. }));
        }
    }

    #[test]
    fn cells_written_one_at_a_time_do_not_nest() {
        let mut bytes = [108, 0, 0, 0, 1, 97, 7].repeat(100_000);
        bytes.push(106);
        assert_eq!(check(&bytes), Ok(bytes.len()));
    }

    #[test]
    fn what_a_beam_would_not_take_is_refused() {
        let not_a_number = [70, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0];
        let infinite = [70, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0];
        let bad_creation = [103, 119, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 0, 4];
        let long_atom = [&[100, 1, 0][..], &[b'a'; 256]].concat();
        for bytes in [
            &not_a_number[..],
            &infinite,
            &bad_creation,
            &long_atom,
            &[119, 2, 0xc3, 0x28],
            &[119, 2, 0xc0, 0x80],
            &[77, 0, 0, 0, 0, 1],
            &[77, 0, 0, 0, 1, 0, 0],
            &[77, 0, 0, 0, 1, 9, 0],
            &[90, 0, 0, 119, 0, 0, 0, 0, 0],
            &[90, 0, 6, 119, 0, 0, 0, 0, 0],
        ] {
            assert!(matches!(kind(bytes), DecodeErrorKind::Invalid(_)), "{bytes:?}");
        }
        assert_eq!(kind(&[82, 2]), DecodeErrorKind::AtomCacheRef { index: 2, known: 2 });
    }
}
