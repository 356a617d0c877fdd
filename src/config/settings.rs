//! The settled configuration, as what the binary needs.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::environment::Environment;
use super::layers::{Options, Resolved, resolve};
use super::problem::Problems;
use super::reader::Values;
use super::schema::StrategyKind;
use super::source::Source;
use super::topology::{self, Common, Naming, Topology};
use super::value::{HttpAddress, Millis, PodIp, Port, Ports, Seconds, Topic};
use crate::discovery::{Prune, ReconcileConfig, Static};
use crate::net::{DialTarget, EpmdMode};
use crate::node::{Listen, NodeConfig};
use crate::proto::Cookie;

/// Everything that can be configured, settled.
pub(crate) struct Settings {
    pub(crate) name: NameSettings,
    pub(crate) cookie: Option<GivenCookie>,
    pub(crate) hidden: bool,
    pub(crate) epmd_port: u16,
    pub(crate) http: HttpSettings,
    pub(crate) log: LogSettings,
    /// Others may open a shell here.
    pub(crate) shell: bool,
    /// What to subscribe to and print.
    pub(crate) subscribe: Vec<Topic>,
    /// Scopes of `pg` to be in.
    pub(crate) pg: Vec<String>,
    pub(crate) reconcile: ReconcileConfig,
    pub(crate) topologies: Vec<Topology>,
    /// What works, and is worth a word.
    pub(crate) notes: Vec<String>,
    listen: ListenSettings,
    times: Times,
    pub(super) resolved: Resolved,
}

/// What makes the name of this node.
pub(crate) struct NameSettings {
    pub(crate) name: Option<String>,
    pub(crate) sname: Option<String>,
    pub(crate) release_node: Option<String>,
    pub(crate) distribution: Option<(Distribution, Source)>,
    pub(crate) naming: Naming,
    pub(crate) hostname: Option<String>,
    pub(crate) pod_ip: Option<IpAddr>,
    /// A topology in use finds pods, so the name has to be that of one.
    pub(crate) among_pods: bool,
}

/// How the name of a release is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distribution {
    Name,
    Sname,
    None,
}

/// A cookie that was given, or the file that it is in.
#[derive(Debug, Clone)]
pub(crate) enum GivenCookie {
    Text(Cookie, Source),
    File(PathBuf),
}

/// The HTTP server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpSettings {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) ready_min_connected: usize,
    pub(crate) ready_stable: Duration,
    pub(crate) drain_delay: Duration,
}

/// The log.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) filter: String,
    pub(crate) json: bool,
}

struct ListenSettings {
    addresses: Vec<IpAddr>,
    ports: Option<RangeInclusive<u16>>,
    epmd: EpmdMode,
    epmd_addresses: Vec<IpAddr>,
}

struct Times {
    net_ticktime: Duration,
    net_tickintensity: u8,
    net_setuptime: Duration,
}

/// Puts the layers together. What is wrong comes back as one text for each fault, all of them.
pub(crate) fn load(options: Options, environment: &Environment) -> Result<Settings, Vec<String>> {
    let problems = Problems::default();
    let mut resolved = resolve(options, environment, &problems);
    let settings = settle(&mut resolved, &problems);
    if !problems.is_empty() {
        return Err(problems.into_parts().0);
    }
    let (_, notes) = problems.into_parts();
    Ok(Settings { notes, resolved, ..settings })
}

fn settle(resolved: &mut Resolved, problems: &Problems) -> Settings {
    let by_default = Vec::new();
    let sections = std::mem::take(&mut resolved.sections);
    let nothing = Values::new(String::new(), [].iter());
    let section = |name: &str| sections.iter().find(|(known, _)| *known == name).map_or(&nothing, |(_, values)| values);
    let (node, discovery) = (section("node"), section("discovery"));
    let listen = listen(section("listen"), problems);
    let epmd_port = section("listen").or("epmd_port", Port(0), problems).0;
    let connect: Vec<DialTarget> = discovery.read("connect", problems).unwrap_or(by_default);

    let asked_for_none = discovery.is_given("discover");
    if resolved.topologies.is_empty() && !asked_for_none && connect.is_empty() && listen.epmd != EpmdMode::None {
        resolved.topologies.extend(StrategyKind::named("local-epmd").map(|(kind, _)| {
            (kind.name.to_owned(), kind, Values::new(format!("topologies.{}", kind.name), kind.keys()))
        }));
    }
    let pod_ip = node.read("pod_ip", problems).map(|PodIp(address)| address);
    let common = Common {
        node,
        epmd_port,
        pod_ip,
        polling_interval: discovery.read("polling_interval", problems).map(|Millis(pause)| pause),
        problems,
    };
    let mut topologies: Vec<Topology> = resolved
        .topologies
        .iter()
        .filter_map(|(name, kind, values)| topology::build(name, kind, values, &common))
        .collect();
    if !connect.is_empty() {
        topologies.push(Topology::of_nodes(Static::new(connect)));
    }
    let settings = Settings {
        name: name(node, pod_ip, resolved, problems),
        cookie: cookie(node, problems),
        hidden: node.or("hidden", false, problems),
        epmd_port,
        http: http(section("http"), problems),
        log: LogSettings {
            filter: section("log").or("filter", String::new(), problems),
            json: section("log").or("json", false, problems),
        },
        shell: section("services").or("shell", true, problems),
        subscribe: section("services").read("subscribe", problems).unwrap_or_default(),
        pg: section("services").read("pg", problems).unwrap_or_default(),
        reconcile: reconcile(discovery, problems),
        topologies,
        notes: Vec::new(),
        listen,
        times: times(node, problems),
        resolved: Resolved { file: None, sections: Vec::new(), topologies: Vec::new() },
    };
    resolved.sections = sections;
    settings
}

