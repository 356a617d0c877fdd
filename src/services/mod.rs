//! What other nodes expect to find here.

pub mod global;
