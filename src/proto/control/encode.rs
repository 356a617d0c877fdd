//! Writing control messages, in the form that the peer knows.

use crate::atom;
use crate::etf::{Atom, Encoder, Pid, Ref};
use crate::proto::Flags;

use super::op::{self, SPAWNED_LINK, SPAWNED_MONITOR, altact};
use super::{Control, ExitTarget, ProcRef, SpawnOptions};

impl Control {
    /// Writes the control message in the form that a peer with these (negotiated) flags knows.
    ///
    /// The reason of an exit signal for a peer without [`Flags::EXIT_PAYLOAD`] is the last element of
    /// the control tuple: it is to be written right behind this, as the payload is in all other cases
    /// ([`payload_is_separate`](Self::payload_is_separate) tells them apart).
    pub fn encode(&self, flags: Flags, enc: &mut Encoder<'_>) {
        match self {
            Self::Link { from, to } => pids(enc, op::LINK, from, to),
            Self::Unlink { id: Some(id), from, to } if flags.contains(Flags::UNLINK_ID) => {
                head(enc, 4, op::UNLINK_ID);
                enc.u64(*id);
                enc.pid(from);
                enc.pid(to);
            }
            Self::Unlink { from, to, .. } => pids(enc, op::UNLINK, from, to),
            Self::UnlinkAck { id, from, to } => {
                head(enc, 4, op::UNLINK_ID_ACK);
                enc.u64(*id);
                enc.pid(from);
                enc.pid(to);
            }
            Self::Send { from: Some(from), to } => encode_send(from, Address::Pid(to), flags, enc),
            Self::Send { from: None, to } => send_of_nobody(enc, to),
            Self::RegSend { from, to } => encode_send(from, Address::Name(to), flags, enc),
            Self::AliasSend { from, to } => encode_send(from, Address::Alias(to), flags, enc),
            Self::GroupLeader { leader, to } => pids(enc, op::GROUP_LEADER, leader, to),
            Self::Exit { from, to } if flags.contains(Flags::EXIT_PAYLOAD) => pids(enc, op::PAYLOAD_EXIT, from, to),
            Self::Exit { from, to } => {
                head(enc, 4, op::EXIT);
                enc.pid(from);
                enc.pid(to);
            }
            Self::Exit2 { from, to: ExitTarget::Pid(to) } if flags.contains(Flags::EXIT_PAYLOAD) => {
                pids(enc, op::PAYLOAD_EXIT2, from, to);
            }
            Self::Exit2 { from, to: ExitTarget::Pid(to) } => {
                head(enc, 4, op::EXIT2);
                enc.pid(from);
                enc.pid(to);
            }
            Self::Exit2 { from, to: ExitTarget::Name(to) } => {
                head(enc, 4, op::ALTACT_SIG_SEND);
                enc.u64(altact::EXIT | altact::NAME);
                enc.pid(from);
                enc.atom(to);
            }
            Self::Exit2 { from, to: ExitTarget::Alias(to) } => {
                head(enc, 4, op::ALTACT_SIG_SEND);
                enc.u64(altact::EXIT | altact::ALIAS);
                enc.pid(from);
                enc.reference(to);
            }
            Self::Monitor { from, target, reference } => monitor(enc, op::MONITOR_P, from, target, reference),
            Self::Demonitor { from, target, reference } => monitor(enc, op::DEMONITOR_P, from, target, reference),
            Self::MonitorExit { from, to, reference } => {
                if flags.contains(Flags::EXIT_PAYLOAD) {
                    head(enc, 4, op::PAYLOAD_MONITOR_P_EXIT);
                } else {
                    head(enc, 5, op::MONITOR_P_EXIT);
                }
                proc_ref(enc, from);
                enc.pid(to);
                enc.reference(reference);
            }
            Self::SpawnRequest { reference, parent, group_leader, module, function, arity, options } => {
                head(enc, 6, op::SPAWN_REQUEST);
                enc.reference(reference);
                enc.pid(parent);
                enc.pid(group_leader);
                enc.tuple_header(3);
                enc.atom(module);
                enc.atom(function);
                enc.i64(i64::from(*arity));
                options.encode(enc);
            }
            Self::SpawnReply { reference, to, link, monitor, result } => {
                head(enc, 5, op::SPAWN_REPLY);
                enc.reference(reference);
                enc.pid(to);
                enc.u64(u64::from(*link) * SPAWNED_LINK + u64::from(*monitor) * SPAWNED_MONITOR);
                match result {
                    Ok(pid) => enc.pid(pid),
                    Err(reason) => enc.atom(reason),
                }
            }
        }
    }

