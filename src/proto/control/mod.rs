//! Control messages: what one node asks of another, apart from the term that may come with it.
//!
//! All operations from 1 to 37 are folded by meaning; their numbers stay in here. Trace tokens
//! are walked over and dropped. Facts: "Protocol between Connected Nodes" of the distribution
//! protocol, `dist.c:erts_net_message`, `erts_dsig_send_*`.

mod encode;
mod op;
mod parse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::etf::{Atom, Creation, DecodeError, Payload, Pid, Ref};

pub(crate) use encode::{Address, encode_send};
pub(crate) use parse::{Parsed, ParsedSent, parse_sent};

/// A process as a monitor names it: by its pid, or by the name it is registered under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProcRef {
    /// The process itself.
    Pid(Pid),
    /// Whoever has this name at the node that the message goes to.
    Name(Atom),
}

/// Whom an exit signal of `exit/2` or `exit/3` goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExitTarget {
    /// A process.
    Pid(Pid),
    /// A registered name (only with [`Flags::ALTACT_SIG`](crate::proto::Flags::ALTACT_SIG)).
    Name(Atom),
    /// An alias (only with [`Flags::ALTACT_SIG`](crate::proto::Flags::ALTACT_SIG)).
    Alias(Ref),
}

/// One control message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Links two processes.
    Link {
        /// The process of the sending node.
        from: Pid,
        /// The process of the receiving node.
        to: Pid,
    },
    /// Ends a link.
    Unlink {
        /// What the acknowledgement repeats, 1 to 2^64-1. `None` from nodes without
        /// [`Flags::UNLINK_ID`](crate::proto::Flags::UNLINK_ID), which expect no acknowledgement.
        id: Option<u64>,
        /// The process of the sending node.
        from: Pid,
        /// The process of the receiving node.
        to: Pid,
    },
    /// Acknowledges [`Control::Unlink`].
    UnlinkAck {
        /// The id of the request.
        id: u64,
        /// The process of the sending node.
        from: Pid,
        /// The process of the receiving node.
        to: Pid,
    },
    /// A message to a process; the payload is the message.
    Send {
        /// Who sends it, where the peer says so.
        from: Option<Pid>,
        /// Whom it is for.
        to: Pid,
    },
    /// A message to a registered name; the payload is the message.
    RegSend {
        /// Who sends it.
        from: Pid,
        /// The name.
        to: Atom,
    },
    /// A message to an alias; the payload is the message.
    AliasSend {
        /// Who sends it.
        from: Pid,
        /// The alias.
        to: Ref,
    },
    /// Makes `leader` the group leader of `to`.
    GroupLeader {
        /// The new group leader.
        leader: Pid,
        /// The process whose group leader it becomes.
        to: Pid,
    },
    /// A linked process is gone; the payload is the reason.
    Exit {
        /// The process that is gone.
        from: Pid,
        /// The process at the other end of the link.
        to: Pid,
    },
    /// Somebody called `exit/2`; the payload is the reason.
    Exit2 {
        /// Who called it.
        from: Pid,
        /// On whom.
        to: ExitTarget,
    },
    /// Starts to monitor a process.
    Monitor {
        /// Who wants to know.
        from: Pid,
        /// About whom.
        target: ProcRef,
        /// Names the monitor.
        reference: Ref,
    },
    /// Ends a monitor.
    Demonitor {
        /// Who wanted to know.
        from: Pid,
        /// About whom.
        target: ProcRef,
        /// Names the monitor.
        reference: Ref,
    },
    /// A monitored process is gone; the payload is the reason.
    MonitorExit {
        /// Who is gone, as the monitor named it.
        from: ProcRef,
        /// Who wants to know.
        to: Pid,
        /// Names the monitor.
        reference: Ref,
    },
    /// Spawns a process; the payload is the list of arguments.
    SpawnRequest {
        /// Names the request, and the monitor that `options` may ask for.
        reference: Ref,
        /// Who asks.
        parent: Pid,
        /// The group leader of the new process.
        group_leader: Pid,
        /// The module of the function to run.
        module: Atom,
        /// The function to run.
        function: Atom,
        /// How many arguments the payload has, 0 to 255.
        arity: u8,
        /// What else is asked.
        options: SpawnOptions,
    },
    /// The answer to [`Control::SpawnRequest`].
    SpawnReply {
        /// Names the request.
        reference: Ref,
        /// Who asked.
        to: Pid,
        /// The new process is linked to the one that asked.
        link: bool,
        /// The new process is monitored by the one that asked.
        monitor: bool,
        /// The new process, or why there is none.
        result: Result<Pid, Atom>,
    },
}

/// The options of a spawn request that matter to the node that runs it.
///
/// Those that only tune a BEAM process (heap sizes, priority …) are accepted and ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpawnOptions {
    /// Link the new process to its parent.
    pub link: bool,
    /// Let the parent monitor the new process.
    pub monitor: bool,
    /// The first option that no release knows: the answer is then `badopt`.
    pub bad: Option<Atom>,
}

/// A message for a process of this node, as it came.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Whom it is for; messages in a row for the same one share it.
    pub to: Arc<Recipient>,
    /// The id and the serial of the process of the peer that sent it, where the peer says so.
    pub from: Option<(u32, u32)>,
    /// The message.
    pub payload: Payload,
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A process.
    Pid(Pid),
    /// Whoever is registered under a name.
    Name(Atom),
    /// An alias.
    Alias(Ref),
}

/// Any other signal, as it came: the control message, and the term that belongs to it.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// What is asked.
    pub control: Control,
    /// The reason or argument list, where the control message has one.
    pub payload: Option<Payload>,
}

