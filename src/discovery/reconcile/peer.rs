//! What the reconciler knows about one other node.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::config::{Prune, ReconcileConfig};
use super::policy::HeldBack;
use super::schedule::Place;
use crate::discovery::desired::{Candidate, CandidateState};
use crate::discovery::mesh::{DialFailure, FailureKind};
use crate::discovery::snapshot::{LinkStatus, PeerStatus};
use crate::discovery::strategy::TopologyName;
use crate::net::DialTarget;
use crate::proto::NodeName;

#[derive(Debug)]
pub(super) struct Peer {
    /// Who wants it, and where they say it is; by the names of the topologies. Nearly always one.
    pub(super) wanted: SmallVec<[(TopologyName, Candidate); 1]>,
    /// The link is up, since then.
    pub(super) up: Option<Instant>,
    pub(super) dialling: Option<Dial>,
    /// Something changed while it was being dialled.
    pub(super) news: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Pauses in a row that grew.
    pub(super) steps: u32,
    pub(super) failure: Option<(Instant, DialFailure)>,
    /// What it fails with all the time.
    alike: Option<Alike>,
    /// The first failure since it was connected.
    pub(super) failing_since: Option<Instant>,
    /// When it was found, or what stands behind the name was started.
    appeared: Instant,
    /// Not dialled before this.
    pub(super) due: Instant,
    /// Known for certain to have left, since then.
    pub(super) gone: Option<Instant>,
    /// Since when nobody wants it, or it is not connected; whichever came last.
    pub(super) idle_since: Instant,
    /// Where it was and in which generation when the last topology ceased to want it: what is the same again is no news.
    last_seen: Option<(DialTarget, u64)>,
    /// What the policy has against it.
    pub(super) held: Option<HeldBack>,
    /// Kept by the schedule.
    pub(super) place: Place,
}

/// A dial that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dial {
    pub(super) began: Instant,
    /// Dials before it failed.
    pub(super) retry: bool,
}

#[derive(Debug)]
struct Alike {
    kind: FailureKind,
    /// When the first dial that failed so began.
    since: Instant,
    told: bool,
}

