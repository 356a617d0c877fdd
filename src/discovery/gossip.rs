//! Discovery by libcluster's Gossip: heartbeats over UDP, to a multicast group or a broadcast address.
//!
//! Who is heard is dialled. Who is heard no more is not gone: a heartbeat that does not come proves
//! nothing. Heartbeats come from anybody who can reach the port, so all that is made of one is an attempt
//! to connect, in which both sides have to know the cookie; the number of names that are kept is bounded.

mod packet;
mod peers;
mod socket;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use self::packet::{Codec, MAX_PACKET, PacketError};
use self::peers::Peers;
use super::backoff::{Backoff, Dice};
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter, Strategy};
use crate::proto::NodeName;

/// Finds the nodes that send heartbeats, and sends its own.
///
/// ```
/// use gusset::discovery::Gossip;
///
/// let strategy = Gossip::new().secret("somepassword");
/// ```
///
/// The defaults are those of libcluster 3.3 and later (before, the group was 230.1.1.251). A peer is
/// dialled by its name where the host part of it resolves here, else at the address that its heartbeat
/// came from.
///
/// With a secret, heartbeats are encrypted as libcluster does it (AES-256-CBC under the SHA-256 of the
/// secret). That hides names and keeps strangers out; it is no signature, and old packets can be sent again.
#[derive(Clone)]
pub struct Gossip {
    port: u16,
    interface: Ipv4Addr,
    group: Ipv4Addr,
    group_interface: Option<Ipv4Addr>,
    ttl: u32,
    broadcast_only: bool,
    secret: Option<String>,
    longest_pause: Duration,
    forget_after: Duration,
    counters: Arc<Counters>,
}

impl Gossip {
    /// Plain heartbeats to 233.252.1.32:45892.
    pub fn new() -> Self {
        Self {
            port: DEFAULT_PORT,
            interface: Ipv4Addr::UNSPECIFIED,
            group: DEFAULT_GROUP,
            group_interface: None,
            ttl: DEFAULT_TTL,
            broadcast_only: false,
            secret: None,
            longest_pause: LONGEST_PAUSE,
            forget_after: FORGET_AFTER,
            counters: Arc::default(),
        }
    }

    /// The UDP port (45892 if not given); `port` of libcluster.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The local address to listen at (0.0.0.0 if not given); `if_addr` of libcluster.
    #[must_use]
    pub fn interface(mut self, address: Ipv4Addr) -> Self {
        self.interface = address;
        self
    }

    /// Where heartbeats are sent (233.252.1.32 if not given); `multicast_addr` of libcluster.
    #[must_use]
    pub fn group(mut self, address: Ipv4Addr) -> Self {
        self.group = address;
        self
    }

    /// The address of the interface that the group is joined on and heartbeats leave by; `multicast_if` of
    /// libcluster. The system chooses if not given.
    #[must_use]
    pub fn group_interface(mut self, address: Ipv4Addr) -> Self {
        self.group_interface = Some(address);
        self
    }

    /// How many routers a heartbeat may pass, plus one (1 if not given); `multicast_ttl` of libcluster.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Joins no group: the address of [`Gossip::group`] is one for broadcast. `broadcast_only: true` of libcluster.
    #[must_use]
    pub fn broadcast_only(mut self) -> Self {
        self.broadcast_only = true;
        self
    }

    /// Encrypts heartbeats, and ignores those that are not; `secret` of libcluster.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Heartbeats follow each other after a random time of up to this (5 seconds if not given).
    #[must_use]
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause.max(SHORTEST_PAUSE);
        self
    }

    /// A peer that was not heard for this long is no longer dialled (10 minutes if not given). A link to
    /// it stays.
    #[must_use]
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = time;
        self
    }

    /// Counts of what came in, also of clones of this strategy and while it runs.
    pub fn counters(&self) -> GossipCounters {
        GossipCounters(self.counters.clone())
    }

    fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.group, self.port)
    }
}

impl Default for Gossip {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("interface", &self.interface)
            .field("destination", &self.destination())
            .field("group_interface", &self.group_interface)
            .field("broadcast_only", &self.broadcast_only)
            .field("secret", &self.secret.as_ref().map(|_| "<redacted>"))
            .finish_non_exhaustive()
    }
}

/// Where the counts of a [`Gossip`] can be read.
#[derive(Debug, Clone)]
pub struct GossipCounters(Arc<Counters>);

impl GossipCounters {
    /// Heartbeats of others.
    pub fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// Packets that were dropped because they were not encrypted, and we have a secret.
    pub fn unencrypted(&self) -> u64 {
        self.0.unencrypted.load(Ordering::Relaxed)
    }

    /// Packets that were dropped because they do not decrypt with our secret, or are encrypted and we have none.
    pub fn undecipherable(&self) -> u64 {
        self.0.undecipherable.load(Ordering::Relaxed)
    }

