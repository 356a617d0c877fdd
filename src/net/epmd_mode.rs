//! Which EPMD a node uses: one that runs already, its own, or none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::epmd_client::{EpmdClient, EpmdError};
use super::epmd_server::{EpmdServer, EpmdServerError};
use super::registration::Registration;
use crate::etf::Creation;
use crate::proto::epmd::{DEFAULT_EPMD_PORT, EpmdEntry};

/// Which EPMD a node uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpmdMode {
    /// The one that runs on this host; where none runs, serve one. When one that was used dies and stays away
    /// for [`EpmdOptions::take_over_after`], serve in its place: the nodes of this host (BEAM 25 and later, and we) register
    /// again with whoever listens there, and an `epmd` that starts later finds the port taken and ends.
    #[default]
    Auto,
    /// The one that runs on this host; an error where none runs.
    External,
    /// Serve one; an error where one runs already.
    Embedded,
    /// None: others have to know our port (`erl -start_epmd false -erl_epmd_port N`).
    None,
}

/// Where EPMD is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpmdOptions {
    /// Which one.
    pub mode: EpmdMode,
    /// The port of EPMD.
    pub port: u16,
    /// The address under which this host's EPMD is asked.
    pub ip: IpAddr,
    /// Where an EPMD of our own listens; empty for everywhere (IPv4, and IPv6 where the host has it). Loopback is
    /// always added, as `ERL_EPMD_ADDRESS` does.
    pub addresses: Vec<IpAddr>,
    /// For [`EpmdMode::Auto`]: how long an EPMD that we used has to be away before we serve in its place.
    pub take_over_after: Duration,
}

impl Default for EpmdOptions {
    fn default() -> Self {
        Self {
            mode: EpmdMode::default(),
            port: DEFAULT_EPMD_PORT,
            ip: Ipv4Addr::LOCALHOST.into(),
            addresses: Vec::new(),
            take_over_after: TAKE_OVER_AFTER,
        }
    }
}

/// A node that others can find. Dropping it unregisters, and ends an EPMD of our own.
#[derive(Debug)]
pub struct EpmdPresence {
    creation: Creation,
    registration: Option<Registration>,
    server: OwnServer,
}

/// An EPMD of our own: there from the start, or later when it takes over.
type OwnServer = Arc<Mutex<Option<EpmdServer>>>;

impl EpmdPresence {
    /// Makes a node known, in the way that `options` ask for.
    ///
    /// # Errors
    /// [`EpmdStartError`].
    pub async fn start(options: &EpmdOptions, entry: EpmdEntry) -> Result<Self, EpmdStartError> {
        let client = EpmdClient::new(options.ip, options.port);
        let server = OwnServer::default();
        let serve = |bound: EpmdServer| *server.lock() = Some(bound);
        let registered = match options.mode {
            EpmdMode::None => {
                return Ok(Self { creation: random_creation()?, registration: None, server });
            }
            EpmdMode::External => client.register_patiently(&entry).await?,
            EpmdMode::Embedded => {
                serve(EpmdServer::serve(options).await?);
                client.register_patiently(&entry).await?
            }
            EpmdMode::Auto => match client.register_patiently(&entry).await {
                Ok(registered) => registered,
                Err(EpmdError::Unreachable { .. }) => {
                    match EpmdServer::serve(options).await {
                        Ok(bound) => {
                            tracing::info!(port = options.port, "no EPMD runs here: serving one");
                            serve(bound);
                        }
                        // Someone else was faster; if it was no EPMD, registering says so.
                        Err(error) => tracing::debug!(%error, "cannot serve EPMD: asking again"),
                    }
                    client.register_patiently(&entry).await?
                }
                Err(error) => return Err(error.into()),
            },
        };
        let creation = registered.0;
        let take_over =
            (options.mode == EpmdMode::Auto).then(|| TakeOver { options: options.clone(), server: server.clone() });
        let registration = Some(Registration::start(client, entry, registered, take_over));
        Ok(Self { creation, registration, server })
    }

    /// The creation for this life of the node.
    pub fn creation(&self) -> Creation {
        self.creation
    }

    /// The registration; `None` without an EPMD.
    pub fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    /// True when an EPMD of our own serves this host.
    pub fn is_serving(&self) -> bool {
        self.server.lock().is_some()
    }
}

/// Serves EPMD in the place of one that has died.
#[derive(Debug)]
pub(super) struct TakeOver {
    options: EpmdOptions,
    server: OwnServer,
}

impl TakeOver {
    /// Called after each failed attempt to register again; nobody listens there when `gone`. True when we serve
    /// from now on, so that the next attempt is worth making at once.
    pub(super) async fn consider(&mut self, gone: bool, since: Duration) -> bool {
        if !gone || since < self.options.take_over_after || self.server.lock().is_some() {
            return false;
        }
        match EpmdServer::serve(&self.options).await {
            Ok(server) => {
                tracing::warn!(port = self.options.port, "EPMD died and stayed away: serving in its place");
                *self.server.lock() = Some(server);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "cannot serve in the place of EPMD");
                false
            }
        }
    }
}

/// Why a node could not be made known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpmdStartError {
    /// EPMD was asked in vain.
    #[error(transparent)]
    Client(#[from] EpmdError),
    /// An EPMD of our own cannot be served.
    #[error(transparent)]
    Server(#[from] EpmdServerError),
    /// The system gave no random number for the creation.
    #[error("no random number for the creation: {0}")]
    Random(io::Error),
}

impl EpmdServer {
    /// Serves at the port and the addresses of `options`, and always on loopback.
    ///
    /// # Errors
    /// [`EpmdServerError`], most likely because an EPMD runs already.
    pub async fn serve(options: &EpmdOptions) -> Result<Self, EpmdServerError> {
        if !options.addresses.is_empty() {
            let mut addresses = options.addresses.clone();
            // Loopback, or whatever we ask ourselves at; an unspecified address has it in it.
            let covers =
                |ip: &IpAddr| *ip == options.ip || (ip.is_unspecified() && ip.is_ipv4() == options.ip.is_ipv4());
            if !addresses.iter().any(covers) {
                addresses.push(options.ip);
            }
            return Self::bind(&addresses, options.port).await;
        }
        let everywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        match Self::bind(&everywhere, options.port).await {
            Ok(server) => Ok(server),
            // A host without IPv6.
            Err(_) => Self::bind(&[Ipv4Addr::UNSPECIFIED.into()], options.port).await,
        }
    }
}

/// A node without EPMD makes its own creation: any of 32 bits except the small ones of old
/// (`net_kernel.erl:create_creation`).
fn random_creation() -> Result<Creation, EpmdStartError> {
    let random = getrandom::u32().map_err(|error| EpmdStartError::Random(io::Error::other(error)))?;
    Ok(Creation(random.max(FIRST_CREATION)))
}

/// 0 is a wildcard and 1 to 3 belong to releases of old.
const FIRST_CREATION: u32 = 4;

/// The default of [`EpmdOptions::take_over_after`]. Whoever restarts it by hand or by a
/// supervisor needs a few seconds; as long as nobody serves, no node of this host can be found.
pub const TAKE_OVER_AFTER: Duration = Duration::from_secs(10);
