//! [`GlobalState`]: what the server of `global` knows and decides. No I/O and no clock in here: what
//! happens goes in, [`Action`]s come out. Messages are taken apart in `messages`; the sessions in
//! which two nodes come to know each other are in `session`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::locks::{Granted, Locks};
use super::names::Names;
use super::overlap::Reports;
use super::session::{Early, Session};
use super::terms::{Entry, External, OVERLAP_VERSION, Op, cast, node_term, nodes_term, read_nodes, server_on};
use crate::atom;
use crate::etf::{Atom, Pid, Term};
use crate::node::Target;
use crate::proto::NodeName;
use crate::tuple;

/// What the server has to do. In order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send to somebody on a node that is connected; where it is not, the message is void.
    Send(Target, Term),
    /// Connect to a node where needed, and tell it that it is known here. Where that fails,
    /// [`GlobalState::unreachable`].
    TellInSync(NodeName),
    /// Watch a process; when it ends, [`GlobalState::ended`].
    Watch(WatchId, Pid),
    /// Stop watching.
    Unwatch(WatchId),
    /// Close the connection to a node.
    Disconnect(NodeName, &'static str),
    /// Something for the locker.
    Locker(ToLocker),
    /// Settle names that two processes have, then [`GlobalState::resolved_here`].
    Resolve { node: NodeName, tag: i64, ops: Vec<Op>, conflicts: Vec<Conflict> },
    /// Ask [`GlobalState::still_unmet`] after some time.
    AskUnmet { node: NodeName, tag: Term },
    /// Ask [`GlobalState::still_unknown`] after some time.
    AskUnknown(NodeName),
    /// [`GlobalState::begin_now`] after a pause at random, longer for a later attempt.
    BeginLater { node: NodeName, attempt: u32 },
    /// Come back with this message a little later.
    Again(Term),
}

/// A watched process, in one of its roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WatchId(pub(crate) u64);

/// A name that both sides of a new connection have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) theirs: Entry,
    pub(crate) ours: Entry,
}

/// What the server tells the locker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToLocker {
    /// A node that this one has to come together with.
    Peer(Peer),
    /// It is settled, or off: release what is locked for it.
    Cancel { node: NodeName, tag: i64 },
    /// The other locker says whether it has locked its side. Without a tag from older peers.
    LockSet { locker: Pid, set: bool, tag: Option<i64> },
}

/// The other end of a session, as the locker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) node: NodeName,
    pub(crate) locker: Pid,
    pub(crate) version: u8,
    pub(crate) my_tag: i64,
    pub(crate) their_tag: Term,
}

/// What a node's server of `global` knows.
#[derive(Debug)]
pub(crate) struct GlobalState {
    pub(super) me: NodeName,
    pub(super) locker: Pid,
    /// Which life of this node reports a lost connection.
    creation: Term,
    last_report: i64,
    pub(super) last_tag: i64,
    /// False from the moment on when connections go down on purpose.
    pub(super) reports_losses: bool,
    /// Visible nodes that are connected.
    pub(super) connected: BTreeSet<NodeName>,
    /// The nodes of the cluster, with the version of each.
    pub(super) known: BTreeMap<NodeName, u8>,
    /// Nodes whose `init_connect` is here, but who are not known yet.
    pub(super) pending: HashMap<NodeName, u8>,
    /// Nodes that were thrown out, and are still connected.
    removing: HashSet<NodeName>,
    /// How many sessions of the present connections began anew.
    pub(super) restarts: HashMap<NodeName, u32>,
    pub(super) synced: BTreeSet<NodeName>,
    pub(super) sessions: HashMap<NodeName, Session>,
    /// `init_connect`s of nodes that have no session here.
    pub(super) early: HashMap<NodeName, Early>,
    pub(super) locks: Locks,
    pub(super) names: Names,
    pub(super) reports: Reports,
    watched: HashMap<WatchId, Watched>,
    last_watch: u64,
    syncers: Vec<Syncer>,
    actions: Vec<Action>,
}

#[derive(Debug)]
enum Watched {
    Lock(Term),
    Name(Term),
}

/// Somebody who waits until nodes are synchronised.
#[derive(Debug)]
struct Syncer {
    from: Term,
    missing: BTreeSet<NodeName>,
}

/// Why a node is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// The connection is lost.
    Lost,
    /// It was thrown out, or threw us out; the connection is about to go.
    Removed,
}

