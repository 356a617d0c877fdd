//! Who is present, as a set that all replicas agree on whatever order they hear of changes in: an add-wins set, with a
//! causal context per replica. No I/O, no clock.
//!
//! Each replica counts its own changes: every join takes a number, which is the tag of what joined, and every leave
//! takes one, too. Of each other replica is known up to which number everything was seen (its clock), which numbers
//! beyond that (its cloud), and which tags are alive. A tag that was seen and is not alive has left for good: so a part
//! of the history may come twice, late, or through somebody else. Facts: `Phoenix.Tracker.State` of phoenix_pubsub 2.2.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::presence::Presence;
use crate::etf::{Atom, Pid, Term};

/// A life of the tracker of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ReplicaRef {
    pub(super) node: Atom,
    pub(super) vsn: i64,
}

impl fmt::Display for ReplicaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.vsn)
    }
}

/// Up to which number everything of each replica was seen.
pub(super) type Context = BTreeMap<ReplicaRef, u64>;
/// Numbers that were seen one by one.
pub(super) type Clouds = BTreeMap<ReplicaRef, BTreeSet<u64>>;

/// The number of a join.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    pub(super) replica: ReplicaRef,
    pub(super) number: u64,
}

/// A part of the history, on its way to other replicas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Who sends it.
    pub(super) replica: ReplicaRef,
    pub(super) mode: Mode,
    /// What it knows of, alive or not.
    pub(super) context: Context,
    pub(super) clouds: Clouds,
    /// All that is alive of it.
    pub(super) values: BTreeMap<Tag, Presence>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// What the sender itself has done after the first number, up to the second.
    Delta(u64, u64),
    /// All that the sender knows.
    Whole,
}

/// What has changed for those who look.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) joins: Vec<Presence>,
    pub(super) leaves: Vec<Presence>,
}

impl Changes {
    pub(super) fn joined(joins: Vec<Presence>) -> Self {
        Self { joins, leaves: Vec::new() }
    }

    pub(super) fn left(leaves: Vec<Presence>) -> Self {
        Self { joins: Vec::new(), leaves }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.joins.is_empty() && self.leaves.is_empty()
    }
}

/// A replica that would take more memory than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("more than {MAX_REPLICAS} replicas")]
    Replicas,
    #[error("more than {MAX_PRESENCES} presences of one replica")]
    Presences,
    #[error("more than {MAX_CLOUD} changes of one replica out of order")]
    Cloud,
}

/// The set as one replica knows it.
#[derive(Debug)]
pub(super) struct Crdt {
    own: ReplicaRef,
    own_clock: u64,
    own_values: BTreeMap<u64, Presence>,
    /// The tags of each process of this node.
    own_pids: HashMap<Pid, BTreeSet<u64>>,
    /// What the last changes have removed, the newest last; its number is `own_clock`.
    log: VecDeque<Option<u64>>,
    others: HashMap<ReplicaRef, Replica>,
    topics: HashMap<Bytes, BTreeSet<Tag>>,
}

#[derive(Debug)]
struct Replica {
    clock: u64,
    cloud: BTreeSet<u64>,
    values: BTreeMap<u64, Presence>,
    up: bool,
}

impl Replica {
    fn has_seen(&self, number: u64) -> bool {
        number <= self.clock || self.cloud.contains(&number)
    }

    /// Moves what follows the clock without a gap out of the cloud.
    fn compact(&mut self) {
        while let Some(&first) = self.cloud.first() {
            if first > self.clock.saturating_add(1) {
                break;
            }
            self.clock = self.clock.max(first);
            self.cloud.pop_first();
        }
    }
}

impl Crdt {
    pub(super) fn new(own: ReplicaRef) -> Self {
        Self {
            own,
            own_clock: 0,
            own_values: BTreeMap::new(),
            own_pids: HashMap::new(),
            log: VecDeque::new(),
            others: HashMap::new(),
            topics: HashMap::new(),
        }
    }

    pub(super) fn own(&self) -> &ReplicaRef {
        &self.own
    }

    pub(super) fn own_clock(&self) -> u64 {
        self.own_clock
    }

    /// What is known of everybody who is up.
    pub(super) fn context(&self) -> Context {
        let others = self.others.iter().filter(|(_, replica)| replica.up);
        let others = others.map(|(name, replica)| (name.clone(), replica.clock));
        others.chain([(self.own.clone(), self.own_clock)]).collect()
    }

    // What this replica does itself.

    pub(super) fn join(&mut self, presence: Presence) -> Result<(), Full> {
        if self.own_values.len() >= MAX_PRESENCES {
            return Err(Full::Presences);
        }
        let number = self.count(None);
        self.own_pids.entry(presence.pid().clone()).or_default().insert(number);
        index(&mut self.topics, presence.topic(), Tag { replica: self.own.clone(), number });
        self.own_values.insert(number, presence);
        Ok(())
    }

