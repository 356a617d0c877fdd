//! What `observer` and `etop` ask of a node (`observer_backend.erl`, `appmon_info.erl` of runtime_tools, and the
//! functions behind the window of a process), answered with the figures of this program. Nothing here is counted
//! or kept unless somebody looks, but for the messages that a process has handled.

mod appmon;
mod backend;
mod figures;
mod processes;

use super::builtins::on;
use super::functions::Functions;
use crate::etf::{Atom, Term};
use crate::node::{Exception, Node};
use crate::{atom, list, tuple};

/// Exports the functions.
pub(crate) fn install(node: &Node) {
    figures::install(node);
    processes::install(node);
    backend::install(node);
    appmon::install(node);
    let m = || atom!("erlang");
    // There are no ports.
    on(node, m(), atom!("ports"), |_, []| Ok(Term::NIL));
    on(node, m(), atom!("port_info"), |_, [port]| no_port(&port));
    on(node, m(), atom!("port_info"), |_, [port, _]| no_port(&port));
}

fn no_port(port: &Term) -> Result<Term, Exception> {
    match port {
        Term::Port(_) => Ok(Term::Atom(atom!("undefined"))),
        _ => Err(Exception::badarg()),
    }
}

/// `Module:module_info/0,1` for what has functions or servers here; `None` where it is not there. `observer` looks
/// for the behaviour.
pub(super) fn module_info(node: &Node, module: &Atom, args: &[Term]) -> Option<Result<Term, Exception>> {
    let all = node.extension::<Functions>().all();
    let mut functions = all.iter().filter(|(of, ..)| of == module).peekable();
    let is_server = node.children().iter().any(|child| child.module == *module);
    if functions.peek().is_none() && !is_server {
        return None;
    }
    let exports = functions.filter_map(|(_, function, arity)| match arity {
        super::Arity::Exactly(arity) => Some(tuple![function, *arity]),
        super::Arity::Any => None,
    });
    let exports = Term::list(exports);
    let attributes = match is_server {
        true => list![tuple![atom!("behaviour"), list![atom!("gen_server")]]],
        false => Term::NIL,
    };
    let outcome = match args {
        [] => list![
            tuple![atom!("module"), module],
            tuple![atom!("exports"), exports],
            tuple![atom!("attributes"), attributes],
            tuple![atom!("compile"), Term::NIL],
        ],
        [what] => match what.as_atom().map(Atom::as_str) {
            Some("module") => Term::Atom(module.clone()),
            Some("exports" | "functions") => exports,
            Some("attributes") => attributes,
            Some("compile") => Term::NIL,
            _ => return Some(Err(Exception::badarg())),
        },
        _ => return None,
    };
    Some(Ok(outcome))
}
