//! The decisions: whom to dial and when, and what to let go. No I/O, no clock of its own.
//!
//! Everything that happens goes in through [`Reconciler::handle`] with the time it happened at; what is to
//! be done comes out. [`Reconciler::next_wakeup`] says when to come back though nothing happened.
//!
//! A link is only ever dropped here when a strategy has *proof* that the peer left, and then as [`Prune`]
//! says. An error, an empty answer, one with fewer names: none of them drops a link.

mod peer;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use self::peer::Peer;
use self::topology::Topology;
use super::backoff::{Backoff, Dice};
use super::desired::{Desired, SelfView};
use super::event::{DiscoveryEvent, Evidence};
use super::mesh::{DialFailure, FailureKind};
use super::snapshot::{Snapshot, Stats, TopologyStatus};
use super::strategy::{DiscoveryError, Health, TopologyName};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// Decides. One per node; feed it and do what it says.
#[derive(Debug)]
pub struct Reconciler {
    own: NodeName,
    config: ReconcileConfig,
    topologies: BTreeMap<TopologyName, Topology>,
    peers: BTreeMap<NodeName, Peer>,
    stopped: bool,
    dice: Dice,
    stats: Stats,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A strategy has a complete answer.
    Answer {
        /// Which.
        topology: TopologyName,
        /// The answer.
        desired: Desired,
    },
    /// A strategy is well.
    Healthy {
        /// Which.
        topology: TopologyName,
    },
    /// A strategy has no answer.
    Failure {
        /// Which.
        topology: TopologyName,
        /// Why.
        error: DiscoveryError,
    },
    /// A link is up, whoever began it.
    Up(NodeName),
    /// A link is gone.
    Down {
        /// The peer.
        name: NodeName,
        /// Why.
        reason: String,
    },
    /// All links that are up, to set right what news may have missed.
    Connected(Vec<NodeName>),
    /// A dial has ended. Before one that went well, hand in [`Input::Connected`].
    Dialled {
        /// The peer.
        name: NodeName,
        /// How it ended.
        result: Result<(), DialFailure>,
    },
    /// Nothing but time has passed.
    Tick,
    /// This node is leaving: no more dials, nothing is let go any more.
    Stop,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Dial, and hand in [`Input::Dialled`].
    Dial(DialTarget),
    /// Drop the link.
    Disconnect {
        /// The peer.
        name: NodeName,
        /// Why, for people.
        reason: String,
    },
    /// Tell those who listen.
    Tell(DiscoveryEvent),
}

/// What becomes of a link to a node that has left for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It stays until it breaks by itself.
    Never,
    /// It may break by itself for so long, then it is dropped.
    AfterGrace(Duration),
    /// It is dropped at once.
    Immediate,
}

impl Default for Prune {
    fn default() -> Self {
        Self::AfterGrace(PRUNE_GRACE)
    }
}

/// The knobs. Start from [`ReconcileConfig::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconcileConfig {
    /// What becomes of links to nodes that left.
    pub prune: Prune,
    /// The most dials at a time.
    pub max_dials: NonZeroUsize,
    /// Pauses between dials of one node.
    pub backoff: Backoff,
    /// Pauses after failures that someone has to mend (a wrong cookie, not allowed).
    pub backoff_misconfigured: Backoff,
    /// A link that breaks sooner than this counts as a failure, so that it is not dialled in a tight loop.
    pub stable_after: Duration,
    /// A dial that has not ended by then is given up.
    pub dial_limit: Duration,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            prune: Prune::default(),
            max_dials: MAX_DIALS,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            backoff_misconfigured: Backoff::new(Duration::from_secs(10), Duration::from_secs(120)),
            stable_after: Duration::from_secs(10),
            dial_limit: DIAL_LIMIT,
        }
    }
}

impl Reconciler {
    /// A reconciler for the node `own`.
    pub fn new(own: NodeName, config: ReconcileConfig) -> Self {
        let stats = Stats::default();
        let (topologies, peers) = (BTreeMap::new(), BTreeMap::new());
        Self { own, config, topologies, peers, stopped: false, dice: Dice::seeded(), stats }
    }