/// What an answer says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Changed,
    Same,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: SmallVec::new(),
            up: None,
            dialling: None,
            news: false,
            failures: 0,
            steps: 0,
            failure: None,
            alike: None,
            failing_since: None,
            appeared: now,
            due: now,
            gone: None,
            idle_since: now,
            last_seen: None,
            held: None,
            place: Place::default(),
        }
    }

    /// A topology says that this node is there.
    pub(super) fn want(&mut self, topology: &TopologyName, candidate: Candidate, now: Instant) -> Seen {
        let at = self.wanted.binary_search_by(|(known, _)| known.cmp(topology));
        let before = at.ok().and_then(|at| self.wanted.get(at)).map(|(_, before)| before);
        let same =
            |target: &DialTarget, generation: u64| generation == candidate.generation && *target == candidate.target;
        let (moved, woke, seen) = match before {
            Some(before) => {
                let moved = !same(&before.target, before.generation);
                let woke = candidate.state == CandidateState::Ready && before.state != CandidateState::Ready;
                let other = before.state != candidate.state || before.target != candidate.target;
                (moved, woke, if other { Seen::Changed } else { Seen::Same })
            }
            None => {
                // A name that comes and goes with rotating answers is the same node as before.
                let known = self.wanted.iter().any(|(_, other)| same(&other.target, other.generation))
                    || self.last_seen.as_ref().is_some_and(|(target, generation)| same(target, *generation));
                (self.gone.take().is_some() || !known, false, Seen::New)
            }
        };
        if moved {
            self.appeared = now;
        }
        if moved || woke {
            self.failures = 0;
            self.steps = 0;
            self.alike = None;
            self.due = now;
            self.news = self.dialling.is_some();
        }
        match at {
            Ok(at) => {
                if let Some((_, known)) = self.wanted.get_mut(at) {
                    *known = candidate;
                }
            }
            Err(at) => self.wanted.insert(at, (topology.clone(), candidate)),
        }
        seen
    }

    /// A topology has stopped wanting it; false when it never did.
    pub(super) fn lose_interest(&mut self, topology: &TopologyName, now: Instant) -> bool {
        let Ok(at) = self.wanted.binary_search_by(|(known, _)| known.cmp(topology)) else { return false };
        let (_, candidate) = self.wanted.remove(at);
        self.last_seen = Some((candidate.target, candidate.generation));
        self.idle_since = now;
        true
    }

    /// What to go by when several topologies know it. That it is on its way out counts, whoever knows it.
    pub(super) fn best(&self) -> Option<&Candidate> {
        let mut candidates = self.wanted.iter().map(|(_, candidate)| candidate);
        let leaving = candidates.clone().find(|candidate| candidate.state == CandidateState::Terminating);
        leaving.or_else(|| {
            if self.wanted.len() < 2 {
                return candidates.next();
            }
            candidates.min_by_key(|candidate| {
                (candidate.state, candidate.target.ip.is_none(), candidate.target.port.is_none())
            })
        })
    }

    /// An operator named it.
    pub(super) fn by_hand(&self) -> bool {
        self.wanted.iter().any(|(_, candidate)| candidate.by_hand)
    }

    /// It was found so recently that it may still be starting.
    pub(super) fn is_booting(&self, config: &ReconcileConfig, now: Instant) -> bool {
        now.saturating_duration_since(self.appeared) < config.boot_window
    }

    /// It may be dialled, once it is due.
    pub(super) fn dialable(&self) -> bool {
        self.unlinked() && self.held.is_none()
    }

    /// It should be connected, is not, and nothing is being done about it.
    fn unlinked(&self) -> bool {
        let wanted = self.best().is_some_and(|candidate| candidate.state != CandidateState::Terminating);
        wanted && self.up.is_none() && self.dialling.is_none()
    }

    /// A dial that began at `began` has failed; true when that is worth a line.
    pub(super) fn worth_a_line(&mut self, kind: FailureKind, began: Instant, now: Instant) -> bool {
        let alike = match &mut self.alike {
            Some(alike) if alike.kind == kind => alike,
            other => other.insert(Alike { kind, since: began, told: false }),
        };
        let long = kind.needs_a_person() || now.saturating_duration_since(alike.since) >= PATIENCE;
        long && !std::mem::replace(&mut alike.told, long)
    }

    /// The link is up: what failed before is of no interest any more.
    pub(super) fn forgive(&mut self) {
        (self.failure, self.failing_since, self.alike) = (None, None, None);
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

    /// From when on nothing about it matters any more.
    pub(super) fn forget_at(&self) -> Option<Instant> {
        let idle = self.wanted.is_empty() && self.up.is_none() && self.dialling.is_none();
        idle.then(|| if self.gone.is_some() { self.idle_since } else { self.idle_since + FORGET_AFTER })
    }

    /// `full`: as many links as there may be.
    pub(super) fn status(&self, name: &NodeName, full: bool, now: Instant) -> PeerStatus {
        let best = self.best();
        let link = match (self.up, self.dialling) {
            (Some(since), _) => LinkStatus::Up { since: now.saturating_duration_since(since) },
            (None, Some(_)) => LinkStatus::Dialling,
            (None, None) if !self.unlinked() => LinkStatus::Down,
            (None, None) => match self.held.or(full.then_some(HeldBack::LimitReached)) {
                Some(why) => LinkStatus::HeldBack(why),
                None => LinkStatus::Waiting { retry_in: self.due.saturating_duration_since(now) },
            },
        };
        let known = |pick: fn(&Candidate) -> &Option<std::sync::Arc<str>>| {
            self.wanted.iter().find_map(|(_, candidate)| pick(candidate).clone())
        };
        let failure = self.failure.as_ref();
        PeerStatus {
            name: name.clone(),
            target: best.map(|candidate| candidate.target.clone()),
            state: best.map(|candidate| candidate.state),
            origin: best.map(|candidate| candidate.origin.clone()).unwrap_or_default(),
            zone: known(|candidate| &candidate.zone),
            release: known(|candidate| &candidate.release),
            wanted_by: self.wanted.iter().map(|(topology, _)| topology.clone()).collect(),
            gone: self.gone.is_some(),
            link,
            failures: self.failures,
            failing_for: self.failing_since.map(|at| now.saturating_duration_since(at)),
            last_failure: failure.map(|(at, failure)| (failure.clone(), now.saturating_duration_since(*at))),
        }
    }
}

/// A pod runs some seconds before its node is up: nobody has to hear of dials that fail before that.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a node that nobody names any more keeps its record of failures: longer than a name server takes
/// to go round its answers, so that a dead address does not start afresh each time.
const FORGET_AFTER: Duration = Duration::from_secs(600);
