//! `erlang:memory/0,1` and `erlang:statistics/1`: the memory of this program as the operating system counts it, and
//! the figures of the runtime that it runs on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::etf::{Atom, Term};
use crate::node::{Exception, Node};
use crate::services::builtins::on;
use crate::{atom, list, tuple};

/// Exports the functions.
pub(super) fn install(node: &Node) {
    let m = || atom!("erlang");
    on(node, m(), atom!("memory"), |node, []| memory(node));
    on(node, m(), atom!("memory"), |node, [what]| memory_of(node, &what));
    on(node, m(), atom!("statistics"), |node, [what]| statistics(node, &what));
    on(node, m(), atom!("timestamp"), |_, []| Ok(timestamp()));
}

/// Bytes of this program, under the names that a BEAM has for its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    total: u64,
    code: u64,
    processes: u64,
}

/// The parts that `erlang:memory/0` has, in its order.
const PARTS: [&str; 9] =
    ["total", "processes", "processes_used", "system", "atom", "atom_used", "binary", "code", "ets"];

impl Memory {
    /// What Linux says: resident memory in all, and what of it is files (the program and its libraries). What the node
    /// keeps for processes and their mailboxes is known here; atoms, binaries and tables are not apart from the rest.
    ///
    /// # Errors
    /// `notsup` where the operating system does not say it.
    pub(super) fn now(node: &Node) -> Result<Self, Exception> {
        let notsup = || Exception::error(Term::Atom(atom!("notsup")));
        let status = std::fs::read_to_string("/proc/self/status").map_err(|_| notsup())?;
        let bytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        let total = bytes("VmRSS").ok_or_else(notsup)?;
        let processes = (node.process_count() * Node::bytes_of_process(0)) as u64;
        // Older kernels do not tell files apart.
        Ok(Self { total, code: bytes("RssFile").unwrap_or(0).min(total), processes: processes.min(total) })
    }

    fn part(&self, name: &str) -> Option<u64> {
        Some(match name {
            "total" => self.total,
            "processes" | "processes_used" => self.processes,
            "system" => self.total - self.processes,
            "code" => self.code,
            "atom" | "atom_used" | "binary" | "ets" => 0,
            _ => return None,
        })
    }

    /// `[{Part, Bytes}]`.
    pub(super) fn term(&self) -> Term {
        let part = |name: &&'static str| Some(tuple![Atom::from_static(name), self.part(name)?]);
        Term::list(PARTS.iter().filter_map(part))
    }
}

fn memory(node: &Node) -> Result<Term, Exception> {
    Ok(Memory::now(node)?.term())
}

/// `erlang:memory/1`: of one part, or of several.
fn memory_of(node: &Node, what: &Term) -> Result<Term, Exception> {
    let memory = Memory::now(node)?;
    let part = |what: &Term| {
        let name = what.as_atom().ok_or_else(Exception::badarg)?;
        Ok((name.clone(), memory.part(name.as_str()).ok_or_else(Exception::badarg)?))
    };
    match what {
        Term::List(several) => {
            let parts: Result<Vec<_>, Exception> = several.iter().map(part).collect();
            Ok(Term::list(parts?.into_iter().map(|(name, bytes)| tuple![name, bytes])))
        }
        one => Ok(Term::from(part(one)?.1)),
    }
}

/// What `statistics(wall_clock)` and `statistics(runtime)` said last: they also tell how much that was ago.
#[derive(Debug, Default)]
struct Last {
    wall_clock: AtomicU64,
    runtime: AtomicU64,
}

/// `erlang:statistics/1`, as far as the runtime has such figures.
fn statistics(node: &Node, what: &Term) -> Result<Term, Exception> {
    let since = |last: &AtomicU64, now: u64| tuple![now, now.saturating_sub(last.swap(now, Ordering::Relaxed))];
    let last = node.extension::<Last>();
    Ok(match what.as_atom().map(Atom::as_str) {
        Some("wall_clock") => since(&last.wall_clock, millis(node.uptime())),
        Some("runtime") => {
            let busy = (0..node.runtime_metrics().num_workers()).map(|worker| busy(node, worker)).sum();
            since(&last.runtime, millis(busy))
        }
        Some("run_queue" | "total_run_queue_lengths" | "total_run_queue_lengths_all") => Term::from(run_queue(node)),
        Some("run_queue_lengths" | "run_queue_lengths_all") => list![run_queue(node)],
        Some("io") => io(node),
        Some("scheduler_wall_time" | "scheduler_wall_time_all") => scheduler_wall_time(node),
        _ => return Err(Exception::badarg()),
    })
}

/// Tasks that wait for a worker, in the queue that all workers share.
pub(super) fn run_queue(node: &Node) -> usize {
    node.runtime_metrics().global_queue_depth()
}

/// `{{input, Bytes}, {output, Bytes}}` of all connections.
pub(super) fn io(node: &Node) -> Term {
    let (came, sent) = node.io();
    tuple![tuple![atom!("input"), came], tuple![atom!("output"), sent]]
}

/// `[{Worker, Busy, Total}]` in nanoseconds, from 1.
pub(super) fn scheduler_wall_time(node: &Node) -> Term {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let total = nanos(node.uptime());
    let worker = |worker| tuple![worker + 1, nanos(busy(node, worker)).min(total), total];
    Term::list((0..node.runtime_metrics().num_workers()).map(worker))
}

/// For how long a worker has been running tasks.
#[cfg(target_has_atomic = "64")]
fn busy(node: &Node, worker: usize) -> Duration {
    node.runtime_metrics().worker_total_busy_duration(worker)
}

/// The runtime does not count it here.
#[cfg(not(target_has_atomic = "64"))]
fn busy(_node: &Node, _worker: usize) -> Duration {
    Duration::ZERO
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `{MegaSecs, Secs, MicroSecs}`.
pub(super) fn timestamp() -> Term {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    tuple![now.as_secs() / 1_000_000, now.as_secs() % 1_000_000, now.subsec_micros()]
}
