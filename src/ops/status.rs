//! One snapshot of a node and its discovery, for tables, status pages and JSON.
//!
//! The node says who is connected; discovery says who is wanted, what is being tried and why it fails.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::seconds;
use crate::discovery::{CandidateState, DiscoveryHandle, Health, LinkStatus, PeerStatus, Snapshot, TopologyStatus};
use crate::node::{Node, PeerInfo};

/// How a node stands at one moment. As JSON, durations are seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub node: String,
    /// Its life.
    pub creation: u32,
    /// The version of this library.
    pub version: String,
    /// It is hidden.
    pub hidden: bool,
    /// Where other nodes can connect to it; `None` when they cannot.
    pub port: Option<u16>,
    /// It has begun to leave.
    pub shutting_down: bool,
    /// For how long it has been running.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// Processes that live on it.
    pub processes: usize,
    /// What the operating system counts.
    pub process: Figures,
    /// How many peers are in which state.
    pub counts: Counts,
    /// The other nodes, by name: those that are wanted, those that are connected, and those that were wanted and failed.
    pub peers: Vec<Peer>,
    /// The topologies of discovery, by name; empty without discovery.
    pub topologies: Vec<Topology>,
    /// What `global` sees; `None` on hidden nodes and on those without the service.
    pub global: Option<GlobalView>,
}

/// How many peers are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// Wanted by a topology, whatever became of it.
    pub discovered: usize,
    /// The link is up, wanted or not.
    pub connected: usize,
    /// Of those, the ones that are visible members of the cluster.
    pub visible: usize,
    /// A dial runs.
    pub connecting: usize,
    /// Wanted and not dialled yet.
    pub waiting: usize,
    /// Wanted, and the last dial failed.
    pub failed: usize,
    /// Wanted, and not dialled because the policy says so.
    #[serde(default)]
    pub held_back: usize,
    /// Wanted and on its way out, connected or not.
    pub draining: usize,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// How it stands with us.
    pub state: PeerState,
    /// For how long it has been so, where that is known.
    #[serde(rename = "since_seconds", with = "seconds::optional", default)]
    pub since: Option<Duration>,
    /// The topologies that want it.
    pub wanted_by: Vec<String>,
    /// What it was found as (`pod default/web-0`); empty when nobody said.
    pub origin: String,
    /// The zone it runs in, where that is known.
    #[serde(default)]
    pub zone: Option<String>,
    /// The release it belongs to, where that is known.
    #[serde(default)]
    pub release: Option<String>,
    /// Why it is not dialled, in a word ([`HeldBack::as_str`](crate::discovery::HeldBack::as_str)).
    #[serde(default)]
    pub held_back: Option<String>,
    /// Where it is dialled, as `NODE=IP:PORT`; `None` when it is not wanted.
    pub target: Option<String>,
    /// Discovery says that it is on its way out, or has left.
    pub leaving: bool,
    /// About the link, where it is up.
    pub link: Option<Connected>,
    /// The last failure since it was connected.
    pub failure: Option<LastFailure>,
}

/// How a peer stands with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// The link is up.
    Connected,
    /// A dial runs.
    Connecting,
    /// Wanted, and not dialled yet.
    Waiting,
    /// Wanted, and the last dial failed.
    Failed,
    /// Wanted, and not dialled because the policy says so ([`Peer::held_back`]).
    HeldBack,
    /// Not connected and on its way out, so it is not dialled.
    Draining,
    /// Not connected and not wanted any more.
    Gone,
}

impl PeerState {
    /// A word for tables and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::HeldBack => "held_back",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// A link that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connected {
    /// The life of the peer.
    pub creation: u32,
    /// Hidden: not in `nodes()`.
    pub hidden: bool,
    /// What the connection uses, by the names of the flags.
    pub flags: Vec<String>,
    /// Packets that came, ticks included.
    pub received_packets: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Packets that were sent, ticks included.
    pub sent_packets: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that wait to be sent.
    pub queued_bytes: usize,
}

