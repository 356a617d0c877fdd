//! Signals: links, monitors and exits, between processes of this node and across connections.
//!
//! The rules are those of `erl_proc_sig_queue.c` and of the link protocol in the distribution
//! protocol. What a process leaves behind is told to others from a work list, never by recursion, and
//! no two processes are ever locked at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::connection::Connection;
use super::core::Core;
use super::message::{Message, Target, TargetRef};
use super::reason::Reason;
use super::table::{Entry, Link, Monitor, Watcher};
use crate::etf::{Atom, Pid, Ref};
use crate::proto::{Control, Flags, ProcRef};

/// Processes that are about to end, and why.
type Ending = Vec<(Arc<Entry>, Reason)>;

impl Core {
    /// Ends a process, and tells all who have to know.
    pub(crate) fn end(&self, entry: Arc<Entry>, reason: Reason) {
        let mut ending = vec![(entry, reason)];
        self.end_all(&mut ending);
    }

    /// Other nodes are told first: who hears of it here may shut the node down at once, and what is queued for a
    /// connection by then still leaves.
    fn end_all(&self, ending: &mut Ending) {
        let mut ended: SmallVec<[_; 1]> = SmallVec::new();
        while let Some((entry, reason)) = ending.pop() {
            let Some(mut left) = entry.end(&reason) else { continue };
            self.table.remove(&entry, &left);
            tracing::debug!(pid = %entry.pid, label = %entry.label, %reason, "process ended");
            for (reference, watcher) in left.watchers.extract_if(|_, watcher| watcher.connection.is_some()) {
                self.table.forget_watcher(&reference, &watcher);
                self.tell_watcher(&entry.pid, reference, watcher, &reason);
            }
            for (partner, link) in left.links.extract_if(|_, link| link.connection.is_some()) {
                if let Some(connection) = link.connection.filter(|_| link.active) {
                    let control = Control::Exit { from: entry.pid.clone(), to: partner };
                    connection.signal_with(&entry.pid, &control, reason.payload());
                }
            }
            for (reference, monitor) in left.monitors {
                self.stop_watching(&entry.pid, &reference, monitor);
            }
            for partner in left.links.into_keys() {
                if let Some(partner) = self.table.by_pid(&partner) {
                    exit_from_link(&entry.pid, &partner, &reason, ending);
                }
            }
            ended.push((entry, left.watchers, reason));
        }
        for (entry, watchers, reason) in ended {
            entry.tell();
            for (reference, watcher) in watchers {
                self.table.forget_watcher(&reference, &watcher);
                self.tell_watcher(&entry.pid, reference, watcher, &reason);
            }
            entry.ended.cancel();
        }
    }

    /// Tells one watcher of a process that lives on that it is gone, and forgets the watcher; false
    /// when that process does not watch under that reference.
    pub(crate) fn dismiss_watcher(&self, entry: &Entry, watcher: &Pid, reference: &Ref, reason: &Reason) -> bool {
        let found = {
            let mut state = entry.state.lock();
            match state.watchers.get(reference) {
                Some(known) if known.pid == *watcher => state.watchers.remove(reference),
                _ => None,
            }
        };
        let Some(found) = found else { return false };
        self.table.forget_watcher(reference, &found);
        self.tell_watcher(&entry.pid, reference.clone(), found, reason);
        true
    }

    fn tell_watcher(&self, ended: &Pid, reference: Ref, watcher: Watcher, reason: &Reason) {
        match watcher.connection {
            Some(connection) => {
                let control = Control::MonitorExit { from: watcher.wire, to: watcher.pid, reference };
                connection.signal_with(ended, &control, reason.payload());
            }
            None => {
                if let Some(entry) = self.table.by_pid(&watcher.pid) {
                    down(&entry, &reference, reason);
                }
            }
        }
    }

    fn stop_watching(&self, watcher: &Pid, reference: &Ref, monitor: Monitor) {
        match monitor.connection {
            Some(connection) => connection.signal(&Control::Demonitor {
                from: watcher.clone(),
                target: monitor.wire,
                reference: reference.clone(),
            }),
            None => self.table.remove_watcher(&monitor.wire, reference),
        }
    }

