//! The elements of a proper list.

use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::OnceLock;

use bytes::Bytes;

use super::term::Term;

/// The elements of a proper list: a slice of terms, or bytes of which nobody has wanted to see the terms yet.
///
/// A list of integers from 0 to 255, such as Erlang's strings, comes as so many bytes. They stay what they came as, in the
/// memory of the message, until somebody looks at an element, which makes a [`Term`] of each: 40 times as much. Which of the
/// two it is makes no difference to `==`, to order or hash, or on the wire; [`as_bytes`](Self::as_bytes) tells.
#[derive(Clone)]
pub struct List(Form);

enum Form {
    Terms(Vec<Term>),
    /// A trait object, lest terms count as keys of a map that change (clippy's `mutable_key_type`): what is made late
    /// changes nothing that anybody sees.
    Bytes(Box<dyn Lazy>),
}

trait Lazy: Send + Sync + UnwindSafe + RefUnwindSafe {
    fn bytes(&self) -> &Bytes;
    fn terms(&self) -> &[Term];
    fn into_terms(self: Box<Self>) -> Vec<Term>;
}

struct Compact {
    bytes: Bytes,
    /// Once they were looked at.
    terms: OnceLock<Box<[Term]>>,
}

impl Lazy for Compact {
    fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn terms(&self) -> &[Term] {
        self.terms.get_or_init(|| terms(&self.bytes))
    }

    fn into_terms(mut self: Box<Self>) -> Vec<Term> {
        self.terms.take().unwrap_or_else(|| terms(&self.bytes)).into_vec()
    }
}

impl Clone for Form {
    fn clone(&self) -> Self {
        match self {
            Self::Terms(terms) => Self::Terms(terms.clone()),
            Self::Bytes(lazy) => Self::Bytes(Box::new(Compact { bytes: lazy.bytes().clone(), terms: OnceLock::new() })),
        }
    }
}

impl List {
    /// The empty list.
    pub const fn new() -> Self {
        Self(Form::Terms(Vec::new()))
    }

    /// The list of the integers that these bytes are.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        match bytes.into() {
            bytes if bytes.is_empty() => Self::new(),
            bytes => Self(Form::Bytes(Box::new(Compact { bytes, terms: OnceLock::new() }))),
        }
    }

    /// The bytes, if that is what the list was made of. One that was made of terms has none, whatever these are.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Form::Bytes(lazy) => Some(lazy.bytes()),
            Form::Terms(_) => None,
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[Term] {
        match &self.0 {
            Form::Terms(terms) => terms,
            Form::Bytes(lazy) => lazy.terms(),
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Terms(terms) => terms.len(),
            Form::Bytes(lazy) => lazy.bytes().len(),
        }
    }

    /// True without any element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, as they are or made of the bytes.
    pub fn into_vec(self) -> Vec<Term> {
        match self.0 {
            Form::Terms(terms) => terms,
            Form::Bytes(lazy) => lazy.into_terms(),
        }
    }
}

fn terms(bytes: &[u8]) -> Box<[Term]> {
    bytes.iter().map(|&byte| Term::Integer(byte.into())).collect()
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for List {
    type Target = [Term];

    fn deref(&self) -> &[Term] {
        self.as_slice()
    }
}

impl From<Vec<Term>> for List {
    fn from(terms: Vec<Term>) -> Self {
        Self(Form::Terms(terms))
    }
}

impl From<List> for Vec<Term> {
    fn from(list: List) -> Self {
        list.into_vec()
    }
}

impl FromIterator<Term> for List {
    fn from_iter<I: IntoIterator<Item = Term>>(terms: I) -> Self {
        Vec::from_iter(terms).into()
    }
}

impl IntoIterator for List {
    type Item = Term;
    type IntoIter = std::vec::IntoIter<Term>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a Term;
    type IntoIter = std::slice::Iter<'a, Term>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        match (self.as_bytes(), other.as_bytes()) {
            (Some(bytes), Some(other)) => bytes == other,
            _ => self.len() == other.len() && self.as_slice() == other.as_slice(),
        }
    }
}

impl Eq for List {}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_bytes_or_of_terms_it_is_the_same_list() {
        let compact = List::from_bytes(&b"abc"[..]);
        let long: List = b"abc".iter().map(|&byte| Term::from(byte)).collect();
        assert_eq!((compact.as_bytes().map(|bytes| &bytes[..]), long.as_bytes()), (Some(&b"abc"[..]), None));
        assert_eq!((compact.len(), &compact, &compact.clone()), (3, &long, &long));
        assert_eq!(compact[1], Term::from(b'b'));
        assert_eq!((compact.clone().into_vec(), compact.into_vec()), (long.clone().into_vec(), long.into_vec()));
        assert!(List::from_bytes(Bytes::new()).as_bytes().is_none());
        assert_ne!(List::from_bytes(&b"a"[..]), List::from_bytes(&b"b"[..]));
    }

    #[test]
    fn order_hash_and_wire_do_not_tell_the_two_apart() {
        let hash = |term: &Term| {
            std::hash::BuildHasher::hash_one(
                &std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default(),
                term,
            )
        };
        let texts: [&[u8]; 6] = [b"", b"a", b"ab", b"b", b"\xff", b"abc"];
        let both =
            texts.map(|text| [Term::List(List::from_bytes(text)), Term::list(text.iter().map(|&byte| byte.into()))]);
        for [compact, long] in &both {
            assert_eq!((compact, hash(compact)), (long, hash(long)));
            assert_eq!(compact.to_binary().unwrap(), long.to_binary().unwrap());
            assert_eq!((compact.to_string(), compact.to_text()), (long.to_string(), long.to_text()));
            for [other, other_long] in &both {
                let orders = [compact.cmp(other), compact.cmp(other_long), long.cmp(other), long.cmp(other_long)];
                assert_eq!(orders, [long.cmp(other_long); 4], "{compact} and {other}");
            }
        }
        let huge = List::from_bytes(vec![7; 70_000]);
        let long: Term = huge.to_vec().into();
        assert_eq!(Term::List(huge).to_binary().unwrap(), long.to_binary().unwrap());
    }
}
