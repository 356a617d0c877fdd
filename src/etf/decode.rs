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
