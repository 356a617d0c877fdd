//! Bytes into a [`Term`], without recursion: what is open lies on a stack of its own.

use smallvec::SmallVec;

use super::error::{DecodeError, DecodeErrorKind};
use super::limits::Limits;
use super::list::List;
use super::map::Map;
use super::read::{Integer, Reader};
use super::tag;
use super::term::{BitString, Fun, OpaqueFun, Record, Term};

impl Term {
    /// Takes the next term from a reader; safe on bytes from anywhere.
    ///
    /// # Errors
    /// What [`validate`](super::validate()) finds; besides a key that comes twice in a map, and a
    /// tree deeper than [`Limits::tree_depth`].
    pub fn decode(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut building = Building { terms: Vec::new(), items: 1, limits };
        building.check(reader.offset())?;
        let mut outer: SmallVec<[Open; 8]> = SmallVec::new();
        let Some(mut open) = building.head(reader)? else { return Ok(building.terms.pop().unwrap_or(Self::NIL)) };
        building.check_depth(1, open.start)?;
        loop {
            if open.missing == 0 {
                let Some(parent) = outer.pop() else { return building.whole(open) };
                building.close(open)?;
                open = parent;
            }
            if open.is_at_tail() {
                building.tail(&mut open, reader)?;
            }
            while open.missing > 0 {
                open.missing -= 1;
                if let Some(inner) = building.head(reader)? {
                    building.check_depth(outer.len() + 2, inner.start)?;
                    outer.push(std::mem::replace(&mut open, inner));
                }
                if open.is_at_tail() {
                    building.tail(&mut open, reader)?;
                }
            }
        }
    }
}

/// A tree on its way.
struct Building<'l> {
    /// The parts of all that is open: those of the innermost come last.
    terms: Vec<Term>,
    /// How many items there are, those included that are only announced.
    items: usize,
    limits: &'l Limits,
}

/// A term whose parts are still coming.
struct Open {
    start: usize,
    kind: Kind,
    /// How many parts have not come yet.
    missing: usize,
    /// Where its parts start.
    base: usize,
}

enum Kind {
    Tuple,
    /// The tail counts as the last part.
    List,
    /// A list whose last part is a tail that may be no list.
    Tailed,
    Map,
    Fun(Box<OpaqueFun>),
    Record(Box<Record>),
}

impl Open {
    #[inline]
    fn is_at_tail(&self) -> bool {
        self.missing == 1 && matches!(self.kind, Kind::List)
    }
}

