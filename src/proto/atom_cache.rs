//! The distribution header: which atoms a message names, and the cache that spares their text.
//!
//! Both directions of a connection have a cache of their own, which starts empty and dies with the
//! connection. The sender decides what stands in which slot. Facts: "Distribution Header" of the
//! external term format, `external.c:erts_encode_ext_dist_header_*`, `erts_prepare_dist_ext`.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::etf::{Atom, AtomRefs, DecodeError, DecodeErrorKind, Reader};

/// The cache of the receiving side.
#[derive(Debug)]
pub(super) struct CacheIn {
    slots: Slots,
    /// Headers that came lately and had no new atoms: the same few are sent again and again.
    recent: Vec<Option<Recent>>,
    /// Where the last of them is: one message is mostly like the one before it.
    last: usize,
    hasher: RandomState,
}

impl CacheIn {
    pub(super) fn new() -> Self {
        Self { slots: Slots::default(), recent: Vec::new(), last: 0, hasher: RandomState::default() }
    }

    /// Reads a header behind its tag 68 (or the numbers of a fragment): the atoms that the references
    /// in the terms mean, `None` when there are none.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Option<Arc<[Atom]>>, DecodeError> {
        let start = reader.clone();
        let count = usize::from(reader.u8()?);
        if count == 0 {
            return Ok(None);
        }
        let flags = reader.take(count / 2 + 1)?;
        let nibble = |at: usize| flags.get(at / 2).map_or(0, |byte| (byte >> (at % 2 * 4)) & 0x0f);
        // Two atoms a byte; an odd one shares the last byte with the bit for long atoms.
        let (pairs, last) = flags.split_at(count / 2);
        let odd = if count % 2 == 1 { last.first().map_or(0, |byte| byte & NEW) } else { 0 };
        let news = pairs.iter().fold(odd, |all, byte| all | (byte & (NEW << 4 | NEW)));
        if news == 0 { self.read_known(&start, reader, count, nibble) } else { self.read_new(reader, count, nibble) }
    }

    /// A header all of whose atoms are in the cache already.
    fn read_known(
        &mut self,
        start: &Reader<'_>,
        reader: &mut Reader<'_>,
        count: usize,
        nibble: impl Fn(usize) -> u8,
    ) -> Result<Option<Arc<[Atom]>>, DecodeError> {
        let at = reader.clone();
        let indices = reader.take(count)?;
        let header = start.clone().take(reader.offset() - start.offset())?;
        if let Some(atoms) = self.recent_at(self.last, header) {
            return Ok(Some(atoms));
        }
        let place = self.hasher.hash_one(header) as usize % RECENT;
        self.last = place;
        if let Some(atoms) = self.recent_at(place, header) {
            return Ok(Some(atoms));
        }
        let mut atoms = Vec::with_capacity(count);
        for (position, &index) in indices.iter().enumerate() {
            let atom = self.slots.get(slot(nibble(position), index)).ok_or_else(|| at.error(NEVER_FILLED))?;
            atoms.push(atom.clone());
        }
        let atoms: Arc<[Atom]> = atoms.into();
        if self.recent.is_empty() {
            self.recent.resize(RECENT, None);
        }
        if let Some(place) = self.recent.get_mut(place) {
            *place = Some((header.to_vec(), atoms.clone()));
        }
        Ok(Some(atoms))
    }

    fn recent_at(&self, place: usize, header: &[u8]) -> Option<Arc<[Atom]>> {
        let (bytes, atoms) = self.recent.get(place)?.as_ref()?;
        (bytes.as_slice() == header).then(|| atoms.clone())
    }

    fn read_new(
        &mut self,
        reader: &mut Reader<'_>,
        count: usize,
        nibble: impl Fn(usize) -> u8,
    ) -> Result<Option<Arc<[Atom]>>, DecodeError> {
        self.recent.clear();
        let long = nibble(count) & LONG_ATOMS != 0;
        let mut atoms = Vec::with_capacity(count);
        for position in 0..count {
            let at = reader.clone();
            let nibble = nibble(position);
            let slot = slot(nibble, reader.u8()?);
            if nibble & NEW == 0 {
                atoms.push(self.slots.get(slot).ok_or_else(|| at.error(NEVER_FILLED))?.clone());
                continue;
            }
            let len = if long { usize::from(reader.u16()?) } else { usize::from(reader.u8()?) };
            let text = reader.take(len)?;
            let invalid = |what| at.error(DecodeErrorKind::Invalid(what));
            let text = std::str::from_utf8(text).map_err(|_| invalid("an atom is not UTF-8"))?;
            let atom = Atom::new(text).map_err(|_| invalid("an atom has more than 255 characters"))?;
            self.slots.fill(slot, atom.clone());
            atoms.push(atom);
        }
        Ok(Some(atoms.into()))
    }
}

/// The atoms in the slots of a cache. A peer strews them over all of its slots, and few are ever filled: the atoms
/// stand close together.
#[derive(Debug, Default)]
struct Slots {
    /// For each slot the place of its atom, counted from 1; nothing before the first atom.
    places: Vec<u16>,
    atoms: Vec<Atom>,
}

