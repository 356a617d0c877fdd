//! Listening: the socket that other nodes connect to, and the loop that takes them in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{Gatekeeper, accept};
use crate::proto::LocalIdentity;

/// The sockets on which other nodes reach this one; all of them have the same port.
#[derive(Debug)]
pub struct Listener {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Listener {
    /// Listens on `port` of each of `addresses` (0 takes a free one).
    ///
    /// The unspecified IPv6 address alone takes IPv4 too; together with an IPv4 address it takes IPv6 only.
    ///
    /// # Errors
    /// [`ListenError`] names the address.
    pub async fn bind(addresses: &[IpAddr], port: u16) -> Result<Self, ListenError> {
        Self::bind_range(addresses, port..=port).await
    }

    /// Listens on the first port of `ports` that is free on each of `addresses` (`inet_dist_listen_min` and
    /// `inet_dist_listen_max`).
    ///
    /// # Errors
    /// [`ListenError`] of the last port that was tried.
    pub async fn bind_range(addresses: &[IpAddr], ports: RangeInclusive<u16>) -> Result<Self, ListenError> {
        let mut last = ListenError::Nothing;
        for port in ports {
            // With port 0 the first socket chooses, and another address may have that port taken.
            let attempts = if port == 0 { FREE_PORT_ATTEMPTS } else { 1 };
            for _ in 0..attempts {
                match bind_all(addresses, port) {
                    Ok(listener) => return Ok(listener),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }

    /// The first address.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }

    /// All addresses.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn into_parts(self) -> (Vec<TcpListener>, Vec<SocketAddr>) {
        (self.listeners, self.addresses)
    }

    /// Takes nodes in until `shutdown`: each handshake in a task of its own, at most
    /// [`MAX_HANDSHAKES`] at a time. Connections that succeed go to [`Gatekeeper::connected`], what fails is
    /// logged. Returns when the last handshake has ended; those under way are broken off.
    pub async fn run<G: Gatekeeper>(
        self,
        local: LocalIdentity,
        gate: Arc<G>,
        setup_timeout: Duration,
        shutdown: CancellationToken,
    ) {
        let stop = shutdown.child_token();
        // Whoever drops this future wants the end as well.
        let _stop_when_dropped = stop.clone().drop_guard();
        let doorman = Arc::new(Doorman {
            local,
            gate,
            setup_timeout,
            room: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            tasks: TaskTracker::new(),
            stop,
        });
        for listener in self.listeners {
            let task = doorman.clone().serve(listener);
            doorman.tasks.spawn(task);
        }
        doorman.stop.cancelled().await;
        doorman.tasks.close();
        doorman.tasks.wait().await;
    }
}

/// What the sockets of one listener share.
struct Doorman<G> {
    local: LocalIdentity,
    gate: Arc<G>,
    setup_timeout: Duration,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<G: Gatekeeper> Doorman<G> {
    /// Takes nodes in on one socket.
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            // The next connection is only taken when there is room; until then it waits in the backlog.
            let next = async {
                let permit = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((listener.accept().await?, permit))
            };
            match self.stop.run_until_cancelled(next).await {
                None => return,
                Some(Ok(((stream, address), permit))) => {
                    self.tasks.spawn(self.clone().greet(stream, address, permit));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Does one handshake.
    async fn greet(self: Arc<Self>, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        let handshake = accept(stream, &self.local, &self.gate, self.setup_timeout);
        match self.stop.run_until_cancelled(handshake).await {
            Some(Ok(established)) => self.gate.connected(established),
            Some(Err(error)) => {
                tracing::info!(addr = %address, step = %error.step(), reason = %error, "a connection came to nothing");
            }
            None => {}
        }
        drop(permit);
    }
}

/// Why the node cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// There is no address, or no port.
    #[error("there is no address or no port to listen on")]
    Nothing,
    /// A socket that cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// One socket per address, all with the same port.
fn bind_all(addresses: &[IpAddr], port: u16) -> Result<Listener, ListenError> {
    let (mut port, mut listeners, mut bound) = (port, Vec::new(), Vec::new());
    let with_v4 = addresses.iter().any(IpAddr::is_ipv4);
    for &ip in addresses {
        let wanted = SocketAddr::new(ip, port);
        let listen = || -> io::Result<_> {
            let listener = listen_on(wanted, with_v4)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(|source| ListenError::Bind { address: wanted, source })?;
        port = address.port();
        listeners.push(listener);
        bound.push(address);
    }
    if listeners.is_empty() { Err(ListenError::Nothing) } else { Ok(Listener { listeners, addresses: bound }) }
}

/// One listening socket. `only_v6` keeps an unspecified IPv6 address off IPv4.
fn listen_on(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6 || address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    // A node that restarts takes its port again while old connections are in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How many handshakes may be under way at a time. A cluster of hundreds that starts at once fits, and
/// strangers who connect and stay silent cost at most this many sockets for one time limit each.
pub const MAX_HANDSHAKES: usize = 512;

/// Connections that wait for us in the kernel; `inet_tcp_dist.erl` uses 128 too.
const BACKLOG: i32 = 128;

/// How often a free port is looked for that all addresses have free.
const FREE_PORT_ATTEMPTS: usize = 16;

/// How long to wait after the system gave no connection (no file descriptors left): it has to free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
