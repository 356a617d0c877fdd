//! gusset: a Rust process that is a real member of an Erlang/Elixir cluster.
//!
//! It speaks the Erlang distribution protocol, registers with EPMD or brings its own, shakes hands in
//! both directions, and is a visible member that answers what other nodes wait for. A discovery loop
//! decides whom to connect to.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gusset::{Cookie, Node};
//!
//! let node = Node::builder("worker@127.0.0.1").cookie(Cookie::new("secret")?).start().await?;
//! node.connect("iex@127.0.0.1".parse::<gusset::DialTarget>()?).await?;
//! let mut inbox = node.register("inbox")?;
//! inbox.send(("logger", "iex@127.0.0.1"), "started").await?;
//! let (question, answer): (String, i64) = inbox.recv().await?.decode()?;
//! # Ok(()) }
//! ```
//!
//! The rooms, from the ground up: [`etf`] (terms), [`proto`] (the protocol without I/O), [`net`]
//! (sockets), [`node`] (processes and peers), [`services`] (what a BEAM expects to find) beside
//! [`discovery`] (whom to connect to), and [`builder`], which puts a node together. A room uses only
//! rooms below it.

pub mod builder;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
mod config;
pub mod discovery;
pub mod etf;
pub mod net;
pub mod node;
pub mod ops;
pub mod proto;
pub mod services;

pub use builder::{BuildError, NodeBuilder};
pub use etf::{Atom, Creation, Payload, Pid, Port, Ref, Term};
pub use net::{DialTarget, EpmdMode};
pub use node::{
    CallError, ConnectFailed, Ended, Exception, Message, Node, NodeConfig, NodeEvent, Process, Reason, RegisterError,
    SendError, Service, Target,
};
pub use proto::{Cookie, NodeName};
pub use services::{Answer, Arity, CallContext, GenServer, Next, ReplyTo, ServerRef, global_name};

/// The code of the page about `pg` and PubSub.
#[cfg(doctest)]
#[doc = include_str!("../docs/pubsub.md")]
struct PubSubPage;

/// The code of the README, which is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the page about the shell, likewise.
#[cfg(doctest)]
#[doc = include_str!("../docs/shell.md")]
struct ShellPage;
