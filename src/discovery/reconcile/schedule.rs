//! Who is to be dialled next, and what falls due when: kept in order, so that news about one node cost nothing for
//! the thousands of others.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

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
    /// Dials that began a moment ago.
    dialling: usize,
    /// Those of them that are of nodes that failed before.
    retrying: usize,
    /// When these will have run for too long to keep others waiting.
    slowing: BTreeSet<(Instant, NodeName)>,
    /// Dials that have.
    slow: usize,
}

/// Where a peer stands in the schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    dial: Option<Turn>,
    prune: Option<Instant>,
    forget: Option<Instant>,
    link: bool,
    /// A dial that began a moment ago, until then.
    dialling: Option<Instant>,
    retrying: bool,
    slow: bool,
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
        let slow_at = peer.dialling.map(|dial| dial.began + SLOW_AFTER);
        let fresh = slow_at.filter(|at| *at > now);
        let place = Place {
            dial: peer.dialable().then(turn),
            prune: peer.prune_at(config.prune),
            forget: peer.forget_at(),
            link: peer.up.is_some() || peer.dialling.is_some(),
            dialling: fresh,
            retrying: fresh.is_some() && peer.dialling.is_some_and(|dial| dial.retry),
            slow: slow_at.is_some() && fresh.is_none(),
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

    /// Somebody whose pause is over, or whose dial takes long, and who has to be settled.
    pub(super) fn waited(&self, now: Instant) -> Option<&NodeName> {
        until(&self.later, now).or_else(|| until(&self.slowing, now))
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
        let slot = self.slowing.first().filter(|_| !self.due.is_empty() && !self.is_full(config));
        [dial, slot, self.prunes.first()].into_iter().flatten().map(|(at, _)| *at).min()
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
        let (now, all) = (config.max_dials.get(), config.max_dials.get().saturating_mul(SLOW_TIMES));
        self.dialling < now && self.dialling + self.slow < all && !self.is_full(config)
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
        if let Some(at) = place.dialling {
            self.slowing.remove(&(at, name.clone()));
            self.dialling -= 1;
        }
        self.retrying -= usize::from(place.retrying);
        self.slow -= usize::from(place.slow);
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
        if let Some(at) = place.dialling {
            self.slowing.insert((at, name.clone()));
            self.dialling += 1;
        }
        self.retrying += usize::from(place.retrying);
        self.slow += usize::from(place.slow);
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

/// A dial that has had no answer for so long is most likely of an address where nothing is (it ends with a
/// time-out): it does not keep others from being dialled any more, …
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// … as long as all dials together are not more than so many times `max_dials`.
const SLOW_TIMES: usize = 8;

fn until(all: &BTreeSet<(Instant, NodeName)>, now: Instant) -> Option<&NodeName> {
    all.first().filter(|(at, _)| *at <= now).map(|(_, name)| name)
}