impl Control {
    /// Whom a message is for and who sent it, where this is a message.
    #[expect(clippy::result_large_err, reason = "what is no message goes back as it came")]
    pub(crate) fn into_sent(self) -> Result<(Recipient, Option<(u32, u32)>), Self> {
        let number = |pid: Pid| (pid.id, pid.serial);
        match self {
            Self::Send { from, to } => Ok((Recipient::Pid(to), from.map(number))),
            Self::RegSend { from, to } => Ok((Recipient::Name(to), Some(number(from)))),
            Self::AliasSend { from, to } => Ok((Recipient::Alias(to), Some(number(from)))),
            other => Err(other),
        }
    }

    /// True when a term belongs to this message: a message, a reason, a list of arguments.
    pub fn has_payload(&self) -> bool {
        match self {
            Self::Send { .. }
            | Self::RegSend { .. }
            | Self::AliasSend { .. }
            | Self::Exit { .. }
            | Self::Exit2 { .. }
            | Self::MonitorExit { .. }
            | Self::SpawnRequest { .. } => true,
            Self::Link { .. }
            | Self::Unlink { .. }
            | Self::UnlinkAck { .. }
            | Self::GroupLeader { .. }
            | Self::Monitor { .. }
            | Self::Demonitor { .. }
            | Self::SpawnReply { .. } => false,
        }
    }

    /// The process that this signal comes from, to keep the order of its signals. `None` where the
    /// message does not tell.
    pub fn sender(&self) -> Option<&Pid> {
        match self {
            Self::Link { from, .. }
            | Self::Unlink { from, .. }
            | Self::UnlinkAck { from, .. }
            | Self::RegSend { from, .. }
            | Self::AliasSend { from, .. }
            | Self::Exit { from, .. }
            | Self::Exit2 { from, .. }
            | Self::Monitor { from, .. }
            | Self::Demonitor { from, .. }
            | Self::MonitorExit { from: ProcRef::Pid(from), .. }
            | Self::SpawnRequest { parent: from, .. }
            | Self::SpawnReply { result: Ok(from), .. } => Some(from),
            Self::Send { from, .. } => from.as_ref(),
            Self::MonitorExit { .. } | Self::GroupLeader { .. } | Self::SpawnReply { .. } => None,
        }
    }

    /// What the message is called, for logs and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Link { .. } => "LINK",
            Self::Unlink { .. } => "UNLINK",
            Self::UnlinkAck { .. } => "UNLINK_ID_ACK",
            Self::Send { .. } => "SEND",
            Self::RegSend { .. } => "REG_SEND",
            Self::AliasSend { .. } => "ALIAS_SEND",
            Self::GroupLeader { .. } => "GROUP_LEADER",
            Self::Exit { .. } => "EXIT",
            Self::Exit2 { .. } => "EXIT2",
            Self::Monitor { .. } => "MONITOR_P",
            Self::Demonitor { .. } => "DEMONITOR_P",
            Self::MonitorExit { .. } => "MONITOR_P_EXIT",
            Self::SpawnRequest { .. } => "SPAWN_REQUEST",
            Self::SpawnReply { .. } => "SPAWN_REPLY",
        }
    }

    /// The checks that a BEAM makes of who may say what; a peer that fails them is to be disconnected.
    ///
    /// # Errors
    /// Names the message and what is wrong with it.
    pub fn check(&self, peer: &Atom, own_name: &Atom, own_creation: Creation) -> Result<(), ControlError> {
        let is_ours = |node: &Atom, creation: Creation| node == own_name && creation == own_creation;
        match self {
            Self::Link { from, .. }
            | Self::Unlink { from, .. }
            | Self::UnlinkAck { from, .. }
            | Self::Exit { from, .. }
            | Self::Exit2 { from, .. }
            | Self::Monitor { from, .. }
            | Self::Demonitor { from, .. }
                if from.node != *peer =>
            {
                Err(ControlError::ForeignSender { operation: self.name(), from: from.clone(), peer: peer.clone() })
            }
            Self::MonitorExit { from: ProcRef::Pid(from), .. } if is_ours(&from.node, from.creation) => {
                Err(ControlError::OurOwn { operation: self.name(), what: from.to_string() })
            }
            Self::SpawnRequest { parent, .. } if is_ours(&parent.node, parent.creation) => {
                Err(ControlError::OurOwn { operation: self.name(), what: parent.to_string() })
            }
            Self::SpawnRequest { reference, .. } if is_ours(&reference.node, reference.creation) => {
                Err(ControlError::OurOwn { operation: self.name(), what: reference.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// A control message that no node may send.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is not what the operation asks for.
    #[error("{operation}: {source}")]
    Malformed {
        /// The operation.
        operation: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// No release knows this operation, or none uses it any more.
    #[error("operation {code} with {arity} elements is unknown")]
    UnknownOperation {
        /// Its number.
        code: u64,
        /// How many elements the control tuple has.
        arity: usize,
    },
    /// The control tuple has too few or too many elements.
    #[error("{operation} has {found} elements instead of {expected}")]
    Arity {
        /// The operation.
        operation: &'static str,
        /// How many elements it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// The peer speaks for a process that is not its own.
    #[error("{operation} from {from}, which is no process of {peer}")]
    ForeignSender {
        /// The operation.
        operation: &'static str,
        /// For whom it speaks.
        from: Pid,
        /// The peer.
        peer: Atom,
    },
    /// The peer says something about a process or reference of this node that only this node can say.
    #[error("{operation} names {what}, which is this node's own")]
    OurOwn {
        /// The operation.
        operation: &'static str,
        /// The process or reference.
        what: String,
    },
}
