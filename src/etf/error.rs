//! What can be wrong with bytes that should be a term, and with values that should become one; and where.

use std::borrow::Cow;
use std::fmt;

use super::atom::AtomTooLong;

/// Bytes that are not the term they should be.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeError {
    /// Where the offending item starts, in bytes from the start of the term.
    pub offset: usize,
    /// Where in the value that was asked for (`order.items[3].price`); empty where nothing was asked for.
    pub path: String,
    /// What was wrong.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// An error at an offset, without a path.
    pub fn new(offset: usize, kind: DecodeErrorKind) -> Self {
        Self { offset, path: String::new(), kind }
    }
}

/// An error on its way through serde. It is a single word: what comes back from each part of a value, which mostly is
/// no error, then fits registers.
#[derive(Debug)]
pub(super) struct Fault(Box<DecodeError>);

impl Fault {
    /// The same, in a part of a larger value.
    #[cold]
    #[inline(never)]
    pub(super) fn within(mut self, part: &str) -> Self {
        prepend(&mut self.0.path, part);
        self
    }

    /// The same; an error of a `Deserialize` implementation, which does not know where it is, gets its place.
    #[cold]
    pub(super) fn at(mut self, offset: usize) -> Self {
        if self.0.offset == UNKNOWN_OFFSET {
            self.0.offset = offset;
        }
        self
    }

    /// The same, in an element that starts there, called so or else by its index. All that has to be done for an error
    /// is done here: what reads elements that are none is small.
    #[cold]
    #[inline(never)]
    pub(super) fn in_element(self, offset: usize, index: usize, names: &[&str]) -> Self {
        match names.get(index) {
            Some(name) => self.at(offset).within(name),
            None => self.at(offset).within(&format!("[{index}]")),
        }
    }

    /// The same, at another place.
    #[cold]
    pub(super) fn moved(mut self, offset: usize) -> Self {
        self.0.offset = offset;
        self
    }

    pub(super) fn into_error(self) -> DecodeError {
        *self.0
    }
}

impl From<DecodeError> for Fault {
    #[cold]
    fn from(error: DecodeError) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError::custom(message).into()
    }
}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(UNKNOWN_OFFSET, DecodeErrorKind::Custom(message.to_string()))
    }
}

/// The offset of an error that has not met the deserializer yet, which knows the place.
pub(crate) const UNKNOWN_OFFSET: usize = usize::MAX;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.kind)?;
        match self.offset {
            UNKNOWN_OFFSET => Ok(()),
            offset => write!(f, " (at byte {offset})"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The ways in which bytes fail to be a term.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end inside an item.
    #[error("the term is cut off: {needed} more bytes are needed")]
    Truncated {
        /// How many bytes are missing at least.
        needed: usize,
    },
    /// A tag that no node may send here.
    #[error("unknown tag {0}")]
    UnknownTag(u8),
    /// A tag that is known, but illegal at this place.
    #[error("tag {0} is not allowed here")]
    TagNotAllowed(u8),
    /// Not the version byte 131.
    #[error("version byte {0} instead of 131")]
    Version(u8),
    /// A count that the bytes behind it cannot hold.
    #[error("{count} elements are announced, {left} bytes are left")]
    Count {
        /// The announced number of elements.
        count: u64,
        /// How many bytes follow.
        left: usize,
    },
    /// A limit of [`Limits`](super::Limits) is exceeded.
    #[error("{what} is {value}, more than the limit {limit}; `Limits::{setting}` changes it")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// How large it may be.
        limit: u64,
        /// The field of `Limits`.
        setting: &'static str,
    },
    /// Something is out of the range that the format allows.
    #[error("{0}")]
    Invalid(&'static str),
    /// An index into the atom cache that the header of this message does not have.
    #[error("atom cache reference {index}, but the header has {known} atoms")]
    AtomCacheRef {
        /// The index.
        index: u8,
        /// How many atoms the header has.
        known: usize,
    },
    /// Bytes are left behind the term.
    #[error("{0} bytes are left behind the term")]
    TrailingBytes(usize),
    /// The term is well formed but is not what was asked for.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What was asked for.
        expected: Cow<'static, str>,
        /// What is there.
        found: Cow<'static, str>,
    },
    /// What a `Deserialize` implementation said.
    #[error("{0}")]
    Custom(String),
}

/// A value that cannot be written as a term.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeError {
    /// Where in the value (`order.items[3].price`); empty where it has no parts.
    pub path: String,
    /// What was wrong.
    pub kind: EncodeErrorKind,
}

impl From<EncodeErrorKind> for EncodeError {
    fn from(kind: EncodeErrorKind) -> Self {
        Self { path: String::new(), kind }
    }
}

/// An error of encoding on its way through serde, in a single word as [`Fault`] is; what is done for it is done here.
#[derive(Debug)]
pub(super) struct Unwritable(Box<EncodeError>);

impl Unwritable {
    /// The same, in a part of a larger value.
    #[cold]
    #[inline(never)]
    pub(super) fn within(mut self, part: &str) -> Self {
        prepend(&mut self.0.path, part);
        self
    }

    /// The same, in an element; of that variant, if of one.
    #[cold]
    #[inline(never)]
    pub(super) fn in_element(self, index: usize, variant: Option<&str>) -> Self {
        self.within(&format!("[{index}]")).of_variant(variant)
    }

    /// The same, in a part that belongs to that variant, if to one.
    #[cold]
    #[inline(never)]
    pub(super) fn of_variant(self, variant: Option<&str>) -> Self {
        match variant {
            Some(variant) => self.within(variant),
            None => self,
        }
    }

    pub(super) fn into_error(self) -> EncodeError {
        *self.0
    }
}

impl<E: Into<EncodeErrorKind>> From<E> for Unwritable {
    #[cold]
    #[inline(never)]
    fn from(kind: E) -> Self {
        Self(Box::new(EncodeError::from(kind.into())))
    }
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unwritable {}

impl serde::ser::Error for Unwritable {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        EncodeErrorKind::Custom(message.to_string()).into()
    }
}

impl serde::ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        EncodeErrorKind::Custom(message.to_string()).into()
    }
}

/// Puts the name of the part that encloses it before a path.
fn prepend(path: &mut String, part: &str) {
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    *path = format!("{part}{dot}{path}");
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.kind)
    }
}

impl std::error::Error for EncodeError {}

/// The ways in which a value fails to be a term.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// Erlang has neither infinities nor not-a-number, and a BEAM closes the connection for them.
    #[error("{0} is no float of Erlang's: send an atom or another number instead")]
    NotFinite(f64),
    /// A name that is too long for an atom.
    #[error(transparent)]
    Atom(#[from] AtomTooLong),
    /// More elements, or bytes, than the format can count.
    #[error("{count} elements are too many (at most {most})")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A sequence with another number of elements than it said.
    #[error("{announced} elements were announced, {written} came")]
    WrongCount {
        /// How many were said to come.
        announced: usize,
        /// How many came.
        written: usize,
    },
    /// Two pairs of one map with the same key, for which a BEAM closes the connection.
    #[error("the key {0} comes twice in one map")]
    KeyTwice(String),
    /// What a `Serialize` implementation said.
    #[error("{0}")]
    Custom(String),
}
