//! How two nodes that have just been connected come to know each other: they tell each other their
//! lockers (`init_connect`), the lockers lock both partitions, the servers exchange names, settle
//! conflicts, and tell their partitions of the new nodes. Facts: `global.erl`, "Connection algorithm".
//!
//! A session carries a tag of each side; what comes with another tag belongs to a session that is
//! over.

use super::state::{Action, Conflict, GlobalState, Peer, ToLocker};
use super::terms::{
    ACK_VERSION, Entry, OLDEST, Op, VERSION, Versions, global_resource, lock_term, node_term, nodes_term, ops_term,
    read_nodes, server_on, version_of,
};
use crate::atom;
use crate::etf::{Pid, Term};
use crate::proto::NodeName;
use crate::{list, tuple};

/// How many sessions of a connection may fail before there is a pause between them.
const RESTARTS_AT_ONCE: u32 = 3;

/// A session with a node that is connected and not yet known.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) my_tag: i64,
    theirs: Option<Theirs>,
    exchange: Exchange,
    resolution: Resolution,
    /// The requester under which both partitions are locked.
    requester: Option<Term>,
    /// The version of a node that was known here, but did not know this one.
    was_known: Option<u8>,
}

#[derive(Debug)]
struct Theirs {
    tag: Term,
    /// The smaller version of both sides.
    version: u8,
}

/// An `init_connect` that came when there was no session.
#[derive(Debug)]
pub(crate) struct Early {
    version: u8,
    tag: Term,
    locker: Pid,
}

/// Both partitions are to be locked, and their names here, before names are compared.
#[derive(Debug)]
enum Exchange {
    Nothing,
    Locked,
    Names(Vec<Entry>),
    Done,
}

/// Both sides have to be ready before changes are applied.
#[derive(Debug)]
enum Resolution {
    Nothing,
    Here(Vec<Op>),
    There { ops: Vec<Op>, known: Versions, external: Term },
}

impl GlobalState {
    /// Makes this node known to one that is connected.
    pub(super) fn begin_session(&mut self, node: &NodeName) {
        if self.known.contains_key(node) || self.sessions.contains_key(node) {
            return;
        }
        self.last_tag += 1;
        let my_tag = self.last_tag;
        // BEAMs put what they know in the second last place, and none looks at it.
        let init = tuple![atom!("locker"), atom!("no_longer_a_pid"), Term::NIL, self.locker.clone()];
        self.cast_to(node, tuple![atom!("init_connect"), tuple![VERSION, my_tag], node_term(&self.me), init]);
        let session = Session {
            my_tag,
            theirs: None,
            exchange: Exchange::Nothing,
            resolution: Resolution::Nothing,
            requester: None,
            was_known: None,
        };
        self.sessions.insert(node.clone(), session);
        if let Some(early) = self.early.remove(node) {
            self.meet(node, early);
        }
    }

    /// `{init_connect, {Version, Tag, …}, Node, {locker, _, _, Locker}}`
    pub(super) fn init_connect(&mut self, version: &Term, node: NodeName, init: &Term) -> Option<()> {
        let [version, tag, ..] = version.as_tuple()? else { return None };
        let [_, _, _, Term::Pid(locker)] = init.as_tuple_of()? else { return None };
        let early = Early { version: version_of(version)?, tag: tag.clone(), locker: locker.clone() };
        if early.version < OLDEST {
            tracing::warn!(peer = %node, version = early.version, "global: a node whose protocol is too old");
            return Some(());
        }
        if self.pending.contains_key(&node) {
            // A second one in the middle of a session: both sides have to start anew.
            if early.version < ACK_VERSION {
                tracing::error!(peer = %node, "global: an old node is out of step, and cannot be told");
                self.act(Action::Disconnect(node, "global: out of step with an old version"));
                return Some(());
            }
            self.send_cancel(&node, &early.tag);
            self.restart_session(&node);
        }
        if self.sessions.contains_key(&node) {
            self.meet(&node, early);
        } else {
            if self.known.contains_key(&node) {
                self.act(Action::AskUnmet { node: node.clone(), tag: tag.clone() });
            }
            self.early.insert(node, early);
        }
        Some(())
    }

