//! The locks that this node has granted. A lock is on a resource, held under one requester id by one
//! or more processes; it is gone when all of them have given it back or ended.

use std::collections::HashMap;

use super::state::WatchId;
use super::terms::global_resource;
use crate::etf::{Atom, Pid, Term};

/// The table of locks.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: HashMap<TermKey, Lock>,
    /// True when `global` was last released because its holder ended: what then still arrives of
    /// that holder is too late (`global.erl:lock_still_set`).
    global_ended: bool,
}

/// Terms as keys of a table: Erlang's `=:=`.
type TermKey = Term;

#[derive(Debug)]
struct Lock {
    requester: Term,
    owners: Vec<(Pid, WatchId)>,
}

/// What a request for a lock came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// Yes, and this process has to be watched.
    New,
    /// Yes, it holds the lock already.
    Again,
    /// No: held under another id.
    No,
}

impl Locks {
    /// Grants a lock if it is free, or held under the same id. The watch is only taken for
    /// [`Granted::New`].
    pub(crate) fn set(&mut self, resource: &Term, requester: &Term, owner: &Pid, watch: WatchId) -> Granted {
        match self.held.get_mut(resource) {
            None => {
                let lock = Lock { requester: requester.clone(), owners: vec![(owner.clone(), watch)] };
                self.held.insert(resource.clone(), lock);
                Granted::New
            }
            Some(lock) if lock.requester != *requester => Granted::No,
            Some(lock) if lock.owners.iter().any(|(pid, _)| pid == owner) => Granted::Again,
            Some(lock) => {
                lock.owners.push((owner.clone(), watch));
                Granted::New
            }
        }
    }

    /// Whether [`set`](Self::set) would grant it.
    pub(crate) fn can_set(&self, resource: &Term, requester: &Term) -> bool {
        self.held.get(resource).is_none_or(|lock| lock.requester == *requester)
    }

    /// One owner gives a lock back; the watch on it is returned.
    pub(crate) fn delete(&mut self, resource: &Term, requester: &Term, owner: &Pid) -> Option<WatchId> {
        let lock = self.held.get(resource)?;
        if lock.requester != *requester {
            return None;
        }
        let watch = lock.owners.iter().find(|(pid, _)| pid == owner).map(|(_, watch)| *watch)?;
        self.release(resource, watch, false);
        Some(watch)
    }

    /// The owner behind a watch has ended.
    pub(crate) fn owner_ended(&mut self, resource: &Term, watch: WatchId) {
        self.release(resource, watch, true);
    }

    fn release(&mut self, resource: &Term, watch: WatchId, ended: bool) {
        let Some(lock) = self.held.get_mut(resource) else { return };
        lock.owners.retain(|(_, owner)| *owner != watch);
        if lock.owners.is_empty() {
            self.held.remove(resource);
            if *resource == global_resource() {
                self.global_ended = ended;
            }
        }
    }

    /// All locks of processes of a node.
    pub(crate) fn of_node(&self, node: &Atom) -> Vec<(Term, WatchId)> {
        let of_lock = |(resource, lock): (&Term, &Lock)| {
            let owners = lock.owners.iter().filter(|(pid, _)| pid.node == *node);
            owners.map(|(_, watch)| (resource.clone(), *watch)).collect::<Vec<_>>()
        };
        self.held.iter().flat_map(of_lock).collect()
    }

    /// Whether registrations are locked at the moment.
    pub(crate) fn global_is_set(&self) -> bool {
        self.held.contains_key(&global_resource())
    }

    /// Whether a process that wants to change names still holds the lock for that.
    pub(crate) fn global_still_held_by(&self, owner: &Pid) -> bool {
        match self.held.get(&global_resource()) {
            Some(lock) => lock.owners.iter().any(|(pid, _)| pid == owner),
            None => !self.global_ended,
        }
    }

    /// Whether the lock under which a node changes names is still there.
    pub(crate) fn global_still_held_as(&self, requester: Option<&Term>) -> bool {
        match self.held.get(&global_resource()) {
            Some(lock) => Some(&lock.requester) == requester,
            None => !self.global_ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;
    use crate::etf::Creation;

    fn pid(id: u32) -> Pid {
        Pid { node: atom!("a@h"), id, serial: 0, creation: Creation(1) }
    }

    #[test]
    fn a_lock_is_shared_under_one_id_and_free_when_its_last_owner_is_gone() {
        let (resource, requester, other) = (Term::from(1), Term::from(2), Term::from(3));
        let mut locks = Locks::default();
        assert_eq!(locks.set(&resource, &requester, &pid(1), WatchId(1)), Granted::New);
        assert_eq!(locks.set(&resource, &requester, &pid(1), WatchId(9)), Granted::Again);
        assert_eq!(locks.set(&resource, &requester, &pid(2), WatchId(2)), Granted::New);
        assert_eq!(locks.set(&resource, &other, &pid(1), WatchId(9)), Granted::No);
        assert!(locks.delete(&resource, &other, &pid(1)).is_none());
        assert_eq!(locks.delete(&resource, &requester, &pid(1)), Some(WatchId(1)));
        assert!(!locks.can_set(&resource, &other));
        locks.owner_ended(&resource, WatchId(2));
        assert!(locks.can_set(&resource, &other));
    }

    #[test]
    fn a_lock_that_its_owner_lost_is_not_still_held() {
        let requester = Term::from(2);
        let mut locks = Locks::default();
        assert!(locks.global_still_held_by(&pid(1)));
        locks.set(&global_resource(), &requester, &pid(1), WatchId(1));
        assert!(locks.global_still_held_by(&pid(1)) && !locks.global_still_held_by(&pid(2)));
        assert!(locks.global_still_held_as(Some(&requester)) && !locks.global_still_held_as(None));
        locks.owner_ended(&global_resource(), WatchId(1));
        assert!(!locks.global_still_held_by(&pid(1)) && !locks.global_still_held_as(Some(&requester)));
        locks.set(&global_resource(), &requester, &pid(2), WatchId(2));
        locks.delete(&global_resource(), &requester, &pid(2));
        assert!(locks.global_still_held_by(&pid(1)));
    }
}
