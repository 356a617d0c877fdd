//! `gusset run`: join the cluster, stay in it, and say who comes and goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::home::{self, FoundCookie, IfMissing, Origin};
use super::http::{HttpArgs, Web};
use super::identity::{self, Wish};
use super::output::Output;
use super::stop::Stop;
use super::{CookieArgs, EpmdPortArgs, Failure};
use crate::builder::NodeBuilder;
use crate::discovery::{self, DiscoveryEvent, DiscoveryHandle, LocalEpmd, Static};
use crate::etf::Creation;
use crate::net::{DialTarget, EpmdMode};
use crate::node::{Listen, Node, NodeConfig, NodeEvent};
use crate::proto::epmd::DEFAULT_EPMD_PORT;
use crate::proto::{Cookie, NodeName};

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset run                                       join the nodes of this machine
  gusset run --sname rust --connect iex@myhost     join one node, and through it its cluster
  gusset run --name rust@10.0.0.7 --dist-port 9100 --epmd none
  gusset run --discover kubernetes --basename myapp --kubernetes-selector app=myapp

The name is that of --name or --sname; else RELEASE_NODE, completed as RELEASE_DISTRIBUTION says;
else made from basename and POD_IP (and NAMESPACE with --mode dns); else basename@HOST.
An option counts before its variable, and a variable that is empty is as good as not set.
Stop it with Ctrl-C or SIGTERM; a second one ends it at once. With --http it is not ready first.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Print JSON objects, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    pub(super) cookie: CookieArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Identity")]
pub(super) struct IdentityArgs {
    /// The long name of the node (`name@host.domain`, `name@10.0.0.7`).
    #[arg(long, conflicts_with = "sname", value_name = "NAME")]
    name: Option<String>,
    /// The short name of the node (`name`, `name@host`).
    #[arg(long, value_name = "NAME")]
    sname: Option<String>,
    /// Be hidden: not in Node.list() of others, no part in global.
    #[arg(long)]
    hidden: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
struct ListenArgs {
    /// The addresses to listen on for other nodes (`::` takes IPv6 and IPv4).
    #[arg(long, value_name = "IP", default_value = "0.0.0.0", value_delimiter = ',')]
    listen: Vec<IpAddr>,
    /// The port to listen on, or a range of which one is taken; any free one by default.
    #[arg(long, env = "ERL_DIST_PORT", value_name = "PORT[-PORT]", value_parser = port_range)]
    dist_port: Option<RangeInclusive<u16>>,
    /// Which EPMD tells others the port of this node.
    #[arg(long, value_enum, default_value_t = EpmdChoice::Auto, value_name = "MODE")]
    epmd: EpmdChoice,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
    /// Where an EPMD of our own listens, besides loopback; everywhere by default.
    #[arg(long, env = "ERL_EPMD_ADDRESS", value_name = "IP", value_delimiter = ',')]
    epmd_listen: Vec<IpAddr>,
    /// A peer that is silent for so many seconds is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    net_ticktime: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EpmdChoice {
    /// That of this host; where none runs, serve as one.
    Auto,
    /// That of this host, and no other.
    External,
    /// Serve as one.
    Embedded,
    /// No EPMD at all, neither here nor at the peers: all listen on the same --dist-port (`erl -start_epmd
    /// false -erl_epmd_port PORT`).
    None,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Discovery")]
pub(super) struct DiscoveryArgs {
    /// Connect to this node, and again when it is lost.
    #[arg(long, value_name = "NODE[=IP[:PORT]]")]
    connect: Vec<DialTarget>,
    /// How to find nodes; may be several. By default `kubernetes` with a selector, `none` with --connect or
    /// without EPMD, else `local-epmd`.
    #[arg(long, value_enum, value_name = "STRATEGY", value_delimiter = ',')]
    discover: Vec<StrategyChoice>,
    /// The part of node names before the `@`, ours and that of pods.
    #[arg(long, env = "RELEASE_NAME", value_name = "NAME")]
    basename: Option<String>,
    /// The namespace of the pods; by default that of the kubeconfig or of the service account.
    #[arg(long, env = "NAMESPACE", value_name = "NAMESPACE")]
    pub(super) kubernetes_namespace: Option<String>,
    /// Which pods are nodes, by label.
    #[arg(long, value_name = "SELECTOR")]
    pub(super) kubernetes_selector: Option<String>,
    /// How pods are called.
    #[arg(long, value_enum, default_value_t = Mode::Dns, value_name = "MODE")]
    mode: Mode,
    /// The domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = discovery::DEFAULT_CLUSTER_DOMAIN, value_name = "DOMAIN")]
    pub(super) cluster_domain: String,
    /// How often to look where nothing can be watched, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..))]
    polling_interval: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyChoice {
    /// The nodes that the EPMD of this host knows.
    LocalEpmd,
    /// Pods, by watching the Kubernetes API.
    Kubernetes,
    /// Nobody: wait for others.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// basename@a-b-c-d.NAMESPACE.pod.DOMAIN
    Dns,
    /// basename@IP
    Ip,
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("`{text}` is no port"));
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (port(low)?, port(high)?),
        None => (port(text)?, port(text)?),
    };
    if low > high { Err(format!("{low} is above {high}")) } else { Ok(low..=high) }
}

pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let output = Output::new(args.json);
    let mut stop = Stop::new()?;
    check_discovery(&args.discovery)?;
    let name = own_name(&args.identity, &args.discovery)?;
    let found = home::cookie(&args.cookie, IfMissing::Make)?;
    let builder = Node::builder(name.as_str()).config(config(found.cookie.clone(), &args)?);
    let builder = discover(builder, &args);
    let (node, discovery) = tokio::select! {
        started = builder.start_with_discovery() => started?,
        signal = stop.wait() => return Err(Failure::other(format!("stopped by {signal} before it was up"))),
    };
    let web = match Web::start(&args.http, &node, discovery.as_ref()).await {
        Ok(web) => web,
        Err(failure) => {
            node.shutdown().await;
            return Err(failure);
        }
    };
    let mut nodes = node.monitor_nodes();
    let mut news = discovery.as_ref().map(DiscoveryHandle::events);
    hello(output, &node, &found, &args);
    if matches!(found.origin, Origin::HomeMade(_)) && wants_kubernetes(&args.discovery) {
        let text =
            "this node has made a cookie of its own, which no pod has: set RELEASE_COOKIE, or give --cookie-file";
        output.line(
            || format!("warn  {text}"),
            || json!({"event": "discovery", "kind": "warn", "node": null, "text": text}),
        );
    }
    if let Some(address) = web.address() {
        output.line(
            || format!("health, metrics and status at http://{address}"),
            || json!({"event": "http", "address": address.to_string()}),
        );
    }
    let mut connected = Connected::default();
    // Whoever was faster than the stream of events; for the others their event says so.
    for peer in node.peers() {
        connected.up(output, &peer.name, peer.connection, peer.creation, peer.hidden);
    }
    let signal = loop {
        tokio::select! {
            event = nodes.recv() => match event {
                Some(event) => connected.tell(output, &event),
                None => break None,
            },
            event = next_news(&mut news) => match event {
                Some(event) => tell_discovery(output, &event),
                None => news = None,
            },
            signal = stop.wait() => {
                output.line(|| format!("stopping ({signal})"), || json!({"event": "stopping", "signal": signal}));
                break Some(signal);
            }
        }
    };
    let goodbye = async {
        web.drain(signal.unwrap_or("the node stopped"));
        if let Some(discovery) = discovery {
            discovery.stop().await;
        }
        web.let_them_see(signal).await;
        node.shutdown().await;
        web.stop().await;
    };
    tokio::select! {
        () = goodbye => {}
        signal = stop.wait_for_another() => return Err(Failure::other(format!("{signal} again: ended without saying goodbye"))),
    }
    output.line(|| "stopped".to_owned(), || json!({"event": "stopped"}));
    Ok(())
}

