//! `gusset run`: join the cluster, stay in it, and say who comes and goes.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::home::{self, FoundCookie};
use super::identity::{self, Wish};
use super::output::Output;
use super::{CookieArgs, EpmdPortArgs, Failure};
use crate::builder::NodeBuilder;
use crate::discovery::{self, DiscoveryEvent, DiscoveryHandle, LocalEpmd, Static};
use crate::net::{DialTarget, EpmdMode};
use crate::node::{Node, NodeEvent};
use crate::proto::NodeName;

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset run                                       join the nodes of this machine
  gusset run --sname rust --connect iex@myhost     join one node, and through it its cluster
  gusset run --name rust@10.0.0.7 --dist-port 9100 --epmd none
  gusset run --discover kubernetes --basename myapp --kubernetes-selector app=myapp

Names, in this order: --name or --sname, RELEASE_NODE, basename and POD_IP (with NAMESPACE for --mode dns),
else gusset@HOST. Stop it with Ctrl-C or SIGTERM.";

/// Join the cluster and stay in it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    cookie: CookieArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
    /// Print JSON objects, one a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Identity")]
struct IdentityArgs {
    /// The long name of the node (`name@host.domain`, `name@10.0.0.7`).
    #[arg(long, conflicts_with = "sname", value_name = "NAME")]
    name: Option<String>,
    /// The short name of the node (`name`, `name@host`).
    #[arg(long, value_name = "NAME")]
    sname: Option<String>,
    /// Be hidden: not in Node.list() of others, no part in global.
    #[arg(long)]
    hidden: bool,
    /// Whether a RELEASE_NODE without a host part makes a long or a short name (`name`, `sname`).
    #[arg(long, env = "RELEASE_DISTRIBUTION", value_name = "KIND", default_value = "sname", hide = true)]
    release_distribution: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
struct ListenArgs {
    /// The addresses to listen on for other nodes.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0", value_delimiter = ',')]
    listen: Vec<IpAddr>,
    /// The port to listen on, or a range of which one is taken; any free one by default.
    #[arg(long, env = "ERL_DIST_PORT", value_name = "PORT[-PORT]", value_parser = port_range)]
    dist_port: Option<RangeInclusive<u16>>,
    /// auto: use the EPMD of this host, or serve as one; external; embedded; none: no EPMD at all, here
    /// and at the peers (`-start_epmd false -erl_epmd_port PORT`).
    #[arg(long, value_enum, default_value_t = EpmdChoice::Auto, value_name = "MODE")]
    epmd: EpmdChoice,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
    /// A peer that is silent for so many seconds is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    net_ticktime: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EpmdChoice {
    Auto,
    External,
    Embedded,
    None,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Discovery")]
struct DiscoveryArgs {
    /// Connect to this node, and again when it is lost.
    #[arg(long, value_name = "NODE[=IP[:PORT]]")]
    connect: Vec<DialTarget>,
    /// How to find nodes. By default `kubernetes` with a selector, `local-epmd` without, nothing but
    /// --connect where that is given.
    #[arg(long, value_enum, value_name = "STRATEGY", value_delimiter = ',')]
    discover: Vec<StrategyChoice>,
    /// The part of node names before the `@`, ours and that of pods.
    #[arg(long, env = "RELEASE_NAME", value_name = "NAME")]
    basename: Option<String>,
    /// The namespace of the pods; by default that of the kubeconfig or of the service account.
    #[arg(long, env = "NAMESPACE", value_name = "NAMESPACE")]
    kubernetes_namespace: Option<String>,
    /// Which pods are nodes, by label.
    #[arg(long, value_name = "SELECTOR")]
    kubernetes_selector: Option<String>,
    /// How pods are called: dns (basename@a-b-c-d.NAMESPACE.pod.DOMAIN) or ip (basename@IP).
    #[arg(long, value_enum, default_value_t = Mode::Dns)]
    mode: Mode,
    /// The domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = discovery::DEFAULT_CLUSTER_DOMAIN, value_name = "DOMAIN")]
    cluster_domain: String,
    /// How often to look where nothing can be watched, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(50..))]
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
enum Mode {
    Dns,
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
    let found = home::cookie(&args.cookie)?;
    check_discovery(&args)?;
    let name = own_name(&args)?;
    let builder = Node::builder(name.as_str()).cookie(found.cookie.clone());
    let builder = configure(builder, &args)?;
    let builder = discover(builder, &args);
    let (node, discovery) = builder.start_with_discovery().await?;
    let mut nodes = node.monitor_nodes();
    let mut news = discovery.as_ref().map(DiscoveryHandle::events);
    hello(output, &node, &found, &args);
    if found.made && strategies(&args).contains(&StrategyChoice::Kubernetes) {
        warn(
            output,
            "this node has made a cookie of its own, which no pod has: set RELEASE_COOKIE, or give --cookie-file",
        );
    }
    let mut stop = std::pin::pin!(stop_signal());
    loop {
        tokio::select! {
            event = nodes.recv() => match event {
                Some(event) => tell_node(output, &node, &event),
                None => break,
            },
            event = next_news(&mut news) => match event {
                Some(event) => tell_discovery(output, &event),
                None => news = None,
            },
            signal = &mut stop => {
                let signal = signal?;
                output.line(|| format!("stopping ({signal})"), || json!({"event": "stopping", "signal": signal}));
                break;
            }
        }
    }
    if let Some(discovery) = discovery {
        discovery.stop().await;
    }
    node.shutdown().await;
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
fn own_name(args: &RunArgs) -> Result<NodeName, Failure> {
    if let Some(name) = &args.identity.name {
        return identity::resolve(&Wish::Long(name.clone()));
    }
    if let Some(name) = &args.identity.sname {
        return identity::resolve(&Wish::Short(name.clone()));
    }
    let environment = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    if let Some(name) = environment("RELEASE_NODE") {
        return match args.identity.release_distribution.as_str() {
            _ if name.contains('@') => identity::resolve(&Wish::Default(name)),
            "name" => identity::resolve(&Wish::Long(name)),
            _ => identity::resolve(&Wish::Short(name)),
        };
    }
    let basename = args.discovery.basename.clone().unwrap_or_else(|| DEFAULT_BASENAME.to_owned());
    let among_pods = strategies(args).contains(&StrategyChoice::Kubernetes);
    if pod_ip().is_none() && !among_pods {
        return identity::resolve(&Wish::Default(basename));
    }
    let namespace = args.discovery.kubernetes_namespace.clone();
    let look_up = |key: &str| match key {
        "NAMESPACE" => namespace.clone().or_else(|| environment(key)).or_else(service_account_namespace),
        "CLUSTER_DOMAIN" => Some(args.discovery.cluster_domain.clone()),
        _ => environment(key),
    };
    let own = discovery::own_name(&template(args.discovery.mode), Some(&basename), look_up).map_err(|error| {
        Failure::configuration(error.to_string())
            .advise("outside of a pod, give a name by which pods can reach this node: --name myapp@10.0.0.7")
    })?;
    Ok(own.name)
}

fn pod_ip() -> Option<String> {
    ["POD_IP", "MY_POD_IP"].iter().find_map(|key| std::env::var(key).ok().filter(|value| !value.is_empty()))
}

/// The namespace of the pod, as Kubernetes mounts it with the token.
fn service_account_namespace() -> Option<String> {
    std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()
}

fn template(mode: Mode) -> discovery::NameTemplate {
    match mode {
        Mode::Dns => discovery::NameTemplate::dns(),
        Mode::Ip => discovery::NameTemplate::ip(),
    }
}

fn configure(mut builder: NodeBuilder, args: &RunArgs) -> Result<NodeBuilder, Failure> {
    let ports = args.listen.dist_port.clone();
    let mode = match args.listen.epmd {
        EpmdChoice::Auto => EpmdMode::Auto,
        EpmdChoice::External => EpmdMode::External,
        EpmdChoice::Embedded => EpmdMode::Embedded,
        EpmdChoice::None => EpmdMode::None,
    };
    if let (EpmdMode::None, None) = (&mode, &ports) {
        return Err(Failure::configuration("--epmd none: without EPMD nobody can ask for the port of this node")
            .advise("give it with --dist-port PORT, the same one at all nodes"));
    }
    builder = builder.listen(args.listen.listen.clone(), ports.unwrap_or(0..=0));
    builder = builder.epmd(mode, args.listen.epmd_port.epmd_port);
    builder = builder.net_ticktime(Duration::from_secs(args.listen.net_ticktime));
    Ok(if args.identity.hidden { builder.hidden() } else { builder })
}

/// The strategies that are asked for, or fit what is given.
fn strategies(args: &RunArgs) -> Vec<StrategyChoice> {
    let options = &args.discovery;
    if !options.discover.is_empty() {
        return options.discover.clone();
    }
    if options.kubernetes_selector.is_some() {
        vec![StrategyChoice::Kubernetes]
    } else if options.connect.is_empty() && !matches!(args.listen.epmd, EpmdChoice::None) {
        vec![StrategyChoice::LocalEpmd]
    } else {
        Vec::new()
    }
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

/// What is wrong with the settings of discovery is said before anything else is looked at.
fn check_discovery(args: &RunArgs) -> Result<(), Failure> {
    let kubernetes = strategies(args).contains(&StrategyChoice::Kubernetes);
    if kubernetes && !cfg!(feature = "kubernetes") {
        let text = "--discover kubernetes: this binary was built without the feature `kubernetes`";
        return Err(Failure::configuration(text));
    }
    if kubernetes && args.discovery.kubernetes_selector.is_none() {
        return Err(Failure::configuration("--discover kubernetes: which pods are nodes?")
            .advise("give a label selector: --kubernetes-selector app=myapp"));
    }
    Ok(())
}

#[cfg(feature = "kubernetes")]
fn kubernetes(builder: NodeBuilder, options: &DiscoveryArgs) -> NodeBuilder {
    let selector = options.kubernetes_selector.clone().unwrap_or_default();
    let basename = options.basename.clone().unwrap_or_else(|| DEFAULT_BASENAME.to_owned());
    let strategy = match &options.kubernetes_namespace {
        Some(namespace) => discovery::Kubernetes::pods(namespace.clone(), selector),
        None => discovery::Kubernetes::pods_here(selector),
    };
    let mut strategy =
        strategy.basename(basename).template(template(options.mode)).cluster_domain(options.cluster_domain.clone());
    if let Some(address) = pod_ip().and_then(|ip| ip.parse().ok()) {
        strategy = strategy.own_address(address);
    }
    builder.discovery(strategy)
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
            let flag = if node.name().is_long() { "--name me@127.0.0.1" } else { "--sname me" };
            let flag = match node.name().host() {
                host if node.name().is_long() && host.parse::<IpAddr>().is_err() => format!("--name me@{host}"),
                _ => flag.to_owned(),
            };
            format!(
                "{name} is up ({kind}, port {port}, cookie from {origin})\n\
                 Try it from Elixir with the same cookie:\n\
                 \x20 iex {flag}\n\
                 \x20 iex> Node.connect(:\"{name}\")\n\
                 \x20 iex> :rpc.call(:\"{name}\", :gusset, :info, [])",
                origin = found.origin,
            )
        },
        || {
            json!({"event": "started", "node": name, "creation": creation, "port": port, "hidden": args.identity.hidden,
                   "cookie_from": found.origin})
        },
    );
}

fn tell_node(output: Output, node: &Node, event: &NodeEvent) {
    let connected = node.connected_nodes().len();
    match event {
        NodeEvent::Up { name, creation, hidden, .. } => output.line(
            || format!("up    {name}{} ({connected} connected)", if *hidden { " (hidden)" } else { "" }),
            || json!({"event": "nodeup", "node": name.as_str(), "creation": creation.0, "hidden": hidden, "connected": connected}),
        ),
        NodeEvent::Down { name, creation, hidden, reason, .. } => output.line(
            || format!("down  {name}: {reason} ({connected} connected)"),
            || {
                json!({"event": "nodedown", "node": name.as_str(), "creation": creation.0, "hidden": hidden,
                       "reason": reason, "connected": connected})
            },
        ),
    }
}

/// What discovery has to say beyond what node events tell.
fn tell_discovery(output: Output, event: &DiscoveryEvent) {
    let word = match event {
        DiscoveryEvent::Discovered { .. } => "found",
        DiscoveryEvent::Removed { .. } => "gone",
        DiscoveryEvent::ConnectFailed { tell: true, .. } => "fail",
        DiscoveryEvent::Degraded { .. } | DiscoveryEvent::NotFindable { .. } => "warn",
        DiscoveryEvent::Recovered { .. } => "ok",
        _ => return,
    };
    output.line(
        || format!("{word:<5} {event}"),
        || json!({"event": "discovery", "kind": word, "text": event.to_string()}),
    );
}

fn warn(output: Output, text: &str) {
    output.line(|| format!("warn  {text}"), || json!({"event": "warning", "text": text}));
}

/// Waits for Ctrl-C or SIGTERM; says which.
pub(super) async fn stop_signal() -> Result<&'static str, Failure> {
    let failed = |error: std::io::Error| Failure::other(format!("cannot wait for signals: {error}"));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "SIGINT").map_err(failed),
            _ = terminate.recv() => Ok("SIGTERM"),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C").map_err(failed)
}
