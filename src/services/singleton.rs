//! Singletons: something that runs on one node of the cluster, and moves when that node is lost. Built
//! on names of `global`, so that it competes with whoever registers the name: other gussets, a GenServer
//! under `{:global, name}`, wrappers such as Elixir's Individual.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::children::{self, ChildKind};
use super::gen_server::ReplyTo;
use super::global::{Global, spawn_later};
use super::serve::Serving;
use super::server::{Answer, GenServer};
use crate::etf::{Pid, Term};
use crate::node::{Ended, Message, Node, Process, Reason};

/// A part in a singleton: this node's readiness to run it. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Singleton {
    name: Term,
    state: watch::Receiver<Leadership>,
    stop: CancellationToken,
}

/// Who runs a singleton, as seen from one node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leadership {
    /// This node, in this process.
    Leading(Pid),
    /// Another node, in this process; `None` while nobody does, or that is being found out.
    Standby(Option<Pid>),
    /// This node takes no part any more: it was stopped, or what it ran has come to its end.
    Ended,
}

impl Leadership {
    /// True where this node runs it.
    pub fn is_leading(&self) -> bool {
        matches!(self, Self::Leading(_))
    }

    /// The process that runs it.
    pub fn leader(&self) -> Option<&Pid> {
        match self {
            Self::Leading(pid) => Some(pid),
            Self::Standby(pid) => pid.as_ref(),
            Self::Ended => None,
        }
    }
}

impl Singleton {
    /// Its name in `global`.
    pub fn name(&self) -> &Term {
        &self.name
    }

    /// Who runs it now.
    pub fn state(&self) -> Leadership {
        self.state.borrow().clone()
    }

    /// Who runs it now, and from now on whenever that changes. What changes faster than it is read is
    /// left out; the latest is always there.
    pub fn states(&self) -> impl Stream<Item = Leadership> + Send + Unpin + use<> {
        let mut receiver = self.state.clone();
        receiver.mark_changed();
        Box::pin(stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let state = receiver.borrow_and_update().clone();
            Some((state, receiver))
        }))
    }

    /// Returns as soon as the state is one that `wanted` takes, with that state; [`Leadership::Ended`] when
    /// no other comes any more.
    pub async fn wait_for(&self, wanted: impl FnMut(&Leadership) -> bool) -> Leadership {
        self.state.clone().wait_for(wanted).await.map_or(Leadership::Ended, |state| state.clone())
    }

    /// Gives up this node's part, and the lead where it has it; returns when that is done.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.wait_for(|state| *state == Leadership::Ended).await;
    }
}

impl Global {
    /// Runs something on exactly one node of those that say so under the same name, and on another one
    /// when that node, or the process there, is lost. What runs does so in a process that has the name in
    /// `global`; it is stopped at its next await when the lead is lost.
    ///
    /// - When the future returns, the node gives up its part ([`Leadership::Ended`]); others go on.
    /// - When it panics, it is run again after a second, here or elsewhere, whoever is first.
    /// - While the cluster is in two parts each part has one. When they meet, `global` ends the one on
    ///   the node with the greater name (`global:random_exit_name/3`), and that node stands by.
    ///
    /// Any other process that has the name counts as well: a GenServer under `{:global, name}` that was
    /// there first is waited for.
    ///
    /// ```no_run
    /// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// # async fn work() {}
    /// use gusset::atom;
    ///
    /// let global = node.global().ok_or("a hidden node has no part in global")?;
    /// let leader = global.singleton(atom!("leader"), || async {
    ///     loop {
    ///         work().await;
    ///     }
    /// });
    /// leader.wait_for(|state| state.is_leading()).await;
    /// # Ok(()) }
    /// ```
    pub fn singleton<F, R>(&self, name: impl Into<Term>, mut body: F) -> Singleton
    where
        F: FnMut() -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.campaign(name.into(), move || {
            let running = body();
            Box::new(|process, name| {
                let entered = children::enter(&process, name, ChildKind::Worker, Bare.module());
                let serving = Serving::new(process, Bare).leading();
                Box::pin(async move {
                    let _entered = entered;
                    tokio::select! {
                        biased;
                        () = running => Reason::normal(),
                        reason = serving.run() => reason,
                    }
                })
            })
        })
    }

    /// [`singleton`](Self::singleton) with a server: `GenServer.call({:global, name}, …)` reaches it,
    /// wherever it runs. One that stops with `normal` gives up this node's part.
    pub fn singleton_server<F, S>(&self, name: impl Into<Term>, mut make: F) -> Singleton
    where
        F: FnMut() -> S + Send + 'static,
        S: GenServer,
    {
        self.campaign(name.into(), move || {
            let server = make();
            Box::new(|process, name| {
                let entered = children::enter(&process, name, ChildKind::Worker, server.module());
                Box::pin(async move {
                    let _entered = entered;
                    Serving::new(process, server).finishing().leading().run().await
                })
            })
        })
    }

    fn campaign(&self, name: Term, make: impl FnMut() -> Launch + Send + 'static) -> Singleton {
        let (tell, state) = watch::channel(Leadership::Standby(None));
        let stop = CancellationToken::new();
        let campaign = Campaign {
            global: self.clone(),
            node: self.node().clone(),
            name: name.clone(),
            make: Box::new(make),
            tell,
            stop: stop.clone(),
        };
        self.node().spawn_task(campaign.run());
        Singleton { name, state, stop }
    }
}

/// What answers for a singleton that is no server: it knows no request but those of `sys` and of
/// whoever settles conflicts.
struct Bare;

