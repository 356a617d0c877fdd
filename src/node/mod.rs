//! The node: peers, processes, names, links and monitors, node events.
//!
//! A [`Node`] is a cheap handle; all clones mean the same node. It listens, answers and dials by
//! itself; what other nodes expect to find on a node are [`Service`]s, processes like any other.

mod config;
mod connection;
mod core;
mod dynamic;
mod error;
mod events;
mod extensions;
mod farewell;
mod gate;
mod inbound;
mod info;
mod mailbox;
mod message;
mod peers;
mod process;
mod reason;
mod send;
mod service;
mod signals;
mod spawn;
mod start;
mod table;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use serde::Serialize;

use self::core::Core;
pub use config::{Cookies, Listen, NodeConfig};
pub use error::{
    CallError, Class, ConnectFailed, ConnectFailure, Ended, Exception, RegisterError, SendError, StartError,
};
pub use events::{NodeEvent, NodeEvents};
pub use info::{PeerInfo, ProcessDetails, ProcessInfo};
pub use message::{IntoTarget, Message, Target, TargetError, TargetRef};
pub use process::Process;
pub use reason::Reason;
pub use service::Service;
pub use spawn::SpawnFn;
pub use start::{NameSource, Started};

use crate::etf::{Atom, Creation, Pid, Ref, Term};
use crate::net::DialTarget;
use crate::net::channel::CloseReason;
use crate::proto::NodeName;

/// A node of a cluster. Cheap to clone; the node runs until [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Node(Arc<Core>);

impl Node {
    pub(crate) fn from_core(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.0.name
    }

    /// Which life of that name this is.
    pub fn creation(&self) -> Creation {
        self.0.creation
    }

    /// What was set about it.
    pub fn config(&self) -> &NodeConfig {
        &self.0.config
    }

    /// The visible nodes that are connected, in order (`nodes/0`).
    pub fn nodes(&self) -> Vec<NodeName> {
        self.names(|peer| !peer.hidden)
    }

    /// The hidden nodes that are connected, in order (`nodes(hidden)`).
    pub fn hidden_nodes(&self) -> Vec<NodeName> {
        self.names(|peer| peer.hidden)
    }

    /// All nodes that are connected, in order (`nodes(connected)`).
    pub fn connected_nodes(&self) -> Vec<NodeName> {
        self.names(|_| true)
    }

    fn names(&self, wanted: impl Fn(&connection::Connection) -> bool) -> Vec<NodeName> {
        let mut names: Vec<_> =
            self.0.peers.all().iter().filter(|peer| wanted(peer)).map(|peer| peer.name.clone()).collect();
        names.sort();
        names
    }

    /// Is there a connection to this node, visible or hidden?
    pub fn is_connected(&self, name: &NodeName) -> bool {
        self.0.peers.get(name.as_atom()).is_some()
    }

    /// Connects to a node, unless it is connected.
    ///
    /// # Errors
    /// Says at which step it failed.
    pub async fn connect(&self, target: impl Into<DialTarget>) -> Result<(), ConnectFailed> {
        self.0.connect(&target.into()).await.map(drop)
    }

    /// Closes the connection to a node; false when there is none. Visible nodes of a cluster take
    /// the loss of one connection as a partition: those that see both sides drop one of them.
    pub fn disconnect(&self, name: &NodeName) -> bool {
        self.disconnect_because(name, "disconnect")
    }

    /// Closes the connection to a node, for a reason that the log and the event will tell.
    pub fn disconnect_because(&self, name: &NodeName, why: &str) -> bool {
        let Some(connection) = self.0.peers.get(name.as_atom()) else { return false };
        connection.channel.close(CloseReason::disconnect(why));
        true
    }

    /// Nodes that come and go from now on, as a stream.
    pub fn monitor_nodes(&self) -> NodeEvents {
        self.0.subscribers.stream()
    }

    /// A new process, owned by the caller.
    pub fn process(&self) -> Process {
        Process::new(self.0.clone(), "process", None)
    }

    /// A new process with a word for people who look.
    pub fn process_labelled(&self, label: &str) -> Process {
        Process::new(self.0.clone(), label, None)
    }

