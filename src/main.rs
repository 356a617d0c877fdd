//! The `gusset` binary.

fn main() {}
