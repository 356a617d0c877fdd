//! [`Term`] from and into `eetf::Term` of the eetf crate (0.11), for programs that use it already.
//!
//! What the other side cannot hold is an error, never another value: eetf has no native records and
//! keeps old funs, which no release from OTP 23 on takes.

use std::collections::HashMap;

use eetf::{BitBinary, ExternalFun, FixInteger, ImproperList, InternalFun, List, Reference, Tuple};
use num_bigint::{BigInt, Sign};

use super::atom::{Atom, AtomTooLong};
use super::ids::{Creation, Pid, Port, Ref};
use super::map::Map;
use super::term::{BitString, Fun, OpaqueFun, Term};

/// A term that only one side can hold.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompatError {
    /// eetf does not bound the length of atoms.
    #[error(transparent)]
    Atom(#[from] AtomTooLong),
    /// eetf lets a float be infinite or not a number.
    #[error("{0} is no float of Erlang's")]
    NotFinite(f64),
    /// eetf lets a reference have any number of words.
    #[error("a reference has one to five words, not {0}")]
    ReferenceWords(usize),
    /// eetf lets the last byte of a bitstring have any number of bits.
    #[error("the last byte of a bitstring has up to 8 bits, not {0}")]
    Bits(u8),
    /// The old form of funs, which no supported release takes.
    #[error("a fun in the old form cannot be sent to any supported release")]
    OldFun,
    /// Native records came with OTP 29.
    #[error("eetf has no native records")]
    Record,
    /// Numbers of a fun that eetf keeps in 32 bits.
    #[error("eetf keeps the old numbers of a fun in 32 bits")]
    FunNumbers,
}

impl TryFrom<&eetf::Term> for Term {
    type Error = CompatError;

    fn try_from(term: &eetf::Term) -> Result<Self, CompatError> {
        // What recurses is apart from what does not, so that a level takes little of the stack.
        match term {
            eetf::Term::List(list) => all_from(&list.elements).map(Term::from),
            eetf::Term::Tuple(tuple) => all_from(&tuple.elements).map(Term::Tuple),
            eetf::Term::ImproperList(list) => improper_from(list),
            eetf::Term::Map(map) => map_from(map),
            eetf::Term::InternalFun(fun) => fun_from(fun),
            leaf => leaf_from(leaf),
        }
    }
}

fn leaf_from(term: &eetf::Term) -> Result<Term, CompatError> {
    Ok(match term {
        eetf::Term::Atom(atom) => atom_from(atom)?.into(),
        eetf::Term::FixInteger(value) => value.value.into(),
        // Another version of num-bigint: through its bytes.
        eetf::Term::BigInteger(value) => BigInt::from_signed_bytes_le(&value.value.to_signed_bytes_le()).into(),
        eetf::Term::Float(value) if value.value.is_finite() => value.value.into(),
        eetf::Term::Float(value) => return Err(CompatError::NotFinite(value.value)),
        eetf::Term::Pid(pid) => pid_from(pid)?.into(),
        eetf::Term::Port(port) => {
            Port { node: atom_from(&port.node)?, id: port.id, creation: Creation(port.creation) }.into()
        }
        eetf::Term::Reference(reference) => {
            let (node, creation) = (atom_from(&reference.node)?, Creation(reference.creation));
            let words = reference.id.len();
            Ref::new(node, creation, &reference.id).ok_or(CompatError::ReferenceWords(words))?.into()
        }
        eetf::Term::ExternalFun(fun) => Term::export(atom_from(&fun.module)?, atom_from(&fun.function)?, fun.arity),
        eetf::Term::Binary(binary) => binary.bytes.clone().into(),
        eetf::Term::BitBinary(bits) => bits_from(bits)?,
        eetf::Term::ByteList(list) => Term::List(super::List::from_bytes(list.bytes.clone())),
        nested => return Term::try_from(nested),
    })
}

impl TryFrom<eetf::Term> for Term {
    type Error = CompatError;

    fn try_from(term: eetf::Term) -> Result<Self, CompatError> {
        Self::try_from(&term)
    }
}

