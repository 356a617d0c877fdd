//! The functions that people and tools call on any node, as far as there is an honest answer. All
//! others are `undef`.

use crate::etf::{Atom, Term};
use crate::node::{Exception, Node};
use crate::proto::NodeName;
use crate::{atom, list, tuple};

use super::functions::{Arity, CallContext, Functions, apply, apply_fun};
use super::system_info::{system_info, version_text};
use super::{io, shell};

type Outcome = Result<Term, Exception>;

/// What Phoenix LiveDashboard loads into the nodes that it shows (`SystemInfo.ensure_loaded/1`). For `nofile` it sends
/// the code, does not look at the answer, and fails later on what has no meaning for people; any other error it
/// shows, with the name of the node.
const PUSHED_BY_LIVE_DASHBOARD: Atom = Atom::from_static("Elixir.Phoenix.LiveDashboard.SystemInfo");

/// Exports them.
pub(crate) fn install(node: &Node) {
    erlang(node);
    processes(node);
    kernel(node);
    gusset(node);
}

fn erlang(node: &Node) {
    let m = || atom!("erlang");
    on(node, m(), atom!("node"), |node, []| Ok(Term::Atom(node.name().as_atom().clone())));
    on(node, m(), atom!("nodes"), |node, []| Ok(names(node.nodes())));
    on(node, m(), atom!("nodes"), |node, [which]| nodes(node, &which));
    on(node, m(), atom!("is_alive"), |_, []| Ok(Term::from(true)));
    on(node, m(), atom!("system_info"), |node, [key]| system_info(node, &key));
    on(node, m(), atom!("function_exported"), |node, [module, function, arity]| {
        let (Term::Atom(module), Term::Atom(function), Some(arity)) = (module, function, arity.as_u64()) else {
            return Err(Exception::badarg());
        };
        Ok(Term::from(node.extension::<Functions>().has(&module, &function, arity as usize)))
    });
    node.export(m(), atom!("apply"), 3, |context: CallContext, args| async move {
        let (module, function, args) = super::erpc::module_function_args(args)?;
        apply(context.into_process(), &module, &function, args).await
    });
    node.export(m(), atom!("apply"), 2, |context: CallContext, args| async move {
        match <[Term; 2]>::try_from(args) {
            Ok([fun, Term::List(args)]) => apply_fun(context.into_process(), fun, args.into_vec()).await,
            _ => Err(Exception::badarg()),
        }
    });
}

fn processes(node: &Node) {
    let m = || atom!("erlang");
    on(node, m(), atom!("whereis"), |node, [name]| match name {
        Term::Atom(name) => Ok(node.whereis(name.as_str()).map_or(Term::Atom(atom!("undefined")), Term::Pid)),
        _ => Err(Exception::badarg()),
    });
    on(node, m(), atom!("registered"), |node, []| Ok(Term::list(node.registered().into_iter().map(Term::Atom))));
    on(node, m(), atom!("processes"), |node, []| {
        Ok(Term::list(node.processes().into_iter().map(|process| Term::Pid(process.pid))))
    });
    on(node, m(), atom!("is_process_alive"), |node, [pid]| match pid {
        Term::Pid(pid) if pid.node == *node.name().as_atom() => Ok(Term::from(node.is_alive(&pid))),
        _ => Err(Exception::badarg()),
    });
    node.export(m(), atom!("self"), 0, |context: CallContext, _| async move { Ok(Term::Pid(context.pid().clone())) });
    node.export(m(), atom!("group_leader"), 0, |mut context: CallContext, _| async move {
        let own = context.pid().clone();
        Ok(Term::Pid(context.process().group_leader().unwrap_or(own)))
    });
}

fn kernel(node: &Node) {
    on(node, atom!("net_kernel"), atom!("get_net_ticktime"), |node, []| {
        Ok(Term::from(node.config().net_ticktime.as_secs()))
    });
    on(node, atom!("net_kernel"), atom!("longnames"), |node, []| Ok(Term::from(node.name().is_long())));
    node.export(atom!("net_kernel"), atom!("connect_node"), 1, |context, args| async move {
        connect(&context, &args).await.map(Term::from)
    });
    node.export(atom!("net_adm"), atom!("ping"), 1, |context, args| async move {
        let there = connect(&context, &args).await?;
        Ok(Term::Atom(if there { atom!("pong") } else { atom!("pang") }))
    });
    shell::export_refusal(node);
    for function in [atom!("ensure_loaded"), atom!("load_file")] {
        on(node, atom!("code"), function, |node, [module]| {
            let module = a_module(module)?;
            if module == PUSHED_BY_LIVE_DASHBOARD {
                return Ok(tuple![atom!("error"), atom!("embedded")]);
            }
            Ok(match has_module(node, &module) {
                true => tuple![atom!("module"), module],
                false => tuple![atom!("error"), atom!("nofile")],
            })
        });
    }
    for function in [atom!("format"), atom!("fwrite")] {
        on(node, atom!("io_lib"), function, |_, [control, args]| {
            let text = io::call_for_text(&Term::Atom(atom!("io_lib")), &Term::Atom(atom!("format")), &[control, args]);
            text.map(|text| Term::charlist(&text)).ok_or_else(Exception::badarg)
        });
    }
    on(node, atom!("code"), atom!("is_loaded"), |node, [module]| {
        let module = a_module(module)?;
        Ok(match has_module(node, &module) {
            true => tuple![atom!("file"), Term::charlist("gusset")],
            false => Term::from(false),
        })
    });
    on(node, atom!("code"), atom!("which"), |node, [module]| {
        let module = a_module(module)?;
        let known = has_module(node, &module);
        Ok(Term::Atom(if known { atom!("preloaded") } else { atom!("non_existing") }))
    });
    on(node, atom!("application"), atom!("get_env"), |_, [_, _, default]| Ok(default));
    on(node, atom!("application"), atom!("get_env"), |_, [_, _]| Ok(Term::Atom(atom!("undefined"))));
    for function in [atom!("which_applications"), atom!("loaded_applications")] {
        on(node, atom!("application"), function, |_, []| {
            let text = Term::charlist;
            Ok(list![tuple![atom!("gusset"), text(env!("CARGO_PKG_DESCRIPTION")), text(env!("CARGO_PKG_VERSION"))]])
        });
    }
}

