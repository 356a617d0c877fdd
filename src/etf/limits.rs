//! How large a term from somebody else may be.

use super::error::{DecodeError, DecodeErrorKind};

/// Bounds on a term, checked before anything is allocated for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How deep tuples, lists, maps and funs may nest. A BEAM has no such limit; ten thousand levels
    /// are far beyond what programs send and far below what would cost memory.
    pub depth: usize,
    /// How deep a [`Term`](super::Term) may be that is built from bytes or text. Less than `depth`,
    /// as a tree is cloned, compared and printed by recursion. In a debug build a level takes up to
    /// 1.7 KiB of the stack, and all 256 up to 416 KiB: a fifth of the 2 MiB that Rust and tokio give
    /// a thread. On a thread with less than 1 MiB, set less.
    pub tree_depth: usize,
    /// How deep the values may nest that serde builds from bytes: the code that serde derives
    /// recurses, and takes up to 5 KiB of the stack per level in a debug build, so up to 352 KiB for
    /// all 64. Types with large values of their own take more.
    pub serde_depth: usize,
    /// How many bytes the magnitude of an integer may have. Printing is quadratic in it.
    pub integer_bytes: usize,
    /// How many bytes a compressed term may have when it is inflated.
    pub inflated_bytes: usize,
    /// How many items (terms of any kind) there may be, which bounds the memory of a tree.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 10_000,
            tree_depth: 256,
            serde_depth: 64,
            integer_bytes: 1 << 20,
            inflated_bytes: 64 << 20,
            items: 64 << 20,
        }
    }
}

impl Limits {
    /// An error at `offset` when `value` is more than `limit`.
    pub(crate) fn check(
        &self,
        what: &'static str,
        value: usize,
        limit: usize,
        setting: &'static str,
        offset: usize,
    ) -> Result<(), DecodeError> {
        if value <= limit {
            return Ok(());
        }
        let (value, limit) = (value as u64, limit as u64);
        Err(DecodeError::new(offset, DecodeErrorKind::Limit { what, value, limit, setting }))
    }
}
