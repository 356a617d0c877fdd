//! Sending: the sender encodes, and queues what it encoded for the writer of the connection.
//!
//! A task that only sends lets others run now and then (`consume_budget`), as every task of tokio that waits for
//! something does: the receiver, or the writer. What is rare has its future in a box, so that a send is a small one.

use std::cell::Cell;
use std::sync::Arc;

use serde::Serialize;

use super::connection::Connection;
use super::core::Core;
use super::error::SendError;
use super::mailbox::wake;
use super::message::{IntoTarget, Target, TargetRef};
use super::reason::Reason;
use crate::etf::{self, Atom, Payload, Pid};
use crate::net::channel::Refusal;
use crate::proto::{Address, Control, ExitTarget, Flags, NodeName, Outgoing};

thread_local! {
    /// What the last message of this thread was made in.
    static SCRATCH: Cell<Option<Box<Outgoing>>> = const { Cell::new(None) };
}

/// A larger buffer is not kept for the next message.
const KEPT_ROOM: usize = 16 << 10;

/// What is to be sent.
pub(crate) trait Content {
    /// As a process of this node gets it.
    fn payload(&self) -> Result<Payload, SendError>;

    /// As it goes to another node.
    fn make(&self, outgoing: &mut Outgoing, from: &Pid, to: Address<'_>, flags: Flags) -> Result<(), SendError>;
}

/// A value of a Rust type.
pub(crate) struct Typed<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Content for Typed<'_, T> {
    #[inline]
    fn payload(&self) -> Result<Payload, SendError> {
        Ok(etf::to_payload(self.0)?)
    }

    #[inline]
    fn make(&self, outgoing: &mut Outgoing, from: &Pid, to: Address<'_>, flags: Flags) -> Result<(), SendError> {
        Ok(outgoing.make(from, to, flags, |encoder| etf::serialize_into(self.0, encoder))?)
    }
}

/// A term that is encoded already.
pub(crate) struct Encoded<'a>(pub(crate) &'a Payload);

impl Content for Encoded<'_> {
    #[inline]
    fn payload(&self) -> Result<Payload, SendError> {
        Ok(self.0.clone())
    }

    fn make(&self, outgoing: &mut Outgoing, from: &Pid, to: Address<'_>, flags: Flags) -> Result<(), SendError> {
        Ok(outgoing.make_of(from, to, flags, self.0)?)
    }
}

#[expect(clippy::manual_async_fn, reason = "an async function would have what it is given in its future twice")]
pub(crate) fn send(
    core: &Arc<Core>,
    from: &Pid,
    to: impl IntoTarget,
    content: impl Content,
) -> impl Future<Output = Result<(), SendError>> {
    async move {
        tokio::task::coop::consume_budget().await;
        let late = match first_try(core, from, to, &content) {
            Ok(Late::Never) => return Ok(()),
            Err(error) => return Err(error),
            Ok(late) => late,
        };
        match late {
            Late::Never => Ok(()),
            Late::Busy(connection, outgoing) => Box::pin(wait(connection, outgoing)).await,
            Late::Connect(target) => Box::pin(connect_and_send(core, from, target, content)).await,
        }
    }
}

pub(crate) fn try_send(core: &Core, from: &Pid, to: impl IntoTarget, content: impl Content) -> Result<(), SendError> {
    match first_try(core, from, to, &content)? {
        Late::Never => Ok(()),
        Late::Busy(connection, _) => Err(SendError::Busy(connection.name.clone())),
        Late::Connect(target) => Err(match core.home(target.borrowed()).map(node_name) {
            Some(Ok(node)) => SendError::NoConnection(node),
            Some(Err(error)) => error,
            None => SendError::NoConnection(core.name.clone()),
        }),
    }
}

/// What is still to be done for a message.
enum Late {
    Never,
    /// Too much is queued; here it is again.
    Busy(Arc<Connection>, Box<Outgoing>),
    Connect(Box<Target>),
}

#[inline]
fn first_try(core: &Core, from: &Pid, to: impl IntoTarget, content: &impl Content) -> Result<Late, SendError> {
    let target = match to.borrowed() {
        Some(target) => match begin(core, from, target, content)? {
            Some(late) => return Ok(late),
            None => to.into_target()?,
        },
        None => {
            let target = to.into_target()?;
            match begin(core, from, target.borrowed(), content)? {
                Some(late) => return Ok(late),
                None => target,
            }
        }
    };
    Ok(Late::Connect(Box::new(target)))
}