fn name(node: &Values, pod_ip: Option<IpAddr>, resolved: &Resolved, problems: &Problems) -> NameSettings {
    let distribution = node.read("distribution", problems);
    NameSettings {
        name: node.read("name", problems),
        sname: node.read("sname", problems),
        release_node: node.read("release_node", problems),
        distribution: distribution.map(|distribution| (distribution, node.place("distribution").0)),
        naming: topology::own_naming(resolved, node, problems),
        hostname: node.read("hostname", problems),
        pod_ip,
        among_pods: resolved.topologies.iter().any(|(_, kind, _)| matches!(kind.name, "kubernetes" | "auto")),
    }
}

fn cookie(node: &Values, problems: &Problems) -> Option<GivenCookie> {
    if let Some(cookie) = node.read("cookie", problems) {
        return Some(GivenCookie::Text(cookie, node.place("cookie").0));
    }
    node.file("cookie_file", problems).map(GivenCookie::File)
}

fn listen(values: &Values, problems: &Problems) -> ListenSettings {
    let settings = ListenSettings {
        addresses: values.or("addresses", Vec::new(), problems),
        ports: values.read("port", problems).map(|Ports(ports)| ports),
        epmd: values.or("epmd", EpmdMode::Auto, problems),
        epmd_addresses: values.or("epmd_addresses", Vec::new(), problems),
    };
    if settings.addresses.is_empty() {
        let (source, key) = values.place("addresses");
        problems.at(&source, &key, "it is empty: name an address, or leave it out");
    }
    if settings.epmd == EpmdMode::None && values.get("port").is_none() {
        let (source, key) = values.place("epmd");
        let text = "none: without EPMD nobody can ask for the port of this node; give it with --dist-port PORT (`port` \
                    in [listen]), the same one at all nodes";
        problems.at(&source, &key, text);
    }
    settings
}

fn http(values: &Values, problems: &Problems) -> HttpSettings {
    let seconds = |key| values.or(key, Seconds(Duration::ZERO), problems).0;
    HttpSettings {
        address: values.read("address", problems).map(|HttpAddress(address)| address),
        ready_min_connected: values.or("ready_min_connected", 0, problems),
        ready_stable: seconds("ready_stable"),
        drain_delay: seconds("drain_delay"),
    }
}

fn times(node: &Values, problems: &Problems) -> Times {
    let above_zero = |key: &str| {
        let Seconds(time) = node.or(key, Seconds(Duration::ZERO), problems);
        if time.is_zero() && problems.is_empty() {
            let (source, path) = node.place(key);
            problems.at(&source, &path, "it has to be more than 0");
        }
        time
    };
    let times = Times {
        net_ticktime: above_zero("net_ticktime"),
        net_tickintensity: node.or("net_tickintensity", 4, problems),
        net_setuptime: above_zero("net_setuptime"),
    };
    if !(4..=100).contains(&times.net_tickintensity) {
        let (source, path) = node.place("net_tickintensity");
        problems.at(&source, &path, "it has to be from 4 to 100, as OTP has it");
    }
    times
}

fn reconcile(values: &Values, problems: &Problems) -> ReconcileConfig {
    let mut config = ReconcileConfig::default();
    let Seconds(grace) = values.or("prune_grace", Seconds(Duration::ZERO), problems);
    config.prune = match values.or("prune", Prune::default(), problems) {
        Prune::AfterGrace(_) => Prune::AfterGrace(grace),
        other => other,
    };
    config.max_dials = values.or("max_dials", NonZeroUsize::MIN, problems);
    config.policy.max_peers = values.read("max_peers", problems);
    config.policy.same_zone_first = values.or("same_zone_first", false, problems);
    config.policy.own_zone = values.read::<String>("zone", problems).map(Into::into);
    config.policy.release_gate = values.or("release_gate", false, problems);
    config.policy.own_release = values.read::<String>("release", problems).map(Into::into);
    config
}

impl Settings {
    /// What the node is started with.
    pub(crate) fn node_config(&self, cookie: Cookie) -> NodeConfig {
        let mut config = NodeConfig::new(cookie);
        let listen = &self.listen;
        config.hidden = self.hidden;
        config.epmd.mode = listen.epmd;
        config.epmd.port = self.epmd_port;
        config.epmd.addresses.clone_from(&listen.epmd_addresses);
        config.listen =
            Listen::On { addresses: listen.addresses.clone(), ports: listen.ports.clone().unwrap_or(0..=0) };
        config.net_ticktime = self.times.net_ticktime;
        config.net_tickintensity = self.times.net_tickintensity.into();
        config.net_setuptime = self.times.net_setuptime;
        config
    }

    /// The file that was read.
    pub(crate) fn file(&self) -> Option<&Arc<std::path::Path>> {
        self.resolved.file.as_ref()
    }
}

/// Quick for someone who starts a node beside this one, and nothing for an EPMD to answer.
pub(super) const LOCAL_POLL_EVERY: Duration = Duration::from_millis(1000);
