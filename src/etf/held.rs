//! The bytes of a payload: small ones in place, others as a slice of the buffer that they came in.
//!
//! A small message in place costs no allocation and no count of references, which two threads would have to agree on,
//! and whoever keeps it does not keep the buffer, with all that came beside it.

use bytes::Bytes;

/// So many bytes stand in place: those of the usual signal, `{tag, number}`, and of a few short parts.
pub(super) const ROOM: usize = 32;

/// In whole words, and moved as such: the first one tells the length, or that the bytes are shared.
#[derive(Clone)]
pub(super) enum Held {
    Here(Len, [u8; ROOM]),
    Shared(Bytes),
}

const _: () = assert!(size_of::<Held>() == 8 + ROOM);

/// A length of a whole word, most values of which are none.
#[rustfmt::skip]
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Len {
    L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10,
    L11, L12, L13, L14, L15, L16, L17, L18, L19, L20, L21,
    L22, L23, L24, L25, L26, L27, L28, L29, L30, L31, L32,
}

impl Len {
    #[rustfmt::skip]
    const ALL: [Self; ROOM + 1] = [
        Self::L0, Self::L1, Self::L2, Self::L3, Self::L4, Self::L5,
        Self::L6, Self::L7, Self::L8, Self::L9, Self::L10, Self::L11,
        Self::L12, Self::L13, Self::L14, Self::L15, Self::L16, Self::L17,
        Self::L18, Self::L19, Self::L20, Self::L21, Self::L22, Self::L23,
        Self::L24, Self::L25, Self::L26, Self::L27, Self::L28, Self::L29,
        Self::L30, Self::L31, Self::L32,
    ];
}

impl Held {
    /// A copy of `bytes`, where there is room for them.
    #[inline]
    pub(super) fn copied(bytes: &[u8]) -> Option<Self> {
        let mut here = [0; ROOM];
        here.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self::Here(*Len::ALL.get(bytes.len())?, here))
    }

    /// A copy of the first `len` bytes, where there is room for them.
    #[inline]
    pub(super) fn copied_front(bytes: &[u8], len: usize) -> Option<Self> {
        let length = *Len::ALL.get(len)?;
        match bytes.first_chunk() {
            // A fixed number of bytes is copied without a call; nobody sees those behind `len`.
            Some(&here) => Some(Self::Here(length, here)),
            None => Self::copied(bytes.get(..len)?),
        }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Here(len, bytes) => bytes.get(..*len as usize).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// The same, to be shared: a copy only of what stands in place.
    pub(super) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Here(..) => Bytes::copy_from_slice(self.as_slice()),
            Self::Shared(bytes) => bytes.clone(),
        }
    }

    /// A part of it; empty where it is out of range.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Self {
        let part = self.as_slice().get(range).unwrap_or_default();
        match (Self::copied(part), self) {
            (Some(copied), _) => copied,
            (None, Self::Shared(bytes)) => Self::Shared(bytes.slice_ref(part)),
            // What stands in place has no part that does not.
            (None, Self::Here(..)) => Self::Shared(Bytes::new()),
        }
    }
}

impl From<Bytes> for Held {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self::copied(&bytes).unwrap_or(Self::Shared(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_stands_in_place_and_the_rest_is_shared() {
        let all: Bytes = (0..200).collect();
        for len in 0..200 {
            let held = Held::from(all.slice(..len));
            assert_eq!(held.as_slice(), &all[..len]);
            assert_eq!(held.to_bytes(), all[..len]);
            assert_eq!(matches!(held, Held::Shared(_)), len > ROOM, "{len}");
            for start in 0..=len {
                let part = held.part(start..len);
                assert_eq!(part.as_slice(), &all[start..len]);
                assert_eq!(matches!(part, Held::Shared(_)), len - start > ROOM);
            }
            assert!(held.part(len..len + 1).as_slice().is_empty() && held.part(201..300).as_slice().is_empty());
            let front = Held::copied_front(&all, len);
            assert_eq!(front.as_ref().map(Held::as_slice), (len <= ROOM).then_some(&all[..len]));
            let front = Held::copied_front(&all[..len], len);
            assert_eq!(front.as_ref().map(Held::as_slice), (len <= ROOM).then_some(&all[..len]));
            assert!(Held::copied_front(&all[..len], len + 1).is_none());
        }
    }
}
