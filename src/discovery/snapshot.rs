//! How things stand: for tables, metrics and status pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::desired::CandidateState;
use super::mesh::{DialFailure, FailureKind};
use super::reconcile::HeldBack;
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Health, TopologyName};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// Everything discovery knows, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// This node.
    pub own: NodeName,
    /// The topologies, by name.
    pub topologies: Vec<TopologyStatus>,
    /// The other nodes, by name: those that are wanted, those that are connected, and those that were.
    pub peers: Vec<PeerStatus>,
    /// Counts since the start.
    pub stats: Stats,
}

/// One topology.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopologyStatus {
    /// Its name.
    pub name: TopologyName,
    /// The kind of its strategy.
    pub kind: &'static str,
    /// How it does.
    pub health: Health,
    /// How long ago it last had an answer.
    pub last_success: Option<Duration>,
    /// How many nodes its last answer has, this one too if it is among them.
    pub size: usize,
    /// Answers since the start.
    pub answers: u64,
    /// Errors since the start, by kind.
    pub errors: BTreeMap<DiscoveryErrorKind, u64>,
    /// The last error, and how long ago it was, whatever came after it.
    pub last_error: Option<(DiscoveryError, Duration)>,
}

/// One other node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Its name.
    pub name: NodeName,
    /// Where it would be dialled; `None` when no topology wants it.
    pub target: Option<DialTarget>,
    /// How far it is; `None` when no topology wants it.
    pub state: Option<CandidateState>,
    /// What it was found as.
    pub origin: String,
    /// The zone it runs in, where that is known.
    pub zone: Option<Arc<str>>,
    /// The release it belongs to, where that is known.
    pub release: Option<Arc<str>>,
    /// The topologies that want it.
    pub wanted_by: Vec<TopologyName>,
    /// It is known for certain to have left.
    pub gone: bool,
    /// The link.
    pub link: LinkStatus,
    /// Dials that failed in a row.
    pub failures: u32,
    /// The last failure since it was connected, and how long ago it was.
    pub last_failure: Option<(DialFailure, Duration)>,
    /// For how long every dial has failed; `None` when none has since it was connected.
    pub failing_for: Option<Duration>,
}

/// A link, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkStatus {
    /// It is up.
    Up {
        /// For how long.
        since: Duration,
    },
    /// A dial runs.
    Dialling,
    /// The next dial comes later.
    Waiting {
        /// When; zero when it waits for its turn.
        retry_in: Duration,
    },
    /// None, and it is not dialled although it is wanted.
    HeldBack(HeldBack),
    /// None, and none is wanted (terminating, or no longer in any set).
    Down,
}

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Answers of all topologies.
    pub answers: u64,
    /// Errors of all topologies, by kind.
    pub errors: BTreeMap<DiscoveryErrorKind, u64>,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
    /// Links to wanted nodes that came up, from either side.
    pub connected: u64,
    /// Links to wanted nodes that were lost.
    pub lost: u64,
    /// Links dropped because the node had left.
    pub pruned: u64,
}
