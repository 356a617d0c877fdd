//! What is on its way to other scopes. Nobody waits for a node that reads slowly: what cannot be sent at once stands
//! in a line of its own per node, in order; and a line that grows too long becomes one `sync`, which says it all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::etf::{Atom, Payload, Pid};
use crate::node::{Process, SendError, Target};
use crate::proto::NodeName;

#[derive(Default)]
pub(super) struct Lines(HashMap<Atom, VecDeque<Waiting>>);

enum Waiting {
    /// Without it the other scope does not listen.
    Greeting(Target, Payload),
    Message(Pid, Payload),
    /// All members, as they are when it is sent.
    Sync(Pid),
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Greets the scope of a node, known or not.
    pub(super) fn greet(&mut self, process: &Process, node: &Atom, scope: Target, greeting: &Payload) {
        let waiting = || Waiting::Greeting(scope.clone(), greeting.clone());
        match self.0.get_mut(node) {
            Some(line) if line.len() < LONGEST_LINE => line.push_back(waiting()),
            Some(_) => {
                tracing::warn!(peer = %node, "pg: a node that does not read has scopes come and go; not greeted")
            }
            None => {
                if let Sent::Later = try_send(process, &scope, greeting) {
                    self.0.insert(node.clone(), VecDeque::from([waiting()]));
                }
            }
        }
    }

    /// Tells a scope of a change.
    pub(super) fn say(&mut self, process: &Process, peer: &Pid, message: &Payload) {
        let waiting = || Waiting::Message(peer.clone(), message.clone());
        match self.0.get_mut(&peer.node) {
            // Whatever it is, the sync will know it.
            Some(line) if line.iter().any(|other| matches!(other, Waiting::Sync(of) if of == peer)) => {}
            Some(line) => {
                line.push_back(waiting());
                if line.len() > LONGEST_LINE {
                    tracing::warn!(peer = %peer.node, "pg: a node reads slowly; it will be told all members at once");
                    shorten(line);
                }
            }
            None => {
                if let Sent::Later = try_send(process, &Target::Pid(peer.clone()), message) {
                    self.0.insert(peer.node.clone(), VecDeque::from([waiting()]));
                }
            }
        }
    }

    /// Tells a scope all members. Where it has to wait only the wish does: however often somebody asks, there is
    /// one answer on its way.
    pub(super) fn say_all(&mut self, process: &Process, peer: &Pid, sync: impl FnOnce() -> Option<Payload>) {
        match self.0.get_mut(&peer.node) {
            Some(line) if line.iter().any(|other| matches!(other, Waiting::Sync(of) if of == peer)) => {}
            Some(line) => line.push_back(Waiting::Sync(peer.clone())),
            None => {
                let Some(all) = sync() else { return };
                if let Sent::Later = try_send(process, &Target::Pid(peer.clone()), &all) {
                    self.0.insert(peer.node.clone(), VecDeque::from([Waiting::Sync(peer.clone())]));
                }
            }
        }
    }

    /// A connection is gone, and what waits for it is void.
    pub(super) fn closed(&mut self, node: &Atom) {
        self.0.remove(node);
    }

    /// Sends what can be sent now.
    pub(super) fn flush(&mut self, process: &Process, mut sync: impl FnMut() -> Option<Payload>) {
        self.0.retain(|_, line| {
            while let Some(next) = line.front() {
                let sent = match next {
                    Waiting::Greeting(scope, greeting) => try_send(process, scope, greeting),
                    Waiting::Message(peer, message) => try_send(process, &Target::Pid(peer.clone()), message),
                    // It may be long: nobody makes one for a queue that is full.
                    Waiting::Sync(peer) if is_busy(process, &peer.node) => Sent::Later,
                    Waiting::Sync(peer) => match sync() {
                        Some(all) => try_send(process, &Target::Pid(peer.clone()), &all),
                        None => Sent::Done,
                    },
                };
                if let Sent::Later = sent {
                    return true;
                }
                line.pop_front();
            }
            false
        });
    }
}

/// Leaves the greetings, and behind them one sync for each scope that something waits for.
fn shorten(line: &mut VecDeque<Waiting>) {
    let mut scopes = HashSet::new();
    line.retain(|waiting| match waiting {
        Waiting::Greeting(..) => true,
        Waiting::Message(peer, _) | Waiting::Sync(peer) => {
            scopes.insert(peer.clone());
            false
        }
    });
    line.extend(scopes.into_iter().map(Waiting::Sync));
}

enum Sent {
    Done,
    Later,
}

fn try_send(process: &Process, to: &Target, message: &Payload) -> Sent {
    match process.try_forward(to, message) {
        Ok(()) => Sent::Done,
        Err(SendError::Busy(_)) => Sent::Later,
        Err(error) => {
            tracing::debug!(?to, %error, "pg: a message is void");
            Sent::Done
        }
    }
}

fn is_busy(process: &Process, peer: &Atom) -> bool {
    let node = process.node();
    let info = NodeName::try_from(peer).ok().and_then(|peer| node.peer(&peer));
    info.is_some_and(|info| info.stats.queued_bytes >= node.config().busy_limit)
}

/// How soon sending is tried again when the queue of a connection is full.
pub(super) const RETRY: Duration = Duration::from_millis(5);
/// More messages than this for one node are replaced by a sync.
const LONGEST_LINE: usize = 1000;