impl Building<'_> {
    #[inline]
    fn check(&self, offset: usize) -> Result<(), DecodeError> {
        match self.items <= self.limits.items {
            true => Ok(()),
            false => self.limits.check("the number of items", self.items, self.limits.items, "items", offset),
        }
    }

    #[inline]
    fn check_depth(&self, depth: usize, offset: usize) -> Result<(), DecodeError> {
        match depth <= self.limits.tree_depth {
            true => Ok(()),
            false => self.limits.check("the depth of the tree", depth, self.limits.tree_depth, "tree_depth", offset),
        }
    }

    #[inline]
    fn open(&mut self, kind: Kind, missing: usize, start: usize) -> Result<Option<Open>, DecodeError> {
        self.items = self.items.saturating_add(missing);
        self.check(start)?;
        if self.terms.capacity() == 0 {
            self.terms.reserve_exact(missing.min(FEW));
        }
        Ok(Some(Open { start, kind, missing, base: self.terms.len() }))
    }

    /// Takes a term without parts.
    #[inline(always)]
    fn leaf(&mut self, term: Term) -> Result<Option<Open>, DecodeError> {
        self.terms.push(term);
        Ok(None)
    }

    /// Takes the next term if it has no parts, or its start. What has none is made in its place, by a `push` of its own:
    /// through a function it would be made elsewhere first.
    #[inline(always)]
    fn head(&mut self, reader: &mut Reader<'_>) -> Result<Option<Open>, DecodeError> {
        let start = reader.offset();
        match reader.peek_tag()? {
            tag::SMALL_INTEGER | tag::INTEGER => match reader.usual_integer() {
                Some(value) => self.terms.push(Term::Integer(value.into())),
                None => return self.rare(reader),
            },
            tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM_UTF8 => {
                if let Some(atom) = reader.short_atom() {
                    self.terms.push(Term::Atom(atom));
                } else if let Some(atom) = reader.last_atom() {
                    self.terms.push(Term::Atom(atom));
                } else {
                    self.terms.push(Term::Atom(reader.atom()?));
                }
            }
            tag::NEW_PID => {
                if let Some(pid) = reader.usual_pid() {
                    self.terms.push(Term::Pid(pid));
                } else {
                    self.terms.push(Term::Pid(reader.pid()?));
                }
            }
            tag::NEW_FLOAT => {
                let value = reader.f64()?;
                self.terms.push(Term::Float(value));
            }
            tag::BINARY => {
                let bytes = reader.bytes()?;
                self.terms.push(Term::Binary(bytes));
            }
            tag::NIL => {
                reader.nil()?;
                self.terms.push(Term::NIL);
            }
            tag::SMALL_TUPLE => match reader.tuple()? {
                0 => self.terms.push(Term::Tuple(Vec::new())),
                arity => return self.open(Kind::Tuple, arity, start),
            },
            tag::LIST => {
                let len = reader.list()?.unwrap_or_default();
                let open = self.open(Kind::List, len + 1, start)?;
                return if len >= LONG { self.numbers(open, reader) } else { Ok(open) };
            }
            tag::MAP => match reader.map()? {
                0 => self.terms.push(Term::Map(Map::new())),
                pairs => return self.open(Kind::Map, pairs * 2, start),
            },
            _ => return self.rare(reader),
        }
        Ok(None)
    }

    /// Takes the numbers that a long list starts with; they are mostly all of it.
    #[inline(never)]
    fn numbers(&mut self, open: Option<Open>, reader: &mut Reader<'_>) -> Result<Option<Open>, DecodeError> {
        let Some(mut open) = open else { return Ok(None) };
        let mut rest = reader.rest();
        // A number takes two bytes at least.
        let ahead = (open.missing - 1).min(rest.len() / 2).min(AT_ONCE);
        let mut terms = Vec::new();
        while open.missing > 1 {
            let (number, behind) = match *rest {
                [tag::SMALL_INTEGER, byte, ref behind @ ..] => (Term::Integer(byte.into()), behind),
                [tag::INTEGER, a, b, c, d, ref behind @ ..] => {
                    (Term::Integer(i32::from_be_bytes([a, b, c, d]).into()), behind)
                }
                [tag::NEW_FLOAT, a, b, c, d, e, f, g, h, ref behind @ ..] if a & 0x7f < 0x7f || b < 0xf0 => {
                    (Term::Float(f64::from_be_bytes([a, b, c, d, e, f, g, h])), behind)
                }
                [tag::SMALL_BIG, 0..=7, ..] => {
                    reader.go_on(rest);
                    match reader.integer()? {
                        Integer::Small(value) => (Term::Integer(value), reader.rest()),
                        Integer::Big { .. } => break,
                    }
                }
                _ => break,
            };
            if terms.capacity() == 0 {
                terms.reserve_exact(ahead);
            }
            terms.push(number);
            open.missing -= 1;
            rest = behind;
        }
        reader.go_on(rest);
        if open.missing == 1 && rest.first() == Some(&tag::NIL) {
            reader.nil()?;
            return self.leaf(Term::List(terms.into()));
        }
        self.terms.extend(terms);
        Ok(Some(open))
    }

    /// As [`head`](Self::head), for the other kinds, and the errors.
    #[inline(never)]
    fn rare(&mut self, reader: &mut Reader<'_>) -> Result<Option<Open>, DecodeError> {
        let start = reader.offset();
        let leaf = match reader.peek_tag()? {
            tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG => match reader.integer()? {
                Integer::Small(value) => Term::Integer(value),
                big => {
                    if let Integer::Big { magnitude, .. } = &big {
                        let (len, most) = (magnitude.len(), self.limits.integer_bytes);
                        self.limits.check("the size of an integer", len, most, "integer_bytes", start)?;
                    }
                    big.to_bigint().into()
                }
            },
            tag::FLOAT => Term::Float(reader.f64()?),
            tag::SMALL_ATOM | tag::ATOM_UTF8 => Term::Atom(reader.atom()?),
            tag::LARGE_TUPLE => match reader.tuple()? {
                0 => Term::Tuple(Vec::new()),
                arity => return self.open(Kind::Tuple, arity, start),
            },
            tag::PID => Term::Pid(reader.pid()?),
            tag::NEW_PORT | tag::V4_PORT | tag::PORT => Term::from(reader.port()?),
            tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => Term::from(reader.reference()?),
            tag::STRING => {
                let bytes = reader.byte_list()?;
                self.items = self.items.saturating_add(bytes.len());
                self.check(start)?;
                Term::List(List::from_bytes(reader.share(bytes)))
            }
            tag::BIT_BINARY => {
                let (bytes, bits) = reader.bitstring()?;
                let bytes = reader.share(bytes);
                match BitString::new(bytes.clone(), bits) {
                    Some(bits) => Term::from(bits),
                    None => Term::Binary(bytes),
                }
            }
            tag::EXPORT => {
                let (module, function, arity) = reader.export()?;
                Term::export(module, function, arity)
            }
            tag::NEW_FUN => {
                let (fun, free) = reader.fun_head()?;
                return self.open(Kind::Fun(Box::new(fun)), free, start);
            }
            tag::RECORD => {
                let record = Box::new(reader.record_head()?);
                let fields = record.fields.len();
                return self.open(Kind::Record(record), fields, start);
            }
            other => return Err(refused(start, other)),
        };
        self.leaf(leaf)
    }

    /// Looks at the tail of a list. A list as the tail continues it: some encoders write one cell at a time.
    fn tail(&mut self, open: &mut Open, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        while open.is_at_tail() {
            let start = reader.offset();
            match reader.peek_tag()? {
                tag::NIL => {
                    reader.nil()?;
                    open.missing = 0;
                }
                tag::LIST => {
                    let more = reader.list()?.unwrap_or_default();
                    self.items = self.items.saturating_add(more + 1);
                    self.check(start)?;
                    open.missing += more;
                }
                _ => open.kind = Kind::Tailed,
            }
        }
        Ok(())
    }

    /// The last parts, from `base` on.
    #[inline]
    fn parts(&mut self, base: usize) -> Vec<Term> {
        if base == 0 && self.terms.len() >= self.terms.capacity() / 2 {
            return std::mem::take(&mut self.terms);
        }
        self.terms.split_off(base)
    }

    /// Makes a term of its parts, and puts it in their place.
    fn close(&mut self, open: Open) -> Result<(), DecodeError> {
        // The first two are made where they stand, and not moved once more.
        match open.kind {
            Kind::Tuple => {
                let parts = self.parts(open.base);
                self.terms.push(Term::Tuple(parts));
            }
            Kind::List => {
                let parts = self.parts(open.base);
                self.terms.push(Term::List(parts.into()));
            }
            _ => {
                let whole = self.whole(open)?;
                self.terms.push(whole);
            }
        }
        Ok(())
    }

    /// A term of its parts.
    fn whole(&mut self, open: Open) -> Result<Term, DecodeError> {
        Ok(match open.kind {
            Kind::Tuple => Term::Tuple(self.parts(open.base)),
            Kind::List => Term::List(self.parts(open.base).into()),
            Kind::Tailed => {
                let tail = self.terms.pop().unwrap_or(Term::NIL);
                Term::list_with_tail(self.parts(open.base), tail)
            }
            Kind::Map => {
                let (parts, _) = self.terms.get_mut(open.base..).unwrap_or_default().as_chunks_mut();
                let take = |part| std::mem::replace(part, Term::Integer(0));
                let pairs = parts.iter_mut().map(|[key, value]| (take(key), take(value))).collect();
                self.terms.truncate(open.base);
                match Map::from_unique(pairs) {
                    Some(map) => Term::Map(map),
                    None => return Err(DecodeError::new(open.start, DecodeErrorKind::Invalid(KEY_TWICE))),
                }
            }
            Kind::Fun(mut fun) => {
                fun.free = self.parts(open.base);
                Term::Fun(Box::new(Fun::Opaque(*fun)))
            }
            Kind::Record(mut record) => {
                record.fields.iter_mut().zip(self.parts(open.base)).for_each(|((_, value), part)| *value = part);
                Term::Record(record)
            }
        })
    }
}

