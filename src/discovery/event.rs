//! What discovery tells: one event per change of state.

use std::fmt;
use std::time::Duration;

use super::desired::CandidateState;
use super::mesh::FailureKind;
use super::strategy::{DiscoveryError, TopologyName};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// A change that discovery saw or made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoveryEvent {
    /// A strategy found a node.
    Discovered {
        /// By which topology.
        topology: TopologyName,
        /// The node and where it is.
        target: DialTarget,
        /// How far it is.
        state: CandidateState,
    },
    /// A node that was known has another address or state.
    Changed {
        /// By which topology.
        topology: TopologyName,
        /// The node and where it is now.
        target: DialTarget,
        /// How far it is now.
        state: CandidateState,
    },
    /// A node is no longer in the set of a topology.
    Removed {
        /// Of which topology.
        topology: TopologyName,
        /// The node.
        name: NodeName,
        /// Did it leave for certain?
        evidence: Evidence,
        /// A link to it is up (and stays, for now).
        connected: bool,
    },
    /// A dial begins.
    Connecting {
        /// The node and where it is.
        target: DialTarget,
        /// 1 for the first dial since it was last connected or changed.
        attempt: u32,
    },
    /// A link to a node of the set is up.
    Connected {
        /// The node.
        name: NodeName,
    },
    /// A dial came to nothing.
    ConnectFailed {
        /// The node.
        name: NodeName,
        /// What kind of failure.
        kind: FailureKind,
        /// The step that failed and what to do.
        text: String,
        /// When it is dialled again; `None` when it is no longer wanted.
        retry_in: Option<Duration>,
        /// How many dials have failed in a row.
        failures: u32,
        /// Worth a line: once for each kind of failure, when it has failed so for 3 s; what needs a person is so
        /// at once.
        tell: bool,
    },
    /// A link to a node of the set is gone.
    Lost {
        /// The node.
        name: NodeName,
        /// Why.
        reason: String,
    },
    /// We dropped a link because the node left for certain.
    Pruned {
        /// The node.
        name: NodeName,
        /// Why.
        reason: String,
    },
    /// A topology has no answer; what was known stays.
    Degraded {
        /// Which.
        topology: TopologyName,
        /// Why, and what to do.
        error: DiscoveryError,
    },
    /// A topology answers again.
    Recovered {
        /// Which.
        topology: TopologyName,
    },
    /// Others who use this rule would not find this node. Said once, and again after a long time.
    NotFindable {
        /// By which topology.
        topology: TopologyName,
        /// What this node is called.
        own: NodeName,
        /// What they would dial instead, if anything.
        called: Option<NodeName>,
        /// What to change.
        hint: String,
    },
    /// The release gate ([`Policy::release_gate`](super::Policy::release_gate)) cannot decide, so it keeps nodes
    /// back. Said once, and again when it has been able to in between.
    ReleaseUnknown {
        /// How many nodes it keeps back.
        held_back: usize,
        /// What to change.
        hint: String,
    },
}

/// How certain it is that a node left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The source said so (a deleted pod, one that has ended).
    Positive,
    /// It is just not in the answer any more.
    Absence,
}

impl fmt::Display for DiscoveryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovered { topology, target, state } => {
                write!(f, "{topology}: found {target} ({})", state.as_str())
            }
            Self::Changed { topology, target, state } => {
                write!(f, "{topology}: {target} changed ({})", state.as_str())
            }
            Self::Removed { topology, name, evidence, connected } => {
                let how = match evidence {
                    Evidence::Positive => "has left",
                    Evidence::Absence => "is no longer in the answer",
                };
                let link = if *connected { "; the link stays for now" } else { "" };
                write!(f, "{topology}: {name} {how}{link}")
            }
            Self::Connecting { target, attempt } => write!(f, "dialling {target} (attempt {attempt})"),
            Self::Connected { name } => write!(f, "connected to {name}"),
            Self::ConnectFailed { name, kind, text, retry_in, .. } => {
                write!(f, "no connection to {name} ({kind}): {text}")?;
                match retry_in {
                    Some(pause) => write!(f, "; next try in {pause:.1?}"),
                    None => f.write_str("; not tried again"),
                }
            }
            Self::Lost { name, reason } => write!(f, "lost {name}: {reason}"),
            Self::Pruned { name, reason } => write!(f, "let go of {name}: {reason}"),
            Self::Degraded { topology, error } => write!(f, "{topology}: no answer, links stay as they are: {error}"),
            Self::Recovered { topology } => write!(f, "{topology}: answers again"),
            Self::NotFindable { topology, own, called: Some(called), hint } => {
                write!(f, "{topology}: this node is `{own}`, its peers would dial `{called}`: {hint}")
            }
            Self::NotFindable { topology, own, called: None, hint } => {
                write!(f, "{topology}: this node is `{own}`, which its peers would not find: {hint}")
            }
            Self::ReleaseUnknown { held_back, hint } => {
                write!(
                    f,
                    "the release of this node is not known, {held_back} nodes that have one are not dialled: {hint}"
                )
            }
        }
    }
}
