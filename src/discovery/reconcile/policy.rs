//! Whom of those that were found to dial, and who comes first. Never whom to let go: a link that is there stays.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::peer::Peer;
use super::topology::Topology;
use crate::discovery::strategy::TopologyName;
use crate::proto::NodeName;

/// Whom of those that were found to dial, and who comes first. By default all, in no particular order.
///
/// It decides about dials only: a link that is there is never dropped by it, and one that comes from the other side
/// is never refused. Between visible nodes `global` makes the mesh full whatever discovery dials.
///
/// ```
/// use gusset::discovery::{Policy, ReconcileConfig};
///
/// let mut config = ReconcileConfig::default();
/// config.policy.max_peers = std::num::NonZeroUsize::new(5);
/// config.policy.same_zone_first = true;
/// assert_ne!(config.policy, Policy::default());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Dial nobody while so many links are up or being dialled, whoever began them, hidden ones too. Which nodes
    /// come first is always the same for one node and another for each, so that they do not all choose the same.
    pub max_peers: Option<NonZeroUsize>,
    /// Of those that are due, dial the nodes of our own zone first.
    pub same_zone_first: bool,
    /// Our zone. Otherwise that of our own candidate in an answer.
    pub own_zone: Option<Arc<str>>,
    /// Dial only nodes of our own release; nodes that an operator named by hand may have none.
    pub release_gate: bool,
    /// Our release. Otherwise that of our own candidate in an answer. While it is not known, only nodes without a
    /// release are dialled.
    pub own_release: Option<Arc<str>>,
}

/// Why a node that was found is not dialled, although it might be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HeldBack {
    /// As many links are up or being dialled as [`Policy::max_peers`] says.
    LimitReached,
    /// It belongs to another release.
    OtherRelease,
    /// No strategy knows its release, and nobody named it by hand.
    NoRelease,
    /// Our own release is not known, so nobody can say whether it is the same.
    OwnReleaseUnknown,
}

impl HeldBack {
    /// A word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LimitReached => "limit_reached",
            Self::OtherRelease => "other_release",
            Self::NoRelease => "no_release",
            Self::OwnReleaseUnknown => "own_release_unknown",
        }
    }
}

impl std::fmt::Display for HeldBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The policy, and what it has to know about this node.
pub(super) struct View<'a> {
    pub(super) policy: &'a Policy,
    pub(super) own: &'a NodeName,
    pub(super) topologies: &'a BTreeMap<TopologyName, Topology>,
}

impl View<'_> {
    /// May it be dialled, as far as releases go? What one topology says of another release counts for all.
    pub(super) fn gate(&self, peer: &Peer) -> Option<HeldBack> {
        if !self.policy.release_gate {
            return None;
        }
        let (mut same, mut own_unknown, mut unlabelled) = (false, false, false);
        for (topology, candidate) in &peer.wanted {
            match (&candidate.release, self.own_release(topology)) {
                (Some(theirs), Some(ours)) if theirs == ours => same = true,
                (Some(_), Some(_)) => return Some(HeldBack::OtherRelease),
                (Some(_), None) => own_unknown = true,
                (None, Some(_)) => unlabelled = true,
                (None, None) => {}
            }
        }
        if same {
            None
        } else if own_unknown {
            Some(HeldBack::OwnReleaseUnknown)
        } else {
            (unlabelled && !peer.by_hand()).then_some(HeldBack::NoRelease)
        }
    }

    /// True when it has to wait for the nodes of our zone.
    pub(super) fn is_far(&self, peer: &Peer) -> bool {
        if !self.policy.same_zone_first {
            return false;
        }
        let Some(ours) = self.own_zone() else { return false };
        !peer.wanted.iter().any(|(_, candidate)| candidate.zone.as_ref() == Some(ours))
    }

    /// The place of a node in our order of choice (rendezvous hashing), where there is a choice to make.
    pub(super) fn preference(&self, name: &NodeName) -> u64 {
        if self.policy.max_peers.is_none() {
            return 0;
        }
        // Always the same for one build, and no two nodes have to agree about it.
        let mut hasher = DefaultHasher::new();
        (self.own.as_str(), name.as_str()).hash(&mut hasher);
        hasher.finish()
    }

    fn own_zone(&self) -> Option<&Arc<str>> {
        let found = || self.topologies.values().find_map(|topology| topology.own_zone.as_ref());
        self.policy.own_zone.as_ref().or_else(found)
    }

    /// As this topology knows it, or as any does: one that lists only the others may look at the same label.
    fn own_release(&self, topology: &TopologyName) -> Option<&Arc<str>> {
        let here = || self.topologies.get(topology)?.own_release.as_ref();
        let anywhere = || self.topologies.values().find_map(|topology| topology.own_release.as_ref());
        self.policy.own_release.as_ref().or_else(here).or_else(anywhere)
    }
}