async fn next_news(news: &mut Option<tokio::sync::broadcast::Receiver<DiscoveryEvent>>) -> Option<DiscoveryEvent> {
    use tokio::sync::broadcast::error::RecvError;
    let Some(receiver) = news else { return std::future::pending().await };
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "events of discovery came faster than they were printed")
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

/// The name: an option, the environment of a release, the address of the pod, or the host.
pub(super) fn own_name(given: &IdentityArgs, options: &DiscoveryArgs) -> Result<NodeName, Failure> {
    if let Some(name) = &given.name {
        return identity::resolve(&Wish::Long(name.clone()));
    }
    if let Some(name) = &given.sname {
        return identity::resolve(&Wish::Short(name.clone()));
    }
    let distribution = distribution()?;
    let wish = |name: String| match distribution {
        Some(Distribution::Name) => Wish::Long(name),
        Some(Distribution::Sname) => Wish::Short(name),
        None => Wish::Default(name),
    };
    if let Some(name) = environment("RELEASE_NODE") {
        return identity::resolve(&wish(name));
    }
    let basename = options.basename.clone().unwrap_or_else(|| DEFAULT_BASENAME.to_owned());
    if pod_ip_variable().is_none() && !wants_kubernetes(options) {
        return identity::resolve(&wish(basename));
    }
    let namespace = options.kubernetes_namespace.clone();
    let look_up = |key: &str| match key {
        "NAMESPACE" => namespace.clone().or_else(|| environment(key)).or_else(service_account_namespace),
        "CLUSTER_DOMAIN" => Some(options.cluster_domain.clone()),
        _ => environment(key),
    };
    let own = discovery::own_name(&template(options.mode), Some(&basename), look_up).map_err(|error| {
        Failure::configuration(error.to_string())
            .advise("outside of a pod, give a name by which pods can reach this node: --name myapp@10.0.0.7")
    })?;
    Ok(own.name)
}

