//! `--http` of `gusset run`: the server for probes, metrics and status, and the order in which a node leaves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::discovery::DiscoveryHandle;
use crate::node::Node;
use crate::ops::{DEFAULT_HTTP_PORT, HttpServer, Observer, ReadyConfig};

#[derive(Debug, Args)]
#[command(next_help_heading = "Health and metrics")]
pub(super) struct HttpArgs {
    /// Serve /livez, /readyz, /metrics and /status over HTTP: `:9569` on all addresses, `9569` on this host only.
    #[arg(long, env = ENV_HTTP, value_name = "[IP]:PORT", value_parser = address)]
    http: Option<SocketAddr>,
    /// Ready when connected to so many nodes; 0 is ready at once.
    #[arg(long, env = "GUSSET_READY_MIN_CONNECTED", value_name = "N", default_value_t = 1)]
    ready_min_connected: usize,
    /// Ready, too, when nobody else has been found for so long.
    #[arg(long, env = "GUSSET_READY_STABLE", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    ready_stable: Duration,
    /// With --http, on SIGTERM: how long to be not ready before links are closed.
    #[arg(long, env = "GUSSET_DRAIN_DELAY", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    drain_delay: Duration,
}

/// The server of a running node, if it has one.
pub(super) struct Web {
    server: Option<(HttpServer, Observer)>,
    drain_delay: Duration,
}

impl Web {
    pub(super) async fn start(
        args: &HttpArgs,
        node: &Node,
        discovery: Option<&DiscoveryHandle>,
    ) -> Result<Self, Failure> {
        let drain_delay = args.drain_delay;
        let Some(address) = args.http else { return Ok(Self { server: None, drain_delay }) };
        let config = ReadyConfig::new(args.ready_min_connected, args.ready_stable);
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
    let configured = std::env::var(ENV_HTTP).ok().and_then(|text| address(&text).ok());
    let mut address = configured.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_HTTP_PORT)));
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, DEFAULT_HTTP_PORT)),
        Err(_) => Err(format!("`{text}` is none of IP:PORT, :PORT (all addresses), PORT (this host only), IP")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

const ENV_HTTP: &str = "GUSSET_HTTP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_a_port_alone_and_is_then_for_this_host_only() {
        let read = |text| address(text).map(|address| address.to_string()).ok();
        assert_eq!(read("9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(read(":9000").as_deref(), Some("0.0.0.0:9000"));
        assert_eq!(read("10.0.0.1").as_deref(), Some("10.0.0.1:9569"));
        assert_eq!(read("[::]:9000").as_deref(), Some("[::]:9000"));
        assert_eq!(read("host:9000"), None);
    }
}