impl Slots {
    fn get(&self, slot: usize) -> Option<&Atom> {
        let place = usize::from(*self.places.get(slot)?);
        self.atoms.get(place.checked_sub(1)?)
    }

    fn fill(&mut self, slot: usize, atom: Atom) {
        if self.places.is_empty() {
            self.places.resize(SLOTS, 0);
        }
        let Some(place) = self.places.get_mut(slot) else { return };
        match self.atoms.get_mut(usize::from(*place).wrapping_sub(1)) {
            Some(old) => *old = atom,
            None => {
                self.atoms.push(atom);
                *place = self.atoms.len() as u16;
            }
        }
    }
}

/// A header, byte for byte, and what it means.
type Recent = (Vec<u8>, Arc<[Atom]>);

/// The cache of the sending side: gives slots to atoms, and takes them from those that have not been
/// used for the longest time (roughly: the clock algorithm).
#[derive(Debug, Default)]
pub(super) struct CacheOut {
    slots: Vec<Slot>,
    places: HashMap<Atom, u16, RandomState>,
    hand: usize,
    /// Counts messages; a slot that this message refers to must not be given away in it.
    message: u64,
    /// The last header without new atoms, where no slot has been given away since: one message is mostly like the one
    /// before it.
    last: Option<Last>,
}

/// A header, and the atoms that it names.
#[derive(Debug)]
struct Last {
    atoms: SmallVec<[Atom; 6]>,
    header: SmallVec<[u8; 16]>,
}

#[derive(Debug)]
struct Slot {
    atom: Atom,
    /// The last message that named it.
    message: u64,
    /// Named since the hand came by.
    used: bool,
}

impl CacheOut {
    /// Writes the header of a message, from the number of atoms on. Messages have to go on the wire in
    /// the order of these calls.
    pub(super) fn write(&mut self, atoms: &AtomRefs, out: &mut BytesMut) {
        let atoms = atoms.as_slice();
        if let Some(last) = &self.last
            && *last.atoms == *atoms
        {
            return out.put_slice(&last.header);
        }
        self.message += 1;
        let start = out.len();
        out.put_u8(atoms.len() as u8);
        if atoms.is_empty() {
            return;
        }
        let flags_at = out.len();
        out.put_bytes(0, atoms.len() / 2 + 1);
        let long = atoms.iter().any(|atom| atom.as_str().len() > usize::from(u8::MAX));
        let set = |out: &mut BytesMut, position: usize, nibble: u8| {
            if let Some(byte) = out.get_mut(flags_at + position / 2) {
                *byte |= nibble << (position % 2 * 4);
            }
        };
        // A long atom that is not new costs one byte more per new one, and is rare.
        set(out, atoms.len(), if long { LONG_ATOMS } else { 0 });
        let mut has_new = false;
        for (position, atom) in atoms.iter().enumerate() {
            let (slot, is_new) = self.place(atom);
            has_new |= is_new;
            let segment = (slot >> 8) as u8;
            set(out, position, if is_new { NEW | segment } else { segment });
            out.put_u8(slot as u8);
            if is_new {
                let text = atom.as_str().as_bytes();
                // 255 characters of at most 4 bytes: always fits 16 bits.
                if long {
                    out.put_u16(text.len() as u16);
                } else {
                    out.put_u8(text.len() as u8);
                }
                out.put_slice(text);
            }
        }
        self.last = match out.get(start..) {
            Some(header) if !has_new => Some(Last { atoms: atoms.into(), header: header.into() }),
            _ => None,
        };
    }

    /// The slot of an atom, and whether it has just been given to it.
    fn place(&mut self, atom: &Atom) -> (u16, bool) {
        let message = self.message;
        if let Some(&place) = self.places.get(atom) {
            if let Some(slot) = self.slots.get_mut(usize::from(place)) {
                (slot.message, slot.used) = (message, true);
            }
            return (place, false);
        }
        let new = Slot { atom: atom.clone(), message, used: false };
        if self.slots.len() < SLOTS {
            let place = self.slots.len() as u16;
            self.slots.push(new);
            self.places.insert(atom.clone(), place);
            return (place, true);
        }
        // A message names at most 255 of 2048 slots, so the hand finds one in its second round at last.
        loop {
            self.hand = (self.hand + 1) % SLOTS;
            let Some(slot) = self.slots.get_mut(self.hand) else { continue };
            if slot.message == message {
                continue;
            }
            if slot.used {
                slot.used = false;
                continue;
            }
            let place = self.hand as u16;
            self.places.remove(&slot.atom);
            *slot = new;
            self.places.insert(atom.clone(), place);
            return (place, true);
        }
    }
}

fn slot(nibble: u8, index: u8) -> usize {
    usize::from(nibble & SEGMENT) << 8 | usize::from(index)
}

/// Slots of a cache: eight segments of 256.
const SLOTS: usize = 2048;

/// How many headers without new atoms are remembered: about as many pairs of sender and receiver talk at
/// a time.
const RECENT: usize = 64;

