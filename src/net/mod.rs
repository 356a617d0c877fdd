//! Sockets: listening, dialling, EPMD, and the two tasks of a connection.

pub mod channel;
mod target;

pub use target::{DialTarget, DialTargetError};
