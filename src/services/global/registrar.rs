//! The registrar: registers and unregisters names for processes of this node, on all nodes, under the
//! `global` lock. It lives as long as the node, so that nobody leaves a name half registered.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use super::GlobalError;
use super::calls::{Caller, Lock};
use super::terms::{Entry, global_resource};
use crate::atom;
use crate::etf::Term;
use crate::node::{Ended, Reason};
use crate::proto::NodeName;
use crate::tuple;

/// What the registrar is asked for, and where the answer goes.
pub(super) struct Wish {
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<bool, GlobalError>>,
}

pub(super) enum Change {
    /// Only a name that nobody has.
    Register(Entry),
    /// Whoever has it.
    Reregister(Entry),
    Unregister(Term),
}

/// Runs until the process is ended.
pub(super) async fn run(mut caller: Caller, mut wishes: UnboundedReceiver<Wish>) -> Reason {
    loop {
        let wish = tokio::select! {
            wish = wishes.recv() => wish,
            // Nobody sends to the registrar but with answers that are too late.
            message = caller.process.recv() => match message {
                Ok(_) => continue,
                Err(Ended { reason }) => return reason,
            },
        };
        let Some(Wish { change, answer }) = wish else { return Reason::normal() };
        match fulfil(&mut caller, &change).await {
            Ok(outcome) => drop(answer.send(outcome)),
            Err(Ended { reason }) => return reason,
        }
    }
}

async fn fulfil(caller: &mut Caller, change: &Change) -> Result<Result<bool, GlobalError>, Ended> {
    let me = caller.process.pid().clone();
    let lock = Lock { resource: global_resource(), requester: Term::Pid(me) };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let Some(nodes) = caller.lock_known(&lock, deadline).await? else {
        return Ok(Err(GlobalError::Locked(LOCK_TIMEOUT)));
    };
    let done = change_names(caller, change, &nodes).await;
    caller.del_lock_boss_last(&lock, &nodes).await?;
    done.map(Ok)
}

async fn change_names(caller: &mut Caller, change: &Change, nodes: &[NodeName]) -> Result<bool, Ended> {
    let has = |caller: &Caller, name: &Term| caller.state.lock().names().pid(name).cloned();
    let request = match change {
        Change::Register(entry) => {
            if let Some(pid) = has(caller, &entry.name) {
                // One of ours that has ended is as good as gone.
                if pid.node != *caller.me().as_atom() || caller.node.is_alive(&pid) {
                    return Ok(false);
                }
            }
            register(entry)
        }
        Change::Reregister(entry) => register(entry),
        Change::Unregister(name) => {
            if has(caller, name).is_none() {
                return Ok(false);
            }
            tuple![atom!("unregister"), name.clone()]
        }
    };
    caller.call(nodes, &request).await?;
    Ok(true)
}

fn register(entry: &Entry) -> Term {
    tuple![atom!("register"), entry.name.clone(), entry.pid.clone(), entry.method.clone()]
}

/// How long a name waits for its turn. Locks are held for milliseconds, a second while nodes join; one
/// that others hold for so long is stuck.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