    /// Makes a topology known before its first report. Others become known by their first report.
    pub fn add_topology(&mut self, topology: TopologyName, kind: &'static str) {
        self.topologies.entry(topology).or_default().kind = kind;
    }

    /// Takes in what happened and says what to do.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        match input {
            Input::Answer { topology, desired } => self.answer(&topology, desired, now, &mut out),
            Input::Healthy { topology } => self.healthy(&topology, now, &mut out),
            Input::Failure { topology, error } => self.failure(topology, error, now, &mut out),
            Input::Up(name) => self.up(name, now, &mut out),
            Input::Down { name, reason } => self.down(&name, reason, now, &mut out),
            Input::Connected(names) => self.connected(names, now, &mut out),
            Input::Dialled { name, result } => self.dialled(name, result, now, &mut out),
            Input::Tick => {}
            Input::Stop => self.stopped = true,
        }
        if !self.stopped {
            self.prune(now, &mut out);
            self.dial(now, &mut out);
            self.check_self(now, &mut out);
        }
        self.peers.retain(|_, peer| !peer.forgettable(now));
        out
    }

    /// When to hand in a [`Input::Tick`] if nothing happens before; may lie in the past.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let in_flight = self.in_flight();
        let dials = self.peers.values().filter(|peer| peer.dialable() && self.has_slot(peer, in_flight));
        let dials = dials.map(|peer| peer.due);
        let prunes = self.peers.values().filter_map(|peer| peer.prune_at(self.config.prune));
        let checks = self.topologies.values().filter_map(Topology::check_at);
        dials.chain(prunes).chain(checks).min()
    }

    /// How things stand.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let topologies = self.topologies.iter().map(|(name, topology)| TopologyStatus {
            name: name.clone(),
            kind: topology.kind,
            health: topology.health.clone(),
            last_success: topology.last_success.map(|at| now.saturating_duration_since(at)),
            size: topology.size,
        });
        let peers = self.peers.iter().map(|(name, peer)| peer.status(name, now));
        Snapshot {
            own: self.own.clone(),
            topologies: topologies.collect(),
            peers: peers.collect(),
            stats: self.stats.clone(),
        }
    }

    fn answer(&mut self, topology: &TopologyName, desired: Desired, now: Instant, out: &mut Vec<Action>) {
        self.stats.answers += 1;
        let Desired { peers, gone, me } = desired;
        let state = self.topologies.entry(topology.clone()).or_default();
        state.size = peers.len();
        state.last_success = Some(now);
        if state.health == Health::Starting {
            state.health = Health::Healthy;
        }
        state.look_at_self(&self.own, me, peers.contains_key(&self.own), now);
        // What others call us is us, even where it is not our name. With another basename it is somebody
        // else at our address: the node that we are the sidecar of.
        let also_me = match &state.me {
            SelfView::Called(name) if name.name() == self.own.name() => Some(name.clone()),
            _ => None,
        };

        for (name, peer) in &mut self.peers {
            if peers.contains_key(name) || peer.wanted.remove(topology).is_none() {
                continue;
            }
            peer.lose_interest(now);
            let evidence = if gone.contains(name) { Evidence::Positive } else { Evidence::Absence };
            out.push(Action::Tell(DiscoveryEvent::Removed {
                topology: topology.clone(),
                name: name.clone(),
                evidence,
                connected: peer.up.is_some(),
            }));
        }
        for name in gone.iter().filter(|name| !peers.contains_key(*name)) {
            if let Some(peer) = self.peers.get_mut(name) {
                peer.gone.get_or_insert(now);
            }
        }
        for (name, candidate) in peers {
            if name == self.own || Some(&name) == also_me.as_ref() {
                continue;
            }
            let peer = self.peers.entry(name).or_insert_with(|| Peer::new(now));
            let (target, state) = (candidate.target.clone(), candidate.state);
            let topology = topology.clone();
            let before = peer.wanted.get(&topology).map(|known| (known.target.clone(), known.state));
            match before {
                None => {
                    out.push(Action::Tell(DiscoveryEvent::Discovered { topology: topology.clone(), target, state }))
                }
                Some(before) if before != (target.clone(), state) => {
                    out.push(Action::Tell(DiscoveryEvent::Changed { topology: topology.clone(), target, state }));
                }
                Some(_) => {}
            }
            peer.want(topology, candidate, now);
        }
    }

    fn healthy(&mut self, topology: &TopologyName, now: Instant, out: &mut Vec<Action>) {
        let state = self.topologies.entry(topology.clone()).or_default();
        state.last_success = Some(now);
        if let Health::Degraded { .. } = std::mem::replace(&mut state.health, Health::Healthy) {
            out.push(Action::Tell(DiscoveryEvent::Recovered { topology: topology.clone() }));
        }
    }

    fn failure(&mut self, topology: TopologyName, error: DiscoveryError, now: Instant, out: &mut Vec<Action>) {
        *self.stats.errors.entry(error.kind).or_default() += 1;
        let state = self.topologies.entry(topology.clone()).or_default();
        let (known, since) = match &state.health {
            Health::Degraded { error: before, since } => (before.kind == error.kind, *since),
            _ => (false, now),
        };
        state.health = Health::Degraded { error: error.clone(), since };
        if !known {
            out.push(Action::Tell(DiscoveryEvent::Degraded { topology, error }));
        }
    }

    fn up(&mut self, name: NodeName, now: Instant, out: &mut Vec<Action>) {
        if name == self.own {
            return;
        }
        let peer = self.peers.entry(name.clone()).or_insert_with(|| Peer::new(now));
        if peer.up.is_none() {
            peer.up = Some(now);
            peer.failure = None;
            peer.failing_since = None;
            if !peer.wanted.is_empty() {
                self.stats.connected += 1;
                out.push(Action::Tell(DiscoveryEvent::Connected { name }));
            }
        }
    }

    fn down(&mut self, name: &NodeName, reason: String, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        let Some(since) = peer.up.take() else { return };
        peer.idle_since = now;
        if now.saturating_duration_since(since) >= self.config.stable_after {
            peer.failures = 0;
            peer.due = now;
        } else {
            peer.failures = peer.failures.saturating_add(1);
            peer.due = now + self.config.backoff.pause(peer.failures, &mut self.dice);
        }
        if !peer.wanted.is_empty() {
            self.stats.lost += 1;
            out.push(Action::Tell(DiscoveryEvent::Lost { name: name.clone(), reason }));
        }
    }

    fn connected(&mut self, names: Vec<NodeName>, now: Instant, out: &mut Vec<Action>) {
        let names: BTreeSet<_> = names.into_iter().collect();
        let up = self.peers.iter().filter(|(_, peer)| peer.up.is_some()).map(|(name, _)| name);
        let lost: Vec<_> = up.filter(|name| !names.contains(*name)).cloned().collect();
        for name in lost {
            self.down(&name, "the link is no longer there".to_owned(), now, out);
        }
        for name in names {
            self.up(name, now, out);
        }
    }

    fn dialled(&mut self, name: NodeName, result: Result<(), DialFailure>, now: Instant, out: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&name) else { return };
        peer.dialling = false;
        // Whoever won a simultaneous connect: the link is what counts.
        if peer.up.is_some() {
            return;
        }
        let failure =
            result.err().unwrap_or_else(|| DialFailure::new(FailureKind::Other, "the link broke as soon as it was up"));
        *self.stats.failed.entry(failure.kind).or_default() += 1;
        peer.idle_since = now;
        let pause = if std::mem::take(&mut peer.news) {
            // What failed is not what we would dial now.
            peer.failures = 0;
            Duration::ZERO
        } else {
            peer.failures = peer.failures.saturating_add(1);
            let backoff =
                if failure.kind.needs_a_person() { self.config.backoff_misconfigured } else { self.config.backoff };
            backoff.pause(peer.failures, &mut self.dice)
        };
        peer.due = now + pause;
        let as_before = peer.failures > 1 && peer.failure.as_ref().is_some_and(|(_, last)| last.kind == failure.kind);
        peer.alike = if as_before { peer.alike.saturating_add(1) } else { peer.failures.min(1) };
        peer.failure = Some((now, failure.clone()));
        peer.failing_since.get_or_insert(now);
        out.push(Action::Tell(DiscoveryEvent::ConnectFailed {
            name,
            kind: failure.kind,
            text: failure.text,
            retry_in: (peer.dialable() && !self.stopped).then_some(pause),
            failures: peer.failures,
            tell: peer.alike == if failure.kind.mends_by_waiting() { PATIENCE } else { 1 },
        }));
    }

    fn prune(&mut self, now: Instant, out: &mut Vec<Action>) {
        for (name, peer) in &mut self.peers {
            if peer.prune_at(self.config.prune).is_none_or(|at| at > now) {
                continue;
            }
            peer.gone = None;
            self.stats.pruned += 1;
            let reason = "discovery says that the node has left".to_owned();
            out.push(Action::Disconnect { name: name.clone(), reason: reason.clone() });
            out.push(Action::Tell(DiscoveryEvent::Pruned { name: name.clone(), reason }));
        }
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Action>) {
        let (mut dialling, mut retries) = self.in_flight();
        if dialling >= self.config.max_dials.get() {
            return;
        }
        let max_retries = self.max_retries();
        let mut waiting: Vec<_> = self.peers.values_mut().filter(|peer| peer.dialable() && peer.due <= now).collect();
        // The untried first, then the ready, then who has waited longest.
        waiting.sort_by_cached_key(|peer| (peer.failures > 0, peer.best().map(|candidate| candidate.state), peer.due));
        for peer in waiting {
            let retry = peer.failures > 0;
            if dialling >= self.config.max_dials.get() || (retry && retries >= max_retries) {
                break;
            }
            let Some(target) = peer.best().map(|candidate| candidate.target.clone()) else { continue };
            peer.dialling = true;
            peer.news = false;
            dialling += 1;
            retries += usize::from(retry);
            self.stats.dials += 1;
            let attempt = peer.failures.saturating_add(1);
            out.push(Action::Tell(DiscoveryEvent::Connecting { target: target.clone(), attempt }));
            out.push(Action::Dial(target));
        }
    }

    fn check_self(&mut self, now: Instant, out: &mut Vec<Action>) {
        for (topology, state) in &mut self.topologies {
            if state.check_at().is_none_or(|at| at > now) {
                continue;
            }
            state.told = Some((now, state.me.clone()));
            let (called, hint) = match &state.me {
                SelfView::Called(name) => (
                    Some(name.clone()),
                    "set RELEASE_NODE to the name they dial, or make both follow one rule".to_owned(),
                ),
                SelfView::Missing(hint) => (None, hint.clone()),
                SelfView::Unknown => continue,
            };
            let (topology, own) = (topology.clone(), self.own.clone());
            out.push(Action::Tell(DiscoveryEvent::NotFindable { topology, own, called, hint }));
        }
    }

    /// How many dials run, and how many of them are to nodes that failed before.
    fn in_flight(&self) -> (usize, usize) {
        let dialling = self.peers.values().filter(|peer| peer.dialling);
        dialling.fold((0, 0), |(all, retries), peer| (all + 1, retries + usize::from(peer.failures > 0)))
    }

    /// A quarter of the slots is kept for nodes that have not failed, so that hundreds of dead addresses,
    /// each with its time-out, do not keep a new node waiting.
    fn max_retries(&self) -> usize {
        let max = self.config.max_dials.get();
        (max - max / 4).max(1)
    }

    fn has_slot(&self, peer: &Peer, (dialling, retries): (usize, usize)) -> bool {
        dialling < self.config.max_dials.get() && (peer.failures == 0 || retries < self.max_retries())
    }
}

/// A pod runs some seconds before its node is up: told are only dials that fail so often in a row (some 3 s).
const PATIENCE: u32 = 3;
/// Twice the usual `net_ticktime`: by then ticks have ended every link to a node that is really dead.
const PRUNE_GRACE: Duration = Duration::from_secs(120);
/// Enough for a large cluster to form in a few round trips, few enough not to look like a port scan.
const MAX_DIALS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// More than `net_setuptime` (7 s) for each of EPMD, TCP and handshake.
const DIAL_LIMIT: Duration = Duration::from_secs(30);
