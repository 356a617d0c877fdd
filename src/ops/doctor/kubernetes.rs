//! Kubernetes, stage by stage: configuration, API server, rights, and what discovery finds with them.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use tokio::time::timeout;

use super::{Report, Trouble};
use crate::discovery::{
    CandidateState, Census, Desired, DiscoveryError, DiscoveryErrorKind, Kubernetes, Lookup, Reporter, SelfView,
    Strategy, chain, matches,
};
use crate::proto::NodeName;

/// What to look for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KubernetesOptions {
    /// What discovery would use; `None` looks at the API and at rights only.
    pub strategy: Option<Kubernetes>,
    /// What discovery looks up, whose rights are asked for; that of the strategy counts where one is given.
    pub lookup: Lookup,
    /// The namespace of the pods; that of the kubeconfig or the service account if not given.
    pub namespace: Option<String>,
    /// The selector, for people.
    pub selector: String,
    /// The name that this node has when it runs.
    pub own: NodeName,
    /// How long each step may take.
    pub limit: Duration,
}

impl KubernetesOptions {
    /// For the node with this name.
    pub fn new(own: NodeName) -> Self {
        let (strategy, namespace, lookup) = (None, None, Lookup::Pods);
        Self { strategy, lookup, namespace, selector: String::new(), own, limit: LIMIT }
    }

    fn lookup(&self) -> Lookup {
        self.strategy.as_ref().map_or(self.lookup, Kubernetes::looks_up)
    }
}

/// Goes through what discovery needs, and stops where nothing more can be seen.
pub async fn kubernetes(report: &mut Report<'_>, options: &KubernetesOptions) {
    let Some((client, namespace)) = config(report, options).await else { return };
    if !reachable(report, options, &client).await {
        return;
    }
    if !rights(report, options, &client, &namespace).await {
        return;
    }
    let lookup = options.lookup();
    match &options.strategy {
        Some(strategy) if lookup == Lookup::Pods => found(report, options, strategy, &namespace).await,
        Some(strategy) => {
            if counted(report, options, strategy, &client, &namespace).await {
                found(report, options, strategy, &namespace).await;
            }
        }
        None => report.warn(
            "pods",
            "not looked for: no selector is given",
            format!("give {}: --kubernetes-selector app=myapp", labels_of(lookup)),
        ),
    }
}

/// What a selector is compared with.
fn labels_of(lookup: Lookup) -> &'static str {
    match lookup {
        Lookup::Pods => "the labels of the pods",
        Lookup::EndpointSlices | Lookup::Endpoints => "the labels of the Service",
    }
}

/// How many slices or Endpoints there are, and what is in them. Pods are told of as nodes. True when they could be
/// counted.
async fn counted(
    report: &mut Report<'_>,
    options: &KubernetesOptions,
    strategy: &Kubernetes,
    client: &kube::Client,
    namespace: &str,
) -> bool {
    let check = options.lookup().as_str();
    let counted = match timeout(options.limit, matches(strategy, client, namespace)).await {
        Ok(Ok(counted)) => counted,
        Ok(Err(error)) => {
            report.fail(check, trouble(&error), error.text, error.fix);
            return false;
        }
        Err(_) => {
            report.fail(check, Trouble::Timeout, format!("no list within {:?}", options.limit), "");
            return false;
        }
    };
    for Census { source, objects, endpoints } in counted {
        let namespace = source.namespace.as_deref().unwrap_or("?");
        let text = format!("{} matches {objects} {check} of `{namespace}` with {endpoints} endpoints", source.wanted);
        if endpoints > 0 {
            report.ok(check, text);
        } else {
            let note = source.lookup.selector_note().unwrap_or_default();
            report.warn(check, text, format!("compare with `{}`: {note}", source.kubectl()));
        }
    }
    true
}

async fn config(report: &mut Report<'_>, options: &KubernetesOptions) -> Option<(kube::Client, String)> {
    let source = source();
    let strategy = options.strategy.clone().unwrap_or_else(|| Kubernetes::pods_here(""));
    let config = match timeout(options.limit, strategy.config()).await {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => return no_config(report, &source, &error.text),
        Err(_) => return no_config(report, &source, &format!("nothing within {:?}", options.limit)),
    };
    let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let url = config.cluster_url.to_string();
    match kube::Client::try_from(config) {
        Ok(client) => {
            report.ok("kubernetes", format!("{url} from {source}, namespace `{namespace}`"));
            Some((client, namespace))
        }
        Err(error) => no_config(report, &source, &chain(&error)),
    }
}

