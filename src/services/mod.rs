//! What other nodes expect to find here: servers under well-known names, and functions that they call.
//!
//! Services are processes like any user's. [`install_standard`] starts those that a well-behaved
//! member of a cluster has; a user adds others with [`Node::start_server`] and [`Node::export`].

mod builtins;
mod call;
mod children;
mod destination;
mod erpc;
mod export;
mod fan_out;
mod format;
mod functions;
mod gen_server;
pub mod global;
mod io;
mod logger;
mod mnesia;
mod net_kernel;
mod observer;
pub mod pg;
pub mod pubsub;
mod request;
mod rex;
mod rpc;
mod serve;
mod server;
mod server_ref;
pub mod shell;
mod singleton;
mod supervisor;
mod sys;
mod system_info;
pub mod tracker;

pub use call::CALL_TIMEOUT;
pub use children::{Child, ChildKind};
pub use destination::{Destination, GlobalName, global_name};
pub use export::{Function, Outcome};
pub use functions::{Arity, CallContext};
pub use gen_server::{Envelope, ReplyTo};
pub use io::{InputError, Line, get_line, put_chars};
pub use mnesia::{Mnesia, MnesiaError};
pub use request::RequestId;
pub use rpc::RPC_TIMEOUT;
pub use serve::serve;
pub use server::{Answer, GenServer, Next, Unreadable};
pub use server_ref::ServerRef;
pub use shell::Shell;
pub use singleton::{Leadership, Singleton};

use crate::atom;
use crate::etf::Atom;
use crate::node::{Node, RegisterError, Service};
use children::Listed;
use serve::Named;

/// Installs what other nodes wait for answers of (`net_kernel`, `rex`, `erpc`, `global`), the supervisor that shows what runs (`gusset_sup`), where they send
/// output and log events to (`user`, `logger_proxy`, `error_logger`), and the functions that people call on
/// any node.
///
/// # Errors
/// When one of the names is taken.
pub fn install_standard(node: &Node) -> Result<(), RegisterError> {
    // First, so that it is the group leader of all others.
    list(node, atom!("user"), Named(atom!("user"), io::IoServer::new(io::Sink::Log)))?;
    node.install(Named(supervisor::SUPERVISOR, supervisor::Supervisor { node: node.clone() }))?;
    list(node, atom!("net_kernel"), Named(atom!("net_kernel"), net_kernel::NetKernel { node: node.clone() }))?;
    list(node, atom!("rpc"), Named(atom!("rex"), rex::Rex::new(node)))?;
    list(node, atom!("logger_proxy"), Named(atom!("logger_proxy"), logger::LoggerProxy))?;
    list(node, atom!("error_logger"), Named(atom!("error_logger"), logger::ErrorLogger))?;
    erpc::install(node);
    builtins::install(node);
    observer::install(node);
    if !node.config().hidden {
        global::install(node)?;
    }
    Ok(())
}

/// Installs a service that the node's supervisor shows.
fn list(node: &Node, module: Atom, service: impl Service) -> Result<(), RegisterError> {
    node.install(Listed { service, module }).map(drop)
}
