//! An EPMD inside this process, with which real `erl` nodes can register.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::listen::{ListenError, Listener};
use crate::etf::Creation;
use crate::proto::epmd::{
    EpmdEntry, EpmdRequest, KILL_NO, KILL_OK, MAX_EPMD_REQUEST, RegisterReply, encode_dump_reply, encode_names_reply,
    encode_port_reply, is_registrable,
};

/// A running EPMD. Dropping it ends it, and with it all registrations.
#[derive(Debug)]
pub struct EpmdServer {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    tasks: TaskTracker,
    _stop: DropGuard,
}

impl EpmdServer {
    /// Serves on `port` of each of `addresses`.
    ///
    /// # Errors
    /// [`EpmdServerError`], most likely because an EPMD runs already.
    pub async fn bind(addresses: &[IpAddr], port: u16) -> Result<Self, EpmdServerError> {
        let (listeners, addresses) = Listener::bind(addresses, port).await?.into_parts();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            port: addresses.first().map_or(port, SocketAddr::port),
            table: Mutex::default(),
            asking: Arc::new(Semaphore::new(MAX_ASKING)),
            registered: Arc::new(Semaphore::new(MAX_REGISTERED)),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        for listener in listeners {
            tasks.spawn(shared.clone().serve(listener));
        }
        tasks.close();
        Ok(Self { shared, addresses, tasks, _stop: stop.drop_guard() })
    }

    /// The first address.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// All addresses.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The registered nodes.
    pub fn names(&self) -> Vec<EpmdEntry> {
        self.shared.table.lock().active.values().map(|active| active.entry.clone()).collect()
    }

