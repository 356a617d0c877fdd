//! Sockets: listening, dialling, EPMD, and the two tasks of a connection.

mod target;

pub use target::{DialTarget, DialTargetError};
