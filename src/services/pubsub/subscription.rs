//! What a subscriber holds: a bounded stream of messages that says when some are missing.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::registry::{Registry, Subscriber};
use crate::etf::{Atom, DecodeError, Payload, Term};

/// A message that was broadcast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    payload: Payload,
    dispatcher: Atom,
}

impl Broadcast {
    pub(super) fn new(payload: Payload, dispatcher: Atom) -> Self {
        Self { payload, dispatcher }
    }

    /// The message as a value of a Rust type.
    ///
    /// # Errors
    /// Says where the message differs from the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.payload.decode()
    }

    /// The message as a term.
    ///
    /// # Errors
    /// When it nests deeper than a tree may.
    pub fn term(&self) -> Result<Term, DecodeError> {
        self.payload.term()
    }

    /// The message as it came.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The module that the sender wants it to be dispatched by: `Elixir.Phoenix.PubSub`, unless it named another
    /// (`Elixir.Phoenix.Channel.Server` for broadcasts of channels). On this node all dispatchers are the same: each
    /// subscriber gets the message.
    pub fn dispatcher(&self) -> &Atom {
        &self.dispatcher
    }
}

/// Why a subscription has no message to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The reader was too slow, and so many messages are missing at this place. The subscription goes on.
    #[error("{0} messages of the topic were left out, as the subscription was full; read faster, or give it more room")]
    Lagged(u64),
    /// The PubSub has stopped.
    #[error("the PubSub does not run on this node any more")]
    Closed,
}

/// What is broadcast on a topic. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    topic: Box<str>,
    id: u64,
    queue: mpsc::Receiver<Queued>,
    missed: Arc<AtomicU64>,
    /// Came after others that are missing, which has to be said first.
    held_back: Option<Broadcast>,
    registry: Weak<Registry>,
}

impl Subscription {
    /// The largest capacity.
    pub const MOST: usize = 1 << 24;

    pub(super) fn new(
        topic: &str,
        id: u64,
        queue: mpsc::Receiver<Queued>,
        missed: Arc<AtomicU64>,
        registry: Weak<Registry>,
    ) -> Self {
        Self { topic: topic.into(), id, queue, missed, held_back: None, registry }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The next message, oldest first.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] in the place of messages that were left out, [`RecvError::Closed`] when the PubSub has
    /// stopped.
    pub async fn recv(&mut self) -> Result<Broadcast, RecvError> {
        self.next().await.unwrap_or(Err(RecvError::Closed))
    }
}

impl Stream for Subscription {
    /// An error is always [`RecvError::Lagged`]; when the PubSub has stopped the stream ends.
    type Item = Result<Broadcast, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(broadcast) = self.held_back.take() {
            return Poll::Ready(Some(Ok(broadcast)));
        }
        match self.queue.poll_recv(context) {
            Poll::Ready(Some(Queued { broadcast, missed: 0 })) => Poll::Ready(Some(Ok(broadcast))),
            Poll::Ready(Some(Queued { broadcast, missed })) => {
                self.held_back = Some(broadcast);
                Poll::Ready(Some(Err(RecvError::Lagged(missed))))
            }
            // The task has to let others run; there is more.
            Poll::Pending if !self.queue.is_empty() => Poll::Pending,
            // Those that nothing has followed yet.
            other => match (self.missed.swap(0, Ordering::AcqRel), other) {
                (0, Poll::Pending) => Poll::Pending,
                (0, _) => Poll::Ready(None),
                (missed, _) => Poll::Ready(Some(Err(RecvError::Lagged(missed)))),
            },
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.unsubscribe(&self.topic, &Subscriber::Stream(self.id));
        }
    }
}

/// A message on its way to a reader.
#[derive(Debug)]
pub(super) struct Queued {
    broadcast: Broadcast,
    /// How many before it were left out.
    missed: u64,
}

/// Where the messages of a subscription go in.
#[derive(Clone)]
pub(super) struct Inlet {
    queue: mpsc::Sender<Queued>,
    missed: Arc<AtomicU64>,
}

impl Inlet {
    pub(super) fn new(queue: mpsc::Sender<Queued>) -> Self {
        Self { queue, missed: Arc::default() }
    }

    pub(super) fn missed(&self) -> Arc<AtomicU64> {
        self.missed.clone()
    }

    /// Puts a message in, or counts it where there is no room.
    pub(super) fn put(&self, broadcast: &Broadcast) {
        match self.queue.try_reserve() {
            Ok(room) => {
                let missed = self.missed.swap(0, Ordering::AcqRel);
                room.send(Queued { broadcast: broadcast.clone(), missed });
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                self.missed.fetch_add(1, Ordering::AcqRel);
            }
            Err(mpsc::error::TrySendError::Closed(())) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::atom;

    fn message(number: i64) -> Broadcast {
        Broadcast::new(Payload::from_term(&Term::from(number)).unwrap(), atom!("d"))
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_are_missing_and_where() {
        let registry = Arc::new(Registry::default());
        let mut subscription = registry.subscribe("t", NonZeroUsize::new(2).unwrap());
        let put = |number: i64| {
            for entry in registry.subscribers(b"t").unwrap().iter() {
                entry.inlet().unwrap().put(&message(number));
            }
        };
        (1..=4).for_each(put);
        assert_eq!(subscription.recv().await.unwrap().decode::<i64>().unwrap(), 1);
        put(5);
        put(6);
        assert_eq!(subscription.recv().await.unwrap().decode::<i64>().unwrap(), 2);
        assert_eq!(subscription.recv().await.unwrap_err(), RecvError::Lagged(2));
        assert_eq!(subscription.recv().await.unwrap().decode::<i64>().unwrap(), 5);
        assert_eq!(subscription.recv().await.unwrap_err(), RecvError::Lagged(1));
        put(7);
        assert_eq!(subscription.recv().await.unwrap().decode::<i64>().unwrap(), 7);
        registry.close();
        assert_eq!(subscription.recv().await.unwrap_err(), RecvError::Closed);
        assert_eq!(registry.subscribe("t", NonZeroUsize::MIN).recv().await.unwrap_err(), RecvError::Closed);
    }

    #[test]
    fn a_subscription_ends_when_it_is_dropped() {
        let registry = Arc::new(Registry::default());
        let first = registry.subscribe("t", NonZeroUsize::MIN);
        let second = registry.subscribe("t", NonZeroUsize::MIN);
        drop(first);
        assert_eq!(registry.subscribers(b"t").unwrap().len(), 1);
        drop(second);
        assert!(registry.subscribers(b"t").is_none());
    }
}
