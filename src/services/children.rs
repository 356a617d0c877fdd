//! The list of what runs on this node under its supervisor: services, servers, singletons. Who lives
//! in it is entered when it starts, and out of it as soon as its task has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::etf::{Atom, Pid, Term};
use crate::node::{Node, Process, Reason, Service};

/// Something that runs on this node, as its supervisor (`gusset_sup`) shows it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Child {
    /// What it was started as: the name of a server, any term for a singleton.
    pub id: Term,
    /// Its process.
    pub pid: Pid,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// The module that it stands for.
    pub module: Atom,
    /// When it was started.
    pub started: SystemTime,
}

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildKind {
    /// Does the work.
    Worker,
    /// Has children of its own.
    Supervisor,
}

impl ChildKind {
    /// `worker` or `supervisor`.
    pub fn atom(self) -> Atom {
        match self {
            Self::Worker => crate::atom!("worker"),
            Self::Supervisor => crate::atom!("supervisor"),
        }
    }
}

/// The children of a node, in the order in which they were started.
#[derive(Debug, Default)]
pub(crate) struct Children {
    list: Mutex<BTreeMap<u64, Child>>,
    next: AtomicU64,
}

/// An entry in the list; it goes with this.
#[derive(Debug)]
pub(crate) struct Entered {
    children: Arc<Children>,
    key: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.children.list.lock().remove(&self.key);
    }
}

/// Enters a process in the list.
pub(crate) fn enter(process: &Process, id: Term, kind: ChildKind, module: Atom) -> Entered {
    let children = process.node().extension::<Children>();
    let key = children.next.fetch_add(1, Ordering::Relaxed);
    let child = Child { id, pid: process.pid().clone(), kind, module, started: SystemTime::now() };
    children.list.lock().insert(key, child);
    Entered { children, key }
}

/// A service that is in the list as long as it runs.
pub(crate) struct Listed<S> {
    pub(crate) service: S,
    pub(crate) module: Atom,
}

impl<S: Service> Service for Listed<S> {
    fn name(&self) -> Atom {
        self.service.name()
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        let Self { service, module } = *self;
        let entered = enter(&process, Term::Atom(service.name()), ChildKind::Worker, module);
        let running = Box::new(service).run(process);
        Box::pin(async move {
            let _entered = entered;
            running.await
        })
    }
}

impl Node {
    /// What runs on this node under its supervisor: standard services, servers and singletons, in the
    /// order in which they were started.
    pub fn children(&self) -> Vec<Child> {
        let children: Vec<_> = self.extension::<Children>().list.lock().values().cloned().collect();
        // Between the end of a process and that of its task.
        children.into_iter().filter(|child| self.is_alive(&child.pid)).collect()
    }
}