const NEW: u8 = 8;
const SEGMENT: u8 = 7;
const LONG_ATOMS: u8 = 1;

const NEVER_FILLED: DecodeErrorKind = DecodeErrorKind::Invalid("an atom cache slot is used that was never filled");

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(atoms: impl IntoIterator<Item = String>) -> AtomRefs {
        let mut refs = AtomRefs::default();
        for atom in atoms {
            refs.index(&Atom::new(atom).unwrap());
        }
        refs
    }

    fn pass(from: &mut CacheOut, to: &mut CacheIn, atoms: &AtomRefs) -> usize {
        let mut bytes = BytesMut::new();
        from.write(atoms, &mut bytes);
        let mut reader = Reader::new(&bytes, &[]);
        let read = to.read(&mut reader).unwrap();
        assert_eq!(read.as_deref().unwrap_or_default(), atoms.as_slice());
        assert!(reader.is_empty());
        bytes.len()
    }

    #[test]
    fn headers_of_any_length_come_through_and_get_short_when_known() {
        let (mut from, mut to) = (CacheOut::default(), CacheIn::new());
        for count in [0, 1, 2, 3, 4, 5, 16, 17, 254, 255] {
            let atoms = refs((0..count).map(|number| format!("atom-{number}")));
            pass(&mut from, &mut to, &atoms);
            let again = pass(&mut from, &mut to, &atoms);
            assert_eq!(again, if count == 0 { 1 } else { 1 + count / 2 + 1 + count });
            assert_eq!(pass(&mut from, &mut to, &atoms), again, "from the recent headers");
        }
    }

    #[test]
    fn atoms_of_more_than_255_bytes_use_the_long_form() {
        let (mut from, mut to) = (CacheOut::default(), CacheIn::new());
        for count in [1, 2] {
            let atoms = refs((0..count).map(|number| "é".repeat(255 - number)).chain(["short".to_owned()]));
            pass(&mut from, &mut to, &atoms);
            pass(&mut from, &mut to, &atoms);
        }
        let four = refs(["😀".repeat(255), "x".repeat(255), String::new()]);
        pass(&mut from, &mut to, &four);
    }

    #[test]
    fn slots_are_reused_and_never_twice_in_one_message() {
        let (mut from, mut to) = (CacheOut::default(), CacheIn::new());
        let mut next = 0;
        for round in 0..60 {
            // Half of the atoms stay, the others are new: far more than there are slots.
            let fresh: Vec<_> = (next..next + 127).map(|number| format!("n{number}")).collect();
            next += 127;
            let atoms = refs((0..128).map(|number| format!("hot{number}")).chain(fresh));
            let len = pass(&mut from, &mut to, &atoms);
            if round > 0 {
                let texts: usize = atoms.as_slice()[128..].iter().map(|atom| atom.as_str().len() + 1).sum();
                assert_eq!(len, 1 + 128 + 255 + texts, "the hot ones are not sent again");
            }
        }
        assert_eq!(from.places.len(), SLOTS);
    }

    #[test]
    fn a_recent_header_is_forgotten_when_its_slot_is_overwritten() {
        let mut to = CacheIn::new();
        let mut read = |bytes: &[u8]| to.read(&mut Reader::new(bytes, &[])).unwrap().unwrap()[0].to_string();
        assert_eq!(read(&[1, 0x08, 5, 1, b'a']), "a");
        assert_eq!(read(&[1, 0x00, 5]), "a");
        assert_eq!(read(&[1, 0x00, 5]), "a");
        assert_eq!(read(&[1, 0x08, 5, 1, b'b']), "b");
        assert_eq!(read(&[1, 0x00, 5]), "b");
    }

    #[test]
    fn the_header_of_the_message_before_is_not_used_once_a_slot_has_another_atom() {
        let (mut from, mut to) = (CacheOut::default(), CacheIn::new());
        let hot = refs((0..3).map(|number| format!("hot{number}")));
        let mut next = 0;
        for _ in 0..40 {
            for _ in 0..3 {
                pass(&mut from, &mut to, &hot);
            }
            assert!(from.last.is_some());
            let fresh = refs((next..next + 200).map(|number| format!("n{number}")));
            next += 200;
            pass(&mut from, &mut to, &fresh);
            assert!(from.last.is_none());
        }
    }

    #[test]
    fn unfilled_slots_bad_text_and_cut_headers_are_errors() {
        let read = |bytes: &[u8]| CacheIn::new().read(&mut Reader::new(bytes, &[]));
        assert_eq!(read(&[1, 0x00, 5]).unwrap_err().kind, NEVER_FILLED);
        assert!(read(&[1, 0x08, 5, 2, 0xff, 0xfe]).is_err());
        let mut long = vec![1, 0x18, 5, 1, 0];
        long.resize(long.len() + 256, b'x');
        assert!(read(&long).is_err(), "256 characters");
        for cut in 0..5 {
            assert!(read(&[1, 0x08, 5, 1, b'a'][..cut]).is_err(), "{cut}");
        }
    }
}
