//! Atoms: UTF-8 text of at most 255 characters, cheap to clone, ordered as Erlang orders them.
//!
//! An atom here is text, not an index into a table that is never freed: atoms that a peer sends are
//! dropped with the message that carried them.

mod text;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use text::{SHORT, Text};

pub(super) use text::is_ascii_in;

/// The most characters an atom may have (`MAX_ATOM_CHARACTERS` of the emulator).
pub const MAX_ATOM_CHARACTERS: usize = 255;

/// An Erlang atom.
///
/// Equality and order are those of the UTF-8 text, byte by byte, the shorter prefix first: this is
/// Erlang's own order of atoms, on which the handshake tie-break and `global` depend.
#[derive(Clone, PartialEq, Eq)]
pub struct Atom(Text);

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
        Text::of_ascii(bytes).map(Self)
    }

    /// As [`of_ascii`](Self::of_ascii), of the first `len` of these bytes.
    #[inline(always)]
    pub(super) fn of_ascii_in(bytes: &[u8; SHORT], len: usize) -> Option<Self> {
        Text::of_ascii_in(bytes, len).map(Self)
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
        self.0.short()
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