    /// A node that is known here has announced itself as to a stranger, some time ago. Mostly it has
    /// heard of this one meanwhile, and said so. If not, it waits in vain (it has missed the news of
    /// us, as can happen to one that sees our last life end after this one has begun), and `global`
    /// of BEAM would leave it at that: here the two come together once more.
    pub(crate) fn still_unmet(&mut self, node: &NodeName, tag: &Term) {
        let waits = self.early.get(node).is_some_and(|early| early.tag == *tag);
        if waits && self.connected.contains(node) && !self.sessions.contains_key(node) {
            tracing::warn!(peer = %node, "global: a node that is known does not know this one; meets it again");
            let version = self.known.remove(node);
            self.synced.remove(node);
            self.begin_session(node);
            if let Some(session) = self.sessions.get_mut(node) {
                session.was_known = version;
            }
        }
    }

    /// Both sides have announced themselves.
    fn meet(&mut self, node: &NodeName, early: Early) {
        let Early { version, tag, locker } = early;
        let common = version.min(VERSION);
        let Some(session) = self.sessions.get_mut(node) else { return };
        let my_tag = session.my_tag;
        session.theirs = Some(Theirs { tag: tag.clone(), version: common });
        let peer = Peer { node: node.clone(), locker, version: common, my_tag, their_tag: tag.clone() };
        self.act(Action::Locker(ToLocker::Peer(peer)));
        if version >= ACK_VERSION {
            let ack = tuple![atom!("init_connect_ack"), node_term(&self.me), tag, my_tag];
            self.act(Action::Send(server_on(node), ack));
        }
        self.pending.insert(node.clone(), version);
    }

    /// `{init_connect_ack, Node, MyTag, TheirTag}`: both have to mean the same session.
    pub(super) fn init_connect_ack(&mut self, node: NodeName, mine: &Term, theirs: &Term) -> Option<()> {
        let session = self.sessions.get(&node);
        let agreed = session.is_some_and(|session| {
            mine.as_i64() == Some(session.my_tag) && session.theirs.as_ref().is_some_and(|other| other.tag == *theirs)
        });
        if !agreed {
            self.send_cancel(&node, theirs);
            self.restart_session(&node);
        }
        Some(())
    }

    /// `{cancel_connect, Node, MyTag}`: the other side gave the session up.
    pub(super) fn cancel_connect(&mut self, node: &NodeName, mine: &Term) -> Option<()> {
        if self.is_current(node, mine) {
            // It knows: it need not be told.
            self.pending.remove(node);
            self.restart_session(node);
        }
        Some(())
    }

    /// The session is stuck, or the sides disagree: a new one.
    fn restart_session(&mut self, node: &NodeName) {
        if self.sessions.contains_key(node) {
            self.end_session(node);
            self.pending.remove(node);
            if self.connected.contains(node) {
                // Two that both start anew at once can miss each other for ever: after a while, with a pause.
                let restarts = self.restarts.entry(node.clone()).or_default();
                *restarts = restarts.saturating_add(1);
                match restarts.checked_sub(RESTARTS_AT_ONCE + 1) {
                    None => self.begin_session(node),
                    Some(attempt) => self.act(Action::BeginLater { node: node.clone(), attempt: attempt.min(3) }),
                }
            }
        }
    }

    /// The pause before a new session is over. What came meanwhile is waiting for it.
    pub(crate) fn begin_now(&mut self, node: &NodeName) {
        if self.connected.contains(node) {
            self.begin_session(node);
        }
    }

    /// The locker waited in vain for the other side.
    pub(crate) fn stuck(&mut self, node: &NodeName, tag: i64) {
        if self.sessions.get(node).is_some_and(|session| session.my_tag == tag) {
            tracing::warn!(peer = %node, "global: a session with a node does not get on; starts anew");
            self.restart_session(node);
        }
    }

    /// Ends a session without result; the other side is told, where it would wait.
    pub(super) fn end_session(&mut self, node: &NodeName) {
        let Some(session) = self.sessions.remove(node) else { return };
        if self.pending.get(node).is_some_and(|version| *version >= ACK_VERSION)
            && let Some(theirs) = &session.theirs
        {
            self.send_cancel(node, &theirs.tag);
        }
        self.act(Action::Locker(ToLocker::Cancel { node: node.clone(), tag: session.my_tag }));
    }

    fn send_cancel(&mut self, node: &NodeName, their_tag: &Term) {
        let message = tuple![atom!("cancel_connect"), node_term(&self.me), their_tag.clone()];
        self.act(Action::Send(server_on(node), message));
    }

