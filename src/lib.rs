//! gusset: a Rust process that is a real member of an Erlang/Elixir cluster.

pub mod discovery;
pub mod etf;
pub mod net;
pub mod node;
pub mod proto;
pub mod services;
