//! One shard of a tracker without its process: hears messages and the passing of time, and says what is to be sent. No
//! I/O; time is an argument. Facts: `Phoenix.Tracker.Shard` and `Phoenix.Tracker.Replica` of phoenix_pubsub 2.2.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::crdt::{Changes, Context, Crdt, Full, Part, ReplicaRef};
use super::presence::Presence;
use crate::etf::{Atom, Pid, Term};

/// What replicas say to each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// The sender lives, has done this since the last time, and knows of so much.
    Heartbeat { from: ReplicaRef, delta: Option<Part>, context: Context },
    /// The sender lacks something.
    TransferReq { reference: Term, from: ReplicaRef, context: Context },
    /// What the asker lacks.
    TransferAck { reference: Term, from: ReplicaRef, part: Part },
    /// The sender will not come back.
    Permdown { from: ReplicaRef },
}

/// What is to be sent.
#[derive(Debug, PartialEq)]
pub(super) enum Out {
    /// To all replicas.
    Broadcast(Said),
    /// To the replica on one node.
    To(Atom, Said),
}

/// How often a shard speaks, and how long it listens for others.
#[derive(Debug, Clone)]
pub(super) struct Periods {
    pub(super) broadcast: Duration,
    pub(super) max_silent: u32,
    pub(super) down: Duration,
    pub(super) permdown: Duration,
    /// Every so many heartbeats it asks others for what it lacks.
    pub(super) clock_sample: u32,
}

pub(super) struct Core {
    crdt: Crdt,
    periods: Periods,
    /// The replica of each node.
    heard: HashMap<Atom, Heard>,
    /// What others have said that they know, since they were last asked.
    clocks: HashMap<ReplicaRef, Context>,
    /// The own clock as it was last broadcast.
    told: u64,
    silent: u32,
    until_sample: u32,
}

struct Heard {
    replica: ReplicaRef,
    last: Instant,
    up: bool,
}

impl Core {
    pub(super) fn new(own: ReplicaRef, periods: Periods) -> Self {
        Self {
            crdt: Crdt::new(own),
            heard: HashMap::new(),
            clocks: HashMap::new(),
            told: 0,
            // The first heartbeat is due at once.
            silent: periods.max_silent,
            until_sample: periods.clock_sample,
            periods,
        }
    }