/// The name that a node gets which has no other: by the host.
pub(super) fn name_of_host(options: &DiscoveryArgs) -> Result<NodeName, Failure> {
    identity::resolve(&Wish::Default(options.basename.clone().unwrap_or_else(|| DEFAULT_BASENAME.to_owned())))
}

fn pod_ip_variable() -> Option<String> {
    ["POD_IP", "MY_POD_IP"].into_iter().find_map(environment)
}

/// The namespace of the pod, as Kubernetes mounts it with the token.
fn service_account_namespace() -> Option<String> {
    std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()
}

/// What `RELEASE_DISTRIBUTION` says about the name of a release.
enum Distribution {
    Name,
    Sname,
}

fn distribution() -> Result<Option<Distribution>, Failure> {
    match environment("RELEASE_DISTRIBUTION").as_deref() {
        None => Ok(None),
        Some("name") => Ok(Some(Distribution::Name)),
        Some("sname") => Ok(Some(Distribution::Sname)),
        Some("none") => Err(Failure::configuration("RELEASE_DISTRIBUTION=none asks for a node that nobody can reach")
            .advise("set it to name or sname, or name the node with --name or --sname")),
        Some(other) => {
            Err(Failure::configuration(format!("RELEASE_DISTRIBUTION={other} is none of name, sname, none")))
        }
    }
}

/// A variable; one that is empty is as good as not set.
/// The address of the pod that this runs in.
pub(super) fn pod_ip() -> Option<IpAddr> {
    pod_ip_variable()?.trim().parse().ok()
}

fn environment(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|value| !value.is_empty())
}

fn template(mode: Mode) -> discovery::NameTemplate {
    match mode {
        Mode::Dns => discovery::NameTemplate::dns(),
        Mode::Ip => discovery::NameTemplate::ip(),
    }
}

fn config(cookie: Cookie, args: &RunArgs) -> Result<NodeConfig, Failure> {
    let listen = &args.listen;
    let mut config = NodeConfig::new(cookie);
    config.epmd.mode = match listen.epmd {
        EpmdChoice::Auto => EpmdMode::Auto,
        EpmdChoice::External => EpmdMode::External,
        EpmdChoice::Embedded => EpmdMode::Embedded,
        EpmdChoice::None => EpmdMode::None,
    };
    if let (EpmdMode::None, None) = (config.epmd.mode, &listen.dist_port) {
        return Err(Failure::configuration("--epmd none: without EPMD nobody can ask for the port of this node")
            .advise("give it with --dist-port PORT, the same one at all nodes"));
    }
    config.epmd.port = listen.epmd_port.epmd_port;
    config.epmd.addresses = listen.epmd_listen.clone();
    config.listen = Listen::On { addresses: listen.listen.clone(), ports: listen.dist_port.clone().unwrap_or(0..=0) };
    config.net_ticktime = Duration::from_secs(listen.net_ticktime);
    config.hidden = args.identity.hidden;
    Ok(config)
}