    /// The lockers of both sides have locked their partitions.
    pub(crate) fn lock_is_set(&mut self, node: &NodeName, tag: i64, requester: Term) {
        if !self.is_current(node, &Term::from(tag)) {
            return self.act(Action::Locker(ToLocker::Cancel { node: node.clone(), tag }));
        }
        let names = Term::list(self.names.entries().map(|entry| entry.term()));
        let Some(session) = self.sessions.get_mut(node) else { return };
        let Some(theirs) = &session.theirs else { return };
        let message = tuple![atom!("exchange"), node_term(&self.me), names, Term::NIL, theirs.tag.clone()];
        session.requester = Some(requester);
        match std::mem::replace(&mut session.exchange, Exchange::Locked) {
            Exchange::Names(names) => {
                session.exchange = Exchange::Done;
                self.cast_to(node, message);
                self.compare(node, tag, names);
            }
            _ => self.cast_to(node, message),
        }
    }

    /// `{exchange, Node, Names, _, MyTag}`
    pub(super) fn exchange(&mut self, node: NodeName, names: &Term, tag: &Term) -> Option<()> {
        if !self.is_current(&node, tag) {
            return self.not_current(node, tag);
        }
        let names = Entry::read_all(names);
        let session = self.sessions.get_mut(&node)?;
        let my_tag = session.my_tag;
        match session.exchange {
            Exchange::Locked => {
                session.exchange = Exchange::Done;
                self.compare(&node, my_tag, names);
            }
            _ => session.exchange = Exchange::Names(names),
        }
        Some(())
    }

    /// Their names against ours. Conflicts are settled on the side with the smaller name.
    fn compare(&mut self, node: &NodeName, tag: i64, names: Vec<Entry>) {
        let mut ops = Vec::new();
        let mut conflicts = Vec::new();
        for theirs in names {
            match self.names.entry(&theirs.name) {
                None => ops.push(Op::Insert(theirs)),
                Some(ours) if ours.pid == theirs.pid => {}
                Some(ours) if self.me < *node => conflicts.push(Conflict { theirs, ours }),
                Some(_) => {}
            }
        }
        if conflicts.is_empty() {
            self.resolved_here(node, tag, ops, Vec::new());
        } else {
            self.act(Action::Resolve { node: node.clone(), tag, ops, conflicts });
        }
    }

    /// What the names of the other side change here, and what our choices change there.
    pub(crate) fn resolved_here(&mut self, node: &NodeName, tag: i64, here: Vec<Op>, there: Vec<Op>) {
        if !self.is_current(node, &Term::from(tag)) {
            return self.act(Action::Locker(ToLocker::Cancel { node: node.clone(), tag }));
        }
        let Some(session) = self.sessions.get_mut(node) else { return };
        let Some(theirs) = &session.theirs else { return };
        let (their_tag, version) = (theirs.tag.clone(), theirs.version);
        let resolution = std::mem::replace(&mut session.resolution, Resolution::Here(here.clone()));
        let (known, external) = (self.known_term(version), self.names.externals());
        let me = node_term(&self.me);
        let message = tuple![atom!("resolved"), me, ops_term(&there), known, atom!("unused"), external, their_tag];
        self.cast_to(node, message);
        if let Resolution::There { ops, known, external } = resolution {
            self.join(node, here, ops, known, &external);
        }
    }

    /// `{resolved, Node, Ops, Known, _, External, MyTag}`
    pub(super) fn resolved_there(
        &mut self,
        node: NodeName,
        ops: Vec<Op>,
        known: Versions,
        external: &Term,
        tag: &Term,
    ) -> Option<()> {
        if !self.is_current(&node, tag) {
            return self.not_current(node, tag);
        }
        let session = self.sessions.get_mut(&node)?;
        match std::mem::replace(&mut session.resolution, Resolution::Nothing) {
            Resolution::Here(here) => self.join(&node, here, ops, known, external),
            _ => session.resolution = Resolution::There { ops, known, external: external.clone() },
        }
        Some(())
    }

