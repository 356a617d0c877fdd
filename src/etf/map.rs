//! The pairs of an Erlang map.

use std::cmp::Ordering;

use super::term::Term;

/// An Erlang map: keys are compared exactly (1 and 1.0 are two keys), none is there twice.
///
/// The pairs are kept in Erlang's order of map keys, so a lookup is a binary search.
#[derive(Clone, Default)]
pub struct Map {
    pairs: Vec<(Term, Term)>,
}

impl Map {
    /// The empty map.
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True without any pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &Term) -> Option<&Term> {
        let index = self.find(key).ok()?;
        self.pairs.get(index).map(|(_, value)| value)
    }

    /// The value of the key that is the atom with this text.
    pub fn get_atom(&self, text: &str) -> Option<&Term> {
        let order = |(key, _): &(Term, Term)| match key {
            Term::Atom(atom) => atom.as_str().cmp(text),
            Term::Integer(_) | Term::BigInteger(_) | Term::Float(_) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let index = self.pairs.binary_search_by(order).ok()?;
        self.pairs.get(index).map(|(_, value)| value)
    }

    /// Puts a value under a key and gives back the value that was there.
    pub fn insert(&mut self, key: Term, value: Term) -> Option<Term> {
        match self.find(&key) {
            Ok(index) => self.pairs.get_mut(index).map(|(_, old)| std::mem::replace(old, value)),
            Err(index) => {
                self.pairs.insert(index, (key, value));
                None
            }
        }
    }

    /// Takes a key out and gives back its value.
    pub fn remove(&mut self, key: &Term) -> Option<Term> {
        let index = self.find(key).ok()?;
        Some(self.pairs.remove(index).1)
    }

    /// The pairs, in Erlang's order of map keys.
    pub fn iter(&self) -> std::slice::Iter<'_, (Term, Term)> {
        self.pairs.iter()
    }

    fn find(&self, key: &Term) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(known, _)| known.cmp_exact(key))
    }

    /// All pairs at once; `None` when a key comes twice.
    pub(crate) fn from_unique(mut pairs: Vec<(Term, Term)>) -> Option<Self> {
        // Small maps come in this order.
        if pairs.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a.cmp_exact(b).is_lt())) {
            return Some(Self { pairs });
        }
        pairs.sort_unstable_by(|(a, _), (b, _)| a.cmp_exact(b));
        let twice = pairs.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a.cmp_exact(b).is_eq()));
        (!twice).then_some(Self { pairs })
    }
}

impl FromIterator<(Term, Term)> for Map {
    /// Of two pairs with the same key the later one counts.
    fn from_iter<I: IntoIterator<Item = (Term, Term)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        // The later of two comes first, so that it is the one that stays.
        pairs.reverse();
        pairs.sort_by(|(a, _), (b, _)| a.cmp_exact(b));
        pairs.dedup_by(|(later, _), (first, _)| later.cmp_exact(first).is_eq());
        Self { pairs }
    }
}

impl IntoIterator for Map {
    type Item = (Term, Term);
    type IntoIter = std::vec::IntoIter<(Term, Term)>;

    fn into_iter(self) -> Self::IntoIter {
        self.pairs.into_iter()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a (Term, Term);
    type IntoIter = std::slice::Iter<'a, (Term, Term)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;

    #[test]
    fn integers_and_floats_are_different_keys_and_the_later_pair_counts() {
        let map: Map =
            [(1.into(), "int".into()), (1.0.into(), "float".into()), (1.into(), "again".into())].into_iter().collect();
        assert_eq!(map.len(), 2);
        assert_eq!(map.get(&1.into()), Some(&Term::from("again")));
        assert_eq!(map.get(&1.0.into()), Some(&Term::from("float")));
        assert_eq!(map.get(&2.into()), None);
    }

    #[test]
    fn atoms_are_found_by_their_text_among_other_keys() {
        let mut map: Map =
            [(Term::tuple([]), 1.into()), (7.into(), 2.into()), (2.5.into(), 3.into())].into_iter().collect();
        assert_eq!(map.insert(atom!("b").into(), 4.into()), None);
        assert_eq!(map.insert(atom!("a").into(), 5.into()), None);
        assert_eq!(map.insert(atom!("b").into(), 6.into()), Some(4.into()));
        assert_eq!(map.get_atom("b"), Some(&Term::from(6)));
        assert_eq!(map.get_atom("c"), None);
        assert_eq!(map.remove(&atom!("b").into()), Some(6.into()));
        assert_eq!(map.get_atom("b"), None);
    }
}