    /// Packets that were dropped because they are no heartbeats.
    pub fn malformed(&self) -> u64 {
        self.0.malformed.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counters {
    heard: AtomicU64,
    unencrypted: AtomicU64,
    undecipherable: AtomicU64,
    malformed: AtomicU64,
}

impl Counters {
    /// Counts a packet that was dropped, and warns of the first of each kind.
    fn dropped(&self, error: &PacketError, from: IpAddr) {
        let count = match error {
            PacketError::Unencrypted => &self.unencrypted,
            PacketError::Undecipherable | PacketError::Encrypted => &self.undecipherable,
            PacketError::Malformed(_) => &self.malformed,
        };
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(%from, reason = %error, "gossip packet dropped; more of this kind are only counted");
        } else {
            tracing::debug!(%from, reason = %error, "gossip packet dropped");
        }
    }
}

impl Strategy for Gossip {
    fn kind(&self) -> &'static str {
        "gossip"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        Box::pin(gossip(self.clone(), own, report))
    }
}

async fn gossip(settings: Gossip, own: NodeName, report: Reporter) {
    let mut dice = Dice::seeded();
    let mut failures = 0u32;
    let mut peers = Peers::new(own.clone(), settings.forget_after);
    loop {
        let ended = match socket::open(&settings) {
            Ok(socket) => talk(&settings, &own, &report, &socket, &mut peers, &mut dice, &mut failures).await,
            Err(error) => error,
        };
        failures = failures.saturating_add(1);
        report.degraded(ended);
        sleep(PAUSES.pause(failures, &mut dice)).await;
    }
}

/// Sends and receives until the socket fails.
async fn talk(
    settings: &Gossip,
    own: &NodeName,
    report: &Reporter,
    socket: &UdpSocket,
    peers: &mut Peers,
    dice: &mut Dice,
    failures: &mut u32,
) -> DiscoveryError {
    let codec = Codec::new(settings.secret.as_deref());
    let longest = u32::try_from(settings.longest_pause.as_millis()).unwrap_or(u32::MAX);
    let mut buffer = vec![0; MAX_PACKET + 1];
    let mut lookups: JoinSet<(NodeName, bool)> = JoinSet::new();
    let mut next_heartbeat = Instant::now();
    let mut look = interval(settings.forget_after.clamp(SHORTEST_PAUSE, FORGET_AFTER) / LOOKS_UNTIL_FORGOTTEN);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = sleep_until(next_heartbeat) => {
                let sent = async { socket.send_to(&codec.encode(own)?, settings.destination()).await };
                match sent.await {
                    Ok(_) => {
                        *failures = 0;
                        report.healthy();
                    }
                    Err(error) => return socket::send_failed(&error, settings.destination()),
                }
                next_heartbeat = Instant::now() + Duration::from_millis(u64::from(dice.below(longest)) + 1);
            }
            received = socket.recv_from(&mut buffer) => {
                let (len, from) = match received {
                    Ok(received) => received,
                    Err(error) => return socket::receive_failed(&error, settings.port),
                };
                match codec.decode(buffer.get(..len).unwrap_or_default()) {
                    Ok(name) => {
                        if name != *own {
                            settings.counters.heard.fetch_add(1, Ordering::Relaxed);
                        }
                        if peers.heard(&name, from.ip(), Instant::now().into_std()) {
                            report.desired(peers.desired());
                        }
                    }
                    Err(error) => settings.counters.dropped(&error, from.ip()),
                }
                while lookups.len() < LOOKUPS_AT_ONCE && let Some(name) = peers.next_lookup() {
                    lookups.spawn(resolves(name));
                }
            }
            Some(looked_up) = lookups.join_next() => {
                // It neither panics nor is it aborted while this runs.
                let Ok((name, resolves)) = looked_up else { continue };
                if peers.looked_up(&name, resolves) {
                    report.desired(peers.desired());
                }
            }
            _ = look.tick() => {
                if peers.forget_silent(Instant::now().into_std()) {
                    report.desired(peers.desired());
                }
            }
        }
    }
}

/// True when the host part of a name leads somewhere.
async fn resolves(name: NodeName) -> (NodeName, bool) {
    let host = name.host().to_owned();
    if host.parse::<IpAddr>().is_ok() {
        return (name, true);
    }
    let lookup = async { Ok::<_, std::io::Error>(tokio::net::lookup_host((host, 0)).await?.next().is_some()) };
    let found = timeout(LOOKUP_LIMIT, lookup).await;
    (name, matches!(found, Ok(Ok(true))))
}

const DEFAULT_PORT: u16 = 45892;
const DEFAULT_GROUP: Ipv4Addr = Ipv4Addr::new(233, 252, 1, 32);
const DEFAULT_TTL: u32 = 1;
/// libcluster's: each heartbeat follows the last after 1 to 5000 ms.
const LONGEST_PAUSE: Duration = Duration::from_millis(5000);
/// A network has other things to do than to carry heartbeats.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// A live peer has sent more than two hundred heartbeats by then.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// A peer is forgotten at most this part of the time too late.
const LOOKS_UNTIL_FORGOTTEN: u32 = 10;
/// After an error of the socket (no route, no network yet).
const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Each takes a thread of the runtime's pool while it lasts.
const LOOKUPS_AT_ONCE: usize = 8;
/// A name server that does not answer by then is of no help to a dial either.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// For errors that no retry mends soon.
fn config_error(text: String) -> DiscoveryError {
    DiscoveryError::new(DiscoveryErrorKind::Config, text)
}
