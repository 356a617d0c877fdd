//! Who wants to hear of presences that come and go, and how it is told.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::crdt::Changes;
use super::presence::Presence;

/// What has changed in a topic at once, as `handle_diff/2` gets it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// Presences came or went. An update is in both: what it was has left, what it is has joined.
    Diff {
        /// The topic.
        topic: Bytes,
        /// Who is there now.
        joins: Vec<Presence>,
        /// Who is not there any more: it left, its process ended, or its replica is silent.
        leaves: Vec<Presence>,
    },
    /// Events were not taken for so long that more than [`PresenceEvents::CAPACITY`] waited. The stream ends with this:
    /// monitor again.
    Lagged,
}

/// The stream of [`PresenceEvent`]s, which ends with the tracker.
#[derive(Debug)]
pub struct PresenceEvents {
    events: mpsc::Receiver<PresenceEvent>,
    lagged: Arc<AtomicBool>,
}

impl PresenceEvents {
    /// So many events wait for a reader.
    pub const CAPACITY: usize = 4096;

    /// The next event; `None` when the tracker has stopped.
    pub async fn recv(&mut self) -> Option<PresenceEvent> {
        self.next().await
    }
}

impl Stream for PresenceEvents {
    type Item = PresenceEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PresenceEvent>> {
        match self.events.poll_recv(context) {
            Poll::Ready(None) if self.lagged.swap(false, Ordering::AcqRel) => Poll::Ready(Some(PresenceEvent::Lagged)),
            other => other,
        }
    }
}

/// Those who want to hear.
#[derive(Default)]
pub(super) struct Monitors {
    of_topics: HashMap<Bytes, Vec<Monitor>>,
    closed: bool,
}

struct Monitor {
    events: mpsc::Sender<PresenceEvent>,
    lagged: Arc<AtomicBool>,
}

impl Monitors {
    /// Once it is closed the stream ends at once.
    pub(super) fn add(&mut self, topic: &str) -> PresenceEvents {
        self.of_topics.retain(|_, monitors| {
            monitors.retain(|monitor| !monitor.events.is_closed());
            !monitors.is_empty()
        });
        let (sender, events) = mpsc::channel(PresenceEvents::CAPACITY);
        let lagged = Arc::new(AtomicBool::new(false));
        if !self.closed {
            let monitor = Monitor { events: sender, lagged: lagged.clone() };
            self.of_topics.entry(Bytes::copy_from_slice(topic.as_bytes())).or_default().push(monitor);
        }
        PresenceEvents { events, lagged }
    }

    pub(super) fn tell(&mut self, changes: &Changes) {
        if self.of_topics.is_empty() || changes.is_empty() {
            return;
        }
        let mut diffs: HashMap<&Bytes, (Vec<Presence>, Vec<Presence>)> = HashMap::new();
        for presence in changes.joins.iter().filter(|presence| self.of_topics.contains_key(presence.topic())) {
            diffs.entry(presence.topic()).or_default().0.push(presence.clone());
        }
        for presence in changes.leaves.iter().filter(|presence| self.of_topics.contains_key(presence.topic())) {
            diffs.entry(presence.topic()).or_default().1.push(presence.clone());
        }
        for (topic, (joins, leaves)) in diffs {
            let Some(monitors) = self.of_topics.get_mut(topic) else { continue };
            let diff = PresenceEvent::Diff { topic: topic.clone(), joins, leaves };
            monitors.retain(|monitor| match monitor.events.try_send(diff.clone()) {
                Ok(()) => true,
                Err(TrySendError::Closed(_)) => false,
                Err(TrySendError::Full(_)) => {
                    let topic = String::from_utf8_lossy(topic);
                    tracing::warn!(%topic, capacity = PresenceEvents::CAPACITY, "tracker: a monitor does not read its events");
                    monitor.lagged.store(true, Ordering::Release);
                    false
                }
            });
        }
    }

    /// Ends all streams.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.of_topics.clear();
    }
}