    /// `exit/2`, from wherever.
    pub(crate) fn exit2(&self, from: &Pid, to: &Arc<Entry>, reason: &Reason) {
        let mut ending = Ending::new();
        if reason.is("kill") {
            ending.push((to.clone(), Reason::killed()));
        } else {
            apply_exit(from, to, reason, &mut ending);
        }
        self.end_all(&mut ending);
    }

    /// The other end of a link on another node has ended.
    pub(crate) fn exit_in(&self, from: &Pid, to: &Arc<Entry>, reason: &Reason) {
        let mut ending = Ending::new();
        exit_from_link(from, to, reason, &mut ending);
        self.end_all(&mut ending);
    }

    /// Links two processes of this node.
    pub(crate) fn link_local(&self, entry: &Arc<Entry>, partner: &Pid) {
        if entry.pid == *partner {
            return;
        }
        let link = || Link { active: true, unlink_id: 0, connection: None };
        {
            let mut state = entry.state.lock();
            if entry.is_dead() {
                return;
            }
            state.links.insert(partner.clone(), link());
        }
        let linked = self.table.by_pid(partner).is_some_and(|other| {
            let mut state = other.state.lock();
            let alive = !other.is_dead();
            if alive {
                state.links.insert(entry.pid.clone(), link());
            }
            alive
        });
        if !linked {
            self.exit_in(partner, entry, &Reason::noproc());
        } else if entry.is_dead()
            && let Some(other) = self.table.by_pid(partner)
        {
            // Ended between the two steps, so its end did not know the partner yet.
            let reason = entry.state.lock().exit.clone().unwrap_or_else(Reason::noproc);
            self.exit_in(&entry.pid, &other, &reason);
        }
    }

