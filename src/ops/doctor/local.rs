//! What can be seen from here alone: our name and what others would make of it, the cookie, the EPMD of this host.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::{Report, Trouble, cookie_hash};
use crate::discovery::{Facts, NameTemplate};
use crate::net::EpmdClient;
use crate::proto::{Cookie, NodeName};

/// What the node would be started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Its name.
    pub own: NodeName,
    /// The cookie, and where it came from, for people.
    pub cookie: (Cookie, String),
    /// The port of EPMD.
    pub epmd_port: u16,
    /// How long each step may take.
    pub limit: Duration,
    /// The address that peers see (`POD_IP`), where it is known.
    pub address: Option<IpAddr>,
    /// The namespace and the domain that peers would put into our name.
    pub namespace: Option<String>,
    /// The domain of the cluster.
    pub domain: String,
}

impl LocalOptions {
    /// For a node with this name and cookie; the rest as by default.
    pub fn new(own: NodeName, cookie: Cookie, origin: impl Into<String>) -> Self {
        Self {
            own,
            cookie: (cookie, origin.into()),
            epmd_port: crate::proto::epmd::DEFAULT_EPMD_PORT,
            limit: crate::net::DEFAULT_SETUP_TIMEOUT,
            address: None,
            namespace: None,
            domain: crate::discovery::DEFAULT_CLUSTER_DOMAIN.to_owned(),
        }
    }
}

/// Looks at this side alone.
pub async fn local(report: &mut Report<'_>, options: &LocalOptions) {
    let own = &options.own;
    report.ok("name", format!("this node is `{own}` ({} name)", if own.is_long() { "long" } else { "short" }));
    own_host(report, options).await;
    called(report, options);
    let (cookie, origin) = &options.cookie;
    report.ok("cookie", format!("from {origin}; its SHA-256 begins with {}", cookie_hash(cookie)));
    own_epmd(report, options).await;
}

/// Does the host part lead here?
async fn own_host(report: &mut Report<'_>, options: &LocalOptions) {
    let host = options.own.host();
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => match timeout(options.limit, lookup_host((host, 0))).await {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(error)) => return no_host(report, host, &error.to_string()),
            Err(_) => return no_host(report, host, &format!("no answer within {:?}", options.limit)),
        },
    };
    match addresses.iter().find(|ip| is_ours(**ip)) {
        Some(ip) => report.ok("own host", format!("`{host}` is this host ({ip})")),
        None => report.warn(
            "own host",
            format!("`{host}` leads to {addresses:?}, which is no address of this host"),
            "peers that dial this name end elsewhere; give an address of this host: --name NAME@IP, or POD_IP",
        ),
    }
}

fn no_host(report: &mut Report<'_>, host: &str, why: &str) {
    report.warn(
        "own host",
        format!("`{host}` cannot be looked up here: {why}"),
        "peers that know this node by its name alone cannot dial it; those that discover its address can, and it can dial them",
    );
}

/// Only an address of an interface can be bound.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// What peers would call us by libcluster's modes.
fn called(report: &mut Report<'_>, options: &LocalOptions) {
    let own = &options.own;
    let Some(address) = options.address else { return };
    let facts = Facts {
        basename: Some(own.name()),
        ip: Some(address),
        namespace: options.namespace.as_deref(),
        domain: Some(&options.domain),
        ..Facts::default()
    };
    let names: Vec<(&str, NodeName)> = [("ip", NameTemplate::ip()), ("dns", NameTemplate::dns())]
        .into_iter()
        .filter_map(|(mode, template)| Some((mode, template.render(&facts).ok()?)))
        .collect();
    let list: Vec<_> = names.iter().map(|(mode, name)| format!("mode={mode}: `{name}`")).collect();
    match names.iter().find(|(_, name)| name == own) {
        Some((mode, _)) => report.ok("called", format!("peers with mode={mode} call this node `{own}`, which is its name")),
        None => report.warn(
            "called",
            format!("peers would call this node by {}; its name is `{own}`", list.join(", ")),
            "start it with the mode that the peers use (--mode ip or --mode dns, with POD_IP and NAMESPACE in the pod's \
             env), or set RELEASE_NODE; the part before the @ has to be that of kubernetes_node_basename",
        ),
    }
}

async fn own_epmd(report: &mut Report<'_>, options: &LocalOptions) {
    let client = EpmdClient::new(Ipv4Addr::LOCALHOST.into(), options.epmd_port).with_timeout(options.limit);
    match client.names().await {
        Ok(names) => {
            let registered = names.iter().find(|(name, _)| name == options.own.name());
            let text = match registered {
                Some((_, port)) => format!("this node is registered with the EPMD of this host (port {port})"),
                None => format!("the EPMD of this host knows {}; this node is not running", list_names(&names)),
            };
            report.ok("own EPMD", text);
        }
        Err(error @ crate::net::EpmdError::Unreachable { .. }) => {
            report.ok("own EPMD", format!("none runs here, so `gusset run` would be one ({error})"));
        }
        Err(error) => report.fail(
            "own EPMD",
            Trouble::Epmd,
            error.to_string(),
            "something else listens on this port: set ERL_EPMD_PORT for all nodes, or --epmd none",
        ),
    }
}

/// `a (4001), b (4002)`, as long as that can be read.
pub(super) fn list_names(names: &[(String, u16)]) -> String {
    if names.is_empty() {
        return "no node".to_owned();
    }
    let shown: Vec<_> = names.iter().take(MOST_NAMES).map(|(name, port)| format!("{name} (port {port})")).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// More than that is no line any more.
const MOST_NAMES: usize = 8;
