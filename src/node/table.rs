//! The process table: who lives on this node, under which names and aliases, and what the node keeps
//! about each process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::mailbox::Mailbox;
use super::message::{Message, Target};
use super::reason::Reason;
use crate::etf::{Atom, Creation, Payload, Pid, Ref};
use crate::proto::ProcRef;

/// What the node keeps about a process.
pub(crate) struct Entry {
    pub(crate) pid: Pid,
    pub(crate) trap_exit: AtomicBool,
    /// Ends by itself when the node shuts down, and has something to do before.
    pub(crate) finishes: AtomicBool,
    /// Cancelled when the process has ended; its task stops at the next await.
    pub(crate) ended: CancellationToken,
    pub(crate) state: Mutex<State>,
    /// What it runs, for people who look: `module:function/arity` or a name.
    pub(crate) label: Box<str>,
    pub(crate) mailbox: Mailbox,
    dead: AtomicBool,
    /// Dead, and other nodes have been told: now its owner may know.
    told: AtomicBool,
}

/// What changes about a process; never locked together with that of another one.
#[derive(Default)]
pub(crate) struct State {
    /// Why it ended, once it has.
    pub(crate) exit: Option<Reason>,
    pub(crate) links: HashMap<Pid, Link>,
    /// What it watches.
    pub(crate) monitors: HashMap<Ref, Monitor>,
    /// Who watches it.
    pub(crate) watchers: HashMap<Ref, Watcher>,
    /// Spawn requests of its own that are not answered yet.
    pub(crate) spawns: HashMap<Ref, PendingSpawn>,
    pub(crate) names: Vec<Atom>,
    pub(crate) aliases: Vec<Ref>,
    pub(crate) group_leader: Option<Pid>,
}

/// One end of a link ("Link Protocol" of the distribution protocol).
pub(crate) struct Link {
    /// False after `unlink`, until the other end has acknowledged it.
    pub(crate) active: bool,
    pub(crate) unlink_id: u64,
    /// `None` where the other end is a process of this node.
    pub(crate) connection: Option<Arc<Connection>>,
}

/// A process that this one watches.
pub(crate) struct Monitor {
    /// As `DOWN` will show it.
    pub(crate) object: Target,
    /// As the wire knows it.
    pub(crate) wire: ProcRef,
    /// `None` where it is a process of this node.
    pub(crate) connection: Option<Arc<Connection>>,
}

/// A process that watches this one.
pub(crate) struct Watcher {
    pub(crate) pid: Pid,
    /// As it asked for it: `DOWN` has to name the same object.
    pub(crate) wire: ProcRef,
    pub(crate) connection: Option<Arc<Connection>>,
}

/// A spawn request that waits for its answer.
pub(crate) struct PendingSpawn {
    pub(crate) connection: Arc<Connection>,
}

impl Entry {
    /// Puts a message into the mailbox; false when the process has ended.
    pub(crate) fn push(&self, message: Message) -> bool {
        self.mailbox.push(message)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// True when the process has ended and other nodes have been told so.
    pub(crate) fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Lets the owner of the process know of its end.
    pub(crate) fn tell(&self) {
        self.told.store(true, Ordering::Release);
        self.mailbox.close();
    }

    /// Marks the process as ended and hands out what it leaves behind; `None` when it had ended before. Its owner
    /// is still to be [told](Self::tell).
    pub(crate) fn end(&self, reason: &Reason) -> Option<State> {
        let mut state = self.state.lock();
        if self.dead.swap(true, Ordering::AcqRel) {
            return None;
        }
        let left = std::mem::replace(&mut *state, State { exit: Some(reason.clone()), ..State::default() });
        Some(left)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.pid, self.label)
    }
}

/// Who lives on this node.
pub(crate) struct Table {
    node: Atom,
    creation: Creation,
    processes: DashMap<u32, Arc<Entry>, RandomState>,
    names: DashMap<Atom, Arc<Entry>, RandomState>,
    /// Grows whenever a name gets or loses a holder.
    names_version: AtomicU64,
    aliases: DashMap<Ref, Alias, RandomState>,
    /// Who is watched under a name by whom: the name may have another holder when the watcher stops.
    watched_by_name: DashMap<Ref, u32, RandomState>,
    next_pid: AtomicU64,
    next_ref: AtomicU64,
    /// Last word of every reference of this life, so that guesses at references do not hit.
    ref_salt: u32,
}

struct Alias {
    entry: Arc<Entry>,
    /// Vanishes with the first message.
    once: bool,
}

impl Table {
    pub(crate) fn new(node: Atom, creation: Creation, ref_salt: u32) -> Self {
        Self {
            node,
            creation,
            processes: DashMap::default(),
            names: DashMap::default(),
            names_version: AtomicU64::new(0),
            aliases: DashMap::default(),
            watched_by_name: DashMap::default(),
            next_pid: AtomicU64::new(0),
            next_ref: AtomicU64::new(1),
            ref_salt,
        }
    }