    /// Waits until it has ended by itself: a `KILL_REQ` of this host does that while no node is registered.
    pub async fn ended(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Ends it, and returns when every connection is closed.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Why no EPMD can be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve EPMD: {0}; does one run already?")]
pub struct EpmdServerError(#[from] ListenError);

#[derive(Debug)]
struct Shared {
    port: u16,
    table: Mutex<Table>,
    asking: Arc<Semaphore>,
    registered: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Shared {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let next = async {
                let permit = self.asking.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((listener.accept().await?, permit))
            };
            match self.stop.run_until_cancelled(next).await {
                None => return,
                Some(Ok(((stream, _), permit))) => {
                    let shared = self.clone();
                    self.tasks.spawn(async move {
                        let stop = shared.stop.clone();
                        stop.run_until_cancelled_owned(shared.talk(stream, permit)).await
                    });
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "EPMD cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// One connection: one request. What makes no sense is closed without a reply.
    async fn talk(self: Arc<Self>, mut stream: TcpStream, permit: OwnedSemaphorePermit) {
        let Ok(Ok(request)) = timeout(IDLE_TIMEOUT, read_request(&mut stream)).await else { return };
        let request = match EpmdRequest::decode(&request) {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(%error, "EPMD closes on a bad request");
                return;
            }
        };
        let local = is_local(&stream);
        let reply = match request {
            EpmdRequest::Register(entry) if local => return self.register(entry, stream, permit).await,
            EpmdRequest::Port(name) => {
                encode_port_reply(self.table.lock().active.get(&name).map(|active| &active.entry))
            }
            EpmdRequest::Names => self.table.lock().names(self.port),
            EpmdRequest::Dump if local => self.table.lock().dump(self.port),
            EpmdRequest::Kill if local => {
                if self.table.lock().active.is_empty() {
                    tracing::info!("EPMD was asked to end");
                    let _ = timeout(IDLE_TIMEOUT, stream.write_all(KILL_OK)).await;
                    self.stop.cancel();
                    return;
                }
                KILL_NO.to_vec()
            }
            // Only an EPMD with `-relaxed_command_check` takes names away from nodes that are alive.
            EpmdRequest::Stop(_) => return,
            EpmdRequest::Register(_) | EpmdRequest::Dump | EpmdRequest::Kill => {
                tracing::debug!("EPMD closes on a request that only this host may make");
                return;
            }
        };
        // A reply ends with the connection.
        let _ = timeout(IDLE_TIMEOUT, stream.write_all(&reply)).await;
    }

    /// Registers a node for as long as its connection is open and silent.
    async fn register(self: Arc<Self>, entry: EpmdEntry, mut stream: TcpStream, asking: OwnedSemaphorePermit) {
        if entry.name.is_empty() {
            return;
        }
        let version = entry.highest_version;
        // The counter decides, before the table: a name must not be taken for a node that is then sent away.
        let room = self.registered.clone().try_acquire_owned();
        let active = match &room {
            Ok(_) if is_registrable(&entry.name) => Active::add(&self, entry),
            Ok(_) => None,
            Err(_) => {
                tracing::warn!(limit = MAX_REGISTERED, "EPMD has no room for another node");
                None
            }
        };
        let reply = match &active {
            Some((_, creation)) => RegisterReply::Registered(*creation),
            None => RegisterReply::Refused,
        };
        let replied = timeout(IDLE_TIMEOUT, stream.write_all(&reply.encode(version))).await;
        let mut byte = [0];
        match (active, replied) {
            (Some((_active, _)), Ok(Ok(()))) => {
                drop(asking);
                // Anything that comes, and the end, unregisters.
                let _ = stream.read(&mut byte).await;
            }
            // A real EPMD leaves the socket of a refused node open until that closes it.
            (None, Ok(Ok(()))) => {
                let _ = timeout(IDLE_TIMEOUT, stream.read(&mut byte)).await;
            }
            _ => {}
        }
    }
}

/// A name that is taken. Dropping it frees the name.
struct Active {
    shared: Arc<Shared>,
    name: String,
}

impl Active {
    /// Takes a name; `None` when it is taken.
    fn add(shared: &Arc<Shared>, entry: EpmdEntry) -> Option<(Self, Creation)> {
        let name = entry.name.clone();
        let creation = shared.table.lock().add(entry, unix_seconds())?;
        tracing::info!(%name, %creation, "EPMD registered a node");
        Some((Self { shared: shared.clone(), name }, creation))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        tracing::info!(name = %self.name, "EPMD forgets a node");
        self.shared.table.lock().remove(&self.name);
    }
}

/// Who is registered, and who was.
#[derive(Debug, Default)]
struct Table {
    active: BTreeMap<String, ActiveNode>,
    /// Names that are gone and the creation that they had, oldest first.
    gone: VecDeque<(EpmdEntry, Creation)>,
    registrations: u64,
}

#[derive(Debug)]
struct ActiveNode {
    entry: EpmdEntry,
    creation: Creation,
    number: u64,
}

impl Table {
    /// Registers a node and gives it a creation: the time for a new name, one more than the last for a name that
    /// was here before. `None` when the name is taken.
    fn add(&mut self, entry: EpmdEntry, now: u32) -> Option<Creation> {
        if self.active.contains_key(&entry.name) {
            return None;
        }
        let before = self.gone.iter().position(|(gone, _)| gone.name == entry.name);
        let creation = match before.and_then(|at| self.gone.remove(at)) {
            Some((_, Creation(last))) => last.checked_add(1).unwrap_or(FIRST_CREATION),
            None => now.max(FIRST_CREATION),
        };
        self.registrations += 1;
        let node = ActiveNode { creation: Creation(creation), number: self.registrations, entry };
        self.active.insert(node.entry.name.clone(), node);
        Some(Creation(creation))
    }

    fn remove(&mut self, name: &str) {
        if let Some(node) = self.active.remove(name) {
            if self.gone.len() >= MAX_GONE {
                self.gone.pop_front();
            }
            self.gone.push_back((node.entry, node.creation));
        }
    }

    fn names(&self, port: u16) -> Vec<u8> {
        encode_names_reply(port, self.active.values().map(|node| &node.entry))
    }

    fn dump(&self, port: u16) -> Vec<u8> {
        let active = self.active.values().map(|node| (&node.entry, node.number));
        encode_dump_reply(port, active, self.gone.iter().map(|(entry, _)| (entry.name.as_str(), entry.port)))
    }
}

/// Reads one request without its length. Bytes behind it are none of ours: a real EPMD closes on them.
async fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = usize::from(stream.read_u16().await?);
    if len == 0 || len > MAX_EPMD_REQUEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut request = vec![0; len];
    stream.read_exact(&mut request).await?;
    Ok(request)
}

/// True for peers on this host.
fn is_local(stream: &TcpStream) -> bool {
    match (stream.peer_addr(), stream.local_addr()) {
        (Ok(peer), Ok(here)) => is_same_host(peer.ip(), here.ip()),
        _ => false,
    }
}

/// Loopback, or the address that the peer connected to (`epmd_srv.c:conn_local_peer_check`).
fn is_same_host(peer: IpAddr, here: IpAddr) -> bool {
    // A socket for both families shows IPv4 peers as IPv6.
    let (peer, here) = (peer.to_canonical(), here.to_canonical());
    peer.is_loopback() || peer == here
}

fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

/// Creations below are a wildcard (0) and those of releases of old (1 to 3).
const FIRST_CREATION: u32 = 4;

/// How many nodes may be registered: far more than a host can run.
pub const MAX_REGISTERED: usize = 4096;

/// How many connections may be open that are not registered: a question takes a millisecond, and those who
/// connect and stay silent hold a socket for a minute.
pub const MAX_ASKING: usize = 512;

/// How many names that are gone are remembered, so that they come back with another creation
/// (`epmd_int.h:MAX_UNREG_COUNT` has 1000 too).
const MAX_GONE: usize = 1000;

/// How long a connection may take with its request (`epmd_int.h:CLOSE_TIMEOUT`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait after the system gave no connection (no file descriptors left): it has to free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_the_own_address_are_this_host() {
        let same_host = |peer: &str, here: &str| is_same_host(peer.parse().unwrap(), here.parse().unwrap());
        assert!(same_host("127.0.0.2", "127.0.0.1") && same_host("::1", "::1"));
        assert!(same_host("10.0.0.7", "10.0.0.7") && same_host("::ffff:10.0.0.7", "10.0.0.7"));
        assert!(!same_host("10.0.0.8", "10.0.0.7") && !same_host("::ffff:10.0.0.8", "::ffff:10.0.0.7"));
    }

    #[test]
    fn creations_rise_with_each_life_of_a_name_and_skip_those_of_old_releases() {
        let mut table = Table::default();
        assert_eq!(table.add(EpmdEntry::new("a", 1), 1000), Some(Creation(1000)));
        assert_eq!(table.add(EpmdEntry::new("a", 1), 1001), None);
        table.remove("a");
        assert_eq!(table.add(EpmdEntry::new("a", 1), 5000), Some(Creation(1001)));
        assert_eq!(table.add(EpmdEntry::new("b", 1), 0), Some(Creation(4)));
        table.active.get_mut("b").unwrap().creation = Creation(u32::MAX);
        table.remove("b");
        assert_eq!(table.add(EpmdEntry::new("b", 1), 0), Some(Creation(4)));
    }

    #[test]
    fn only_so_many_names_that_are_gone_are_remembered() {
        let mut table = Table::default();
        for number in 0..=MAX_GONE {
            let name = format!("n{number}");
            table.add(EpmdEntry::new(name.as_str(), 1), 1000).unwrap();
            table.remove(&name);
        }
        assert_eq!(table.gone.len(), MAX_GONE);
        assert_eq!(table.add(EpmdEntry::new("n0", 1), 9000), Some(Creation(9000)), "the oldest is forgotten");
        assert_eq!(table.add(EpmdEntry::new("n1", 1), 9000), Some(Creation(1001)));
    }
}
