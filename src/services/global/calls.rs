//! Calls to the servers of several nodes at once (`gen_server:multi_call`), and the locks that are
//! taken so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::post::Post;
use super::state::GlobalState;
use super::terms::{SERVER, lock_term, server_on};
use crate::atom;
use crate::etf::{Ref, Term};
use crate::node::{Ended, Message, Node, Process};
use crate::proto::NodeName;
use crate::tuple;

/// A process that calls servers, and owns the locks that they grant.
pub(super) struct Caller {
    pub(super) process: Process,
    pub(super) node: Node,
    pub(super) post: Post,
    pub(super) state: Arc<Mutex<GlobalState>>,
}

/// A lock that this process wants or has: the resource, and the id under which it is held.
pub(super) struct Lock {
    pub(super) resource: Term,
    pub(super) requester: Term,
}

impl Lock {
    fn request(&self, what: &'static str) -> Term {
        let kind = if what == "set" { atom!("set_lock") } else { atom!("del_lock") };
        tuple![kind, lock_term(self.resource.clone(), self.requester.clone())]
    }
}

impl Caller {
    pub(super) fn me(&self) -> &NodeName {
        self.node.name()
    }

    /// The nodes of the cluster but for this one.
    pub(super) fn known(&self) -> Vec<NodeName> {
        self.state.lock().known()
    }

    /// Calls the servers of these nodes. A node that is gone gives no answer, as nobody there holds
    /// or needs anything any more; one that is there and silent gives `None`.
    pub(super) async fn call(
        &mut self,
        nodes: &[NodeName],
        request: &Term,
    ) -> Result<Vec<(NodeName, Option<Term>)>, Ended> {
        let mut waiting: HashMap<Ref, (NodeName, Ref)> = HashMap::new();
        // A monitor connects. That must be where others have told of a node that is still being connected
        // to (it would miss a name for good), and must not be where a node has just been lost.
        let there = |node: &&NodeName| *node == self.me() || self.state.lock().is_expected(node);
        let monitors =
            nodes.iter().filter(there).map(async |node| (node, self.process.monitor((SERVER, node.clone())).await));
        for (node, monitor) in join_all(monitors).await {
            let Ok(monitor) = monitor else { continue };
            let tag = self.node.make_ref();
            let from = tuple![self.process.pid().clone(), tag.clone()];
            self.post.send(server_on(node), tuple![atom!("$gen_call"), from, request.clone()]);
            waiting.insert(tag, (node.clone(), monitor));
        }
        let mut answers = Vec::new();
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while !waiting.is_empty() {
            let answer = self.process.recv_match(|message| match message {
                Message::Down { reference, .. } => {
                    let of = |(_, (_, monitor)): &(&Ref, &(NodeName, Ref))| monitor == reference;
                    waiting.iter().find(of).map(|(tag, _)| (tag.clone(), None))
                }
                Message::Sent(payload) => {
                    let term = payload.term().ok()?;
                    let [Term::Ref(tag), answer] = term.as_tuple_of()? else { return None };
                    waiting.contains_key(tag).then(|| (Ref::clone(tag), Some(answer.clone())))
                }
                _ => None,
            });
            match tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), answer).await {
                Ok(answer) => {
                    let (tag, answer) = answer?;
                    if let Some((node, monitor)) = waiting.remove(&tag)
                        && answer.is_some()
                    {
                        self.process.demonitor_flush(&monitor);
                        answers.push((node, answer));
                    }
                }
                Err(_) => break,
            }
        }
        for (node, monitor) in waiting.into_values() {
            tracing::warn!(peer = %node, timeout = ?ANSWER_TIMEOUT, "global: a server does not answer");
            self.process.demonitor_flush(&monitor);
            answers.push((node, None));
        }
        Ok(answers)
    }

    /// Takes a lock on all of these nodes, or on none.
    pub(super) async fn set_lock(&mut self, lock: &Lock, nodes: &[NodeName]) -> Result<bool, Ended> {
        // One look at the own table can spare everybody a round.
        let mine = nodes.len() > 1 && nodes.contains(self.me());
        if mine && !self.can_set(lock) {
            return Ok(false);
        }
        let answers = self.call(nodes, &lock.request("set")).await?;
        let granted = |answer: &Option<Term>| answer.as_ref().and_then(Term::as_bool) == Some(true);
        if answers.iter().all(|(_, answer)| granted(answer)) {
            return Ok(true);
        }
        // A server that was silent may grant it later, so it is told too.
        let refused = |answer: &Option<Term>| answer.as_ref().and_then(Term::as_bool) == Some(false);
        let release: Vec<_> =
            answers.into_iter().filter(|(_, answer)| !refused(answer)).map(|(node, _)| node).collect();
        self.del_lock(lock, &release).await?;
        Ok(false)
    }

    /// Gives a lock back.
    pub(super) async fn del_lock(&mut self, lock: &Lock, nodes: &[NodeName]) -> Result<(), Ended> {
        if !nodes.is_empty() {
            self.call(nodes, &lock.request("del")).await?;
        }
        Ok(())
    }

    /// Gives a lock back, on the boss last: who has locked the boss will get the others.
    pub(super) async fn del_lock_boss_last(&mut self, lock: &Lock, nodes: &[NodeName]) -> Result<(), Ended> {
        let boss = boss(nodes);
        let others: Vec<_> = nodes.iter().filter(|node| Some(*node) != boss.as_ref()).cloned().collect();
        self.del_lock(lock, &others).await?;
        self.del_lock(lock, boss.as_slice()).await
    }

    /// Takes a lock on all nodes that are known, this one included, and makes sure that no more became
    /// known meanwhile; gives these nodes. `None` when others hold it at the deadline. Tries once at least.
    pub(super) async fn lock_known(&mut self, lock: &Lock, deadline: Instant) -> Result<Option<Vec<NodeName>>, Ended> {
        let mut attempt = 0;
        loop {
            let known = self.known();
            let mut nodes = known.clone();
            nodes.push(self.me().clone());
            let first: Vec<_> = boss(&nodes).into_iter().collect();
            if self.set_lock(lock, &first).await? {
                if self.set_lock(lock, &nodes).await? {
                    if self.known().iter().all(|node| known.contains(node)) {
                        return Ok(Some(nodes));
                    }
                    self.del_lock_boss_last(lock, &nodes).await?;
                } else {
                    self.del_lock(lock, &first).await?;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // A random time, longer with every attempt (`global.erl:random_sleep`).
            tokio::time::sleep(random_pause(attempt).min(left)).await;
            attempt += 1;
        }
    }

    pub(super) fn can_set(&self, lock: &Lock) -> bool {
        self.state.lock().locks().can_set(&lock.resource, &lock.requester)
    }
}

/// The node that everybody locks first: the one with the greatest name.
pub(super) fn boss(nodes: &[NodeName]) -> Option<NodeName> {
    nodes.iter().max().cloned()
}

/// Up to an eighth of a second the first time, twice as long each time, up to eight seconds.
pub(super) fn random_pause(attempt: u32) -> Duration {
    let longest = if attempt > 5 { 8000 } else { (1000 << attempt) / 8 };
    Duration::from_millis(getrandom::u64().unwrap_or(longest / 2) % longest + 1)
}

/// How long a server that is connected may take to answer; it has nothing that it waits for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
