//! The decisions: whom to dial and when, and what to let go. No I/O, no clock of its own.
//!
//! Everything that happens goes in through [`Reconciler::handle`] with the time it happened at; what is to
//! be done comes out. [`Reconciler::next_wakeup`] says when to come back though nothing happened.
//!
//! A link is only ever dropped here when a strategy has *proof* that the peer left, and then as [`Prune`]
//! says. An error, an empty answer, one with fewer names: none of them drops a link.

mod config;
mod peer;
mod policy;
mod schedule;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::config::Setback;
pub use self::config::{Prune, ReconcileConfig};
use self::peer::{Dial, Peer, Seen};
use self::policy::View;
pub use self::policy::{HeldBack, Policy};
use self::schedule::Schedule;
use self::topology::{SELF_CHECK_GRACE, Topology};
use super::backoff::Dice;
use super::desired::{Desired, SelfView};
use super::event::{DiscoveryEvent, Evidence};
use super::mesh::{DialFailure, FailureKind};
use super::snapshot::{Snapshot, Stats};
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
    schedule: Schedule,
    /// Since when the release gate has been unable to decide about somebody, and whether that was told.
    blind: Option<(Instant, bool)>,
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
    /// A dial has ended. Before one that went well, hand in [`Input::Up`].
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

impl Reconciler {
    /// A reconciler for the node `own`.
    pub fn new(own: NodeName, config: ReconcileConfig) -> Self {
        Self {
            own,
            config,
            topologies: BTreeMap::new(),
            peers: BTreeMap::new(),
            schedule: Schedule::default(),
            blind: None,
            stopped: false,
            dice: Dice::seeded(),
            stats: Stats::default(),
        }
    }

    /// Makes a topology known before its first report. Others become known by their first report.
    pub fn add_topology(&mut self, topology: TopologyName, kind: &'static str) {
        self.topologies.entry(topology).or_default().kind = kind;
    }

