//! The terms that `global_name_server`s exchange, taken apart and put together.

use crate::atom;
use crate::etf::{Atom, Pid, Term};
use crate::node::Target;
use crate::proto::NodeName;
use crate::tuple;

/// The name that every node has its server under.
pub(crate) const SERVER: Atom = Atom::from_static("global_name_server");

/// The version of `global`'s protocol that this is: that of OTP 25 to 29.
pub(crate) const VERSION: u8 = 8;
/// From here on lockers talk through the servers; before, directly to each other (OTP 23 has 5).
pub(crate) const LOCK_SET_VIA_SERVER: u8 = 6;
/// From here on `lost_connection` and `remove_connection` exist, and lists of nodes carry versions.
pub(crate) const OVERLAP_VERSION: u8 = 7;
/// From here on there are `init_connect_ack` and `cancel_connect`, and `lock_set` carries a tag.
pub(crate) const ACK_VERSION: u8 = 8;
/// The oldest that anybody speaks; lockers of older ones work differently.
pub(crate) const OLDEST: u8 = 5;

/// A registration: `{Name, Pid, Method}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Any term.
    pub(crate) name: Term,
    pub(crate) pid: Pid,
    /// The function that settles a conflict: a fun of arity 3, or `{Module, Function}`.
    pub(crate) method: Term,
}

impl Entry {
    pub(crate) fn read(term: &Term) -> Option<Self> {
        let [name, Term::Pid(pid), method] = term.as_tuple_of()? else { return None };
        Some(Self { name: name.clone(), pid: pid.clone(), method: method.clone() })
    }

    pub(crate) fn term(&self) -> Term {
        tuple![self.name.clone(), self.pid.clone(), self.method.clone()]
    }

    /// All entries of a list; what is none is left out.
    pub(crate) fn read_all(list: &Term) -> Vec<Self> {
        elements(list).iter().filter_map(Self::read).collect()
    }
}

/// A change of the table of names: `{insert, Entry}` or `{delete, Name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Insert(Entry),
    Delete(Term),
}

impl Op {
    pub(crate) fn read_all(list: &Term) -> Vec<Self> {
        let read = |term: &Term| {
            let [op, what] = term.as_tuple_of()?;
            match op.as_atom()?.as_str() {
                "insert" => Entry::read(what).map(Self::Insert),
                "delete" => Some(Self::Delete(what.clone())),
                _ => None,
            }
        };
        elements(list).iter().filter_map(read).collect()
    }

    pub(crate) fn term(&self) -> Term {
        match self {
            Self::Insert(entry) => tuple![atom!("insert"), entry.term()],
            Self::Delete(name) => tuple![atom!("delete"), name.clone()],
        }
    }
}

pub(crate) fn ops_term(ops: &[Op]) -> Term {
    Term::list(ops.iter().map(Op::term))
}

/// A process that registered a name for a process of a C node: `{Name, Pid, RegNode}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    pub(crate) name: Term,
    pub(crate) pid: Pid,
    pub(crate) node: Atom,
}

impl External {
    pub(crate) fn read_all(list: &Term) -> Vec<Self> {
        let read = |term: &Term| {
            let [name, Term::Pid(pid), Term::Atom(node)] = term.as_tuple_of()? else { return None };
            Some(Self { name: name.clone(), pid: pid.clone(), node: node.clone() })
        };
        elements(list).iter().filter_map(read).collect()
    }

    pub(crate) fn term(&self) -> Term {
        tuple![self.name.clone(), self.pid.clone(), self.node.clone()]
    }
}

/// Nodes with the version that each speaks; 0 where the peer that told of it is too old to say.
pub(crate) type Versions = Vec<(NodeName, u8)>;

/// Reads `[Node]` and `[{Node, Version}]`; what is no name of a node is left out.
pub(crate) fn read_nodes(list: &Term) -> Versions {
    let read = |term: &Term| match term {
        Term::Atom(node) => Some((NodeName::try_from(node).ok()?, 0)),
        other => {
            let [Term::Atom(node), version] = other.as_tuple_of()? else { return None };
            Some((NodeName::try_from(node).ok()?, version_of(version)?))
        }
    };
    elements(list).iter().filter_map(read).collect()
}