fn all_from(terms: &[eetf::Term]) -> Result<Vec<Term>, CompatError> {
    let mut all = Vec::with_capacity(terms.len());
    for term in terms {
        all.push(Term::try_from(term)?);
    }
    Ok(all)
}

fn improper_from(list: &ImproperList) -> Result<Term, CompatError> {
    Ok(Term::list_with_tail(all_from(&list.elements)?, Term::try_from(&*list.last)?))
}

fn map_from(map: &eetf::Map) -> Result<Term, CompatError> {
    let mut pairs = Vec::with_capacity(map.map.len());
    for (key, value) in &map.map {
        pairs.push((Term::try_from(key)?, Term::try_from(value)?));
    }
    Ok(Term::map(pairs))
}

fn atom_from(atom: &eetf::Atom) -> Result<Atom, CompatError> {
    Ok(Atom::new(&atom.name)?)
}

fn pid_from(pid: &eetf::Pid) -> Result<Pid, CompatError> {
    Ok(Pid { node: atom_from(&pid.node)?, id: pid.id, serial: pid.serial, creation: Creation(pid.creation) })
}

fn bits_from(bits: &BitBinary) -> Result<Term, CompatError> {
    match (bits.tail_bits_size, bits.bytes.split_last()) {
        (8, _) | (_, None) => Ok(bits.bytes.clone().into()),
        (0, Some((_, whole))) => Ok(whole.into()),
        (size, _) => BitString::new(bits.bytes.clone().into(), size).map(Term::from).ok_or(CompatError::Bits(size)),
    }
}

fn fun_from(fun: &InternalFun) -> Result<Term, CompatError> {
    let InternalFun::New { module, arity, pid, free_vars, index, uniq, old_index, old_uniq } = fun else {
        return Err(CompatError::OldFun);
    };
    let (old_index, old_uniq) = (i64::from(*old_index), i64::from(*old_uniq));
    let (module, pid, free) = (atom_from(module)?, pid_from(pid)?, all_from(free_vars)?);
    Ok(Fun::Opaque(OpaqueFun { arity: *arity, uniq: *uniq, index: *index, module, old_index, old_uniq, pid, free })
        .into())
}

impl TryFrom<&Term> for eetf::Term {
    type Error = CompatError;

    fn try_from(term: &Term) -> Result<Self, CompatError> {
        match term {
            Term::Tuple(elements) => all_into(elements).map(|elements| Tuple::from(elements).into()),
            Term::List(elements) => all_into(elements).map(|elements| List::from(elements).into()),
            Term::ImproperList(elements, tail) => improper_into(elements, tail),
            Term::Map(map) => map_into(map),
            Term::Fun(fun) => fun_into(fun),
            leaf => leaf_into(leaf),
        }
    }
}

fn leaf_into(term: &Term) -> Result<eetf::Term, CompatError> {
    Ok(match term {
        Term::Integer(value) => match i32::try_from(*value) {
            Ok(value) => FixInteger::from(value).into(),
            Err(_) => eetf::BigInteger::from(*value).into(),
        },
        Term::BigInteger(value) => big_into(value).into(),
        Term::Float(value) if value.is_finite() => eetf::Float { value: *value }.into(),
        Term::Float(value) => return Err(CompatError::NotFinite(*value)),
        Term::Atom(atom) => atom_into(atom).into(),
        Term::Pid(pid) => pid_into(pid).into(),
        Term::Port(port) => eetf::Port { node: atom_into(&port.node), id: port.id, creation: port.creation.0 }.into(),
        Term::Ref(reference) => {
            let (node, creation) = (atom_into(&reference.node), reference.creation.0);
            Reference { node, id: reference.words().to_vec(), creation }.into()
        }
        Term::Binary(bytes) => eetf::Binary::from(&bytes[..]).into(),
        Term::BitString(bits) => BitBinary::from((bits.bytes().to_vec(), bits.bits())).into(),
        Term::Record(_) => return Err(CompatError::Record),
        nested => return eetf::Term::try_from(nested),
    })
}

