//! Dialling: from a node name to a connection whose handshake is done.
//!
//! The address says where, the name says who: with an address in the target nothing is looked up, with a
//! port in it no EPMD is asked, and either way the node that answers has to have the name.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::accept::AttemptId;
use super::epmd_client::{EpmdClient, EpmdError};
use super::error::ConnectError;
use super::step::Step;
use super::target::DialTarget;
use super::transport::{Cause, DEFAULT_SETUP_TIMEOUT, HandshakeIo, Stopped, random_challenge, tune};
use crate::proto::epmd::DEFAULT_EPMD_PORT;
use crate::proto::handshake::{Initiator, PrefixWidth, StatusOutcome};
use crate::proto::{Cookie, HandshakeError, LocalIdentity, Negotiated};

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Established {
    /// What both sides agreed on.
    pub negotiated: Negotiated,
    /// The socket.
    pub stream: TcpStream,
    /// What has already come behind the last message of the handshake: the beginning of the traffic.
    pub leftover: BytesMut,
    /// The address of the peer.
    pub address: SocketAddr,
    /// Which attempt this was, for connections that came in; `None` for those that we dialled.
    pub attempt: Option<AttemptId>,
}

/// How to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialOptions {
    /// The port of EPMD on every host.
    pub epmd_port: u16,
    /// Where set, nodes listen on this port everywhere and no EPMD is asked (`erl -erl_epmd_port`).
    pub fixed_port: Option<u16>,
    /// The time limit of each step (`net_setuptime`, 7 s); a handshake has five of them.
    pub setup_timeout: Duration,
    /// Which addresses of a host are tried, and in which order.
    pub family: Family,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            epmd_port: DEFAULT_EPMD_PORT,
            fixed_port: None,
            setup_timeout: DEFAULT_SETUP_TIMEOUT,
            family: Family::default(),
        }
    }
}

/// Which addresses of a host are tried, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// IPv4, then IPv6: a BEAM listens on IPv4 unless it is told otherwise.
    #[default]
    V4First,
    /// IPv6, then IPv4.
    V6First,
    /// IPv4 only.
    V4,
    /// IPv6 only (`-proto_dist inet6_tcp`).
    V6,
}

/// Connects to `target` and does the handshake. `cookie` is the one for this peer.
///
/// `still_wanted` is asked when the peer says that an older connection of us is up: true replaces it,
/// false keeps it and ends this attempt. Dropping the future closes the socket.
///
/// # Errors
/// [`ConnectError`] says which step failed and what to do. After [`ConnectError::Nok`] wait for the peer's
/// own attempt, which wins.
pub async fn dial(
    target: &DialTarget,
    local: &LocalIdentity,
    cookie: &Cookie,
    options: &DialOptions,
    still_wanted: impl Fn() -> bool,
) -> Result<Established, ConnectError> {
    let (stream, address) = reach(target, options).await?;
    tune(&stream);
    let mut io = HandshakeIo::new(stream, PrefixWidth::Two, options.setup_timeout);
    let mut replacing_since = None;
    let negotiated = shake(&mut io, target, local, cookie, still_wanted, &mut replacing_since)
        .await
        .map_err(|stopped| explain(stopped, target, replacing_since))?;
    let (stream, leftover) = io.into_parts();
    tracing::debug!(peer = %negotiated.peer, addr = %address, flags = %negotiated.flags, "handshake done");
    Ok(Established { negotiated, stream, leftover, address, attempt: None })
}

async fn shake(
    io: &mut HandshakeIo<TcpStream>,
    target: &DialTarget,
    local: &LocalIdentity,
    cookie: &Cookie,
    still_wanted: impl Fn() -> bool,
    replacing_since: &mut Option<Instant>,
) -> Result<Negotiated, Stopped> {
    let (state, message) = Initiator::start(local, &target.name, cookie).map_err(Stopped::at(Step::Prepare))?;
    io.send(Step::SendName, &[&message]).await?;
    let status = io.receive(Step::Status).await?;
    let state = match state.on_message(&status).map_err(Stopped::at(Step::Status))? {
        StatusOutcome::Continue(state) => state,
        StatusOutcome::Alive(state) if still_wanted() => {
            let (state, message) = state.replace();
            io.send(Step::Alive, &[&message]).await?;
            *replacing_since = Some(Instant::now());
            state
        }
        StatusOutcome::Alive(state) => {
            io.send(Step::Alive, &[&state.keep()]).await?;
            return Err(Stopped { step: Step::Alive, cause: Cause::Handshake(HandshakeError::AliveKept) });
        }
    };
    let message = io.receive(Step::Challenge).await?;
    let (state, reply) = state.on_message(&message, random_challenge()?).map_err(Stopped::at(Step::Challenge))?;
    io.send(Step::Reply, &[&reply]).await?;
    let message = io.receive(Step::Reply).await?;
    state.on_message(&message).map_err(Stopped::at(Step::Reply))
}

