//! How connections come up: dialling for those who want one, answering those who call, and making a
//! finished handshake a connection.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::config::NodeConfig;
use super::connection::Connection;
use super::core::Core;
use super::error::{ConnectFailed, ConnectFailure, SendError};
use super::events::NodeEvent;
use super::inbound::Inbound;
use super::message::Target;
use super::peers::Wanted;
use super::send::node_name;
use crate::net::channel::{self, ChannelConfig, CloseReason, HiddenPeer};
use crate::net::{self, AttemptId, ConnectError, DialOptions, DialTarget, EpmdMode, Established, Gatekeeper, Verdict};
use crate::proto::{Cookie, LocalIdentity, NodeName};

impl Core {
    /// Connects to a node, unless it is connected; whoever else is at it is waited for.
    pub(crate) async fn connect(self: &Arc<Self>, target: &DialTarget) -> Result<Arc<Connection>, ConnectFailed> {
        let name = &target.name;
        if *name == self.name {
            return Err(ConnectFailed::because(name, ConnectFailure::Myself));
        }
        if self.shutdown.is_cancelled() {
            return Err(ConnectFailed::shutdown(name));
        }
        let outcome = match self.peers.want(name) {
            Wanted::Up(connection) => return Ok(connection),
            Wanted::Wait(outcome) => outcome,
            Wanted::Dial(attempt, replaced, outcome) => {
                // A task of its own: it goes on when the caller loses patience, as others may wait.
                let dialling = self.clone().dial(target.clone(), attempt, replaced);
                self.run_task(dialling);
                outcome
            }
        };
        match outcome.await {
            Ok(Ok(())) => self.peers.get(name.as_atom()).ok_or_else(|| {
                let lost = "the connection was up and was lost again at once".to_owned();
                ConnectFailed::because(name, ConnectFailure::Incoming(lost))
            }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(ConnectFailed::shutdown(name)),
        }
    }

    /// The connection to the node of a target, which is made if there is none.
    pub(crate) async fn connection_for(self: &Arc<Self>, target: &Target) -> Result<Arc<Connection>, SendError> {
        let Some(node) = self.home(target.borrowed()) else { return Err(SendError::NoConnection(self.name.clone())) };
        if let Some(connection) = self.peers.get(node) {
            return Ok(connection);
        }
        let node = node_name(node)?;
        if !self.config.auto_connect {
            return Err(SendError::NoConnection(node));
        }
        Ok(self.connect(&DialTarget::from(node)).await?)
    }

    async fn dial(self: Arc<Self>, target: DialTarget, attempt: AttemptId, replaced: CancellationToken) {
        let name = target.name.clone();
        let local = self.identity();
        let cookie = self.config.cookies.of(&name);
        let options = dial_options(&self.config, self.port);
        let still_wanted = || self.peers.is_pending(&name, attempt);
        let dialled = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return self.peers.abandon(&name, attempt, &ConnectFailed::shutdown(&name)),
            // Those who wait are told by the attempt that has taken the place of this one.
            () = replaced.cancelled() => return,
            dialled = net::dial(&target, &local, &cookie, &options, still_wanted) => dialled,
        };
        match dialled {
            Ok(established) => {
                self.install(established, attempt);
            }
            Err(ConnectError::Nok { .. }) => {
                // The peer is dialling us, and that goes first. It takes our place when it arrives.
                let patience = self.config.net_setuptime;
                if tokio::time::timeout(patience, replaced.cancelled()).await.is_err() {
                    let failure = ConnectFailed::because(&name, ConnectFailure::NeverCame(patience));
                    self.peers.abandon(&name, attempt, &failure);
                }
            }
            Err(error) => {
                tracing::debug!(peer = %name, %error, "connecting failed");
                self.peers.abandon(&name, attempt, &ConnectFailed::dial(&name, error));
            }
        }
    }

    /// Who this node says it is.
    pub(crate) fn identity(&self) -> LocalIdentity {
        let identity = LocalIdentity::named(self.name.clone(), self.creation);
        if self.config.hidden { identity.hidden() } else { identity }
    }