impl GenServer for Bare {
    type Call = Nothing;
    type Cast = Nothing;
    type Reply = ();

    async fn handle_call(&mut self, request: Nothing, _: ReplyTo, _: &mut Process) -> Answer<()> {
        match request {}
    }
}

/// No request at all.
#[derive(serde::Deserialize)]
enum Nothing {}

/// Runs the body of a singleton, made just now, in its process and under its name.
type Launch = Box<dyn FnOnce(Process, Term) -> BoxFuture<'static, Reason> + Send>;

struct Campaign {
    global: Global,
    node: Node,
    name: Term,
    make: Box<dyn FnMut() -> Launch + Send>,
    tell: watch::Sender<Leadership>,
    stop: CancellationToken,
}

/// How a lead ended.
enum Lost {
    /// This node takes no part any more.
    ForGood,
    /// The process has ended; it may be started again after a pause.
    Process,
    /// Somebody else has the name.
    Name,
}

impl Campaign {
    async fn run(mut self) {
        let (node, stop) = (self.node.clone(), self.stop.clone());
        // Names that are on their way spare everybody a conflict.
        let first = async {
            if let Err(error) = self.global.sync(FIRST_SYNC).await {
                tracing::info!(name = %self.name, %error, "singleton: goes on");
            }
        };
        tokio::select! {
            () = first => {}
            () = stop.cancelled() => {}
        }
        tokio::select! {
            biased;
            // The node ends the process, after it has let a server clean up.
            () = node.shutting_down() => {}
            () = self.stand() => {}
        }
        tracing::info!(name = %self.name, "singleton: this node takes no part any more");
        self.tell.send_replace(Leadership::Ended);
    }

    async fn stand(&mut self) {
        let mut changes = self.global.changes();
        while !self.stop.is_cancelled() {
            changes.mark_unchanged();
            if let Some(leader) = self.global.whereis(&self.name) {
                self.tell(Leadership::Standby(Some(leader)));
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = self.stop.cancelled() => {}
                }
                continue;
            }
            match self.try_lead(&mut changes).await {
                Some(Lost::ForGood) => return,
                Some(Lost::Process) => {
                    self.tell(Leadership::Standby(None));
                    tokio::select! {
                        () = tokio::time::sleep(RESTART_PAUSE) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
                Some(Lost::Name) => self.tell(Leadership::Standby(self.global.whereis(&self.name))),
                None => {}
            }
        }
    }

    /// Takes the name, and leads as long as it can; `None` when somebody else was faster.
    async fn try_lead(&mut self, changes: &mut watch::Receiver<u64>) -> Option<Lost> {
        // There first, as only a process that lives can have a name.
        let (pid, go) = spawn_later(&self.node, &format!("singleton {}", self.name));
        let mut watcher = self.node.process_labelled("singleton: watcher");
        let Ok(monitor) = watcher.monitor(&pid).await else { return Some(Lost::ForGood) };
        match self.global.register(self.name.clone(), &pid).await {
            Ok(true) => {}
            // Dropping `go` ends the process.
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!(name = %self.name, %error, "singleton: cannot stand for the lead");
                return Some(Lost::Process);
            }
        }
        let Ok(launch) = std::panic::catch_unwind(AssertUnwindSafe(&mut self.make)) else {
            tracing::error!(name = %self.name, "singleton: what it runs panicked while it was made");
            return Some(Lost::Process);
        };
        self.tell(Leadership::Leading(pid.clone()));
        let name = self.name.clone();
        let _ = go.send(Box::new(move |process| launch(process, name)));
        loop {
            let ended = watcher.recv_match(|message| match message {
                Message::Down { reference, reason, .. } if *reference == monitor => Some(reason.clone()),
                _ => None,
            });
            tokio::select! {
                biased;
                ended = ended => {
                    let reason = ended.unwrap_or_else(|Ended { reason }| reason);
                    tracing::info!(name = %self.name, %pid, %reason, "singleton: the process has ended");
                    return Some(if reason.is("normal") { Lost::ForGood } else { Lost::Process });
                }
                () = self.stop.cancelled() => {
                    if let Err(error) = self.node.stop_server(&pid, Reason::shutdown(), STOP_TIMEOUT).await {
                        tracing::warn!(name = %self.name, %pid, %error, "singleton: does not stop; is ended");
                        self.node.exit(&pid, &Reason::kill());
                    }
                    return Some(Lost::ForGood);
                }
                changed = changes.changed() => {
                    let holder = self.global.whereis(&self.name);
                    if holder.as_ref() != Some(&pid) && self.node.is_alive(&pid) {
                        tracing::warn!(name = %self.name, %pid, ?holder, "singleton: the name was taken away");
                        self.node.exit(&pid, &Reason::kill());
                        return Some(Lost::Name);
                    }
                    if changed.is_err() {
                        return Some(Lost::ForGood);
                    }
                }
            }
        }
    }

    fn tell(&self, state: Leadership) {
        self.tell.send_if_modified(|known| {
            let is_new = *known != state;
            if is_new {
                tracing::info!(name = %self.name, ?state, "singleton");
                *known = state;
            }
            is_new
        });
    }
}

/// How long a singleton waits for names of nodes that are connected already before it stands the first
/// time. A session of two nodes takes a second or two.
const FIRST_SYNC: Duration = Duration::from_secs(5);
/// How long a process that has ended by itself is not run again here: others get the chance, and one
/// that fails again and again does not keep `global` busy.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a server that leads may take to clean up when this node gives up its part.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
