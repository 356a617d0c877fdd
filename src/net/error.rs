//! Why connecting failed: one enum for dialling, one for accepting.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::dial::Family;
use super::epmd_client::EpmdError;
use super::step::Step;
use crate::proto::handshake::FlagList;
use crate::proto::{HandshakeError, NodeName};

/// Why a node could not be connected to: which step failed, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host part of the name is not known.
    #[error("{peer}: the host `{}` is not known: check the name, or give the address (NODE=IP)", .peer.host())]
    UnknownHost {
        /// Whom we dialled.
        peer: NodeName,
        /// What the resolver said.
        source: io::Error,
    },
    /// The host has no address of the wanted family.
    #[error("{peer}: the host `{}` has no address of the wanted kind ({family:?})", .peer.host())]
    NoAddress {
        /// Whom we dialled.
        peer: NodeName,
        /// What was wanted.
        family: Family,
    },
    /// Nobody answers where EPMD should be.
    #[error("{peer}: no EPMD answers: is a node running there, and is its EPMD port open? ({source})")]
    EpmdUnreachable {
        /// Whom we dialled.
        peer: NodeName,
        /// What the socket said.
        source: EpmdError,
    },
    /// EPMD was reached and gave no usable answer.
    #[error("{peer}: {source}")]
    Epmd {
        /// Whom we dialled.
        peer: NodeName,
        /// What is wrong with the answer.
        source: EpmdError,
    },
    /// EPMD does not know the node.
    #[error("{peer}: EPMD at {address} knows no node `{}`: it is not running, or has another name", .peer.name())]
    UnknownToEpmd {
        /// Whom we dialled.
        peer: NodeName,
        /// The EPMD that was asked.
        address: SocketAddr,
    },
    /// The port of the node takes no connection.
    #[error("{peer}: cannot connect to {address}: {source}; is the distribution port open to us?")]
    Unreachable {
        /// Whom we dialled.
        peer: NodeName,
        /// Where.
        address: SocketAddr,
        /// What the socket said.
        source: io::Error,
    },
    /// A step took too long.
    #[error("{peer}: nothing happened for {after:?} while {step}; net_setuptime is the limit to change")]
    Timeout {
        /// Whom we dialled.
        peer: NodeName,
        /// Which step.
        step: Step,
        /// The time limit.
        after: Duration,
    },
    /// The socket failed.
    #[error("{peer}: the connection failed while {step}: {source}")]
    Io {
        /// Whom we dialled.
        peer: NodeName,
        /// Which step.
        step: Step,
        /// What the socket said.
        source: io::Error,
    },
    /// The peer closed the connection before the cookies were compared.
    #[error(
        "{peer}: it closed the connection while we were {step}: it takes no such name, is still busy with an earlier attempt, or is no node"
    )]
    Closed {
        /// Whom we dialled.
        peer: NodeName,
        /// Which step.
        step: Step,
    },
    /// The peer is dialling us and its attempt wins: wait for it.
    #[error("{peer}: it is connecting to us at the same time, and its attempt goes first")]
    Nok {
        /// Whom we dialled.
        peer: NodeName,
    },
    /// The peer does not want us.
    #[error("{}", not_allowed(.peer, .missing))]
    NotAllowed {
        /// Whom we dialled.
        peer: NodeName,
        /// What the newest releases ask for and we did not offer; empty when it must be a list of nodes.
        missing: FlagList,
    },
    /// The peer says that we are connected already, and this attempt was not wanted any more.
    #[error("{peer}: an older connection is up and stays")]
    AliveKept {
        /// Whom we dialled.
        peer: NodeName,
    },
    /// The peer does not let go of an older connection.
    #[error(
        "{peer}: after {after:?} it still holds an older connection with us (OTP 23 and 24 wait until that has died): try again after its net_ticktime"
    )]
    OldConnectionAlive {
        /// Whom we dialled.
        peer: NodeName,
        /// How long we waited.
        after: Duration,
    },
    /// The peer closed the connection when it had read our proof.
    #[error("{peer}: it closed the connection when it saw our proof: the cookie is probably not the same")]
    WrongCookie {
        /// Whom we dialled.
        peer: NodeName,
    },
    /// The peer took our proof and has none of its own.
    #[error("{peer}: its proof is not that of our cookie: it takes any cookie, or is not what it says")]
    WrongAck {
        /// Whom we dialled.
        peer: NodeName,
    },
    /// The peer cannot do what we need.
    #[error("{peer}: it lacks what this connection needs: {missing}")]
    MissingFlags {
        /// Whom we dialled.
        peer: NodeName,
        /// What is missing.
        missing: FlagList,
    },
    /// Another node answered.
    #[error("{}", other_name(.asked, .answered))]
    OtherName {
        /// Whom we dialled.
        asked: NodeName,
        /// Who answered.
        answered: NodeName,
    },
    /// A message that does not belong here.
    #[error("{peer}: while {step}: {source}")]
    Handshake {
        /// Whom we dialled.
        peer: NodeName,
        /// Which step.
        step: Step,
        /// What is wrong.
        source: HandshakeError,
    },
}

