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
use super::message::{Message, Target};
use super::reason::Reason;
use crate::etf::{self, Atom, Payload, Pid};
use crate::net::channel::Refusal;
use crate::proto::{Address, Control, ExitTarget, NodeName, Outgoing};

thread_local! {
    /// What the last message of this thread was made in.
    static SCRATCH: Cell<Option<Box<Outgoing>>> = const { Cell::new(None) };
}

/// A larger buffer is not kept for the next message.
const KEPT_ROOM: usize = 16 << 10;

pub(crate) async fn send<T: Serialize + ?Sized>(
    core: &Arc<Core>,
    from: &Pid,
    to: Target,
    message: &T,
) -> Result<(), SendError> {
    tokio::task::coop::consume_budget().await;
    let connection = match core.home(&to).map(|node| core.peers.get(node)) {
        None => return deliver(core, &to, etf::to_payload(message)?),
        Some(Some(connection)) => connection,
        Some(None) => Box::pin(core.connection_for(&to)).await?,
    };
    let write = |outgoing: &mut Outgoing| {
        outgoing.make(from, address(&to), connection.flags, |encoder| etf::serialize_into(message, encoder))
    };
    match offer(&connection, write)? {
        Offered::Taken => Ok(()),
        Offered::Lost => Err(lost(&connection)),
        Offered::Busy(outgoing) => Box::pin(wait(connection, outgoing)).await,
    }
}

pub(crate) fn try_send<T: Serialize + ?Sized>(
    core: &Core,
    from: &Pid,
    to: &Target,
    message: &T,
) -> Result<(), SendError> {
    let Some(connection) = connected(core, to)? else {
        return deliver(core, to, etf::to_payload(message)?);
    };
    let made = offer(&connection, |outgoing| {
        outgoing.make(from, address(to), connection.flags, |encoder| etf::serialize_into(message, encoder))
    })?;
    refuse(&connection, made)
}

pub(crate) fn try_forward(core: &Core, from: &Pid, to: &Target, payload: &Payload) -> Result<(), SendError> {
    let Some(connection) = connected(core, to)? else {
        return deliver(core, to, payload.clone());
    };
    let made = offer(&connection, |outgoing| outgoing.make_of(from, address(to), connection.flags, payload))?;
    refuse(&connection, made)
}

pub(crate) async fn forward(core: &Arc<Core>, from: &Pid, to: Target, payload: &Payload) -> Result<(), SendError> {
    tokio::task::coop::consume_budget().await;
    let connection = match core.home(&to).map(|node| core.peers.get(node)) {
        None => return deliver(core, &to, payload.clone()),
        Some(Some(connection)) => connection,
        Some(None) => Box::pin(core.connection_for(&to)).await?,
    };
    match offer(&connection, |outgoing| outgoing.make_of(from, address(&to), connection.flags, payload))? {
        Offered::Taken => Ok(()),
        Offered::Lost => Err(lost(&connection)),
        Offered::Busy(outgoing) => Box::pin(wait(connection, outgoing)).await,
    }
}

pub(crate) async fn exit2(core: &Arc<Core>, from: &Pid, to: &Pid, reason: &Reason) -> Result<(), SendError> {
    let target = Target::Pid(to.clone());
    if core.home(&target).is_none() {
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

/// The connection to the node of a target, `None` where that is this node.
fn connected(core: &Core, to: &Target) -> Result<Option<Arc<Connection>>, SendError> {
    let Some(node) = core.home(to) else { return Ok(None) };
    match core.peers.get(node) {
        Some(connection) => Ok(Some(connection)),
        None => Err(SendError::NoConnection(node_name(node)?)),
    }
}

/// What became of a message that was offered to a connection.
enum Offered {
    Taken,
    /// Too much is queued; here it is again.
    Busy(Box<Outgoing>),
    Lost,
}

/// Makes a message and queues it, in buffers of this thread that serve again.
fn offer<E>(connection: &Connection, make: impl FnOnce(&mut Outgoing) -> Result<(), E>) -> Result<Offered, E> {
    let mut outgoing = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    make(&mut outgoing)?;
    match connection.channel.offer(&mut outgoing) {
        Ok(()) => {
            if outgoing.room() <= KEPT_ROOM {
                // A thread that ends has no more use for it.
                let _ = SCRATCH.try_with(|scratch| scratch.set(Some(outgoing)));
            }
            Ok(Offered::Taken)
        }
        // With it goes what it holds on to.
        Err(Refusal::Closed) => Ok(Offered::Lost),
        Err(Refusal::Busy) => Ok(Offered::Busy(outgoing)),
    }
}

/// Queues a message when there is room for it again.
async fn wait(connection: Arc<Connection>, outgoing: Box<Outgoing>) -> Result<(), SendError> {
    connection.channel.send(*outgoing).await.map_err(|_| lost(&connection))
}

fn lost(connection: &Connection) -> SendError {
    SendError::ConnectionLost(connection.name.clone())
}

fn refuse(connection: &Connection, offered: Offered) -> Result<(), SendError> {
    match offered {
        Offered::Taken => Ok(()),
        Offered::Lost => Err(lost(connection)),
        Offered::Busy(_) => Err(SendError::Busy(connection.name.clone())),
    }
}

fn address(to: &Target) -> Address<'_> {
    match to {
        Target::Pid(to) => Address::Pid(to),
        Target::Name(to) | Target::NameOn(to, _) => Address::Name(to),
        Target::Alias(to) => Address::Alias(to),
    }
}

/// Puts a message into the mailbox of a process of this node; one for nobody vanishes, as in Erlang.
fn deliver(core: &Core, to: &Target, payload: Payload) -> Result<(), SendError> {
    let entry = match to {
        Target::Pid(pid) => core.table.by_own_pid(pid),
        Target::Name(name) | Target::NameOn(name, _) => core.table.by_name(name),
        Target::Alias(alias) => core.table.by_alias(alias),
    };
    match entry {
        Some(entry) => {
            entry.push(Message::Sent(payload));
        }
        None => tracing::trace!(?to, "a message for nobody"),
    }
    Ok(())
}