    /// Links a process with one on another node.
    pub(crate) fn link_remote(&self, entry: &Arc<Entry>, partner: &Pid, connection: &Arc<Connection>) {
        {
            let mut state = entry.state.lock();
            if entry.is_dead() {
                return;
            }
            let link = state.links.entry(partner.clone());
            match link {
                std::collections::hash_map::Entry::Occupied(known) if known.get().active => return,
                std::collections::hash_map::Entry::Occupied(mut known) => {
                    known.get_mut().active = true;
                    known.get_mut().unlink_id = 0;
                }
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(Link { active: true, unlink_id: 0, connection: Some(connection.clone()) });
                }
            }
        }
        if connection.involve(&entry.pid) {
            connection.signal(&Control::Link { from: entry.pid.clone(), to: partner.clone() });
        } else {
            self.exit_in(partner, entry, &Reason::noconnection());
        }
    }

    /// Takes a link away; afterwards no exit of the partner arrives any more.
    pub(crate) fn unlink(&self, entry: &Arc<Entry>, partner: &Pid) {
        let (connection, id) = {
            let mut state = entry.state.lock();
            let Some(link) = state.links.get_mut(partner).filter(|link| link.active) else { return };
            let Some(connection) = link.connection.clone() else {
                state.links.remove(partner);
                drop(state);
                if let Some(other) = self.table.by_pid(partner) {
                    other.state.lock().links.remove(&entry.pid);
                }
                return;
            };
            if connection.flags.contains(Flags::UNLINK_ID) {
                link.active = false;
                link.unlink_id = self.unlink_id();
                (connection, Some(link.unlink_id))
            } else {
                state.links.remove(partner);
                (connection, None)
            }
        };
        connection.signal(&Control::Unlink { id, from: entry.pid.clone(), to: partner.clone() });
    }

    /// `LINK` from another node.
    pub(crate) fn link_in(&self, from: Pid, to: &Pid, connection: &Arc<Connection>) {
        let entry = self.table.by_pid(to);
        let linked = entry.is_some_and(|entry| {
            let mut state = entry.state.lock();
            if entry.is_dead() || !connection.involve(&entry.pid) {
                return false;
            }
            let link = Link { active: true, unlink_id: 0, connection: Some(connection.clone()) };
            state.links.entry(from.clone()).or_insert(link);
            true
        });
        if !linked {
            let control = Control::Exit { from: to.clone(), to: from };
            connection.signal_with(to, &control, Reason::noproc().payload());
        }
    }

    /// `UNLINK` from another node, acknowledged before anything else goes to that process.
    pub(crate) fn unlink_in(&self, id: Option<u64>, from: &Pid, to: &Pid, connection: &Connection) {
        if let Some(id) = id {
            connection.signal(&Control::UnlinkAck { id, from: to.clone(), to: from.clone() });
        }
        if let Some(entry) = self.table.by_pid(to) {
            let mut state = entry.state.lock();
            if state.links.get(from).is_some_and(|link| link.active) {
                state.links.remove(from);
            }
        }
    }

    /// The other node has seen our `UNLINK`.
    pub(crate) fn unlink_ack_in(&self, id: u64, from: &Pid, to: &Pid) {
        if let Some(entry) = self.table.by_pid(to) {
            let mut state = entry.state.lock();
            if state.links.get(from).is_some_and(|link| !link.active && link.unlink_id == id) {
                state.links.remove(from);
            }
        }
    }

    /// Watches a process of this node.
    pub(crate) fn monitor_local(&self, entry: &Arc<Entry>, object: Target, wire: ProcRef, reference: &Ref) {
        let object = match object {
            Target::Name(name) => Target::NameOn(name, self.name.clone()),
            other => other,
        };
        let watched = self.table.by_target(&wire);
        {
            let mut state = entry.state.lock();
            if entry.is_dead() {
                return;
            }
            let monitor = Monitor { object, wire: wire.clone(), connection: None };
            state.monitors.insert(reference.clone(), monitor);
        }
        let watching = watched.is_some_and(|watched| {
            let watcher = Watcher { pid: entry.pid.clone(), wire, connection: None };
            self.table.add_watcher(&watched, reference, watcher, || true)
        });
        if !watching {
            down(entry, reference, &Reason::noproc());
        }
    }

    /// Watches a process of another node.
    pub(crate) fn monitor_remote(
        &self,
        entry: &Arc<Entry>,
        object: Target,
        wire: ProcRef,
        reference: &Ref,
        connection: Option<&Arc<Connection>>,
    ) {
        let noconnection = |entry| down(entry, reference, &Reason::noconnection());
        let monitor = Monitor { object, wire: wire.clone(), connection: connection.cloned() };
        {
            let mut state = entry.state.lock();
            if entry.is_dead() {
                return;
            }
            state.monitors.insert(reference.clone(), monitor);
        }
        let Some(connection) = connection else { return noconnection(entry) };
        if !connection.flags.contains(Flags::DIST_MONITOR) {
            // The peer reports no ends: only the end of the connection will be seen, as in a BEAM.
            if !connection.involve(&entry.pid) {
                noconnection(entry);
            }
            return;
        }
        if connection.involve(&entry.pid) {
            connection.signal(&Control::Monitor {
                from: entry.pid.clone(),
                target: wire,
                reference: reference.clone(),
            });
        } else {
            noconnection(entry);
        }
    }

    /// Stops watching; false when that monitor is not there (any more).
    pub(crate) fn demonitor(&self, entry: &Arc<Entry>, reference: &Ref) -> bool {
        let Some(monitor) = entry.state.lock().monitors.remove(reference) else { return false };
        self.stop_watching(&entry.pid, reference, monitor);
        true
    }

    /// `MONITOR_P` from another node.
    pub(crate) fn monitor_in(&self, from: Pid, wire: ProcRef, reference: Ref, connection: &Arc<Connection>) {
        let watching = self.table.by_target(&wire).is_some_and(|watched| {
            let watcher = Watcher { pid: from.clone(), wire: wire.clone(), connection: Some(connection.clone()) };
            self.table.add_watcher(&watched, &reference, watcher, || connection.involve(&watched.pid))
        });
        if !watching {
            let control = Control::MonitorExit { from: wire, to: from.clone(), reference };
            connection.signal_with(&from, &control, Reason::noproc().payload());
        }
    }

    /// `DEMONITOR_P` from another node.
    pub(crate) fn demonitor_in(&self, wire: &ProcRef, reference: &Ref) {
        self.table.remove_watcher(wire, reference);
    }

    /// A process that `to` watches has ended.
    pub(crate) fn down_in(&self, to: &Pid, reference: &Ref, reason: &Reason) {
        if let Some(entry) = self.table.by_pid(to) {
            down(&entry, reference, reason);
        }
    }

    /// Everything that hung on a connection learns that it is gone, in the order of section 10 of
    /// the distribution protocol: spawn requests, links, monitors.
    pub(crate) fn disconnected(&self, connection: &Arc<Connection>) {
        let of_this = |held: &Option<Arc<Connection>>| held.as_ref().is_some_and(|held| held.id == connection.id);
        for pid in connection.take_involved() {
            let Some(entry) = self.table.by_key(pid) else { continue };
            let (spawns, links, monitors) = {
                let mut state = entry.state.lock();
                for (reference, watcher) in state.watchers.extract_if(|_, watcher| of_this(&watcher.connection)) {
                    self.table.forget_watcher(&reference, &watcher);
                }
                let spawns: Vec<Ref> = state
                    .spawns
                    .extract_if(|_, spawn| spawn.connection.id == connection.id)
                    .map(|(reference, _)| reference)
                    .collect();
                let links: Vec<(Pid, Link)> = state.links.extract_if(|_, link| of_this(&link.connection)).collect();
                let monitors: Vec<(Ref, Monitor)> =
                    state.monitors.extract_if(|_, monitor| of_this(&monitor.connection)).collect();
                (spawns, links, monitors)
            };
            for reference in spawns {
                entry.push(Message::Spawned { reference, result: Err(crate::atom!("noconnection")) });
            }
            let mut ending = Ending::new();
            for (partner, link) in links {
                if link.active {
                    apply_exit(&partner, &entry, &Reason::noconnection(), &mut ending);
                }
            }
            for (reference, monitor) in monitors {
                entry.push(Message::Down { reference, object: monitor.object, reason: Reason::noconnection() });
            }
            self.end_all(&mut ending);
        }
    }

    /// Where a target is: `None` on this node, else the name that its node is said to have.
    #[inline]
    pub(crate) fn home<'a>(&self, target: TargetRef<'a>) -> Option<&'a Atom> {
        let node = match target {
            TargetRef::Pid(pid) => &pid.node,
            TargetRef::Alias(alias) => &alias.node,
            TargetRef::Name(_) => return None,
            TargetRef::NameOn(_, node) => node.as_atom(),
        };
        (node != self.name.as_atom()).then_some(node)
    }
}

/// Takes the link between `from` and `to` away and, where it was active, lets `to` have the exit.
fn exit_from_link(from: &Pid, to: &Arc<Entry>, reason: &Reason, ending: &mut Ending) {
    let link = to.state.lock().links.remove(from);
    if link.is_some_and(|link| link.active) {
        apply_exit(from, to, reason, ending);
    }
}

/// What an exit signal does to a process.
fn apply_exit(from: &Pid, to: &Arc<Entry>, reason: &Reason, ending: &mut Ending) {
    if to.trap_exit.load(Ordering::Acquire) {
        to.push(Message::Exit { from: from.clone(), reason: reason.clone() });
    } else if !reason.is("normal") || *from == to.pid {
        ending.push((to.clone(), reason.clone()));
    }
}

/// Delivers `DOWN`, once.
fn down(entry: &Arc<Entry>, reference: &Ref, reason: &Reason) {
    let monitor = entry.state.lock().monitors.remove(reference);
    if let Some(monitor) = monitor {
        entry.push(Message::Down { reference: reference.clone(), object: monitor.object, reason: reason.clone() });
    }
}