/// Delivers a message, or queues it for a connection; `None` where there is none.
#[inline]
fn begin(core: &Core, from: &Pid, target: TargetRef<'_>, content: &impl Content) -> Result<Option<Late>, SendError> {
    let to = address(target);
    let Some(node) = core.home(target) else {
        deliver(core, to, content.payload()?);
        return Ok(Some(Late::Never));
    };
    let Some(connection) = core.peers.get(node) else { return Ok(None) };
    Ok(Some(match offer(&connection, from, to, content)? {
        None => Late::Never,
        Some(outgoing) => Late::Busy(connection, outgoing),
    }))
}

/// Makes a message, in buffers of this thread that serve again, and queues it. Here it is again where too much is
/// queued.
#[inline]
fn offer(
    connection: &Connection,
    from: &Pid,
    to: Address<'_>,
    content: &impl Content,
) -> Result<Option<Box<Outgoing>>, SendError> {
    let mut outgoing = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    content.make(&mut outgoing, from, to, connection.flags)?;
    match connection.channel.offer(&mut outgoing) {
        Ok(()) => {
            if outgoing.room() <= KEPT_ROOM {
                // A thread that ends has no more use for it.
                let _ = SCRATCH.try_with(|scratch| scratch.set(Some(outgoing)));
            }
            Ok(None)
        }
        // With it goes what it holds on to.
        Err(Refusal::Closed) => Err(lost(connection)),
        Err(Refusal::Busy) => Ok(Some(outgoing)),
    }
}

/// Connects to the node of the target first.
async fn connect_and_send(
    core: &Arc<Core>,
    from: &Pid,
    target: Box<Target>,
    content: impl Content,
) -> Result<(), SendError> {
    let connection = core.connection_for(&target).await?;
    match offer(&connection, from, address(target.borrowed()), &content)? {
        None => Ok(()),
        Some(outgoing) => wait(connection, outgoing).await,
    }
}

fn address(target: TargetRef<'_>) -> Address<'_> {
    match target {
        TargetRef::Pid(pid) => Address::Pid(pid),
        TargetRef::Alias(alias) => Address::Alias(alias),
        TargetRef::Name(name) | TargetRef::NameOn(name, _) => Address::Name(name),
    }
}

pub(crate) async fn exit2(core: &Arc<Core>, from: &Pid, to: &Pid, reason: &Reason) -> Result<(), SendError> {
    let target = Target::Pid(to.clone());
    if core.home(target.borrowed()).is_none() {
        if let Some(entry) = core.table.by_pid(to) {
            core.exit2(from, &entry, reason);
        }
        return Ok(());
    }
    let connection = core.connection_for(&target).await?;
    let control = Control::Exit2 { from: from.clone(), to: ExitTarget::Pid(to.clone()) };
    connection.signal_with(from, &control, reason.payload());
    Ok(())
}

/// The name of a node that a pid or an alias names.
///
/// # Errors
/// When no node can have it.
pub(crate) fn node_name(node: &Atom) -> Result<NodeName, SendError> {
    NodeName::try_from(node).map_err(|error| SendError::Target(error.into()))
}

/// Queues a message when there is room for it again.
async fn wait(connection: Arc<Connection>, outgoing: Box<Outgoing>) -> Result<(), SendError> {
    connection.channel.send(*outgoing).await.map_err(|_| lost(&connection))
}

fn lost(connection: &Connection) -> SendError {
    SendError::ConnectionLost(connection.name.clone())
}

/// Puts a message into the mailbox of a process of this node; one for nobody vanishes, as in Erlang.
#[inline]
fn deliver(core: &Core, to: Address<'_>, payload: Payload) {
    let found = match to {
        Address::Pid(pid) => core.table.send_to_own(pid, payload),
        Address::Name(name) => core.table.by_name(name).map(|entry| entry.mailbox.push_sent(payload)),
        Address::Alias(alias) => core.table.by_alias(alias).map(|entry| entry.mailbox.push_sent(payload)),
    };
    match found {
        Some(waiting) => wake(waiting),
        None => tracing::trace!(?to, "a message for nobody"),
    }
}
