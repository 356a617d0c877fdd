//! `erlang:system_info/1` and `erlang:memory/0,1`, for what is true of this node too; anything else is
//! `badarg`, as for a key that a BEAM does not know.

use std::thread::available_parallelism;

use crate::etf::Term;
use crate::node::{Exception, Node};
use crate::{atom, list, tuple};

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
        "schedulers" | "schedulers_online" => processors(),
        "logical_processors" | "logical_processors_available" | "logical_processors_online" => processors(),
        "process_count" => Term::from(node.process_count()),
        "port_count" | "dirty_io_schedulers" | "dirty_cpu_schedulers" => Term::from(0),
        "creation" => Term::from(node.creation().0),
        "threads" | "smp_support" => Term::from(true),
        "dist_buf_busy_limit" => Term::from(node.config().busy_limit),
        _ => return Err(Exception::badarg()),
    })
}

/// `erlang:memory/0`: only the total is known.
pub(crate) fn memory() -> Result<Term, Exception> {
    Ok(list![tuple![atom!("total"), resident_bytes()?]])
}

/// `erlang:memory/1`.
pub(crate) fn memory_of(what: &Term) -> Result<Term, Exception> {
    if what.is_atom("total") { Ok(Term::from(resident_bytes()?)) } else { Err(Exception::badarg()) }
}

/// The memory that this process has, as the operating system counts it.
fn resident_bytes() -> Result<u64, Exception> {
    let notsup = || Exception::error(Term::Atom(atom!("notsup")));
    let status = std::fs::read_to_string("/proc/self/status").map_err(|_| notsup())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(notsup)?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_| notsup())?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_that_of_this_process() {
        let total = memory_of(&Term::Atom(atom!("total"))).unwrap().as_u64().unwrap();
        assert!(total > 100_000, "{total}");
        assert!(memory_of(&Term::Atom(atom!("ets"))).is_err());
    }
}
