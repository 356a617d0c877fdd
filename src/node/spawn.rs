//! Remote spawns: what other nodes ask this one to run, and what processes of this node ask of others.
//!
//! A function is looked up by module, name and arity in a table that users fill. What is not in it
//! ends as it would on a BEAM without that code: the spawn succeeds, the process exits with `undef`.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use super::connection::Connection;
use super::core::Core;
use super::error::{Exception, SendError};
use super::message::Message;
use super::process::Process;
use super::reason::Reason;
use super::table::{Link, Monitor, PendingSpawn, Watcher};
use crate::etf::{Atom, Payload, Pid, Ref, Term};
use crate::net::DialTarget;
use crate::proto::{Control, Flags, NodeName, Outgoing, ProcRef, SpawnOptions};

/// Something that can be spawned from another node: gets the new process and the arguments, and runs
/// until it gives the reason to exit with.
pub type SpawnFn = Arc<dyn Fn(Process, Vec<Term>) -> BoxFuture<'static, Reason> + Send + Sync>;

/// What other nodes may spawn here, by module and function.
#[derive(Default)]
pub(crate) struct Functions(RwLock<HashMap<(Atom, Atom), Vec<OfArity>>>);

/// A function of one arity, or of any.
type OfArity = (Option<u8>, SpawnFn);

impl Functions {
    /// Adds a function, or replaces it; `None` is any arity.
    pub(crate) fn insert(&self, module: Atom, function: Atom, arity: Option<u8>, run: SpawnFn) {
        let mut table = self.0.write();
        let known = table.entry((module, function)).or_default();
        known.retain(|(other, _)| *other != arity);
        known.push((arity, run));
        known.sort_by_key(|(arity, _)| arity.is_none());
    }

    pub(crate) fn get(&self, module: &Atom, function: &Atom, arity: u8) -> Option<SpawnFn> {
        let table = self.0.read();
        let known = table.get(&(module.clone(), function.clone()))?;
        let fits = |known: &&OfArity| known.0.is_none_or(|own| own == arity);
        known.iter().find(fits).map(|(_, run)| run.clone())
    }
}

/// `SPAWN_REQUEST`, as it came.
pub(crate) struct Request {
    pub(crate) reference: Ref,
    pub(crate) parent: Pid,
    pub(crate) group_leader: Pid,
    pub(crate) module: Atom,
    pub(crate) function: Atom,
    pub(crate) arity: u8,
    pub(crate) options: SpawnOptions,
    pub(crate) args: Option<Payload>,
}

impl Core {
    /// Runs what another node asks for. An answer is always due, before any other signal of the child.
    pub(crate) fn spawn_in(self: &Arc<Self>, request: Request, connection: &Arc<Connection>) {
        let Request { reference, parent, group_leader, module, function, arity, options, args } = request;
        let refuse = |why: Atom| {
            tracing::debug!(peer = %connection.name, %module, %function, arity, %why, "spawn request refused");
            connection.signal(&Control::SpawnReply {
                reference: reference.clone(),
                to: parent.clone(),
                link: false,
                monitor: false,
                result: Err(why),
            });
        };
        if options.bad.is_some() {
            return refuse(crate::atom!("badopt"));
        }
        if self.shutdown.is_cancelled() {
            return refuse(crate::atom!("system_limit"));
        }
        let label = format!("{module}:{function}/{arity}");
        let process = Process::new(self.clone(), label, Some(group_leader));
        {
            let entry = process.entry();
            if !connection.involve(&entry.pid) {
                return; // the connection is gone, and with it everybody who would want the answer
            }
            let mut state = entry.state.lock();
            if options.link {
                let link = Link { active: true, unlink_id: 0, connection: Some(connection.clone()) };
                state.links.insert(parent.clone(), link);
            }
            if options.monitor {
                let wire = ProcRef::Pid(entry.pid.clone());
                let watcher = Watcher { pid: parent.clone(), wire, connection: Some(connection.clone()) };
                state.watchers.insert(reference.clone(), watcher);
            }
        }
        let reply = Control::SpawnReply {
            reference,
            to: parent,
            link: options.link,
            monitor: options.monitor,
            result: Ok(process.pid().clone()),
        };
        connection.signal_by(process.pid(), &reply);
        let args = args.map_or_else(|| Ok(Term::NIL), |args| args.term());
        let args = match args {
            Ok(Term::List(args)) => args.into_vec(),
            Ok(_) => return process.end(Exception::badarg().into_reason()),
            Err(error) => {
                tracing::warn!(peer = %connection.name, %module, %function, %error, "arguments cannot be read");
                return process.end(Exception::badarg().into_reason());
            }
        };
        match self.functions.get(&module, &function, arity) {
            Some(run) => self.run(process, move |process| run(process, args)),
            None => process.end(Exception::undef(&module, &function, args).into_reason()),
        }
    }

