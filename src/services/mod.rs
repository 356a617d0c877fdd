//! What other nodes expect to find here: servers under well-known names, and functions that they call.
//!
//! Services are processes like any user's. [`install_standard`] starts those that a well-behaved
//! member of a cluster has; a user adds others with [`Node::spawn_server`] and [`Node::export`].

mod builtins;
mod call;
mod erpc;
mod fan_out;
mod format;
mod functions;
mod gen_server;
pub mod global;
mod io;
mod logger;
mod net_kernel;
pub mod pg;
pub mod pubsub;
mod rex;
mod rpc;
mod server;
mod sys;
mod system_info;
pub mod tracker;

pub use call::CALL_TIMEOUT;
pub use functions::{Arity, CallContext};
pub use gen_server::{Envelope, ReplyTo};
pub use io::put_chars;
pub use rpc::RPC_TIMEOUT;
pub use server::{Answer, Next, Server, serve};

use crate::atom;
use crate::node::{Node, RegisterError};
use server::Named;

/// Installs what other nodes wait for answers of (`net_kernel`, `rex`, `erpc`, `global`), where they send
/// output and log events to (`user`, `logger_proxy`, `error_logger`), and the functions that people call on
/// any node.
///
/// # Errors
/// When one of the names is taken.
pub fn install_standard(node: &Node) -> Result<(), RegisterError> {
    // First, so that it is the group leader of all others.
    node.install(Named(atom!("user"), io::IoServer::new(io::Sink::Log)))?;
    node.install(Named(atom!("net_kernel"), net_kernel::NetKernel { node: node.clone() }))?;
    node.install(Named(atom!("rex"), rex::Rex::new(node)))?;
    node.install(Named(atom!("logger_proxy"), logger::LoggerProxy))?;
    node.install(Named(atom!("error_logger"), logger::ErrorLogger))?;
    erpc::install(node);
    builtins::install(node);
    if !node.config().hidden {
        global::install(node)?;
    }
    Ok(())
}
