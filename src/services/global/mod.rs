//! `global`: the cluster's table of names and its locks, and with them the full mesh that visible nodes
//! form. Speaks version 8 of the protocol (OTP 25 to 29), and those from 5 on (OTP 23 and 24).
//!
//! A visible node without it stands in the way of all others: they wait for it when they lock. So it
//! is one of the standard services. Hidden nodes take no part, here or elsewhere.
//!
//! What happens is decided in `state`, `messages` and `session`, without I/O; `server` is the process around it,
//! `locker` and `registrar` are the two that take locks. Facts: `global.erl`.

mod calls;
mod lock;
mod locker;
mod locks;
mod messages;
mod names;
mod overlap;
mod post;
mod registrar;
mod resolve;
mod server;
mod session;
mod state;
#[cfg(test)]
mod state_tests;
mod terms;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use self::calls::Caller;
pub use self::lock::GlobalLock;
use self::locker::Locker;
use self::post::Post;
use self::registrar::{Change, Wish};
use self::server::{Input, Server};
use self::state::GlobalState;
use self::terms::{Entry, SERVER};
use super::children::Listed;
use crate::atom;
use crate::etf::{Pid, Term};
use crate::node::{Message, Node, Process, RegisterError, SendError};
use crate::proto::NodeName;
use crate::tuple;

/// The names and nodes that `global` knows. Cheap to clone.
#[derive(Clone)]
pub struct Global {
    node: Node,
    service: Handles,
}

/// The ways to the service. Kept with the node, so there is no handle of the node in it.
#[derive(Clone)]
struct Handles {
    state: Arc<Mutex<GlobalState>>,
    /// Counts the changes of names.
    changes: watch::Receiver<u64>,
    registrar: mpsc::UnboundedSender<Wish>,
    server: mpsc::UnboundedSender<Input>,
}

/// What the node keeps.
#[derive(Default)]
struct Kept(OnceLock<Handles>);

/// A name that could not be changed, or asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GlobalError {
    /// Others hold the lock.
    #[error("the lock is held by other nodes and was not free within {0:?}; is a node of the cluster stuck?")]
    Locked(Duration),
    /// Not all nodes were synchronised in time.
    #[error("`global` is not in sync with all nodes after {0:?}")]
    NotInSync(Duration),
    /// The service or the node has stopped.
    #[error("`global` does not run on this node any more")]
    Stopped,
}

/// Starts the service on a node that is visible, and lets others call `global:resolve_it/4`.
///
/// # Errors
/// When somebody is registered as `global_name_server` already.
pub fn install(node: &Node) -> Result<Global, RegisterError> {
    let (to_locker, commands) = mpsc::unbounded_channel();
    let (to_server, inputs) = mpsc::unbounded_channel();
    let (to_registrar, wishes) = mpsc::unbounded_channel();
    let post = Post::new(node);
    // The locker is a process of its own: older lockers write to it directly.
    let (locker_pid, locker_ready) = spawn_later(node, "global: locker");
    let life = getrandom::u64().unwrap_or_else(|_| u64::from(node.creation().0)) >> LIFE_SHIFT;
    let state = Arc::new(Mutex::new(GlobalState::new(node.name().clone(), locker_pid, life)));

    let caller = {
        let (node, post, state) = (node.clone(), post.clone(), state.clone());
        move |process| Caller { process, node, post, state }
    };
    let (changed, changes) = watch::channel(0);
    let to_self = to_server.clone();
    let server = Server { state: state.clone(), post, locker: to_locker, inputs, to_self, changed };
    node.install(Listed { service: server, module: atom!("global") })?;
    {
        let (caller, to_server) = (caller.clone(), to_server.clone());
        let _ = locker_ready
            .send(Box::new(move |process| Box::pin(Locker::new(caller(process), commands, to_server).run())));
    }
    node.spawn_labelled("global: registrar", move |process| registrar::run(caller(process), wishes));
    let service = Handles { state, changes, registrar: to_registrar, server: to_server };
    // A second service cannot be: the name of the server is taken.
    let _ = node.extension::<Kept>().0.set(service.clone());
    node.export(atom!("global"), atom!("resolve_it"), 4, |mut context, arguments| async move {
        resolve::resolve_it(context.process(), &arguments).await
    });
    Ok(Global { node: node.clone(), service })
}

impl Node {
    /// Names and nodes of the cluster, as `global` has them; `None` on a node without the service, as
    /// hidden nodes are.
    pub fn global(&self) -> Option<Global> {
        let service = self.extension::<Kept>().0.get()?.clone();
        Some(Global { node: self.clone(), service })
    }
}

impl Global {
    /// The other nodes of the cluster, in order: those that this one has synchronised with, and those
    /// that these know.
    pub fn known(&self) -> Vec<NodeName> {
        self.service.state.lock().known()
    }