impl ConnectError {
    /// Which step failed.
    pub fn step(&self) -> Step {
        match self {
            Self::UnknownHost { .. } | Self::NoAddress { .. } => Step::NameLookup,
            Self::EpmdUnreachable { .. } => Step::EpmdConnect,
            Self::Epmd { .. } | Self::UnknownToEpmd { .. } => Step::EpmdLookup,
            Self::Unreachable { .. } => Step::Connect,
            Self::Timeout { step, .. }
            | Self::Io { step, .. }
            | Self::Closed { step, .. }
            | Self::Handshake { step, .. } => *step,
            Self::Nok { .. } | Self::NotAllowed { .. } => Step::Status,
            Self::AliveKept { .. } => Step::Alive,
            Self::OldConnectionAlive { .. } | Self::MissingFlags { .. } | Self::OtherName { .. } => Step::Challenge,
            Self::WrongCookie { .. } | Self::WrongAck { .. } => Step::Reply,
        }
    }
}

/// Why a connection that came in came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// A step took too long.
    #[error("{}: nothing came for {after:?} while {step}", who(.peer))]
    Timeout {
        /// Who called, once it has said so.
        peer: Option<NodeName>,
        /// Which step.
        step: Step,
        /// The time limit.
        after: Duration,
    },
    /// The socket failed.
    #[error("{}: the connection failed while {step}: {source}", who(.peer))]
    Io {
        /// Who called, once it has said so.
        peer: Option<NodeName>,
        /// Which step.
        step: Step,
        /// What the socket said.
        source: io::Error,
    },
    /// The peer closed the connection. While waiting for its proof: it has read our challenge and went away.
    #[error("{}: it closed the connection while we were {step}", who(.peer))]
    Closed {
        /// Who called, once it has said so.
        peer: Option<NodeName>,
        /// Which step.
        step: Step,
    },
    /// The proof of the peer is not that of our cookie.
    #[error("{peer}: it has another cookie than we have for it")]
    WrongCookie {
        /// Who called.
        peer: NodeName,
    },
    /// The peer cannot do what we need.
    #[error("{peer}: it lacks what this connection needs: {missing}")]
    MissingFlags {
        /// Who called.
        peer: NodeName,
        /// What is missing.
        missing: FlagList,
    },
    /// We were dialling the peer, and our attempt wins.
    #[error("{peer}: we are connecting to it at the same time, and our attempt goes first")]
    Nok {
        /// Who called.
        peer: NodeName,
    },
    /// The node does not want the peer.
    #[error("{peer}: not let in: {reason}")]
    Refused {
        /// Who called.
        peer: NodeName,
        /// Why.
        reason: String,
    },
    /// The peer asked for a name and we give none.
    #[error("a node at `{host}` asked for a name and got none")]
    NoName {
        /// Its host.
        host: String,
    },
    /// The peer said that the older connection is to stay.
    #[error("{peer}: an older connection is up and stays")]
    AliveKept {
        /// Who called.
        peer: NodeName,
    },
    /// The older connection could not be taken down, or the attempt is not wanted any more.
    #[error("{peer}: given up before the last message: {reason}")]
    GivenUp {
        /// Who called.
        peer: NodeName,
        /// Why.
        reason: String,
    },
    /// A message that does not belong here.
    #[error("{}: while {step}: {source}", who(.peer))]
    Handshake {
        /// Who called, once it has said so.
        peer: Option<NodeName>,
        /// Which step.
        step: Step,
        /// What is wrong.
        source: HandshakeError,
    },
}

impl AcceptError {
    /// Which step failed.
    pub fn step(&self) -> Step {
        match self {
            Self::Timeout { step, .. }
            | Self::Io { step, .. }
            | Self::Closed { step, .. }
            | Self::Handshake { step, .. } => *step,
            Self::WrongCookie { .. } => Step::Reply,
            Self::MissingFlags { .. } | Self::NoName { .. } => Step::PeerName,
            Self::Nok { .. } | Self::Refused { .. } => Step::Status,
            Self::AliveKept { .. } => Step::Alive,
            Self::GivenUp { .. } => Step::OldConnection,
        }
    }

    /// Who called, once it has said so.
    pub fn peer(&self) -> Option<&NodeName> {
        match self {
            Self::Timeout { peer, .. }
            | Self::Io { peer, .. }
            | Self::Closed { peer, .. }
            | Self::Handshake { peer, .. } => peer.as_ref(),
            Self::WrongCookie { peer }
            | Self::MissingFlags { peer, .. }
            | Self::Nok { peer }
            | Self::Refused { peer, .. }
            | Self::AliveKept { peer }
            | Self::GivenUp { peer, .. } => Some(peer),
            Self::NoName { .. } => None,
        }
    }
}

fn who(peer: &Option<NodeName>) -> &str {
    peer.as_ref().map_or("a node that gave no name", NodeName::as_str)
}

/// The text that the handshake has for it.
fn not_allowed(peer: &NodeName, missing: &FlagList) -> HandshakeError {
    HandshakeError::NotAllowed { peer: peer.clone(), missing: missing.clone() }
}

/// The text that the handshake has for it.
fn other_name(asked: &NodeName, answered: &NodeName) -> HandshakeError {
    HandshakeError::OtherName { asked: asked.clone(), answered: answered.clone() }
}
