//! What can be set about a node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::net::EpmdOptions;
use crate::proto::{Cookie, NodeName};

/// Everything that can be set about a node but its name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeConfig {
    /// The secret that all nodes of a cluster share, and exceptions for single peers.
    pub cookies: Cookies,
    /// Hidden nodes are not in `nodes()` of others, and take no part in `global`.
    pub hidden: bool,
    /// Whether others can connect to this node.
    pub listen: Listen,
    /// Which EPMD tells others the port of this node. Its port is also that of the EPMDs of other hosts
    /// (`ERL_EPMD_PORT`). Without EPMD, peers are dialled at the port of this node (`-erl_epmd_port`).
    pub epmd: EpmdOptions,
    /// Silence for so long ends a connection (`net_ticktime`).
    pub net_ticktime: Duration,
    /// In how many parts that time is divided for ticks (`net_tickintensity`).
    pub net_tickintensity: u32,
    /// How long a step of the connection set-up may take (`net_setuptime`).
    pub net_setuptime: Duration,
    /// The largest frame that a peer may send, in bytes.
    pub max_frame: usize,
    /// From how many queued bytes on senders have to wait (`+zdbbl`).
    pub busy_limit: usize,
    /// Whether sending to a node that is not connected connects to it (`dist_auto_connect`).
    pub auto_connect: bool,
    /// How long [`Node::shutdown`](super::Node::shutdown) waits for connections and processes to end.
    pub shutdown_timeout: Duration,
}

impl NodeConfig {
    /// The configuration of OTP's defaults, with a cookie.
    pub fn new(cookie: Cookie) -> Self {
        Self {
            cookies: Cookies::new(cookie),
            hidden: false,
            listen: Listen::default(),
            epmd: EpmdOptions::default(),
            net_ticktime: Duration::from_secs(60),
            net_tickintensity: 4,
            net_setuptime: Duration::from_secs(7),
            max_frame: 512 << 20,
            busy_limit: 1 << 20,
            auto_connect: true,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// Whether and where others can connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Listen {
    /// Nobody can connect to this node (`-dist_listen false`); it is not registered with EPMD.
    No,
    /// On these addresses, on one free port out of the range.
    On {
        /// Addresses (`inet_dist_use_interface`); the unspecified address is all of that family.
        addresses: Vec<IpAddr>,
        /// `0..=0` is any port (`inet_dist_listen_min` to `_max`).
        ports: RangeInclusive<u16>,
    },
}

impl Default for Listen {
    fn default() -> Self {
        Self::On { addresses: vec![IpAddr::from([0, 0, 0, 0])], ports: 0..=0 }
    }
}

/// The cookie of the node, and exceptions for single peers; shared by all clones.
#[derive(Debug, Clone)]
pub struct Cookies {
    own: Arc<RwLock<Cookie>>,
    peers: Arc<RwLock<HashMap<NodeName, Cookie>>>,
}

impl Cookies {
    /// One cookie for everybody.
    pub fn new(own: Cookie) -> Self {
        Self { own: Arc::new(RwLock::new(own)), peers: Arc::default() }
    }

    /// The cookie for a peer (`auth:get_cookie/1`).
    pub fn of(&self, peer: &NodeName) -> Cookie {
        self.peers.read().get(peer).cloned().unwrap_or_else(|| self.own.read().clone())
    }

    /// Sets the cookie for everybody without one of his own (`erlang:set_cookie/1`); connections that
    /// are up stay.
    pub fn set(&self, cookie: Cookie) {
        *self.own.write() = cookie;
    }

    /// Sets the cookie for one peer (`erlang:set_cookie/2`).
    pub fn set_for(&self, peer: NodeName, cookie: Cookie) {
        self.peers.write().insert(peer, cookie);
    }
}