/// For so many parts there is room at first.
const FEW: usize = 16;

/// A list of so many elements may be one of numbers.
const LONG: usize = 8;

/// For so many elements there is room at once, of those that are announced: less than 1 MiB.
const AT_ONCE: usize = 1 << 14;

/// The error for a tag that starts no term in a message.
pub(crate) fn refused(offset: usize, found: u8) -> DecodeError {
    DecodeError::new(
        offset,
        match found {
            tag::COMPRESSED => DecodeErrorKind::TagNotAllowed(found),
            _ => DecodeErrorKind::UnknownTag(found),
        },
    )
}

pub(super) const KEY_TWICE: &str = "a map has a key twice";

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use num_bigint::BigInt;

    use super::*;
    use crate::etf::{Creation, Payload, Pid, Port, Ref, validate};
    use crate::{atom, list};

    fn read(bytes: &[u8]) -> Result<Term, DecodeError> {
        let limits = Limits::default();
        let mut reader = Reader::new(bytes, &[]);
        let term = Term::decode(&mut reader, &limits)?;
        reader.finish()?;
        assert_eq!(validate(bytes, 0, &limits), Ok(bytes.len()));
        Ok(term)
    }

    fn join(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn the_tags_of_c_nodes_and_old_releases_are_read() {
        let node = [115, 3, b'n', b'@', b'h'];
        let latin1 = [100, 0, 2, b'\xe9', b'a'];
        assert_eq!(read(&latin1), Ok(atom!("éa").into()));
        assert_eq!(read(&[115, 1, 0xe9]), read(&[119, 2, 0xc3, 0xa9]));
        let text = format!("{:e}", 1.5);
        let mut float = [0; 32];
        float[0] = 99;
        float[1..=text.len()].copy_from_slice(text.as_bytes());
        assert_eq!(read(&float), Ok(1.5.into()));
        let pid = Pid { node: atom!("n@h"), id: 7, serial: 1, creation: Creation(3) };
        assert_eq!(read(&join(&[&[103], &node, &[0, 0, 0, 7, 0, 0, 0, 1, 3]])), Ok(pid.into()));
        let port = Port { node: atom!("n@h"), id: 7, creation: Creation(2) };
        assert_eq!(read(&join(&[&[102], &node, &[0, 0, 0, 7, 2]])), Ok(port.clone().into()));
        assert_eq!(read(&join(&[&[89], &node, &[0, 0, 0, 7, 0, 0, 0, 2]])), Ok(port.clone().into()));
        assert_eq!(read(&join(&[&[120], &node, &[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2]])), Ok(port.into()));
        let reference = Ref::new(atom!("n@h"), Creation(1), &[9]).unwrap();
        assert_eq!(read(&join(&[&[101], &node, &[0, 0, 0, 9, 1]])), Ok(reference.clone().into()));
        let padded = [1, 0, 0, 0, 9, 0, 0, 0, 0];
        assert_eq!(read(&join(&[&[114, 0, 2], &node, &padded])), Ok(reference.into()));
    }

    #[test]
    fn terms_are_equal_whatever_tags_they_came_in() {
        assert_eq!(read(&[110, 3, 0, 5, 0, 0]), Ok(5.into()));
        assert_eq!(read(&[110, 0, 1]), Ok(0.into()));
        assert_eq!(read(&[111, 0, 0, 0, 1, 9, 5]), Ok((-5).into()));
        assert_eq!(read(&[110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 128]), Ok(i64::MIN.into()));
        assert_eq!(read(&[110, 8, 0, 0, 0, 0, 0, 0, 0, 0, 128]), Ok(Term::from(BigInt::from(1) << 63u32)));
        assert_eq!(read(&[105, 0, 0, 0, 1, 106]), read(&[104, 1, 106]));
        assert_eq!(read(&[107, 0, 0]), Ok(Term::NIL));
        assert_eq!(read(&[108, 0, 0, 0, 0, 97, 5]), Ok(5.into()));
        assert_eq!(read(&[77, 0, 0, 0, 1, 8, 7]), read(&[109, 0, 0, 0, 1, 7]));
        assert_eq!(read(&[77, 0, 0, 0, 1, 3, 0xbf]), read(&[77, 0, 0, 0, 1, 3, 0xa0]));
        // A list in cells and pieces.
        let pieces = [108, 0, 0, 0, 1, 97, 1, 108, 0, 0, 0, 0, 108, 0, 0, 0, 1, 97, 2, 107, 0, 2, 3, 4];
        assert_eq!(read(&pieces), Ok(list![1, 2, 3, 4]));
        let cells = join(&[&[108, 0, 0, 0, 1, 97, 1].repeat(50_000), &[106]]);
        assert_eq!(read(&cells).unwrap().as_list().unwrap().len(), 50_000);
    }

    #[test]
    fn hostile_bytes_end_in_an_error_at_once() {
        let deep_list = [108, 0, 0, 0, 1].repeat(1_000_000);
        let deep_tuple = [104, 1].repeat(1_000_000);
        let greedy = [108, 0, 1, 0, 0].repeat(100_000);
        let bad_name = join(&[&[104, 1, 119, 4], &[0xff; 4]]);
        let not_a_number = [70, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0];
        for bytes in [
            &[108, 255, 255, 255, 255][..],
            &[105, 255, 255, 255, 255],
            &[116, 127, 255, 255, 255],
            &[111, 255, 255, 255, 255, 0],
            &[67, 127, 255, 255, 255, 0],
            &[68],
            &[82, 0],
            &deep_list,
            &deep_tuple,
            &greedy,
            &bad_name,
            &not_a_number,
        ] {
            let start = Instant::now();
            assert!(validate(bytes, 0, &Limits::default()).is_err());
            assert!(read(bytes).is_err());
            assert!(Payload::new(bytes.to_vec().into(), None).decode::<Vec<Term>>().is_err());
            // Microseconds each; a busy machine may stop us for longer.
            assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        }
    }

    #[test]
    fn items_are_counted_before_they_become_a_tree() {
        let few = Limits { items: 1000, ..Limits::default() };
        let many = join(&[&[105, 0, 0, 4, 0], &[106; 1024]]);
        let text = join(&[&[107, 4, 0], &[b'a'; 1024]]);
        for bytes in [many, text] {
            let limit = |kind| matches!(kind, DecodeErrorKind::Limit { setting: "items", .. });
            assert!(limit(validate(&bytes, 0, &few).unwrap_err().kind));
            assert!(limit(Term::decode(&mut Reader::new(&bytes, &[]), &few).unwrap_err().kind));
        }
        let short = Limits { integer_bytes: 100, ..Limits::default() };
        let large = join(&[&[110, 101, 0], &[1; 101]]);
        let limit = |kind| matches!(kind, DecodeErrorKind::Limit { setting: "integer_bytes", .. });
        assert!(limit(validate(&large, 0, &short).unwrap_err().kind));
        assert!(limit(Term::decode(&mut Reader::new(&large, &[]), &short).unwrap_err().kind));
    }
}
