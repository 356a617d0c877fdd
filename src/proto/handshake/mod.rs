//! The handshake of the distribution protocol, as initiator and as acceptor: bytes in, events and bytes out.
//!
//! There is one type per state, and a state is consumed by the message that it waits for, so no message
//! can be taken twice or out of order:
//!
//! ```text
//! initiator  AwaitStatus -> [AnswerAlive ->] AwaitChallenge -> AwaitAck -> Negotiated
//! acceptor   AwaitName -> Greeting -> [AwaitAlive ->] [AwaitComplement ->] AwaitReply -> Accepted
//! ```
//!
//! The cut into messages is [`Framing`]. Whoever drives it (`net::dial`, `net::accept`) brings the
//! socket, the time limits, the random challenges and the decisions. Facts: "Distribution Handshake" of
//! the ERTS user's guide, and `dist_util.erl` of OTP 23 to 29 for everything it leaves out.

mod acceptor;
mod error;
mod framing;
mod initiator;
mod message;
#[cfg(test)]
mod tests;

pub use acceptor::{
    Accepted, Arrival, AwaitAlive, AwaitComplement, AwaitName, AwaitReply, Challenged, Greeting, NameRequest, Refused,
};
pub use error::{FlagList, Found, HandshakeError};
pub use framing::{Framing, MAX_HANDSHAKE_MESSAGE, PrefixWidth};
pub use initiator::{AnswerAlive, AwaitAck, AwaitChallenge, AwaitStatus, Initiator, StatusOutcome};

use super::{Flags, NodeName};
use crate::etf::Creation;

/// Who we are, as told in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Our name. `None` asks the peer for one (dynamic node name, only as initiator, OTP 23 and later).
    pub name: Option<NodeName>,
    /// The host part of our name; the only part that is told when `name` is `None`.
    pub host: String,
    /// Our creation. Not told when `name` is `None`: the peer chooses one together with the name.
    pub creation: Creation,
    /// What we offer. [`Flags::PUBLISHED`] makes us visible; it is left out when `name` is `None`.
    pub flags: Flags,
    /// What a peer has to offer, else the handshake ends with [`HandshakeError::MissingFlags`].
    pub required: Flags,
}

impl LocalIdentity {
    /// A visible node that offers all that a gusset can do.
    pub fn named(name: NodeName, creation: Creation) -> Self {
        Self {
            host: name.host().to_owned(),
            name: Some(name),
            creation,
            flags: Flags::OFFERED | Flags::PUBLISHED,
            required: Flags::REQUIRED,
        }
    }

    /// A node that asks the first peer it dials for a name. Such nodes are hidden.
    pub fn unnamed(host: impl Into<String>) -> Self {
        Self {
            name: None,
            host: host.into(),
            creation: Creation::default(),
            flags: Flags::OFFERED,
            required: Flags::REQUIRED,
        }
    }

    /// The same node, hidden from `nodes()` of its peers.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.flags = self.flags.without(Flags::PUBLISHED);
        self
    }

    /// The flags that really go out as initiator.
    fn offer(&self) -> Flags {
        match self.name {
            Some(_) => self.flags.without(Flags::NAME_ME),
            None => self.flags.without(Flags::PUBLISHED).with(Flags::NAME_ME),
        }
    }
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The name of the peer.
    pub peer: NodeName,
    /// Which life of the peer this is.
    pub peer_creation: Creation,
    /// What the connection uses: the flags that both sides offered. Never has
    /// [`Flags::NAME_ME`], which is a request.
    pub flags: Flags,
    /// True unless both sides are visible: a hidden connection is in no `nodes()` and `global` does not
    /// see it.
    pub hidden: bool,
    /// Our name; differs from that of the [`LocalIdentity`] only when the peer gave us one.
    pub local_name: NodeName,
    /// Our creation; differs from that of the [`LocalIdentity`] only when the peer gave us a name.
    pub local_creation: Creation,
    /// All that the peer offered.
    pub peer_flags: Flags,
}

impl Negotiated {
    fn new(peer: (NodeName, Creation, Flags), local: (NodeName, Creation, Flags)) -> Self {
        let ((peer, peer_creation, peer_flags), (local_name, local_creation, local_flags)) = (peer, local);
        let flags = (peer_flags & local_flags).without(Flags::NAME_ME);
        let hidden = !flags.contains(Flags::PUBLISHED);
        Self { peer, peer_creation, flags, hidden, local_name, local_creation, peer_flags }
    }
}

/// What an acceptor says to a name that it goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Nothing is in the way.
    Ok,
    /// We were dialling that node too; its attempt wins and we gave ours up.
    OkSimultaneous,
}

/// What an acceptor says to a name that it does not go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// We are dialling that node ourselves, and our attempt wins.
    Nok,
    /// Flags are missing, or the node is not wanted here.
    NotAllowed,
}
