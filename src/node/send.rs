//! Sending: the sender encodes, and queues what it encoded for the writer of the connection.

use std::sync::Arc;

use serde::Serialize;

use super::connection::Connection;
use super::core::Core;
use super::error::SendError;
use super::message::{Message, Target};
use super::reason::Reason;
use crate::etf::{self, EncodeError, Encoder, Payload, Pid};
use crate::net::channel::SendRefused;
use crate::proto::{Control, ExitTarget, Outgoing};

pub(crate) async fn send<T: Serialize + ?Sized>(
    core: &Arc<Core>,
    from: &Pid,
    to: Target,
    message: &T,
) -> Result<(), SendError> {
    if core.home(&to)?.is_none() {
        deliver(core, &to, etf::to_payload(message)?);
        return Ok(());
    }
    let connection = core.connection_for(&to).await?;
    let outgoing = encode(&connection, from, to, |encoder| etf::serialize_into(message, encoder))?;
    queue(&connection, outgoing).await
}

pub(crate) fn try_send<T: Serialize + ?Sized>(
    core: &Core,
    from: &Pid,
    to: &Target,
    message: &T,
) -> Result<(), SendError> {
    let Some(node) = core.home(to)? else {
        deliver(core, to, etf::to_payload(message)?);
        return Ok(());
    };
    let Some(connection) = core.peers.get(node.as_atom()) else { return Err(SendError::NoConnection(node)) };
    let outgoing = encode(&connection, from, to.clone(), |encoder| etf::serialize_into(message, encoder))?;
    try_queue(&connection, outgoing)
}

pub(crate) fn try_forward(core: &Core, from: &Pid, to: &Target, payload: &Payload) -> Result<(), SendError> {
    let Some(node) = core.home(to)? else {
        deliver(core, to, payload.clone());
        return Ok(());
    };
    let Some(connection) = core.peers.get(node.as_atom()) else { return Err(SendError::NoConnection(node)) };
    let outgoing = Outgoing::with_term_bytes(&control(from, to.clone()), connection.flags, payload)?;
    try_queue(&connection, outgoing)
}

fn try_queue(connection: &Connection, outgoing: Outgoing) -> Result<(), SendError> {
    connection.channel.try_send(outgoing).map_err(|refused| match refused {
        SendRefused::Busy(_) => SendError::Busy(connection.name.clone()),
        SendRefused::Closed(_) => SendError::ConnectionLost(connection.name.clone()),
    })
}

pub(crate) async fn forward(core: &Arc<Core>, from: &Pid, to: Target, payload: &Payload) -> Result<(), SendError> {
    if core.home(&to)?.is_none() {
        deliver(core, &to, payload.clone());
        return Ok(());
    }
    let connection = core.connection_for(&to).await?;
    let outgoing = Outgoing::with_term_bytes(&control(from, to), connection.flags, payload)?;
    queue(&connection, outgoing).await
}

pub(crate) async fn exit2(core: &Arc<Core>, from: &Pid, to: &Pid, reason: &Reason) -> Result<(), SendError> {
    let target = Target::Pid(to.clone());
    if core.home(&target)?.is_none() {
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

async fn queue(connection: &Arc<Connection>, outgoing: Outgoing) -> Result<(), SendError> {
    connection.channel.send(outgoing).await.map_err(|_| SendError::ConnectionLost(connection.name.clone()))
}

fn encode(
    connection: &Connection,
    from: &Pid,
    to: Target,
    write: impl FnOnce(&mut Encoder<'_>) -> Result<(), EncodeError>,
) -> Result<Outgoing, EncodeError> {
    Outgoing::with_payload(&control(from, to), connection.flags, write)
}

fn control(from: &Pid, to: Target) -> Control {
    let from = from.clone();
    match to {
        Target::Pid(to) => Control::Send { from: Some(from), to },
        Target::Name(to) | Target::NameOn(to, _) => Control::RegSend { from, to },
        Target::Alias(to) => Control::AliasSend { from, to },
    }
}

/// Puts a message into the mailbox of a process of this node; one for nobody vanishes, as in Erlang.
pub(crate) fn deliver(core: &Core, to: &Target, payload: Payload) {
    let entry = match to {
        Target::Pid(pid) => core.table.by_pid(pid),
        Target::Name(name) | Target::NameOn(name, _) => core.table.by_name(name),
        Target::Alias(alias) => core.table.by_alias(alias),
    };
    match entry {
        Some(entry) => {
            entry.push(Message::Sent(payload));
        }
        None => tracing::trace!(?to, "a message for nobody"),
    }
}
