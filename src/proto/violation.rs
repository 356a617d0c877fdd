//! What a peer did wrong.

use crate::etf::DecodeError;

use super::control::ControlError;
use super::fragment::FragmentError;

/// What a peer did that no node may do. The connection ends.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// A packet is larger than allowed.
    #[error("a packet of {len} bytes is announced, more than `max_frame` ({max} bytes) allows")]
    FrameTooLarge {
        /// The announced length, in bytes.
        len: u64,
        /// The limit, in bytes.
        max: usize,
    },
    /// A packet of one byte.
    #[error("a packet of one byte")]
    TooShort,
    /// A packet starts with other bytes than the flags of the connection ask for.
    #[error("a packet starts with {} {} instead of {expected}", found[0], found[1])]
    Form {
        /// The first two bytes.
        found: [u8; 2],
        /// What the flags ask for.
        expected: &'static str,
    },
    /// The distribution header is wrong.
    #[error("invalid distribution header: {0}")]
    Header(#[source] DecodeError),
    /// A control message is wrong.
    #[error("invalid control message: {0}")]
    Control(#[from] ControlError),
    /// A message has no payload.
    #[error("{operation} comes without the term that belongs to it")]
    NoPayload {
        /// The operation.
        operation: &'static str,
    },
    /// The payload of a message is not a term.
    #[error("the payload of {operation} is invalid: {source}")]
    Payload {
        /// Whose payload it is.
        operation: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// A fragment is wrong.
    #[error("invalid fragment: {0}")]
    Fragment(#[from] FragmentError),
    /// Anything else that the receiver found.
    #[error("{0}")]
    Other(String),
}
