//! Staying registered with an EPMD: a task that keeps the connection open and silent, and registers again
//! when it is lost.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::epmd_client::{EpmdClient, EpmdError};
use super::epmd_mode::TakeOver;
use crate::etf::Creation;
use crate::proto::epmd::EpmdEntry;

/// A node's registration with an EPMD. Dropping it unregisters.
#[derive(Debug)]
pub struct Registration {
    creation: Creation,
    state: watch::Receiver<RegistrationState>,
    _stop: DropGuard,
}

/// Whether others can find us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// EPMD knows us.
    Registered,
    /// EPMD went away, or forgot us; trying again is about to begin.
    Lost {
        /// Since when.
        since: Instant,
    },
    /// Trying again has failed so far. Connections that are up do not suffer.
    Retrying {
        /// Since when we are not registered.
        since: Instant,
        /// How often it has failed.
        attempts: u32,
        /// Why it failed last.
        error: String,
    },
}

impl Registration {
    /// The creation for this life of the node. It stays the same when EPMD is lost and found, whatever the new
    /// EPMD says: a node whose creation changed would be another node (`erl_epmd.erl` does so too).
    pub fn creation(&self) -> Creation {
        self.creation
    }

    /// Whether we are registered, now and as it changes.
    pub fn state(&self) -> watch::Receiver<RegistrationState> {
        self.state.clone()
    }

    pub(super) fn start(
        client: EpmdClient,
        entry: EpmdEntry,
        (creation, stream): (Creation, TcpStream),
        take_over: Option<TakeOver>,
    ) -> Self {
        let (states, state) = watch::channel(RegistrationState::Registered);
        let stop = CancellationToken::new();
        let keeper = Keeper { client, entry, states, take_over };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled_owned(keeper.keep(stream)).await });
        Self { creation, state, _stop: stop.drop_guard() }
    }
}

impl EpmdClient {
    /// Registers a node, and keeps it registered until the [`Registration`] is dropped. Registers only with an
    /// EPMD of the same host.
    ///
    /// # Errors
    /// [`EpmdError`] when the first registration fails; [`EpmdError::NameTaken`] when such a node runs already.
    pub async fn register(&self, entry: EpmdEntry) -> Result<Registration, EpmdError> {
        let registered = self.register_patiently(&entry).await?;
        Ok(Registration::start(self.clone(), entry, registered, None))
    }

    /// Registers a node that is starting. A name that is taken may be that of its last life, whose end EPMD has not
    /// noticed yet: so it is tried again for a moment.
    pub(super) async fn register_patiently(&self, entry: &EpmdEntry) -> Result<(Creation, TcpStream), EpmdError> {
        let until = tokio::time::Instant::now() + LAST_LIFE;
        loop {
            match self.register_once(entry).await {
                Err(EpmdError::NameTaken { .. }) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
                registered => return registered,
            }
        }
    }
}

/// The task behind a registration.
struct Keeper {
    client: EpmdClient,
    entry: EpmdEntry,
    states: watch::Sender<RegistrationState>,
    take_over: Option<TakeOver>,
}

impl Keeper {
    async fn keep(mut self, mut stream: TcpStream) {
        loop {
            let reason = until_lost(&mut stream).await;
            let since = Instant::now();
            tracing::warn!(name = %self.entry.name, epmd = %self.client.address(), reason, "lost the registration");
            self.states.send_replace(RegistrationState::Lost { since });
            // The old connection has to go first, or EPMD would still hold the name.
            drop(stream);
            stream = self.register_again(since).await;
            tracing::info!(name = %self.entry.name, epmd = %self.client.address(), "registered again");
            self.states.send_replace(RegistrationState::Registered);
        }
    }

    /// Tries until it works.
    async fn register_again(&mut self, since: Instant) -> TcpStream {
        let (mut attempts, mut pause) = (0, FIRST_PAUSE);
        loop {
            tokio::time::sleep(jittered(pause)).await;
            match self.client.register_once(&self.entry).await {
                // The new creation does not count: see `Registration::creation`.
                Ok((_creation, stream)) => return stream,
                Err(error) => {
                    attempts += 1;
                    tracing::debug!(name = %self.entry.name, %error, attempts, "cannot register again yet");
                    let gone = matches!(error, EpmdError::Unreachable { .. });
                    let error = error.to_string();
                    self.states.send_replace(RegistrationState::Retrying { since, attempts, error });
                    if let Some(take_over) = &mut self.take_over
                        && take_over.consider(gone, since.elapsed()).await
                    {
                        pause = FIRST_PAUSE;
                        continue;
                    }
                }
            }
            pause = if attempts <= 1 { RETRY_PAUSE } else { (pause + pause / 2).min(MAX_RETRY_PAUSE) };
        }
    }
}

/// Waits until EPMD lets go of us. It never sends anything, so a byte from it is as bad as its end.
async fn until_lost(stream: &mut TcpStream) -> &'static str {
    match stream.read(&mut [0]).await {
        Ok(0) => "EPMD closed the connection",
        Ok(_) => "EPMD sent something where it should be silent",
        Err(_) => "the connection to EPMD failed",
    }
}

/// Between 75 and 100 % of a pause: the nodes of a host do not all come back in the same instant.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.75 + 0.25 * f64::from(random) / f64::from(u32::MAX))
}

/// EPMD has noticed by then that a node has ended.
const LAST_LIFE: Duration = Duration::from_millis(500);

/// The first attempt comes soon: an EPMD that only forgot us is there at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Then as often as `erl_epmd.erl` tries,
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// and with growing pauses up to this one: who restarts an EPMD does not want to wait longer for its nodes.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(10);