fn no_config(report: &mut Report<'_>, source: &str, why: &str) -> Option<(kube::Client, String)> {
    report.fail(
        "kubernetes",
        Trouble::Configuration,
        format!("no configuration for the API ({source}): {why}"),
        "in a pod: automountServiceAccountToken must not be false; elsewhere set KUBECONFIG",
    );
    None
}

/// Where the configuration comes from, in the order in which it is looked for.
fn source() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(path) = variable("KUBECONFIG") {
        return format!("KUBECONFIG={path}");
    }
    let home = variable("HOME").map(|home| format!("{home}/.kube/config")).filter(|path| Path::new(path).exists());
    if home.is_some() {
        return "~/.kube/config".to_owned();
    }
    match variable("KUBERNETES_SERVICE_HOST") {
        Some(_) => "the service account of this pod".to_owned(),
        None => "neither KUBECONFIG nor ~/.kube/config nor a service account is there".to_owned(),
    }
}

async fn reachable(report: &mut Report<'_>, options: &KubernetesOptions, client: &kube::Client) -> bool {
    let way =
        "check that the API server is up, and that a NetworkPolicy lets this pod reach it (egress to port 443 or 6443)";
    match timeout(options.limit, client.apiserver_version()).await {
        Ok(Ok(version)) => {
            report.ok("API server", format!("answers, version {}", version.git_version));
            true
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
            report.fail("token", Trouble::Access, format!("the API does not know us: {}", status.message), CREDENTIALS);
            false
        }
        // Whoever is told that he may not see the version has reached the server.
        Ok(Err(kube::Error::Api(status))) => {
            report.ok("API server", format!("answers ({}: {})", status.code, status.message));
            true
        }
        Ok(Err(error)) => {
            report.fail("API server", Trouble::Tcp, format!("cannot be reached: {}", chain(&error)), way);
            false
        }
        Err(_) => {
            report.fail("API server", Trouble::Timeout, format!("no answer within {:?}", options.limit), way);
            false
        }
    }
}

/// True when there are the rights for what is looked up, in each namespace.
async fn rights(report: &mut Report<'_>, options: &KubernetesOptions, client: &kube::Client, namespace: &str) -> bool {
    let lookup = options.lookup();
    let mut namespaces: Vec<String> = match &options.strategy {
        Some(strategy) => {
            let sources = strategy.sources().into_iter();
            sources.map(|source| source.namespace.unwrap_or_else(|| namespace.to_owned())).collect()
        }
        None => vec![namespace.to_owned()],
    };
    namespaces.sort();
    namespaces.dedup();
    let mut answers = Vec::new();
    for namespace in namespaces {
        match denied(report, options, client, &namespace, lookup).await {
            Some(denied) => answers.push((namespace, denied)),
            None => return false,
        }
    }
    report.ok("token", "the API takes it");
    let mut enough = true;
    for (namespace, denied_verbs) in answers {
        if denied_verbs.is_empty() {
            report.ok("rights", format!("{} {lookup} in `{namespace}`", VERBS.join(", ")));
            continue;
        }
        enough = false;
        let text = format!("may not {} {lookup} in `{namespace}`", denied_verbs.join(", "));
        let mut fix =
            format!("Role in `{namespace}`: {}, and a RoleBinding to the ServiceAccount of this pod", lookup.rule());
        for other in LOOKUPS.into_iter().filter(|other| *other != lookup) {
            if denied(report, options, client, &namespace, other).await.is_some_and(|denied| denied.is_empty()) {
                fix.push_str(&format!("; or use the lookup `{other}`, which is allowed"));
            }
        }
        report.fail("rights", Trouble::Access, text, fix);
    }
    enough
}

