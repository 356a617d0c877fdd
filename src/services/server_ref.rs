//! Starting servers, and the handle of one that runs.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::children::Listed;
use super::children::{self, ChildKind};
use super::serve::Serving;
use super::server::GenServer;
use crate::etf::{Atom, Pid, Term};
use crate::node::{
    CallError, IntoTarget, Message, Node, Process, Reason, RegisterError, SendError, Service, Target, TargetError,
};

/// A server of this node. Cheap to clone; dropping it does not end the server.
#[derive(Debug, Clone)]
pub struct ServerRef {
    node: Node,
    pid: Pid,
    name: Option<Atom>,
}

impl Node {
    /// Starts a server under a name, in a task of its own: `GenServer.call({:name, node}, …)` reaches
    /// it. It is linked to nobody; link or watch it as any process. See [`GenServer`].
    ///
    /// # Errors
    /// When the name is taken.
    pub fn start_server(&self, name: &str, server: impl GenServer) -> Result<ServerRef, RegisterError> {
        let name = Atom::new(name)?;
        let module = server.module();
        let service = Listed { service: Started { name: name.clone(), server }, module };
        let pid = self.install(service)?;
        Ok(ServerRef { node: self.clone(), pid, name: Some(name) })
    }

    /// Starts a server without a name on this node: reached by its pid, or by a name that it gets in
    /// `global`.
    pub fn start_anonymous_server(&self, server: impl GenServer) -> ServerRef {
        let module = server.module();
        let pid = self.spawn_labelled(module.as_str(), |process| {
            let entered =
                children::enter(&process, Term::Pid(process.pid().clone()), ChildKind::Worker, module.clone());
            async move {
                let _entered = entered;
                Serving::new(process, server).finishing().run().await
            }
        });
        ServerRef { node: self.clone(), pid, name: None }
    }
}

/// A user's server under its name.
struct Started<S> {
    name: Atom,
    server: S,
}

impl<S: GenServer> Service for Started<S> {
    fn name(&self) -> Atom {
        self.name.clone()
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        Box::pin(Serving::new(process, self.server).finishing().run())
    }
}

impl ServerRef {
    /// Its pid: to link with, to watch, to give away.
    pub fn pid(&self) -> &Pid {
        &self.pid
    }

    /// The name that it was started under.
    pub fn name(&self) -> Option<&Atom> {
        self.name.as_ref()
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// True until it has ended.
    pub fn is_alive(&self) -> bool {
        self.node.is_alive(&self.pid)
    }

    /// [`Node::call`] to this server.
    ///
    /// # Errors
    /// As [`Node::call`].
    pub async fn call<R: DeserializeOwned>(&self, request: &(impl Serialize + ?Sized)) -> Result<R, CallError> {
        self.node.call(&self.pid, request).await
    }

    /// [`Node::cast`] to this server.
    ///
    /// # Errors
    /// When the request cannot be a term.
    pub async fn cast(&self, request: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.node.cast(&self.pid, request).await
    }

    /// Stops it, see [`Node::stop_server`].
    ///
    /// # Errors
    /// As [`Node::stop_server`].
    pub async fn stop(&self, reason: Reason, timeout: Duration) -> Result<(), CallError> {
        self.node.stop_server(&self.pid, reason, timeout).await
    }

    /// Returns when it has ended, with the reason; `noproc` where that was before.
    pub async fn ended(&self) -> Reason {
        let mut watcher = self.node.process_labelled("waits for a server");
        let Ok(monitor) = watcher.monitor(&self.pid).await else { return Reason::noproc() };
        let down = watcher.recv_match(|message| match message {
            Message::Down { reference, reason, .. } if *reference == monitor => Some(reason.clone()),
            _ => None,
        });
        down.await.unwrap_or_else(|ended| ended.reason)
    }
}

impl IntoTarget for &ServerRef {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::Pid(self.pid.clone()))
    }
}
