//! `pg`: groups of processes that all nodes of a scope know. `Phoenix.PubSub` stands on it.
//!
//! A [`Scope`] is a process under the name of the scope, which meets those of that name on other nodes. It speaks
//! the version of the protocol that every release from OTP 23 on takes (`{discover, Pid}` with two elements), and
//! understands what OTP 29 says among its own. A `pg` ends with `badarg` on whatever it does not know, so nothing
//! else is ever sent.
//!
//! As in a BEAM, only nodes that see each other greet: hidden nodes are left alone. A gusset that is hidden itself
//! greets everybody, as nobody greets it. Facts: `pg.erl` of OTP 23 to 27, `pg.erl` and `data_publisher.erl` of 29.
//!
//! ```no_run
//! # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
//! use gusset::atom;
//! use gusset::services::pg::DEFAULT_SCOPE;
//!
//! let scope = node.pg(DEFAULT_SCOPE)?; // pg:start(pg)
//! let worker = node.process();
//! scope.join(atom!("workers"), &worker).await?;
//!
//! let (members, mut changes) = scope.monitor(atom!("workers"));
//! println!("{} at first", members.len());
//! scope.send(&worker, atom!("workers"), "wake up").await?;
//! while let Some(change) = changes.recv().await {
//!     println!("{change:?}");
//! }
//! # Ok(()) }
//! ```

mod events;
mod groups;
mod lines;
mod messages;
mod server;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;

pub use self::events::{GroupEvent, GroupEvents};
use self::server::ScopeServer;
use self::state::State;
use super::fan_out::fan_out;
use crate::atom;
use crate::etf::{self, Atom, EncodeError, Pid, Term};
use crate::node::{CallError, Node, Process, Reason, RegisterError, Target};
use crate::proto::NodeName;
use crate::tuple;

/// The scope of `pg:join/2` and of all other functions that name none.
pub const DEFAULT_SCOPE: &str = "pg";

/// A scope of `pg` on this node. Cheap to clone; it runs until [`stop`](Self::stop) or the end of the node.
#[derive(Clone)]
pub struct Scope {
    node: Node,
    shared: Arc<Shared>,
}

/// What the process of a scope and its handles share.
struct Shared {
    name: Atom,
    pid: Pid,
    state: RwLock<State>,
}

/// The scopes of a node. Kept with the node, so there is no handle of the node in it.
#[derive(Default)]
struct Scopes(Mutex<HashMap<Atom, Arc<Shared>>>);

/// What was asked of a scope and not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// Only processes of a node itself join its groups (`{nolocal, Pid}` in Erlang).
    #[error("{0} is not a process of this node; a process joins on the node it lives on")]
    NotLocal(Pid),
    /// The process of the scope has ended, and with it everything that was in it.
    #[error("the scope `{0}` does not run on this node any more; `Node::pg` starts it again, with no members")]
    Stopped(Atom),
    /// The scope could not be asked.
    #[error("the scope cannot be asked: {0}")]
    Call(#[source] CallError),
}

/// Processes that join or leave together: a process, a pid, or some pids.
pub trait IntoMembers {
    /// Their pids; who is there twice joins twice.
    fn into_members(self) -> Vec<Pid>;
}

impl IntoMembers for &Process {
    fn into_members(self) -> Vec<Pid> {
        vec![self.pid().clone()]
    }
}

impl IntoMembers for &Pid {
    fn into_members(self) -> Vec<Pid> {
        vec![self.clone()]
    }
}

impl IntoMembers for &[Pid] {
    fn into_members(self) -> Vec<Pid> {
        self.to_vec()
    }
}

impl IntoMembers for Vec<Pid> {
    fn into_members(self) -> Vec<Pid> {
        self
    }
}

impl Node {
    /// The scope of `pg` with this name, which is started unless it runs (`pg:start/1`).
    ///
    /// # Errors
    /// When another process has that name.
    pub fn pg(&self, scope: &str) -> Result<Scope, RegisterError> {
        let name = Atom::new(scope)?;
        let scopes = self.extension::<Scopes>();
        let mut scopes = scopes.0.lock();
        let runs = scopes.get(&name).filter(|shared| self.is_alive(&shared.pid)).cloned();
        let shared = match runs {
            Some(shared) => shared,
            None => {
                let shared = ScopeServer::start(self, name.clone())?;
                scopes.insert(name, shared.clone());
                shared
            }
        };
        Ok(Scope { node: self.clone(), shared })
    }
}

impl Scope {
    /// The name of the scope.
    pub fn name(&self) -> &Atom {
        &self.shared.name
    }

