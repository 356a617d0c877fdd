//! The process `global_name_server`: brings what happens to [`GlobalState`], and does what it says.
//! Nothing in here waits for another node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};

use super::calls::{Caller, random_pause};
use super::post::Post;
use super::resolve;
use super::state::{Action, GlobalState, ToLocker, WatchId};
use super::terms::{Op, SERVER, cast, node_term, server_on};
use crate::atom;
use crate::etf::{Atom, Pid, Ref, Term};
use crate::node::{Message, Node, NodeEvent, Process, Reason, Service};
use crate::proto::NodeName;
use crate::tuple;

/// What happens to the server beside what is in its mailbox.
pub(super) enum Input {
    LockIsSet {
        node: NodeName,
        tag: i64,
        requester: Term,
    },
    Stuck {
        node: NodeName,
        tag: i64,
    },
    Resolved {
        node: NodeName,
        tag: i64,
        here: Vec<Op>,
        there: Vec<Op>,
    },
    Unreachable(NodeName),
    StillUnmet {
        node: NodeName,
        tag: Term,
    },
    StillUnknown(NodeName),
    /// Where a watched process lives cannot be connected to.
    NoWatch(Atom),
    Begin(NodeName),
    Again(Term),
    /// Somebody wants to lock.
    Caller(oneshot::Sender<Caller>),
    /// Connections will go down on purpose.
    Leave,
}

/// The server.
pub(super) struct Server {
    pub(super) state: Arc<Mutex<GlobalState>>,
    pub(super) post: Post,
    pub(super) locker: UnboundedSender<ToLocker>,
    pub(super) inputs: UnboundedReceiver<Input>,
    pub(super) to_self: UnboundedSender<Input>,
    /// Told how often names have changed.
    pub(super) changed: watch::Sender<u64>,
}

impl Service for Server {
    fn name(&self) -> Atom {
        SERVER
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        let driver = Driver {
            node: process.node(),
            process,
            state: self.state,
            post: self.post,
            locker: self.locker,
            to_self: self.to_self,
            changed: self.changed,
            watches: HashMap::new(),
            by_watch: HashMap::new(),
            unplaced: HashMap::new(),
        };
        driver.run(self.inputs).boxed()
    }
}

struct Driver {
    process: Process,
    node: Node,
    state: Arc<Mutex<GlobalState>>,
    post: Post,
    locker: UnboundedSender<ToLocker>,
    to_self: UnboundedSender<Input>,
    changed: watch::Sender<u64>,
    watches: HashMap<Ref, WatchId>,
    by_watch: HashMap<WatchId, Ref>,
    /// Processes on nodes that are being connected.
    unplaced: HashMap<Atom, Vec<(WatchId, Pid)>>,
}

impl Driver {
    async fn run(mut self, mut inputs: UnboundedReceiver<Input>) -> Reason {
        self.process.monitor_nodes();
        // Those that were there before the service was.
        for node in self.node.nodes() {
            self.post.opened(&node);
            self.state.lock().node_up(&node);
        }
        self.act().await;
        loop {
            tokio::select! {
                message = self.process.recv() => match message {
                    Ok(message) => self.message(message).await,
                    Err(ended) => return ended.reason,
                },
                Some(input) = inputs.recv() => self.input(input),
            }
            self.act().await;
        }
    }

    async fn message(&mut self, message: Message) {
        match message {
            Message::Sent(payload) => match payload.term() {
                Ok(term) => {
                    tracing::trace!(message = %term, "global: a message");
                    self.state.lock().message(&term, Instant::now());
                }
                Err(error) => tracing::warn!(%error, "global: a message that cannot be read"),
            },
            Message::Down { reference, .. } => {
                if let Some(watch) = self.watches.remove(&reference) {
                    self.by_watch.remove(&watch);
                    self.state.lock().ended(watch);
                }
            }
            Message::Node(event) => self.node_event(&event).await,
            _ => {}
        }
    }

    async fn node_event(&mut self, event: &NodeEvent) {
        let name = event.name();
        match event {
            NodeEvent::Up { hidden, .. } => {
                self.post.opened(name);
                if let Some(waiting) = self.unplaced.remove(name.as_atom()) {
                    for (watch, pid) in waiting {
                        self.watch(watch, pid).await;
                    }
                }
                if !hidden {
                    self.state.lock().node_up(name);
                }
            }
            NodeEvent::Down { hidden: false, .. } => {
                self.post.closed(name);
                let mut state = self.state.lock();
                if self.node.is_shutting_down() {
                    state.prepare_shutdown();
                }
                state.node_down(name);
            }
            NodeEvent::Down { .. } => self.post.closed(name),
        }
    }

    fn input(&mut self, input: Input) {
        let mut state = self.state.lock();
        match input {
            Input::LockIsSet { node, tag, requester } => state.lock_is_set(&node, tag, requester),
            Input::Stuck { node, tag } => state.stuck(&node, tag),
            Input::Resolved { node, tag, here, there } => state.resolved_here(&node, tag, here, there),
            Input::Unreachable(node) => {
                tracing::warn!(peer = %node, "global: a node that others know cannot be connected to");
                state.unreachable(&node);
            }
            Input::StillUnmet { node, tag } => state.still_unmet(&node, &tag),
            Input::StillUnknown(node) => state.still_unknown(&node),
            Input::NoWatch(node) => {
                for (watch, _) in self.unplaced.remove(&node).unwrap_or_default() {
                    state.ended(watch);
                }
            }
            Input::Begin(node) => state.begin_now(&node),
            Input::Again(message) => state.message(&message, Instant::now()),
            Input::Caller(answer) => {
                let (node, post, state) = (self.node.clone(), self.post.clone(), self.state.clone());
                let process = node.process_labelled("global: lock");
                drop(answer.send(Caller { process, node, post, state }));
            }
            Input::Leave => state.prepare_shutdown(),
        }
    }