    /// True when the payload stands behind the control tuple, false when there is none or when it is the
    /// last element of the tuple.
    pub fn payload_is_separate(&self, flags: Flags) -> bool {
        match self {
            Self::Exit { .. } | Self::Exit2 { to: ExitTarget::Pid(_), .. } | Self::MonitorExit { .. } => {
                flags.contains(Flags::EXIT_PAYLOAD)
            }
            _ => self.has_payload(),
        }
    }

    /// False when a peer with these flags has no form for this message, so that it must not be sent.
    pub fn is_expressible(&self, flags: Flags) -> bool {
        let needed = match self {
            Self::Unlink { id, .. } => return id.map_or(!flags.contains(Flags::UNLINK_ID), |id| id != 0),
            Self::UnlinkAck { .. } => Flags::UNLINK_ID,
            Self::AliasSend { .. } => return flags.contains(Flags::ALIAS) || flags.contains(Flags::ALTACT_SIG),
            Self::Exit2 { to: ExitTarget::Name(_) | ExitTarget::Alias(_), .. } => Flags::ALTACT_SIG,
            Self::Monitor { target: ProcRef::Pid(_), .. } | Self::Demonitor { target: ProcRef::Pid(_), .. } => {
                Flags::DIST_MONITOR
            }
            Self::Monitor { .. } | Self::Demonitor { .. } => Flags::DIST_MONITOR.with(Flags::DIST_MONITOR_NAME),
            Self::MonitorExit { .. } => Flags::DIST_MONITOR,
            Self::SpawnRequest { .. } | Self::SpawnReply { .. } => Flags::SPAWN,
            _ => Flags::NONE,
        };
        flags.contains(needed)
    }
}

/// Whom a message is for, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Address<'a> {
    Pid(&'a Pid),
    Name(&'a Atom),
    Alias(&'a Ref),
}

/// Writes the control message of a message for a process.
pub(crate) fn encode_send(from: &Pid, to: Address<'_>, flags: Flags, enc: &mut Encoder<'_>) {
    match to {
        Address::Pid(to) if flags.contains(Flags::SEND_SENDER) => pids(enc, op::SEND_SENDER, from, to),
        Address::Pid(to) => send_of_nobody(enc, to),
        Address::Name(to) => {
            head(enc, 4, op::REG_SEND);
            enc.pid(from);
            enc.atom(&NO_COOKIE);
            enc.atom(to);
        }
        Address::Alias(to) => {
            if flags.contains(Flags::ALTACT_SIG) {
                head(enc, 4, op::ALTACT_SIG_SEND);
                enc.u64(altact::ALIAS);
            } else {
                head(enc, 3, op::ALIAS_SEND);
            }
            enc.pid(from);
            enc.reference(to);
        }
    }
}

fn send_of_nobody(enc: &mut Encoder<'_>, to: &Pid) {
    head(enc, 3, op::SEND);
    enc.atom(&NO_COOKIE);
    enc.pid(to);
}

impl SpawnOptions {
    fn encode(&self, enc: &mut Encoder<'_>) {
        let count = u32::from(self.link) + u32::from(self.monitor) + u32::from(self.bad.is_some());
        if count > 0 {
            enc.list_header(count);
        }
        if self.link {
            enc.atom(&atom!("link"));
        }
        if self.monitor {
            enc.atom(&atom!("monitor"));
        }
        if let Some(bad) = &self.bad {
            enc.atom(bad);
        }
        enc.nil();
    }
}

fn head(enc: &mut Encoder<'_>, arity: u32, op: u64) {
    enc.tuple_header(arity);
    enc.u64(op);
}

fn pids(enc: &mut Encoder<'_>, op: u64, from: &Pid, to: &Pid) {
    head(enc, 3, op);
    enc.pid(from);
    enc.pid(to);
}

fn monitor(enc: &mut Encoder<'_>, op: u64, from: &Pid, target: &ProcRef, reference: &Ref) {
    head(enc, 4, op);
    enc.pid(from);
    proc_ref(enc, target);
    enc.reference(reference);
}

fn proc_ref(enc: &mut Encoder<'_>, process: &ProcRef) {
    match process {
        ProcRef::Pid(pid) => enc.pid(pid),
        ProcRef::Name(name) => enc.atom(name),
    }
}

/// The place of a cookie, which no node looks at.
const NO_COOKIE: Atom = atom!("");
