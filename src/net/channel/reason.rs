//! Why a connection ended, and who ended it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::{ProtocolViolation, TooLarge};

/// Why a connection ended.
#[derive(Debug, Clone)]
pub struct CloseReason {
    /// Who ended it.
    pub who: CloseParty,
    /// Why.
    pub why: CloseCause,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseParty {
    /// This node.
    Local,
    /// The peer.
    Peer,
    /// The network between them, or a peer that died without a word.
    Network,
}

/// Why a connection ended, apart from who ended it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseCause {
    /// The peer closed the socket.
    PeerClosed,
    /// Nothing came for too long.
    TickTimeout {
        /// For how long, at least.
        silence: Duration,
    },
    /// The peer did what no node may do.
    Protocol(ProtocolViolation),
    /// The socket failed.
    Io(Arc<io::Error>),
    /// Somebody here asked for it; the text says why.
    Disconnect(String),
    /// A message of ours is larger than the peer can take.
    TooLarge(TooLarge),
    /// Another connection to the same node took its place.
    Replaced,
    /// Nobody here holds the connection any more.
    Abandoned,
}

impl CloseReason {
    /// Somebody here asked for it, and what is queued is still to be sent.
    pub fn disconnect(text: impl Into<String>) -> Self {
        Self { who: CloseParty::Local, why: CloseCause::Disconnect(text.into()) }
    }

    /// Another connection to the same node takes the place of this one.
    pub fn replaced() -> Self {
        Self { who: CloseParty::Local, why: CloseCause::Replaced }
    }

    /// The socket failed.
    pub fn io(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let who = match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => CloseParty::Peer,
            _ => CloseParty::Network,
        };
        Self { who, why: CloseCause::Io(Arc::new(error)) }
    }

    /// The peer did what no node may do.
    pub fn protocol(violation: ProtocolViolation) -> Self {
        Self { who: CloseParty::Peer, why: CloseCause::Protocol(violation) }
    }

    /// True when what is queued is written out before the end.
    pub fn is_graceful(&self) -> bool {
        matches!(self.why, CloseCause::Disconnect(_) | CloseCause::Abandoned)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, self.who) {
            (CloseCause::PeerClosed, _) => f.write_str("the peer closed the connection"),
            (CloseCause::TickTimeout { silence }, _) => {
                write!(f, "nothing came from the peer for {silence:?} (net_ticktime)")
            }
            (CloseCause::Protocol(violation), _) => write!(f, "the peer broke the protocol: {violation}"),
            (CloseCause::Io(error), CloseParty::Peer) => write!(f, "the peer broke the connection: {error}"),
            (CloseCause::Io(error), _) => write!(f, "the network failed: {error}"),
            (CloseCause::Disconnect(text), _) => write!(f, "disconnected here: {text}"),
            (CloseCause::TooLarge(error), _) => write!(f, "{error}"),
            (CloseCause::Abandoned, _) => f.write_str("nobody here holds the connection any more"),
            (CloseCause::Replaced, _) => f.write_str("a newer connection to the same node took its place"),
        }
    }
}
