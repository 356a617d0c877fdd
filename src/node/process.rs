//! A process: a pid, a mailbox, and what a process may do.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;

use super::core::Core;
use super::error::{Ended, RegisterError, SendError};
use super::mailbox::Inbox;
use super::message::{IntoTarget, Message, Target};
use super::reason::Reason;
use super::send::{Encoded, Typed};
use super::table::Entry;
use super::{Node, send};
use crate::etf::{Atom, Payload, Pid, Ref};
use crate::proto::ProcRef;

/// A process of this node: it owns its mailbox, and ends when it is dropped.
///
/// Made by [`Node::process`], [`Node::register`] and [`Node::spawn`]. Messages come in the order in
/// which each sender sent them. A process that somebody ends (a link breaks, `exit/2`) gets
/// [`Ended`] from its mailbox; one that traps exits gets [`Message::Exit`] instead.
pub struct Process {
    core: Arc<Core>,
    entry: Arc<Entry>,
    inbox: Inbox,
    /// Messages that a selective receive has passed over.
    kept: VecDeque<Message>,
    /// False where a task ends the process with the reason that its body gives.
    ends_with_handle: bool,
}

impl Process {
    pub(crate) fn new(core: Arc<Core>, label: impl Into<Box<str>>, group_leader: Option<Pid>) -> Self {
        let entry = core.table.insert(label, group_leader);
        Self { core, entry, inbox: Inbox::default(), kept: VecDeque::new(), ends_with_handle: true }
    }

    /// Its pid.
    pub fn pid(&self) -> &Pid {
        &self.entry.pid
    }

    /// The node it lives on.
    pub fn node(&self) -> Node {
        Node::from_core(self.core.clone())
    }

    /// From now on dropping the handle does not end the process: its task does.
    pub(crate) fn outlive_handle(&mut self) {
        self.ends_with_handle = false;
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The next message, oldest first.
    ///
    /// # Errors
    /// When the process has been ended by a signal.
    pub async fn recv(&mut self) -> Result<Message, Ended> {
        poll_fn(|context| match self.kept.pop_front() {
            Some(message) => Poll::Ready(Ok(message)),
            None => self.poll_next(context),
        })
        .await
    }

    /// The next message, if one comes in time.
    ///
    /// # Errors
    /// When the process has been ended by a signal.
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, Ended> {
        match tokio::time::timeout(timeout, self.recv()).await {
            Ok(message) => message.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The next message, if one is there.
    ///
    /// # Errors
    /// When the process has been ended by a signal.
    pub fn try_recv(&mut self) -> Result<Option<Message>, Ended> {
        if let Some(message) = self.kept.pop_front() {
            return Ok(Some(message));
        }
        if self.entry.is_told() {
            return Err(self.ended());
        }
        Ok(self.inbox.try_pop(&self.entry.mailbox).map(Into::into))
    }

    /// Selective receive: the first message for which `select` gives something. The others stay, in
    /// order, for later.
    ///
    /// # Errors
    /// When the process has been ended by a signal.
    pub async fn recv_match<T>(&mut self, mut select: impl FnMut(&Message) -> Option<T>) -> Result<T, Ended> {
        let found = self.kept.iter().enumerate().find_map(|(at, message)| Some((at, select(message)?)));
        if let Some((at, value)) = found {
            self.kept.remove(at);
            return Ok(value);
        }
        loop {
            let message = self.next().await?;
            match select(&message) {
                Some(value) => return Ok(value),
                None => self.kept.push_back(message),
            }
        }
    }

    async fn next(&mut self) -> Result<Message, Ended> {
        poll_fn(|context| self.poll_next(context)).await
    }

    #[inline]
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        if self.entry.is_told() {
            return Poll::Ready(Err(self.ended()));
        }
        match ready!(self.inbox.poll(&self.entry.mailbox, context)) {
            Some(mail) => Poll::Ready(Ok(mail.into())),
            None => Poll::Ready(Err(self.ended())),
        }
    }

    fn ended(&self) -> Ended {
        Ended { reason: self.entry.state.lock().exit.clone().unwrap_or_else(Reason::normal) }
    }

    /// How many messages wait.
    pub fn queue_len(&self) -> usize {
        self.kept.len() + self.entry.mailbox.len()
    }

    /// Sends a message; connects to the node of the target where needed, and waits while more is
    /// queued for it than [`NodeConfig::busy_limit`](super::NodeConfig::busy_limit).
    ///
    /// # Errors
    /// When there is no way to the node of the target. A target that does not exist is no error: as
    /// in Erlang, only a monitor tells.
    pub fn send<T: Serialize + ?Sized>(
        &self,
        to: impl IntoTarget,
        message: &T,
    ) -> impl Future<Output = Result<(), SendError>> {
        send::send(&self.core, &self.entry.pid, to, Typed(message))
    }

    /// Sends a message if that can be done at once.
    ///
    /// # Errors
    /// As [`send`](Self::send); also when the node of the target is not connected, or the queue for
    /// it is full.
    pub fn try_send<T: Serialize + ?Sized>(&self, to: impl IntoTarget, message: &T) -> Result<(), SendError> {
        send::try_send(&self.core, &self.entry.pid, to, Typed(message))
    }

    /// Sends on what has been received, without looking into it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn forward(&self, to: impl IntoTarget, payload: &Payload) -> impl Future<Output = Result<(), SendError>> {
        send::send(&self.core, &self.entry.pid, to, Encoded(payload))
    }

    /// Sends on what has been received, if that can be done at once.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn try_forward(&self, to: impl IntoTarget, payload: &Payload) -> Result<(), SendError> {
        send::try_send(&self.core, &self.entry.pid, to, Encoded(payload))
    }

