//! What other nodes expect to find here.

pub mod global;

/// TEMP
pub fn install_standard(_: &crate::node::Node) -> Result<(), crate::node::RegisterError> { Ok(()) }
