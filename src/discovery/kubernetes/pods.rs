//! Pods to candidates: pure, and the only place that knows what a pod's fields mean here.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::runtime::watcher::Event;

use crate::discovery::desired::{Candidate, CandidateState, Desired, SelfView};
use crate::discovery::template::{Facts, NameTemplate, PortRule, TemplateError};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// How pods become nodes.
#[derive(Debug, Clone)]
pub(super) struct PodRules {
    pub(super) basename: String,
    pub(super) template: NameTemplate,
    pub(super) service: Option<String>,
    pub(super) domain: String,
    pub(super) port: PortRule,
    pub(super) own: NodeName,
    pub(super) own_address: Option<IpAddr>,
    pub(super) selector: String,
}

/// The pods that are known, by uid.
#[derive(Debug)]
pub(super) struct PodSet {
    rules: PodRules,
    namespace: String,
    nodes: BTreeMap<String, Candidate>,
    /// The list that is being read; it replaces `nodes` when it is complete.
    listing: Option<BTreeMap<String, Candidate>>,
    /// Names that were seen to leave since the last report.
    gone: BTreeSet<NodeName>,
    /// Pods that give no name, and the reason, so that it is told once.
    nameless: BTreeMap<String, TemplateError>,
}

impl PodSet {
    pub(super) fn new(rules: PodRules) -> Self {
        let (nodes, gone, nameless) = Default::default();
        Self { rules, namespace: String::new(), nodes, listing: None, gone, nameless }
    }

    /// Takes in an event; true when there may be something new to report.
    pub(super) fn take_in(&mut self, event: Event<Pod>, namespace: &str) -> bool {
        match event {
            Event::Init => {
                namespace.clone_into(&mut self.namespace);
                self.listing = Some(BTreeMap::new());
                false
            }
            Event::InitApply(pod) => {
                let found = self.look_at(&pod);
                if let (Some(listing), Some((uid, candidate))) = (&mut self.listing, found) {
                    listing.insert(uid, candidate);
                }
                false
            }
            Event::InitDone => {
                // A pod that is missing from the list is no longer dialled. That it is gone was not seen.
                if let Some(nodes) = self.listing.take() {
                    self.nodes = nodes;
                }
                true
            }
            Event::Apply(pod) => {
                if let Some((uid, candidate)) = self.look_at(&pod) {
                    self.nodes.insert(uid, candidate);
                } else if let Some(uid) = &pod.metadata.uid {
                    self.nodes.remove(uid);
                }
                true
            }
            Event::Delete(pod) => {
                if let Some(uid) = &pod.metadata.uid {
                    self.nameless.remove(uid);
                    let known = self.nodes.remove(uid).map(|known| known.target.name);
                    self.gone.extend(known.or_else(|| self.name(&pod, pod_ip(&pod)?).ok()));
                }
                true
            }
        }
    }

    /// The whole set, and who left since this was last asked.
    pub(super) fn desired(&mut self) -> Desired {
        let mut peers: BTreeMap<NodeName, Candidate> = BTreeMap::new();
        for candidate in self.nodes.values() {
            match peers.get(&candidate.target.name) {
                // Two pods by one name (an address used again, a stateful pod and its successor).
                Some(other) if other.state <= candidate.state => {}
                _ => {
                    peers.insert(candidate.target.name.clone(), candidate.clone());
                }
            }
        }
        let mut desired = Desired::default().with_me(self.me(&peers));
        desired.gone = std::mem::take(&mut self.gone);
        desired.gone.retain(|name| !peers.contains_key(name));
        desired.peers = peers;
        desired
    }

    /// The candidate that a pod is, if it is one. Notes what it proves about names that are no longer used.
    fn look_at(&mut self, pod: &Pod) -> Option<(String, Candidate)> {
        let uid = pod.metadata.uid.clone()?;
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let before = self.nodes.get(&uid).map(|known| known.target.name.clone());
        if phase == "Succeeded" || phase == "Failed" {
            self.gone.extend(before);
            return None;
        }
        // `Unknown` is what a pod was called whose machine does not answer: no reason to forget it.
        if phase != "Running" && !(phase == "Unknown" && before.is_some()) {
            return None;
        }
        let ip = pod_ip(pod)?;
        let name = match self.name(pod, ip) {
            Ok(name) => name,
            Err(error) => {
                self.tell_nameless(pod, uid, error);
                return None;
            }
        };
        self.nameless.remove(&uid);
        if before.as_ref().is_some_and(|before| *before != name) {
            self.gone.extend(before);
        }
        let state = if pod.metadata.deletion_timestamp.is_some() {
            CandidateState::Terminating
        } else if status.is_some_and(is_ready) {
            CandidateState::Ready
        } else {
            CandidateState::NotReady
        };
        let port = self.port(pod);
        let candidate = Candidate::new(DialTarget { name, ip: Some(ip), port })
            .with_state(state)
            .with_origin(origin(pod))
            .with_generation(generation(&uid, status));
        Some((uid, candidate))
    }

