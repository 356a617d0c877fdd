//! The socket of Gossip: shared with others on this host, joined to the group.

use std::io;
use std::net::SocketAddrV4;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Gossip, config_error};
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind};

/// Opens it. Has to be called within a tokio runtime.
pub(super) fn open(settings: &Gossip) -> Result<UdpSocket, DiscoveryError> {
    let listen = SocketAddrV4::new(settings.interface, settings.port);
    let socket = bind(listen).map_err(|error| config_error(format!("cannot listen at UDP {listen}: {error}")))?;
    if !settings.broadcast_only {
        join(&socket, settings).map_err(|error| {
            let text = format!("cannot join the multicast group {}: {error}", settings.group);
            DiscoveryError::new(DiscoveryErrorKind::Unreachable, text).with_fix(MULTICAST_FIX)
        })?;
    }
    UdpSocket::from_std(socket.into()).map_err(|error| config_error(format!("cannot use UDP {listen}: {error}")))
}

fn bind(listen: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Several nodes of one host listen at the same port, and each gets a copy of what is sent to a group.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket)
}

fn join(socket: &Socket, settings: &Gossip) -> io::Result<()> {
    let interface = settings.group_interface.unwrap_or(settings.interface);
    socket.set_multicast_ttl_v4(settings.ttl)?;
    // For the nodes on this host.
    socket.set_multicast_loop_v4(true)?;
    if let Some(interface) = &settings.group_interface {
        socket.set_multicast_if_v4(interface)?;
    }
    socket.join_multicast_v4(&settings.group, &interface)
}

pub(super) fn send_failed(error: &io::Error, destination: SocketAddrV4) -> DiscoveryError {
    let text = format!("cannot send a heartbeat to {destination}: {error}");
    DiscoveryError::new(DiscoveryErrorKind::Unreachable, text).with_fix(MULTICAST_FIX)
}

pub(super) fn receive_failed(error: &io::Error, port: u16) -> DiscoveryError {
    let text = format!("cannot receive heartbeats at UDP port {port}: {error}");
    DiscoveryError::new(DiscoveryErrorKind::Other, text)
}

const MULTICAST_FIX: &str = "the network has to carry multicast (few clouds and few Kubernetes networks do): name the \
                             interface to use, use a broadcast address, or another strategy";
