//! Sending without waiting: whoever reads slowly holds up nobody but itself.
//!
//! What cannot be sent at once waits in a line of its own per node, in order. The server, the locker
//! and the registrar of a node share one post, so that what one of them says after another arrives
//! after it: `new_nodes` before the lock is released.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::etf::{Atom, Term};
use crate::node::{Node, Process, SendError, Target};
use crate::proto::NodeName;

/// Sends to others. All clones share the lines.
#[derive(Clone)]
pub(super) struct Post(Arc<Office>);

struct Office {
    /// Nobody sends to it; messages need somebody to come from.
    sender: Process,
    node: Node,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    waiting: HashMap<Atom, VecDeque<(Target, Term)>>,
    /// The nodes whose connection has been reported up, and not yet down.
    up: HashSet<Atom>,
}

impl Post {
    pub(super) fn new(node: &Node) -> Self {
        let sender = node.process_labelled("global: post");
        Self(Arc::new(Office { sender, node: node.clone(), lines: Mutex::default() }))
    }

    /// A connection is up: from now on nothing for that node is void.
    pub(super) fn opened(&self, node: &NodeName) {
        self.0.lines.lock().up.insert(node.as_atom().clone());
    }

    /// A connection is gone, and what waits for it is void.
    pub(super) fn closed(&self, node: &NodeName) {
        let mut lines = self.0.lines.lock();
        lines.up.remove(node.as_atom());
        lines.waiting.remove(node.as_atom());
    }

    /// Sends at once or puts into line; what is for a node that is not connected is void.
    pub(super) fn send(&self, to: Target, message: Term) {
        tracing::trace!(?to, %message, "global: sends");
        let home = home(&to).cloned().unwrap_or_else(|| self.0.node.name().as_atom().clone());
        let mut lines = self.0.lines.lock();
        if let Some(line) = lines.waiting.get_mut(&home) {
            if line.len() < LONGEST_LINE {
                line.push_back((to, message));
                return;
            }
            lines.waiting.remove(&home);
            drop(lines);
            tracing::error!(peer = %home, waiting = LONGEST_LINE, "global: a node does not read; disconnects it");
            if let Ok(name) = NodeName::try_from(&home) {
                self.0.node.disconnect_because(&name, "global: too many messages wait for it");
            }
            return;
        }
        if self.try_send(&to, &message, lines.up.contains(&home)) == Sent::Later {
            lines.waiting.insert(home.clone(), VecDeque::from([(to, message)]));
            drop(lines);
            let post = self.clone();
            self.0.node.spawn_task(async move { post.work_off(&home).await });
        }
    }

    /// Sends what is in a line, until none is left.
    async fn work_off(&self, home: &Atom) {
        loop {
            tokio::time::sleep(RETRY).await;
            let mut lines = self.0.lines.lock();
            let up = lines.up.contains(home);
            let Some(line) = lines.waiting.get_mut(home) else { return };
            while let Some((to, message)) = line.front() {
                if self.try_send(to, message, up) == Sent::Later {
                    break;
                }
                line.pop_front();
            }
            if line.is_empty() || self.0.node.is_shutting_down() {
                lines.waiting.remove(home);
                return;
            }
        }
    }

    fn try_send(&self, to: &Target, message: &Term, up: bool) -> Sent {
        match self.0.sender.try_send(to, message) {
            Ok(()) => Sent::Done,
            Err(SendError::Busy(_)) => Sent::Later,
            // Between the report and the moment in which the connection can be found.
            Err(SendError::NoConnection(_)) if up => Sent::Later,
            Err(error) => {
                tracing::debug!(?to, %error, "global: a message is void");
                Sent::Done
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Sent {
    Done,
    Later,
}

fn home(to: &Target) -> Option<&Atom> {
    match to {
        Target::Pid(pid) => Some(&pid.node),
        Target::Alias(alias) => Some(&alias.node),
        Target::NameOn(_, node) => Some(node.as_atom()),
        Target::Name(_) => None,
    }
}

/// How soon sending is tried again when the queue of a connection is full.
const RETRY: Duration = Duration::from_millis(5);
/// More messages than this for one node mean that it has stopped reading: a session has a dozen.
const LONGEST_LINE: usize = 10_000;