    /// The process of the scope on this node.
    pub fn pid(&self) -> &Pid {
        &self.shared.pid
    }

    /// The nodes whose scope of this name is known here, in order.
    pub fn nodes(&self) -> Vec<NodeName> {
        self.shared.state.read().nodes()
    }

    /// Adds processes of this node to a group (`pg:join/3`). One that joins again is a member once more, and stays
    /// one until it has left as often or has ended.
    ///
    /// # Errors
    /// For a process of another node, and when the scope has stopped.
    pub async fn join(&self, group: impl Into<Term>, members: impl IntoMembers) -> Result<(), PgError> {
        self.change(atom!("join_local"), group.into(), members.into_members()).await.map(drop)
    }

    /// Takes processes of this node out of a group, each as often as it is named (`pg:leave/3`); false when none of
    /// them was in it (`not_joined`).
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn leave(&self, group: impl Into<Term>, members: impl IntoMembers) -> Result<bool, PgError> {
        Ok(self.change(atom!("leave_local"), group.into(), members.into_members()).await? != "not_joined")
    }

    /// As a BEAM does it: a call to the process of the scope, so that the order of changes is that of the calls.
    async fn change(&self, what: Atom, group: Term, members: Vec<Pid>) -> Result<Atom, PgError> {
        if let Some(stranger) = members.iter().find(|pid| pid.node != *self.node.name().as_atom()) {
            return Err(PgError::NotLocal(stranger.clone()));
        }
        let request = tuple![what, group, Term::list(members.into_iter().map(Term::Pid))];
        self.node.call(self.pid(), &request).await.map_err(|error| match error {
            CallError::Down(_) => PgError::Stopped(self.name().clone()),
            error => PgError::Call(error),
        })
    }

    /// All members of a group, on all nodes, each as often as it has joined (`pg:get_members/2`).
    pub fn members(&self, group: impl Into<Term>) -> Vec<Pid> {
        let state = self.shared.state.read();
        let (local, remote) = state.groups().both(&group.into());
        local.iter().chain(remote).cloned().collect()
    }

    /// The members of a group that live on this node (`pg:get_local_members/2`).
    pub fn local_members(&self, group: impl Into<Term>) -> Vec<Pid> {
        self.shared.state.read().groups().both(&group.into()).0.to_vec()
    }

    /// The members of a group on other nodes, as they are now, without a copy.
    pub(crate) fn remote_members(&self, group: &Term) -> Arc<Vec<Pid>> {
        self.shared.state.read().groups().remote(group)
    }

    /// All groups with members, in order (`pg:which_groups/1`).
    pub fn which_groups(&self) -> Vec<Term> {
        self.shared.state.read().groups().names(|_| true)
    }

    /// All groups with members on this node, in order (`pg:which_local_groups/1`).
    pub fn which_local_groups(&self) -> Vec<Term> {
        self.shared.state.read().groups().names(|members| members.has_local())
    }

    /// The members of a group, and a stream of all who join and leave from then on (`pg:monitor/2`).
    pub fn monitor(&self, group: impl Into<Term>) -> (Vec<Pid>, GroupEvents) {
        let group = group.into();
        let mut state = self.shared.state.write();
        let (local, remote) = state.groups().both(&group);
        let members = local.iter().chain(remote).cloned().collect();
        (members, state.monitor(Some(group)))
    }

    /// All groups with their members, and a stream of all who join and leave from then on (`pg:monitor_scope/1`).
    pub fn monitor_scope(&self) -> (Vec<(Term, Vec<Pid>)>, GroupEvents) {
        let mut state = self.shared.state.write();
        let groups = state.groups().all();
        (groups, state.monitor(None))
    }

    /// Sends a message to all members of a group, as often as each has joined; to how many it was sent. The message
    /// is encoded once. Where nodes read more slowly than they are sent to, it waits for them, after it has sent to
    /// all others.
    ///
    /// # Errors
    /// When the message cannot be a term. A member that cannot be reached is none.
    pub async fn send<T: Serialize + ?Sized>(
        &self,
        from: &Process,
        group: impl Into<Term>,
        message: &T,
    ) -> Result<usize, EncodeError> {
        let message = etf::to_payload(message)?;
        Ok(fan_out(from, self.members(group).into_iter().map(Target::Pid), &message).await)
    }

    /// Ends the scope on this node: its members are gone from all nodes. [`Node::pg`] starts it again.
    pub fn stop(&self) {
        self.node.exit(self.pid(), &Reason::shutdown());
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scope({} on {})", self.name(), self.node.name())
    }
}
