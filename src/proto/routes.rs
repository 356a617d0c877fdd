//! Control terms that came lately: between two processes the same bytes come again and again.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::etf::Atom;

use super::control::{ParsedSent, Recipient, parse_sent};

/// Whom a message is for and who sent it, as its control term says.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) from: Option<(u32, u32)>,
    pub(super) to: Arc<Recipient>,
    /// How many bytes the control term has.
    pub(super) len: usize,
}

/// What control terms meant, by their bytes and the atoms that they refer to.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: Vec<Option<Box<Known>>>,
    /// Where the last of them is: one message is mostly like the one before it.
    last: usize,
    hasher: RandomState,
}

#[derive(Debug, Clone)]
struct Known {
    term: SmallVec<[u8; 80]>,
    atoms: Option<Arc<[Atom]>>,
    route: Route,
}

impl Routes {
    /// The route of a message in the usual forms, as [`parse_sent`] has them.
    pub(super) fn find(&mut self, terms: &[u8], atoms: Option<&Arc<[Atom]>>) -> Option<Route> {
        if let Some(known) = self.known_at(self.last, terms, atoms) {
            return Some(known.route.clone());
        }
        // Long enough to hold the sender, and the number of a receiving process.
        let place = terms.first_chunk::<KEY>().map(|key| self.hasher.hash_one(key) as usize % PLACES);
        if let Some(place) = place {
            self.last = place;
            if let Some(known) = self.known_at(place, terms, atoms) {
                return Some(known.route.clone());
            }
        }
        let ParsedSent { from, to, len } = parse_sent(terms, atoms.map_or(&[], |atoms| atoms))?;
        // An alias is good for few messages, often for one.
        let is_lasting = !matches!(to, Recipient::Alias(_));
        let route = Route { from, to: Arc::new(to), len };
        if let Some(place) = place.filter(|_| is_lasting)
            && let Some(term) = terms.get(..len)
        {
            if self.known.is_empty() {
                self.known.resize(PLACES, None);
            }
            if let Some(slot) = self.known.get_mut(place) {
                let known = Known { term: term.into(), atoms: atoms.cloned(), route: route.clone() };
                *slot = Some(Box::new(known));
            }
        }
        Some(route)
    }

    #[inline]
    fn known_at(&self, place: usize, terms: &[u8], atoms: Option<&Arc<[Atom]>>) -> Option<&Known> {
        let known = self.known.get(place)?.as_ref()?;
        (terms.starts_with(&known.term) && is_same(known.atoms.as_ref(), atoms)).then_some(known)
    }
}

/// The cache of atoms gives the same list for the same header, so this is nearly always decided by the first look.
fn is_same(known: Option<&Arc<[Atom]>>, atoms: Option<&Arc<[Atom]>>) -> bool {
    match (known, atoms) {
        (Some(known), Some(atoms)) => Arc::ptr_eq(known, atoms),
        (None, None) => true,
        _ => false,
    }
}

/// How many bytes of a term decide where it is kept.
const KEY: usize = 32;

/// How many terms are kept: about as many pairs of sender and receiver as talk at a time.
const PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::atom;
    use crate::etf::{AtomRefs, Creation, Encoder, Pid};
    use crate::proto::{Address, Flags, control::encode_send};

    fn pid(node: Atom, id: u32) -> Pid {
        Pid { node, id, serial: 0, creation: Creation(7) }
    }

    fn term(from: &Pid, to: Address<'_>) -> (Vec<u8>, Arc<[Atom]>) {
        let (mut bytes, mut atoms) = (BytesMut::new(), AtomRefs::default());
        encode_send(from, to, Flags::OFFERED, &mut Encoder::with_atoms(&mut bytes, &mut atoms));
        bytes.extend_from_slice(&[0; KEY]);
        (bytes.to_vec(), atoms.as_slice().into())
    }

    #[test]
    fn the_same_bytes_mean_the_same_only_with_the_same_atoms() {
        let mut routes = Routes::default();
        let (from, to) = (pid(atom!("a@h"), 1), pid(atom!("b@h"), 2));
        let (bytes, atoms) = term(&from, Address::Pid(&to));
        let first = routes.find(&bytes, Some(&atoms)).unwrap();
        assert_eq!((first.from, &*first.to), (Some((1, 0)), &Recipient::Pid(to)));
        let again = routes.find(&bytes, Some(&atoms)).unwrap();
        assert!(Arc::ptr_eq(&first.to, &again.to));
        assert_eq!(first.len + KEY, bytes.len());
        let (other, others) = term(&pid(atom!("c@h"), 1), Address::Pid(&pid(atom!("d@h"), 2)));
        assert_eq!(bytes, other, "only the atoms differ");
        let route = routes.find(&other, Some(&others)).unwrap();
        assert_eq!(*route.to, Recipient::Pid(pid(atom!("d@h"), 2)));
    }

    #[test]
    fn many_more_than_are_kept_come_through() {
        let mut routes = Routes::default();
        let from = pid(atom!("a@h"), 1);
        for round in 0..2 {
            for id in 0..500 {
                let to = pid(atom!("b@h"), id);
                let (bytes, atoms) = term(&from, Address::Pid(&to));
                assert_eq!(*routes.find(&bytes, Some(&atoms)).unwrap().to, Recipient::Pid(to), "{round}");
            }
        }
        let (bytes, atoms) = term(&from, Address::Name(&atom!("rex")));
        let Recipient::Name(name) = &*routes.find(&bytes, Some(&atoms)).unwrap().to else { panic!("a name") };
        assert_eq!(name, "rex");
    }
}