    /// Makes a finished handshake a connection, unless its attempt was replaced meanwhile.
    pub(crate) fn install(self: &Arc<Self>, established: Established, attempt: AttemptId) -> bool {
        let negotiated = established.negotiated;
        let mut config = ChannelConfig::default();
        config.net_ticktime = self.config.net_ticktime;
        config.net_tickintensity = self.config.net_tickintensity;
        config.max_frame = self.config.max_frame;
        config.busy_limit = self.config.busy_limit;
        let hidden = negotiated.hidden;
        // The reader may deliver before the connection is known to anybody: it waits at this lock
        // until the connection is announced.
        let slot = Arc::new(Mutex::new(None));
        let mut filled = slot.lock();
        let receiver = Inbound::new(self.clone(), slot.clone());
        let channel = channel::start_split(
            established.stream.into_split(),
            established.leftover,
            negotiated.flags,
            if hidden { HiddenPeer::Yes } else { HiddenPeer::No },
            config,
            receiver,
        );
        let name = negotiated.peer;
        let creation = negotiated.peer_creation;
        let id = self.peers.number();
        let connection = Arc::new(Connection::new(id, name.clone(), creation, hidden, negotiated.flags, channel));
        let up = self.peers.up(&name, attempt, &connection, || {
            tracing::info!(peer = %name, %creation, hidden, address = %established.address, "node up");
            self.subscribers.publish(&NodeEvent::Up { name: name.clone(), creation, hidden, connection: id });
        });
        if up {
            *filled = Some(connection);
        } else {
            connection.channel.close(CloseReason::disconnect("another attempt to connect took its place"));
        }
        up
    }

    /// A connection has ended, for whatever reason.
    pub(crate) fn lost(&self, connection: &Arc<Connection>, reason: &CloseReason) {
        self.disconnected(connection);
        self.peers.down(connection, || {
            self.keep_io(&connection.channel.stats());
            let Connection { id, name, creation, hidden, .. } = &**connection;
            tracing::info!(peer = %name, %creation, hidden, %reason, "node down");
            self.subscribers.publish(&NodeEvent::Down {
                name: name.clone(),
                creation: *creation,
                hidden: *hidden,
                connection: *id,
                reason: reason.to_string(),
            });
        });
        self.dynamic_names.give_back(&connection.name, connection.creation);
        connection.gone.cancel();
    }
}

/// How to dial; without EPMD all nodes listen on the same port as this one.
pub(crate) fn dial_options(config: &NodeConfig, own_port: Option<u16>) -> DialOptions {
    let fixed_port = if config.epmd.mode == EpmdMode::None { own_port } else { None };
    DialOptions {
        epmd_port: config.epmd.port,
        fixed_port,
        setup_timeout: config.net_setuptime,
        ..DialOptions::default()
    }
}

/// What the acceptor asks before it answers.
pub(crate) struct Gate(pub(crate) Arc<Core>);

impl Gatekeeper for Gate {
    fn arrival(&self, peer: &NodeName, _hidden: bool, attempt: AttemptId) -> Verdict {
        if self.0.shutdown.is_cancelled() {
            return Verdict::Close("this node is shutting down".to_owned());
        }
        if *peer == self.0.name {
            return Verdict::Close("it has the name of this node".to_owned());
        }
        self.0.peers.arrival(&self.0.name, peer, attempt)
    }

    fn cookie(&self, peer: &NodeName) -> Cookie {
        self.0.config.cookies.of(peer)
    }

    fn dynamic_name(&self, host: &str) -> Option<(NodeName, crate::etf::Creation)> {
        self.0.dynamic_names.grant(host)
    }

    fn before_ack<'a>(&'a self, peer: &'a NodeName, attempt: AttemptId) -> BoxFuture<'a, Result<(), String>> {
        async move {
            if let Some(connection) = self.0.peers.left_behind(peer, attempt) {
                connection.channel.close(CloseReason::replaced());
                connection.gone.cancelled().await;
            }
            if self.0.peers.is_pending(peer, attempt) {
                Ok(())
            } else {
                Err("another attempt to connect took its place".to_owned())
            }
        }
        .boxed()
    }

    fn abandoned(&self, peer: &NodeName, attempt: AttemptId) {
        let failure =
            ConnectFailed::because(peer, ConnectFailure::Incoming("its handshake came to nothing".to_owned()));
        self.0.peers.abandon(peer, attempt, &failure);
    }

    fn connected(&self, established: Established) {
        if let Some(attempt) = established.attempt {
            self.0.install(established, attempt);
        }
    }
}
