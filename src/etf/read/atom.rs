//! Atoms out of a reader, or only their text.

use std::borrow::Cow;

use super::super::atom::{Atom, MAX_ATOM_CHARACTERS};
use super::super::tag;
use super::{DecodeError, DecodeErrorKind, Reader, text_of};

impl<'a> Reader<'a> {
    /// Takes an atom, in any of its four tags or as a reference into the header.
    ///
    /// # Errors
    /// When the next term is no atom, or one that is too long or not UTF-8.
    #[inline]
    pub fn atom(&mut self) -> Result<Atom, DecodeError> {
        if let [tag::ATOM_CACHE_REF, index, rest @ ..] = self.rest
            && let Some(atom) = self.atoms.get(usize::from(*index))
        {
            self.go_on(rest);
            return Ok(atom.clone());
        }
        match self.short_atom().or_else(|| self.last_atom()) {
            Some(atom) => Ok(atom),
            None => Ok(Atom::of_checked(&self.atom_text()?)),
        }
    }

    /// Takes an atom that is decided with one look: short, of ASCII, and not at the very end.
    #[inline(always)]
    pub(in super::super) fn short_atom(&mut self) -> Option<Atom> {
        let (len, rest) = self.atom_len()?;
        let atom = Atom::of_ascii_in(rest.first_chunk()?, len)?;
        self.rest = rest.get(len..)?;
        Some(atom)
    }

    /// Takes a short atom of ASCII, wherever it stands; many messages end with one.
    #[inline(always)]
    pub(in super::super) fn last_atom(&mut self) -> Option<Atom> {
        let (text, rest) = self.atom_len().and_then(|(len, rest)| rest.split_at_checked(len))?;
        let atom = Atom::of_ascii(text)?;
        self.go_on(rest);
        Some(atom)
    }

    /// How long an atom with one of the usual tags says it is, and what follows.
    #[inline]
    fn atom_len(&self) -> Option<(usize, &'a [u8])> {
        match self.rest {
            [tag::SMALL_ATOM_UTF8, len, rest @ ..] | [tag::ATOM, 0, len, rest @ ..] => Some((usize::from(*len), rest)),
            _ => None,
        }
    }

    /// Takes a short atom of ASCII, if one comes next.
    #[inline]
    pub(in super::super) fn ascii_atom(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.atom_len()?;
        let (text, rest) = rest.split_at_checked(len)?;
        // Whoever makes an atom of it looks the same way, and the compiler sees that.
        Atom::of_ascii(text)?;
        self.go_on(rest);
        Some(text)
    }

    /// Takes an atom as its text, which is copied only where it is latin-1 beyond ASCII.
    ///
    /// # Errors
    /// As [`atom`](Self::atom).
    #[inline]
    pub fn atom_text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let (len, utf8, rest) = match self.rest {
            [tag::SMALL_ATOM_UTF8, len, rest @ ..] => (usize::from(*len), true, rest),
            [tag::ATOM, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), false, rest),
            _ => return self.rare_atom_text(),
        };
        if len <= MAX_ATOM_CHARACTERS
            && let Some((text, rest)) = rest.split_at_checked(len)
            && let Some(text) = text_of(text)
            && (utf8 || text.is_ascii())
        {
            self.go_on(rest);
            return Ok(Cow::Borrowed(text));
        }
        self.rare_atom_text()
    }

    /// As [`atom_text`](Self::atom_text), for all tags, and the errors.
    #[inline(never)]
    fn rare_atom_text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let start = self.clone();
        let (len, utf8) = match self.u8()? {
            tag::ATOM_CACHE_REF => {
                let index = self.u8()?;
                return match self.atoms.get(usize::from(index)) {
                    Some(atom) => Ok(Cow::Borrowed(atom.as_str())),
                    None => start.fail(DecodeErrorKind::AtomCacheRef { index, known: self.atoms.len() }),
                };
            }
            tag::SMALL_ATOM_UTF8 => (usize::from(self.u8()?), true),
            tag::ATOM_UTF8 => (usize::from(self.u16()?), true),
            tag::SMALL_ATOM => (usize::from(self.u8()?), false),
            tag::ATOM => (usize::from(self.u16()?), false),
            _ => {
                *self = start;
                return self.unexpected("an atom");
            }
        };
        let bytes = self.take(len)?;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if utf8 || text.is_ascii() => Cow::Borrowed(text),
            _ if !utf8 => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
            _ => return start.fail(DecodeErrorKind::Invalid("an atom is not UTF-8")),
        };
        if len > MAX_ATOM_CHARACTERS && text.chars().count() > MAX_ATOM_CHARACTERS {
            return start.fail(DecodeErrorKind::Invalid(ATOM_TOO_LONG));
        }
        Ok(text)
    }

    /// Whether an atom comes next.
    #[inline]
    pub(crate) fn is_at_atom(&self) -> bool {
        matches!(
            self.rest.first(),
            Some(&(tag::ATOM | tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 | tag::SMALL_ATOM | tag::ATOM_CACHE_REF))
        )
    }
}

const ATOM_TOO_LONG: &str = "an atom has more than 255 characters";