/// Writes a list of nodes for a peer of that version.
pub(crate) fn nodes_term<'a>(nodes: impl IntoIterator<Item = (&'a NodeName, u8)>, for_version: u8) -> Term {
    let write = |(node, version): (&NodeName, u8)| {
        if for_version >= OVERLAP_VERSION { tuple![node_term(node), version] } else { node_term(node) }
    };
    Term::list(nodes.into_iter().map(write))
}

/// A version; those above 255 are as good as 255, as the smaller of both sides counts.
pub(crate) fn version_of(term: &Term) -> Option<u8> {
    term.as_u64().map(|version| u8::try_from(version).unwrap_or(u8::MAX))
}

pub(crate) fn node_term(node: &NodeName) -> Term {
    Term::Atom(node.as_atom().clone())
}

pub(crate) fn node_of(term: &Term) -> Option<NodeName> {
    NodeName::try_from(term.as_atom()?).ok()
}

/// The server of a node.
pub(crate) fn server_on(node: &NodeName) -> Target {
    Target::NameOn(SERVER, node.clone())
}

pub(crate) fn cast(body: Term) -> Term {
    tuple![atom!("$gen_cast"), body]
}

/// `{ResourceId, LockRequesterId}`.
pub(crate) fn lock_term(resource: Term, requester: Term) -> Term {
    tuple![resource, requester]
}

/// The resource that registrations and synchronisations lock.
pub(crate) fn global_resource() -> Term {
    Term::Atom(atom!("global"))
}

/// The requester that both lockers of a connection lock as: their pids, in order.
pub(crate) fn locker_requester(a: &Pid, b: &Pid) -> Term {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    Term::list([Term::Pid(first.clone()), Term::Pid(second.clone())])
}

fn elements(list: &Term) -> &[Term] {
    list.as_list().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Creation;
    use crate::list;

    #[test]
    fn nodes_are_read_with_and_without_versions() {
        let list = list![atom!("a@h"), tuple![atom!("b@h"), 7], tuple![atom!("c@h"), 1000], atom!("nonode"), 3];
        let name = |text: &str| NodeName::new(text).unwrap();
        let read = read_nodes(&list);
        assert_eq!(read, [(name("a@h"), 0), (name("b@h"), 7), (name("c@h"), 255)]);
        let pairs = || read.iter().map(|(node, version)| (node, *version)).take(2);
        assert_eq!(nodes_term(pairs(), 5), list![atom!("a@h"), atom!("b@h")]);
        assert_eq!(nodes_term(pairs(), 8), list![tuple![atom!("a@h"), 0], tuple![atom!("b@h"), 7]]);
    }

    #[test]
    fn both_sides_name_the_same_requester() {
        let pid = |node: &str, id| Pid { node: Atom::new(node).unwrap(), id, serial: 0, creation: Creation(1) };
        let (a, b) = (pid("a@h", 9), pid("b@h", 3));
        assert_eq!(locker_requester(&a, &b), list![b.clone(), a.clone()]);
        assert_eq!(locker_requester(&b, &a), list![b, a]);
    }

    #[test]
    fn what_is_no_operation_is_left_out() {
        let pid = Pid { node: atom!("a@h"), id: 1, serial: 0, creation: Creation(1) };
        let entry = Entry { name: Term::from("x"), pid: pid.clone(), method: tuple![atom!("m"), atom!("f")] };
        let ops = vec![Op::Insert(entry), Op::Delete(Term::from(1))];
        let mut list = ops_term(&ops).as_list().unwrap().to_vec();
        list.push(tuple![atom!("insert"), atom!("nothing")]);
        list.push(Term::from(7));
        assert_eq!(Op::read_all(&Term::from(list)), ops);
        assert!(Op::read_all(&Term::from(1)).is_empty());
    }
}