/// The strategies that are asked for, or fit what is given.
fn strategies(args: &RunArgs) -> Vec<StrategyChoice> {
    let options = &args.discovery;
    if !options.discover.is_empty() {
        return options.discover.clone();
    }
    if wants_kubernetes(options) {
        vec![StrategyChoice::Kubernetes]
    } else if options.connect.is_empty() && !matches!(args.listen.epmd, EpmdChoice::None) {
        vec![StrategyChoice::LocalEpmd]
    } else {
        Vec::new()
    }
}

/// True where pods are watched: when that is asked for, or a selector is given and nothing else is.
fn wants_kubernetes(options: &DiscoveryArgs) -> bool {
    if options.discover.is_empty() {
        options.kubernetes_selector.is_some()
    } else {
        options.discover.contains(&StrategyChoice::Kubernetes)
    }
}

/// What is wrong with the settings of discovery is said before anything else is looked at.
fn check_discovery(options: &DiscoveryArgs) -> Result<(), Failure> {
    let kubernetes = wants_kubernetes(options);
    if kubernetes && !cfg!(feature = "kubernetes") {
        let text = "--discover kubernetes: this binary was built without the feature `kubernetes`";
        return Err(Failure::configuration(text));
    }
    if kubernetes && options.kubernetes_selector.is_none() {
        return Err(Failure::configuration("--discover kubernetes: which pods are nodes?")
            .advise("give a label selector: --kubernetes-selector app=myapp"));
    }
    Ok(())
}

fn discover(mut builder: NodeBuilder, args: &RunArgs) -> NodeBuilder {
    let options = &args.discovery;
    if !options.connect.is_empty() {
        builder = builder.discovery(Static::new(options.connect.clone()));
    }
    let interval = Duration::from_millis(options.polling_interval);
    for choice in strategies(args) {
        builder = match choice {
            StrategyChoice::None => builder,
            StrategyChoice::LocalEpmd => {
                builder.discovery(LocalEpmd::new(args.listen.epmd_port.epmd_port).every(interval))
            }
            StrategyChoice::Kubernetes => kubernetes(builder, options),
        };
    }
    builder
}

#[cfg(feature = "kubernetes")]
fn kubernetes(builder: NodeBuilder, options: &DiscoveryArgs) -> NodeBuilder {
    builder.discovery(kubernetes_strategy(options))
}

#[cfg(feature = "kubernetes")]
pub(super) fn kubernetes_strategy(options: &DiscoveryArgs) -> discovery::Kubernetes {
    let selector = options.kubernetes_selector.clone().unwrap_or_default();
    let basename = options.basename.clone().unwrap_or_else(|| DEFAULT_BASENAME.to_owned());
    let strategy = match &options.kubernetes_namespace {
        Some(namespace) => discovery::Kubernetes::pods(namespace.clone(), selector),
        None => discovery::Kubernetes::pods_here(selector),
    };
    let mut strategy =
        strategy.basename(basename).template(template(options.mode)).cluster_domain(options.cluster_domain.clone());
    if let Some(address) = pod_ip() {
        strategy = strategy.own_address(address);
    }
    strategy
}

/// Nobody gets here: [`check_discovery`].
#[cfg(not(feature = "kubernetes"))]
fn kubernetes(builder: NodeBuilder, _: &DiscoveryArgs) -> NodeBuilder {
    builder
}

const DEFAULT_BASENAME: &str = "gusset";

