//! Control messages: what one node asks of another, apart from the term that may come with it.
//!
//! All operations from 1 to 37 are folded by meaning; their numbers stay in this file. Trace tokens
//! are walked over and dropped. Facts: "Protocol between Connected Nodes" of the distribution
//! protocol, `dist.c:erts_net_message`, `erts_dsig_send_*`.

use crate::etf::{Atom, Creation, DecodeError, Encoder, Payload, Pid, Ref};

use super::flags::Flags;

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
    /// A registered name (only with [`Flags::ALTACT_SIG`]).
    Name(Atom),
    /// An alias (only with [`Flags::ALTACT_SIG`]).
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
        /// [`Flags::UNLINK_ID`], which expect no acknowledgement.
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

/// A message as it came: the control message, and the term that belongs to it.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// What is asked.
    pub control: Control,
    /// The message, reason or argument list, where the control message has one.
    pub payload: Option<Payload>,
}

impl Control {
    /// Writes the control message in the form that a peer with these (negotiated) flags knows.
    ///
    /// Where [`has_payload`](Self::has_payload) the payload is to follow; the reason of an exit
    /// signal for a peer without [`Flags::EXIT_PAYLOAD`] is the last element of the control tuple, and
    /// is to be written right behind this as well.
    pub fn encode(&self, flags: Flags, enc: &mut Encoder<'_>) {
        let _ = (flags, enc);
        todo!()
    }

    /// True when a term belongs to this message.
    pub fn has_payload(&self) -> bool {
        todo!()
    }

    /// False when a peer with these flags has no form for this message, so that it must not be sent.
    pub fn is_expressible(&self, flags: Flags) -> bool {
        let _ = flags;
        todo!()
    }

    /// The process that this signal comes from, to keep the order of its signals. `None` where the
    /// message does not tell.
    pub fn sender(&self) -> Option<&Pid> {
        todo!()
    }

    /// The checks that a BEAM makes of who may say what; a peer that fails them is to be disconnected.
    ///
    /// # Errors
    /// Names the message and what is wrong with it.
    pub fn check(&self, peer: &Atom, own_name: &Atom, own_creation: Creation) -> Result<(), ControlError> {
        let _ = (peer, own_name, own_creation);
        todo!()
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
}
