//! Whom a call or cast is for: what a process is named by on its node, or a name in `global`.

use crate::etf::Term;
use crate::node::{IntoTarget, Node, SendError, Target};

/// A name in `global`: `{global, Name}`, as which `{via, global, Name}` is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalName(Term);

/// A name in `global`, to call or cast to: `node.call(global_name(atom!("leader")), …)` is
/// `GenServer.call({:global, :leader}, …)`. Text is a binary, as in `{:global, "leader"}`.
pub fn global_name(name: impl Into<Term>) -> GlobalName {
    GlobalName(name.into())
}

/// What a call or cast can be for: all that is a [`Target`] (a pid, `"name"`, `("name", node)`, a
/// [`ServerRef`](super::ServerRef)), and a [`global_name`]. Other modules of `{via, Module, Name}` keep
/// their names on one node, and mean nothing from outside.
pub trait Destination {
    /// Finds the process; a name in `global` is looked up now.
    ///
    /// # Errors
    /// When text in it cannot be a name, or nobody has the name (on hidden nodes nobody ever has one).
    fn find(self, node: &Node) -> Result<Target, SendError>;
}

impl<T: IntoTarget> Destination for T {
    fn find(self, _: &Node) -> Result<Target, SendError> {
        Ok(self.into_target()?)
    }
}

impl Destination for &GlobalName {
    fn find(self, node: &Node) -> Result<Target, SendError> {
        let pid = node.global().and_then(|global| global.whereis(&self.0));
        pid.map(Target::Pid).ok_or_else(|| SendError::NoSuchName(self.0.clone()))
    }
}

impl Destination for GlobalName {
    fn find(self, node: &Node) -> Result<Target, SendError> {
        (&self).find(node)
    }
}