impl TryFrom<Term> for eetf::Term {
    type Error = CompatError;

    fn try_from(term: Term) -> Result<Self, CompatError> {
        Self::try_from(&term)
    }
}

fn all_into(terms: &[Term]) -> Result<Vec<eetf::Term>, CompatError> {
    let mut all = Vec::with_capacity(terms.len());
    for term in terms {
        all.push(eetf::Term::try_from(term)?);
    }
    Ok(all)
}

fn improper_into(elements: &[Term], tail: &Term) -> Result<eetf::Term, CompatError> {
    Ok(ImproperList::from((all_into(elements)?, eetf::Term::try_from(tail)?)).into())
}

fn map_into(map: &Map) -> Result<eetf::Term, CompatError> {
    let mut pairs = HashMap::with_capacity(map.len());
    for (key, value) in map {
        pairs.insert(eetf::Term::try_from(key)?, eetf::Term::try_from(value)?);
    }
    Ok(eetf::Map { map: pairs }.into())
}

/// Digit by digit, as the number type of eetf has no name here.
fn big_into(value: &BigInt) -> eetf::BigInteger {
    let mut big = eetf::BigInteger::from(0);
    for digit in value.iter_u64_digits().rev() {
        big.value = (big.value << 64u32) + digit;
    }
    if value.sign() == Sign::Minus {
        big.value = -big.value;
    }
    big
}

fn atom_into(atom: &Atom) -> eetf::Atom {
    atom.as_str().into()
}

fn pid_into(pid: &Pid) -> eetf::Pid {
    eetf::Pid::new(atom_into(&pid.node), pid.id, pid.serial, pid.creation.0)
}

fn fun_into(fun: &Fun) -> Result<eetf::Term, CompatError> {
    Ok(match fun {
        Fun::Export { module, function, arity } => {
            ExternalFun { module: atom_into(module), function: atom_into(function), arity: *arity }.into()
        }
        Fun::Opaque(fun) => {
            let number = |number| i32::try_from(number).map_err(|_| CompatError::FunNumbers);
            let (old_index, old_uniq) = (number(fun.old_index)?, number(fun.old_uniq)?);
            let (module, pid, free_vars) = (atom_into(&fun.module), pid_into(&fun.pid), all_into(&fun.free)?);
            let (arity, index, uniq) = (fun.arity, fun.index, fun.uniq);
            InternalFun::New { module, arity, pid, free_vars, index, uniq, old_index, old_uniq }.into()
        }
    })
}

impl From<Pid> for eetf::Pid {
    fn from(pid: Pid) -> Self {
        pid_into(&pid)
    }
}

impl TryFrom<eetf::Pid> for Pid {
    type Error = CompatError;

    fn try_from(pid: eetf::Pid) -> Result<Self, CompatError> {
        pid_from(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_go_there_and_come_back() {
        for text in [
            "[1,-1,4294967296,-9223372036854775808,1.5,a,'B c',<<1,2>>,<<1,5:3>>,{},[],#{}]",
            "{[a|b],#{1 => x,1.0 => y},fun lists:map/2,\"text\",170141183460469231731687303715884105728}",
        ] {
            let term: Term = text.parse().unwrap();
            let there = eetf::Term::try_from(&term).unwrap();
            assert_eq!(Term::try_from(there).unwrap(), term);
        }
    }

    #[test]
    fn what_the_other_cannot_hold_is_an_error() {
        let long = eetf::Term::from(eetf::Atom::from("a".repeat(256)));
        assert_eq!(Term::try_from(long), Err(CompatError::Atom(AtomTooLong { characters: 256 })));
        let wordless = eetf::Term::from(Reference::from(("n@h", Vec::new())));
        assert_eq!(Term::try_from(wordless), Err(CompatError::ReferenceWords(0)));
        let infinite = eetf::Term::from(eetf::Float { value: f64::INFINITY });
        assert_eq!(Term::try_from(infinite), Err(CompatError::NotFinite(f64::INFINITY)));
    }
}
