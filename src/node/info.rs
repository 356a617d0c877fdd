//! What a node tells about itself: peers, processes, figures.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::RuntimeMetrics;

use super::Node;
use super::connection::Connection;
use super::message::{Message, Target};
use super::table::{Entry, MAX_PID_ID, PID_SERIALS, State};
use crate::etf::{Atom, Creation, Pid};
use crate::net::channel::ChannelStats;
use crate::proto::{Flags, NodeName};

/// A peer that is connected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its name.
    pub name: NodeName,
    /// Its life.
    pub creation: Creation,
    /// Whether the connection is hidden.
    pub hidden: bool,
    /// What the connection uses.
    pub flags: Flags,
    /// Tells this connection from others of the same peer.
    pub connection: u64,
    /// For how long it has been up.
    pub age: Duration,
    /// Packets and bytes so far.
    pub stats: ChannelStats,
}

/// A process of this node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its pid.
    pub pid: Pid,
    /// What it runs.
    pub label: String,
    /// Its registered names.
    pub names: Vec<Atom>,
    /// Messages that wait.
    pub queued: usize,
    /// Messages that it has taken out of its mailbox.
    pub handled: u64,
    /// With how many processes it is linked.
    pub links: usize,
}

/// A process of this node, looked at closely.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProcessDetails {
    /// What the list of processes says of it.
    pub info: ProcessInfo,
    /// With whom it is linked.
    pub links: Vec<Pid>,
    /// Whom it watches.
    pub monitors: Vec<Target>,
    /// Who watches it.
    pub monitored_by: Vec<Pid>,
    /// Who gets what it prints.
    pub group_leader: Option<Pid>,
    /// Whether exits of linked processes come as messages.
    pub trap_exit: bool,
}

impl Node {
    /// The peers that are connected, in the order of their names.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let mut peers: Vec<_> = self.0.peers.all().iter().map(|connection| peer_info(connection)).collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }

    /// A peer, where it is connected.
    pub fn peer(&self, name: &NodeName) -> Option<PeerInfo> {
        self.0.peers.get(name.as_atom()).map(|connection| peer_info(&connection))
    }

    /// The processes that live, in the order of their pids.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let mut processes: Vec<_> =
            self.0.table.all().iter().map(|entry| process_info(entry, &entry.state.lock())).collect();
        processes.sort_by(|a, b| a.pid.cmp(&b.pid));
        processes
    }

    /// A process, where it is one of this node and alive.
    ///
    /// ```no_run
    /// # fn example(node: gusset::Node) {
    /// let user = node.whereis("user").and_then(|pid| node.process_details(&pid));
    /// println!("{} messages handled", user.map_or(0, |user| user.info.handled));
    /// # }
    /// ```
    pub fn process_details(&self, pid: &Pid) -> Option<ProcessDetails> {
        let entry = self.0.table.by_pid(pid)?;
        let state = entry.state.lock();
        Some(ProcessDetails {
            info: process_info(&entry, &state),
            links: state.links.iter().filter(|(_, link)| link.active).map(|(pid, _)| pid.clone()).collect(),
            monitors: state.monitors.values().map(|monitor| monitor.object.clone()).collect(),
            monitored_by: state.watchers.values().map(|watcher| watcher.pid.clone()).collect(),
            group_leader: state.group_leader.clone(),
            trap_exit: entry.trap_exit.load(Ordering::Acquire),
        })
    }

    /// Bytes that came and that were sent over all connections of this life, those that are gone included.
    pub(crate) fn io(&self) -> (u64, u64) {
        let (came, sent) = self.0.past_io();
        self.0
            .peers
            .all()
            .iter()
            .map(|connection| connection.channel.stats())
            .fold((came, sent), |(came, sent), stats| (came + stats.received_bytes, sent + stats.sent_bytes))
    }

    /// The figures of the runtime that the node runs on.
    pub(crate) fn runtime_metrics(&self) -> RuntimeMetrics {
        self.0.runtime_metrics()
    }

    /// Bytes that the node itself keeps for a process with so many messages.
    pub(crate) fn bytes_of_process(queued: usize) -> usize {
        size_of::<Entry>() + queued * size_of::<Message>()
    }

    /// How many processes there can be at a time.
    pub(crate) fn process_limit() -> u64 {
        MAX_PID_ID * PID_SERIALS
    }

    /// How many processes live.
    pub fn process_count(&self) -> usize {
        self.0.table.len()
    }

    /// For how long the node has been running.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }
}

fn process_info(entry: &Entry, state: &State) -> ProcessInfo {
    ProcessInfo {
        pid: entry.pid.clone(),
        label: entry.label.to_string(),
        names: state.names.clone(),
        queued: entry.mailbox.len(),
        handled: entry.mailbox.handled(),
        links: state.links.values().filter(|link| link.active).count(),
    }
}

fn peer_info(connection: &Connection) -> PeerInfo {
    PeerInfo {
        name: connection.name.clone(),
        creation: connection.creation,
        hidden: connection.hidden,
        flags: connection.flags,
        connection: connection.id,
        age: connection.since.elapsed(),
        stats: connection.channel.stats(),
    }
}
