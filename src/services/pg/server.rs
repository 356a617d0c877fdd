//! The process of a scope: hears other scopes and nodes, answers joins and leaves of this node, and tells others.
//! Nothing in here waits for another node.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::Shared;
use super::lines::{Lines, RETRY};
use super::messages::{self, Heard, Request};
use super::state::State;
use crate::atom;
use crate::etf::{Atom, EncodeError, Payload, Pid, Term};
use crate::node::{Message, Node, NodeEvent, Process, Reason, RegisterError, Service, Target};
use crate::proto::NodeName;
use crate::services::gen_server::ReplyTo;
use crate::services::serve::serve;
use crate::services::server::{Answer, GenServer, Next};
use crate::tuple;

/// The process of a scope, while it runs.
pub(super) struct ScopeServer {
    shared: Arc<Shared>,
    lines: Lines,
    /// Nobody greets a hidden node, so it greets everybody; a visible one leaves hidden nodes alone.
    hidden: bool,
}

impl ScopeServer {
    pub(super) fn start(node: &Node, name: Atom) -> Result<Arc<Shared>, RegisterError> {
        let (ready, shared) = oneshot::channel();
        let pid = node.install(Starting { name: name.clone(), shared })?;
        let shared = Arc::new(Shared { name, pid, state: RwLock::new(State::default()) });
        // The process waits for it, unless it has been ended already.
        let _ = ready.send(shared.clone());
        Ok(shared)
    }

    fn begin(&mut self, process: &Process) {
        process.monitor_nodes();
        let node = process.node();
        let nodes = if self.hidden { node.connected_nodes() } else { node.nodes() };
        for peer in nodes {
            self.greet(process, &peer);
        }
    }

    fn greet(&mut self, process: &Process, peer: &NodeName) {
        let scope = Target::NameOn(self.shared.name.clone(), peer.clone());
        if let Some(greeting) = said(messages::discover(process.pid())) {
            self.lines.greet(process, peer.as_atom(), scope, &greeting);
        }
    }

    fn say_all(&mut self, process: &Process, peer: &Pid) {
        let shared = &self.shared;
        self.lines.say_all(process, peer, || said(shared.state.read().sync(&shared.pid)));
    }

    /// Tells all scopes that are known of a change.
    fn tell_all(&mut self, process: &Process, message: Result<Payload, EncodeError>) {
        let Some(message) = said(message) else { return };
        for peer in self.shared.state.read().peers() {
            self.lines.say(process, peer, &message);
        }
    }

    fn heard(&mut self, heard: Heard, process: &Process) {
        match heard {
            Heard::Discover(peer) => {
                let known = self.shared.state.read().knows(&peer);
                if !self.meet(&peer, process) {
                    return;
                }
                self.say_all(process, &peer);
                if !known && let Some(greeting) = said(messages::discover(process.pid())) {
                    self.lines.greet(process, &peer.node, Target::Pid(peer.clone()), &greeting);
                }
            }
            Heard::Sync(peer, groups) => {
                let known = self.shared.state.read().knows(&peer);
                if !self.meet(&peer, process) {
                    return;
                }
                self.shared.state.write().sync_there(&peer, groups);
                // Whoever says it has been greeted; but its own greeting is still to come, and until it has been told
                // all, a `leave` would end it.
                if !known {
                    self.say_all(process, &peer);
                }
            }
            Heard::Join(peer, group, pids) => self.shared.state.write().join_there(&peer, &group, pids),
            Heard::Leave(peer, pids, groups) => self.shared.state.write().leave_there(&peer, &pids, &groups),
            Heard::Update(peer, changes) => {
                let mut state = self.shared.state.write();
                if state.knows(&peer) {
                    state.update_there(&peer, changes);
                }
            }
        }
    }

    /// Gets to know a scope, and watches it. False for one that is not believed.
    fn meet(&mut self, peer: &Pid, process: &Process) -> bool {
        if self.shared.state.read().knows(peer) {
            return true;
        }
        let own = peer.node == process.pid().node;
        if own || !self.shared.state.write().meet(peer, || process.monitor_connected(peer)) {
            tracing::warn!(scope = %self.shared.name, %peer, "pg: not the only scope of its node, and not listened to");
            return false;
        }
        tracing::debug!(scope = %self.shared.name, %peer, "pg: met a scope");
        true
    }

    fn node_event(&mut self, event: &NodeEvent, process: &Process) {
        match event {
            NodeEvent::Up { name, hidden, .. } if self.hidden || !hidden => self.greet(process, name),
            NodeEvent::Up { .. } => {}
            NodeEvent::Down { name, .. } => self.lines.closed(name.as_atom()),
        }
    }

