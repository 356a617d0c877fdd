//! What comes over a connection: each control message goes to the process, name or alias that it is
//! for. Nothing here waits, so the reader is never held up.

use std::sync::Arc;

use parking_lot::Mutex;

use super::connection::Connection;
use super::core::Core;
use super::message::Target;
use super::reason::Reason;
use super::send;
use crate::etf::{Payload, Pid};
use crate::net::channel::{CloseReason, Receiver};
use crate::proto::{Control, ExitTarget, Incoming, ProtocolViolation};

/// Delivers what one connection brings.
pub(crate) struct Inbound {
    core: Arc<Core>,
    /// Filled as soon as the connection is announced; locked until then.
    slot: Arc<Mutex<Option<Arc<Connection>>>>,
    connection: Option<Arc<Connection>>,
}

impl Inbound {
    pub(crate) fn new(core: Arc<Core>, slot: Arc<Mutex<Option<Arc<Connection>>>>) -> Self {
        Self { core, slot, connection: None }
    }

    fn connection(&mut self) -> Option<Arc<Connection>> {
        if self.connection.is_none() {
            self.connection = self.slot.lock().clone();
        }
        self.connection.clone()
    }
}

impl Receiver for Inbound {
    fn deliver(&mut self, message: Incoming) -> Result<(), ProtocolViolation> {
        // Without a connection the attempt was replaced, and the channel is closing.
        let Some(connection) = self.connection() else { return Ok(()) };
        let core = &self.core;
        message.control.check(connection.name.as_atom(), core.name.as_atom(), core.creation)?;
        let reason = |payload: Option<Payload>| payload.map_or_else(Reason::normal, Reason::from_payload);
        match message.control {
            Control::Send { to, .. } => self.message(&Target::Pid(to), message.payload),
            Control::RegSend { to, .. } => self.message(&Target::Name(to), message.payload),
            Control::AliasSend { to, .. } => self.message(&Target::Alias(to), message.payload),
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
        if let Some(connection) = self.connection() {
            self.core.lost(&connection, &reason);
        }
    }
}

impl Inbound {
    fn message(&self, to: &Target, payload: Option<Payload>) {
        if let Some(payload) = payload {
            send::deliver(&self.core, to, payload);
        }
    }

    fn group_leader(&self, leader: Pid, to: &Pid) {
        if let Some(entry) = self.core.table.by_pid(to) {
            entry.state.lock().group_leader = Some(leader);
        }
    }
}
