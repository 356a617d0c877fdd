//! Why a process ended, or a monitor fired: any term, kept encoded until somebody looks.

use std::fmt;

use bytes::Bytes;

use crate::etf::{DecodeError, Payload, Term};

/// The reason of an exit or a `DOWN`: any term. Cheap to clone.
#[derive(Clone)]
pub struct Reason(Payload);

impl Reason {
    /// A reason from its encoded form.
    pub fn from_payload(payload: Payload) -> Self {
        Self(payload)
    }

    /// A reason from a term; `unencodable_reason` for one that has no encoding (a float that is not
    /// a number, say).
    pub fn from_term(term: &Term) -> Self {
        match Payload::from_term(term) {
            Ok(payload) => Self(payload),
            Err(_) => Self::constant(b"w\x12unencodable_reason"),
        }
    }

    /// The encoded form.
    pub fn payload(&self) -> &Payload {
        &self.0
    }

    /// The reason as a term.
    ///
    /// # Errors
    /// When it nests deeper than a tree may.
    pub fn term(&self) -> Result<Term, DecodeError> {
        self.0.term()
    }

    /// True where the reason is this atom.
    pub fn is(&self, atom: &str) -> bool {
        self.0.reader().atom().is_ok_and(|reason| reason == *atom)
    }

    /// `normal`: the process ended as it wanted to.
    pub fn normal() -> Self {
        Self::constant(b"w\x06normal")
    }

    /// `noproc`: there was no such process.
    pub fn noproc() -> Self {
        Self::constant(b"w\x06noproc")
    }

    /// `noconnection`: the connection to its node was lost, or never came up.
    pub fn noconnection() -> Self {
        Self::constant(b"w\x0cnoconnection")
    }

    /// `kill`: as an argument of `exit/2`, ends a process whatever it traps.
    pub fn kill() -> Self {
        Self::constant(b"w\x04kill")
    }

    /// `killed`: what others see of a process that was ended by `kill`.
    pub fn killed() -> Self {
        Self::constant(b"w\x06killed")
    }

    /// `shutdown`: the process was told to end, and did.
    pub fn shutdown() -> Self {
        Self::constant(b"w\x08shutdown")
    }

    fn constant(encoded: &'static [u8]) -> Self {
        Self(Payload::new(Bytes::from_static(encoded), None))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.term() {
            Ok(term) => write!(f, "{term}"),
            Err(error) => write!(f, "(unreadable: {error})"),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({self})")
    }
}

impl From<Term> for Reason {
    fn from(term: Term) -> Self {
        Self::from_term(&term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_without_encoding_is_still_a_reason() {
        assert!(Reason::from_term(&Term::Float(f64::NAN)).is("unencodable_reason"));
    }

    #[test]
    fn the_constant_reasons_are_the_atoms_that_they_are_named_after() {
        for (reason, text) in [
            (Reason::normal(), "normal"),
            (Reason::noproc(), "noproc"),
            (Reason::noconnection(), "noconnection"),
            (Reason::kill(), "kill"),
            (Reason::killed(), "killed"),
            (Reason::shutdown(), "shutdown"),
        ] {
            assert!(reason.is(text), "{text}");
            assert_eq!(reason.to_string(), text);
        }
    }
}
