//! The node as discovery sees it: what is connected, connect, disconnect, and news about links.
//!
//! The builder implements this for the node; tests bring their own.

use std::fmt;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::net::DialTarget;
use crate::proto::NodeName;

/// The mesh of links that discovery works on.
pub trait Mesh: Send + Sync + 'static {
    /// The node's own name, which is never dialled.
    fn name(&self) -> NodeName;

    /// All nodes with a link that is up, hidden ones too: a node that is connected is not dialled again.
    fn connected(&self) -> Vec<NodeName>;

    /// Is there a link to this node that is up? Asked after every dial that went well.
    fn is_connected(&self, name: &NodeName) -> bool {
        self.connected().contains(name)
    }

    /// Dials and shakes hands. Ready with `Ok` when a link to the name is up, whoever began it.
    ///
    /// Must end by itself; discovery gives up on it after [`ReconcileConfig::dial_limit`].
    ///
    /// [`ReconcileConfig::dial_limit`]: super::ReconcileConfig::dial_limit
    fn connect(&self, target: DialTarget) -> BoxFuture<'static, Result<(), DialFailure>>;

    /// Drops the link. `reason` is for people.
    fn disconnect(&self, name: &NodeName, reason: &str);

    /// News about links from now on, so that a lost one is dialled again at once. When the stream ends,
    /// discovery ends.
    fn events(&self) -> BoxStream<'static, MeshEvent>;
}

/// A link came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeshEvent {
    /// A link is up, from either side, hidden or visible.
    Up(NodeName),
    /// A link is gone.
    Down {
        /// The peer.
        name: NodeName,
        /// Why, for people.
        reason: String,
    },
    /// News were lost (a slow reader): ask [`Mesh::connected`] again.
    Lagged,
}

/// What kind of failure a dial met. Kinds differ in what they say about the peer, how soon it is tried
/// again, and what a person has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureKind {
    /// Nothing is at the address any more (no route, host or network unreachable).
    Gone,
    /// The host is there and nothing listens: no EPMD, or no node at the port.
    Refused,
    /// EPMD answers and does not know the name: the node has not started, or is called differently.
    NotReady,
    /// The cookies differ, or the peer closed the connection where a wrong cookie shows.
    WrongCookie,
    /// The peer said `not_allowed` or `nok`, or asks for flags that we do not have.
    NotAllowed,
    /// No answer in time.
    Timeout,
    /// The host part of the name has no address.
    Lookup,
    /// Everything else.
    Other,
}

impl FailureKind {
    /// A word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::NotReady => "not_ready",
            Self::WrongCookie => "wrong_cookie",
            Self::NotAllowed => "not_allowed",
            Self::Timeout => "timeout",
            Self::Lookup => "lookup",
            Self::Other => "other",
        }
    }

    /// True for what every node is met with that is found before it is up.
    pub fn mends_by_waiting(self) -> bool {
        matches!(self, Self::Refused | Self::NotReady)
    }

    /// True for what does not mend by waiting: someone has to change a configuration.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::WrongCookie | Self::NotAllowed)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dial that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DialFailure {
    /// What kind it is.
    pub kind: FailureKind,
    /// The step that failed and what to do, for people.
    pub text: String,
}

impl DialFailure {
    /// A failure.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}