/// Says what stopped a handshake, and what can be done about it.
fn explain(stopped: Stopped, target: &DialTarget, replacing_since: Option<Instant>) -> ConnectError {
    let Stopped { step, cause } = stopped;
    let peer = target.name.clone();
    match cause {
        Cause::Timeout(_) | Cause::Closed if step == Step::Challenge && replacing_since.is_some() => {
            let after = replacing_since.map_or(Duration::ZERO, |since| since.elapsed());
            ConnectError::OldConnectionAlive { peer, after }
        }
        Cause::Timeout(after) => ConnectError::Timeout { peer, step, after },
        Cause::Closed if step == Step::Reply => ConnectError::WrongCookie { peer },
        Cause::Closed => ConnectError::Closed { peer, step },
        Cause::Io(source) => ConnectError::Io { peer, step, source },
        Cause::Handshake(HandshakeError::Nok { peer }) => ConnectError::Nok { peer },
        Cause::Handshake(HandshakeError::NotAllowed { peer, missing }) => ConnectError::NotAllowed { peer, missing },
        Cause::Handshake(HandshakeError::AliveKept) => ConnectError::AliveKept { peer },
        Cause::Handshake(HandshakeError::WrongCookie { peer }) => ConnectError::WrongAck { peer },
        Cause::Handshake(HandshakeError::MissingFlags { peer, missing }) => {
            ConnectError::MissingFlags { peer, missing }
        }
        Cause::Handshake(HandshakeError::OtherName { asked, answered }) => ConnectError::OtherName { asked, answered },
        Cause::Handshake(source) => ConnectError::Handshake { peer, step, source },
    }
}

/// Opens the connection: address by address, until one takes it.
async fn reach(target: &DialTarget, options: &DialOptions) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut first_error = None;
    for ip in addresses_of(target, options).await? {
        match reach_at(target, ip, options).await {
            Ok(reached) => return Ok(reached),
            Err(error) => {
                tracing::debug!(peer = %target.name, %ip, %error, "no way to the node at this address");
                first_error.get_or_insert(error);
            }
        }
    }
    // The first address is the one people think of; the others were only tried because it failed.
    Err(first_error.unwrap_or_else(|| ConnectError::NoAddress { peer: target.name.clone(), family: options.family }))
}

async fn reach_at(
    target: &DialTarget,
    ip: IpAddr,
    options: &DialOptions,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let peer = &target.name;
    let port = match target.port.or(options.fixed_port) {
        Some(port) => port,
        None => port_from_epmd(target, ip, options).await?,
    };
    let address = SocketAddr::new(ip, port);
    match timeout(options.setup_timeout, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok((stream, address)),
        Ok(Err(source)) => Err(ConnectError::Unreachable { peer: peer.clone(), address, source }),
        Err(_) => Err(ConnectError::Timeout { peer: peer.clone(), step: Step::Connect, after: options.setup_timeout }),
    }
}

async fn port_from_epmd(target: &DialTarget, ip: IpAddr, options: &DialOptions) -> Result<u16, ConnectError> {
    let peer = &target.name;
    let client = EpmdClient::new(ip, options.epmd_port).with_timeout(options.setup_timeout);
    let address = client.address();
    match client.port_of(peer.name()).await {
        Ok(Some(entry)) => Ok(entry.port),
        Ok(None) => Err(ConnectError::UnknownToEpmd { peer: peer.clone(), address }),
        Err(source @ EpmdError::Unreachable { .. }) => {
            Err(ConnectError::EpmdUnreachable { peer: peer.clone(), source })
        }
        Err(source) => Err(ConnectError::Epmd { peer: peer.clone(), source }),
    }
}

/// The addresses to try, in order.
async fn addresses_of(target: &DialTarget, options: &DialOptions) -> Result<Vec<IpAddr>, ConnectError> {
    let peer = &target.name;
    let host = peer.host();
    if let Some(ip) = target.ip.or_else(|| host.parse().ok()) {
        return Ok(vec![ip]);
    }
    let found = match timeout(options.setup_timeout, lookup_host((host, 0))).await {
        Ok(Ok(found)) => found,
        Ok(Err(source)) => return Err(ConnectError::UnknownHost { peer: peer.clone(), source }),
        Err(_) => {
            let after = options.setup_timeout;
            return Err(ConnectError::Timeout { peer: peer.clone(), step: Step::NameLookup, after });
        }
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found.map(|address| address.ip()) {
        let fits = match options.family {
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
            Family::V4First | Family::V6First => true,
        };
        if fits && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    match options.family {
        Family::V4 | Family::V4First => addresses.sort_by_key(IpAddr::is_ipv6),
        Family::V6 | Family::V6First => addresses.sort_by_key(IpAddr::is_ipv4),
    }
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

/// How many addresses of one host are tried: each may cost a time limit, and a node has one or two.
const MAX_ADDRESSES: usize = 4;
