//! HTTP of `gusset run`: the server for probes, metrics and status, and the order in which a node leaves.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Failure;
use crate::config::{HttpAddress, HttpSettings};
use crate::discovery::DiscoveryHandle;
use crate::node::Node;
use crate::ops::{DEFAULT_HTTP_PORT, HttpServer, Observer, ReadyConfig};

/// The server of a running node, if it has one.
pub(super) struct Web {
    server: Option<(HttpServer, Observer)>,
    drain_delay: Duration,
}

impl Web {
    pub(super) async fn start(
        settings: HttpSettings,
        node: &Node,
        discovery: Option<&DiscoveryHandle>,
    ) -> Result<Self, Failure> {
        let drain_delay = settings.drain_delay;
        let Some(address) = settings.address else { return Ok(Self { server: None, drain_delay }) };
        let config = ReadyConfig::new(settings.ready_min_connected, settings.ready_stable);
        let observer = Observer::start(node, discovery, config);
        let server = HttpServer::bind(address, observer.clone()).await.map_err(|error| {
            Failure::other(format!("--http {address}: {error}")).advise("another port, or no --http at all")
        })?;
        Ok(Self { server: Some((server, observer)), drain_delay })
    }

    /// Where it is, for people and for tools.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|(server, _)| server.local_addr())
    }

    /// Not ready any more. Returns at once.
    pub(super) fn drain(&self, why: &str) {
        if let Some((_, observer)) = &self.server {
            observer.drain(why);
        }
    }

    /// Lets those who look at readiness see it before anything else changes. Nobody waits at a terminal.
    pub(super) async fn let_them_see(&self, why: Option<&str>) {
        if self.server.is_some() && why == Some("SIGTERM") {
            tokio::time::sleep(self.drain_delay).await;
        }
    }

    pub(super) async fn stop(self) {
        if let Some((server, _)) = self.server {
            server.stop().await;
        }
    }
}

/// The URL at which a gusset of this host serves, as the environment has it.
pub(super) fn default_url() -> String {
    let configured = std::env::var(ENV_HTTP).ok().and_then(|text| text.parse().ok());
    let configured = configured.map(|HttpAddress(address)| address);
    let mut address = configured.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_HTTP_PORT)));
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}

const ENV_HTTP: &str = "GUSSET_HTTP";
