//! The questions to name servers, and what their failures mean.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, runtime::TokioRuntimeProvider};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use tokio::time::{Instant, timeout_at};

use super::answer::Service;
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind};
use crate::net::Family;

/// Asks name servers.
pub(super) struct Lookups {
    resolver: TokioResolver,
    limit: Duration,
    family: Family,
}

impl Lookups {
    /// `servers` may be empty: `/etc/resolv.conf` says then whom to ask.
    pub(super) fn new(servers: &[SocketAddr], limit: Duration, family: Family) -> Result<Self, DiscoveryError> {
        let unusable = |error: NetError| {
            let text = format!("cannot set up a DNS resolver: {error}");
            DiscoveryError::new(DiscoveryErrorKind::Config, text).with_fix("look at /etc/resolv.conf")
        };
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(unusable)?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // Each poll is to see what the servers say now.
        options.cache_size = 0;
        // The file says nothing about services.
        options.use_hosts_file = ResolveHosts::Never;
        options.try_tcp_on_error = true;
        options.timeout = options.timeout.min(limit / TRIES_WITHIN_LIMIT);
        let resolver = builder.build().map_err(unusable)?;
        Ok(Self { resolver, limit, family })
    }

    /// The addresses of a name, of the first family that has any.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DiscoveryError> {
        let deadline = Instant::now() + self.limit;
        let (first, second) = record_types(self.family);
        let found = match (self.lookup(name, first, deadline).await, second) {
            (Err(Failure::NoSuchRecord), Some(second)) => self.lookup(name, second, deadline).await,
            (found, _) => found,
        };
        let found = found.map_err(|failure| self.explain(&failure, name, types_text(first, second)))?;
        let addresses: BTreeSet<IpAddr> = found.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() {
            return Err(self.explain(&Failure::NoSuchRecord, name, types_text(first, second)));
        }
        Ok(addresses.into_iter().collect())
    }

    /// The SRV records of a name, with the addresses of their targets as far as they can be had.
    pub(super) async fn services(&self, name: &str) -> Result<Vec<Service>, DiscoveryError> {
        let deadline = Instant::now() + self.limit;
        let found = self.lookup(name, RecordType::SRV, deadline).await;
        let found = found.map_err(|failure| self.explain(&failure, name, "SRV"))?;
        let mut known: HashMap<&Name, Vec<IpAddr>> = HashMap::new();
        for record in found.additionals().iter().chain(found.answers()) {
            if let Some(ip) = record.data.ip_addr() {
                known.entry(&record.name).or_default().push(ip);
            }
        }
        let mut services = Vec::new();
        for record in found.answers() {
            let RData::SRV(srv) = &record.data else { continue };
            // A lone dot says that the service does not exist here (RFC 2782).
            if srv.target.is_root() {
                continue;
            }
            let ip = known.get(&srv.target).and_then(|addresses| choose(self.family, addresses));
            let target = srv.target.to_ascii();
            services.push(Service { target: target.trim_end_matches('.').to_owned(), port: srv.port, ip });
        }
        if services.is_empty() {
            return Err(self.explain(&Failure::NoSuchRecord, name, "SRV"));
        }
        Ok(self.with_addresses(services, deadline).await)
    }

    /// Looks up those targets whose address did not come along. One that has none stays without: its name
    /// is looked up when it is dialled.
    async fn with_addresses(&self, mut services: Vec<Service>, deadline: Instant) -> Vec<Service> {
        let missing: BTreeSet<String> =
            services.iter().filter(|service| service.ip.is_none()).map(|service| service.target.clone()).collect();
        let (first, second) = record_types(self.family);
        let found: HashMap<String, IpAddr> = stream::iter(missing)
            .map(|target| async move {
                let absolute = format!("{target}.");
                let found = match (self.lookup(&absolute, first, deadline).await, second) {
                    (Err(Failure::NoSuchRecord), Some(second)) => self.lookup(&absolute, second, deadline).await,
                    (found, _) => found,
                };
                let addresses: Vec<IpAddr> =
                    found.ok()?.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
                Some((target, choose(self.family, &addresses)?))
            })
            .buffer_unordered(LOOKUPS_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        for service in &mut services {
            service.ip = service.ip.or_else(|| found.get(&service.target).copied());
        }
        services
    }

    async fn lookup(&self, name: &str, records: RecordType, deadline: Instant) -> Result<Lookup, Failure> {
        match timeout_at(deadline, self.resolver.lookup(name, records)).await {
            Err(_elapsed) => Err(Failure::Silence),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Failure::from(error)),
        }
    }

    fn explain(&self, failure: &Failure, name: &str, records: &str) -> DiscoveryError {
        let (kind, text, fix) = match failure {
            Failure::NoSuchName => (
                DiscoveryErrorKind::NotFound,
                format!("the name `{name}` does not exist (NXDOMAIN)"),
                "check how it is written; a headless Service without any pod to list has no name either, unless it has \
                 publishNotReadyAddresses: true",
            ),
            Failure::NoSuchRecord => (
                DiscoveryErrorKind::NotFound,
                format!("`{name}` has no {records} record"),
                "in Kubernetes, check that its Service is headless (clusterIP: None) and selects pods",
            ),
            Failure::Silence => (
                DiscoveryErrorKind::Timeout,
                format!("no name server answered for {records} of `{name}` within {:?}", self.limit),
                "check /etc/resolv.conf, and that a NetworkPolicy lets port 53 through over UDP and TCP",
            ),
            Failure::Unreachable(error) => (
                DiscoveryErrorKind::Unreachable,
                format!("no name server can be reached for {records} of `{name}`: {error}"),
                "check /etc/resolv.conf, and that a NetworkPolicy lets port 53 through over UDP and TCP",
            ),
            Failure::Refused => (
                DiscoveryErrorKind::Forbidden,
                format!("the name server refuses to answer for {records} of `{name}` (REFUSED)"),
                "check that it serves this name, and clients from here",
            ),
            Failure::Other(error) => (
                DiscoveryErrorKind::Other,
                format!("the name server has no answer for {records} of `{name}`: {error}"),
                "look at the log of the name server",
            ),
        };
        DiscoveryError::new(kind, text).with_fix(fix)
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    NoSuchName,
    NoSuchRecord,
    Silence,
    Refused,
    Unreachable(String),
    Other(String),
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match &error {
            NetError::Timeout => Self::Silence,
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => Self::Unreachable(error.to_string()),
            NetError::Dns(DnsError::NoRecordsFound(none)) => Self::from(none.response_code),
            NetError::Dns(DnsError::ResponseCode(code)) => Self::from(*code),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<ResponseCode> for Failure {
    fn from(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NXDomain => Self::NoSuchName,
            ResponseCode::NoError => Self::NoSuchRecord,
            ResponseCode::Refused => Self::Refused,
            _ => Self::Other(code.to_string()),
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    NameServerConfig::new(
        address.ip(),
        true,
        vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())],
    )
}

fn record_types(family: Family) -> (RecordType, Option<RecordType>) {
    match family {
        Family::V4First => (RecordType::A, Some(RecordType::AAAA)),
        Family::V6First => (RecordType::AAAA, Some(RecordType::A)),
        Family::V4 => (RecordType::A, None),
        Family::V6 => (RecordType::AAAA, None),
    }
}

fn types_text(first: RecordType, second: Option<RecordType>) -> &'static str {
    match (first, second) {
        (_, Some(_)) => "A or AAAA",
        (RecordType::AAAA, None) => "AAAA",
        _ => "A",
    }
}

/// The address to dial of those that one node has.
fn choose(family: Family, addresses: &[IpAddr]) -> Option<IpAddr> {
    let v4 = || addresses.iter().filter(|ip| ip.is_ipv4()).min().copied();
    let v6 = || addresses.iter().filter(|ip| ip.is_ipv6()).min().copied();
    match family {
        Family::V4First => v4().or_else(v6),
        Family::V6First => v6().or_else(v4),
        Family::V4 => v4(),
        Family::V6 => v6(),
    }
}

/// A lost packet is asked for again before the time is up.
const TRIES_WITHIN_LIMIT: u32 = 3;
/// Quick for a big service, and no burst that a name server would mind.
const LOOKUPS_AT_ONCE: usize = 16;
