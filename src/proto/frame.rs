//! Frames of a connection: from bytes to messages.

use crate::etf::DecodeError;

use super::control::ControlError;

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
    /// A control message is wrong.
    #[error("invalid control message: {0}")]
    Control(#[from] ControlError),
    /// The payload of a message is not a term.
    #[error("the payload of {operation} is invalid: {source}")]
    Payload {
        /// Whose payload it is.
        operation: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// Anything else that the receiver found.
    #[error("{0}")]
    Other(String),
}
