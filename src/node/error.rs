//! What can go wrong with a node, one enum per operation.

use std::sync::Arc;
use std::time::Duration;

use super::message::TargetError;
use super::reason::Reason;
use crate::etf::{Atom, DecodeError, EncodeError, Term};
use crate::net::{ConnectError, EpmdStartError, ListenError};
use crate::proto::NodeName;

/// A connection that did not come up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot connect to {node}: {cause}")]
#[non_exhaustive]
pub struct ConnectFailed {
    /// The node.
    pub node: NodeName,
    /// Why.
    #[source]
    pub cause: ConnectFailure,
}

/// Why a connection did not come up.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// Dialling failed; the error says at which step.
    #[error("{0}")]
    Dial(#[source] Arc<ConnectError>),
    /// The node itself was named.
    #[error("this is the node itself")]
    Myself,
    /// Both sides dialled, ours gave way, and the other one came to nothing.
    #[error("the node was about to connect to us, but gave up: {0}")]
    Incoming(String),
    /// Both sides dialled, ours gave way, and the other one did not come in time.
    #[error("the node answered that its own attempt to reach us goes first, but none came within {0:?}")]
    NeverCame(Duration),
    /// The node is shutting down.
    #[error("this node is shutting down")]
    Shutdown,
}

impl ConnectFailed {
    pub(crate) fn dial(node: &NodeName, error: ConnectError) -> Self {
        Self { node: node.clone(), cause: ConnectFailure::Dial(Arc::new(error)) }
    }

    pub(crate) fn because(node: &NodeName, cause: ConnectFailure) -> Self {
        Self { node: node.clone(), cause }
    }

    pub(crate) fn shutdown(node: &NodeName) -> Self {
        Self::because(node, ConnectFailure::Shutdown)
    }
}

/// A node that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port could not be had.
    #[error("cannot listen for other nodes: {0}")]
    Listen(#[from] ListenError),
    /// EPMD did not take the registration.
    #[error("cannot register with EPMD: {0}")]
    Epmd(#[from] EpmdStartError),
    /// No randomness for creation and references.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
    /// The node that should have given a dynamic name could not be reached.
    #[error("cannot get a dynamic name: {0}")]
    DynamicName(#[source] ConnectError),
    /// A standard service could not be installed.
    #[error("cannot install the service `{0}`: its name is taken")]
    Service(Atom),
}

/// A message that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The target names nobody.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The message cannot be a term.
    #[error("the message cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The message was received from somebody and cannot be read.
    #[error("the message that was to be sent on cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// Functions have at most 255 arguments.
    #[error("{0} arguments are too many for a function (at most 255)")]
    TooManyArguments(usize),
    /// Nobody has the name in `global`.
    #[error("nobody is registered as {0} in `global`")]
    NoSuchName(Term),
    /// Its node is not connected, and could not be.
    #[error(transparent)]
    NotConnected(#[from] ConnectFailed),
    /// Its node is not connected, and connecting is for an asynchronous send.
    #[error("{0} is not connected, and `try_send` does not connect; `send` does")]
    NoConnection(NodeName),
    /// So many bytes wait for the peer that senders have to wait (`busy_dist_port`).
    #[error("{0} reads more slowly than it is sent to: the queue is full; `send` waits for room")]
    Busy(NodeName),
    /// The connection was lost before the message could be queued.
    #[error("the connection to {0} was lost before the message was queued")]
    ConnectionLost(NodeName),
}

/// A name that could not be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Somebody has it.
    #[error("`{0}` is registered already")]
    Taken(Atom),
    /// Too long.
    #[error("not the name of a process: {0}")]
    Name(#[from] crate::etf::AtomTooLong),
}

/// The process has ended; its mailbox gives nothing any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the process has ended: {reason}")]
pub struct Ended {
    /// Why it ended.
    pub reason: Reason,
}

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request could not be sent.
    #[error("the request was not sent: {0}")]
    Send(#[from] SendError),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// There is no such process, or it ended before it answered.
    #[error("the server is gone: {0}")]
    Down(Reason),
    /// The answer is not of the type that was asked for.
    #[error("the answer is of another type: {0}")]
    Decode(#[from] DecodeError),
    /// The function raised, exited or threw.
    #[error("{0}")]
    Exception(#[from] Exception),
    /// The other node refused to run anything.
    #[error("the node refuses to run functions for others: {0}")]
    Refused(Atom),
    /// The calling process has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl CallError {
    /// True where nothing came in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// True where there is no connection to the node, or it was lost before the answer came
    /// (`noconnection`, `nodedown`).
    pub fn is_noconnection(&self) -> bool {
        match self {
            Self::Down(reason) => reason.is("noconnection"),
            Self::Send(error) => matches!(error, SendError::NotConnected(_) | SendError::ConnectionLost(_)),
            _ => false,
        }
    }

    /// True where there is no such process or name.
    pub fn is_noproc(&self) -> bool {
        match self {
            Self::Down(reason) => reason.is("noproc"),
            Self::Send(error) => matches!(error, SendError::NoSuchName(_)),
            _ => false,
        }
    }

    /// What the function raised, where it is that.
    pub fn exception(&self) -> Option<&Exception> {
        match self {
            Self::Exception(exception) => Some(exception),
            _ => None,
        }
    }

    /// True where the function that was called does not exist there.
    pub fn is_undef(&self) -> bool {
        self.exception().is_some_and(Exception::is_undef)
    }
}

/// How a function of Erlang ends when it does not return.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{class} {reason}")]
pub struct Exception {
    /// `error`, `exit` or `throw`.
    pub class: Class,
    /// What was raised.
    pub reason: Term,
    /// The stack trace as Erlang has it; empty for exits and throws.
    pub stack: Vec<Term>,
}

/// The class of an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `erlang:error/1`, and what the runtime raises.
    Error,
    /// `exit/1`.
    Exit,
    /// `throw/1`.
    Throw,
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Exit => "exit",
            Self::Throw => "throw",
        })
    }
}

