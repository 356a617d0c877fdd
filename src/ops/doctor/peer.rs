//! The way to another node, step by step: host, EPMD, TCP, handshake, first answer.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::local::list_names;
use super::{HASH_IN_IEX, Report, Trouble, cookie_hash};
use crate::atom;
use crate::etf::{Atom, Term};
use crate::net::{ConnectError, DialTarget, EpmdClient, EpmdError, EpmdMode, Step};
use crate::node::{ConnectFailure, Node, Target};
use crate::proto::{Cookie, Flags, NodeName};

/// Whom to look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerOptions {
    /// The node, with its address where the name alone does not lead there.
    pub target: DialTarget,
    /// The cookie for it.
    pub cookie: Cookie,
    /// The port of EPMD there.
    pub epmd_port: u16,
    /// How long each step may take.
    pub limit: Duration,
    /// The name that this node has when it runs, to see whether the peer knows it.
    pub own: Option<NodeName>,
}

impl PeerOptions {
    /// For this node, with this cookie; the rest as by default.
    pub fn new(target: DialTarget, cookie: Cookie) -> Self {
        let (epmd_port, limit) = (crate::proto::epmd::DEFAULT_EPMD_PORT, crate::net::DEFAULT_SETUP_TIMEOUT);
        Self { target, cookie, epmd_port, limit, own: None }
    }
}

/// Goes to a node step by step, and stops at the first that fails.
pub async fn peer(report: &mut Report<'_>, options: &PeerOptions) {
    let name = &options.target.name;
    if let Some(own) = options.own.as_ref().filter(|own| own.is_long() != name.is_long()) {
        report.warn(
            "name",
            format!("`{own}` and `{name}`: one is a long name, the other a short one"),
            "nodes with long and with short names cannot form a cluster: --name or RELEASE_DISTRIBUTION=name on both sides",
        );
    }
    let Some(addresses) = host(report, options).await else { return };
    let Some((ip, port)) = port(report, options, &addresses).await else { return };
    if !tcp(report, options, SocketAddr::new(ip, port)).await {
        return;
    }
    let target = DialTarget::at(name.clone(), ip).with_port(port);
    let Some(node) = handshake(report, options, target).await else { return };
    answers(report, options, &node).await;
    node.shutdown().await;
}