    /// Both sides are ready: the two partitions become one.
    fn join(&mut self, node: &NodeName, mut ops: Vec<Op>, theirs: Vec<Op>, their_known: Versions, external: &Term) {
        let Some(session) = self.sessions.get(node) else { return };
        let requester = session.requester.clone();
        let version = session.theirs.as_ref().map_or(VERSION, |theirs| theirs.version);
        ops.extend(theirs);
        let added = std::iter::once((node.clone(), self.version_of(node)))
            .chain(their_known.into_iter().filter(|(known, _)| *known != self.me))
            .map(|(known, version)| (if version == 0 { self.version_of(&known) } else { version }, known))
            .map(|(version, known)| (known, version))
            .collect::<Versions>();
        let lock = lock_term(global_resource(), requester.clone().unwrap_or(Term::NIL));
        let extra = list![tuple![atom!("vsn"), version], tuple![atom!("lock"), lock]];

        for (known, _) in &added {
            if known != node {
                self.act(Action::TellInSync(known.clone()));
            }
        }
        self.apply(ops.clone(), external, requester.as_ref());
        // Those who were here before hear of it while the lock is still held.
        for (member, member_version) in self.known.clone() {
            let nodes = nodes_term(added.iter().map(|(node, version)| (node, *version)), member_version);
            let me = node_term(&self.me);
            let news = tuple![atom!("new_nodes"), me, ops_term(&ops), external.clone(), nodes, extra.clone()];
            self.cast_to(&member, news);
        }
        for (known, _) in &added {
            // The session has come to its end, so the other side must not be told to give it up.
            self.pending.remove(known);
            self.end_session(known);
        }
        self.add_known(added);
        self.synced.insert(node.clone());
        self.no_longer_missing(node);
        tracing::info!(peer = %node, known = self.known.len(), "global: synchronised with a node");
    }

    /// `{new_nodes, Node, Ops, External, Nodes, [{vsn, V}, {lock, {global, Requester}}]}`: a member of
    /// our partition has joined another one.
    pub(super) fn new_nodes(
        &mut self,
        node: NodeName,
        ops: &Term,
        external: &Term,
        nodes: &Term,
        extra: &Term,
    ) -> Option<()> {
        let added = self.add_known(read_nodes(nodes));
        tracing::info!(peer = %node, new = ?added, "global: a node has met others");
        for node in added {
            self.act(Action::TellInSync(node));
        }
        let requester = extra.as_list().unwrap_or_default().iter().find_map(|item| {
            let [key, lock] = item.as_tuple_of()?;
            let [_, requester] = lock.as_tuple_of()?;
            key.is_atom("lock").then(|| requester.clone())
        });
        self.apply(Op::read_all(ops), external, requester.as_ref());
        Some(())
    }

    /// `{in_sync, Node, _}`: a node of the other partition knows us.
    pub(super) fn in_sync(&mut self, node: NodeName) -> Option<()> {
        self.no_longer_missing(&node);
        self.pending.remove(&node);
        if let Some(version) = self.sessions.get(&node).and_then(|session| session.was_known) {
            self.known.insert(node.clone(), version);
        }
        if self.connected.contains(&node) && !self.known.contains_key(&node) {
            self.act(Action::AskUnknown(node.clone()));
        }
        self.end_session(&node);
        self.early.remove(&node);
        self.synced.insert(node);
        Some(())
    }

    /// Some time ago a node has said that it knows this one, which did not know it. Mostly the news of it were on their way.
    /// If not, they came before the connection was lost and made again, and have been forgotten with it: the other side
    /// sees no need for a session, and would leave it at that for ever. Without this connection both can start anew.
    pub(crate) fn still_unknown(&mut self, node: &NodeName) {
        if self.connected.contains(node) && !self.known.contains_key(node) && !self.sessions.contains_key(node) {
            tracing::warn!(peer = %node, "global: a node knows this one and is not known here; disconnects it");
            self.act(Action::Disconnect(node.clone(), "global: it knows this node, and is not known here"));
        }
    }

    /// Enters nodes; returns those that are new.
    fn add_known(&mut self, nodes: Versions) -> Vec<NodeName> {
        let mut added = Vec::new();
        for (node, version) in nodes {
            if node == self.me {
                continue;
            }
            match self.known.get_mut(&node) {
                Some(known) if *known == 0 => *known = version,
                Some(_) => {}
                None => {
                    self.known.insert(node.clone(), version);
                    added.push(node);
                }
            }
        }
        added
    }

    fn is_current(&self, node: &NodeName, tag: &Term) -> bool {
        self.sessions.get(node).is_some_and(|session| tag.as_i64() == Some(session.my_tag))
    }

    /// Something of a session that is over: what is still locked for it is released.
    fn not_current(&mut self, node: NodeName, tag: &Term) -> Option<()> {
        tracing::debug!(peer = %node, "global: something of a session that is over");
        self.act(Action::Locker(ToLocker::Cancel { node, tag: tag.as_i64()? }));
        Some(())
    }
}
