//! Fixtures for tests against real peers: BEAM nodes, epmd, iex in a terminal, the built binary, a Kubernetes API,
//! RabbitMQ.
//!
//! Everything here starts on loopback with its own ports and its own home folder, is stopped by process id when it
//! is dropped, and waits for conditions with a named deadline, never for time to pass. A fixture that this machine
//! does not have is a reason to skip a test ([`require!`]), but with `CI` in the environment it is a failure.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod beam;
pub mod dnsmasq;
pub mod epmd;
pub mod gusset;
pub mod iex;
pub mod kube;
pub mod node;
pub mod otp;
pub mod ports;
pub mod program;
pub mod proxy;
pub mod rabbitmq;
pub mod recorded_api;
pub mod remsh;
pub mod terminal;

pub use beam::{Beam, BeamError, BeamOptions, COOKIE};
pub use dnsmasq::Dnsmasq;
pub use epmd::Epmd;
pub use gusset::{Finished, Gusset};
pub use iex::Iex;
pub use kube::Kube;
pub use otp::Otp;
pub use ports::PortLease;
pub use program::Program;
pub use rabbitmq::RabbitMq;
pub use recorded_api::RecordedApi;
pub use terminal::Terminal;

use std::{
    fmt,
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a fixture could not find on this machine, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes the value out of a `Result<_, Missing>`; where it is missing the test ends here: skipped with the reason
/// printed, or failed where `CI` is set.
#[allow(unused_macros)]
macro_rules! require {
    ($fixture:expr) => {
        match $fixture {
            Ok(value) => value,
            Err(missing) => {
                $crate::common::skip(&missing);
                return;
            }
        }
    };
}
pub(crate) use require;

/// Says why a test is skipped. With `CI` set nothing may be skipped, so it fails.
pub fn skip(missing: &Missing) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(!in_ci(), "{test} must not be skipped where CI is set: {missing}");
    // Past the test runner, which keeps what a passing test prints to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {missing}");
}

/// Whether this run has to have everything.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// A name that no other test, in this process or beside it, uses: `prefix_PID_COUNTER`.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Awaits `future`; after `limit` the test fails with `what` in the message.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// For what takes one round trip on loopback; generous, because the machine may be busy.
pub const SOON: Duration = Duration::from_secs(10);
/// For what starts a program, or waits for a few ticks.
pub const LATER: Duration = Duration::from_secs(60);

/// Of the environment that no fixture may inherit: it would change names, flags or the EPMD in use.
pub const NOT_INHERITED: &[&str] = &[
    "ERL_AFLAGS",
    "ERL_DIST_PORT",
    "ERL_EPMD_ADDRESS",
    "ERL_EPMD_PORT",
    "ERL_EPMD_RELAXED_COMMAND_CHECK",
    "ERL_FLAGS",
    "ERL_INETRC",
    "ERL_LIBS",
    "ERL_ZFLAGS",
    "ELIXIR_ERL_OPTIONS",
    "CLUSTER_DOMAIN",
    "GUSSET_CONFIG",
    "GUSSET_DRAIN_DELAY",
    "GUSSET_HTTP",
    "KUBECONFIG",
    "NAMESPACE",
    "POD_IP",
    "POD_NAME",
    "RELEASE_COOKIE",
    "RELEASE_DISTRIBUTION",
    "RELEASE_NODE",
    "RUST_LOG",
    "XDG_CONFIG_HOME",
];
