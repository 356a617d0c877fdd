//! `Phoenix.PubSub`: topics that reach every subscriber on every node, Elixir or Rust.
//!
//! [`PubSub`] is a full member, as `{Phoenix.PubSub, name: MyApp.PubSub}` in an Elixir supervisor is: its workers are
//! registered under the names of the adapter `Phoenix.PubSub.PG2`, and are members of the groups of those names in
//! the scope `Elixir.Phoenix.PubSub` of [`pg`](super::pg). [`Publisher`] only publishes, and needs none of that.
//!
//! What goes over the wire is one message, `{forward_to_local, Topic, Message, Dispatcher}`: to each worker of the
//! group for a broadcast, to the name of the adapter for a direct one. There is no acknowledgement: a node that is not
//! connected misses it. Facts: `Phoenix.PubSub` and `Phoenix.PubSub.PG2` of phoenix_pubsub 2.2.
//!
//! ```no_run
//! # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
//! use gusset::services::pubsub::PubSub;
//!
//! let pubsub = PubSub::start(&node, "MyApp.PubSub").await?;
//! let mut orders = pubsub.subscribe("orders"); // Phoenix.PubSub.subscribe(MyApp.PubSub, "orders")
//! pubsub.broadcast("parts", &("bolt", 7)).await?; // Phoenix.PubSub.broadcast(MyApp.PubSub, "parts", {"bolt", 7})
//! let (part, count): (String, i64) = orders.recv().await?.decode()?;
//! # Ok(()) }
//! ```

mod publisher;
mod registry;
mod subscription;
mod supervisor;
mod wire;

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub use self::publisher::Publisher;
use self::registry::{Delivery, Registry};
pub use self::subscription::{Broadcast, RecvError, Subscription};
use self::supervisor::{Command, Supervisor};
use self::wire::Forward;
use super::fan_out::fan_out;
use super::pg::{PgError, Scope};
use crate::etf::{Atom, AtomTooLong, EncodeError, Pid, Term};
use crate::node::{Node, Process, RegisterError, SendError, Target};
use crate::proto::NodeName;

/// The scope of `pg` that all PubSubs of a node share.
pub const SCOPE: &str = "Elixir.Phoenix.PubSub";
/// What sends a message on to the subscribers of a node, unless a broadcast names another module.
const DISPATCHER: Atom = crate::atom!("Elixir.Phoenix.PubSub");

/// How many messages wait for a [`Subscription`], unless it says otherwise: 1024.
pub const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// How to start a [`PubSub`]; its name alone will do.
#[derive(Debug, Clone)]
pub struct PubSubOptions {
    name: String,
    pool_size: NonZeroUsize,
}

impl PubSubOptions {
    /// The name that the Elixir side has, `MyApp.PubSub`, with `Elixir.` before it or not.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), pool_size: NonZeroUsize::MIN }
    }

    /// How many workers there are: at least the `broadcast_pool_size` of all other nodes, which choose a worker by
    /// the process that broadcasts. 1 unless set, as in Elixir.
    #[must_use]
    pub fn pool_size(mut self, pool_size: NonZeroUsize) -> Self {
        self.pool_size = pool_size;
        self
    }
}

