//! Assembles a node: identity, cookie, standard services, discovery.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

use crate::discovery::{
    DialFailure, Discovery, DiscoveryHandle, FailureKind, Mesh, MeshEvent, ReconcileConfig, Strategy, TopologyName,
};
use crate::net::{ConnectError, DialTarget, EpmdMode};
use crate::node::{ConnectFailed, ConnectFailure, Listen, NameSource, Node, NodeConfig, NodeEvent, StartError};
use crate::proto::{Cookie, NodeName, NodeNameError};
use crate::services::{self, Shell};

/// Collects what a node shall be, and starts it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use gusset::{Cookie, Node};
///
/// let node = Node::builder("worker@127.0.0.1").cookie(Cookie::new("secret")?).start().await?;
/// let mut inbox = node.register("inbox")?;
/// let message: String = inbox.recv().await?.decode()?;
/// # Ok(()) }
/// ```
pub struct NodeBuilder {
    name: Result<NameSource, NodeNameError>,
    config: Option<NodeConfig>,
    changes: Vec<Change>,
    reconcile: ReconcileConfig,
    topologies: Vec<(TopologyName, Arc<dyn Strategy>)>,
    services: Services,
    shell: Option<Shell>,
}

type Change = Box<dyn FnOnce(&mut NodeConfig) + Send>;

/// Which services a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Services {
    Standard,
    None,
}

/// A node that could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// No cookie was given.
    #[error("a node needs a cookie: call `cookie(…)`")]
    NoCookie,
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A standard service could not be installed.
    #[error("a standard service could not be installed: {0}")]
    Service(#[from] crate::node::RegisterError),
}

impl Node {
    /// A node with this full name (`name@host`).
    pub fn builder(name: impl AsRef<str>) -> NodeBuilder {
        NodeBuilder::new(NodeName::new(name).map(NameSource::Fixed))
    }

    /// A hidden node that asks this peer for a name, as `erl -sname undefined` does.
    pub fn builder_named_by(peer: DialTarget, host: impl Into<String>) -> NodeBuilder {
        NodeBuilder::new(Ok(NameSource::GrantedBy { peer, host: host.into() }))
    }
}

impl NodeBuilder {
    fn new(name: Result<NameSource, NodeNameError>) -> Self {
        Self {
            name,
            config: None,
            changes: Vec::new(),
            reconcile: ReconcileConfig::default(),
            topologies: Vec::new(),
            services: Services::Standard,
            shell: None,
        }
    }

    fn change(mut self, change: impl FnOnce(&mut NodeConfig) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// The cookie that all nodes of the cluster share.
    #[must_use]
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        match &mut self.config {
            Some(config) => config.cookies.set(cookie),
            None => self.config = Some(NodeConfig::new(cookie)),
        }
        self
    }

    /// Another cookie for one peer (`erlang:set_cookie/2`).
    #[must_use]
    pub fn cookie_for(self, peer: NodeName, cookie: Cookie) -> Self {
        self.change(move |config| config.cookies.set_for(peer, cookie))
    }

    /// The whole configuration; what is set after this call changes it.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Hidden: not in `nodes()` of others, no part in `global`.
    #[must_use]
    pub fn hidden(self) -> Self {
        self.change(|config| config.hidden = true)
    }

    /// Where others can connect: addresses, and a port out of a range (`0..=0` is any).
    #[must_use]
    pub fn listen(self, addresses: Vec<IpAddr>, ports: RangeInclusive<u16>) -> Self {
        self.change(move |config| config.listen = Listen::On { addresses, ports })
    }

    /// Nobody can connect to this node (`-dist_listen false`).
    #[must_use]
    pub fn no_listener(self) -> Self {
        self.change(|config| config.listen = Listen::No)
    }

    /// Which EPMD to use, and its port.
    #[must_use]
    pub fn epmd(self, mode: EpmdMode, port: u16) -> Self {
        self.change(move |config| {
            config.epmd.mode = mode;
            config.epmd.port = port;
        })
    }

    /// Silence for so long ends a connection (`net_ticktime`, default 60 s).
    #[must_use]
    pub fn net_ticktime(self, ticktime: Duration) -> Self {
        self.change(move |config| config.net_ticktime = ticktime)
    }

    /// Adds a discovery strategy, named by its kind. Several may be used at once.
    #[must_use]
    pub fn discovery(self, strategy: impl Strategy) -> Self {
        let name = strategy.kind();
        self.topology(name, Arc::new(strategy))
    }

    /// Adds a discovery strategy under a name.
    #[must_use]
    pub fn topology(mut self, name: impl Into<TopologyName>, strategy: Arc<dyn Strategy>) -> Self {
        self.topologies.push((name.into(), strategy));
        self
    }