    /// Takes in what happened and says what to do. An answer costs as much as it has nodes; everything else is
    /// about one node, and costs the same however many there are.
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
            self.check_gate(now, &mut out);
        }
        while let Some(name) = self.schedule.to_forget(now).cloned() {
            let Some(peer) = self.peers.remove(&name) else { break };
            self.schedule.remove(&name, &peer);
        }
        out
    }

    /// When to hand in a [`Input::Tick`] if nothing happens before; may lie in the past.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let checks = self.topologies.values().filter_map(Topology::check_at);
        let gate = self.blind.filter(|(_, told)| !told).map(|(since, _)| since + SELF_CHECK_GRACE);
        checks.chain(gate).chain(self.schedule.next(&self.config)).min()
    }

    /// How things stand.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let full = self.schedule.is_full(&self.config);
        Snapshot {
            own: self.own.clone(),
            topologies: self.topologies.iter().map(|(name, topology)| topology.status(name, now)).collect(),
            peers: self.peers.iter().map(|(name, peer)| peer.status(name, full, now)).collect(),
            stats: self.stats.clone(),
        }
    }

    fn answer(&mut self, topology: &TopologyName, desired: Desired, now: Instant, out: &mut Vec<Action>) {
        self.stats.answers += 1;
        let Desired { peers, gone, me } = desired;
        let state = self.topologies.entry(topology.clone()).or_default();
        state.answers += 1;
        state.size = peers.len();
        state.last_success = Some(now);
        if state.health == Health::Starting {
            state.health = Health::Healthy;
        }
        // What is at our address under another basename is in our pod: what it belongs to, we do.
        let called = match &me {
            SelfView::Called(name) => Some(name),
            _ => None,
        };
        state.know_self(peers.get(&self.own).or_else(|| peers.get(called?)));
        // What others call us is us, even where it is not our name. With another basename it is somebody
        // else at our address: the node that we are the sidecar of.
        let also_me = called.filter(|name| name.name() == self.own.name()).cloned();
        state.look_at_self(&self.own, me, peers.contains_key(&self.own), now);

        for (name, peer) in &mut self.peers {
            if peers.contains_key(name) || !peer.lose_interest(topology, now) {
                continue;
            }
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
            let state = candidate.state;
            let seen = peer.want(topology, candidate, now);
            let target = || peer.wanted.iter().find(|(known, _)| known == topology).map(|(_, c)| c.target.clone());
            let Some(target) = (seen != Seen::Same).then(target).flatten() else { continue };
            let topology = topology.clone();
            out.push(Action::Tell(match seen {
                Seen::New => DiscoveryEvent::Discovered { topology, target, state },
                Seen::Changed | Seen::Same => DiscoveryEvent::Changed { topology, target, state },
            }));
        }
        self.settle_all(now);
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
        *state.errors.entry(error.kind).or_default() += 1;
        state.last_error = Some((now, error.clone()));
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
        if peer.up.is_some() {
            return;
        }
        peer.up = Some(now);
        peer.forgive();
        let wanted = !peer.wanted.is_empty();
        self.settle(&name, now);
        if wanted {
            self.stats.connected += 1;
            out.push(Action::Tell(DiscoveryEvent::Connected { name }));
        }
    }

    fn down(&mut self, name: &NodeName, reason: String, now: Instant, out: &mut Vec<Action>) {
        let waiting = self.schedule.waiting();
        let Some(peer) = self.peers.get_mut(name) else { return };
        let Some(since) = peer.up.take() else { return };
        peer.idle_since = now;
        if now.saturating_duration_since(since) >= self.config.stable_after {
            (peer.failures, peer.steps) = (0, 0);
            peer.due = now;
        } else {
            peer.failures = peer.failures.saturating_add(1);
            let setback = Setback { kind: None, booting: false, by_hand: peer.by_hand(), waiting };
            peer.due = now + self.config.pause(setback, &mut peer.steps, &mut self.dice);
        }
        if !peer.wanted.is_empty() {
            self.stats.lost += 1;
            out.push(Action::Tell(DiscoveryEvent::Lost { name: name.clone(), reason }));
        }
        self.settle(name, now);
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
        let waiting = self.schedule.waiting();
        let Some(peer) = self.peers.get_mut(&name) else { return };
        let began = peer.dialling.take().map_or(now, |dial| dial.began);
        // Whoever won a simultaneous connect: the link is what counts.
        if peer.up.is_some() {
            self.settle(&name, now);
            return;
        }
        let failure =
            result.err().unwrap_or_else(|| DialFailure::new(FailureKind::Other, "the link broke as soon as it was up"));
        *self.stats.failed.entry(failure.kind).or_default() += 1;
        peer.idle_since = now;
        let pause = if std::mem::take(&mut peer.news) {
            // What failed is not what we would dial now.
            (peer.failures, peer.steps) = (0, 0);
            Duration::ZERO
        } else {
            peer.failures = peer.failures.saturating_add(1);
            let booting = peer.is_booting(&self.config, now);
            let setback = Setback { kind: Some(failure.kind), booting, by_hand: peer.by_hand(), waiting };
            self.config.pause(setback, &mut peer.steps, &mut self.dice)
        };
        peer.due = now + pause;
        let tell = peer.worth_a_line(failure.kind, began, now);
        peer.failure = Some((now, failure.clone()));
        peer.failing_since.get_or_insert(now);
        out.push(Action::Tell(DiscoveryEvent::ConnectFailed {
            name: name.clone(),
            kind: failure.kind,
            text: failure.text,
            retry_in: (peer.dialable() && !self.stopped).then_some(pause),
            failures: peer.failures,
            tell,
        }));
        self.settle(&name, now);
    }

    fn prune(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some(name) = self.schedule.to_prune(now).cloned() {
            let Some(peer) = self.peers.get_mut(&name) else { return };
            peer.gone = None;
            self.settle(&name, now);
            self.stats.pruned += 1;
            let reason = "discovery says that the node has left".to_owned();
            out.push(Action::Disconnect { name: name.clone(), reason: reason.clone() });
            out.push(Action::Tell(DiscoveryEvent::Pruned { name, reason }));
        }
    }

    fn dial(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some(name) = self.schedule.waited(now).cloned() {
            if !self.settle(&name, now) {
                return;
            }
        }
        while let Some(name) = self.schedule.first(&self.config).cloned() {
            let Some(peer) = self.peers.get_mut(&name) else { return };
            let Some(target) = peer.best().map(|candidate| candidate.target.clone()) else { return };
            peer.dialling = Some(Dial { began: now, retry: peer.failures > 0 });
            peer.news = false;
            let attempt = peer.failures.saturating_add(1);
            self.settle(&name, now);
            self.stats.dials += 1;
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

    fn check_gate(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some((since, told @ false)) = &mut self.blind else { return };
        if now.saturating_duration_since(*since) < SELF_CHECK_GRACE {
            return;
        }
        *told = true;
        let held_back = self.undecided();
        let hint = "set the own release of the policy, or give this node's pod the label that releases are read from";
        out.push(Action::Tell(DiscoveryEvent::ReleaseUnknown { held_back, hint: hint.to_owned() }));
    }

    /// How many nodes are held back because our own release is not known.
    fn undecided(&self) -> usize {
        self.peers.values().filter(|peer| peer.held == Some(HeldBack::OwnReleaseUnknown)).count()
    }

    /// Brings one peer to its place after a change; false when it is not known.
    fn settle(&mut self, name: &NodeName, now: Instant) -> bool {
        let Self { own, config, topologies, peers, schedule, .. } = self;
        let view = View { policy: &config.policy, own, topologies };
        let Some(peer) = peers.get_mut(name) else { return false };
        schedule.settle(name, peer, &view, config, now);
        true
    }

    /// After an answer: what it says of this node matters for all.
    fn settle_all(&mut self, now: Instant) {
        let Self { own, config, topologies, peers, schedule, .. } = self;
        let view = View { policy: &config.policy, own, topologies };
        for (name, peer) in peers.iter_mut() {
            schedule.settle(name, peer, &view, config, now);
        }
        if config.policy.release_gate && self.undecided() > 0 {
            self.blind.get_or_insert((now, false));
        } else {
            self.blind = None;
        }
    }
}