impl Exception {
    /// `error:Reason`, without a stack.
    pub fn error(reason: Term) -> Self {
        Self { class: Class::Error, reason, stack: Vec::new() }
    }

    /// `exit:Reason`.
    pub fn exit(reason: Term) -> Self {
        Self { class: Class::Exit, reason, stack: Vec::new() }
    }

    /// `throw:Value`.
    pub fn throw(value: Term) -> Self {
        Self { class: Class::Throw, reason: value, stack: Vec::new() }
    }

    /// `error:undef` with the stack that a BEAM gives for a function that is not there.
    pub fn undef(module: &Atom, function: &Atom, args: Vec<Term>) -> Self {
        let frame =
            Term::Tuple(vec![Term::Atom(module.clone()), Term::Atom(function.clone()), Term::from(args), Term::NIL]);
        Self { class: Class::Error, reason: Term::Atom(crate::atom!("undef")), stack: vec![frame] }
    }

    /// True for `error:undef`: no such function.
    pub fn is_undef(&self) -> bool {
        self.class == Class::Error && self.reason.is_atom("undef")
    }

    /// What a process exits with that this exception has ended: `{Reason, Stack}` for errors,
    /// `{{nocatch, Value}, Stack}` for throws, the reason itself for exits.
    pub fn into_reason(self) -> Reason {
        Reason::from_term(&match self.class {
            Class::Error => Term::Tuple(vec![self.reason, Term::from(self.stack)]),
            Class::Exit => self.reason,
            Class::Throw => {
                let nocatch = Term::Tuple(vec![Term::Atom(crate::atom!("nocatch")), self.reason]);
                Term::Tuple(vec![nocatch, Term::from(self.stack)])
            }
        })
    }

    /// `error:badarg`.
    pub fn badarg() -> Self {
        Self::error(Term::Atom(crate::atom!("badarg")))
    }
}