impl GlobalState {
    /// The state of a node that knows nobody. `life` tells lives of this node apart.
    pub(crate) fn new(me: NodeName, locker: Pid, life: u64) -> Self {
        Self {
            me,
            locker,
            creation: Term::from(life),
            last_report: 0,
            last_tag: 0,
            reports_losses: true,
            connected: BTreeSet::new(),
            known: BTreeMap::new(),
            pending: HashMap::new(),
            removing: HashSet::new(),
            restarts: HashMap::new(),
            synced: BTreeSet::new(),
            sessions: HashMap::new(),
            early: HashMap::new(),
            locks: Locks::default(),
            names: Names::default(),
            reports: Reports::default(),
            watched: HashMap::new(),
            last_watch: 0,
            syncers: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// What there is to do since the last time.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The nodes of the cluster but for this one.
    pub(crate) fn known(&self) -> Vec<NodeName> {
        self.known.keys().cloned().collect()
    }

    /// The nodes that this one has synchronised names with.
    pub(crate) fn synced(&self) -> Vec<NodeName> {
        self.synced.iter().cloned().collect()
    }

    #[cfg(test)]
    pub(crate) fn is_connected(&self, node: &NodeName) -> bool {
        self.connected.contains(node)
    }

    /// Connected, or known and about to be.
    pub(crate) fn is_expected(&self, node: &NodeName) -> bool {
        self.connected.contains(node) || self.known.contains_key(node)
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// A visible connection is up.
    pub(crate) fn node_up(&mut self, node: &NodeName) {
        if self.connected.insert(node.clone()) {
            self.removing.remove(node);
            self.restarts.remove(node);
            self.begin_session(node);
        }
    }

    /// A visible connection is gone.
    pub(crate) fn node_down(&mut self, node: &NodeName) {
        if !self.connected.remove(node) {
            return;
        }
        self.restarts.remove(node);
        self.forget_processes_of(node);
        self.forget(node, Gone::Lost);
    }

    /// A node that others know cannot be connected to.
    pub(crate) fn unreachable(&mut self, node: &NodeName) {
        if !self.connected.contains(node) {
            self.forget_processes_of(node);
            self.forget(node, Gone::Lost);
        }
    }

    /// From now on connections go down on purpose: nobody has to be told.
    pub(crate) fn prepare_shutdown(&mut self) {
        self.reports_losses = false;
    }

    /// A watched process has ended.
    pub(crate) fn ended(&mut self, watch: WatchId) {
        match self.watched.remove(&watch) {
            Some(Watched::Lock(resource)) => self.locks.owner_ended(&resource, watch),
            Some(Watched::Name(name)) => self.names.ended(&name, watch),
            None => {}
        }
    }

    pub(super) fn set_lock(&mut self, resource: &Term, requester: &Term, owner: &Pid) -> bool {
        let watch = self.next_watch();
        match self.locks.set(resource, requester, owner, watch) {
            Granted::New => {
                self.watch(watch, owner, Watched::Lock(resource.clone()));
                true
            }
            Granted::Again => true,
            Granted::No => false,
        }
    }

    pub(super) fn register(&mut self, entry: Entry, external: Option<Atom>, caller: &Pid) -> Term {
        let held = self.locks.global_still_held_by(caller);
        self.insert_name(entry, external, held);
        atom!("yes").into()
    }

    /// Applies changes of names that were made under a lock of that requester.
    pub(super) fn apply(&mut self, ops: Vec<Op>, external: &Term, requester: Option<&Term>) {
        let externals = External::read_all(external);
        let mut deleted = Vec::new();
        for op in ops {
            match op {
                Op::Insert(entry) => {
                    let same = |external: &&External| external.name == entry.name && external.pid == entry.pid;
                    let external = externals.iter().find(same).map(|external| external.node.clone());
                    let held = self.locks.global_still_held_as(requester);
                    self.insert_name(entry, external, held);
                }
                Op::Delete(name) => deleted.push(name),
            }
        }
        for name in deleted {
            self.delete_name(&name);
        }
    }

    /// What the owner of a lock says after it has lost that lock does not count, but removes what
    /// was there (`global.erl:insert_global_name`).
    fn insert_name(&mut self, entry: Entry, external: Option<Atom>, lock_held: bool) {
        let (name, pid) = (entry.name.clone(), entry.pid.clone());
        if !lock_held {
            tracing::warn!(%name, %pid, "global: a registration under a lock that is lost does not count");
            return self.delete_name(&name);
        }
        let watch = self.next_watch();
        if let Some(old) = self.names.insert(entry, external, watch) {
            self.unwatch(old);
        }
        self.watch(watch, &pid, Watched::Name(name));
    }

    pub(super) fn delete_name(&mut self, name: &Term) {
        if let Some(watch) = self.names.remove(name) {
            self.unwatch(watch);
        }
    }

    pub(super) fn sync(&mut self, from: Term, nodes: &Term) {
        let wanted = |node: &NodeName| *node != self.me && self.connected.contains(node) && !self.synced.contains(node);
        let missing = read_nodes(nodes).into_iter().map(|(node, _)| node).filter(wanted).collect();
        self.syncers.push(Syncer { from, missing });
        self.answer_syncers();
    }

    /// Those who wait for a node need not wait for it any longer.
    pub(super) fn no_longer_missing(&mut self, node: &NodeName) {
        for syncer in &mut self.syncers {
            syncer.missing.remove(node);
        }
        self.answer_syncers();
    }

    fn answer_syncers(&mut self) {
        let (waiting, ready) = std::mem::take(&mut self.syncers).into_iter().partition(|one| !one.missing.is_empty());
        self.syncers = waiting;
        for syncer in ready {
            self.reply(&syncer.from, atom!("ok").into());
        }
    }

    /// One node reports that it lost another: whoever sees both drops the one that was lost, so that
    /// all agree on who is in the cluster.
    pub(super) fn lost_connection(&mut self, reporter: &NodeName, lost: &NodeName, message: &Term) {
        self.tell_all(message, reporter);
        let removed = if *lost == self.me { reporter } else { lost };
        if !self.is_familiar(removed) {
            return;
        }
        tracing::warn!(%reporter, %lost, %removed, "global: throws out a node, as the partition would overlap");
        if self.version_of(removed) < OVERLAP_VERSION {
            self.act(Action::Disconnect(removed.clone(), "overlapping partition"));
        } else {
            let message = tuple![atom!("remove_connection"), node_term(&self.me)];
            self.act(Action::Send(server_on(removed), message));
        }
        self.forget(removed, Gone::Removed);
    }

    pub(super) fn forget(&mut self, node: &NodeName, why: Gone) {
        self.end_session(node);
        self.early.remove(node);
        match why {
            Gone::Removed => {
                self.removing.insert(node.clone());
            }
            Gone::Lost if self.removing.remove(node) => {}
            Gone::Lost if self.reports_losses => {
                self.last_report += 1;
                let report = tuple![
                    atom!("lost_connection"),
                    node_term(&self.me),
                    self.creation.clone(),
                    self.last_report,
                    node_term(node)
                ];
                self.tell_all(&report, node);
            }
            Gone::Lost => {}
        }
        self.pending.remove(node);
        self.known.remove(node);
        self.synced.remove(node);
        self.no_longer_missing(node);
    }

    /// Sends to everybody who knows of overlapping partitions, but not to one.
    fn tell_all(&mut self, message: &Term, but: &NodeName) {
        let all = self.known.iter().chain(&self.pending);
        let able = all.filter(|(node, version)| *node != but && **version >= OVERLAP_VERSION);
        let nodes: BTreeSet<_> = able.map(|(node, _)| node.clone()).collect();
        for node in nodes {
            self.act(Action::Send(server_on(&node), message.clone()));
        }
    }

    /// Known, or about to be.
    pub(super) fn is_familiar(&self, node: &NodeName) -> bool {
        self.known.contains_key(node) || self.pending.contains_key(node)
    }

    pub(super) fn version_of(&self, node: &NodeName) -> u8 {
        self.known.get(node).or_else(|| self.pending.get(node)).copied().unwrap_or(0)
    }

    /// The monitors say the same, each in its time.
    fn forget_processes_of(&mut self, node: &NodeName) {
        for (resource, watch) in self.locks.of_node(node.as_atom()) {
            self.locks.owner_ended(&resource, watch);
            self.unwatch(watch);
        }
        for (name, watch) in self.names.of_node(node.as_atom()) {
            self.names.ended(&name, watch);
            self.unwatch(watch);
        }
    }

    pub(super) fn known_term(&self, for_version: u8) -> Term {
        nodes_term(self.known.iter().map(|(node, version)| (node, *version)), for_version)
    }

    pub(super) fn cast_to(&mut self, node: &NodeName, body: Term) {
        self.act(Action::Send(server_on(node), cast(body)));
    }

    /// Replies to `From = {Pid, Tag}`, whatever the tag is.
    pub(super) fn reply(&mut self, from: &Term, answer: Term) {
        if let Some([Term::Pid(pid), tag]) = from.as_tuple_of() {
            self.act(Action::Send(Target::Pid(pid.clone()), tuple![tag.clone(), answer]));
        }
    }

    fn watch(&mut self, watch: WatchId, pid: &Pid, role: Watched) {
        self.watched.insert(watch, role);
        self.act(Action::Watch(watch, pid.clone()));
    }

    pub(super) fn unwatch(&mut self, watch: WatchId) {
        self.watched.remove(&watch);
        self.act(Action::Unwatch(watch));
    }

    fn next_watch(&mut self) -> WatchId {
        self.last_watch += 1;
        WatchId(self.last_watch)
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}