async fn host(report: &mut Report<'_>, options: &PeerOptions) -> Option<Vec<IpAddr>> {
    let host = options.target.name.host();
    if let Some(ip) = options.target.ip {
        report.ok("host", format!("{ip}, as given"));
        return Some(vec![ip]);
    }
    if let Ok(ip) = host.parse() {
        report.ok("host", format!("{ip} is in the name"));
        return Some(vec![ip]);
    }
    let why = match timeout(options.limit, lookup_host((host, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for ip in found.map(|address| address.ip()) {
                if !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
            // A BEAM listens on IPv4 unless it is told otherwise.
            addresses.sort_by_key(IpAddr::is_ipv6);
            if !addresses.is_empty() {
                let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                report.ok("host", format!("`{host}` is {}", list.join(", ")));
                return Some(addresses);
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {:?}", options.limit),
    };
    let fix = match dashed(host) {
        Some(ip) => format!(
            "the address is in the name: try {}={ip}; for BEAM nodes CoreDNS has to have `pods insecure` or `pods verified`",
            options.target.name
        ),
        None => "check the name, the search domains in /etc/resolv.conf, and for a headless Service \
                 publishNotReadyAddresses; or give the address: NODE=IP"
            .to_owned(),
    };
    report.fail("host", Trouble::Lookup, format!("`{host}` cannot be looked up: {why}"), fix);
    None
}

/// The address in a pod's name, `10-0-0-7.namespace.pod.domain`.
fn dashed(host: &str) -> Option<Ipv4Addr> {
    host.split('.').next()?.replace('-', ".").parse().ok()
}

async fn port(report: &mut Report<'_>, options: &PeerOptions, addresses: &[IpAddr]) -> Option<(IpAddr, u16)> {
    if let (Some(port), Some(ip)) = (options.target.port, addresses.first()) {
        report.ok("EPMD", format!("not asked: port {port} is given"));
        return Some((*ip, port));
    }
    let name = options.target.name.name();
    let mut first = None;
    for ip in addresses {
        let client = EpmdClient::new(*ip, options.epmd_port).with_timeout(options.limit);
        let address = client.address();
        match client.names().await {
            Err(error) => {
                first.get_or_insert(error);
            }
            Ok(names) => match names.iter().find(|(known, _)| known == name) {
                Some((_, port)) => {
                    report.ok(
                        "EPMD",
                        format!("at {address} knows `{name}` at port {port} (and {})", others(&names, name)),
                    );
                    return Some((*ip, *port));
                }
                None => {
                    report.fail(
                        "EPMD",
                        Trouble::Epmd,
                        format!("at {address} knows no `{name}`; it knows {}", list_names(&names)),
                        "the node is not up yet, has another name (RELEASE_NODE, --name), or listens without EPMD \
                         (then give NODE=IP:PORT)",
                    );
                    return None;
                }
            },
        }
    }
    let error = first?;
    let (trouble, fix) = match &error {
        EpmdError::Unreachable { source, .. } if source.kind() == ErrorKind::ConnectionRefused => (
            Trouble::Epmd,
            "no node runs there, or its EPMD has another port (ERL_EPMD_PORT) or listens on loopback only \
                             (ERL_EPMD_ADDRESS)",
        ),
        EpmdError::Unreachable { .. } | EpmdError::Timeout { .. } => (Trouble::Epmd, NETWORK_POLICY),
        _ => (Trouble::Epmd, "something else than EPMD listens there: check ERL_EPMD_PORT"),
    };
    report.fail("EPMD", trouble, error.to_string(), fix);
    None
}

fn others(names: &[(String, u16)], name: &str) -> String {
    let others: Vec<_> = names.iter().filter(|(known, _)| known != name).cloned().collect();
    if others.is_empty() { "no other".to_owned() } else { list_names(&others) }
}

async fn tcp(report: &mut Report<'_>, options: &PeerOptions, address: SocketAddr) -> bool {
    let (trouble, text, fix) = match timeout(options.limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => {
            report.ok("TCP", format!("{address} takes connections"));
            return true;
        }
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => (
            Trouble::Tcp,
            format!("{address} refuses connections"),
            "nothing listens there: EPMD still knows a node that has died, or it listens on another address \
             (inet_dist_use_interface)",
        ),
        Ok(Err(error)) => (Trouble::Tcp, format!("no connection to {address}: {error}"), NETWORK_POLICY),
        Err(_) => (Trouble::Timeout, format!("no connection to {address} within {:?}", options.limit), NETWORK_POLICY),
    };
    report.fail("TCP", trouble, text, fix);
    false
}

/// A hidden node that is connected to the peer.
async fn handshake(report: &mut Report<'_>, options: &PeerOptions, target: DialTarget) -> Option<Node> {
    let name = target.name.clone();
    let node = match guest(options, &name).await {
        Ok(node) => node,
        Err(text) => {
            report.fail("handshake", Trouble::Other, text, "");
            return None;
        }
    };
    match node.connect(target).await {
        Ok(()) => {
            let flags = node.peer(&name).map(|peer| peer.flags).unwrap_or_default();
            report.ok("status", "it takes our name");
            report.ok("challenge", format!("it answers as `{name}`"));
            report.ok("flags", flags_text(flags));
            report.ok(
                "cookie",
                format!("is the same on both sides (SHA-256 begins with {})", cookie_hash(&options.cookie)),
            );
            Some(node)
        }
        Err(failed) => {
            match &failed.cause {
                ConnectFailure::Dial(error) => refused(report, options, error),
                other => report.fail("handshake", Trouble::Handshake, other.to_string(), ""),
            }
            node.shutdown().await;
            None
        }
    }
}

async fn guest(options: &PeerOptions, peer: &NodeName) -> Result<Node, String> {
    let number = getrandom::u32().map_err(|error| format!("no random numbers: {error}"))?;
    // The peer never dials back, but the style of the name has to be its own: short or long.
    let host = if peer.is_long() { "127.0.0.1" } else { "doctor" };
    let mut config = crate::node::NodeConfig::new(options.cookie.clone());
    config.net_setuptime = options.limit;
    let builder = Node::builder(format!("gusset-doctor-{number:x}@{host}")).config(config).hidden().no_listener();
    builder.epmd(EpmdMode::None, options.epmd_port).start().await.map_err(|error| error.to_string())
}

fn flags_text(flags: Flags) -> String {
    let lacking: Vec<_> = flags.missing(Flags::REQUIRED_BY_26).map(|(name, _)| name).collect();
    let count = flags.iter().count();
    match lacking.as_slice() {
        [] => format!("{count} in common, with all that OTP 26 and later ask for"),
        lacking => format!("{count} in common; an older release, without {}", lacking.join(", ")),
    }
}

/// Says which steps went well before the one that failed, and why that failed.
fn refused(report: &mut Report<'_>, options: &PeerOptions, error: &ConnectError) {
    let step = error.step();
    let behind_status = matches!(step, Step::Challenge | Step::Reply);
    if behind_status {
        report.ok("status", "it takes our name");
    }
    if step == Step::Reply {
        report.ok("challenge", format!("it answers as `{}`", options.target.name));
    }
    let text = error.to_string();
    match error {
        ConnectError::WrongCookie { .. } | ConnectError::WrongAck { .. } => report.fail(
            "cookie",
            Trouble::Cookie,
            format!("is not the same: {text} (the SHA-256 of ours begins with {})", cookie_hash(&options.cookie)),
            format!("compare in iex there: {HASH_IN_IEX}; give the right one with RELEASE_COOKIE or --cookie-file"),
        ),
        ConnectError::MissingFlags { .. } | ConnectError::NotAllowed { .. } => report.fail(
            "flags",
            Trouble::Handshake,
            text,
            "upgrade the older side; where no flag is named, see net_kernel:allow/1 there",
        ),
        ConnectError::OtherName { .. } => report.fail(
            "challenge",
            Trouble::Handshake,
            text,
            "another node has this port: check the port that was given, or restart the EPMD that has it wrong",
        ),
        ConnectError::Timeout { .. } => {
            report.fail(check_of(step), Trouble::Timeout, text, "the node hangs, or this is no distribution port");
        }
        _ => report.fail(
            check_of(step),
            Trouble::Handshake,
            text,
            "is it a distribution port? Does the node use TLS (-proto_dist inet_tls), which is not spoken here?",
        ),
    }
}

fn check_of(step: Step) -> &'static str {
    match step {
        Step::Challenge => "challenge",
        Step::Reply => "cookie",
        _ => "status",
    }
}

/// What the node says once it is connected.
async fn answers(report: &mut Report<'_>, options: &PeerOptions, node: &Node) {
    let peer = &options.target.name;
    let kernel = Target::NameOn(atom!("net_kernel"), peer.clone());
    let request = (atom!("is_auth"), node.name().as_atom().clone());
    match node.call_timeout::<Atom>(kernel, &request, options.limit).await {
        Ok(answer) if answer == "yes" => report.ok("answer", "net_kernel answers, so pings do"),
        Ok(answer) => report.warn("answer", format!("net_kernel answers `{answer}`"), ""),
        Err(error) => {
            let fix = "the node is connected and does not serve: it may be overloaded, or blocked by its code loading";
            report.fail("answer", Trouble::Timeout, format!("net_kernel does not answer: {error}"), fix);
            return;
        }
    }
    let ask = |module: Atom, function: Atom, arguments: Vec<Term>| {
        node.rpc_term(peer, module, function, arguments, options.limit)
    };
    let release = ask(atom!("erlang"), atom!("system_info"), vec![Term::Atom(atom!("otp_release"))]).await;
    let nodes = ask(atom!("erlang"), atom!("nodes"), vec![Term::Atom(atom!("connected"))]).await;
    match (release, nodes) {
        (Ok(release), Ok(nodes)) => connected_with(report, options, &release, &nodes),
        (Err(error), _) | (_, Err(error)) => {
            report.warn("cluster", format!("it runs no function for us: {error}"), "");
        }
    }
}

fn connected_with(report: &mut Report<'_>, options: &PeerOptions, release: &Term, nodes: &Term) {
    let names: Vec<String> = nodes
        .as_list()
        .unwrap_or_default()
        .iter()
        .filter_map(|name| Some(name.as_atom()?.to_string()))
        // Guests come and go, this one too.
        .filter(|name| !name.starts_with("gusset-doctor-"))
        .collect();
    let text = format!("OTP {}, connected with {} other nodes", release_text(release), names.len());
    let us = options
        .own
        .as_ref()
        .filter(|own| **own != options.target.name)
        .map(|own| (own, names.iter().any(|name| name == own.as_str())));
    let text = match us {
        Some((own, true)) => format!("{text}, `{own}` among them"),
        Some((own, false)) => format!("{text}; `{own}` is not among them"),
        None => text,
    };
    report.ok("cluster", text);
}

/// A release is a charlist.
fn release_text(release: &Term) -> String {
    release.to_string().trim_matches('"').to_owned()
}

const NETWORK_POLICY: &str = "packets are lost on the way: a NetworkPolicy has to allow EPMD (4369) and the distribution \
                              port, egress here and ingress there; with a service mesh, exclude both ports";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_in_the_name_of_a_pod_is_seen() {
        assert_eq!(dashed("10-0-0-7.default.pod.cluster.local"), Some([10, 0, 0, 7].into()));
        assert_eq!(dashed("web-0.web.default.svc.cluster.local"), None);
    }
}
