//! `observer_backend` of runtime_tools: what the tabs of `observer` show, and `etop`.

use std::time::Duration;

use super::figures::{Memory, io, millis, run_queue, scheduler_wall_time, timestamp};
use super::processes::{function_of, memory};
use crate::etf::{Atom, Pid, Term};
use crate::node::{Exception, Node, ProcessInfo};
use crate::services::builtins::on;
use crate::services::functions::CallContext;
use crate::services::system_info::system_info;
use crate::{atom, tuple};

/// Processes in one message (`observer_backend:procs_info/1`).
const PROCESSES_IN_A_MESSAGE: usize = 10_000;

/// Between two messages of `fetch_stats`, at least: `observer` asks for ten in a second at most.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// What `sys_info` has of `erlang:system_info/1`. Limits and counts of what is not counted here (atoms, ports,
/// tables) are left out: `observer` then says "Not available".
const SYSTEM_INFO: [&str; 17] = [
    "logical_processors",
    "logical_processors_online",
    "logical_processors_available",
    "schedulers",
    "schedulers_online",
    "otp_release",
    "version",
    "system_architecture",
    "kernel_poll",
    "smp_support",
    "threads",
    "thread_pool_size",
    "process_count",
    "process_limit",
    "port_count",
    "ets_count",
    "dist_buf_busy_limit",
];

/// Exports the functions.
pub(super) fn install(node: &Node) {
    let m = || atom!("observer_backend");
    on(node, m(), atom!("vsn"), |_, []| Ok(tuple![atom!("ok"), Term::charlist(env!("CARGO_PKG_VERSION"))]));
    on(node, m(), atom!("sys_info"), |node, []| Ok(sys_info(node)));
    for function in [atom!("get_port_list"), atom!("get_socket_list"), atom!("socket_info")] {
        on(node, m(), function, |_, []| Ok(Term::NIL));
    }
    on(node, m(), atom!("get_table_list"), |_, [_kind, _options]| Ok(Term::NIL));
    on(node, m(), atom!("get_table"), |node, [parent, _table, _kind]| {
        let parent = pid(&parent)?.clone();
        let reader = node.spawn_labelled("observer_backend:get_table/3", |process| async move {
            let end = tuple![process.pid(), atom!("$end_of_table")];
            say(&process, &parent, &end);
            crate::node::Reason::normal()
        });
        Ok(Term::Pid(reader))
    });
    node.export(m(), atom!("fetch_stats"), 2, fetch_stats);
    node.export(m(), atom!("procs_info"), 1, procs_info);
    node.export(m(), atom!("etop_collect"), 1, etop_collect);
}

fn sys_info(node: &Node) -> Term {
    let (came, sent) = node.io();
    let word = size_of::<usize>();
    let mut all = vec![
        tuple![atom!("uptime"), millis(node.uptime())],
        tuple![atom!("run_queue"), run_queue(node)],
        tuple![atom!("io_input"), came],
        tuple![atom!("io_output"), sent],
        tuple![atom!("schedulers_available"), node.runtime_metrics().num_workers()],
        tuple![atom!("wordsize_internal"), word],
        tuple![atom!("wordsize_external"), word],
        tuple![atom!("alloc_info"), Term::NIL],
    ];
    all.extend(SYSTEM_INFO.iter().filter_map(|key| {
        let key = Atom::from_static(key);
        let value = system_info(node, &Term::Atom(key.clone())).ok()?;
        Some(tuple![key, value])
    }));
    if let Term::List(memory) = memory_or_nothing(node) {
        all.extend(memory);
    }
    Term::from(all)
}

fn memory_or_nothing(node: &Node) -> Term {
    Memory::now(node).map_or(Term::NIL, |memory| memory.term())
}

/// Sends `{stats, 1, Workers, Io, Memory}` every so many milliseconds until any message comes.
async fn fetch_stats(mut context: CallContext, args: Vec<Term>) -> Result<Term, Exception> {
    let [parent, pause] = args.as_slice() else { return Err(Exception::badarg()) };
    let parent = pid(parent)?;
    let pause = Duration::from_millis(pause.as_u64().ok_or_else(Exception::badarg)?).max(LEAST_PAUSE);
    let node = context.node();
    let process = context.process();
    process.trap_exits(true);
    // A BEAM goes on until a link or a message ends it; without a link only this does.
    process.monitor(parent).await.map_err(|_| Exception::badarg())?;
    while let Ok(None) = process.recv_timeout(pause).await {
        let stats = tuple![atom!("stats"), 1, scheduler_wall_time(&node), io(&node), memory_or_nothing(&node)];
        say(process, parent, &stats);
    }
    Ok(Term::Atom(atom!("ok")))
}

async fn procs_info(mut context: CallContext, args: Vec<Term>) -> Result<Term, Exception> {
    let [collector] = args.as_slice() else { return Err(Exception::badarg()) };
    let collector = pid(collector)?;
    let (own, rows) = (context.pid().clone(), rows(&context));
    let process = context.process();
    let mut rest = rows.as_slice();
    // The last message is the one with fewer, even if it has none.
    loop {
        let (some, more) = rest.split_at(rest.len().min(PROCESSES_IN_A_MESSAGE));
        let message = tuple![atom!("procs_info"), &own, Term::from(some.to_vec())];
        process.send(collector, &message).await.map_err(|_| Exception::badarg())?;
        if some.len() < PROCESSES_IN_A_MESSAGE {
            return Ok(Term::Atom(atom!("ok")));
        }
        rest = more;
    }
}

/// The record `etop_info`, once.
async fn etop_collect(mut context: CallContext, args: Vec<Term>) -> Result<Term, Exception> {
    let [collector] = args.as_slice() else { return Err(Exception::badarg()) };
    let collector = pid(collector)?;
    let node = context.node();
    let rows = rows(&context);
    let memory = Memory::now(&node).map_or(Term::Atom(atom!("undefined")), |memory| memory.term());
    let wall_clock = tuple![millis(node.uptime()), 0];
    let info = tuple![
        atom!("etop_info"),
        timestamp(),
        rows.len(),
        wall_clock,
        scheduler_wall_time(&node),
        run_queue(&node),
        Term::NIL,
        memory,
        Term::from(rows),
    ];
    let message = tuple![context.pid(), info];
    context.process().send(collector, &message).await.map_err(|_| Exception::badarg())?;
    Ok(Term::Atom(atom!("ok")))
}

/// A record `etop_proc_info` for each process but the one that looks.
fn rows(context: &CallContext) -> Vec<Term> {
    context.node().processes().iter().filter(|info| info.pid != *context.pid()).map(row).collect()
}

fn row(info: &ProcessInfo) -> Term {
    let function = function_of(info);
    let name = info.names.first().map_or_else(|| function.clone(), |name| Term::Atom(name.clone()));
    tuple![atom!("etop_proc_info"), &info.pid, memory(info), info.handled, name, 0, function, info.queued]
}

fn pid(term: &Term) -> Result<&Pid, Exception> {
    term.as_pid().ok_or_else(Exception::badarg)
}

/// Sends to somebody who looks, where that is possible at once: who reads slowly misses a figure, and a node that is
/// gone is not connected to again.
pub(super) fn say(process: &crate::node::Process, to: &Pid, message: &Term) {
    if let Err(error) = process.try_send(to, message) {
        tracing::debug!(%to, %error, "somebody who looks at this node misses a message");
    }
}
