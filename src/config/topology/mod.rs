//! The topologies: what each strategy can be told, and the strategy that comes out.

mod auto;
mod dns;
mod gossip;
mod kubernetes;
mod naming;
mod plain;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::naming::Naming;
pub(super) use self::naming::own_naming;
use super::problem::Problems;
use super::reader::Values;
use super::schema::StrategyKind;
use crate::discovery::{Static, Strategy};

pub(super) const STRATEGIES: &[StrategyKind] =
    &[kubernetes::KIND, dns::KIND, auto::KIND, gossip::KIND, plain::EPMD, plain::LOCAL_EPMD, plain::HOSTS, plain::FILE];

/// A strategy with its settings, under the name that it was given.
#[derive(Clone)]
pub(crate) struct Topology {
    pub(crate) name: String,
    pub(crate) strategy: Arc<dyn Strategy>,
    #[cfg(feature = "kubernetes")]
    pub(crate) kubernetes: Option<KubernetesTopology>,
}

impl Topology {
    /// The nodes of `--connect`.
    pub(super) fn of_nodes(nodes: Static) -> Self {
        Self {
            name: nodes.kind().to_owned(),
            strategy: Arc::new(nodes),
            #[cfg(feature = "kubernetes")]
            kubernetes: None,
        }
    }
}

/// What a topology looks for in the Kubernetes API, for a doctor.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Clone)]
pub(crate) struct KubernetesTopology {
    pub(crate) strategy: crate::discovery::Kubernetes,
    pub(crate) namespace: Option<String>,
    pub(crate) selector: String,
}

/// What all strategies of a node have in common.
pub(super) struct Common<'a> {
    pub(super) node: &'a Values,
    pub(super) epmd_port: u16,
    pub(super) pod_ip: Option<IpAddr>,
    pub(super) polling_interval: Option<Duration>,
    pub(super) problems: &'a Problems,
}

/// The keys of a topology, the strategy that they describe, and what it falls back on.
struct Described<'a> {
    kind: &'static StrategyKind,
    values: &'a Values,
    common: &'a Common<'a>,
}

impl Described<'_> {
    /// The pause between two looks: of the topology, of all, or what the strategy has by itself.
    fn polling_interval(&self) -> Option<Duration> {
        let own = self.values.read("polling_interval", self.common.problems);
        own.map(|super::value::Millis(pause)| pause).or(self.common.polling_interval)
    }

    fn seconds(&self, key: &str) -> Option<Duration> {
        self.values.read(key, self.common.problems).map(|super::value::Seconds(time)| time)
    }

    fn naming(&self) -> Naming {
        naming::of_peers(self.kind, self.values, self.common.node, self.common.problems)
    }

    /// Something that has to be there and is not.
    fn missing(&self, what: &str, fix: &str) {
        self.common.problems.add(format!("{}: {what}; {fix}", self.values.path()));
    }
}

/// Makes the topology. `None` when it cannot be made, which is a problem then.
pub(super) fn build(name: &str, kind: &'static StrategyKind, values: &Values, common: &Common<'_>) -> Option<Topology> {
    let described = Described { kind, values, common };
    let strategy: Arc<dyn Strategy> = match kind.name {
        #[cfg(feature = "kubernetes")]
        "kubernetes" => {
            let found = kubernetes::build(&described)?;
            let strategy = Arc::new(found.strategy.clone());
            return Some(Topology { name: name.to_owned(), strategy, kubernetes: Some(found) });
        }
        #[cfg(all(feature = "kubernetes", feature = "dns"))]
        "auto" => {
            let (strategy, kubernetes) = auto::build(&described)?;
            let strategy = Arc::new(strategy);
            return Some(Topology { name: name.to_owned(), strategy, kubernetes: Some(kubernetes) });
        }
        #[cfg(feature = "dns")]
        "dns" => Arc::new(dns::build(&described)?),
        #[cfg(feature = "gossip")]
        "gossip" => Arc::new(gossip::build(&described)?),
        #[cfg(feature = "file")]
        "file" => Arc::new(plain::file(&described)?),
        "epmd" => Arc::new(plain::epmd(&described)?),
        "local-epmd" => Arc::new(plain::local_epmd(&described)),
        "hosts" => Arc::new(plain::hosts(&described)?),
        other => {
            let features = if other == "auto" { "`kubernetes` and `dns`".to_owned() } else { format!("`{other}`") };
            described
                .missing("this binary was built without the strategy", &format!("it needs the feature {features}"));
            return None;
        }
    };
    Some(Topology {
        name: name.to_owned(),
        strategy,
        #[cfg(feature = "kubernetes")]
        kubernetes: None,
    })
}
