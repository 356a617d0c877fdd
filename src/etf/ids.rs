//! Identifiers: pids, ports, references, and the creation that tells the lives of a node apart.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::atom::Atom;

/// Which life of a node an identifier belongs to: a node that restarts under the same name has
/// another creation, and identifiers of its earlier lives mean nothing to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Creation(pub u32);

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A process identifier.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pid {
    /// The node that made it.
    pub node: Atom,
    /// First number of the printed form.
    pub id: u32,
    /// Second number of the printed form.
    pub serial: u32,
    /// The life of `node` that made it.
    pub creation: Creation,
}

impl Ord for Pid {
    /// As Erlang orders pids: serial, id, node name, creation (`utils.c:erts_cmp`). `global` sorts
    /// its lock requesters by it, so both sides of a connection have to agree.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.serial, self.id)
            .cmp(&(other.serial, other.id))
            .then_with(|| self.node.cmp(&other.node))
            .then_with(|| self.creation.cmp(&other.creation))
    }
}

impl PartialOrd for Pid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Pid {
    /// `#Pid<node.id.serial>`: the node by name, as nobody here has numbers for nodes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Pid<{}.{}.{}>", self.node, self.id, self.serial)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Pid<{}/{}.{}.{}>", self.node, self.creation, self.id, self.serial)
    }
}

/// A port identifier. A gusset has no ports of its own; it carries those of others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// The node that made it.
    pub node: Atom,
    /// Number of the port; more than 28 bits only from nodes with `V4_NC`.
    pub id: u64,
    /// The life of `node` that made it.
    pub creation: Creation,
}

impl Ord for Port {
    /// As Erlang orders ports: node name, creation, number (`utils.c:erts_cmp`).
    fn cmp(&self, other: &Self) -> Ordering {
        self.node.cmp(&other.node).then_with(|| self.creation.cmp(&other.creation)).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Port<{}.{}>", self.node, self.id)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Port<{}/{}.{}>", self.node, self.creation, self.id)
    }
}

/// The most words a reference may have.
pub const MAX_REF_WORDS: usize = 5;

/// A reference (also an alias: an alias *is* a reference).
///
/// Words that are missing count as zero: a reference of three words equals the same one padded to
/// five. The number of words that came is kept, so that a reference is echoed as it came.
#[derive(Clone)]
pub struct Ref {
    /// The node that made it.
    pub node: Atom,
    /// The life of `node` that made it.
    pub creation: Creation,
    words: [u32; MAX_REF_WORDS],
    /// A whole word, so that nothing is moved in pieces.
    len: usize,
}

impl Ref {
    /// A reference of one to five words; `None` for any other number of words.
    pub fn new(node: Atom, creation: Creation, words: &[u32]) -> Option<Self> {
        let mut padded = [0; MAX_REF_WORDS];
        padded.get_mut(..words.len())?.copy_from_slice(words);
        if words.is_empty() {
            return None;
        }
        Some(Self { node, creation, words: padded, len: words.len() })
    }

    /// A reference of three words, the form that every release takes.
    pub const fn from_three(node: Atom, creation: Creation, words: [u32; 3]) -> Self {
        Self { node, creation, words: [words[0], words[1], words[2], 0, 0], len: 3 }
    }

    /// The words, as many as came on the wire.
    pub fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }
}

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words && self.creation == other.creation && self.node == other.node
    }
}

impl Eq for Ref {}

impl Hash for Ref {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words.hash(state);
        self.creation.hash(state);
        self.node.hash(state);
    }
}

impl Ord for Ref {
    /// As Erlang orders references: node name, creation, then the words from the highest down.
    fn cmp(&self, other: &Self) -> Ordering {
        self.node
            .cmp(&other.node)
            .then_with(|| self.creation.cmp(&other.creation))
            .then_with(|| self.words.iter().rev().cmp(other.words.iter().rev()))
    }
}

impl PartialOrd for Ref {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Ref<{}", self.node)?;
        for word in self.words().iter().rev() {
            write!(f, ".{word}")?;
        }
        f.write_str(">")
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#Ref<{}/{}", self.node, self.creation)?;
        for word in self.words() {
            write!(f, ".{word}")?;
        }
        f.write_str(">")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;

    #[test]
    fn padded_references_are_equal_and_keep_their_length() {
        let short = Ref::new(atom!("a@b"), Creation(7), &[1, 2, 3]).unwrap();
        let long = Ref::new(atom!("a@b"), Creation(7), &[1, 2, 3, 0, 0]).unwrap();
        assert_eq!(short, long);
        assert_eq!((short.words().len(), long.words().len()), (3, 5));
        assert!(Ref::new(atom!("a@b"), Creation(7), &[]).is_none());
        assert!(Ref::new(atom!("a@b"), Creation(7), &[0; 6]).is_none());
    }

    #[test]
    fn pids_order_by_serial_and_id_before_node() {
        let pid = |node: &str, id, serial| Pid { node: Atom::new(node).unwrap(), id, serial, creation: Creation(1) };
        assert!(pid("z@h", 1, 0) < pid("a@h", 2, 0));
        assert!(pid("z@h", 9, 0) < pid("a@h", 1, 1));
        assert!(pid("a@h", 1, 0) < pid("b@h", 1, 0));
    }
}
