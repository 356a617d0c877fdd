//! `gusset_sup`: shows what runs on this node to those who ask a supervisor (`supervisor:which_children/1`
//! and its relatives). It starts, stops and restarts nothing for others.

use super::children::{Child, ChildKind};
use super::gen_server::ReplyTo;
use super::server::{Answer, GenServer};
use crate::etf::{Atom, Term};
use crate::node::{Node, Process};
use crate::{atom, list, tuple};

/// The name of the supervisor.
pub(crate) const SUPERVISOR: Atom = Atom::from_static("gusset_sup");

/// The server of that name.
pub(crate) struct Supervisor {
    pub(crate) node: Node,
}

impl GenServer for Supervisor {
    type Call = Term;
    type Cast = Term;
    type Reply = Term;

    async fn handle_call(&mut self, request: Term, _from: ReplyTo, _process: &mut Process) -> Answer<Term> {
        Answer::Reply(answer(&request, &self.node.children()))
    }

    fn state(&self) -> Term {
        Term::list(self.node.children().iter().map(which))
    }

    fn module(&self) -> Atom {
        atom!("supervisor")
    }
}

/// What a supervisor that starts nothing for others says (`supervisor:handle_call/3`).
fn answer(request: &Term, children: &[Child]) -> Term {
    let (what, rest) = match request {
        Term::Atom(what) => (what.as_str(), [].as_slice()),
        Term::Tuple(parts) => match parts.split_first() {
            Some((Term::Atom(what), rest)) => (what.as_str(), rest),
            _ => return error("badarg"),
        },
        _ => return error("badarg"),
    };
    let find = |id: &Term| children.iter().find(|child| child.id == *id);
    match (what, rest) {
        ("which_children", []) => Term::list(children.iter().map(which)),
        ("count_children", []) => {
            let supervisors = children.iter().filter(|child| child.kind == ChildKind::Supervisor).count();
            let pair = |key: Atom, count: usize| tuple![key, count];
            list![
                pair(atom!("specs"), children.len()),
                pair(atom!("active"), children.len()),
                pair(atom!("supervisors"), supervisors),
                pair(atom!("workers"), children.len() - supervisors),
            ]
        }
        ("which_child", [id]) => find(id).map_or_else(|| error("not_found"), |child| tuple![atom!("ok"), which(child)]),
        ("get_childspec", [id]) => {
            find(id).map_or_else(|| error("not_found"), |child| tuple![atom!("ok"), spec(child)])
        }
        ("get_callback_module", []) => Term::Atom(atom!("gusset")),
        // What a supervisor says of a child that runs, and all of these do.
        ("restart_child" | "delete_child", [id]) => error(if find(id).is_some() { "running" } else { "not_found" }),
        ("terminate_child", [id]) if find(id).is_none() => error("not_found"),
        _ => error("not_supported"),
    }
}

/// `{Id, Child, Type, Modules}`.
fn which(child: &Child) -> Term {
    tuple![child.id.clone(), &child.pid, child.kind.atom(), list![&child.module]]
}

/// A child specification; nobody can start from it.
fn spec(child: &Child) -> Term {
    let pair = |key: Atom, value: Term| (Term::Atom(key), value);
    Term::map([
        pair(atom!("id"), child.id.clone()),
        pair(atom!("start"), tuple![&child.module, atom!("start_link"), Term::NIL]),
        pair(atom!("restart"), atom!("temporary").into()),
        pair(atom!("significant"), false.into()),
        pair(atom!("shutdown"), atom!("brutal_kill").into()),
        pair(atom!("type"), child.kind.atom().into()),
        pair(atom!("modules"), list![&child.module]),
    ])
}

fn error(reason: &'static str) -> Term {
    tuple![atom!("error"), Atom::from_static(reason)]
}
