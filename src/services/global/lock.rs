//! Locks of the cluster for whatever a program wants to do alone (`global:set_lock/1`, `trans/2`).

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::calls::{Caller, Lock};
use super::server::Input;
use super::{Global, GlobalError};
use crate::etf::Term;
use crate::proto::NodeName;

/// A lock that is held on all nodes that `global` knew when it was taken. Dropping it gives it back, too,
/// without waiting for that: it belongs to a process of its own, which ends then.
#[must_use = "a lock is given back when it is dropped"]
pub struct GlobalLock {
    caller: Caller,
    lock: Lock,
    nodes: Vec<NodeName>,
}

impl GlobalLock {
    /// Gives the lock back on all nodes (`global:del_lock/1`).
    pub async fn release(mut self) {
        // The process of the lock can only have ended with the node: then it is free all the same.
        let _ = self.caller.del_lock_boss_last(&self.lock, &self.nodes).await;
    }

    /// The nodes that it is held on, this one included.
    pub fn nodes(&self) -> &[NodeName] {
        &self.nodes
    }
}

impl std::fmt::Debug for GlobalLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GlobalLock({} as {})", self.lock.resource, self.lock.requester)
    }
}

impl Global {
    /// Takes the lock on a resource, any term, on all nodes of the cluster (`global:set_lock/1`); tries
    /// for so long, once where that is no time at all. Nobody else of the cluster has it meanwhile.
    ///
    /// # Errors
    /// [`GlobalError::Locked`] when others hold it until then.
    pub async fn set_lock(&self, resource: impl Into<Term>, timeout: Duration) -> Result<GlobalLock, GlobalError> {
        self.lock(resource.into(), None, timeout).await
    }

    /// [`set_lock`](Self::set_lock) as a requester, any term: whoever locks the resource as the same one
    /// shares the lock (`{ResourceId, LockRequesterId}`).
    ///
    /// # Errors
    /// As [`set_lock`](Self::set_lock).
    pub async fn set_lock_as(
        &self,
        resource: impl Into<Term>,
        requester: impl Into<Term>,
        timeout: Duration,
    ) -> Result<GlobalLock, GlobalError> {
        self.lock(resource.into(), Some(requester.into()), timeout).await
    }

    /// Does something while nobody else of the cluster has the lock on a resource (`global:trans/2`). The
    /// time is that for getting the lock.
    ///
    /// ```no_run
    /// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// # async fn migrate() {}
    /// let global = node.global().ok_or("a hidden node has no part in global")?;
    /// global.trans("migration", std::time::Duration::from_secs(30), migrate()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`set_lock`](Self::set_lock); then nothing has been done.
    pub async fn trans<T>(
        &self,
        resource: impl Into<Term>,
        timeout: Duration,
        body: impl Future<Output = T>,
    ) -> Result<T, GlobalError> {
        let lock = self.set_lock(resource, timeout).await?;
        let value = body.await;
        lock.release().await;
        Ok(value)
    }

    async fn lock(
        &self,
        resource: Term,
        requester: Option<Term>,
        timeout: Duration,
    ) -> Result<GlobalLock, GlobalError> {
        let (answer, caller) = oneshot::channel();
        self.service.server.send(Input::Caller(answer)).map_err(|_| GlobalError::Stopped)?;
        let mut caller = caller.await.map_err(|_| GlobalError::Stopped)?;
        let requester = requester.unwrap_or_else(|| Term::Pid(caller.process.pid().clone()));
        let lock = Lock { resource, requester };
        let nodes = caller.lock_known(&lock, Instant::now() + timeout).await.map_err(|_| GlobalError::Stopped)?;
        match nodes {
            Some(nodes) => Ok(GlobalLock { caller, lock, nodes }),
            None => Err(GlobalError::Locked(timeout)),
        }
    }
}