    async fn act(&mut self) {
        loop {
            let (actions, version) = {
                let mut state = self.state.lock();
                (state.take_actions(), state.names().version())
            };
            self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action).await;
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Send(to, message) => self.post.send(to, message),
            Action::Watch(watch, pid) => self.watch(watch, pid).await,
            Action::Unwatch(watch) => self.unwatch(watch),
            Action::Disconnect(node, why) => {
                self.node.disconnect_because(&node, why);
            }
            Action::Locker(command) => drop(self.locker.send(command)),
            Action::TellInSync(node) => self.tell_in_sync(node),
            Action::Resolve { node, tag, ops, conflicts } => {
                let to_self = self.to_self.clone();
                self.node.spawn_labelled("global: resolver", move |mut process| async move {
                    let (mut here, there) = resolve::settle(&mut process, conflicts).await;
                    here.extend(ops);
                    let _ = to_self.send(Input::Resolved { node, tag, here, there });
                    Reason::normal()
                });
            }
            Action::AskUnmet { node, tag } => self.later(UNMET_AFTER, Input::StillUnmet { node, tag }),
            Action::AskUnknown(node) => self.later(UNKNOWN_AFTER, Input::StillUnknown(node)),
            Action::BeginLater { node, attempt } => self.later(random_pause(attempt), Input::Begin(node)),
            Action::Again(message) => self.later(random_pause(AGAIN), Input::Again(message)),
        }
    }

    fn later(&self, pause: Duration, input: Input) {
        let (node, to_self) = (self.node.clone(), self.to_self.clone());
        self.node.spawn_task(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => drop(to_self.send(input)),
                () = node.shutting_down() => {}
            }
        });
    }

    /// Watches a process; where its node is not connected, that comes first, and elsewhere.
    async fn watch(&mut self, watch: WatchId, pid: Pid) {
        let own = pid.node == *self.node.name().as_atom();
        let Ok(home) = NodeName::try_from(&pid.node) else { return self.state.lock().ended(watch) };
        if own || self.node.peer(&home).is_some() {
            let monitor = tokio::time::timeout(WATCH_TIMEOUT, self.process.monitor(&pid)).await;
            let Ok(Ok(reference)) = monitor else { return self.state.lock().ended(watch) };
            self.watches.insert(reference.clone(), watch);
            self.by_watch.insert(watch, reference);
            return;
        }
        let waiting = self.unplaced.entry(pid.node.clone()).or_default();
        waiting.push((watch, pid));
        if waiting.len() == 1 {
            let (node, to_self) = (self.node.clone(), self.to_self.clone());
            self.node.spawn_task(async move {
                if !connect(&node, &home).await {
                    let _ = to_self.send(Input::NoWatch(home.into()));
                }
            });
        }
    }

    fn unwatch(&mut self, watch: WatchId) {
        if let Some(reference) = self.by_watch.remove(&watch) {
            self.watches.remove(&reference);
            self.process.demonitor(&reference);
        }
        self.unplaced.retain(|_, waiting| {
            waiting.retain(|(other, _)| *other != watch);
            !waiting.is_empty()
        });
    }

    fn tell_in_sync(&self, peer: NodeName) {
        let (node, post, to_self) = (self.node.clone(), self.post.clone(), self.to_self.clone());
        self.node.spawn_task(async move {
            if connect(&node, &peer).await {
                let body = tuple![atom!("in_sync"), node_term(node.name()), true];
                post.send(server_on(&peer), cast(body));
            } else if !node.is_shutting_down() {
                let _ = to_self.send(Input::Unreachable(peer));
            }
        });
    }
}

/// Connects, where needed with some attempts.
async fn connect(node: &Node, peer: &NodeName) -> bool {
    for attempt in 0..CONNECT_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(random_pause(attempt)).await;
        }
        match node.connect(peer.clone()).await {
            Ok(()) => return true,
            Err(error) => tracing::info!(%peer, %error, attempt, "global: cannot connect to a node of the cluster"),
        }
        if node.is_shutting_down() {
            return false;
        }
    }
    false
}

/// How long a node that is known here may take to learn of this one: a session takes a second or two,
/// and there may be some before it.
const UNMET_AFTER: Duration = Duration::from_secs(15);
/// How long the news of a node may take that knows this one already: they are sent at about the same time.
const UNKNOWN_AFTER: Duration = Duration::from_secs(10);
/// How often a node that others know is tried.
const CONNECT_ATTEMPTS: u32 = 3;
/// `whereis` while names are locked is answered within 4 seconds (`global.erl:send_again`).
const AGAIN: u32 = 5;
/// A monitor on a node that is connected is placed at once; this is for the moment in which it is lost.
const WATCH_TIMEOUT: Duration = Duration::from_secs(1);
