//! Pods to candidates.
//!
//! Those that run and have an address, ready or not. A pod that is deleted, has ended, or has got another address has
//! left its name.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::lookup::Family;
use super::rules::{Found, Look, Rules, Shows, hash, named_port};
use crate::discovery::desired::{Candidate, CandidateState};
use crate::discovery::template::{Facts, PortRule, TemplateError};
use crate::net::DialTarget;
use crate::proto::NodeName;

impl Shows for Pod {
    const MOVES_WITHIN: Duration = Duration::ZERO;
    const DELETED_IS_GONE: bool = true;

    fn look(&self, rules: &Rules, before: &[Found]) -> Look {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if phase == "Succeeded" || phase == "Failed" {
            return Look { others_are_gone: true, ..Look::default() };
        }
        // `Unknown` is what a pod was called whose machine does not answer: no reason to forget it.
        let is_silent = phase == "Unknown" && !before.is_empty();
        if phase != "Running" && !is_silent {
            return Look::default();
        }
        match address(self, rules) {
            Some(ip) => Look { found: vec![node(self, ip, rules)], ..Look::default() },
            None => Look { unsuited: usize::from(addresses(self).next().is_some()), ..Look::default() },
        }
    }

    fn last_name(&self, rules: &Rules) -> Option<NodeName> {
        name(self, address(self, rules)?, rules).ok()
    }
}

fn node(pod: &Pod, ip: IpAddr, rules: &Rules) -> Found {
    let metadata = &pod.metadata;
    let status = pod.status.as_ref();
    let origin = origin(pod);
    let uid = metadata.uid.as_deref().unwrap_or(&origin);
    let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let state = if metadata.deletion_timestamp.is_some() {
        CandidateState::Terminating
    } else if status.is_some_and(is_ready) {
        CandidateState::Ready
    } else {
        CandidateState::NotReady
    };
    let candidate = name(pod, ip, rules).map(|name| {
        Candidate::new(DialTarget { name, ip: Some(ip), port: port(pod, rules) })
            .with_state(state)
            .with_origin(origin.as_str())
            .with_generation(hash((uid, status.map(restarts))))
            .with_zone(label(ZONE))
            .with_release(rules.release_label.as_deref().and_then(label))
    });
    Found { who: uid.into(), ip, told_by_absence: true, origin, candidate }
}

fn name(pod: &Pod, ip: IpAddr, rules: &Rules) -> Result<NodeName, TemplateError> {
    let spec = pod.spec.as_ref();
    rules.name(&Facts {
        ip: Some(ip),
        hostname: spec.and_then(|spec| spec.hostname.as_deref()).or(pod.metadata.name.as_deref()),
        namespace: pod.metadata.namespace.as_deref(),
        service: rules.service(spec.and_then(|spec| spec.subdomain.as_deref())),
        labels: pod.metadata.labels.as_ref(),
        annotations: pod.metadata.annotations.as_ref(),
        ..Facts::default()
    })
}

fn port(pod: &Pod, rules: &Rules) -> Option<u16> {
    match &rules.port {
        PortRule::Epmd => None,
        PortRule::Fixed(port) => Some(*port),
        PortRule::Annotation(key) => {
            let text = pod.metadata.annotations.as_ref()?.get(key)?;
            let port = text.trim().parse().ok().filter(|port| *port != 0);
            if port.is_none() {
                let pod = origin(pod);
                tracing::debug!(pod, annotation = %key, value = %text, "annotation is no port, EPMD is asked");
            }
            port
        }
        PortRule::Named(wanted) => {
            let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
            let ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
            named_port(wanted, ports.map(|port| (port.name.as_deref(), port.container_port)))
        }
    }
}

/// The address that counts, if the pod has one that will do.
fn address(pod: &Pod, rules: &Rules) -> Option<IpAddr> {
    match rules.family {
        // The pod itself says which is the first, whatever this node has.
        Family::First => addresses(pod).next(),
        _ => addresses(pod).filter(|ip| rules.rank(*ip).is_some()).min_by_key(|ip| rules.rank(*ip)),
    }
}

/// All addresses; the first is `podIP`.
fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.pod_ip.as_deref());
    let all = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    first.into_iter().chain(all.iter().map(|address| address.ip.as_str())).filter_map(|ip| ip.parse().ok())
}

fn is_ready(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn origin(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    format!("pod {}/{}", metadata.namespace.as_deref().unwrap_or("?"), metadata.name.as_deref().unwrap_or("?"))
}

/// Changes when containers are started again.
fn restarts(status: &PodStatus) -> i64 {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    containers.iter().map(|container| i64::from(container.restart_count)).sum()
}

/// Where somebody (Kubernetes 1.35 and later) has written it on the pod.
const ZONE: &str = "topology.kubernetes.io/zone";
