//! Who on this node is subscribed to what.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::subscription::{Broadcast, Inlet, Subscription};
use crate::etf::Pid;
use crate::node::{Process, Target};

/// The subscribers of all topics. Whoever delivers takes a list along, and holds no lock.
#[derive(Default)]
pub(super) struct Registry {
    topics: RwLock<Topics>,
    next: AtomicU64,
}

#[derive(Default)]
struct Topics {
    by_name: HashMap<Box<[u8]>, Arc<Vec<Entry>>>,
    closed: bool,
}

/// What tells subscribers apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subscriber {
    Stream(u64),
    Process(Pid),
}

#[derive(Clone)]
pub(super) struct Entry {
    subscriber: Subscriber,
    /// Where the messages of a stream go in.
    inlet: Option<Inlet>,
}

#[cfg(test)]
impl Entry {
    pub(super) fn inlet(&self) -> Option<&Inlet> {
        self.inlet.as_ref()
    }
}

impl Registry {
    pub(super) fn subscribe(self: &Arc<Self>, topic: &str, capacity: NonZeroUsize) -> Subscription {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = mpsc::channel(capacity.get().min(Subscription::MOST));
        let inlet = Inlet::new(sender);
        let subscription = Subscription::new(topic, id, queue, inlet.missed(), Arc::downgrade(self));
        self.add(topic, Entry { subscriber: Subscriber::Stream(id), inlet: Some(inlet) });
        subscription
    }

    pub(super) fn subscribe_process(&self, topic: &str, pid: &Pid) {
        self.add(topic, Entry { subscriber: Subscriber::Process(pid.clone()), inlet: None });
    }

    /// Once it is closed nothing is added: the stream ends at once.
    fn add(&self, topic: &str, entry: Entry) {
        let mut topics = self.topics.write();
        if !topics.closed {
            Arc::make_mut(topics.by_name.entry(topic.as_bytes().into()).or_default()).push(entry);
        }
    }

    pub(super) fn unsubscribe(&self, topic: &str, subscriber: &Subscriber) {
        let mut topics = self.topics.write();
        let Some(entries) = topics.by_name.get_mut(topic.as_bytes()) else { return };
        Arc::make_mut(entries).retain(|entry| entry.subscriber != *subscriber);
        if entries.is_empty() {
            topics.by_name.remove(topic.as_bytes());
        }
    }

    /// A process has ended.
    pub(super) fn forget(&self, pid: &Pid) {
        let gone = |entry: &Entry| matches!(&entry.subscriber, Subscriber::Process(other) if other == pid);
        self.topics.write().by_name.retain(|_, entries| {
            if entries.iter().any(gone) {
                Arc::make_mut(entries).retain(|entry| !gone(entry));
            }
            !entries.is_empty()
        });
    }

    /// The subscribers of a topic, where it has any.
    pub(super) fn subscribers(&self, topic: &[u8]) -> Option<Arc<Vec<Entry>>> {
        self.topics.read().by_name.get(topic).cloned()
    }

    /// Ends all subscriptions, and takes no more.
    pub(super) fn close(&self) {
        let mut topics = self.topics.write();
        topics.closed = true;
        topics.by_name.clear();
    }
}

/// A message for subscribers of this node.
pub(super) struct Delivery<'a> {
    pub(super) broadcast: &'a Broadcast,
    /// Who does not get it.
    pub(super) but: Option<&'a Subscriber>,
}

impl Delivery<'_> {
    /// Nothing in here waits.
    pub(super) fn to(&self, subscribers: &[Entry], from: &Process) {
        for entry in subscribers.iter().filter(|entry| self.but != Some(&entry.subscriber)) {
            match (&entry.inlet, &entry.subscriber) {
                (Some(inlet), _) => inlet.put(self.broadcast),
                (None, Subscriber::Process(pid)) => {
                    if let Err(error) = from.try_forward(Target::Pid(pid.clone()), self.broadcast.payload()) {
                        tracing::error!(%pid, %error, "a broadcast cannot be delivered on this node");
                    }
                }
                (None, Subscriber::Stream(_)) => {}
            }
        }
    }
}