    /// What a process of this node has in a topic under a key.
    pub(super) fn find(&self, pid: &Pid, topic: &[u8], key: &Term) -> Option<(u64, &Presence)> {
        let tags = self.own_pids.get(pid)?;
        let mut all = tags.iter().filter_map(|number| Some((*number, self.own_values.get(number)?)));
        all.find(|(_, presence)| presence.is(topic, key))
    }

    pub(super) fn leave(&mut self, number: u64) -> Option<Presence> {
        let presence = self.own_values.remove(&number)?;
        if let Some(tags) = self.own_pids.get_mut(presence.pid()) {
            tags.remove(&number);
            if tags.is_empty() {
                self.own_pids.remove(presence.pid());
            }
        }
        unindex(&mut self.topics, presence.topic(), &Tag { replica: self.own.clone(), number });
        self.count(Some(number));
        Some(presence)
    }

    /// A process of this node has gone.
    pub(super) fn leave_all(&mut self, pid: &Pid) -> Vec<Presence> {
        let tags = self.own_pids.get(pid).cloned().unwrap_or_default();
        tags.into_iter().filter_map(|number| self.leave(number)).collect()
    }

    pub(super) fn tracks(&self, pid: &Pid) -> bool {
        self.own_pids.contains_key(pid)
    }

    fn count(&mut self, removed: Option<u64>) -> u64 {
        self.own_clock += 1;
        self.log.push_back(removed);
        if self.log.len() > MAX_DELTA {
            self.log.pop_front();
        }
        self.own_clock
    }

    // Who is there.

    /// The presences of a topic on all replicas that are up.
    pub(super) fn topic(&self, topic: &[u8]) -> impl Iterator<Item = &Presence> {
        let tags = self.topics.get(topic).into_iter().flatten();
        tags.filter_map(|Tag { replica, number }| {
            if *replica == self.own {
                return self.own_values.get(number);
            }
            self.others.get(replica).filter(|replica| replica.up)?.values.get(number)
        })
    }

    // What goes to other replicas, and comes from them.

    /// What this replica has done since a number; `None` when that is too long ago, or nothing.
    pub(super) fn since(&self, start: u64) -> Option<Part> {
        let oldest = self.own_clock - self.log.len() as u64;
        if start < oldest || start >= self.own_clock {
            return None;
        }
        let skip = usize::try_from(start - oldest).ok()?;
        let removed = self.log.iter().skip(skip).flatten().copied();
        let cloud = removed.chain(start + 1..=self.own_clock).collect();
        let values = self.own_values.range(start + 1..);
        Some(Part {
            replica: self.own.clone(),
            mode: Mode::Delta(start, self.own_clock),
            context: Context::new(),
            clouds: Clouds::from([(self.own.clone(), cloud)]),
            values: values.map(|(number, presence)| (self.tag(*number), presence.clone())).collect(),
        })
    }

    fn tag(&self, number: u64) -> Tag {
        Tag { replica: self.own.clone(), number }
    }

    /// What a replica with this context lacks: what this one has done since then, where that is all and not too long
    /// ago; else everything about the replicas that the asker knows, its own part included, as a whole set without it
    /// would mean to some that it has left.
    pub(super) fn answer(&self, asker: &Context) -> Part {
        let known = asker.get(&self.own);
        let lacks_others = self.others.iter().any(|(name, replica)| {
            asker.get(name).is_some_and(|clock| *clock < replica.clock || !replica.cloud.is_empty())
        });
        if let Some(start) = known
            && !lacks_others
            && let Some(delta) = self.since(*start)
        {
            return delta;
        }
        let mut part = Part {
            replica: self.own.clone(),
            mode: Mode::Whole,
            context: Context::new(),
            clouds: Clouds::new(),
            values: BTreeMap::new(),
        };
        let mut add = |name: &ReplicaRef, clock, cloud: &BTreeSet<u64>, values: &BTreeMap<u64, Presence>| {
            part.context.insert(name.clone(), clock);
            part.clouds.insert(name.clone(), cloud.clone());
            let tagged = |number: &u64| Tag { replica: name.clone(), number: *number };
            part.values.extend(values.iter().map(|(number, presence)| (tagged(number), presence.clone())));
        };
        if known.is_some() {
            add(&self.own, self.own_clock, &BTreeSet::new(), &self.own_values);
        }
        for (name, replica) in self.others.iter().filter(|(name, _)| asker.contains_key(name)) {
            add(name, replica.clock, &replica.cloud, &replica.values);
        }
        part
    }

