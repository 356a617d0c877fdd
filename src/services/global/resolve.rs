//! Names that two processes have when partitions meet: who keeps it.
//!
//! The side with the smaller node name asks the node of its own entry to run the method of that entry
//! (`global:resolve_it/4`), which gives one of the pids, or `none`.

use std::time::Duration;

use super::state::Conflict;
use super::terms::Op;
use crate::atom;
use crate::etf::{Atom, Fun, Pid, Term};
use crate::node::{Exception, Message, Node, Process, Reason, SpawnWith};
use crate::proto::NodeName;
use crate::tuple;

/// What the conflicts come to: changes for this partition, and for the other one.
pub(super) async fn settle(process: &mut Process, conflicts: Vec<Conflict>) -> (Vec<Op>, Vec<Op>) {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for Conflict { theirs, ours } in conflicts {
        let arguments = [ours.method.clone(), theirs.name.clone(), theirs.pid.clone().into(), ours.pid.clone().into()];
        let verdict = ask(process, &ours.pid, arguments).await;
        tracing::warn!(name = %theirs.name, theirs = %theirs.pid, ours = %ours.pid, verdict = ?verdict, "global: name conflict");
        match verdict {
            Ok(Term::Pid(pid)) if pid == theirs.pid => here.push(Op::Insert(theirs)),
            Ok(Term::Pid(pid)) if pid == ours.pid => there.push(Op::Insert(ours)),
            // The node of our entry cannot say, so it does not count.
            Err(_) => here.push(Op::Insert(theirs)),
            Ok(_) => {
                here.push(Op::Delete(theirs.name.clone()));
                there.push(Op::Delete(theirs.name));
            }
        }
    }
    (here, there)
}

/// `global:resolve_it(Method, Name, Pid1, Pid2)`: what the methods that come with `global` do. A
/// method that this node cannot run is `undef`.
///
/// # Errors
/// When the arguments are none, or the method is not one of `global`'s.
pub(super) async fn resolve_it(process: &Process, arguments: &[Term]) -> Result<Term, Exception> {
    let [method, name, Term::Pid(one), Term::Pid(other)] = arguments else { return Err(Exception::badarg()) };
    let (module, function) = match method {
        Term::Fun(fun) => match fun.as_ref() {
            Fun::Export { module, function, arity: 3 } => (module, function),
            Fun::Export { .. } => return Err(Exception::badarg()),
            Fun::Opaque(fun) => return Err(Exception::undef(&fun.module, &atom!("-fun-"), arguments.to_vec())),
        },
        Term::Tuple(_) => match method.as_tuple_of() {
            Some([Term::Atom(module), Term::Atom(function)]) => (module, function),
            _ => return Err(Exception::badarg()),
        },
        _ => return Err(Exception::badarg()),
    };
    let (kept, beaten) = if one.node < other.node { (one, other) } else { (other, one) };
    match (module.as_str(), function.as_str()) {
        ("global", "random_exit_name") => {
            tracing::warn!(%name, pid = %beaten, "global: name conflict; ends the process on the greater node");
            if let Err(error) = process.exit(beaten, &Reason::kill()).await {
                tracing::warn!(pid = %beaten, %error, "global: cannot end it");
            }
            Ok(kept.clone().into())
        }
        ("global", "random_notify_name") => {
            notify(process, beaten, &tuple![atom!("global_name_conflict"), name.clone()]).await;
            Ok(kept.clone().into())
        }
        ("global", "notify_all_name") => {
            notify(process, one, &tuple![atom!("global_name_conflict"), name.clone(), other.clone()]).await;
            notify(process, other, &tuple![atom!("global_name_conflict"), name.clone(), one.clone()]).await;
            Ok(atom!("none").into())
        }
        _ => Err(Exception::undef(module, function, vec![name.clone(), one.clone().into(), other.clone().into()])),
    }
}

async fn notify(process: &Process, pid: &Pid, message: &Term) {
    if let Err(error) = process.send(pid, message).await {
        tracing::warn!(%pid, %error, "global: cannot tell a process of a name conflict");
    }
}

/// Has the node of a pid choose.
async fn ask(process: &mut Process, ours: &Pid, arguments: [Term; 4]) -> Result<Term, String> {
    let node: Node = process.node();
    if ours.node == *node.name().as_atom() {
        return resolve_it(process, &arguments).await.map_err(|exception| exception.to_string());
    }
    let home = NodeName::try_from(&ours.node).map_err(|error| error.to_string())?;
    let result = node.make_ref();
    let call = [Term::from(result.clone()), atom!("global").into(), atom!("resolve_it").into(), Term::list(arguments)];
    let erpc: (Atom, Atom, Vec<Term>) = (atom!("erpc"), atom!("execute_call"), call.into());
    let with = SpawnWith { link: false, monitor: true };
    let monitor = process.spawn_request(&home, erpc, with).await.map_err(|error| error.to_string())?;
    let answer = process.recv_match(|message| match message {
        Message::Down { reference, reason, .. } if *reference == monitor => Some(Ok(reason.clone())),
        Message::Spawned { reference, result: Err(error) } if *reference == monitor => Some(Err(error.to_string())),
        _ => None,
    });
    let answer = tokio::time::timeout(RESOLVE_TIMEOUT, answer).await;
    let reason = answer.map_err(|_| format!("no answer within {RESOLVE_TIMEOUT:?}"))?;
    let reason = reason.map_err(|error| error.to_string())??.term().map_err(|error| error.to_string())?;
    match reason.as_tuple_of() {
        Some([Term::Ref(of), how, value]) if **of == result && how.is_atom("return") => Ok(value.clone()),
        _ => Err(reason.to_string()),
    }
}

/// How long a method may take; both partitions are locked meanwhile.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);