    fn name(&self, pod: &Pod, ip: IpAddr) -> Result<NodeName, TemplateError> {
        let spec = pod.spec.as_ref();
        let hostname = spec.and_then(|spec| spec.hostname.as_deref()).or(pod.metadata.name.as_deref());
        let subdomain = spec.and_then(|spec| spec.subdomain.as_deref());
        self.rules.template.render(&Facts {
            basename: Some(&self.rules.basename),
            ip: Some(ip),
            hostname,
            namespace: pod.metadata.namespace.as_deref(),
            service: self.rules.service.as_deref().or(subdomain),
            domain: Some(&self.rules.domain),
            labels: pod.metadata.labels.as_ref(),
            annotations: pod.metadata.annotations.as_ref(),
        })
    }

    fn port(&self, pod: &Pod) -> Option<u16> {
        match &self.rules.port {
            PortRule::Epmd => None,
            PortRule::Fixed(port) => Some(*port),
            PortRule::Annotation(key) => {
                let text = pod.metadata.annotations.as_ref()?.get(key)?;
                let port = text.trim().parse().ok().filter(|port| *port != 0);
                if port.is_none() {
                    tracing::debug!(pod = origin(pod), annotation = %key, value = %text, "annotation is no port, EPMD is asked");
                }
                port
            }
            PortRule::Named(name) => {
                let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
                let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
                let port = ports.find(|port| port.name.as_deref() == Some(name))?;
                u16::try_from(port.container_port).ok()
            }
        }
    }

    fn tell_nameless(&mut self, pod: &Pod, uid: String, error: TemplateError) {
        if self.nameless.get(&uid) != Some(&error) && self.nameless.len() < MOST_NAMELESS {
            tracing::warn!(pod = origin(pod), %error, "pod gives no node name, it is left out");
            self.nameless.insert(uid, error);
        }
    }

    /// What those who use the same rules would call us.
    fn me(&self, peers: &BTreeMap<NodeName, Candidate>) -> SelfView {
        if peers.contains_key(&self.rules.own) {
            return SelfView::Called(self.rules.own.clone());
        }
        let (namespace, selector) = (&self.namespace, &self.rules.selector);
        if peers.is_empty() {
            return SelfView::Missing(format!(
                "no pod that runs in namespace `{namespace}` matches `{selector}`, not even this one: check both with \
                 `kubectl get pods -n {namespace} --show-labels`"
            ));
        }
        if let Some(address) = self.rules.own_address {
            if let Some((name, _)) = peers.iter().find(|(_, candidate)| candidate.target.ip == Some(address)) {
                return SelfView::Called(name.clone());
            }
            return SelfView::Missing(format!(
                "no running pod of namespace `{namespace}` that matches `{selector}` has this node's address {address}: \
                 give this pod the labels that the selector asks for (links are still made from this side)"
            ));
        }
        let example = peers.keys().next().map(|name| format!(" (they are called like `{name}`)")).unwrap_or_default();
        SelfView::Missing(format!(
            "none of the {} pods of namespace `{namespace}` that match `{selector}` has this name{example}: set POD_IP and \
             NAMESPACE in the pod's env so that it is named as its peers are (links are still made from this side)",
            peers.len()
        ))
    }
}

