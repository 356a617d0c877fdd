//! The text of an atom: short in itself, else constant or shared.

use std::cell::RefCell;
use std::sync::Arc;

/// The text of an atom, in three words that are moved as words. Text of up to 16 bytes is always `Short`.
#[derive(Clone)]
pub(super) enum Text {
    /// What is left of the bytes is zero.
    Short(Len, [u8; SHORT]),
    Static(&'static str),
    Long(Arc<str>),
}

/// As much text as an atom holds itself.
pub(in super::super) const SHORT: usize = 16;

const _: () = assert!(size_of::<Option<Text>>() == 24);

/// In each byte the bit that no character of ASCII has.
const BEYOND_ASCII: u128 = u128::from_ne_bytes([0x80; SHORT]);

/// A length of a whole word, most values of which are none: there [`Text`] has what tells its kinds apart.
#[rustfmt::skip]
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Len { L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11, L12, L13, L14, L15, L16 }

impl Len {
    #[rustfmt::skip]
    const ALL: [Self; SHORT + 1] = [
        Self::L0, Self::L1, Self::L2, Self::L3, Self::L4, Self::L5, Self::L6, Self::L7, Self::L8,
        Self::L9, Self::L10, Self::L11, Self::L12, Self::L13, Self::L14, Self::L15, Self::L16,
    ];
}

impl Text {
    #[inline]
    pub(super) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        match (Len::ALL.get(bytes.len()), word(bytes)) {
            (Some(&len), Some(word)) => Self::Short(len, word.to_le_bytes()),
            _ => Self::long(text),
        }
    }

    #[inline(never)]
    fn long(text: &str) -> Self {
        Self::Long(recent(text).unwrap_or_else(|| text.into()))
    }

    /// Of a few bytes that are all ASCII.
    #[inline]
    pub(super) fn of_ascii(bytes: &[u8]) -> Option<Self> {
        let word = word(bytes).filter(|word| word & BEYOND_ASCII == 0)?;
        Some(Self::Short(*Len::ALL.get(bytes.len())?, word.to_le_bytes()))
    }

    /// Of the first `len` of these bytes, if they are all ASCII.
    #[inline(always)]
    pub(super) fn of_ascii_in(bytes: &[u8; SHORT], len: usize) -> Option<Self> {
        let len = *Len::ALL.get(len)?;
        let word = first_of(bytes, len as usize);
        (word & BEYOND_ASCII == 0).then(|| Self::Short(len, word.to_le_bytes()))
    }

    pub(super) const fn of_static(text: &'static str) -> Self {
        if text.len() > SHORT {
            return Self::Static(text);
        }
        let mut bytes = [0; SHORT];
        let mut at = 0;
        while at < text.len() {
            bytes[at] = text.as_bytes()[at];
            at += 1;
        }
        Self::Short(Len::ALL[text.len()], bytes)
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..*len as usize).unwrap_or_default(),
            Self::Static(text) => text.as_bytes(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    #[inline]
    pub(super) fn as_str(&self) -> &str {
        match self {
            // It came out of a `str`. All of it is looked at, as for a fixed size and place that is two words at once.
            Self::Short(len, bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.get(..*len as usize)).unwrap_or_default()
            }
            Self::Static(text) => text,
            Self::Long(text) => text,
        }
    }