    /// The nodes that have exchanged names with this one, or said that they know it; in order.
    pub fn synced(&self) -> Vec<NodeName> {
        self.service.state.lock().synced()
    }

    /// All names, in order (`global:registered_names/0`).
    pub fn names(&self) -> Vec<Term> {
        self.service.state.lock().names().names()
    }

    /// The process that has a name (`global:whereis_name/1`).
    pub fn whereis(&self, name: &Term) -> Option<Pid> {
        let pid = self.service.state.lock().names().pid(name).cloned()?;
        let here = pid.node == *self.node.name().as_atom();
        (!here || self.node.is_alive(&pid)).then_some(pid)
    }

    /// Gives a process a name on all nodes; false when another has it (`global:register_name/2`).
    /// Should two partitions meet in which two processes have it, the one on the node with the greater
    /// name is ended (`global:random_exit_name/3`).
    ///
    /// # Errors
    /// When other nodes keep `global` locked for a minute.
    pub async fn register(&self, name: impl Into<Term>, pid: &Pid) -> Result<bool, GlobalError> {
        self.change(Change::Register(entry(name.into(), pid))).await
    }

    /// Gives a process a name, whoever has it (`global:re_register_name/2`).
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub async fn re_register(&self, name: impl Into<Term>, pid: &Pid) -> Result<(), GlobalError> {
        self.change(Change::Reregister(entry(name.into(), pid))).await.map(drop)
    }

    /// Takes a name away on all nodes; false when nobody has it (`global:unregister_name/1`).
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub async fn unregister(&self, name: impl Into<Term>) -> Result<bool, GlobalError> {
        self.change(Change::Unregister(name.into())).await
    }

    /// Sends to whoever has a name; returns the pid (`global:send/2`).
    ///
    /// # Errors
    /// When nobody has it (`badarg` in Erlang), or there is no way to its node.
    pub async fn send<T: Serialize + ?Sized>(
        &self,
        from: &Process,
        name: impl Into<Term>,
        message: &T,
    ) -> Result<Pid, SendError> {
        let name = name.into();
        let Some(pid) = self.whereis(&name) else { return Err(SendError::NoSuchName(name)) };
        from.send(&pid, message).await?;
        Ok(pid)
    }

    /// Returns when names are synchronised with all nodes that are connected (`global:sync/0`).
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn sync(&self, timeout: Duration) -> Result<(), GlobalError> {
        let mut process = self.node.process_labelled("global: sync");
        let tag = self.node.make_ref();
        let nodes = Term::list(self.node.nodes().into_iter().map(|node| Term::Atom(node.into())));
        let from = tuple![process.pid().clone(), tag.clone()];
        let request = tuple![atom!("$gen_call"), from, tuple![atom!("sync"), nodes]];
        process.send(SERVER, &request).await.map_err(|_| GlobalError::Stopped)?;
        let answer = process.recv_match(|message| {
            let Message::Sent(payload) = message else { return None };
            let term = payload.term().ok()?;
            matches!(term.as_tuple_of(), Some([Term::Ref(of), _]) if **of == tag).then_some(())
        });
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.map_err(|_| GlobalError::Stopped),
            Err(_) => Err(GlobalError::NotInSync(timeout)),
        }
    }

    /// From now on connections that go down are no reason to warn other nodes of a partition: for
    /// programs that leave the cluster but go on. [`Node::shutdown`] does it by itself.
    pub fn prepare_to_leave(&self) {
        let _ = self.service.server.send(Input::Leave);
    }

    /// Marks changes of names: wait on it, then look again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.service.changes.clone()
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    async fn change(&self, change: Change) -> Result<bool, GlobalError> {
        let (answer, outcome) = oneshot::channel();
        self.service.registrar.send(Wish { change, answer }).map_err(|_| GlobalError::Stopped)?;
        outcome.await.unwrap_or(Err(GlobalError::Stopped))
    }
}

impl std::fmt::Debug for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Global({})", self.node.name())
    }
}

fn entry(name: Term, pid: &Pid) -> Entry {
    let method = Term::export(atom!("global"), atom!("random_exit_name"), 3);
    Entry { name, pid: pid.clone(), method }
}

pub(crate) type Body = Box<dyn FnOnce(Process) -> futures_util::future::BoxFuture<'static, crate::node::Reason> + Send>;

/// A process whose pid is needed before it is known what it does.
pub(crate) fn spawn_later(node: &Node, label: &str) -> (Pid, oneshot::Sender<Body>) {
    let (ready, body) = oneshot::channel::<Body>();
    let pid = node.spawn_labelled(label, move |process| async move {
        match body.await {
            Ok(body) => body(process).await,
            Err(_) => crate::node::Reason::normal(),
        }
    });
    (pid, ready)
}

/// Keeps the number that tells lives of this node apart within 59 bits, where BEAM has its own.
const LIFE_SHIFT: u32 = 5;