fn pod_ip(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

fn is_ready(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn origin(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!("pod {}/{}", metadata.namespace.as_deref().unwrap_or("?"), metadata.name.as_deref().unwrap_or("?"))
}

/// Another pod, or containers that were started again.
fn generation(uid: &str, status: Option<&PodStatus>) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    containers.iter().map(|container| i64::from(container.restart_count)).sum::<i64>().hash(&mut hasher);
    hasher.finish()
}

/// Pods without a name are remembered up to here, to tell each once.
const MOST_NAMELESS: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set() -> PodSet {
        PodSet::new(PodRules {
            basename: "app".to_owned(),
            template: NameTemplate::ip(),
            service: None,
            domain: "cluster.local".to_owned(),
            port: PortRule::Epmd,
            own: NodeName::new("app@10.0.0.1").unwrap(),
            own_address: None,
            selector: "app=app".to_owned(),
        })
    }

    fn pod(uid: &str, ip: &str, change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": uid, "namespace": "ns", "uid": uid},
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn running(uid: &str, ip: &str) -> Pod {
        pod(uid, ip, |_| {})
    }

    fn terminating(uid: &str, ip: &str) -> Pod {
        pod(uid, ip, |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))
    }

    fn list(set: &mut PodSet, pods: impl IntoIterator<Item = Pod>) -> Desired {
        assert!(!set.take_in(Event::Init, "ns"));
        for pod in pods {
            assert!(!set.take_in(Event::InitApply(pod), "ns"), "nothing is reported before a list is complete");
        }
        assert!(set.take_in(Event::InitDone, "ns"));
        set.desired()
    }

    fn apply(set: &mut PodSet, event: Event<Pod>) -> Desired {
        assert!(set.take_in(event, "ns"));
        set.desired()
    }

    fn names(desired: &Desired) -> Vec<&str> {
        desired.peers.keys().map(NodeName::as_str).collect()
    }

    fn gone(desired: &Desired) -> Vec<&str> {
        desired.gone.iter().map(NodeName::as_str).collect()
    }

    #[test]
    fn a_new_list_replaces_the_old_one_in_one_step_and_proves_nothing_about_the_missing() {
        let mut set = set();
        list(&mut set, [running("a", "10.0.0.2"), running("b", "10.0.0.3")]);
        set.take_in(Event::Init, "ns");
        set.take_in(Event::InitApply(running("b", "10.0.0.3")), "ns");
        assert_eq!(names(&set.desired()), ["app@10.0.0.2", "app@10.0.0.3"], "half a list is none");
        let desired = list(&mut set, [running("b", "10.0.0.3")]);
        assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.3"], vec![]));
    }

    #[test]
    fn an_address_that_is_used_again_belongs_to_who_has_it_now() {
        let mut set = set();
        list(&mut set, [terminating("old", "10.0.0.2"), running("new", "10.0.0.2")]);
        let desired = set.desired();
        let candidate = desired.peers.values().next().unwrap();
        assert_eq!((candidate.state, candidate.origin.as_str()), (CandidateState::Ready, "pod ns/new"));
        let desired = apply(&mut set, Event::Delete(terminating("old", "10.0.0.2")));
        assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.2"], vec![]));
    }

    #[test]
    fn a_pod_that_gets_another_address_has_left_the_old_name() {
        let mut set = set();
        list(&mut set, [running("a", "10.0.0.2")]);
        let desired = apply(&mut set, Event::Apply(running("a", "10.0.0.9")));
        assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.9"], vec!["app@10.0.0.2"]));
        assert_eq!(gone(&set.desired()), Vec::<&str>::new(), "said once");
    }

    #[test]
    fn a_pod_whose_machine_is_silent_is_not_forgotten() {
        let mut set = set();
        let unknown = pod("a", "10.0.0.2", |pod| pod["status"]["phase"] = json!("Unknown"));
        assert!(names(&list(&mut set, [unknown.clone()])).is_empty());
        list(&mut set, [running("a", "10.0.0.2")]);
        assert_eq!(names(&apply(&mut set, Event::Apply(unknown))), ["app@10.0.0.2"]);
    }

    #[test]
    fn only_pods_that_run_and_have_an_address_count() {
        let mut set = set();
        for change in
            [json!({"phase": "Pending"}), json!({"podIP": ""}), json!({"podIP": "x"}), json!({"phase": "Failed"})]
        {
            let pod = pod("a", "10.0.0.2", |pod| {
                pod["status"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            });
            assert!(names(&list(&mut set, [pod])).is_empty(), "{change}");
        }
    }

    #[test]
    fn a_restart_within_the_pod_is_another_generation() {
        let restarts = |count: i32| {
            pod("a", "10.0.0.2", |pod| {
                pod["status"]["containerStatuses"] =
                    json!([{"name": "app", "image": "", "imageID": "", "ready": true, "restartCount": count}]);
            })
        };
        let mut set = set();
        let mut generation = |pod| list(&mut set, [pod]).peers.into_values().next().unwrap().generation;
        assert_eq!(generation(restarts(0)), generation(restarts(0)));
        assert_ne!(generation(restarts(0)), generation(restarts(1)));
    }

    #[test]
    fn a_pod_that_gives_no_name_is_left_out_and_remembered_once() {
        let mut set = set();
        set.rules.template = "{label.name}@{ip}".parse().unwrap();
        let named = pod("b", "10.0.0.3", |pod| pod["metadata"]["labels"] = json!({"name": "cart"}));
        assert_eq!(names(&list(&mut set, [running("a", "10.0.0.2"), named])), ["cart@10.0.0.3"]);
        assert_eq!(set.nameless.len(), 1);
        apply(&mut set, Event::Delete(running("a", "10.0.0.2")));
        assert!(set.nameless.is_empty());
    }
}
