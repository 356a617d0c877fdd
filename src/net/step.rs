//! The steps of connecting, for errors and log lines.

use std::fmt;

/// What was being done when connecting failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Checking what we were asked to do.
    Prepare,
    /// Looking up the host part of the name.
    NameLookup,
    /// Opening a connection to EPMD.
    EpmdConnect,
    /// Asking EPMD for the port of the node.
    EpmdLookup,
    /// Opening a connection to the node.
    Connect,
    /// Sending our name.
    SendName,
    /// Waiting for the peer's name (acceptor).
    PeerName,
    /// Waiting for the peer's status (initiator), or sending ours (acceptor).
    Status,
    /// Waiting for the answer to the status `alive` (acceptor).
    Alive,
    /// Waiting for the peer's challenge (initiator).
    Challenge,
    /// Waiting for the second part of an old name message (acceptor).
    Complement,
    /// Waiting for the answer to our challenge: here the cookies are compared.
    Reply,
    /// Waiting for an older connection to the same node to be down (acceptor).
    OldConnection,
    /// Sending the last message (acceptor).
    Ack,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "preparing",
            Self::NameLookup => "looking up the host",
            Self::EpmdConnect => "connecting to EPMD",
            Self::EpmdLookup => "asking EPMD for the port",
            Self::Connect => "connecting to the node",
            Self::SendName => "sending our name",
            Self::PeerName => "waiting for its name",
            Self::Status => "exchanging the status",
            Self::Alive => "waiting for its answer to `alive`",
            Self::Challenge => "waiting for its challenge",
            Self::Complement => "waiting for the rest of its name message",
            Self::Reply => "waiting for the answer to our challenge",
            Self::OldConnection => "waiting for the older connection to go down",
            Self::Ack => "sending the acknowledgement",
        })
    }
}