    /// Takes in what another replica has sent. What it says of replicas that are not known here, or of this one, counts
    /// for nothing.
    pub(super) fn merge(&mut self, part: &Part) -> Result<Changes, Full> {
        self.has_room(part)?;
        let mut changes = Changes::default();
        // First what has left: an update is a leave and a join of one presence.
        for (name, replica) in &mut self.others {
            let (clock, cloud) = (part.context.get(name).copied().unwrap_or(0), part.clouds.get(name));
            let is_in_part = |number: &u64| *number <= clock || cloud.is_some_and(|cloud| cloud.contains(number));
            let gone: Vec<u64> = match cloud {
                // Of a delta only few tags are looked at.
                Some(cloud) if clock == 0 => {
                    cloud.iter().filter(|number| replica.values.contains_key(number)).copied().collect()
                }
                _ => replica.values.keys().filter(|number| is_in_part(number)).copied().collect(),
            };
            for number in gone {
                let tag = Tag { replica: name.clone(), number };
                if part.values.contains_key(&tag) {
                    continue;
                }
                if let Some(presence) = replica.values.remove(&number) {
                    unindex(&mut self.topics, presence.topic(), &tag);
                    if replica.up {
                        changes.leaves.push(presence);
                    }
                }
            }
        }
        for (tag, presence) in &part.values {
            let Some(replica) = self.others.get_mut(&tag.replica) else { continue };
            if replica.has_seen(tag.number) {
                continue;
            }
            replica.values.insert(tag.number, presence.clone());
            index(&mut self.topics, presence.topic(), tag.clone());
            if replica.up {
                changes.joins.push(presence.clone());
            }
        }
        for (name, replica) in &mut self.others {
            replica.clock = replica.clock.max(part.context.get(name).copied().unwrap_or(0));
            replica.cloud.extend(part.clouds.get(name).into_iter().flatten());
        }
        for tag in part.values.keys() {
            if let Some(replica) = self.others.get_mut(&tag.replica) {
                replica.cloud.insert(tag.number);
            }
        }
        self.others.values_mut().for_each(Replica::compact);
        Ok(changes)
    }

    fn has_room(&self, part: &Part) -> Result<(), Full> {
        for (name, cloud) in &part.clouds {
            let Some(replica) = self.others.get(name) else { continue };
            if replica.cloud.len().saturating_add(cloud.len()) > MAX_CLOUD {
                return Err(Full::Cloud);
            }
        }
        let mut joins: HashMap<&ReplicaRef, usize> = HashMap::new();
        for tag in part.values.keys() {
            let Some(replica) = self.others.get(&tag.replica) else { continue };
            if !replica.has_seen(tag.number) {
                let joins = joins.entry(&tag.replica).or_default();
                *joins += 1;
                if replica.values.len() + *joins > MAX_PRESENCES {
                    return Err(Full::Presences);
                }
            }
        }
        Ok(())
    }

    // Replicas that come and go.

    /// A replica is there, for the first time or again.
    pub(super) fn up(&mut self, name: &ReplicaRef) -> Result<Vec<Presence>, Full> {
        if *name == self.own {
            return Ok(Vec::new());
        }
        if !self.others.contains_key(name) && self.others.len() >= MAX_REPLICAS {
            return Err(Full::Replicas);
        }
        let new = || Replica { clock: 0, cloud: BTreeSet::new(), values: BTreeMap::new(), up: false };
        let replica = self.others.entry(name.clone()).or_insert_with(new);
        let was_up = std::mem::replace(&mut replica.up, true);
        Ok(if was_up { Vec::new() } else { replica.values.values().cloned().collect() })
    }

    /// A replica is silent: what it has is kept and not shown.
    pub(super) fn down(&mut self, name: &ReplicaRef) -> Vec<Presence> {
        let Some(replica) = self.others.get_mut(name) else { return Vec::new() };
        let was_up = std::mem::take(&mut replica.up);
        if was_up { replica.values.values().cloned().collect() } else { Vec::new() }
    }

    /// A replica will not come back.
    pub(super) fn forget(&mut self, name: &ReplicaRef) -> Vec<Presence> {
        let Some(replica) = self.others.remove(name) else { return Vec::new() };
        for (number, presence) in &replica.values {
            unindex(&mut self.topics, presence.topic(), &Tag { replica: name.clone(), number: *number });
        }
        if replica.up { replica.values.into_values().collect() } else { Vec::new() }
    }
}

fn index(topics: &mut HashMap<Bytes, BTreeSet<Tag>>, topic: &Bytes, tag: Tag) {
    topics.entry(topic.clone()).or_default().insert(tag);
}

fn unindex(topics: &mut HashMap<Bytes, BTreeSet<Tag>>, topic: &Bytes, tag: &Tag) {
    if let Some(tags) = topics.get_mut(topic) {
        tags.remove(tag);
        if tags.is_empty() {
            topics.remove(topic);
        }
    }
}

/// So many changes are kept to be sent as a delta; who lacks more gets everything (the largest of `max_delta_sizes`).
pub(super) const MAX_DELTA: usize = 10_000;
/// More replicas than this are not believed in: ten times what a mesh of nodes bears.
pub(super) const MAX_REPLICAS: usize = 10_000;
/// More presences than this of one replica are not taken.
pub(super) const MAX_PRESENCES: usize = 1_000_000;
/// More changes than this of one replica do not wait for those that came before them.
pub(super) const MAX_CLOUD: usize = 1_000_000;
