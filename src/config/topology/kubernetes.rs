//! `strategy = "kubernetes"`.

use super::naming;
use crate::config::schema::{Fate, Key, StrategyKind};

/// What is looked for in the API.
pub(super) const KEYS: &[Key] = &[
    Key::text("selector", "SELECTOR", "Which pods are nodes, by label, as for `kubectl get -l`.")
        .example("app=myapp")
        .option("kubernetes-selector")
        .brings()
        .aliases(&[("kubernetes_selector", "")])
        .rivals(&["sources"]),
    Key::text(
        "port_annotation",
        "KEY",
        "An annotation of pods with their distribution port; EPMD is asked where it is missing.",
    )
    .example("example.com/dist-port")
    .rivals(&["port", "port_name"]),
    Key::text(
        "port_name",
        "NAME",
        "The name of the container port that is the distribution port; EPMD is asked where there is none.",
    )
    .example("dist")
    .rivals(&["port", "port_annotation"]),
    Key::number(
        "port",
        "PORT",
        "The distribution port of all peers, which have no EPMD then; without it EPMD is asked.",
    )
    .example("9100")
    .rivals(&["port_annotation", "port_name"]),
    Key::number("relist_every", "SECONDS", "How often everything is listed anew, as a safety net under the watch.")
        .default("600"),
    Key::number("answer_within", "SECONDS", "How long the API may take over an answer.").default("30"),
    Key::text(
        "kubeconfig",
        "FILE",
        "The kubeconfig; by default KUBECONFIG, else ~/.kube/config, else the service account of the pod.",
    )
    .example("/etc/gusset/kubeconfig"),
];

pub(super) const FOREIGN: &[(&str, Fate)] = &[
    ("polling_interval", Fate::Ignored("the API is watched, nothing is polled")),
    ("kubernetes_use_cached_resources", Fate::Ignored("a watch begins with what the API server has at hand anyway")),
    ("kubernetes_master", Fate::Refused(ACCESS)),
    ("kubernetes_service_account_path", Fate::Refused(ACCESS)),
];
const ACCESS: &str = "the API is found by `kubeconfig`, by KUBECONFIG, or by the service account of the pod";

pub(super) const KIND: StrategyKind = StrategyKind {
    name: "kubernetes",
    heading: "Discovery by Kubernetes",
    about: "Pods, by watching the Kubernetes API.",
    keys: &[KEYS, naming::KEYS],
    names: &[("Kubernetes", &[("mode", "ip")])],
    foreign: FOREIGN,
};

#[cfg(feature = "kubernetes")]
pub(super) use self::strategy::build;

#[cfg(feature = "kubernetes")]
mod strategy {
    use super::super::{Described, KubernetesTopology};
    use crate::config::value::{Port, Selections};
    use crate::discovery::{Kubernetes, PortRule};

    pub(in crate::config::topology) fn build(described: &Described<'_>) -> Option<KubernetesTopology> {
        let (values, problems) = (described.values, described.common.problems);
        let naming = described.naming();
        let selector: Option<String> = values.read("selector", problems);
        let Some(selector) = selector else {
            if values.get("selector").is_none() {
                described.missing("which pods are nodes?", "give a label selector: --kubernetes-selector app=myapp");
            }
            return None;
        };
        let strategy = match &naming.namespace {
            Some(namespace) => Kubernetes::pods(namespace.clone(), selector.clone()),
            None => Kubernetes::pods_here(selector.clone()),
        };
        let mut strategy = strategy
            .basename(naming.basename)
            .template(naming.template)
            .cluster_domain(naming.domain)
            .port(port_rule(described));
        if let Some(service) = naming.service {
            strategy = strategy.service(service);
        }
        if let Some(address) = described.common.pod_ip {
            strategy = strategy.own_address(address);
        }
        if let Some(pause) = described.seconds("relist_every") {
            strategy = strategy.relist_every(pause);
        }
        if let Some(limit) = described.seconds("answer_within") {
            strategy = strategy.answer_within(limit);
        }
        if let Some(path) = values.file("kubeconfig", problems) {
            strategy = strategy.kubeconfig(path);
        }
        let _ = |Selections(_)| ();
        Some(KubernetesTopology { strategy, namespace: naming.namespace, selector })
    }

    fn port_rule(described: &Described<'_>) -> PortRule {
        let (values, problems) = (described.values, described.common.problems);
        let fixed = values.read("port", problems).map(|Port(port)| PortRule::Fixed(port));
        let annotation = || values.read("port_annotation", problems).map(PortRule::Annotation);
        let named = || values.read("port_name", problems).map(PortRule::Named);
        fixed.or_else(annotation).or_else(named).unwrap_or_default()
    }
}
