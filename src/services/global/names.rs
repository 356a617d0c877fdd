//! The table of global names, as this node has it.

use std::collections::BTreeMap;

use super::state::WatchId;
use super::terms::{Entry, External};
use crate::etf::{Atom, Pid, Term};

/// The table of names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    table: BTreeMap<Term, Registered>,
    /// Counts changes.
    version: u64,
}

#[derive(Debug)]
struct Registered {
    pid: Pid,
    method: Term,
    watch: WatchId,
    /// The node that registered it for a process of a C node.
    external: Option<Atom>,
}

impl Names {
    /// Enters a name; returns the watch on the process that had it.
    pub(crate) fn insert(&mut self, entry: Entry, external: Option<Atom>, watch: WatchId) -> Option<WatchId> {
        let Entry { name, pid, method } = entry;
        self.version += 1;
        self.table.insert(name, Registered { pid, method, watch, external }).map(|old| old.watch)
    }

    /// Takes a name out; returns the watch on its process.
    pub(crate) fn remove(&mut self, name: &Term) -> Option<WatchId> {
        let old = self.table.remove(name)?;
        self.version += 1;
        Some(old.watch)
    }

    /// The process behind a watch has ended: takes the name out, if it is still that process's.
    pub(crate) fn ended(&mut self, name: &Term, watch: WatchId) {
        if self.table.get(name).is_some_and(|registered| registered.watch == watch) {
            self.table.remove(name);
            self.version += 1;
        }
    }

    /// Another number after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn pid(&self, name: &Term) -> Option<&Pid> {
        self.table.get(name).map(|registered| &registered.pid)
    }

    pub(crate) fn entry(&self, name: &Term) -> Option<Entry> {
        let (name, registered) = self.table.get_key_value(name)?;
        Some(entry(name, registered))
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.table.iter().map(|(name, registered)| entry(name, registered))
    }

    pub(crate) fn names(&self) -> Vec<Term> {
        self.table.keys().cloned().collect()
    }

    /// The names of processes of a node.
    pub(crate) fn of_node(&self, node: &Atom) -> Vec<(Term, WatchId)> {
        let theirs = self.table.iter().filter(|(_, registered)| registered.pid.node == *node);
        theirs.map(|(name, registered)| (name.clone(), registered.watch)).collect()
    }

    /// The names that were registered for processes of C nodes.
    pub(crate) fn externals(&self) -> Term {
        let external = |(name, registered): (&Term, &Registered)| {
            let node = registered.external.clone()?;
            Some(External { name: name.clone(), pid: registered.pid.clone(), node }.term())
        };
        Term::list(self.table.iter().filter_map(external))
    }
}

fn entry(name: &Term, registered: &Registered) -> Entry {
    Entry { name: name.clone(), pid: registered.pid.clone(), method: registered.method.clone() }
}
