//! Node names: `name@host`.

use std::fmt;
use std::str::FromStr;

use crate::etf::Atom;

/// The full name of a node, `name@host`, with exactly one `@` and something on both sides of it:
/// the check that a BEAM makes of a peer's name (`dist_util.erl:is_name_ok`).
///
/// Ordered as Erlang orders atoms, which decides simultaneous connects.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Atom);

impl NodeName {
    /// Checks a name.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NodeNameError> {
        let name = name.as_ref();
        let error = |problem| NodeNameError { name: name.to_owned(), problem };
        match name.split_once('@') {
            None => return Err(error("it has no `@`: a node is called `name@host`")),
            Some(("", _)) => return Err(error("nothing stands before the `@`")),
            Some((_, "")) => return Err(error("nothing stands behind the `@`")),
            Some((_, host)) if host.contains('@') => return Err(error("it has more than one `@`")),
            Some(_) => {}
        }
        if name.chars().any(|c| c.is_control() || c == ' ') {
            return Err(error("it has blanks or control characters"));
        }
        Atom::new(name).map(Self).map_err(|_| error("it has more than 255 characters"))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The whole name as an atom.
    pub fn as_atom(&self) -> &Atom {
        &self.0
    }

    /// The part before the `@`, under which EPMD knows the node.
    pub fn name(&self) -> &str {
        self.as_str().split_once('@').map_or("", |(name, _)| name)
    }

    /// The part behind the `@`.
    pub fn host(&self) -> &str {
        self.as_str().split_once('@').map_or("", |(_, host)| host)
    }

    /// True for names that a BEAM started with `-name` takes (a dot or an IP address behind the `@`).
    pub fn is_long(&self) -> bool {
        self.host().contains('.') || self.host().parse::<std::net::IpAddr>().is_ok()
    }
}

/// A name that no node can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not the name of a node: {problem}")]
pub struct NodeNameError {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(name: &str) -> Result<Self, NodeNameError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for NodeName {
    type Error = NodeNameError;

    fn try_from(name: &str) -> Result<Self, NodeNameError> {
        Self::new(name)
    }
}

impl TryFrom<&Atom> for NodeName {
    type Error = NodeNameError;

    fn try_from(name: &Atom) -> Result<Self, NodeNameError> {
        Self::new(name.as_str())
    }
}

impl From<NodeName> for Atom {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_one_at_and_something_on_both_sides() {
        for bad in ["noat", "@h", "a@", "a@b@c", "a b@c", ""] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
        let name = NodeName::new("worker@10-0-0-7.default.pod.cluster.local").unwrap();
        assert_eq!((name.name(), name.host()), ("worker", "10-0-0-7.default.pod.cluster.local"));
        assert!(name.is_long());
        assert!(!NodeName::new("a@vm").unwrap().is_long());
        assert!(NodeName::new("a@127.0.0.1").unwrap().is_long());
    }
}
