//! The process of a shard: hears the topic of the shard, keeps its time, and watches the processes that are tracked.
//! Nothing in here waits for another node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::core::{Core, Out, Said};
use super::crdt::Changes;
use super::diffs::Monitors;
use super::wire;
use crate::atom;
use crate::etf::{Atom, Payload, Pid, Ref, Term};
use crate::node::{Message, Process, Target};
use crate::proto::NodeName;
use crate::services::gen_server::ReplyTo;
use crate::services::pubsub::PubSub;
use crate::services::server::{Answer, GenServer, Next};
use crate::tuple;

/// What the process of a shard and the handles of the tracker share.
pub(super) struct Shard {
    pub(super) name: Atom,
    pub(super) topic: String,
    pub(super) pubsub: PubSub,
    pub(super) state: RwLock<State>,
}

pub(super) struct State {
    pub(super) core: Core,
    pub(super) monitors: Monitors,
    pub(super) ended: bool,
}

impl State {
    pub(super) fn tell(&mut self, changes: &Changes) {
        self.monitors.tell(changes);
    }
}

pub(super) struct ShardServer {
    shard: Arc<Shard>,
    period: Duration,
    /// When the next tick is due; `None` before the first.
    next: Option<Instant>,
    /// The processes of this node that are tracked.
    watched: HashMap<Pid, Ref>,
    transfers: Arc<Semaphore>,
}

impl ShardServer {
    pub(super) fn new(shard: Arc<Shard>, period: Duration) -> Self {
        let transfers = Arc::new(Semaphore::new(MAX_TRANSFERS));
        Self { shard, period, next: None, watched: HashMap::new(), transfers }
    }

    fn tick(&mut self, process: &Process) {
        let now = Instant::now();
        match self.next {
            Some(next) if now < next => return,
            Some(_) => {}
            None => self.shard.pubsub.subscribe_process(process, &self.shard.topic),
        }
        self.next = Some(now + self.period);
        let out = {
            let mut state = self.shard.state.write();
            if state.ended {
                return;
            }
            let (changes, out) = state.core.tick(now, || Term::from(process.node().make_ref()));
            state.tell(&changes);
            out
        };
        for out in out {
            self.send(out, process);
        }
    }

    fn hear(&mut self, payload: &Payload, process: &Process) {
        let said = match wire::read(payload) {
            Ok(said) => said,
            Err(error) => {
                return tracing::debug!(shard = %self.shard.name, %error, "tracker: a message that means nothing");
            }
        };
        let out = {
            let mut state = self.shard.state.write();
            let (changes, out) = state.core.hear(said, Instant::now());
            state.tell(&changes);
            out
        };
        if let Some(out) = out {
            self.send(out, process);
        }
    }

    /// A task of its own waits where nodes read slowly; what then is lost, others notice by the clocks.
    fn send(&self, out: Out, process: &Process) {
        let (shard, own) = (self.shard.clone(), process.pid().clone());
        match out {
            Out::Broadcast(said) => {
                let Some(message) = self.written(&said) else { return };
                process.node().spawn_task(async move {
                    // One that overtakes the farewell would bring the replica back.
                    if shard.state.read().ended {
                        return;
                    }
                    let sent = shard.pubsub.broadcast_from(&own, &shard.topic, &message);
                    match tokio::time::timeout(SEND_TIMEOUT, sent).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => {
                            tracing::error!(shard = %shard.name, %error, "tracker: a heartbeat is not sent")
                        }
                        Err(_) => tracing::debug!(shard = %shard.name, "tracker: a heartbeat did not reach everybody"),
                    }
                });
            }
            Out::To(peer, said) => {
                // Nobody is connected to for this, and this node has nothing to ask of itself.
                let Ok(peer) = NodeName::try_from(&peer) else { return };
                if process.node().peer(&peer).is_none() {
                    return tracing::debug!(%peer, "tracker: a replica that is not connected");
                }
                let Ok(permit) = self.transfers.clone().try_acquire_owned() else {
                    return tracing::debug!(%peer, limit = MAX_TRANSFERS, "tracker: too many transfers at once");
                };
                let Some(message) = self.written(&said) else { return };
                process.node().spawn_task(async move {
                    let sent = shard.pubsub.direct_broadcast(&peer, &shard.topic, &message);
                    if !matches!(tokio::time::timeout(SEND_TIMEOUT, sent).await, Ok(Ok(()))) {
                        tracing::debug!(shard = %shard.name, %peer, "tracker: a transfer did not get away");
                    }
                    drop(permit);
                });
            }
        }
    }

    fn written(&self, said: &Said) -> Option<Payload> {
        let error =
            |error: &_| tracing::error!(shard = %self.shard.name, %error, "tracker: a message cannot be encoded");
        wire::write(said).inspect_err(error).ok()
    }

    /// Watches a process exactly while something of it is tracked.
    fn settle(&mut self, pid: Pid, process: &Process) {
        if pid.node != process.pid().node {
            return tracing::debug!(%pid, "tracker: not a process of this node");
        }
        if !self.shard.state.read().core.crdt().tracks(&pid) {
            if let Some(reference) = self.watched.remove(&pid) {
                process.demonitor(&reference);
            }
        } else if let Entry::Vacant(vacant) = self.watched.entry(pid) {
            let reference = process.monitor_connected(vacant.key());
            vacant.insert(reference);
        }
    }
}

impl GenServer for ShardServer {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, _: Payload, from: ReplyTo, process: &mut Process) -> Answer<Term> {
        tracing::debug!(shard = %self.shard.name, from = %from.pid(), "tracker: a call that nobody answers");
        self.tick(process);
        Answer::Later
    }

    /// `{settle, Pid}`, from the handles of the tracker.
    async fn handle_cast(&mut self, request: Payload, process: &mut Process) -> Next {
        match request.decode::<(Atom, Pid)>() {
            Ok((what, pid)) if what == SETTLE => self.settle(pid, process),
            _ => tracing::debug!(shard = %self.shard.name, "tracker: a cast that means nothing"),
        }
        self.tick(process);
        Next::Continue
    }

    async fn handle_info(&mut self, message: Message, process: &mut Process) -> Next {
        match message {
            Message::Sent(payload) => self.hear(&payload, process),
            Message::Down { object: Target::Pid(pid), reference, .. } if self.watched.get(&pid) == Some(&reference) => {
                self.watched.remove(&pid);
                let mut state = self.shard.state.write();
                let changes = state.core.untrack_all(&pid);
                state.tell(&changes);
            }
            _ => {}
        }
        self.tick(process);
        Next::Continue
    }

    fn idle_after(&self) -> Option<Duration> {
        Some(self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now())))
    }

    async fn idle(&mut self, process: &mut Process) -> Next {
        self.tick(process);
        Next::Continue
    }

    fn state(&self) -> Term {
        let state = self.shard.state.read();
        let nodes = state.core.nodes().into_iter().map(Term::Atom);
        tuple![atom!("state"), &self.shard.name, Term::list(nodes), state.core.crdt().own_clock()]
    }

    fn module(&self) -> Atom {
        atom!("Elixir.Phoenix.Tracker.Shard")
    }
}

impl Drop for ShardServer {
    fn drop(&mut self) {
        let mut state = self.shard.state.write();
        state.ended = true;
        state.core.clear();
        state.monitors.close();
    }
}

pub(super) const SETTLE: Atom = atom!("settle");
/// So long a node may keep a message waiting for room in its connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// So many transfers may be on their way at once; who gets none asks again.
const MAX_TRANSFERS: usize = 16;