/// Why a peer is not connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastFailure {
    /// The kind, in a word ([`FailureKind::as_str`](crate::discovery::FailureKind::as_str)).
    pub kind: String,
    /// The step that failed and what to do.
    pub text: String,
    /// How long ago that was.
    #[serde(rename = "ago_seconds", with = "seconds")]
    pub ago: Duration,
    /// Dials that failed in a row.
    pub failures: u32,
    /// When it is dialled again; `None` while a dial runs, or when none is to come.
    #[serde(rename = "retry_in_seconds", with = "seconds::optional", default)]
    pub retry_in: Option<Duration>,
}

/// A topology of discovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Topology {
    /// Its name.
    pub name: String,
    /// The kind of its strategy.
    pub kind: String,
    /// `starting`, `healthy` or `degraded`.
    pub health: String,
    /// The kind of its trouble, in a word.
    pub error_kind: Option<String>,
    /// Its trouble, and what to do.
    pub error: Option<String>,
    /// For how long it has been in trouble.
    #[serde(rename = "degraded_for_seconds", with = "seconds::optional", default)]
    pub degraded_for: Option<Duration>,
    /// How long ago it last had an answer; `None` when it never had.
    #[serde(rename = "age_seconds", with = "seconds::optional", default)]
    pub age: Option<Duration>,
    /// How many nodes its last answer has, this one too if it is among them.
    pub size: usize,
    /// Answers since the start.
    #[serde(default)]
    pub answers: u64,
    /// Errors since the start, by kind.
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    /// Its last trouble, also when it is over.
    #[serde(default)]
    pub last_error: Option<LastError>,
}

/// The last trouble of a topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastError {
    /// The kind, in a word ([`DiscoveryErrorKind::as_str`](crate::discovery::DiscoveryErrorKind::as_str)).
    pub kind: String,
    /// What failed, and what to do.
    pub text: String,
    /// How long ago that was.
    #[serde(rename = "ago_seconds", with = "seconds")]
    pub ago: Duration,
}

/// What `global` sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GlobalView {
    /// The nodes of the cluster, as this one knows them.
    pub known: Vec<String>,
    /// Those that have exchanged names with it.
    pub synced: Vec<String>,
}

impl Status {
    /// How a node and its discovery stand. `discovery` comes from
    /// [`start_with_discovery`](crate::NodeBuilder::start_with_discovery); without it only what is connected is known.
    ///
    /// For changes as they happen there are [`Node::monitor_nodes`] and [`DiscoveryHandle::events`].
    pub fn of(node: &Node, discovery: Option<&DiscoveryHandle>) -> Self {
        Self::with(node, discovery.map(DiscoveryHandle::snapshot))
    }

    /// The same with a snapshot of discovery that is there already.
    pub fn with(node: &Node, discovery: Option<Snapshot>) -> Self {
        let (topologies, wanted) = discovery.map_or_else(Default::default, |found| (found.topologies, found.peers));
        let peers = merge(node.peers(), wanted);
        let names = |names: Vec<crate::NodeName>| names.iter().map(ToString::to_string).collect();
        Self {
            node: node.name().to_string(),
            creation: node.creation().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hidden: node.config().hidden,
            port: node.port(),
            shutting_down: node.is_shutting_down(),
            uptime: node.uptime(),
            processes: node.process_count(),
            process: Figures::now(),
            counts: Counts::of(&peers),
            peers,
            topologies: topologies.into_iter().map(topology).collect(),
            global: node
                .global()
                .map(|global| GlobalView { known: names(global.known()), synced: names(global.synced()) }),
        }
    }
}

impl Counts {
    fn of(peers: &[Peer]) -> Self {
        let mut counts = Self::default();
        for peer in peers {
            let wanted = !peer.wanted_by.is_empty();
            counts.discovered += usize::from(wanted);
            counts.draining += usize::from(wanted && peer.leaving);
            match peer.state {
                PeerState::Connected => {
                    counts.connected += 1;
                    counts.visible += usize::from(peer.link.as_ref().is_some_and(|link| !link.hidden));
                }
                PeerState::Connecting => counts.connecting += 1,
                PeerState::Waiting => counts.waiting += 1,
                PeerState::Failed => counts.failed += 1,
                PeerState::HeldBack => counts.held_back += 1,
                PeerState::Draining | PeerState::Gone => {}
            }
        }
        counts
    }
}