    /// Runs a process in a task of its own until it is done or ended. A panic of the body ends the
    /// process, not the node.
    pub(crate) fn run<F>(self: &Arc<Self>, mut process: Process, body: impl FnOnce(Process) -> F)
    where
        F: Future<Output = Reason> + Send + 'static,
    {
        process.outlive_handle();
        let entry = process.entry().clone();
        let core = self.clone();
        let body = AssertUnwindSafe(body(process)).catch_unwind();
        self.run_task(async move {
            let reason = tokio::select! {
                biased;
                () = entry.ended.cancelled() => return,
                reason = body => reason.unwrap_or_else(|panic| {
                    let text = panic_text(&*panic);
                    tracing::error!(pid = %entry.pid, label = %entry.label, panic = text, "process panicked");
                    Reason::from_term(&Term::Tuple(vec![Term::Atom(crate::atom!("panic")), Term::from(text)]))
                }),
            };
            core.end(entry, reason);
        });
    }

    /// The answer to a spawn request of a process of this node.
    pub(crate) fn spawn_reply_in(
        &self,
        reference: &Ref,
        to: &Pid,
        link: bool,
        monitor: bool,
        result: Result<Pid, Atom>,
        connection: &Arc<Connection>,
    ) {
        let entry = self.table.by_pid(to);
        let pending = entry.as_ref().and_then(|entry| entry.state.lock().spawns.remove(reference));
        let (Some(entry), Some(_)) = (entry, pending) else {
            // Nobody waits any more: what the peer has set up for us is undone.
            if let Ok(child) = result {
                if link {
                    let control = Control::Exit { from: to.clone(), to: child.clone() };
                    connection.signal_with(to, &control, Reason::noproc().payload());
                }
                if monitor {
                    let target = ProcRef::Pid(child);
                    connection.signal(&Control::Demonitor { from: to.clone(), target, reference: reference.clone() });
                }
            }
            return;
        };
        if let Ok(child) = &result {
            let mut state = entry.state.lock();
            if link {
                let link = Link { active: true, unlink_id: 0, connection: Some(connection.clone()) };
                state.links.insert(child.clone(), link);
            }
            if monitor {
                let object = super::message::Target::Pid(child.clone());
                let wire = ProcRef::Pid(child.clone());
                let monitor = Monitor { object, wire, connection: Some(connection.clone()) };
                state.monitors.insert(reference.clone(), monitor);
            }
        }
        entry.push(Message::Spawned { reference: reference.clone(), result });
    }

    /// Asks another node to spawn; the answer comes as a message.
    pub(crate) async fn spawn_out(
        self: &Arc<Self>,
        process: &Process,
        node: &NodeName,
        call: (Atom, Atom, Vec<Term>),
        link: bool,
        monitor: bool,
    ) -> Result<Ref, SendError> {
        let (module, function, args) = call;
        let connection = match self.peers.get(node.as_atom()) {
            Some(connection) => connection,
            None => self.connect(&DialTarget::from(node.clone())).await?,
        };
        let arity = u8::try_from(args.len()).map_err(|_| SendError::TooManyArguments(args.len()))?;
        let reference = self.table.reference();
        let entry = process.entry();
        if !connection.flags.contains(Flags::SPAWN) {
            entry.push(Message::Spawned { reference: reference.clone(), result: Err(crate::atom!("notsup")) });
            return Ok(reference);
        }
        let control = Control::SpawnRequest {
            reference: reference.clone(),
            parent: entry.pid.clone(),
            group_leader: process.group_leader().unwrap_or_else(|| self.default_group_leader(&entry.pid)),
            module,
            function,
            arity,
            options: SpawnOptions { link, monitor, bad: None },
        };
        let args = Term::from(args);
        let outgoing = Outgoing::with_payload(&control, connection.flags, |encoder| args.encode(encoder))?;
        {
            let pending = PendingSpawn { connection: connection.clone() };
            entry.state.lock().spawns.insert(reference.clone(), pending);
        }
        if !connection.involve(&entry.pid) {
            entry.state.lock().spawns.remove(&reference);
            return Err(SendError::ConnectionLost(node.clone()));
        }
        connection.channel.send(outgoing).await.map_err(|_| SendError::ConnectionLost(node.clone()))?;
        Ok(reference)
    }

    /// Who gets what is printed for a process without a group leader: `user`, or the process itself.
    pub(crate) fn default_group_leader(&self, pid: &Pid) -> Pid {
        self.table.by_name(&crate::atom!("user")).map_or_else(|| pid.clone(), |user| user.pid.clone())
    }
}

/// What a panic says, where it says something.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
