//! What the reconciler knows about one other node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Prune;
use crate::discovery::desired::{Candidate, CandidateState};
use crate::discovery::mesh::DialFailure;
use crate::discovery::snapshot::{LinkStatus, PeerStatus};
use crate::discovery::strategy::TopologyName;
use crate::net::DialTarget;
use crate::proto::NodeName;

#[derive(Debug)]
pub(super) struct Peer {
    /// Who wants it, and where they say it is.
    pub(super) wanted: BTreeMap<TopologyName, Candidate>,
    /// The link is up, since then.
    pub(super) up: Option<Instant>,
    pub(super) dialling: bool,
    /// Something changed while it was being dialled.
    pub(super) news: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) failure: Option<(Instant, DialFailure)>,
    /// Failures of that kind in a row.
    pub(super) alike: u32,
    /// The first failure since it was connected.
    pub(super) failing_since: Option<Instant>,
    /// Not dialled before this.
    pub(super) due: Instant,
    /// Known for certain to have left, since then.
    pub(super) gone: Option<Instant>,
    /// Since when nobody wants it, or it is not connected; whichever came last.
    pub(super) idle_since: Instant,
    /// Where it last was and in which generation: what is the same again is no news.
    last_seen: Option<(DialTarget, u64)>,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: BTreeMap::new(),
            up: None,
            dialling: false,
            news: false,
            failures: 0,
            failure: None,
            alike: 0,
            failing_since: None,
            due: now,
            gone: None,
            idle_since: now,
            last_seen: None,
        }
    }

    /// A topology says that this node is there.
    pub(super) fn want(&mut self, topology: TopologyName, candidate: Candidate, now: Instant) {
        let seen = Some((candidate.target.clone(), candidate.generation));
        let before = self.wanted.get(&topology);
        let moved = match before {
            Some(before) => (&before.target, before.generation) != (&candidate.target, candidate.generation),
            // A name that comes and goes with rotating answers is the same node as before.
            None => self.gone.is_some() || seen != self.last_seen,
        };
        let woke = candidate.state == CandidateState::Ready
            && before.is_some_and(|before| before.state != CandidateState::Ready);
        if before.is_none() {
            self.gone = None;
        }
        if moved || woke {
            self.failures = 0;
            self.due = now;
            self.news = self.dialling;
        }
        self.last_seen = seen;
        self.wanted.insert(topology, candidate);
    }

    /// A topology has stopped wanting it.
    pub(super) fn lose_interest(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// What to go by when several topologies know it. That it is on its way out counts, whoever knows it.
    pub(super) fn best(&self) -> Option<&Candidate> {
        let leaving = self.wanted.values().find(|candidate| candidate.state == CandidateState::Terminating);
        leaving.or_else(|| {
            self.wanted.values().min_by_key(|candidate| {
                (candidate.state, candidate.target.ip.is_none(), candidate.target.port.is_none())
            })
        })
    }

    /// It may be dialled, once it is due.
    pub(super) fn dialable(&self) -> bool {
        let wanted = self.best().is_some_and(|candidate| candidate.state != CandidateState::Terminating);
        wanted && self.up.is_none() && !self.dialling
    }

    /// When to drop the link, if ever.
    pub(super) fn prune_at(&self, prune: Prune) -> Option<Instant> {
        let gone = self.gone.filter(|_| self.up.is_some() && self.wanted.is_empty())?;
        match prune {
            Prune::Never => None,
            Prune::AfterGrace(grace) => Some(gone.max(self.idle_since) + grace),
            Prune::Immediate => Some(gone),
        }
    }

    /// Nothing about it matters any more.
    pub(super) fn forgettable(&self, now: Instant) -> bool {
        let idle = self.wanted.is_empty() && self.up.is_none() && !self.dialling;
        idle && (self.gone.is_some() || now.saturating_duration_since(self.idle_since) >= FORGET_AFTER)
    }

    pub(super) fn status(&self, name: &NodeName, now: Instant) -> PeerStatus {
        let best = self.best();
        let link = match self.up {
            Some(since) => LinkStatus::Up { since: now.saturating_duration_since(since) },
            None if self.dialling => LinkStatus::Dialling,
            None if self.dialable() => LinkStatus::Waiting { retry_in: self.due.saturating_duration_since(now) },
            None => LinkStatus::Down,
        };
        let failure = self.failure.as_ref();
        PeerStatus {
            name: name.clone(),
            target: best.map(|candidate| candidate.target.clone()),
            state: best.map(|candidate| candidate.state),
            origin: best.map(|candidate| candidate.origin.clone()).unwrap_or_default(),
            wanted_by: self.wanted.keys().cloned().collect(),
            gone: self.gone.is_some(),
            link,
            failures: self.failures,
            failing_for: self.failing_since.map(|at| now.saturating_duration_since(at)),
            last_failure: failure.map(|(at, failure)| (failure.clone(), now.saturating_duration_since(*at))),
        }
    }
}

/// How long a node that nobody names any more keeps its record of failures: longer than a name server takes
/// to go round its answers, so that a dead address does not start afresh each time.
const FORGET_AFTER: Duration = Duration::from_secs(600);
