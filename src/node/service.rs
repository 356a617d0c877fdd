//! Services: what other nodes expect to find under a name.

use futures_util::future::BoxFuture;

use super::process::Process;
use super::reason::Reason;
use crate::etf::Atom;

/// A process under a well-known name. The standard ones are in [`services`](crate::services); a user
/// can leave one out, or add one the same way.
pub trait Service: Send + 'static {
    /// The name that it is registered under.
    fn name(&self) -> Atom;

    /// Runs until it gives the reason to exit with; ended with the node.
    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason>;
}
