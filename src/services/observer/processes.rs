//! `erlang:process_info/1,2` and what else the window of a process asks for (`observer_procinfo.erl`).

use std::time::Duration;

use crate::etf::{Atom, Pid, Term};
use crate::node::{Exception, Message, Node, ProcessDetails, ProcessInfo};
use crate::services::builtins::on;
use crate::services::functions::CallContext;
use crate::{atom, list, tuple};

/// How long `sys:get_status/1` waits, as in `sys.erl`.
const SYS_TIMEOUT: Duration = Duration::from_secs(5);

/// Exports the functions.
pub(super) fn install(node: &Node) {
    let m = || atom!("erlang");
    on(node, m(), atom!("process_info"), |node, [pid]| {
        let Some(process) = details(node, &pid)? else { return Ok(Term::Atom(atom!("undefined"))) };
        let named = |item: &&str| *item != "registered_name" || !process.info.names.is_empty();
        Ok(Term::list(
            ALL_ITEMS
                .iter()
                .copied()
                .filter(|item| named(item))
                .filter_map(|name| Some(tuple![Atom::from_static(name), item(node, &process, name)?])),
        ))
    });
    on(node, m(), atom!("process_info"), |node, [pid, items]| {
        let Some(process) = details(node, &pid)? else { return Ok(Term::Atom(atom!("undefined"))) };
        match &items {
            Term::List(items) => {
                Ok(Term::List(items.iter().map(|item| pair(node, &process, item)).collect::<Result<_, _>>()?))
            }
            // A process without a name has the empty list for it, where it is asked for alone.
            one if one.is_atom("registered_name") && process.info.names.is_empty() => Ok(Term::NIL),
            one => pair(node, &process, one),
        }
    });
    let m = || atom!("proc_lib");
    on(node, m(), atom!("translate_initial_call"), |node, [pid]| {
        Ok(match &pid {
            Term::Pid(pid) => server_module(node, pid).map_or_else(
                // What `proc_lib` says of a process that it knows nothing of.
                || tuple![atom!("proc_lib"), atom!("init_p"), 5],
                |module| tuple![module, atom!("init"), 1],
            ),
            _ => return Err(Exception::badarg()),
        })
    });
    on(node, m(), atom!("get_label"), |node, [pid]| {
        Ok(details(node, &pid)?.map_or(Term::Atom(atom!("undefined")), |process| label(&process.info)))
    });
    node.export(atom!("sys"), atom!("get_status"), 1, get_status);
    node.export(atom!("sys"), atom!("get_status"), 2, get_status);
}

/// A process of this node; `None` where it has ended.
fn details(node: &Node, pid: &Term) -> Result<Option<ProcessDetails>, Exception> {
    match pid {
        Term::Pid(pid) if pid.node == *node.name().as_atom() => Ok(node.process_details(pid)),
        _ => Err(Exception::badarg()),
    }
}

/// What `process_info/1` tells.
const ALL_ITEMS: [&str; 16] = [
    "registered_name",
    "current_function",
    "initial_call",
    "status",
    "message_queue_len",
    "links",
    "dictionary",
    "trap_exit",
    "error_handler",
    "priority",
    "group_leader",
    "total_heap_size",
    "heap_size",
    "stack_size",
    "reductions",
    "garbage_collection",
];

fn pair(node: &Node, process: &ProcessDetails, what: &Term) -> Result<Term, Exception> {
    if let Some([dictionary, key]) = what.as_tuple_of()
        && dictionary.is_atom("dictionary")
    {
        let value = match key.as_atom().map(Atom::as_str) {
            Some("$initial_call") => function_of(&process.info),
            Some("$process_label") => label(&process.info),
            _ => Term::Atom(atom!("undefined")),
        };
        return Ok(tuple![what.clone(), value]);
    }
    let name = what.as_atom().ok_or_else(Exception::badarg)?;
    Ok(tuple![name, item(node, process, name.as_str()).ok_or_else(Exception::badarg)?])
}

