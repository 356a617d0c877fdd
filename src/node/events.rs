//! Nodes that come and go: the events, and who wants to hear of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::message::Message;
use super::table::Entry;
use crate::etf::Creation;
use crate::proto::NodeName;

/// A node came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The connection to a node is up. Comes before anything that the node sends.
    Up {
        /// Its name.
        name: NodeName,
        /// Its life: the same name with another creation is another node.
        creation: Creation,
        /// Hidden nodes (or hidden connections) are not in [`Node::nodes`](super::Node::nodes).
        hidden: bool,
        /// Tells this connection from earlier and later ones of the same node.
        connection: u64,
    },
    /// The connection to a node is gone. Comes after everything that the node sent.
    Down {
        /// Its name.
        name: NodeName,
        /// Its life.
        creation: Creation,
        /// Whether the connection was hidden.
        hidden: bool,
        /// The connection that is gone.
        connection: u64,
        /// Why: who ended it, and the cause.
        reason: String,
    },
}

impl NodeEvent {
    /// The node in question.
    pub fn name(&self) -> &NodeName {
        match self {
            Self::Up { name, .. } | Self::Down { name, .. } => name,
        }
    }

    /// Whether the connection is hidden.
    pub fn is_hidden(&self) -> bool {
        match self {
            Self::Up { hidden, .. } | Self::Down { hidden, .. } => *hidden,
        }
    }
}

/// The stream of [`NodeEvent`]s; no event is ever left out.
#[derive(Debug)]
pub struct NodeEvents(mpsc::UnboundedReceiver<NodeEvent>);

impl NodeEvents {
    /// The next event; `None` when the node is shut down.
    pub async fn recv(&mut self) -> Option<NodeEvent> {
        self.0.recv().await
    }
}

impl Stream for NodeEvents {
    type Item = NodeEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<NodeEvent>> {
        self.0.poll_recv(context)
    }
}

/// Those who want to hear of nodes.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<Vec<Subscriber>>);

#[derive(Debug)]
enum Subscriber {
    Stream(mpsc::UnboundedSender<NodeEvent>),
    /// Through the mailbox, so that the event keeps its place before or after what the node sends.
    Process(Arc<Entry>),
}

impl Subscribers {
    pub(crate) fn stream(&self) -> NodeEvents {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().push(Subscriber::Stream(sender));
        NodeEvents(receiver)
    }

    pub(crate) fn process(&self, entry: Arc<Entry>) {
        self.0.lock().push(Subscriber::Process(entry));
    }

    /// Tells everybody; forgets those who are gone.
    pub(crate) fn publish(&self, event: &NodeEvent) {
        self.0.lock().retain(|subscriber| match subscriber {
            Subscriber::Stream(sender) => sender.send(event.clone()).is_ok(),
            Subscriber::Process(entry) => entry.push(Message::Node(event.clone())),
        });
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        self.0.lock().clear();
    }
}