impl From<&str> for PubSubOptions {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

/// A PubSub that did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PubSubError {
    /// The name cannot be an atom.
    #[error("not the name of a PubSub: {0}")]
    Name(#[from] AtomTooLong),
    /// The scope, or a worker, could not have its name: a PubSub of that name runs here already.
    #[error("cannot start: {0}; does a PubSub of this name run on this node?")]
    Register(#[from] RegisterError),
    /// The workers could not join their groups.
    #[error("the workers cannot join their groups: {0}")]
    Join(#[from] PgError),
    /// The node is shutting down.
    #[error("it was ended while it started")]
    Ended,
}

/// A member of `Phoenix.PubSub`. Cheap to clone; it runs until [`stop`](Self::stop) or the end of the node.
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
    dispatcher: Atom,
}

struct Inner {
    adapter: Atom,
    group: Term,
    shared: Arc<Shared>,
    /// Broadcasts come from here; nobody sends to it.
    sender: Process,
    commands: mpsc::UnboundedSender<Command>,
}

/// What the handles and the workers share.
struct Shared {
    registry: Arc<Registry>,
    scope: RwLock<Scope>,
}

/// Who broadcasts, and does not want to hear of it: a process that is subscribed, or a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(registry::Subscriber);

impl From<&Pid> for Origin {
    fn from(pid: &Pid) -> Self {
        Self(registry::Subscriber::Process(pid.clone()))
    }
}

impl From<&Process> for Origin {
    fn from(process: &Process) -> Self {
        Self::from(process.pid())
    }
}

impl From<&Subscription> for Origin {
    fn from(subscription: &Subscription) -> Self {
        Self(registry::Subscriber::Stream(subscription.id()))
    }
}

impl PubSub {
    /// Starts a member: `PubSub::start(&node, "MyApp.PubSub")`. The scope is started too, unless it runs.
    ///
    /// # Errors
    /// When a PubSub of that name runs on this node already.
    pub async fn start(node: &Node, options: impl Into<PubSubOptions>) -> Result<Self, PubSubError> {
        let PubSubOptions { name, pool_size } = options.into();
        let groups = wire::groups(&name, pool_size)?;
        let adapter = wire::adapter(&name)?;
        let scope = RwLock::new(node.pg(SCOPE)?);
        let shared = Arc::new(Shared { registry: Arc::default(), scope });
        let (commands, inbox) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let supervisor = Supervisor::new(shared.clone(), groups);
        node.spawn_labelled("pubsub: supervisor", |process| supervisor.run(process, inbox, ready));
        started.await.unwrap_or(Err(PubSubError::Ended))?;
        let group = Term::Atom(adapter.clone());
        let sender = node.process_labelled("pubsub: sender");
        let inner = Arc::new(Inner { adapter, group, shared, sender, commands });
        Ok(Self { inner, dispatcher: DISPATCHER })
    }

    /// A handle whose broadcasts name another dispatcher: a module that exists on the Elixir nodes and sends a message
    /// on to their subscribers (`Phoenix.Channel.Server`, for what sockets are to get).
    #[must_use]
    pub fn dispatched_by(&self, module: Atom) -> Self {
        Self { inner: self.inner.clone(), dispatcher: module }
    }

    /// The name of the adapter: of the first worker and its group.
    pub fn adapter(&self) -> &Atom {
        &self.inner.adapter
    }

    /// The nodes that have a worker in the group that broadcasts go to, in order.
    pub fn nodes(&self) -> Vec<NodeName> {
        let members = self.remote_workers();
        let mut nodes: Vec<_> = members.iter().filter_map(|pid| NodeName::try_from(&pid.node).ok()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// What is broadcast on a topic from now on, as a stream. When more than [`CAPACITY`] messages wait in it, those
    /// that follow are left out, and it says how many.
    pub fn subscribe(&self, topic: &str) -> Subscription {
        self.subscribe_with(topic, CAPACITY)
    }

    /// The same with a capacity of its own (more than [`Subscription::MOST`] are as many).
    pub fn subscribe_with(&self, topic: &str, capacity: NonZeroUsize) -> Subscription {
        self.inner.shared.registry.subscribe(topic, capacity)
    }

    /// Lets a process of this node have what is broadcast on a topic: in its mailbox, as it was sent, nothing left
    /// out, as `Phoenix.PubSub.subscribe/2` does for the process that calls it. One that subscribes twice gets all
    /// twice. It ends with the process.
    pub fn subscribe_process(&self, process: &Process, topic: &str) {
        self.inner.shared.registry.subscribe_process(topic, process.pid());
        let _ = self.inner.commands.send(Command::Watch(process.pid().clone()));
    }

    /// Takes a process out of a topic.
    pub fn unsubscribe_process(&self, process: &Process, topic: &str) {
        self.inner.shared.registry.unsubscribe(topic, &registry::Subscriber::Process(process.pid().clone()));
    }

    /// Sends to all subscribers of a topic on all nodes; to how many other nodes' workers it went. It is encoded
    /// once. Where nodes read more slowly than they are sent to, this waits for them, after all others have it.
    ///
    /// # Errors
    /// When the message cannot be a term.
    pub async fn broadcast<T: Serialize + ?Sized>(&self, topic: &str, message: &T) -> Result<usize, EncodeError> {
        self.broadcast_but(None, topic, message).await
    }

    /// As [`broadcast`](Self::broadcast), to all but a process or subscription.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_from<T: Serialize + ?Sized>(
        &self,
        from: impl Into<Origin>,
        topic: &str,
        message: &T,
    ) -> Result<usize, EncodeError> {
        self.broadcast_but(Some(from.into()), topic, message).await
    }

    async fn broadcast_but<T: Serialize + ?Sized>(
        &self,
        but: Option<Origin>,
        topic: &str,
        message: &T,
    ) -> Result<usize, EncodeError> {
        let forward = Forward::new(topic, message, &self.dispatcher)?;
        self.deliver(topic, &forward, but);
        let workers = self.remote_workers();
        let workers = workers.iter().map(|pid| Target::Pid(pid.clone()));
        Ok(fan_out(&self.inner.sender, workers, forward.payload()).await)
    }

    /// Sends to the subscribers of a topic on one node, which may be this one. It goes to the name of the adapter
    /// there, so the node need not have met this one's scope.
    ///
    /// # Errors
    /// When there is no way to the node, or the message cannot be a term.
    pub async fn direct_broadcast<T: Serialize + ?Sized>(
        &self,
        node: &NodeName,
        topic: &str,
        message: &T,
    ) -> Result<(), SendError> {
        let forward = Forward::new(topic, message, &self.dispatcher)?;
        let worker = Target::NameOn(self.inner.adapter.clone(), node.clone());
        self.inner.sender.forward(worker, forward.payload()).await
    }

    /// Sends to the subscribers of a topic on this node.
    ///
    /// # Errors
    /// When the message cannot be a term.
    pub fn local_broadcast<T: Serialize + ?Sized>(&self, topic: &str, message: &T) -> Result<(), EncodeError> {
        self.deliver(topic, &Forward::new(topic, message, &self.dispatcher)?, None);
        Ok(())
    }

    /// Ends it on this node, and with it all subscriptions; returns when its names are free again.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.inner.commands.send(Command::Stop(done)).is_ok() {
            let _ = stopped.await;
        }
    }

    fn deliver(&self, topic: &str, forward: &Forward, but: Option<Origin>) {
        let Some(subscribers) = self.inner.shared.registry.subscribers(topic.as_bytes()) else { return };
        let broadcast = Broadcast::new(forward.message(), self.dispatcher.clone());
        let delivery = Delivery { broadcast: &broadcast, but: but.as_ref().map(|but| &but.0) };
        delivery.to(&subscribers, &self.inner.sender);
    }

    fn remote_workers(&self) -> Arc<Vec<Pid>> {
        self.inner.shared.scope.read().remote_members(&self.inner.group)
    }
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PubSub({} on {})", self.inner.adapter, self.inner.sender.pid().node)
    }
}
