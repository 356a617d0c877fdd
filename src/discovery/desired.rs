//! What a strategy finds: a set of candidates, and what it knows about those that left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::net::DialTarget;
use crate::proto::NodeName;

/// One complete answer of a strategy.
///
/// A name that is merely absent is *not known to be gone*: it is no longer dialled, a link to it stays.
/// Only names in [`Desired::gone`] may lose their link, as [`Prune`](super::Prune) says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Desired {
    /// Who should be connected.
    pub peers: BTreeMap<NodeName, Candidate>,
    /// Who left for certain (a pod was deleted or has ended, an operator took a name off a list). Names
    /// that are in `peers` too count as there.
    pub gone: BTreeSet<NodeName>,
    /// What those who use the same rule would call us.
    pub me: SelfView,
}

impl Desired {
    /// An answer with these candidates.
    pub fn new(candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let peers = candidates.into_iter().map(|candidate| (candidate.target.name.clone(), candidate)).collect();
        Self { peers, ..Self::default() }
    }

    /// The same answer, with names that left for certain.
    #[must_use]
    pub fn with_gone(mut self, gone: impl IntoIterator<Item = NodeName>) -> Self {
        self.gone.extend(gone);
        self
    }

    /// The same answer, with what it would call this node.
    #[must_use]
    pub fn with_me(mut self, me: SelfView) -> Self {
        self.me = me;
        self
    }

    /// This answer after one that nobody has read yet: proof that a node left is not lost on the way.
    pub(super) fn after(mut self, unread: Desired) -> Self {
        self.gone.extend(unread.gone);
        self.gone.retain(|name| !self.peers.contains_key(name));
        self
    }
}

/// One node that a strategy found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its name and where it is.
    pub target: DialTarget,
    /// How far it is.
    pub state: CandidateState,
    /// What it was found as, for people: `pod default/web-0`.
    pub origin: String,
    /// Changes when what stands behind the name was replaced or restarted. A new value is a reason to dial
    /// at once; the number means nothing else.
    pub generation: u64,
    /// The zone that it runs in, where that is known (`topology.kubernetes.io/zone`).
    pub zone: Option<Arc<str>>,
    /// The release that it belongs to, where the strategy was told where to look: nodes of different releases
    /// can be kept apart.
    pub release: Option<Arc<str>>,
    /// An operator named this very node. It is expected to come back, and is waited for with shorter pauses.
    pub by_hand: bool,
}

impl Candidate {
    /// A candidate that is ready.
    pub fn new(target: DialTarget) -> Self {
        Self {
            target,
            state: CandidateState::Ready,
            origin: String::new(),
            generation: 0,
            zone: None,
            release: None,
            by_hand: false,
        }
    }

    /// The same in another state.
    #[must_use]
    pub fn with_state(mut self, state: CandidateState) -> Self {
        self.state = state;
        self
    }

    /// The same with a text that says what it was found as.
    #[must_use]
    pub fn with_origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = origin.into();
        self
    }

    /// The same with another generation.
    #[must_use]
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    /// The same in a zone.
    #[must_use]
    pub fn with_zone(mut self, zone: Option<impl Into<Arc<str>>>) -> Self {
        self.zone = zone.map(Into::into);
        self
    }

    /// The same as a part of a release.
    #[must_use]
    pub fn with_release(mut self, release: Option<impl Into<Arc<str>>>) -> Self {
        self.release = release.map(Into::into);
        self
    }

    /// The same, named by an operator.
    #[must_use]
    pub fn named_by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }
}

/// How far a candidate is. Ordered: of two that go by one name, the lesser counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateState {
    /// It serves.
    Ready,
    /// It runs and does not serve yet, or not just now. It is dialled, after those that are ready.
    NotReady,
    /// It is on its way out: not dialled, and a link to it stays until it goes by itself.
    Terminating,
}

impl CandidateState {
    /// A word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Terminating => "terminating",
        }
    }
}

/// Would others who use the same rule find us, and under which name?
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SelfView {
    /// The strategy cannot tell, or lists others only.
    #[default]
    Unknown,
    /// They would dial this name. All is well when it is ours.
    Called(NodeName),
    /// We are not among what it looks at; the text says what it looked for and what to change.
    Missing(String),
}
