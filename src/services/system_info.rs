//! `erlang:system_info/1`, for what is true of this node too; anything else is
//! `badarg`, as for a key that a BEAM does not know.

use std::thread::available_parallelism;

use crate::atom;
use crate::etf::Term;
use crate::node::{Exception, Node};

/// The release whose protocol this node speaks. Clients take it for a number and choose by it what
/// they send.
const SPOKEN_OTP_RELEASE: &str = "27";

/// What this is, for people who look.
pub(crate) fn version_text() -> String {
    format!("gusset {} [rust] [otp-protocol:{SPOKEN_OTP_RELEASE}]\n", env!("CARGO_PKG_VERSION"))
}

/// `erlang:system_info/1`.
pub(crate) fn system_info(node: &Node, key: &Term) -> Result<Term, Exception> {
    let word_size = Term::from(size_of::<usize>());
    let key = match key {
        Term::Atom(key) => key.as_str(),
        Term::Tuple(parts) => match parts.as_slice() {
            [what, side] if what.is_atom("wordsize") && (side.is_atom("internal") || side.is_atom("external")) => {
                return Ok(word_size);
            }
            // No allocator of a BEAM's is here.
            [what, _] if what.is_atom("allocator_sizes") => return Ok(Term::NIL),
            _ => return Err(Exception::badarg()),
        },
        _ => return Err(Exception::badarg()),
    };
    let processors = || Term::from(available_parallelism().map_or(1, usize::from));
    Ok(match key {
        "system_version" => Term::charlist(&version_text()),
        "otp_release" => Term::charlist(SPOKEN_OTP_RELEASE),
        "version" => Term::charlist(env!("CARGO_PKG_VERSION")),
        "machine" => Term::charlist("gusset"),
        "system_architecture" => {
            Term::charlist(&format!("{}-unknown-{}", std::env::consts::ARCH, std::env::consts::OS))
        }
        "wordsize" => word_size,
        "schedulers" | "schedulers_online" => Term::from(node.runtime_metrics().num_workers()),
        "multi_scheduling" => Term::Atom(atom!("enabled")),
        "kernel_poll" => Term::from(true),
        "thread_pool_size" | "ets_count" => Term::from(0),
        "alloc_util_allocators" => Term::NIL,
        "process_limit" => Term::from(Node::process_limit()),
        "logical_processors" | "logical_processors_available" | "logical_processors_online" => processors(),
        "process_count" => Term::from(node.process_count()),
        "port_count" | "dirty_io_schedulers" | "dirty_cpu_schedulers" => Term::from(0),
        "creation" => Term::from(node.creation().0),
        "threads" | "smp_support" => Term::from(true),
        "dist_buf_busy_limit" => Term::from(node.config().busy_limit),
        _ => return Err(Exception::badarg()),
    })
}
