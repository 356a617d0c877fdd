//! `strategy = "kubernetes"`.

use super::{dns, naming};
use crate::config::schema::{Fate, Key, StrategyKind};

/// What is looked for in the API.
pub(super) const KEYS: &[Key] = &[
    Key::text("lookup", "LOOKUP", "What is looked up in the API.")
        .default("slices")
        .option("kubernetes-lookup")
        .aliases(&[("kubernetes_ip_lookup_mode", "")])
        .choices(&[
            ("slices", "the EndpointSlices of a Service (Kubernetes 1.21 and later)"),
            ("pods", "pods, without any Service"),
            ("endpoints", "Endpoints, as libcluster does by default"),
        ]),
    Key::text(
        "selector",
        "SELECTOR",
        "Which are nodes, by label, as for `kubectl get -l`: labels of the Service, with lookup `pods` of the pods. \
         Without it all slices or Endpoints of `service`.",
    )
    .example("app=myapp")
    .option("kubernetes-selector")
    .brings()
    .aliases(&[("kubernetes_selector", "")])
    .rivals(&["sources"]),
    Key::list(
        "sources",
        "[NAMESPACE:]SELECTOR",
        "Several selectors, each in a namespace of its own: texts, or tables with `namespace` and `selector`.",
    )
    .example("workers:app=myapp")
    .rivals(&["selector"]),
    Key::text(
        "release_label",
        "LABEL",
        "The label of pods with their release, for `release_gate`; with lookup `pods`.",
    )
    .example("pod-template-hash"),
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
    about: "The pods of a Service, or those with certain labels, by watching the Kubernetes API.",
    keys: &[KEYS, dns::FAMILY, naming::KEYS],
    names: &[("Kubernetes", &[("mode", "ip"), ("lookup", "endpoints")])],
    foreign: FOREIGN,
};

#[cfg(feature = "kubernetes")]
pub(super) use self::strategy::build;

#[cfg(feature = "kubernetes")]
mod strategy {
    use super::super::{Described, KubernetesTopology};
    use crate::config::value::{Port, Selection, Selections};
    use crate::discovery::{Kubernetes, Lookup, PortRule};

    pub(in crate::config::topology) fn build(described: &Described<'_>) -> Option<KubernetesTopology> {
        let (values, problems) = (described.values, described.common.problems);
        let naming = described.naming();
        let lookup = values.or("lookup", Lookup::EndpointSlices, problems);
        let mut places = places(described, lookup, naming.service.is_some())?;
        for place in &mut places {
            place.namespace = place.namespace.take().or_else(|| naming.namespace.clone());
        }
        let selector = places.iter().map(|place| place.selector.as_str()).collect::<Vec<_>>().join("; ");
        let mut places = places.into_iter();
        let strategy = match places.next()? {
            Selection { namespace: Some(namespace), selector } => Kubernetes::slices(namespace, selector),
            Selection { namespace: None, selector } => Kubernetes::slices_here(selector),
        };
        let strategy = places.fold(strategy, |strategy, place| match place.namespace {
            Some(namespace) => strategy.also(namespace, place.selector),
            None => strategy.also_here(place.selector),
        });
        let mut strategy = strategy
            .lookup(lookup)
            .basename(naming.basename)
            .template(naming.template)
            .cluster_domain(naming.domain)
            .port(port_rule(described));
        if let Some(service) = naming.service {
            strategy = strategy.service(service);
        }
        if let Some(family) = values.read("family", problems) {
            strategy = strategy.family(family);
        }
        if let Some(label) = values.read::<String>("release_label", problems) {
            strategy = strategy.release_label(label);
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
        if let Err(error) = strategy.check() {
            problems.add(format!("{}: {error}", values.path()));
        }
        Some(KubernetesTopology { strategy, namespace: naming.namespace, selector })
    }

    /// Where to look for what. A Service is enough where it is not pods that are looked up.
    fn places(described: &Described<'_>, lookup: Lookup, has_service: bool) -> Option<Vec<Selection>> {
        let (values, problems) = (described.values, described.common.problems);
        if let Some(Selections(places)) = values.read("sources", problems) {
            if places.is_empty() {
                described.missing("`sources` is empty", "name a selector, or leave it out");
            }
            return Some(places);
        }
        if values.get("sources").is_some() {
            return None;
        }
        if values.get("selector").is_none() && !(has_service && lookup != Lookup::Pods) {
            let fix = "give a label selector: --kubernetes-selector app=myapp (labels of the Service; with \
                       --kubernetes-lookup pods those of the pods), or the Service: --kubernetes-service myapp";
            described.missing("which pods are nodes?", fix);
            return None;
        }
        let selector = match values.get("selector") {
            Some(_) => values.read("selector", problems)?,
            None => String::new(),
        };
        Some(vec![Selection { namespace: None, selector }])
    }

    fn port_rule(described: &Described<'_>) -> PortRule {
        let (values, problems) = (described.values, described.common.problems);
        let fixed = values.read("port", problems).map(|Port(port)| PortRule::Fixed(port));
        let annotation = || values.read("port_annotation", problems).map(PortRule::Annotation);
        let named = || values.read("port_name", problems).map(PortRule::Named);
        fixed.or_else(annotation).or_else(named).unwrap_or_default()
    }
}
