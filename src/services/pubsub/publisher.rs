//! Publishing without being a member.

use serde::Serialize;

use super::wire::{self, Forward};
use super::{DISPATCHER, PubSubError};
use crate::etf::{Atom, EncodeError};
use crate::node::{Node, Process, SendError, Target};
use crate::proto::NodeName;
use crate::services::fan_out::fan_out;

/// Publishes to a `Phoenix.PubSub` of other nodes, without a scope, workers or subscribers of its own: each message is
/// sent to the name of the adapter on each connected node, where nobody misses it who does not have that name. For
/// command line tools, hidden nodes, and clusters of releases that cannot share a scope (OTP 29 and those before 26).
///
/// ```no_run
/// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use gusset::services::pubsub::Publisher;
///
/// let publisher = Publisher::new(&node, "MyApp.PubSub")?;
/// publisher.broadcast("parts", &("bolt", 7)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Publisher {
    adapter: Atom,
    dispatcher: Atom,
    sender: Process,
}

impl Publisher {
    /// A publisher for the PubSub of this name, `MyApp.PubSub`, with `Elixir.` before it or not.
    ///
    /// # Errors
    /// When the name cannot be an atom.
    pub fn new(node: &Node, name: &str) -> Result<Self, PubSubError> {
        let sender = node.process_labelled("pubsub: publisher");
        Ok(Self { adapter: wire::adapter(name)?, dispatcher: DISPATCHER, sender })
    }

    /// The same with another dispatcher: see [`PubSub::dispatched_by`](super::PubSub::dispatched_by).
    #[must_use]
    pub fn dispatched_by(mut self, module: Atom) -> Self {
        self.dispatcher = module;
        self
    }

    /// Sends to all subscribers of a topic on all nodes that are connected, hidden ones too; to how many nodes it
    /// went, whether they have this PubSub or not. Subscribers on this node are none of them.
    ///
    /// # Errors
    /// When the message cannot be a term.
    pub async fn broadcast<T: Serialize + ?Sized>(&self, topic: &str, message: &T) -> Result<usize, EncodeError> {
        let forward = Forward::new(topic, message, &self.dispatcher)?;
        let nodes = self.sender.node().connected_nodes();
        let workers = nodes.into_iter().map(|node| Target::NameOn(self.adapter.clone(), node));
        Ok(fan_out(&self.sender, workers, forward.payload()).await)
    }

    /// Sends to the subscribers of a topic on one node, and connects to it where needed.
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
        self.sender.forward(Target::NameOn(self.adapter.clone(), node.clone()), forward.payload()).await
    }
}
