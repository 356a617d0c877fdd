//! `Phoenix.Tracker` and `Phoenix.Presence`: who is where in the cluster, Elixir or Rust.
//!
//! [`Tracker`] is a replica as any other: it shows the presences of all nodes, and what it tracks shows on all of them.
//! There is no node in charge. Each replica broadcasts what it has done and that it lives, on a topic of
//! [`PubSub`](super::pubsub); who has missed something asks for it. A replica that is silent for
//! [`down_period`](TrackerOptions::down_period) has lost its presences until it is heard again. Facts:
//! `Phoenix.Tracker` of phoenix_pubsub 2.2.
//!
//! ```no_run
//! # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
//! use gusset::services::pubsub::PubSub;
//! use gusset::services::tracker::{PresenceEvent, Tracker};
//!
//! let pubsub = PubSub::start(&node, "MyApp.PubSub").await?;
//! let tracker = Tracker::start(&node, &pubsub, "MyAppWeb.Presence")?;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Meta {
//!     online_at: u64,
//! }
//! let worker = node.process();
//! tracker.track(worker.pid(), "room:lobby", "worker:7", &Meta { online_at: 1_700_000_000 })?;
//!
//! let (present, mut events) = tracker.monitor("room:lobby");
//! for presence in present {
//!     println!("{} since {}", presence.key(), presence.decode::<Meta>()?.online_at);
//! }
//! while let Some(PresenceEvent::Diff { joins, leaves, .. }) = events.recv().await {
//!     println!("{joins:?} came, {leaves:?} went");
//! }
//! # Ok(()) }
//! ```

mod core;
mod crdt;
#[cfg(test)]
mod crdt_tests;
mod diffs;
mod presence;
mod reference;
mod shard;
mod wire;

use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::RwLock;
use serde::Serialize;

use self::core::{Core, Periods, Said};
use self::crdt::{Full, ReplicaRef};
use self::diffs::Monitors;
pub use self::diffs::{PresenceEvent, PresenceEvents};
pub use self::presence::Presence;
use self::shard::{SETTLE, Shard, ShardServer, State};
use super::pubsub::PubSub;
use super::serve::Named;
use crate::atom;
use crate::etf::{self, Atom, AtomTooLong, EncodeError, Map, Pid, Term};
use crate::node::{Node, Process, Reason, RegisterError};
use crate::tuple;

/// How to start a [`Tracker`]; its name alone will do. All but the name of a tracker may differ from node to node, the
/// number of shards must not.
#[derive(Debug, Clone)]
pub struct TrackerOptions {
    name: String,
    pool_size: NonZeroU32,
    broadcast_period: Duration,
    max_silent_periods: u32,
    down_period: Option<Duration>,
    permdown_period: Duration,
    clock_sample_periods: NonZeroU32,
}

impl TrackerOptions {
    /// The module of the tracker on the Elixir side, `MyAppWeb.Presence`, with `Elixir.` before it or not.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            pool_size: NonZeroU32::MIN,
            broadcast_period: Duration::from_millis(1500),
            max_silent_periods: 10,
            down_period: None,
            permdown_period: Duration::from_secs(20 * 60),
            clock_sample_periods: NonZeroU32::MIN.saturating_add(1),
        }
    }

    /// How many shards there are, the same number on all nodes. 1 unless set, as in Elixir.
    #[must_use]
    pub fn pool_size(mut self, pool_size: NonZeroU32) -> Self {
        self.pool_size = pool_size;
        self
    }

    /// How often changes are broadcast: each 1.5 s unless set.
    #[must_use]
    pub fn broadcast_period(mut self, period: Duration) -> Self {
        self.broadcast_period = period;
        self
    }

    /// So many periods without a change pass in silence before a heartbeat that says nothing else: 10 unless set.
    #[must_use]
    pub fn max_silent_periods(mut self, periods: u32) -> Self {
        self.max_silent_periods = periods;
        self
    }

    /// After so much silence the presences of a replica have left: twice `broadcast_period` times `max_silent_periods`
    /// (30 s) unless set. At least two broadcast periods.
    #[must_use]
    pub fn down_period(mut self, period: Duration) -> Self {
        self.down_period = Some(period);
        self
    }

    /// After so much silence a replica is forgotten: 20 minutes unless set. More than `down_period`.
    #[must_use]
    pub fn permdown_period(mut self, period: Duration) -> Self {
        self.permdown_period = period;
        self
    }

    /// Every so many broadcast periods others are asked for what is lacking here: 2 unless set.
    #[must_use]
    pub fn clock_sample_periods(mut self, periods: NonZeroU32) -> Self {
        self.clock_sample_periods = periods;
        self
    }

    fn periods(&self) -> Result<Periods, TrackerError> {
        let broadcast = self.broadcast_period;
        let usual = || broadcast.saturating_mul(self.max_silent_periods).saturating_mul(2);
        let down = self.down_period.unwrap_or_else(usual);
        if broadcast.is_zero() {
            return Err(TrackerError::Periods("broadcast_period must not be zero"));
        }
        if down < broadcast.saturating_mul(2) {
            return Err(TrackerError::Periods("down_period must be at least twice broadcast_period"));
        }
        if self.permdown_period <= down {
            return Err(TrackerError::Periods("permdown_period must be more than down_period"));
        }
        let clock_sample = self.clock_sample_periods.get();
        Ok(Periods {
            broadcast,
            max_silent: self.max_silent_periods,
            down,
            permdown: self.permdown_period,
            clock_sample,
        })
    }
}