fn gusset(node: &Node) {
    on(node, atom!("gusset"), atom!("version"), |_, []| Ok(Term::from(env!("CARGO_PKG_VERSION"))));
    on(node, atom!("gusset"), atom!("info"), |node, []| {
        let pair = |key: Atom, value: Term| (Term::Atom(key), value);
        Ok(Term::map([
            pair(atom!("name"), Term::Atom(node.name().as_atom().clone())),
            pair(atom!("version"), Term::from(env!("CARGO_PKG_VERSION"))),
            pair(atom!("system_version"), Term::from(version_text().trim_end())),
            pair(atom!("creation"), Term::from(node.creation().0)),
            pair(atom!("hidden"), Term::from(node.config().hidden)),
            pair(atom!("uptime_ms"), Term::from(u64::try_from(node.uptime().as_millis()).unwrap_or(u64::MAX))),
            pair(atom!("nodes"), names(node.nodes())),
            pair(atom!("hidden_nodes"), names(node.hidden_nodes())),
            pair(atom!("processes"), Term::from(node.process_count())),
            pair(atom!("registered"), Term::list(node.registered().into_iter().map(Term::Atom))),
            pair(atom!("os_pid"), Term::from(std::process::id())),
        ]))
    });
    on(node, atom!("gusset"), atom!("functions"), |node, []| {
        let arity = |arity| match arity {
            Arity::Exactly(arity) => Term::from(arity),
            Arity::Any => Term::Atom(atom!("any")),
        };
        let all = node.exports().into_iter();
        Ok(Term::list(all.map(|(module, function, any)| tuple![module, function, arity(any)])))
    });
}

/// Exports a function that needs nothing but the node.
pub(super) fn on<const N: usize, F>(node: &Node, module: Atom, function: Atom, run: F)
where
    F: Fn(&Node, [Term; N]) -> Outcome + Send + Sync + 'static,
{
    let arity = u8::try_from(N).unwrap_or(u8::MAX);
    node.export(module, function, arity, move |context: CallContext, args: Vec<Term>| {
        let outcome = match <[Term; N]>::try_from(args) {
            Ok(args) => run(&context.node(), args),
            Err(_) => Err(Exception::badarg()),
        };
        std::future::ready(outcome)
    });
}

fn names(names: Vec<NodeName>) -> Term {
    Term::list(names.into_iter().map(|name| Term::Atom(name.into())))
}

/// `nodes/1`: one kind, or a list of kinds.
fn nodes(node: &Node, which: &Term) -> Outcome {
    let kinds = match which {
        Term::List(kinds) => kinds.as_slice(),
        kind => std::slice::from_ref(kind),
    };
    let mut all = Vec::new();
    for kind in kinds {
        all.extend(match kind.as_atom().map(Atom::as_str) {
            Some("visible") => node.nodes(),
            Some("hidden") => node.hidden_nodes(),
            Some("connected") => node.connected_nodes(),
            Some("this") => vec![node.name().clone()],
            Some("known") => [vec![node.name().clone()], node.connected_nodes()].concat(),
            _ => return Err(Exception::badarg()),
        });
    }
    all.sort();
    all.dedup();
    Ok(names(all))
}

async fn connect(context: &CallContext, args: &[Term]) -> Result<bool, Exception> {
    let [Term::Atom(name)] = args else { return Err(Exception::badarg()) };
    let Ok(name) = NodeName::try_from(name) else { return Ok(false) };
    let node = context.node();
    Ok(name == *node.name() || node.connect(name).await.is_ok())
}

/// True where people can call something of the module; those of a shell may be there only to say that it is not.
fn has_module(node: &Node, module: &Atom) -> bool {
    match shell::is_of_a_shell(module) {
        true => shell::is_open(node),
        false => node.extension::<Functions>().has_module(module),
    }
}

fn a_module(term: Term) -> Result<Atom, Exception> {
    match term {
        Term::Atom(module) => Ok(module),
        _ => Err(Exception::badarg()),
    }
}
