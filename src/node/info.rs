//! What a node tells about itself: peers, processes, figures.

use std::time::Duration;

use super::Node;
use super::connection::Connection;
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
    /// With how many processes it is linked.
    pub links: usize,
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
        let mut processes: Vec<_> = self
            .0
            .table
            .all()
            .iter()
            .map(|entry| {
                let state = entry.state.lock();
                ProcessInfo {
                    pid: entry.pid.clone(),
                    label: entry.label.to_string(),
                    names: state.names.clone(),
                    queued: entry.mailbox.len(),
                    links: state.links.values().filter(|link| link.active).count(),
                }
            })
            .collect();
        processes.sort_by(|a, b| a.pid.cmp(&b.pid));
        processes
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
