//! How large a term from somebody else may be.

/// Bounds on a term, checked before anything is allocated for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How deep tuples, lists, maps and funs may nest. A BEAM has no such limit; ten thousand levels
    /// are far beyond what programs send and far below what would cost memory.
    pub depth: usize,
    /// How many bytes the magnitude of an integer may have. Printing is quadratic in it.
    pub integer_bytes: usize,
    /// How many bytes a compressed term may have when it is inflated.
    pub inflated_bytes: usize,
    /// How many items (terms of any kind) there may be, which bounds the memory of a tree.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 10_000, integer_bytes: 1 << 20, inflated_bytes: 64 << 20, items: 64 << 20 }
    }
}