    /// A new process under a name.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn register(&self, name: &str) -> Result<Process, RegisterError> {
        let process = Process::new(self.0.clone(), name, None);
        process.register(name)?;
        Ok(process)
    }

    /// Takes a name away from its process; false when nobody has it.
    pub fn unregister(&self, name: &str) -> bool {
        Atom::new(name).is_ok_and(|name| self.0.table.unregister(&name))
    }

    /// The process that has a name.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        let name = Atom::new(name).ok()?;
        self.0.table.by_name(&name).map(|entry| entry.pid.clone())
    }

    /// All registered names.
    pub fn registered(&self) -> Vec<Atom> {
        let mut names = self.0.table.registered();
        names.sort();
        names
    }

    /// Runs a process in a task of its own. It ends with `normal` when `body` returns, and is stopped
    /// at its next await when somebody ends it.
    pub fn spawn<F>(&self, body: impl FnOnce(Process) -> F) -> Pid
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_labelled("process", |process| body(process).map(|()| Reason::normal()))
    }

    /// Runs a process whose body gives the reason it exits with.
    pub fn spawn_labelled<F>(&self, label: &str, body: impl FnOnce(Process) -> F) -> Pid
    where
        F: Future<Output = Reason> + Send + 'static,
    {
        let process = Process::new(self.0.clone(), label, None);
        let pid = process.pid().clone();
        self.0.run(process, body);
        pid
    }

    /// Installs a service: a process under its name, running in a task of its own.
    ///
    /// # Errors
    /// When its name is taken.
    pub fn install(&self, service: impl Service) -> Result<Pid, RegisterError> {
        let name = service.name();
        let process = self.register(name.as_str())?;
        let pid = process.pid().clone();
        self.0.run(process, move |process| Box::new(service).run(process));
        Ok(pid)
    }

    /// Lets other nodes spawn a function here; `None` is any arity. Replaces what was there.
    pub fn export_spawn(&self, module: Atom, function: Atom, arity: Option<u8>, run: SpawnFn) {
        self.0.functions.insert(module, function, arity, run);
    }

    /// What other nodes can spawn here under that name and arity.
    pub fn exported(&self, module: &Atom, function: &Atom, arity: u8) -> Option<SpawnFn> {
        self.0.functions.get(module, function, arity)
    }

    /// Sends a message from a process that nobody knows; see [`Process::send`].
    ///
    /// # Errors
    /// As [`Process::send`].
    pub async fn send<T: Serialize + ?Sized>(&self, to: impl IntoTarget, message: &T) -> Result<(), SendError> {
        self.process().send(to, message).await
    }

    /// A new reference of this node.
    pub fn make_ref(&self) -> Ref {
        self.0.table.reference()
    }

    /// Ends a process of this node with a reason, as `exit/2` does; false when there is none.
    pub fn exit(&self, pid: &Pid, reason: &Reason) -> bool {
        let Some(entry) = self.0.table.by_pid(pid) else { return false };
        self.0.exit2(pid, &entry, reason);
        true
    }

    /// True while a process of this node has not ended.
    pub fn is_alive(&self, pid: &Pid) -> bool {
        self.0.table.by_pid(pid).is_some()
    }

    /// True as soon as the node has begun to shut down.
    pub fn is_shutting_down(&self) -> bool {
        self.0.shutdown.is_cancelled()
    }

    /// Returns when the node begins to shut down.
    pub async fn shutting_down(&self) {
        self.0.shutdown.cancelled().await;
    }

    /// Runs a task that the node waits for when it shuts down.
    pub fn spawn_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.run_task(task);
    }

    /// Shuts the node down: no connection is taken or made any more, those that are up are closed at
    /// once and together (so that no peer mistakes it for a partition), processes are ended with
    /// `shutdown`; servers may do first what their `terminate` does. Returns when all is done, or after [`NodeConfig::shutdown_timeout`].
    pub async fn shutdown(&self) {
        self.say_farewell().await;
        self.0.shutdown.cancel();
        let connections = self.0.peers.all();
        for connection in &connections {
            connection.channel.close(CloseReason::disconnect("this node is shutting down"));
        }
        let all_gone = async {
            for connection in &connections {
                connection.gone.cancelled().await;
            }
            for entry in self.0.table.all() {
                if !entry.finishes.load(Ordering::Acquire) {
                    self.0.end(entry, Reason::shutdown());
                }
            }
            self.0.all_tasks_ended().await;
        };
        if tokio::time::timeout(self.0.config.shutdown_timeout, all_gone).await.is_err() {
            tracing::warn!(timeout = ?self.0.config.shutdown_timeout, "shutdown did not finish in time");
            for entry in self.0.table.all() {
                self.0.end(entry, Reason::killed());
            }
        }
        self.0.subscribers.close();
        tracing::info!(node = %self.0.name, "node stopped");
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.0.name)
    }
}

impl Process {
    /// Asks another node to run `module:function(args…)` in a new process; [`Message::Spawned`] with
    /// the returned reference tells how that went. With `link` or `monitor`, the new process is linked
    /// to or watched by this one from its first moment.
    ///
    /// # Errors
    /// When there is no way to that node.
    pub async fn spawn_request(
        &self,
        node: &NodeName,
        call: (Atom, Atom, Vec<Term>),
        options: SpawnWith,
    ) -> Result<Ref, SendError> {
        let core = self.node().0;
        core.spawn_out(self, node, call, options.link, options.monitor).await
    }
}

/// What a remote process shares with the one that asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpawnWith {
    /// A link.
    pub link: bool,
    /// A monitor, whose reference is that of the request.
    pub monitor: bool,
}
