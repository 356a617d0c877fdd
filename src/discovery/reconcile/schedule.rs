//! Who is to be dialled next, and what falls due when: kept in order, so that news about one node cost nothing for
//! the thousands of others.

use std::collections::BTreeSet;
use std::time::Instant;

use super::config::ReconcileConfig;
use super::peer::Peer;
use super::policy::View;
use crate::discovery::desired::CandidateState;
use crate::proto::NodeName;

/// The order of what is to be done about all peers. [`Schedule::settle`] has to hear of each change of one.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Could be dialled now, in the order of [`Rank`].
    due: BTreeSet<(Rank, NodeName)>,
    /// Are to be dialled, later.
    later: BTreeSet<(Instant, NodeName)>,
    /// Have left, and are connected.
    prunes: BTreeSet<(Instant, NodeName)>,
    /// Nothing about them matters after that.
    forget: BTreeSet<(Instant, NodeName)>,
    /// Links that are up or being dialled.
    links: usize,
    dialling: usize,
    /// Dials of nodes that failed before.
    retrying: usize,
}

/// Where a peer stands in the schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    dial: Option<Turn>,
    prune: Option<Instant>,
    forget: Option<Instant>,
    link: bool,
    dialling: bool,
    retrying: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Due(Rank),
    Later(Instant),
}

/// Who comes before whom: the class, then the fields in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: Class,
    far: bool,
    state: CandidateState,
    preference: u64,
    due: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Untried,
    /// Failed, and was found so recently that it may still be starting.
    Booting,
    /// Failed. Here nothing counts but who has waited longest, or those that are never there would keep the others
    /// from their turn.
    Failing,
}

impl Schedule {
    /// Gives a peer the place that its state asks for.
    pub(super) fn settle(
        &mut self,
        name: &NodeName,
        peer: &mut Peer,
        view: &View<'_>,
        config: &ReconcileConfig,
        now: Instant,
    ) {
        peer.held = view.gate(peer);
        let turn = || match peer.due > now {
            true => Turn::Later(peer.due),
            false => Turn::Due(Rank::of(name, peer, view, config, now)),
        };
        let place = Place {
            dial: peer.dialable().then(turn),
            prune: peer.prune_at(config.prune),
            forget: peer.forget_at(),
            link: peer.up.is_some() || peer.dialling.is_some(),
            dialling: peer.dialling.is_some(),
            retrying: peer.dialling.is_some_and(|dial| dial.retry),
        };
        if place != peer.place {
            self.take(name, std::mem::replace(&mut peer.place, place));
            self.put(name, place);
        }
    }

    /// Who may be dialled now and comes first.
    pub(super) fn first(&self, config: &ReconcileConfig) -> Option<&NodeName> {
        let (rank, name) = self.due.first()?;
        let slot = match rank.class {
            Class::Untried => self.has_slot(config),
            Class::Booting | Class::Failing => self.has_slot(config) && self.retrying < config.max_retries(),
        };
        slot.then_some(name)
    }

    /// Somebody whose pause is over, and who has to be settled.
    pub(super) fn waited(&self, now: Instant) -> Option<&NodeName> {
        until(&self.later, now)
    }

    /// Somebody whose link is to be dropped now.
    pub(super) fn to_prune(&self, now: Instant) -> Option<&NodeName> {
        until(&self.prunes, now)
    }

    /// Somebody who is to be forgotten now.
    pub(super) fn to_forget(&self, now: Instant) -> Option<&NodeName> {
        until(&self.forget, now)
    }

    /// Forgets somebody.
    pub(super) fn remove(&mut self, name: &NodeName, peer: &Peer) {
        self.take(name, peer.place);
    }

    /// When the next of all this falls due.
    pub(super) fn next(&self, config: &ReconcileConfig) -> Option<Instant> {
        let dial = self.later.first().filter(|_| self.has_slot(config));
        [dial, self.prunes.first()].into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// As many links as the policy allows.
    pub(super) fn is_full(&self, config: &ReconcileConfig) -> bool {
        config.policy.max_peers.is_some_and(|max| self.links >= max.get())
    }

    /// How many wait to be dialled.
    pub(super) fn waiting(&self) -> usize {
        self.due.len() + self.later.len()
    }

    fn has_slot(&self, config: &ReconcileConfig) -> bool {
        self.dialling < config.max_dials.get() && !self.is_full(config)
    }

    fn take(&mut self, name: &NodeName, place: Place) {
        match place.dial {
            Some(Turn::Due(rank)) => drop(self.due.remove(&(rank, name.clone()))),
            Some(Turn::Later(at)) => drop(self.later.remove(&(at, name.clone()))),
            None => {}
        }
        if let Some(at) = place.prune {
            self.prunes.remove(&(at, name.clone()));
        }
        if let Some(at) = place.forget {
            self.forget.remove(&(at, name.clone()));
        }
        self.links -= usize::from(place.link);
        self.dialling -= usize::from(place.dialling);
        self.retrying -= usize::from(place.retrying);
    }

    fn put(&mut self, name: &NodeName, place: Place) {
        match place.dial {
            Some(Turn::Due(rank)) => drop(self.due.insert((rank, name.clone()))),
            Some(Turn::Later(at)) => drop(self.later.insert((at, name.clone()))),
            None => {}
        }
        self.prunes.extend(place.prune.map(|at| (at, name.clone())));
        self.forget.extend(place.forget.map(|at| (at, name.clone())));
        self.links += usize::from(place.link);
        self.dialling += usize::from(place.dialling);
        self.retrying += usize::from(place.retrying);
    }
}

impl Rank {
    fn of(name: &NodeName, peer: &Peer, view: &View<'_>, config: &ReconcileConfig, now: Instant) -> Self {
        let class = match peer.failures {
            0 => Class::Untried,
            _ if peer.is_booting(config, now) => Class::Booting,
            _ => {
                return Self {
                    class: Class::Failing,
                    far: false,
                    state: CandidateState::Ready,
                    preference: 0,
                    due: peer.due,
                };
            }
        };
        let state = peer.best().map_or(CandidateState::Ready, |candidate| candidate.state);
        Self { class, far: view.is_far(peer), state, preference: view.preference(name), due: peer.due }
    }
}

fn until(all: &BTreeSet<(Instant, NodeName)>, now: Instant) -> Option<&NodeName> {
    all.first().filter(|(at, _)| *at <= now).map(|(_, name)| name)
}
