//! Bytes into a [`Term`], without recursion: what is open lies on a stack of its own.

use super::error::{DecodeError, DecodeErrorKind};
use super::limits::Limits;
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
        let mut open: Vec<Open> = Vec::new();
        let mut items = 0;
        'next: loop {
            let start = reader.offset();
            items += 1;
            let mut term = match open.last_mut() {
                // A list as the tail of a list continues it: some encoders write one cell at a time.
                Some(list) if list.is_at_tail() && reader.peek_tag()? == tag::LIST => {
                    list.missing += reader.list()?.unwrap_or_default();
                    continue;
                }
                _ => match head(reader, limits)? {
                    Head::Leaf(term) => term,
                    Head::Bytes(bytes) => {
                        items += bytes.len();
                        Term::List(bytes.iter().map(|&byte| Term::Integer(byte.into())).collect())
                    }
                    Head::Open(kind, missing) => {
                        limits.check(
                            "the depth of the tree",
                            open.len() + 1,
                            limits.tree_depth,
                            "tree_depth",
                            start,
                        )?;
                        open.push(Open { start, kind, missing, terms: Vec::with_capacity(missing.min(AHEAD)) });
                        continue;
                    }
                },
            };
            limits.check("the number of items", items, limits.items, "items", start)?;
            loop {
                let Some(parent) = open.last_mut() else { return Ok(term) };
                parent.terms.push(term);
                parent.missing -= 1;
                if parent.missing > 0 {
                    continue 'next;
                }
                let Some(whole) = open.pop() else { continue 'next };
                term = whole.close()?;
            }
        }
    }
}

/// A term whose parts are still coming.
struct Open {
    start: usize,
    kind: Kind,
    /// How many parts have not come yet; never zero.
    missing: usize,
    terms: Vec<Term>,
}

enum Kind {
    Tuple,
    /// The tail counts as the last part.
    List,
    Map,
    Fun(Box<OpaqueFun>),
    Record(Box<Record>),
}

enum Head<'a> {
    Leaf(Term),
    Bytes(&'a [u8]),
    Open(Kind, usize),
}

impl Open {
    fn is_at_tail(&self) -> bool {
        self.missing == 1 && matches!(self.kind, Kind::List)
    }

    fn close(self) -> Result<Term, DecodeError> {
        let Self { start, kind, mut terms, .. } = self;
        Ok(match kind {
            Kind::Tuple => Term::Tuple(terms),
            Kind::List => {
                let tail = terms.pop().unwrap_or(Term::NIL);
                Term::list_with_tail(terms, tail)
            }
            Kind::Map => {
                let mut pairs = Vec::with_capacity(terms.len() / 2);
                let mut terms = terms.into_iter();
                while let (Some(key), Some(value)) = (terms.next(), terms.next()) {
                    pairs.push((key, value));
                }
                match Map::from_unique(pairs) {
                    Some(map) => Term::Map(map),
                    None => return Err(DecodeError::new(start, DecodeErrorKind::Invalid(KEY_TWICE))),
                }
            }
            Kind::Fun(mut fun) => {
                fun.free = terms;
                Term::Fun(Box::new(Fun::Opaque(*fun)))
            }
            Kind::Record(mut record) => {
                record.fields.iter_mut().zip(terms).for_each(|((_, value), term)| *value = term);
                Term::Record(record)
            }
        })
    }
}

fn head<'a>(reader: &mut Reader<'a>, limits: &Limits) -> Result<Head<'a>, DecodeError> {
    let start = reader.offset();
    let open = |kind, missing, empty: Term| match missing {
        0 => Head::Leaf(empty),
        missing => Head::Open(kind, missing),
    };
    Ok(Head::Leaf(match reader.peek_tag()? {
        tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG => match reader.integer()? {
            Integer::Small(value) => Term::Integer(value),
            Integer::Big { magnitude, .. } if magnitude.len() > limits.integer_bytes => {
                let (len, most) = (magnitude.len(), limits.integer_bytes);
                limits.check("the size of an integer", len, most, "integer_bytes", start)?;
                Term::NIL
            }
            big => big.to_bigint().into(),
        },
        tag::NEW_FLOAT | tag::FLOAT => Term::Float(reader.f64()?),
        tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => {
            Term::Atom(reader.atom()?)
        }
        tag::NEW_PID | tag::PID => Term::Pid(reader.pid()?),
        tag::NEW_PORT | tag::V4_PORT | tag::PORT => Term::Port(reader.port()?),
        tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => Term::Ref(reader.reference()?),
        tag::SMALL_TUPLE | tag::LARGE_TUPLE => return Ok(open(Kind::Tuple, reader.tuple()?, Term::Tuple(Vec::new()))),
        tag::STRING => return Ok(Head::Bytes(reader.byte_list()?)),
        tag::NIL | tag::LIST => match reader.list()? {
            Some(len) => return Ok(Head::Open(Kind::List, len + 1)),
            None => Term::NIL,
        },
        tag::MAP => return Ok(open(Kind::Map, reader.map()? * 2, Term::Map(Map::new()))),
        tag::BINARY => Term::Binary(reader.bytes()?),
        tag::BIT_BINARY => {
            let (bytes, bits) = reader.bitstring()?;
            let bytes = reader.share(bytes);
            match BitString::new(bytes.clone(), bits) {
                Some(bits) => Term::BitString(bits),
                None => Term::Binary(bytes),
            }
        }
        tag::EXPORT => {
            let (module, function, arity) = reader.export()?;
            Term::export(module, function, arity)
        }
        tag::NEW_FUN => {
            let (fun, free) = reader.fun_head()?;
            let empty = if free == 0 { Term::Fun(Box::new(Fun::Opaque(fun.clone()))) } else { Term::NIL };
            return Ok(open(Kind::Fun(Box::new(fun)), free, empty));
        }
        tag::RECORD => {
            let record = Box::new(reader.record_head()?);
            let fields = record.fields.len();
            let empty = if fields == 0 { Term::Record(record.clone()) } else { Term::NIL };
            return Ok(open(Kind::Record(record), fields, empty));
        }
        other => return Err(refused(start, other)),
    }))
}

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

/// For so many elements there is room at once. An announced number alone does not get memory.
const AHEAD: usize = 64;

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