impl From<&str> for TrackerOptions {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

/// A tracker that did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackerError {
    /// The name cannot be an atom.
    #[error("not the name of a tracker: {0}")]
    Name(#[from] AtomTooLong),
    /// A shard could not have its name: a tracker of that name runs here already.
    #[error("cannot start: {0}; does a tracker of this name run on this node?")]
    Register(#[from] RegisterError),
    /// The periods do not go together.
    #[error("{0}")]
    Periods(&'static str),
}

/// What was asked of a tracker and not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// `{error, {already_tracked, …}}`: the process has something in that topic under that key.
    #[error("{0} is tracked in that topic under that key already; update it")]
    AlreadyTracked(Pid),
    /// `{error, nopresence}`: the process has nothing in that topic under that key.
    #[error("{0} is not tracked in that topic under that key; track it first")]
    NoPresence(Pid),
    /// Processes are tracked on the node they live on.
    #[error("{0} is not a process of this node; a process is tracked on the node it lives on")]
    NotLocal(Pid),
    /// The metadata are no map: a struct or a map is due.
    #[error("metadata are a map, and not {0}")]
    NotAMap(Term),
    /// The metadata cannot be a term.
    #[error("the metadata cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// There are more presences than other nodes would take.
    #[error("there are too many presences: {0}")]
    Full(String),
    /// The shard has stopped.
    #[error("the tracker does not run on this node any more")]
    Stopped,
}

impl From<Full> for TrackError {
    fn from(full: Full) -> Self {
        Self::Full(full.to_string())
    }
}

/// A replica of `Phoenix.Tracker`. Cheap to clone; it runs until [`stop`](Self::stop) or the end of the node.
#[derive(Clone)]
pub struct Tracker(Arc<Inner>);

struct Inner {
    shards: Vec<(Arc<Shard>, Pid)>,
    /// Calls to the shards come from here.
    sender: Process,
}

impl Tracker {
    /// Starts a replica: `Tracker::start(&node, &pubsub, "MyAppWeb.Presence")`. Other replicas know it within a
    /// broadcast period, and it knows what they have within a few.
    ///
    /// # Errors
    /// When a tracker of that name runs on this node already, or the periods do not go together.
    pub fn start(node: &Node, pubsub: &PubSub, options: impl Into<TrackerOptions>) -> Result<Self, TrackerError> {
        let options = options.into();
        let periods = options.periods()?;
        let name = options.name.strip_prefix("Elixir.").unwrap_or(&options.name);
        let mut shards: Vec<(Arc<Shard>, Pid)> = Vec::new();
        for number in 0..options.pool_size.get() {
            let shard = Self::start_shard(node, pubsub, &format!("Elixir.{name}_shard{number}"), &periods);
            match shard {
                Ok(shard) => shards.push(shard),
                Err(error) => {
                    for (_, pid) in &shards {
                        node.exit(pid, &Reason::shutdown());
                    }
                    return Err(error);
                }
            }
        }
        let sender = node.process_labelled("tracker: sender");
        let inner = Arc::new(Inner { shards, sender });
        let weak: Vec<_> = inner.shards.iter().map(|(shard, _)| Arc::downgrade(shard)).collect();
        let farewell = async move {
            for shard in weak.iter().filter_map(Weak::upgrade) {
                leave_for_good(&shard).await;
            }
        };
        node.before_shutdown(move || farewell.boxed());
        Ok(Self(inner))
    }

    fn start_shard(
        node: &Node,
        pubsub: &PubSub,
        name: &str,
        periods: &Periods,
    ) -> Result<(Arc<Shard>, Pid), TrackerError> {
        let own = ReplicaRef { node: node.name().as_atom().clone(), vsn: reference::vsn() };
        let state = State { core: Core::new(own, periods.clone()), monitors: Monitors::default(), ended: false };
        let (name, topic) = (Atom::new(name)?, format!("phx_presence:{name}"));
        let shard = Arc::new(Shard { name: name.clone(), topic, pubsub: pubsub.clone(), state: RwLock::new(state) });
        let server = ShardServer::new(shard.clone(), periods.broadcast);
        let pid = node.install(Named(name, server))?;
        Ok((shard, pid))
    }

    fn shard(&self, topic: &str) -> Option<&(Arc<Shard>, Pid)> {
        let count = NonZeroU32::new(u32::try_from(self.0.shards.len()).ok()?)?;
        self.0.shards.get(usize::try_from(etf::phash2(topic.as_bytes(), count)).ok()?)
    }

    /// Who is present in a topic, on all replicas that are up; nobody once the tracker has stopped.
    pub fn list(&self, topic: &str) -> Vec<Presence> {
        let Some((shard, _)) = self.shard(topic) else { return Vec::new() };
        shard.state.read().core.crdt().topic(topic.as_bytes()).cloned().collect()
    }

    /// The presences of a topic that have this key: one for each process.
    pub fn get_by_key(&self, topic: &str, key: impl Into<Term>) -> Vec<Presence> {
        let key = key.into();
        let Some((shard, _)) = self.shard(topic) else { return Vec::new() };
        let state = shard.state.read();
        state.core.crdt().topic(topic.as_bytes()).filter(|presence| *presence.key() == key).cloned().collect()
    }

    /// Who is present in a topic, and a stream of all who come and go from then on.
    pub fn monitor(&self, topic: &str) -> (Vec<Presence>, PresenceEvents) {
        let Some((shard, _)) = self.shard(topic) else { return (Vec::new(), Monitors::default().add(topic)) };
        let mut state = shard.state.write();
        let present = state.core.crdt().topic(topic.as_bytes()).cloned().collect();
        (present, state.monitors.add(topic))
    }

    /// The other nodes whose replica is up, in order: of the first shard, where there are several.
    pub fn nodes(&self) -> Vec<Atom> {
        self.0.shards.first().map(|(shard, _)| shard.state.read().core.nodes()).unwrap_or_default()
    }

    /// Tracks a process of this node in a topic, until it is untracked or ends; the `phx_ref` that the metadata get.
    ///
    /// # Errors
    /// When the process is tracked in that topic under that key already, lives elsewhere, or the metadata are no map.
    pub fn track<M: Serialize + ?Sized>(
        &self,
        pid: &Pid,
        topic: &str,
        key: impl Into<Term>,
        meta: &M,
    ) -> Result<String, TrackError> {
        let key = key.into();
        let (shard, server) = self.shard_for(pid, topic)?;
        let mut meta = map(meta)?;
        let reference = sign(&mut meta);
        {
            let mut state = shard.state.write();
            if state.ended {
                return Err(TrackError::Stopped);
            }
            if state.core.crdt().find(pid, topic.as_bytes(), &key).is_some() {
                return Err(TrackError::AlreadyTracked(pid.clone()));
            }
            let topic = Bytes::copy_from_slice(topic.as_bytes());
            let changes = state.core.track(Presence::new(topic, key, pid.clone(), meta))?;
            state.tell(&changes);
        }
        self.settle(server, pid);
        Ok(reference)
    }

    /// Replaces the metadata of a presence; the new `phx_ref`. The old one becomes `phx_ref_prev`.
    ///
    /// # Errors
    /// When the process is not tracked in that topic under that key, or the metadata are no map.
    pub fn update<M: Serialize + ?Sized>(
        &self,
        pid: &Pid,
        topic: &str,
        key: impl Into<Term>,
        meta: &M,
    ) -> Result<String, TrackError> {
        let key = key.into();
        let (shard, _) = self.shard_for(pid, topic)?;
        let mut meta = map(meta)?;
        let reference = sign(&mut meta);
        let mut state = shard.state.write();
        if state.ended {
            return Err(TrackError::Stopped);
        }
        let Some((number, before)) = state.core.crdt().find(pid, topic.as_bytes(), &key) else {
            return Err(TrackError::NoPresence(pid.clone()));
        };
        if let Some(previous) = before.phx_ref() {
            meta.insert(Term::Atom(atom!("phx_ref_prev")), Term::from(previous));
        }
        let presence = Presence::new(before.topic().clone(), key, pid.clone(), meta);
        let changes = state.core.update(number, presence)?;
        state.tell(&changes);
        Ok(reference)
    }

    /// Takes a process out of a topic, where it is there under that key.
    pub fn untrack(&self, pid: &Pid, topic: &str, key: impl Into<Term>) {
        let Some((shard, server)) = self.shard(topic) else { return };
        {
            let mut state = shard.state.write();
            let changes = state.core.untrack(pid, topic.as_bytes(), &key.into());
            state.tell(&changes);
        }
        self.settle(server, pid);
    }

    /// Takes a process out of all topics.
    pub fn untrack_all(&self, pid: &Pid) {
        for (shard, server) in &self.0.shards {
            {
                let mut state = shard.state.write();
                let changes = state.core.untrack_all(pid);
                state.tell(&changes);
            }
            self.settle(server, pid);
        }
    }

    /// Ends the replica on this node, and tells all others, for whom its presences have left at once
    /// (`graceful_permdown/1`). So does [`Node::shutdown`].
    pub async fn stop(&self) {
        for (shard, pid) in &self.0.shards {
            leave_for_good(shard).await;
            self.0.sender.node().exit(pid, &Reason::shutdown());
        }
    }

    fn shard_for(&self, pid: &Pid, topic: &str) -> Result<&(Arc<Shard>, Pid), TrackError> {
        if pid.node != self.0.sender.pid().node {
            return Err(TrackError::NotLocal(pid.clone()));
        }
        let shard = self.shard(topic).filter(|(_, server)| self.0.sender.node().is_alive(server));
        shard.ok_or(TrackError::Stopped)
    }

    /// Lets the process of the shard watch a process, or not any more.
    fn settle(&self, server: &Pid, pid: &Pid) {
        let cast = tuple![atom!("$gen_cast"), tuple![SETTLE, pid]];
        if let Err(error) = self.0.sender.try_send(server, &cast) {
            tracing::error!(%error, "tracker: a shard is not told of a process");
        }
    }
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.0.shards.first().map_or("", |(shard, _)| shard.name.as_str());
        write!(f, "Tracker({name} on {})", self.0.sender.pid().node)
    }
}

/// Tells the replicas of other nodes that this one will not come back; once.
async fn leave_for_good(shard: &Shard) {
    let from = {
        let mut state = shard.state.write();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        state.core.crdt().own().clone()
    };
    if let Ok(message) = wire::write(&Said::Permdown { from })
        && let Err(error) = shard.pubsub.broadcast(&shard.topic, &message).await
    {
        tracing::debug!(shard = %shard.name, %error, "tracker: others are not told of the end");
    }
}

fn map<M: Serialize + ?Sized>(meta: &M) -> Result<Map, TrackError> {
    match etf::to_term(meta)? {
        Term::Map(map) => Ok(map),
        other => Err(TrackError::NotAMap(other)),
    }
}

/// Gives metadata a `phx_ref` of their own.
fn sign(meta: &mut Map) -> String {
    let reference = reference::phx_ref();
    meta.insert(Term::Atom(atom!("phx_ref")), Term::from(reference.as_str()));
    meta.remove(&Term::Atom(atom!("phx_ref_prev")));
    reference
}