    fn down(&mut self, pid: &Pid, watch: &crate::etf::Ref, process: &Process) {
        let left = {
            let mut state = self.shared.state.write();
            if state.lose(pid, watch) {
                tracing::debug!(scope = %self.shared.name, peer = %pid, "pg: a scope is gone");
                return;
            }
            state.ended_here(pid, watch)
        };
        if let Some(left) = left {
            let groups: Vec<&Term> = left.groups.iter().map(|group| &**group).collect();
            self.tell_all(process, messages::leave(process.pid(), std::slice::from_ref(&left.pid), &groups));
        }
    }

    fn asked(&mut self, request: &Request, process: &Process) -> Atom {
        let Request { leaves, group, pids } = request;
        if *leaves {
            let (gone, watches) = self.shared.state.write().leave_here(group, pids);
            for watch in watches {
                process.demonitor(&watch);
            }
            if gone.is_empty() {
                return atom!("not_joined");
            }
            // One by one: of several at once, OTP 23 keeps an empty group that a later sync trips over.
            for pid in &gone {
                self.tell_all(process, messages::leave(process.pid(), std::slice::from_ref(pid), &[group]));
            }
        } else if !pids.is_empty() {
            self.shared.state.write().join_here(group, pids, |pid| process.monitor_connected(pid));
            self.tell_all(process, messages::join(process.pid(), group, pids));
        }
        atom!("ok")
    }

    fn flush(&mut self, process: &Process) {
        if !self.lines.is_empty() {
            let shared = self.shared.clone();
            self.lines.flush(process, || said(shared.state.read().sync(&shared.pid)));
        }
    }

    fn odd(&self, what: &'static str, error: &dyn std::fmt::Display) {
        tracing::warn!(scope = %self.shared.name, %error, "pg: {what} that means nothing here");
    }
}

impl GenServer for ScopeServer {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Atom;

    async fn handle_call(&mut self, request: Payload, from: ReplyTo, process: &mut Process) -> Answer<Atom> {
        let answer = match Request::read(&request) {
            Ok(request) if request.pids.iter().all(|pid| pid.node == process.pid().node) => {
                Answer::Reply(self.asked(&request, process))
            }
            // A BEAM's scope would crash, and all its members with it.
            Ok(_) => {
                self.odd("a call", &format_args!("{} speaks of processes of other nodes", from.pid()));
                Answer::Later
            }
            Err(error) => {
                self.odd("a call", &error);
                Answer::Later
            }
        };
        self.flush(process);
        answer
    }

    async fn handle_cast(&mut self, request: Payload, process: &mut Process) -> Next {
        match Heard::cast(&request) {
            Ok(heard) => self.heard(heard, process),
            Err(error) => self.odd("a cast", &error),
        }
        self.flush(process);
        Next::Continue
    }

    async fn handle_info(&mut self, message: Message, process: &mut Process) -> Next {
        match message {
            Message::Sent(payload) => match Heard::message(&payload) {
                Ok(heard) => self.heard(heard, process),
                Err(error) => self.odd("a message", &error),
            },
            Message::Down { object: Target::Pid(pid), reference, .. } => self.down(&pid, &reference, process),
            Message::Node(event) => self.node_event(&event, process),
            _ => {}
        }
        self.flush(process);
        Next::Continue
    }

    fn idle_after(&self) -> Option<Duration> {
        (!self.lines.is_empty()).then_some(RETRY)
    }

    async fn idle(&mut self, process: &mut Process) -> Next {
        self.flush(process);
        Next::Continue
    }

    fn state(&self) -> Term {
        let state = self.shared.state.read();
        let peers = Term::list(state.peers().map(Term::from));
        tuple![atom!("state"), &self.shared.name, peers, Term::list(state.groups().names(|_| true))]
    }

    fn module(&self) -> Atom {
        atom!("pg")
    }
}

impl Drop for ScopeServer {
    fn drop(&mut self) {
        self.shared.state.write().close();
    }
}

/// A scope whose process is registered, and does not know its own handle yet.
struct Starting {
    name: Atom,
    shared: oneshot::Receiver<Arc<Shared>>,
}

impl Service for Starting {
    fn name(&self) -> Atom {
        self.name.clone()
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        async move {
            let Ok(shared) = self.shared.await else { return Reason::normal() };
            let hidden = process.node().config().hidden;
            let mut server = ScopeServer { shared, lines: Lines::default(), hidden };
            server.begin(&process);
            serve(process, server).await
        }
        .boxed()
    }
}

/// What cannot be written is a group that a program has made of what is no term: joining it has failed before.
fn said(message: Result<Payload, EncodeError>) -> Option<Payload> {
    message.inspect_err(|error| tracing::error!(%error, "pg: a message cannot be encoded")).ok()
}