/// The verbs that are not allowed; `None` when that cannot be found out, which is told.
async fn denied(
    report: &mut Report<'_>,
    options: &KubernetesOptions,
    client: &kube::Client,
    namespace: &str,
    lookup: Lookup,
) -> Option<Vec<&'static str>> {
    let mut denied = Vec::new();
    for verb in VERBS {
        match timeout(options.limit, may(client, namespace, lookup.group(), lookup.as_str(), verb)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => denied.push(verb),
            Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
                let text = format!("the API does not know us: {}", status.message);
                report.fail("token", Trouble::Access, text, CREDENTIALS);
                return None;
            }
            Ok(Err(error)) => {
                report.fail("rights", Trouble::Other, format!("cannot be asked for: {}", chain(&error)), "");
                return None;
            }
            Err(_) => {
                let text = format!("no answer within {:?} when asked for rights", options.limit);
                report.fail("rights", Trouble::Timeout, text, "");
                return None;
            }
        }
    }
    Some(denied)
}

async fn may(
    client: &kube::Client,
    namespace: &str,
    group: &str,
    resource: &str,
    verb: &str,
) -> Result<bool, kube::Error> {
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        namespace: Some(namespace.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// What discovery itself finds, by its own code.
async fn found(report: &mut Report<'_>, options: &KubernetesOptions, strategy: &Kubernetes, namespace: &str) {
    let (reporter, reports) = Reporter::new();
    let complete = async {
        let mut desired = Desired::default();
        loop {
            let report = reports.next().await;
            desired = report.desired.unwrap_or(desired);
            // Of several selectors each has had its say.
            if report.healthy {
                return Ok(desired);
            }
            if let Some(error) = report.error {
                return Err(error);
            }
        }
    };
    let running = strategy.run(options.own.clone(), reporter);
    let answer = tokio::select! {
        answer = timeout(options.limit, complete) => answer,
        () = running => return report.fail("pods", Trouble::Other, "discovery ended without an answer", ""),
    };
    match answer {
        Ok(Ok(desired)) => members(report, options, &desired, namespace),
        Ok(Err(error)) => report.fail("pods", trouble(&error), error.text, error.fix),
        Err(_) => report.fail("pods", Trouble::Timeout, format!("no list within {:?}", options.limit), ""),
    }
}

fn trouble(error: &DiscoveryError) -> Trouble {
    match error.kind {
        DiscoveryErrorKind::Config => Trouble::Configuration,
        DiscoveryErrorKind::Timeout => Trouble::Timeout,
        DiscoveryErrorKind::Unreachable => Trouble::Tcp,
        _ => Trouble::Access,
    }
}

fn members(report: &mut Report<'_>, options: &KubernetesOptions, desired: &Desired, namespace: &str) {
    let selector = &options.selector;
    let count = |state| desired.peers.values().filter(|candidate| candidate.state == state).count();
    let (all, ready, leaving) = (desired.peers.len(), count(CandidateState::Ready), count(CandidateState::Terminating));
    let lookup = options.lookup();
    let what = if lookup == Lookup::Pods { "running pods" } else { "endpoints" };
    if all == 0 {
        let what = what.trim_end_matches('s');
        report.warn(
            "pods",
            format!("`{selector}` matches no {what} of `{namespace}`"),
            format!(
                "compare with `kubectl get {lookup} --show-labels`: is it the right namespace, and is it {}?",
                labels_of(lookup)
            ),
        );
    } else {
        let example = desired.peers.keys().next().map(|name| format!(", called like `{name}`")).unwrap_or_default();
        report.ok(
            "pods",
            format!("`{selector}` matches {all} {what} of `{namespace}`: {ready} ready, {leaving} leaving{example}"),
        );
    }
    match &desired.me {
        SelfView::Called(name) if *name == options.own => report.ok("own pod", format!("is among them as `{name}`")),
        SelfView::Called(name) => report.warn(
            "own pod",
            format!("is called `{name}` by its peers, and would start as `{}`", options.own),
            format!("start it with RELEASE_NODE={name}, or with the --basename and --mode that the peers use"),
        ),
        SelfView::Missing(why) => report.warn("own pod", "is not among them", why.clone()),
        SelfView::Unknown => {}
    }
}

const LOOKUPS: [Lookup; 3] = [Lookup::EndpointSlices, Lookup::Pods, Lookup::Endpoints];
const VERBS: [&str; 3] = ["get", "list", "watch"];
const CREDENTIALS: &str =
    "check the ServiceAccount of this pod, or the user of the kubeconfig; the token may have expired";
/// The answer of an API server that is well comes within a second; a person waits for this.
const LIMIT: Duration = Duration::from_secs(10);
