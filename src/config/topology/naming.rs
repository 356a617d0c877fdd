//! How nodes in pods are called: what a topology says, else what `[node]` says. And the other way round for our own
//! name, for all nodes of a cluster have to follow one rule.

use crate::config::layers::Resolved;
use crate::config::problem::Problems;
use crate::config::reader::Values;
use crate::config::schema::{Key, StrategyKind};
use crate::config::sections::MODES;
use crate::config::value::Mode;
use crate::discovery::{DEFAULT_CLUSTER_DOMAIN, NameTemplate};

/// The keys of a strategy that makes names.
pub(super) const KEYS: &[Key] = &[
    Key::text("basename", "NAME", "The part of the peers' names before the `@`; that of [node] if not given.")
        .example("myapp")
        .option("basename")
        .aliases(&[("kubernetes_node_basename", ""), ("node_basename", ""), ("application_name", "")]),
    Key::text(
        "mode",
        "MODE",
        "How the peers are called; as in [node] if not given, else `dns` (strategy `dns`: `ip`).",
    )
    .example("dns")
    .option("mode")
    .choices(MODES)
    .rivals(&["template"]),
    Key::text("template", "TEMPLATE", "The same with parts of your choice, for example `{label.app}@{ip}`.")
        .example("{basename}@{ip}")
        .option("name-template")
        .rivals(&["mode"]),
    Key::text("namespace", "NAMESPACE", "The namespace of the peers; that of [node] if not given.")
        .example("default")
        .option("kubernetes-namespace")
        .aliases(&[("kubernetes_namespace", "")]),
    Key::text("service", "SERVICE", "The headless Service; that of [node] if not given.")
        .example("myapp-headless")
        .option("kubernetes-service")
        .aliases(&[("kubernetes_service_name", "")]),
    Key::text("cluster_domain", "DOMAIN", "The domain of the cluster; that of [node] if not given.")
        .example("cluster.local")
        .option("cluster-domain")
        .aliases(&[("kubernetes_cluster_name", ".local")]),
];

/// What names are made of.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub(crate) basename: String,
    pub(crate) template: NameTemplate,
    pub(crate) namespace: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) domain: String,
}

/// Of the peers in one topology.
pub(super) fn of_peers(kind: &StrategyKind, own: &Values, node: &Values, problems: &Problems) -> Naming {
    let mode = if kind.name == "dns" { NameTemplate::ip() } else { NameTemplate::dns() };
    made(&[own, node], &mode, problems)
}

/// Of this node: `[node]`, then the first topology that has something to say about names.
pub(in crate::config) fn own_naming(resolved: &Resolved, node: &Values, problems: &Problems) -> Naming {
    let makes_names = |kind: &StrategyKind| kind.keys().any(|key| key.name == "basename");
    let first = resolved.topologies.iter().find(|(_, kind, _)| makes_names(kind));
    match first {
        Some((_, kind, values)) => {
            let mode = if kind.name == "dns" { NameTemplate::ip() } else { NameTemplate::dns() };
            made(&[node, values], &mode, problems)
        }
        None => made(&[node], &NameTemplate::dns(), problems),
    }
}

/// The first of these that says something counts, key by key.
fn made(places: &[&Values], mode: &NameTemplate, problems: &Problems) -> Naming {
    let text = |key: &str| places.iter().find_map(|values| values.given::<String>(key, problems));
    let template = |values: &&Values| {
        let mode = values.given("mode", problems).map(|Mode(template)| template);
        mode.or_else(|| values.given("template", problems))
    };
    // The built-in value is that of [node].
    let built_in = |key: &str, instead: &str| {
        let value = places.iter().find_map(|values| values.get(key).and_then(|_| values.read::<String>(key, problems)));
        value.unwrap_or_else(|| instead.to_owned())
    };
    Naming {
        basename: text("basename").unwrap_or_else(|| built_in("basename", "")),
        template: places.iter().find_map(template).unwrap_or_else(|| mode.clone()),
        namespace: text("namespace"),
        service: text("service"),
        domain: text("cluster_domain").unwrap_or_else(|| built_in("cluster_domain", DEFAULT_CLUSTER_DOMAIN)),
    }
}