fn hello(output: Output, node: &Node, found: &FoundCookie, args: &RunArgs) {
    let kind = if args.identity.hidden { "hidden" } else { "visible" };
    let port = node.port().unwrap_or_default();
    let (name, creation) = (node.name().as_str(), node.creation().0);
    output.line(
        || {
            format!(
                "{name} is up ({kind}, port {port}, cookie from {origin})\n\
                 Try it from Elixir with the same cookie:\n\
                 \x20 {iex}\n\
                 \x20 iex> Node.connect(:\"{name}\")\n\
                 \x20 iex> :rpc.call(:\"{name}\", :gusset, :info, [])",
                origin = found.origin,
                iex = iex(node, found),
            )
        },
        || {
            json!({"event": "started", "node": name, "creation": creation, "port": port, "hidden": args.identity.hidden,
                   "cookie_from": found.origin.to_string()})
        },
    );
}

/// The command line of an iex on this host that can connect to us.
fn iex(node: &Node, found: &FoundCookie) -> String {
    let host = node.name().host();
    let name = match (node.name().is_long(), host.parse::<IpAddr>()) {
        (false, _) => "--sname me".to_owned(),
        (true, Ok(IpAddr::V4(_))) => "--name me@127.0.0.1".to_owned(),
        (true, _) => format!("--name me@{host}"),
    };
    let mut flags = if host.contains(':') { vec!["-proto_dist inet6_tcp".to_owned()] } else { Vec::new() };
    let cookie = found.origin.iex_option();
    let epmd = &node.config().epmd;
    let variable = match epmd.mode {
        EpmdMode::None => {
            // It would listen on the same port of the same host, so it has to do without listening.
            let port = node.port().unwrap_or_default();
            flags.push(format!("-start_epmd false -erl_epmd_port {port} -dist_listen false"));
            String::new()
        }
        _ if epmd.port == DEFAULT_EPMD_PORT => String::new(),
        _ => format!("ERL_EPMD_PORT={} ", epmd.port),
    };
    let flags = if flags.is_empty() { String::new() } else { format!(" --erl \"{}\"", flags.join(" ")) };
    format!("{variable}iex {name}{cookie}{flags}")
}

/// Who is connected according to what was printed, so that each line is right for its own moment.
#[derive(Default)]
struct Connected(BTreeMap<NodeName, u64>);

impl Connected {
    /// One line for a node that came or went.
    fn tell(&mut self, output: Output, event: &NodeEvent) {
        match event {
            NodeEvent::Up { name, creation, hidden, connection } => {
                self.up(output, name, *connection, *creation, *hidden);
            }
            NodeEvent::Down { name, creation, hidden, connection, reason } => {
                if self.0.get(name) == Some(connection) {
                    self.0.remove(name);
                }
                let connected = self.0.len();
                output.line(
                    || format!("down  {name}: {reason} ({connected} connected)"),
                    || {
                        json!({"event": "nodedown", "node": name.as_str(), "creation": creation.0, "hidden": hidden,
                               "reason": reason, "connected": connected})
                    },
                );
            }
        }
    }

    fn up(&mut self, output: Output, name: &NodeName, connection: u64, creation: Creation, hidden: bool) {
        if self.0.insert(name.clone(), connection) == Some(connection) {
            return;
        }
        let connected = self.0.len();
        output.line(
            || format!("up    {name}{} ({connected} connected)", if hidden { " (hidden)" } else { "" }),
            || {
                json!({"event": "nodeup", "node": name.as_str(), "creation": creation.0, "hidden": hidden,
                       "connected": connected})
            },
        );
    }
}

/// What discovery has to say beyond what node events tell.
fn tell_discovery(output: Output, event: &DiscoveryEvent) {
    let (word, node) = match event {
        DiscoveryEvent::Discovered { target, .. } => ("found", Some(&target.name)),
        DiscoveryEvent::Removed { name, .. } => ("gone", Some(name)),
        DiscoveryEvent::ConnectFailed { name, tell: true, .. } => ("fail", Some(name)),
        DiscoveryEvent::Degraded { .. } | DiscoveryEvent::NotFindable { .. } => ("warn", None),
        DiscoveryEvent::Recovered { .. } => ("ok", None),
        _ => return,
    };
    output.line(
        || format!("{word:<5} {event}"),
        || json!({"event": "discovery", "kind": word, "node": node.map(NodeName::as_str), "text": event.to_string()}),
    );
}
