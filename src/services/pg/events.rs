//! Who wants to hear of members that come and go, and how it is told.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::etf::{Pid, Term};

/// Members came or went.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// `{Ref, join, Group, Pids}`.
    Join {
        /// The group.
        group: Term,
        /// Who joined; one that joined twice at once is there twice.
        members: Vec<Pid>,
    },
    /// `{Ref, leave, Group, Pids}`: they left, ended, or their scope or node is gone.
    Leave {
        /// The group.
        group: Term,
        /// Who left, as often as it did.
        members: Vec<Pid>,
    },
    /// Events were not taken for so long that more than [`GroupEvents::CAPACITY`] waited. The stream ends with this:
    /// monitor again.
    Lagged,
}

/// The stream of [`GroupEvent`]s, which ends with the scope.
#[derive(Debug)]
pub struct GroupEvents {
    events: mpsc::Receiver<GroupEvent>,
    lagged: Arc<AtomicBool>,
}

impl GroupEvents {
    /// So many events wait for a reader.
    pub const CAPACITY: usize = 16_384;

    /// The next event; `None` when the scope has stopped.
    pub async fn recv(&mut self) -> Option<GroupEvent> {
        self.next().await
    }
}

impl Stream for GroupEvents {
    type Item = GroupEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<GroupEvent>> {
        match self.events.poll_recv(context) {
            Poll::Ready(None) if self.lagged.swap(false, Ordering::AcqRel) => Poll::Ready(Some(GroupEvent::Lagged)),
            other => other,
        }
    }
}

/// Those who want to hear.
#[derive(Default)]
pub(super) struct Monitors(Vec<Monitor>);

struct Monitor {
    /// `None` for all groups.
    group: Option<Term>,
    events: mpsc::Sender<GroupEvent>,
    lagged: Arc<AtomicBool>,
}

impl Monitors {
    pub(super) fn add(&mut self, group: Option<Term>) -> GroupEvents {
        self.0.retain(|monitor| !monitor.events.is_closed());
        let (sender, events) = mpsc::channel(GroupEvents::CAPACITY);
        let lagged = Arc::new(AtomicBool::new(false));
        self.0.push(Monitor { group, events: sender, lagged: lagged.clone() });
        GroupEvents { events, lagged }
    }

    pub(super) fn joined(&mut self, group: &Term, members: &[Pid]) {
        self.tell(group, members, |group, members| GroupEvent::Join { group, members });
    }

    pub(super) fn left(&mut self, group: &Term, members: &[Pid]) {
        self.tell(group, members, |group, members| GroupEvent::Leave { group, members });
    }

    fn tell(&mut self, group: &Term, members: &[Pid], event: impl Fn(Term, Vec<Pid>) -> GroupEvent) {
        if members.is_empty() {
            return;
        }
        self.0.retain(|monitor| {
            if monitor.group.as_ref().is_some_and(|wanted| wanted != group) {
                return true;
            }
            match monitor.events.try_send(event(group.clone(), members.to_vec())) {
                Ok(()) => true,
                Err(TrySendError::Closed(_)) => false,
                Err(TrySendError::Full(_)) => {
                    tracing::warn!(%group, capacity = GroupEvents::CAPACITY, "pg: a monitor does not read its events");
                    monitor.lagged.store(true, Ordering::Release);
                    false
                }
            }
        });
    }

    /// Ends all streams.
    pub(super) fn close(&mut self) {
        self.0.clear();
    }
}
