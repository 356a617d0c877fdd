//! What arrives in a mailbox, and where a message can be sent.

use serde::de::DeserializeOwned;

use super::events::NodeEvent;
use super::reason::Reason;
use crate::etf::{Atom, DecodeError, DecodeErrorKind, Payload, Pid, Ref, Term};
use crate::proto::{NodeName, NodeNameError};

/// What a process finds in its mailbox.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Message {
    /// Something that somebody sent.
    Sent(Payload),
    /// A linked process ended, or somebody called `exit/2`; only for a process that traps exits.
    Exit {
        /// Who ended or called.
        from: Pid,
        /// Why.
        reason: Reason,
    },
    /// A monitored process ended.
    Down {
        /// What [`Process::monitor`](super::Process::monitor) returned.
        reference: Ref,
        /// What was monitored, as it was named then.
        object: Target,
        /// Why it ended, `noproc` or `noconnection`.
        reason: Reason,
    },
    /// The answer to [`Process::spawn_request`](super::Process::spawn_request).
    Spawned {
        /// What `spawn_request` returned; also the monitor reference where one was asked for.
        reference: Ref,
        /// The new process, or the atom that says why there is none.
        result: Result<Pid, Atom>,
    },
    /// A node came or went; only for a process that asked for it.
    Node(NodeEvent),
}

impl Message {
    /// The message as a term; exits, downs and node events in the shape that a BEAM gives them.
    ///
    /// # Errors
    /// When it nests deeper than a tree may.
    pub fn term(&self) -> Result<Term, DecodeError> {
        let atom = Term::Atom;
        Ok(match self {
            Self::Sent(payload) => payload.term()?,
            Self::Exit { from, reason } => {
                Term::Tuple(vec![atom(crate::atom!("EXIT")), Term::Pid(from.clone()), reason.term()?])
            }
            Self::Down { reference, object, reason } => Term::Tuple(vec![
                atom(crate::atom!("DOWN")),
                Term::from(reference.clone()),
                atom(crate::atom!("process")),
                object.term(),
                reason.term()?,
            ]),
            Self::Spawned { reference, result } => {
                let (verdict, value) = match result {
                    Ok(pid) => (crate::atom!("ok"), Term::Pid(pid.clone())),
                    Err(error) => (crate::atom!("error"), atom(error.clone())),
                };
                Term::Tuple(vec![
                    atom(crate::atom!("spawn_reply")),
                    Term::from(reference.clone()),
                    atom(verdict),
                    value,
                ])
            }
            Self::Node(NodeEvent::Up { name, .. }) => {
                Term::Tuple(vec![atom(crate::atom!("nodeup")), atom(name.as_atom().clone())])
            }
            Self::Node(NodeEvent::Down { name, .. }) => {
                Term::Tuple(vec![atom(crate::atom!("nodedown")), atom(name.as_atom().clone())])
            }
        })
    }

    /// The message as a value of a Rust type.
    ///
    /// # Errors
    /// Says where the message differs from the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self {
            Self::Sent(payload) => payload.decode(),
            other => Payload::from_term(&other.term()?)
                .map_err(|error| DecodeError::new(0, DecodeErrorKind::Custom(error.to_string())))?
                .decode(),
        }
    }

    /// What was sent, where it is something that was sent.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Sent(payload) => Some(payload),
            _ => None,
        }
    }
}

/// A process, named one way or another: where to send to, and what to monitor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// By pid.
    Pid(Pid),
    /// By its registered name on this node.
    Name(Atom),
    /// By its registered name on some node: `{Name, Node}`.
    NameOn(Atom, NodeName),
    /// By an alias (only to send to).
    Alias(Ref),
}

impl Target {
    /// The term that Erlang has for it.
    pub fn term(&self) -> Term {
        match self {
            Self::Pid(pid) => Term::Pid(pid.clone()),
            Self::Name(name) => Term::Atom(name.clone()),
            Self::NameOn(name, node) => Term::Tuple(vec![Term::Atom(name.clone()), Term::Atom(node.as_atom().clone())]),
            Self::Alias(alias) => Term::from(alias.clone()),
        }
    }
}

/// A [`Target`], borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRef<'a> {
    /// By pid.
    Pid(&'a Pid),
    /// By its registered name on this node.
    Name(&'a Atom),
    /// By its registered name on some node.
    NameOn(&'a Atom, &'a NodeName),
    /// By an alias.
    Alias(&'a Ref),
}

impl Target {
    /// The same, borrowed.
    pub fn borrowed(&self) -> TargetRef<'_> {
        match self {
            Self::Pid(pid) => TargetRef::Pid(pid),
            Self::Name(name) => TargetRef::Name(name),
            Self::NameOn(name, node) => TargetRef::NameOn(name, node),
            Self::Alias(alias) => TargetRef::Alias(alias),
        }
    }
}

/// What can be meant as a [`Target`]: a pid, an alias, `"name"`, `("name", "node@host")`.
pub trait IntoTarget {
    /// The target.
    ///
    /// # Errors
    /// When text in it cannot be a name.
    fn into_target(self) -> Result<Target, TargetError>;

    /// The target, where it is one already: a message to it then copies nothing of it.
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        None
    }
}

/// Text that cannot be the name of a process or of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The name of the process.
    #[error("not the name of a process: {0}")]
    Name(#[from] crate::etf::AtomTooLong),
    /// The name of the node.
    #[error(transparent)]
    Node(#[from] NodeNameError),
}

impl IntoTarget for Target {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(self)
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(Target::borrowed(self))
    }
}

impl IntoTarget for &Target {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(self.clone())
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(Target::borrowed(self))
    }
}

impl IntoTarget for Pid {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::Pid(self))
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(TargetRef::Pid(self))
    }
}

impl IntoTarget for &Pid {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::Pid(self.clone()))
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(TargetRef::Pid(self))
    }
}

impl IntoTarget for Ref {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::Alias(self))
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(TargetRef::Alias(self))
    }
}

impl IntoTarget for &str {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::Name(Atom::new(self)?))
    }
}

impl IntoTarget for Atom {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::Name(self))
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(TargetRef::Name(self))
    }
}

impl IntoTarget for (&str, &str) {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::NameOn(Atom::new(self.0)?, NodeName::new(self.1)?))
    }
}

impl IntoTarget for (&str, &NodeName) {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::NameOn(Atom::new(self.0)?, self.1.clone()))
    }
}

impl IntoTarget for (Atom, NodeName) {
    fn into_target(self) -> Result<Target, TargetError> {
        Ok(Target::NameOn(self.0, self.1))
    }

    #[inline]
    fn borrowed(&self) -> Option<TargetRef<'_>> {
        Some(TargetRef::NameOn(&self.0, &self.1))
    }
}
