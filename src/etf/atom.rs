//! Atoms: UTF-8 text of at most 255 characters, cheap to clone, ordered as Erlang orders them.
//!
//! An atom here is text, not an index into a table that is never freed: atoms that a peer sends are
//! dropped with the message that carried them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The most characters an atom may have (`MAX_ATOM_CHARACTERS` of the emulator).
pub const MAX_ATOM_CHARACTERS: usize = 255;

/// An Erlang atom.
///
/// Equality and order are those of the UTF-8 text, byte by byte, the shorter prefix first: this is
/// Erlang's own order of atoms, on which the handshake tie-break and `global` depend.
#[derive(Clone)]
pub struct Atom(Text);

/// The text of an atom, in three words that are moved as words. Text of up to 16 bytes is always `Short`.
#[derive(Clone)]
enum Text {
    /// What is left of the bytes is zero.
    Short(Len, [u8; SHORT]),
    Static(&'static str),
    Long(Arc<str>),
}

/// As much text as an atom holds itself.
const SHORT: usize = 16;

const _: () = assert!(size_of::<Option<Atom>>() == 24);

/// In each byte the bit that no character of ASCII has.
const BEYOND_ASCII: u128 = u128::from_ne_bytes([0x80; SHORT]);

/// A length of a whole word, most values of which are none: there [`Text`] has what tells its kinds apart.
#[rustfmt::skip]
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Len { L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11, L12, L13, L14, L15, L16 }

impl Len {
    #[rustfmt::skip]
    const ALL: [Self; SHORT + 1] = [
        Self::L0, Self::L1, Self::L2, Self::L3, Self::L4, Self::L5, Self::L6, Self::L7, Self::L8,
        Self::L9, Self::L10, Self::L11, Self::L12, Self::L13, Self::L14, Self::L15, Self::L16,
    ];
}

impl Text {
    #[inline]
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        match (Len::ALL.get(bytes.len()), word(bytes)) {
            (Some(&len), Some(word)) => Self::Short(len, word.to_le_bytes()),
            _ => Self::long(text),
        }
    }

    #[inline(never)]
    fn long(text: &str) -> Self {
        Self::Long(text.into())
    }

    const fn of_static(text: &'static str) -> Self {
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
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => bytes.get(..*len as usize).unwrap_or_default(),
            Self::Static(text) => text.as_bytes(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    #[inline]
    fn as_str(&self) -> &str {
        match self {
            // It came out of a `str`. All of it is looked at, as for a fixed size and place that is two words at once.
            Self::Short(len, bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.get(..*len as usize)).unwrap_or_default()
            }
            Self::Static(text) => text,
            Self::Long(text) => text,
        }
    }
}

/// Makes an [`Atom`] from a literal; one that is too long does not compile.
#[macro_export]
macro_rules! atom {
    ($text:literal) => {
        const { $crate::etf::Atom::from_static($text) }
    };
}

impl Atom {
    /// Makes an atom from text.
    ///
    /// # Errors
    /// When the text has more than 255 characters.
    #[inline]
    pub fn new(text: impl AsRef<str>) -> Result<Self, AtomTooLong> {
        let text = text.as_ref();
        // Bytes bound characters from above, so nearly every atom is decided without counting.
        if text.len() > MAX_ATOM_CHARACTERS {
            let characters = text.chars().count();
            if characters > MAX_ATOM_CHARACTERS {
                return Err(AtomTooLong { characters });
            }
        }
        Ok(Self(Text::new(text)))
    }

    /// An atom of a few bytes that are all ASCII; `None` for others, which are to be looked at.
    #[inline]
    pub(super) fn of_ascii(bytes: &[u8]) -> Option<Self> {
        let word = word(bytes).filter(|word| word & BEYOND_ASCII == 0)?;
        Some(Self(Text::Short(*Len::ALL.get(bytes.len())?, word.to_le_bytes())))
    }

    /// As [`of_ascii`](Self::of_ascii) of the first `len` of these bytes.
    #[inline(always)]
    pub(super) fn of_ascii_in(bytes: &[u8; SHORT], len: usize) -> Option<Self> {
        let len = *Len::ALL.get(len)?;
        // A shift by all bits is none at all.
        let word = match SHORT - len as usize {
            SHORT => 0,
            more => u128::from_le_bytes(*bytes) & u128::MAX >> (more * 8),
        };
        (word & BEYOND_ASCII == 0).then(|| Self(Text::Short(len, word.to_le_bytes())))
    }

    /// An atom of text that is known not to be too long.
    #[inline]
    pub(super) fn of_checked(text: &str) -> Self {
        Self(Text::new(text))
    }

    /// An atom from a constant; use it through [`atom!`](crate::atom), which checks at compile time.
    ///
    /// # Panics
    /// When `text` has more than 255 bytes.
    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= MAX_ATOM_CHARACTERS, "an atom has at most 255 characters");
        Self(Text::of_static(text))
    }

    /// Makes an atom from latin-1 bytes (tags 100 and 115 of the external term format).
    ///
    /// # Errors
    /// When there are more than 255 bytes.
    pub fn from_latin1(bytes: &[u8]) -> Result<Self, AtomTooLong> {
        if bytes.len() > MAX_ATOM_CHARACTERS {
            return Err(AtomTooLong { characters: bytes.len() });
        }
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Self::of_checked(text),
            _ => Self::of_checked(&bytes.iter().map(|&byte| char::from(byte)).collect::<String>()),
        })
    }

    /// The text of a short atom, with zeros behind it; and how long it is.
    #[inline]
    pub(super) fn short(&self) -> Option<(u8, &[u8; SHORT])> {
        match &self.0 {
            Text::Short(len, bytes) => Some((*len as u8, bytes)),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text of the atom.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
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

impl PartialEq for Atom {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Text::Short(_, one), Text::Short(_, other)) if one != other => false,
            (Text::Short(one, _), Text::Short(other, _)) => one == other,
            (one, other) => one.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Atom {}

impl Hash for Atom {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Ord for Atom {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

impl PartialOrd for Atom {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Text that is too long to be an atom.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{characters} characters are too many for an atom (at most 255)")]
pub struct AtomTooLong {
    /// How many characters the text has.
    pub characters: usize,
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.as_str())
    }
}

impl AsRef<str> for Atom {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Atom {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Atom {
    fn eq(&self, other: &str) -> bool {
        self.0.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Atom {
    fn eq(&self, other: &&str) -> bool {
        self.0.as_bytes() == other.as_bytes()
    }
}

impl TryFrom<&str> for Atom {
    type Error = AtomTooLong;

    fn try_from(text: &str) -> Result<Self, AtomTooLong> {
        Self::new(text)
    }
}

impl TryFrom<String> for Atom {
    type Error = AtomTooLong;

    fn try_from(text: String) -> Result<Self, AtomTooLong> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin1_and_utf8_of_the_same_characters_are_the_same_atom() {
        assert_eq!(Atom::from_latin1(&[0xe9]).unwrap(), Atom::new("é").unwrap());
        assert_eq!(Atom::from_latin1(b"ok").unwrap(), atom!("ok"));
    }

    #[test]
    fn the_limit_counts_characters_not_bytes() {
        assert!(Atom::new("é".repeat(255)).is_ok());
        assert_eq!(Atom::new("é".repeat(256)), Err(AtomTooLong { characters: 256 }));
    }

    #[test]
    fn order_is_bytewise_with_the_shorter_prefix_first() {
        assert!(atom!("a") < atom!("a@b"));
        assert!(atom!("a@b1") < atom!("b@a"));
    }
}