/// What there is to know about a process. What only a BEAM has (heaps, stacks, collections) is there for the sake of
/// those who look, as nothing or zero.
fn item(node: &Node, process: &ProcessDetails, item: &str) -> Option<Term> {
    let ProcessDetails { info, links, monitors, monitored_by, group_leader, trap_exit, .. } = process;
    let pids = |pids: &[Pid]| Term::list(pids.iter().cloned().map(Term::Pid));
    Some(match item {
        "registered_name" => info.names.first().map_or(Term::NIL, |name| Term::Atom(name.clone())),
        "initial_call" | "current_function" => function_of(info),
        "status" => Term::Atom(atom!("waiting")),
        "message_queue_len" => Term::from(info.queued),
        "messages" => messages(info.queued),
        "label" => label(info),
        "links" => pids(links),
        "monitors" => Term::list(monitors.iter().map(|target| {
            let object = match target {
                // Where the name is, is told as well.
                crate::node::Target::Name(name) => tuple![name, node.name().as_atom()],
                other => other.term(),
            };
            tuple![atom!("process"), object]
        })),
        "monitored_by" => pids(monitored_by),
        "group_leader" => Term::Pid(group_leader.clone().unwrap_or_else(|| info.pid.clone())),
        "trap_exit" => Term::from(*trap_exit),
        "reductions" => Term::from(info.handled),
        "memory" => Term::from(memory(info)),
        "dictionary" => list![tuple![atom!("$initial_call"), function_of(info)]],
        "priority" => Term::Atom(atom!("normal")),
        "error_handler" => Term::Atom(atom!("error_handler")),
        "last_calls" => Term::from(false),
        "binary" | "sequential_trace_token" | "suspending" | "current_stacktrace" => Term::NIL,
        "catchlevel" | "trace" | "heap_size" | "stack_size" | "total_heap_size" => Term::from(0),
        "garbage_collection" => Term::list(
            ["min_bin_vheap_size", "min_heap_size", "fullsweep_after", "minor_gcs"]
                .map(|key| tuple![Atom::from_static(key), 0]),
        ),
        _ => return None,
    })
}

/// Messages in a mailbox cannot be looked at; what is said in their place can be read.
fn messages(queued: usize) -> Term {
    match queued {
        0 => Term::NIL,
        queued => list![format!("{queued} messages; gusset does not show them")],
    }
}

fn label(info: &ProcessInfo) -> Term {
    Term::from(info.label.as_str())
}

/// What a process runs, from its label: `module:function/arity`, or a name.
pub(super) fn function_of(info: &ProcessInfo) -> Term {
    let parts = info.label.rsplit_once('/').and_then(|(function, arity)| {
        let (module, function) = function.split_once(':')?;
        Some((Atom::new(module).ok()?, Atom::new(function).ok()?, arity.parse::<u8>().ok()?))
    });
    match parts {
        Some((module, function, arity)) => tuple![module, function, arity],
        None => tuple![atom!("gusset"), Atom::new(&info.label).unwrap_or(atom!("process")), 0],
    }
}

/// Bytes that the node keeps for a process; what its task holds is not known.
pub(super) fn memory(info: &ProcessInfo) -> usize {
    Node::bytes_of_process(info.queued)
}

/// The module of a process that is a server.
fn server_module(node: &Node, pid: &Pid) -> Option<Atom> {
    node.children().into_iter().find(|child| child.pid == *pid).map(|child| child.module)
}

/// `sys:get_status/1,2` of a process of this node, or of another.
async fn get_status(mut context: CallContext, args: Vec<Term>) -> Result<Term, Exception> {
    let node = context.node();
    let (name, timeout) = match args.as_slice() {
        [name] => (name, Some(SYS_TIMEOUT)),
        [name, timeout] if timeout.is_atom("infinity") => (name, None),
        [name, timeout] => (name, Some(Duration::from_millis(timeout.as_u64().ok_or_else(Exception::badarg)?))),
        _ => return Err(Exception::badarg()),
    };
    let failed = |why: Atom| {
        let call = tuple![atom!("sys"), atom!("get_status"), Term::from(args.clone())];
        Exception::exit(tuple![why, call])
    };
    let pid = match name {
        Term::Pid(pid) => pid.clone(),
        Term::Atom(name) => node.whereis(name.as_str()).ok_or_else(|| failed(atom!("noproc")))?,
        _ => return Err(Exception::badarg()),
    };
    let process = context.process();
    let watched = process.monitor(&pid).await.map_err(|_| failed(atom!("noproc")))?;
    let request = tuple![atom!("system"), tuple![process.pid(), &watched], atom!("get_status")];
    process.send(&pid, &request).await.map_err(|_| failed(atom!("nodedown")))?;
    let answer = process.recv_match(|message| match message {
        Message::Sent(payload) => match payload.term().ok()?.as_tuple_of() {
            Some([Term::Ref(tag), answer]) if **tag == watched => Some(Some(answer.clone())),
            _ => None,
        },
        Message::Down { reference, .. } if *reference == watched => Some(None),
        _ => None,
    });
    let answer = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, answer).await.map_err(|_| failed(atom!("timeout")))?,
        None => answer.await,
    };
    answer.ok().flatten().ok_or_else(|| failed(atom!("noproc")))
}