    /// Forgets everything: nobody keeps it true any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.crdt.own().clone(), self.periods.clone());
    }

    pub(super) fn crdt(&self) -> &Crdt {
        &self.crdt
    }

    /// The nodes whose replica is up, in order.
    pub(super) fn nodes(&self) -> Vec<Atom> {
        let mut nodes: Vec<_> =
            self.heard.values().filter(|heard| heard.up).map(|heard| heard.replica.node.clone()).collect();
        nodes.sort();
        nodes
    }

    // What processes of this node do.

    pub(super) fn track(&mut self, presence: Presence) -> Result<Changes, Full> {
        self.crdt.join(presence.clone())?;
        Ok(Changes::joined(vec![presence]))
    }

    /// Replaces a presence, found by its number.
    pub(super) fn update(&mut self, number: u64, presence: Presence) -> Result<Changes, Full> {
        let leaves = self.crdt.leave(number).into_iter().collect();
        self.crdt.join(presence.clone())?;
        Ok(Changes { joins: vec![presence], leaves })
    }

    pub(super) fn untrack(&mut self, pid: &Pid, topic: &[u8], key: &Term) -> Changes {
        let number = self.crdt.find(pid, topic, key).map(|(number, _)| number);
        Changes::left(number.and_then(|number| self.crdt.leave(number)).into_iter().collect())
    }

    pub(super) fn untrack_all(&mut self, pid: &Pid) -> Changes {
        Changes::left(self.crdt.leave_all(pid))
    }

    // What other replicas say.

    pub(super) fn hear(&mut self, said: Said, now: Instant) -> (Changes, Option<Out>) {
        match said {
            Said::Heartbeat { from, delta, context } => {
                let Some(mut changes) = self.heartbeat(&from, now) else { return Default::default() };
                if let Some(part) = delta {
                    let merged = self.merge(&from, &part);
                    changes.joins.extend(merged.joins);
                    changes.leaves.extend(merged.leaves);
                }
                if self.heard.get(&from.node).is_some_and(|heard| heard.replica == from) {
                    self.clocks.insert(from, context);
                }
                (changes, None)
            }
            Said::TransferReq { reference, from, context } => {
                let part = self.crdt.answer(&context);
                tracing::debug!(peer = %from, values = part.values.len(), mode = ?part.mode, "tracker: a transfer to a replica");
                let ack = Said::TransferAck { reference, from: self.crdt.own().clone(), part };
                (Changes::default(), Some(Out::To(from.node, ack)))
            }
            Said::TransferAck { from, part, .. } => (self.merge(&from, &part), None),
            Said::Permdown { from } => {
                if self.heard.get(&from.node).is_some_and(|heard| heard.replica == from) {
                    self.heard.remove(&from.node);
                    return (self.forget(&from, "it left for good"), None);
                }
                Default::default()
            }
        }
    }

    /// Who has spoken is up. A replica that takes the place of another on its node ends that one at once.
    fn heartbeat(&mut self, from: &ReplicaRef, now: Instant) -> Option<Changes> {
        if from == self.crdt.own() {
            return None;
        }
        let mut changes = Changes::default();
        if from.node == self.crdt.own().node {
            tracing::debug!(replica = %from, "tracker: an earlier life of this node's replica, or another one of it");
            return None;
        }
        if let Some(other) = self.heard.get(&from.node).map(|heard| heard.replica.clone()).filter(|other| other != from)
        {
            self.heard.remove(&from.node);
            changes = self.forget(&other, "another replica is in its place");
        }
        match self.crdt.up(from) {
            Ok(joins) => changes.joins = joins,
            Err(error) => {
                tracing::warn!(replica = %from, %error, "tracker: a replica is not listened to");
                return Some(changes);
            }
        }
        let heard = Heard { replica: from.clone(), last: now, up: true };
        if self.heard.insert(from.node.clone(), heard).is_none_or(|before| before.replica != *from || !before.up) {
            tracing::debug!(replica = %from, "tracker: a replica is up");
        }
        Some(changes)
    }

    fn merge(&mut self, from: &ReplicaRef, part: &Part) -> Changes {
        self.crdt.merge(part).unwrap_or_else(|error| {
            tracing::warn!(replica = %from, %error, "tracker: presences are not taken");
            Changes::default()
        })
    }

    fn forget(&mut self, replica: &ReplicaRef, why: &str) -> Changes {
        tracing::debug!(%replica, why, "tracker: a replica is gone");
        self.clocks.remove(replica);
        Changes::left(self.crdt.forget(replica))
    }

    // Time.

    /// To be called once in each broadcast period.
    pub(super) fn tick(&mut self, now: Instant, reference: impl Fn() -> Term) -> (Changes, Vec<Out>) {
        let mut out: Vec<Out> = self.speak().into_iter().collect();
        self.until_sample = self.until_sample.saturating_sub(1);
        if self.until_sample == 0 {
            self.until_sample = self.periods.clock_sample;
            let ask = |replica: ReplicaRef| {
                let from = self.crdt.own().clone();
                Out::To(replica.node, Said::TransferReq { reference: reference(), from, context: self.crdt.context() })
            };
            out.extend(self.knows_more().into_iter().map(ask));
            self.clocks.clear();
        }
        (self.detect_downs(now), out)
    }

    /// A heartbeat with what is new, or one without after enough silence.
    fn speak(&mut self) -> Option<Out> {
        let has_news = self.crdt.own_clock() > self.told;
        if !has_news && self.silent < self.periods.max_silent {
            self.silent += 1;
            return None;
        }
        // Without a delta, where it has grown too long, others see by the clock that they lack something.
        let delta = self.crdt.since(self.told);
        self.told = self.crdt.own_clock();
        self.silent = 0;
        Some(Out::Broadcast(Said::Heartbeat { from: self.crdt.own().clone(), delta, context: self.crdt.context() }))
    }

    /// For each replica of which somebody has seen more than this one: the replica itself, if it has said so, else who
    /// has seen most.
    fn knows_more(&self) -> Vec<ReplicaRef> {
        let mut asked = Vec::new();
        let own = self.crdt.own();
        for (replica, clock) in self.crdt.context().iter().filter(|(replica, _)| *replica != own) {
            let says = |context: &Context| context.get(replica).copied().filter(|said| said > clock);
            let itself = self.clocks.get(replica).and_then(says).map(|_| replica);
            let best = || {
                let all = self.clocks.iter().filter_map(|(who, context)| Some((says(context)?, who)));
                all.max().map(|(_, who)| who)
            };
            if let Some(who) = itself.or_else(best)
                && !asked.contains(who)
            {
                asked.push(who.clone());
            }
        }
        asked
    }

    fn detect_downs(&mut self, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let mut gone = Vec::new();
        for heard in self.heard.values_mut() {
            let silence = now.saturating_duration_since(heard.last);
            if silence > self.periods.permdown {
                gone.push(heard.replica.clone());
            } else if silence > self.periods.down && std::mem::take(&mut heard.up) {
                tracing::info!(replica = %heard.replica, ?silence, "tracker: a replica is silent, its presences have left");
                changes.leaves.extend(self.crdt.down(&heard.replica));
                self.clocks.remove(&heard.replica);
            }
        }
        for replica in gone {
            self.heard.remove(&replica.node);
            changes.leaves.extend(self.forget(&replica, "it was silent for too long").leaves);
        }
        changes
    }
}