    /// A new process.
    pub(crate) fn insert(&self, label: impl Into<Box<str>>, group_leader: Option<Pid>) -> Arc<Entry> {
        let label = label.into();
        loop {
            let number = self.next_pid.fetch_add(1, Ordering::Relaxed);
            let id = (number % MAX_PID_ID) as u32 + 1;
            let serial = (number / MAX_PID_ID % PID_SERIALS) as u32;
            let pid = Pid { node: self.node.clone(), id, serial, creation: self.creation };
            let Slot::Vacant(slot) = self.processes.entry(key(&pid)) else {
                continue; // still alive after 268 million others
            };
            let entry = Arc::new(Entry {
                pid,
                trap_exit: AtomicBool::new(false),
                finishes: AtomicBool::new(false),
                ended: CancellationToken::new(),
                state: Mutex::new(State { group_leader, ..State::default() }),
                label,
                mailbox: Mailbox::default(),
                dead: AtomicBool::new(false),
                told: AtomicBool::new(false),
            });
            slot.insert(entry.clone());
            return entry;
        }
    }

    /// A new reference, in the form that every release takes: three words, the first below 2^18.
    pub(crate) fn reference(&self) -> Ref {
        let number = self.next_ref.fetch_add(1, Ordering::Relaxed);
        let words = [(number & 0x3_ffff) as u32, (number >> 18) as u32, self.ref_salt];
        Ref::from_three(self.node.clone(), self.creation, words)
    }

    /// True for pids that this life of this node has made.
    pub(crate) fn is_own(&self, pid: &Pid) -> bool {
        pid.creation == self.creation && pid.node == self.node
    }

    /// The process with this pid, where it is one of this node and alive.
    pub(crate) fn by_pid(&self, pid: &Pid) -> Option<Arc<Entry>> {
        if pid.node == self.node { self.by_own_pid(pid) } else { None }
    }

    /// The same for a pid that is known to name this node.
    pub(crate) fn by_own_pid(&self, pid: &Pid) -> Option<Arc<Entry>> {
        if pid.creation != self.creation {
            return None;
        }
        let entry = self.processes.get(&key(pid))?;
        (entry.pid.id == pid.id && entry.pid.serial == pid.serial).then(|| entry.clone())
    }

    /// Puts something that was sent into the mailbox of a process of this node, `None` where there is no such. Whoever
    /// waits for it is to be woken.
    #[inline]
    pub(crate) fn send_to_own(&self, pid: &Pid, payload: Payload) -> Option<Option<Waker>> {
        if pid.creation != self.creation {
            return None;
        }
        let entry = self.processes.get(&key(pid))?;
        (entry.pid.id == pid.id && entry.pid.serial == pid.serial).then(|| entry.mailbox.push_sent(payload))
    }

    /// The process with this number ([`key`]).
    pub(crate) fn by_key(&self, key: u32) -> Option<Arc<Entry>> {
        self.processes.get(&key).map(|entry| entry.clone())
    }

    fn names_changed(&self) {
        self.names_version.fetch_add(1, Ordering::Release);
    }

    /// Grows whenever a name gets or loses a holder: what was looked up before may no longer be true.
    pub(crate) fn names_version(&self) -> u64 {
        self.names_version.load(Ordering::Acquire)
    }

    pub(crate) fn by_name(&self, name: &Atom) -> Option<Arc<Entry>> {
        self.names.get(name).map(|entry| entry.clone())
    }

    /// The process behind an alias; one for a single message is used up.
    pub(crate) fn by_alias(&self, alias: &Ref) -> Option<Arc<Entry>> {
        let (entry, once) = {
            let found = self.aliases.get(alias)?;
            (found.entry.clone(), found.once)
        };
        if once {
            self.aliases.remove(alias)?;
        }
        Some(entry)
    }

    pub(crate) fn by_target(&self, target: &ProcRef) -> Option<Arc<Entry>> {
        match target {
            ProcRef::Pid(pid) => self.by_pid(pid),
            ProcRef::Name(name) => self.by_name(name),
        }
    }

    /// Adds a watcher; false when the process has ended. `admit` has the last word, under the lock.
    pub(crate) fn add_watcher(
        &self,
        watched: &Entry,
        reference: &Ref,
        watcher: Watcher,
        admit: impl FnOnce() -> bool,
    ) -> bool {
        let mut state = watched.state.lock();
        if watched.is_dead() || !admit() {
            return false;
        }
        if let ProcRef::Name(_) = watcher.wire {
            self.watched_by_name.insert(reference.clone(), key(&watched.pid));
        }
        state.watchers.insert(reference.clone(), watcher);
        true
    }