    /// How discovery decides whom to dial and what to let go.
    #[must_use]
    pub fn reconcile(mut self, config: ReconcileConfig) -> Self {
        self.reconcile = config;
        self
    }

    /// Leaves out the standard services. Other nodes wait for their answers: for hidden, short-lived
    /// nodes only.
    #[must_use]
    pub fn without_services(mut self) -> Self {
        self.services = Services::None;
        self
    }

    /// Lets others open a shell here (`erl -remsh`, `iex --remsh`); without it they are refused.
    #[must_use]
    pub fn shell(mut self, shell: Shell) -> Self {
        self.shell = Some(shell);
        self
    }

    /// Starts the node. Discovery, where there is any, runs as long as the node.
    ///
    /// # Errors
    /// Says what could not be had: a name, a port, EPMD.
    pub async fn start(self) -> Result<Node, BuildError> {
        let (node, discovery) = self.start_with_discovery().await?;
        if let Some(discovery) = discovery {
            let stopping = node.clone();
            node.spawn_task(async move {
                stopping.shutting_down().await;
                discovery.stop().await;
            });
        }
        Ok(node)
    }

    /// Starts the node, and gives the handle of discovery to the caller, who has to keep it: when it
    /// is dropped, nobody is dialled any more. `None` where no strategy was added.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_discovery(self) -> Result<(Node, Option<DiscoveryHandle>), BuildError> {
        let source = self.name?;
        let mut config = self.config.ok_or(BuildError::NoCookie)?;
        for change in self.changes {
            change(&mut config);
        }
        let started = Node::prepare(source, config).await?;
        if self.services == Services::Standard {
            services::install_standard(started.node())?;
        }
        if let Some(shell) = self.shell {
            started.node().install(shell)?;
        }
        // Nobody is let in before the services are there: what arrives first is never lost.
        let node = started.open();
        if self.topologies.is_empty() {
            return Ok((node, None));
        }
        let mut discovery = Discovery::new(self.reconcile);
        for (name, strategy) in self.topologies {
            discovery.add(name, strategy);
        }
        let handle = discovery.start(Arc::new(NodeMesh(node.clone())));
        Ok((node, Some(handle)))
    }
}

/// The node as discovery sees it.
struct NodeMesh(Node);

impl Mesh for NodeMesh {
    fn name(&self) -> NodeName {
        self.0.name().clone()
    }

    fn connected(&self) -> Vec<NodeName> {
        self.0.connected_nodes()
    }

    fn is_connected(&self, name: &NodeName) -> bool {
        self.0.is_connected(name)
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, Result<(), DialFailure>> {
        let node = self.0.clone();
        async move { node.connect(target).await.map_err(|failed| dial_failure(&failed)) }.boxed()
    }

    fn disconnect(&self, name: &NodeName, reason: &str) {
        self.0.disconnect_because(name, reason);
    }

    fn events(&self) -> BoxStream<'static, MeshEvent> {
        self.0
            .monitor_nodes()
            .map(|event| match event {
                NodeEvent::Up { name, .. } => MeshEvent::Up(name),
                NodeEvent::Down { name, reason, .. } => MeshEvent::Down { name, reason },
            })
            .boxed()
    }
}

/// What a failed dial means for discovery: what can mend by waiting, and what needs a person.
fn dial_failure(failed: &ConnectFailed) -> DialFailure {
    let text = failed.cause.to_string();
    let ConnectFailure::Dial(error) = &failed.cause else { return DialFailure::new(FailureKind::Other, text) };
    let kind = match &**error {
        ConnectError::UnknownHost { .. } | ConnectError::NoAddress { .. } => FailureKind::Lookup,
        ConnectError::EpmdUnreachable { .. } => FailureKind::Refused,
        ConnectError::UnknownToEpmd { .. } => FailureKind::NotReady,
        ConnectError::Unreachable { source, .. } => match source.kind() {
            std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => FailureKind::Gone,
            std::io::ErrorKind::TimedOut => FailureKind::Timeout,
            _ => FailureKind::Refused,
        },
        ConnectError::Timeout { .. } => FailureKind::Timeout,
        ConnectError::WrongCookie { .. } | ConnectError::WrongAck { .. } => FailureKind::WrongCookie,
        ConnectError::NotAllowed { .. } | ConnectError::MissingFlags { .. } | ConnectError::OtherName { .. } => {
            FailureKind::NotAllowed
        }
        _ => FailureKind::Other,
    };
    DialFailure::new(kind, text)
}
