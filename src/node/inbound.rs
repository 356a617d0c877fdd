//! What comes over a connection: each control message goes to the process, name or alias that it is
//! for. Nothing here waits, so the reader is never held up.

use std::sync::Arc;

use parking_lot::Mutex;

use super::connection::Connection;
use super::core::Core;
use super::reason::Reason;
use super::table::Entry;
use crate::etf::{Payload, Pid};
use crate::net::channel::{CloseReason, Receiver};
use crate::proto::{Control, ExitTarget, Incoming, ProtocolViolation, Recipient, Sent};

/// Delivers what one connection brings.
pub(crate) struct Inbound {
    core: Arc<Core>,
    /// Filled as soon as the connection is announced; locked until then.
    slot: Arc<Mutex<Option<Arc<Connection>>>>,
    connection: Option<Arc<Connection>>,
    batch: Batch,
}

/// Messages for one process that have come one behind the other: they go to its mailbox together, at the latest
/// when the reader pauses or something else has to keep its place behind them.
#[derive(Default)]
struct Batch {
    to: Option<Arc<Recipient>>,
    entry: Option<Arc<Entry>>,
    /// What [`Table::names_version`](super::table::Table::names_version) was when `entry` was looked up.
    names: u64,
    payloads: Vec<Payload>,
}

impl Batch {
    fn add(&mut self, core: &Core, to: Arc<Recipient>, payload: Payload) {
        let is_same = self.to.as_ref().is_some_and(|last| Arc::ptr_eq(last, &to) || *last == to);
        if !is_same || self.is_stale(core) {
            self.flush();
            self.names = core.table.names_version();
            self.entry = match &*to {
                Recipient::Pid(pid) => core.table.by_pid(pid),
                Recipient::Name(name) => core.table.by_name(name),
                Recipient::Alias(alias) => core.table.by_alias(alias),
            };
            // An alias may be good for one message only.
            self.to = if matches!(*to, Recipient::Alias(_)) { None } else { Some(to) };
        }
        if self.entry.is_some() {
            self.payloads.push(payload);
        } else {
            tracing::trace!(to = ?self.to, "a message for nobody");
        }
    }

    /// Whoever had the name may have lost it, and who has ended may have a successor.
    fn is_stale(&self, core: &Core) -> bool {
        self.names != core.table.names_version() || self.entry.as_ref().is_none_or(|entry| entry.is_dead())
    }

    fn flush(&mut self) {
        if !self.payloads.is_empty()
            && let Some(entry) = &self.entry
        {
            entry.mailbox.push_all(&mut self.payloads);
        }
    }
}

impl Inbound {
    pub(crate) fn new(core: Arc<Core>, slot: Arc<Mutex<Option<Arc<Connection>>>>) -> Self {
        Self { core, slot, connection: None, batch: Batch::default() }
    }

    fn connection(&mut self) -> Option<Arc<Connection>> {
        if self.connection.is_none() {
            self.connection = self.slot.lock().clone();
        }
        self.connection.clone()
    }
}

impl Receiver for Inbound {
    fn deliver(&mut self, message: Sent) -> Result<(), ProtocolViolation> {
        // Without a connection the attempt was replaced, and the channel is closing.
        if self.connection.is_none() && self.connection().is_none() {
            return Ok(());
        }
        self.batch.add(&self.core, message.to, message.payload);
        Ok(())
    }

    fn pause(&mut self) {
        // A tick, or a signal by itself: the flood is over.
        if self.batch.payloads.is_empty() && self.batch.payloads.capacity() > KEPT_ROOM {
            self.batch = Batch::default();
        }
        self.batch.flush();
    }

    fn signal(&mut self, message: Incoming) -> Result<(), ProtocolViolation> {
        // Who is watched does not see it: every call brings a monitor, and should not wake its server on its own.
        if !matches!(message.control, Control::Monitor { .. } | Control::Demonitor { .. }) {
            self.batch.flush();
        }
        // Without a connection the attempt was replaced, and the channel is closing.
        let Some(connection) = self.connection() else { return Ok(()) };
        let core = &self.core;
        message.control.check(connection.name.as_atom(), core.name.as_atom(), core.creation)?;
        let reason = |payload: Option<Payload>| payload.map_or_else(Reason::normal, Reason::from_payload);
        match message.control {
            // Messages come the other way.
            Control::Send { .. } | Control::RegSend { .. } | Control::AliasSend { .. } => {}
            Control::Link { from, to } => core.link_in(from, &to, &connection),
            Control::Unlink { id, from, to } => core.unlink_in(id, &from, &to, &connection),
            Control::UnlinkAck { id, from, to } => core.unlink_ack_in(id, &from, &to),
            Control::Exit { from, to } => {
                if let Some(entry) = core.table.by_pid(&to) {
                    core.exit_in(&from, &entry, &reason(message.payload));
                }
            }
            Control::Exit2 { from, to } => {
                let entry = match &to {
                    ExitTarget::Pid(pid) => core.table.by_pid(pid),
                    ExitTarget::Name(name) => core.table.by_name(name),
                    ExitTarget::Alias(alias) => core.table.by_alias(alias),
                };
                if let Some(entry) = entry {
                    core.exit2(&from, &entry, &reason(message.payload));
                }
            }
            Control::Monitor { from, target, reference } => core.monitor_in(from, target, reference, &connection),
            Control::Demonitor { target, reference, .. } => core.demonitor_in(&target, &reference),
            Control::MonitorExit { to, reference, .. } => core.down_in(&to, &reference, &reason(message.payload)),
            Control::GroupLeader { leader, to } => self.group_leader(leader, &to),
            Control::SpawnRequest { reference, parent, group_leader, module, function, arity, options } => {
                let request = super::spawn::Request {
                    reference,
                    parent,
                    group_leader,
                    module,
                    function,
                    arity,
                    options,
                    args: message.payload,
                };
                core.spawn_in(request, &connection);
            }
            Control::SpawnReply { reference, to, link, monitor, result } => {
                core.spawn_reply_in(&reference, &to, link, monitor, result, &connection);
            }
        }
        Ok(())
    }

    fn closed(mut self, reason: CloseReason) {
        self.batch.flush();
        if let Some(connection) = self.connection() {
            self.core.lost(&connection, &reason);
        }
    }
}

impl Inbound {
    fn group_leader(&self, leader: Pid, to: &Pid) {
        if let Some(entry) = self.core.table.by_pid(to) {
            entry.state.lock().group_leader = Some(leader);
        }
    }
}

/// With room for more messages than this a batch gives its memory back once it is not needed.
const KEPT_ROOM: usize = 64;
