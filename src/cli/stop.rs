//! Waiting for Ctrl-C or SIGTERM.

use std::time::Duration;

use tokio::time::Instant;

use super::Failure;

/// The signals that ask a command to end. They are taken from the moment this exists: nothing ends half-way, and
/// the first process of a container, which no signal would end by itself, ends too.
pub(super) struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    pub(super) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| Failure::other(format!("cannot wait for signals: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The name of the next signal.
    pub(super) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

impl Stop {
    /// The next signal that somebody sent because the first one was not enough: not one that came along with it,
    /// as where a program that starts us passes on what we get ourselves too.
    pub(super) async fn wait_for_another(&mut self) -> &'static str {
        let first = Instant::now();
        loop {
            let signal = self.wait().await;
            if first.elapsed() > SAME_SIGNAL {
                return signal;
            }
        }
    }
}

/// Signals that are closer together than this are one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

#[cfg(not(unix))]
impl Stop {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// The name of the next signal.
    pub(super) async fn wait(&mut self) -> &'static str {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot wait for Ctrl-C");
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
