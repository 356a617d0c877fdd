//! A [`Term`] into bytes, without recursion: what is not done lies on a stack of its own.

use std::slice::Iter;

use smallvec::SmallVec;

use super::atom::Atom;
use super::encode::{CHAIN_FROM, Encoder, FunStart};
use super::error::{EncodeError, EncodeErrorKind};
use super::term::{Fun, MAX_FREE, Term};

/// What is still to be written.
enum Work<'t, 'a> {
    Terms(Iter<'t, Term>),
    Pairs(Iter<'t, (Term, Term)>),
    Value(&'t Term),
    Fields(Iter<'t, (Atom, Term)>),
    Nil,
    FunEnd(FunStart<'a>),
}

/// Enough for most terms without an allocation.
type Stack<'t, 'a> = SmallVec<[Work<'t, 'a>; 8]>;

pub(super) fn write<'a>(term: &Term, encoder: &mut Encoder<'a>) -> Result<(), EncodeError> {
    let mut work: Stack<'_, 'a> = SmallVec::new();
    head(term, encoder, &mut work)?;
    while let Some(top) = work.last_mut() {
        let next = match top {
            Work::Terms(terms) => {
                leaves(terms, encoder);
                terms.next()
            }
            Work::Fields(fields) => fields.next().map(|(_, value)| value),
            Work::Pairs(pairs) => loop {
                match pairs.next() {
                    Some((key, value)) if leaf(key, encoder) => {
                        if !leaf(value, encoder) {
                            break Some(value);
                        }
                    }
                    Some((key, value)) => {
                        work.push(Work::Value(value));
                        break Some(key);
                    }
                    None => break None,
                }
            },
            Work::Value(value) => {
                let value = *value;
                work.pop();
                head(value, encoder, &mut work)?;
                continue;
            }
            Work::Nil | Work::FunEnd(_) => None,
        };
        match next {
            Some(term) => head(term, encoder, &mut work)?,
            None => match work.pop() {
                Some(Work::Nil) => encoder.nil(),
                Some(Work::FunEnd(start)) => encoder.fun_end(start),
                _ => {}
            },
        }
    }
    Ok(())
}

/// Writes the terms that come next and are done with one look.
fn leaves(terms: &mut Iter<'_, Term>, encoder: &mut Encoder<'_>) {
    while let Some(term) = terms.as_slice().first()
        && leaf(term, encoder)
    {
        terms.next();
    }
}

/// Writes a term that is done with one look; `false` for all others.
#[inline(always)]
fn leaf(term: &Term, encoder: &mut Encoder<'_>) -> bool {
    match term {
        Term::Integer(value) => encoder.i64(*value),
        Term::Float(value) if value.is_finite() => encoder.f64(*value),
        Term::Atom(atom) => encoder.atom(atom),
        Term::Binary(bytes) if bytes.len() < CHAIN_FROM => encoder.binary(bytes),
        _ => return false,
    }
    true
}

/// Writes a term up to its parts, which go on the stack.
fn head<'t, 'a>(term: &'t Term, encoder: &mut Encoder<'a>, work: &mut Stack<'t, 'a>) -> Result<(), EncodeError> {
    match term {
        Term::Integer(value) => encoder.i64(*value),
        Term::BigInteger(value) => encoder.big(value),
        Term::Float(value) if value.is_finite() => encoder.f64(*value),
        Term::Float(value) => return Err(EncodeErrorKind::NotFinite(*value).into()),
        Term::Atom(atom) => encoder.atom(atom),
        Term::Pid(pid) => encoder.pid(pid),
        Term::Port(port) => encoder.port(port),
        Term::Ref(reference) => encoder.reference(reference),
        Term::Tuple(elements) => {
            encoder.tuple_header(count(elements.len())?);
            work.push(Work::Terms(elements.iter()));
        }
        Term::List(elements) if elements.is_empty() => encoder.nil(),
        Term::List(list) => {
            let len = count(list.len())?;
            match list.as_bytes() {
                Some(bytes) => encoder.byte_list(bytes),
                None => match bytes(list) {
                    Some(bytes) => encoder.byte_list(&bytes),
                    None => {
                        encoder.list_header(len);
                        work.push(Work::Nil);
                        work.push(Work::Terms(list.iter()));
                    }
                },
            }
        }
        Term::ImproperList(elements, tail) => {
            if !elements.is_empty() {
                encoder.list_header(count(elements.len())?);
            }
            work.push(Work::Value(tail));
            work.push(Work::Terms(elements.iter()));
        }
        Term::Map(map) => {
            encoder.map_header(count(map.len())?);
            work.push(Work::Pairs(map.iter()));
        }
        Term::Binary(bytes) => {
            count(bytes.len())?;
            encoder.bytes(bytes);
        }
        Term::BitString(bits) => {
            count(bits.bytes().len())?;
            encoder.bitstring(bits.bytes(), bits.bits());
        }
        Term::Fun(fun) => match &**fun {
            Fun::Export { module, function, arity } => encoder.export(module, function, *arity),
            Fun::Opaque(fun) if fun.free.len() > MAX_FREE => {
                return Err(EncodeErrorKind::TooMany { count: fun.free.len(), most: MAX_FREE }.into());
            }
            Fun::Opaque(fun) => {
                work.push(Work::FunEnd(encoder.fun_head(fun, fun.free.len() as u32)));
                work.push(Work::Terms(fun.free.iter()));
            }
        },
        Term::Record(record) => {
            encoder.record_header(count(record.fields.len())?, record.flags);
            encoder.atom(&record.module);
            encoder.atom(&record.name);
            record.fields.iter().for_each(|(name, _)| encoder.atom(name));
            work.push(Work::Fields(record.fields.iter()));
        }
    }
    Ok(())
}

/// The elements of a list that a BEAM writes in the compact form: 1 to 65535 bytes.
fn bytes(elements: &[Term]) -> Option<SmallVec<[u8; 64]>> {
    let byte = |term: &Term| match term {
        Term::Integer(value) => u8::try_from(*value).ok(),
        _ => None,
    };
    // The first that is none spares most lists the attempt.
    if elements.len() > usize::from(u16::MAX) || !elements.iter().all(|element| byte(element).is_some()) {
        return None;
    }
    elements.iter().map(byte).collect()
}

fn count(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len).map_err(|_| EncodeErrorKind::TooMany { count: len, most: u32::MAX as usize }.into())
}