    /// Registers a name for this process.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn register(&self, name: &str) -> Result<(), RegisterError> {
        let name = Atom::new(name)?;
        if self.core.table.register(name.clone(), &self.entry) { Ok(()) } else { Err(RegisterError::Taken(name)) }
    }

    /// With true, exits of linked processes arrive as messages instead of ending this one. Returns
    /// what was set before.
    pub fn trap_exits(&self, trap: bool) -> bool {
        self.entry.trap_exit.swap(trap, Ordering::AcqRel)
    }

    /// Links this process with another: when one ends, the other gets an exit signal. Where there is
    /// no such process, or no way to its node, the signal comes at once (`noproc`, `noconnection`).
    pub async fn link(&self, to: &Pid) {
        if self.core.table.is_own(to) || to.node == *self.core.name.as_atom() {
            return self.core.link_local(&self.entry, to);
        }
        match self.core.connection_for(&Target::Pid(to.clone())).await {
            Ok(connection) => self.core.link_remote(&self.entry, to, &connection),
            Err(_) => self.core.exit2(to, &self.entry, &Reason::noconnection()),
        }
    }

    /// Takes the link away; afterwards no exit of that process arrives any more.
    pub fn unlink(&self, from: &Pid) {
        self.core.unlink(&self.entry, from);
    }

    /// Watches a process: when it ends, [`Message::Down`] with the returned reference comes, once.
    /// Where there is no such process, or no way to its node, it comes at once (`noproc`,
    /// `noconnection`).
    ///
    /// # Errors
    /// When text in the target cannot be a name.
    pub async fn monitor(&self, what: impl IntoTarget) -> Result<Ref, SendError> {
        let object = what.into_target()?;
        let reference = self.core.table.reference();
        self.monitor_as(object, &reference).await?;
        Ok(reference)
    }

    pub(crate) async fn monitor_as(&self, object: Target, reference: &Ref) -> Result<(), SendError> {
        let wire = match &object {
            Target::Pid(pid) => ProcRef::Pid(pid.clone()),
            Target::Name(name) | Target::NameOn(name, _) => ProcRef::Name(name.clone()),
            Target::Alias(alias) => match self.core.table.by_alias(alias) {
                Some(entry) => ProcRef::Pid(entry.pid.clone()),
                None => ProcRef::Pid(Pid { node: alias.node.clone(), id: 0, serial: 0, creation: alias.creation }),
            },
        };
        if self.core.home(object.borrowed()).is_none() {
            self.core.monitor_local(&self.entry, object, wire, reference);
            return Ok(());
        }
        let connection = self.core.connection_for(&object).await.ok();
        self.core.monitor_remote(&self.entry, object, wire, reference, connection.as_ref());
        Ok(())
    }

    /// Watches a process, as [`monitor`](Self::monitor) does, but connects to nobody: where its node is not connected
    /// `Down` comes at once.
    pub(crate) fn monitor_connected(&self, pid: &Pid) -> Ref {
        let reference = self.core.table.reference();
        let (object, wire) = (Target::Pid(pid.clone()), ProcRef::Pid(pid.clone()));
        if pid.node == *self.core.name.as_atom() {
            self.core.monitor_local(&self.entry, object, wire, &reference);
        } else {
            let connection = self.core.peers.get(&pid.node);
            self.core.monitor_remote(&self.entry, object, wire, &reference, connection.as_ref());
        }
        reference
    }

    /// Stops watching; a `Down` that is in the mailbox already stays there. False when nothing was
    /// watched under that reference any more.
    pub fn demonitor(&self, reference: &Ref) -> bool {
        self.core.demonitor(&self.entry, reference)
    }

    /// Stops watching, and takes a `Down` that is in the mailbox already out of it.
    pub fn demonitor_flush(&mut self, reference: &Ref) {
        if self.demonitor(reference) {
            return;
        }
        let mine = |message: &Message| matches!(message, Message::Down { reference: down, .. } if down == reference);
        while let Some(message) = self.inbox.try_pop(&self.entry.mailbox) {
            self.kept.push_back(message.into());
        }
        self.kept.retain(|message| !mine(message));
    }

    /// `exit/2`: an exit signal to another process. `kill` cannot be trapped.
    ///
    /// # Errors
    /// When there is no way to its node.
    pub async fn exit(&self, to: &Pid, reason: &Reason) -> Result<(), SendError> {
        send::exit2(&self.core, &self.entry.pid, to, reason).await
    }

    /// A reference that messages can be sent to until [`unalias`](Self::unalias); messages to an
    /// alias that is gone vanish, so that late answers do no harm.
    pub fn alias(&self) -> Ref {
        self.core.table.add_alias(&self.entry, false)
    }

    /// An alias for a single message.
    pub fn reply_alias(&self) -> Ref {
        self.core.table.add_alias(&self.entry, true)
    }

    /// A reference, as that of a monitor, becomes an alias for a single message (`monitor/3` with
    /// `{alias, reply_demonitor}`).
    pub(crate) fn alias_as(&self, reference: &Ref) {
        self.core.table.add_alias_as(&self.entry, reference, true);
    }

    /// Takes an alias away; false when it was gone.
    pub fn unalias(&self, alias: &Ref) -> bool {
        self.core.table.remove_alias(&self.entry, alias)
    }

    /// Tells one watcher, under its reference, that this process has ended, though it lives on: what a
    /// caller hears whose call cannot be answered. False when nobody watches so.
    pub(crate) fn dismiss_watcher(&self, watcher: &Pid, reference: &Ref, reason: &Reason) -> bool {
        self.core.dismiss_watcher(&self.entry, watcher, reference, reason)
    }

    /// When the node shuts down this process is left to end by itself, as long as
    /// [`NodeConfig::shutdown_timeout`](super::NodeConfig::shutdown_timeout) allows.
    pub(crate) fn finish_at_shutdown(&self) {
        self.entry.finishes.store(true, Ordering::Release);
    }

    /// From now on nodes that come and go are reported as [`Message::Node`], in their place among the
    /// messages of those nodes.
    pub fn monitor_nodes(&self) {
        self.core.subscribers.process(self.entry.clone());
    }

    /// The process that gets what this one prints; inherited by what it spawns.
    pub fn group_leader(&self) -> Option<Pid> {
        self.entry.state.lock().group_leader.clone()
    }

    /// The names that it is registered under.
    pub fn names(&self) -> Vec<Atom> {
        self.entry.state.lock().names.clone()
    }

    /// From now on what this process prints goes there (`group_leader/2`).
    pub fn set_group_leader(&self, leader: Pid) {
        self.entry.state.lock().group_leader = Some(leader);
    }

    /// Ends this process with a reason (dropping it is `normal`).
    pub fn end(self, reason: Reason) {
        self.core.end(self.entry.clone(), reason);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ends_with_handle {
            self.core.end(self.entry.clone(), Reason::normal());
        }
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Process({:?})", self.entry)
    }
}
