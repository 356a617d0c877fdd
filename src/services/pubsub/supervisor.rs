//! Keeps a PubSub together: starts its workers, and starts again whatever somebody ends, as a supervisor does.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::registry::Delivery;
use super::subscription::Broadcast;
use super::wire::Received;
use super::{PubSubError, SCOPE, Shared};
use crate::atom;
use crate::etf::{Atom, Payload, Pid, Ref, Term};
use crate::node::{Message, Process, Reason, Target};
use crate::services::gen_server::ReplyTo;
use crate::services::serve::Named;
use crate::services::server::{Answer, GenServer, Next};

/// What handles want of the supervisor.
pub(super) enum Command {
    /// Forget the subscriptions of this process when it ends.
    Watch(Pid),
    Stop(oneshot::Sender<()>),
}

pub(super) struct Supervisor {
    shared: Arc<Shared>,
    groups: Vec<Atom>,
    /// In the order of the groups.
    workers: Vec<Pid>,
    scope_watch: Option<Ref>,
}

impl Supervisor {
    pub(super) fn new(shared: Arc<Shared>, groups: Vec<Atom>) -> Self {
        Self { shared, groups, workers: Vec::new(), scope_watch: None }
    }

    pub(super) async fn run(
        mut self,
        mut process: Process,
        mut commands: mpsc::UnboundedReceiver<Command>,
        ready: oneshot::Sender<Result<(), PubSubError>>,
    ) -> Reason {
        process.trap_exits(true);
        if let Err(error) = self.begin(&process).await {
            let _ = ready.send(Err(error));
            return Reason::shutdown();
        }
        let _ = ready.send(Ok(()));
        loop {
            let next = tokio::select! {
                message = process.recv() => match message {
                    Ok(message) => self.message(message, &process).await,
                    Err(ended) => return ended.reason,
                },
                Some(command) = commands.recv() => match command {
                    Command::Watch(pid) => {
                        process.monitor_connected(&pid);
                        Ok(())
                    }
                    Command::Stop(done) => {
                        for worker in &self.workers {
                            process.node().exit(worker, &Reason::shutdown());
                        }
                        self.shared.registry.close();
                        let _ = done.send(());
                        return Reason::shutdown();
                    }
                },
            };
            match next {
                Ok(()) => {}
                // Whoever ended it is about to do so again, or is about to be told.
                Err(PubSubError::Join(error)) => tracing::warn!(%error, "pubsub: a worker is in no group for now"),
                Err(error) => {
                    tracing::error!(%error, "pubsub: stops, as a part of it cannot be started again");
                    return Reason::shutdown();
                }
            }
        }
    }

    async fn begin(&mut self, process: &Process) -> Result<(), PubSubError> {
        for group in self.groups.clone() {
            let worker = self.start_worker(group, process).await?;
            self.workers.push(worker);
        }
        self.join_scope(process).await
    }

    async fn start_worker(&self, group: Atom, process: &Process) -> Result<Pid, PubSubError> {
        let pid = process.node().install(Named(group, Worker { shared: self.shared.clone() }))?;
        process.link(&pid).await;
        Ok(pid)
    }

    /// Joins all groups in the scope as it is now.
    async fn join_scope(&mut self, process: &Process) -> Result<(), PubSubError> {
        let scope = process.node().pg(SCOPE)?;
        self.scope_watch = Some(process.monitor_connected(scope.pid()));
        *self.shared.scope.write() = scope.clone();
        for (group, worker) in self.groups.iter().zip(&self.workers) {
            scope.join(group.clone(), worker).await?;
        }
        Ok(())
    }

    async fn message(&mut self, message: Message, process: &Process) -> Result<(), PubSubError> {
        match message {
            Message::Exit { from, reason } => {
                let Some(at) = self.workers.iter().position(|worker| *worker == from) else {
                    tracing::debug!(%from, %reason, "pubsub: an exit from somebody who is no worker");
                    return Ok(());
                };
                let Some(group) = self.groups.get(at).cloned() else { return Ok(()) };
                tracing::error!(%group, %reason, "pubsub: a worker was ended, and is started again");
                let worker = self.start_worker(group.clone(), process).await?;
                if let Some(place) = self.workers.get_mut(at) {
                    *place = worker.clone();
                }
                let scope = self.shared.scope.read().clone();
                Ok(scope.join(group, &worker).await?)
            }
            Message::Down { reference, reason, .. } if self.scope_watch.as_ref() == Some(&reference) => {
                tracing::error!(%reason, scope = SCOPE, "pubsub: the scope was ended, and is started again");
                self.join_scope(process).await
            }
            Message::Down { object: Target::Pid(pid), .. } => {
                self.shared.registry.forget(&pid);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.registry.close();
    }
}

/// Gets what other nodes broadcast.
struct Worker {
    shared: Arc<Shared>,
}

impl GenServer for Worker {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, _: Payload, from: ReplyTo, process: &mut Process) -> Answer<Term> {
        tracing::debug!(pid = %process.pid(), from = %from.pid(), "pubsub: a call that nobody answers");
        Answer::Later
    }

    async fn handle_info(&mut self, message: Message, process: &mut Process) -> Next {
        let Message::Sent(payload) = message else { return Next::Continue };
        let received = Received::read(&payload).and_then(|received| {
            let Some(subscribers) = self.shared.registry.subscribers(received.topic) else { return Ok(()) };
            let (message, dispatcher) = received.message()?;
            let broadcast = Broadcast::new(message, dispatcher);
            Delivery { broadcast: &broadcast, but: None }.to(&subscribers, process);
            Ok(())
        });
        if let Err(error) = received {
            // As the adapter does.
            tracing::debug!(pid = %process.pid(), %error, "pubsub: a message that is no broadcast");
        }
        Next::Continue
    }

    fn module(&self) -> Atom {
        atom!("Elixir.Phoenix.PubSub.PG2Worker")
    }
}