    /// Takes a watcher away again.
    pub(crate) fn remove_watcher(&self, target: &ProcRef, reference: &Ref) {
        let watched = match target {
            ProcRef::Pid(pid) => self.by_pid(pid),
            ProcRef::Name(_) => self.watched_by_name.remove(reference).and_then(|(_, key)| self.by_key(key)),
        };
        if let Some(watched) = watched {
            watched.state.lock().watchers.remove(reference);
        }
    }

    /// Forgets that somebody is watched under a name.
    pub(crate) fn forget_watcher(&self, reference: &Ref, watcher: &Watcher) {
        if let ProcRef::Name(_) = watcher.wire {
            self.watched_by_name.remove(reference);
        }
    }

    /// Registers a name; false when it is taken or the process has ended.
    pub(crate) fn register(&self, name: Atom, entry: &Arc<Entry>) -> bool {
        let Slot::Vacant(slot) = self.names.entry(name.clone()) else { return false };
        let mut state = entry.state.lock();
        if entry.is_dead() {
            return false;
        }
        state.names.push(name);
        drop(state);
        slot.insert(entry.clone());
        self.names_changed();
        true
    }

    /// Takes a name away from whoever has it; false when nobody has.
    pub(crate) fn unregister(&self, name: &Atom) -> bool {
        let Some((_, entry)) = self.names.remove(name) else { return false };
        self.names_changed();
        entry.state.lock().names.retain(|known| known != name);
        true
    }

    pub(crate) fn add_alias(&self, entry: &Arc<Entry>, once: bool) -> Ref {
        let alias = self.reference();
        self.add_alias_as(entry, &alias, once);
        alias
    }

    /// A reference that is used otherwise becomes an alias, too.
    pub(crate) fn add_alias_as(&self, entry: &Arc<Entry>, alias: &Ref, once: bool) {
        let mut state = entry.state.lock();
        if !entry.is_dead() {
            state.aliases.push(alias.clone());
            self.aliases.insert(alias.clone(), Alias { entry: entry.clone(), once });
        }
    }

    pub(crate) fn remove_alias(&self, entry: &Arc<Entry>, alias: &Ref) -> bool {
        entry.state.lock().aliases.retain(|known| known != alias);
        self.aliases.remove(alias).is_some()
    }

    /// Forgets a process that has ended, with its names and aliases.
    pub(crate) fn remove(&self, entry: &Entry, left: &State) {
        for name in &left.names {
            self.names.remove_if(name, |_, named| named.pid == entry.pid);
        }
        if !left.names.is_empty() {
            self.names_changed();
        }
        for alias in &left.aliases {
            self.aliases.remove(alias);
        }
        self.processes.remove(&key(&entry.pid));
    }

    pub(crate) fn registered(&self) -> Vec<Atom> {
        self.names.iter().map(|entry| entry.key().clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.processes.iter().map(|entry| entry.value().clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }
}

/// Pid numbers that every release takes: OTP 23 closes the connection for an id of more than 15 bits
/// or a serial of more than 13.
pub(crate) const MAX_PID_ID: u64 = (1 << 15) - 1;
pub(crate) const PID_SERIALS: u64 = 1 << 13;

pub(crate) fn key(pid: &Pid) -> u32 {
    pid.serial << 15 | pid.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;

    fn table() -> Table {
        Table::new(atom!("a@h"), Creation(9), 1)
    }

    #[test]
    fn pids_stay_in_the_range_of_otp_23_and_start_over_with_the_next_serial() {
        let table = table();
        table.next_pid.store(MAX_PID_ID - 1, Ordering::Relaxed);
        let last = table.insert("last", None);
        let next = table.insert("next", None);
        assert_eq!((last.pid.id, last.pid.serial), (MAX_PID_ID as u32, 0));
        assert_eq!((next.pid.id, next.pid.serial), (1, 1));
    }

    #[test]
    fn a_pid_of_another_creation_is_nobody() {
        let table = table();
        let entry = table.insert("x", None);
        assert!(table.by_pid(&entry.pid).is_some());
        let earlier = Pid { creation: Creation(8), ..entry.pid.clone() };
        assert!(table.by_pid(&earlier).is_none());
    }

    #[test]
    fn an_alias_for_one_message_is_used_up() {
        let table = table();
        let entry = table.insert("x", None);
        let once = table.add_alias(&entry, true);
        let always = table.add_alias(&entry, false);
        assert!(table.by_alias(&once).is_some());
        assert!(table.by_alias(&once).is_none());
        assert!(table.by_alias(&always).is_some());
        assert!(table.by_alias(&always).is_some());
    }

    #[test]
    fn a_name_has_one_holder_and_goes_with_it() {
        let table = table();
        let first = table.insert("first", None);
        let second = table.insert("second", None);
        assert!(table.register(atom!("n"), &first));
        assert!(!table.register(atom!("n"), &second));
        let left = first.end(&Reason::normal()).unwrap();
        table.remove(&first, &left);
        assert!(table.by_name(&atom!("n")).is_none());
        assert!(table.register(atom!("n"), &second));
    }
}