/// What is connected and what is wanted, by name.
fn merge(connected: Vec<PeerInfo>, wanted: Vec<PeerStatus>) -> Vec<Peer> {
    let mut links: BTreeMap<String, PeerInfo> =
        connected.into_iter().map(|peer| (peer.name.to_string(), peer)).collect();
    let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
    for status in wanted {
        let name = status.name.to_string();
        let link = links.remove(&name);
        let peer = wanted_peer(name.clone(), &status, link);
        // Guests come and go; there is nothing to say about one that left.
        if peer.state != PeerState::Gone || peer.failure.is_some() {
            peers.insert(name, peer);
        }
    }
    for (name, info) in links {
        peers.insert(name.clone(), linked_peer(name, &info));
    }
    peers.into_values().collect()
}

fn wanted_peer(name: String, status: &PeerStatus, link: Option<PeerInfo>) -> Peer {
    let mut peer = match &link {
        Some(info) => linked_peer(name, info),
        None => Peer { state: unlinked(status), since: None, ..nobody(name) },
    };
    peer.wanted_by = status.wanted_by.iter().map(ToString::to_string).collect();
    peer.origin.clone_from(&status.origin);
    peer.zone = status.zone.as_deref().map(str::to_owned);
    peer.release = status.release.as_deref().map(str::to_owned);
    if let (None, LinkStatus::HeldBack(why)) = (&link, status.link) {
        peer.held_back = Some(why.as_str().to_owned());
    }
    peer.target = status.target.as_ref().map(ToString::to_string);
    peer.leaving = status.gone || status.state == Some(CandidateState::Terminating);
    if link.is_none() {
        peer.since = if peer.state == PeerState::Failed { status.failing_for } else { None };
        peer.failure = status.last_failure.as_ref().map(|(failure, ago)| LastFailure {
            kind: failure.kind.as_str().to_owned(),
            text: failure.text.clone(),
            ago: *ago,
            failures: status.failures,
            retry_in: match status.link {
                LinkStatus::Waiting { retry_in } => Some(retry_in),
                _ => None,
            },
        });
    }
    peer
}

/// How a peer stands that has no link. A link that discovery still believes in has just gone.
fn unlinked(status: &PeerStatus) -> PeerState {
    match status.link {
        LinkStatus::Dialling => PeerState::Connecting,
        LinkStatus::HeldBack(_) => PeerState::HeldBack,
        _ if status.wanted_by.is_empty() => PeerState::Gone,
        _ if status.state == Some(CandidateState::Terminating) => PeerState::Draining,
        _ if status.last_failure.is_some() => PeerState::Failed,
        _ => PeerState::Waiting,
    }
}

fn linked_peer(name: String, info: &PeerInfo) -> Peer {
    let link = Connected {
        creation: info.creation.0,
        hidden: info.hidden,
        flags: info.flags.iter().map(|(_, name)| name.to_owned()).collect(),
        received_packets: info.stats.received_packets,
        received_bytes: info.stats.received_bytes,
        sent_packets: info.stats.sent_packets,
        sent_bytes: info.stats.sent_bytes,
        queued_bytes: info.stats.queued_bytes,
    };
    Peer { state: PeerState::Connected, since: Some(info.age), link: Some(link), ..nobody(name) }
}

fn nobody(name: String) -> Peer {
    Peer {
        name,
        state: PeerState::Gone,
        since: None,
        wanted_by: Vec::new(),
        origin: String::new(),
        zone: None,
        release: None,
        held_back: None,
        target: None,
        leaving: false,
        link: None,
        failure: None,
    }
}

fn topology(status: TopologyStatus) -> Topology {
    let (health, error, degraded_for) = match &status.health {
        Health::Starting => ("starting", None, None),
        Health::Healthy => ("healthy", None, None),
        Health::Degraded { error, since } => ("degraded", Some(error), Some(since.elapsed())),
    };
    Topology {
        name: status.name.to_string(),
        kind: status.kind.to_owned(),
        health: health.to_owned(),
        error_kind: error.map(|error| error.kind.as_str().to_owned()),
        error: error.map(ToString::to_string),
        degraded_for,
        age: status.last_success,
        size: status.size,
        answers: status.answers,
        errors: status.errors.iter().map(|(kind, count)| (kind.as_str().to_owned(), *count)).collect(),
        last_error: status.last_error.map(|(error, ago)| LastError {
            kind: error.kind.as_str().to_owned(),
            text: error.to_string(),
            ago,
        }),
    }
}
