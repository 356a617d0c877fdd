//! The elements of a proper list.

use std::fmt;
use std::ops::Deref;
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

#[derive(Clone)]
enum Form {
    Terms(Vec<Term>),
    Bytes(Box<Compact>),
}

struct Compact {
    bytes: Bytes,
    /// What has been looked at.
    terms: OnceLock<Box<[Term]>>,
}

impl Clone for Compact {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), terms: OnceLock::new() }
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
            Form::Bytes(compact) => Some(&compact.bytes),
            Form::Terms(_) => None,
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[Term] {
        match &self.0 {
            Form::Terms(terms) => terms,
            Form::Bytes(compact) => compact.terms.get_or_init(|| terms(&compact.bytes)),
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Terms(terms) => terms.len(),
            Form::Bytes(compact) => compact.bytes.len(),
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
            Form::Bytes(mut compact) => compact.terms.take().unwrap_or_else(|| terms(&compact.bytes)).into_vec(),
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
}
