//! How a node comes to life: a port, a registration with EPMD that gives it its creation, and only
//! then the node itself.

use std::sync::Arc;

use super::Node;
use super::config::{Listen, NodeConfig};
use super::core::Core;
use super::error::StartError;
use super::gate::{Gate, dial_options};
use crate::etf::Creation;
use crate::net::{self, DialTarget, EpmdPresence, Established, Listener};
use crate::proto::epmd::EpmdEntry;
use crate::proto::{LocalIdentity, NodeName};

/// Where the name of a node comes from.
#[derive(Debug, Clone)]
pub enum NameSource {
    /// It is given.
    Fixed(NodeName),
    /// The first peer is asked for it (`NAME_ME`); the node is hidden and nobody can connect to it.
    GrantedBy {
        /// Whom to ask.
        peer: DialTarget,
        /// The host part of the name.
        host: String,
    },
}

/// A node that has its name and its port, but lets nobody in yet: time to install services.
pub struct Started {
    node: Node,
    listener: Option<Listener>,
    epmd: Option<EpmdPresence>,
    /// The connection that came with a dynamic name.
    first: Option<Established>,
}

impl Started {
    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Lets others in.
    pub fn open(self) -> Node {
        let Self { node, listener, epmd, first } = self;
        let core = &node.0;
        if let Some(first) = first {
            core.adopt(first);
        }
        if let Some(listener) = listener {
            let accepting = accept(core.clone(), listener);
            core.run_task(accepting);
        }
        if let Some(epmd) = epmd {
            // Registered as long as the node lives.
            let shutdown = core.shutdown.clone();
            core.run_task(async move {
                shutdown.cancelled().await;
                drop(epmd);
            });
        }
        node
    }
}

impl Node {
    /// Gets a port, a name and a creation.
    ///
    /// # Errors
    /// Says what could not be had.
    pub async fn prepare(source: NameSource, mut config: NodeConfig) -> Result<Started, StartError> {
        let salt = getrandom::u32().map_err(|error| StartError::Random(error.to_string()))?;
        let name = match source {
            NameSource::Fixed(name) => name,
            NameSource::GrantedBy { peer, host } => {
                config.hidden = true;
                config.listen = Listen::No;
                let first = ask_for_name(&peer, &host, &config).await.map_err(StartError::DynamicName)?;
                let (name, creation) = (first.negotiated.local_name.clone(), first.negotiated.local_creation);
                let node = Node(Core::new(name, creation, config, salt, None));
                return Ok(Started { node, listener: None, epmd: None, first: Some(first) });
            }
        };
        let listener = match &config.listen {
            Listen::No => None,
            Listen::On { addresses, ports } => Some(Listener::bind_range(addresses, ports.clone()).await?),
        };
        let port = listener.as_ref().map(Listener::port);
        let (epmd, creation) = match port {
            Some(port) => {
                let epmd = EpmdPresence::start(&config.epmd, EpmdEntry::new(name.name(), port)).await?;
                let creation = epmd.creation();
                (Some(epmd), Some(creation))
            }
            None => (None, None),
        };
        let creation = match creation {
            Some(creation) => creation,
            None => random_creation()?,
        };
        let node = Node(Core::new(name, creation, config, salt, port));
        Ok(Started { node, listener, epmd, first: None })
    }

    /// The port on which others can connect, where they can.
    pub fn port(&self) -> Option<u16> {
        self.0.port
    }
}

async fn ask_for_name(peer: &DialTarget, host: &str, config: &NodeConfig) -> Result<Established, net::ConnectError> {
    let local = LocalIdentity::unnamed(host);
    let options = dial_options(config, None);
    net::dial(peer, &local, &config.cookies.of(&peer.name), &options, || true).await
}

impl Core {
    /// Makes the handshake that gave this node its name its first connection.
    fn adopt(self: &Arc<Self>, first: Established) {
        if let super::peers::Wanted::Dial(attempt, ..) = self.peers.want(&first.negotiated.peer) {
            self.install(first, attempt);
        }
    }
}

async fn accept(core: Arc<Core>, listener: Listener) {
    let gate = Arc::new(Gate(core.clone()));
    listener.run(core.identity(), gate, core.config.net_setuptime, core.shutdown.clone()).await;
}

/// A creation for a node without EPMD: as `net_kernel.erl:create_creation`, any number from 4 on.
fn random_creation() -> Result<Creation, StartError> {
    let random = getrandom::u32().map_err(|error| StartError::Random(error.to_string()))?;
    Ok(Creation(random | 4))
}