    /// Short text with zeros behind it; and how long it is.
    #[inline]
    pub(super) fn short(&self) -> Option<(u8, &[u8; SHORT])> {
        match self {
            Self::Short(len, bytes) => Some((*len as u8, bytes)),
            _ => None,
        }
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Short(len, bytes), Self::Short(other_len, other)) => bytes == other && len == other_len,
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Text {}

/// Whether these bytes hold a text of so many bytes, all ASCII.
#[inline(always)]
pub(in super::super) fn is_ascii_in(bytes: &[u8; SHORT], len: usize) -> bool {
    len <= SHORT && first_of(bytes, len) & BEYOND_ASCII == 0
}

/// The first `len` of these bytes, at most all of them.
#[inline(always)]
fn first_of(bytes: &[u8; SHORT], len: usize) -> u128 {
    match SHORT.saturating_sub(len) {
        // A shift by all bits is none at all.
        SHORT => 0,
        more => u128::from_le_bytes(*bytes) & u128::MAX >> (more * 8),
    }
}

/// At most [`SHORT`] bytes, put together in registers of pieces that may overlap.
#[inline]
fn word(bytes: &[u8]) -> Option<u128> {
    if bytes.len() > SHORT {
        return None;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u128::from(u64::from_le_bytes(*last));
        return Some(u128::from(u64::from_le_bytes(*first)) | last << ((bytes.len() - 8) * 8));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u64::from(u32::from_le_bytes(*last));
        return Some((u64::from(u32::from_le_bytes(*first)) | last << ((bytes.len() - 4) * 8)).into());
    }
    Some(bytes.iter().rev().fold(0_u32, |all, &byte| all << 8 | u32::from(byte)).into())
}

thread_local! {
    /// Longer texts that this thread has met lately, each in the place that its bytes say. The name of a node is in each
    /// pid that it sends; to find it here costs less than to allocate it.
    static RECENT: RefCell<[Option<Arc<str>>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

/// With the longest of texts 5 KiB for each thread, whoever sends what.
const PLACES: usize = 64;
const LONGEST: usize = 64;

/// The same text as it was met before, or from now on.
fn recent(text: &str) -> Option<Arc<str>> {
    if text.len() > LONGEST {
        return None;
    }
    let (first, last) = (text.as_bytes().first_chunk()?, text.as_bytes().last_chunk()?);
    let mixed = (u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)).wrapping_mul(FACTOR);
    let find = |recent: &RefCell<[Option<Arc<str>>; PLACES]>| {
        let mut recent = recent.try_borrow_mut().ok()?;
        let place = recent.get_mut((mixed >> 32) as usize % PLACES)?;
        match place {
            Some(known) if **known == *text => {}
            _ => *place = Some(text.into()),
        }
        place.clone()
    };
    RECENT.try_with(find).ok().flatten()
}

/// The golden ratio: odd, with bits all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_every_length_is_what_it_was_made_of() {
        let all = "abcdefghijklmnopqrstuvwxyz";
        for len in 0..all.len() {
            let part = &all[..len];
            let text = Text::new(part);
            assert_eq!((text.as_str(), text.as_bytes()), (part, part.as_bytes()));
            assert_eq!(text.short().is_some(), len <= SHORT);
            assert!(text == Text::of_static(part) && text != Text::new(&all[..=len]), "{len}");
            assert!(Text::of_ascii(part.as_bytes()).is_none_or(|again| again == text), "{len}");
            let within = Text::of_ascii_in(all.as_bytes().first_chunk().unwrap(), len);
            assert_eq!(within.is_some(), len <= SHORT);
            assert!(within.is_none_or(|again| again == text), "{len}");
        }
        assert!(Text::new("a") != Text::new("a\0"));
        assert!(Text::of_ascii("é".as_bytes()).is_none());
        assert_eq!(Text::new("größer als sechzehn").as_str(), "größer als sechzehn");
        assert_eq!(Text::new("ééé").as_str(), "ééé");
    }

    #[test]
    fn what_was_met_lately_is_shared_and_what_is_kept_is_bounded() {
        let name = "worker@10-1-2-3.ns.pod.cluster.local";
        let (Text::Long(one), Text::Long(other)) = (Text::new(name), Text::new(name)) else { panic!("{name}") };
        assert!(Arc::ptr_eq(&one, &other));
        for number in 0..10_000 {
            drop(Text::new(&format!("a name that comes once, number {number}")));
        }
        let kept = RECENT.with_borrow(|recent| recent.iter().flatten().count());
        assert!((1..=PLACES).contains(&kept), "{kept}");
        let long = "n".repeat(LONGEST + 1);
        let (Text::Long(one), Text::Long(other)) = (Text::new(&long), Text::new(&long)) else { panic!("{long}") };
        assert!(!Arc::ptr_eq(&one, &other));
    }
}
