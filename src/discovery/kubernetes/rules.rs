//! How what is found becomes nodes: names, ports and addresses, the same for every lookup.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use super::lookup::Family;
use crate::discovery::desired::{Candidate, CandidateState};
use crate::discovery::template::{Facts, NameTemplate, PortRule, TemplateError};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// A kind of object that tells of nodes. Pure: the only place that knows what its fields mean here.
pub(super) trait Shows:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// How long a node may be in no object at all because it moves from one to another.
    const MOVES_WITHIN: Duration;

    /// Whether the deletion of an object proves that its nodes have gone.
    const DELETED_IS_GONE: bool;

    /// The nodes that an object shows, given what it showed before.
    fn look(&self, rules: &Rules, before: &[Found]) -> Look;

    /// Under which name the last state of a deleted object would have shown a node.
    fn last_name(&self, _rules: &Rules) -> Option<NodeName> {
        None
    }
}

/// What an object shows.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) found: Vec<Found>,
    /// Those that the object no longer shows have gone, as far as [`Found::told_by_absence`] goes.
    pub(super) others_are_gone: bool,
    /// How many were passed over because they have no address of the family that is wanted.
    pub(super) unsuited: usize,
}

/// A node in an object.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What runs there: the uid of a pod, or the address. Several of one pod are one node.
    pub(super) who: Arc<str>,
    pub(super) ip: IpAddr,
    /// Whether it would stay in the object as long as it lives.
    pub(super) told_by_absence: bool,
    pub(super) origin: String,
    /// Or why it has no name.
    pub(super) candidate: Result<Candidate, TemplateError>,
}

impl Found {
    pub(super) fn name(&self) -> Option<&NodeName> {
        self.candidate.as_ref().ok().map(|candidate| &candidate.target.name)
    }

    /// The same node under the same name.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.who == other.who && self.name() == other.name()
    }

    /// The same thing under another name, and not because it has two addresses.
    pub(super) fn is_renamed(&self, other: &Self) -> bool {
        self.who == other.who
            && self.ip.is_ipv4() == other.ip.is_ipv4()
            && other.name().is_some()
            && self.name() != other.name()
    }
}

/// How objects become nodes.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) basename: String,
    pub(super) template: NameTemplate,
    pub(super) service: Option<String>,
    pub(super) domain: String,
    pub(super) port: PortRule,
    pub(super) family: Family,
    pub(super) release_label: Option<String>,
    pub(super) own: NodeName,
    pub(super) own_address: Option<IpAddr>,
}

impl Rules {
    pub(super) fn name(&self, facts: &Facts<'_>) -> Result<NodeName, TemplateError> {
        self.template.render(&Facts { basename: Some(&self.basename), domain: Some(&self.domain), ..facts.clone() })
    }

    /// The service for templates: as configured, else as the object says.
    pub(super) fn service<'a>(&'a self, of_object: Option<&'a str>) -> Option<&'a str> {
        self.service.as_deref().or(of_object)
    }

    /// The port of an endpoint, by the ports that its object lists.
    pub(super) fn listed_port<'a>(&self, ports: impl Iterator<Item = (Option<&'a str>, i32)>) -> Option<u16> {
        match &self.port {
            PortRule::Fixed(port) => Some(*port),
            PortRule::Named(wanted) => named_port(wanted, ports),
            PortRule::Epmd | PortRule::Annotation(_) => None,
        }
    }

    /// How well an address suits; `None` is not at all.
    pub(super) fn rank(&self, ip: IpAddr) -> Option<u8> {
        self.family.rank(ip, self.own_address)
    }

    /// An endpoint of a service as a node.
    pub(super) fn endpoint(&self, endpoint: Endpoint<'_>) -> Found {
        let Endpoint { ip, hostname, service, metadata, target, port, state, zone, told_by_absence } = endpoint;
        let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
        let namespace = pod.and_then(|pod| pod.namespace.as_deref()).or(metadata.namespace.as_deref());
        let name =
            self.name(&Facts { ip: Some(ip), hostname, namespace, service: self.service(service), ..Facts::default() });
        let place = namespace.unwrap_or("?");
        let (who, origin): (Arc<str>, _) = match pod {
            Some(pod) => {
                let origin = format!("pod {place}/{}", pod.name.as_deref().unwrap_or("?"));
                (pod.uid.as_deref().unwrap_or(&origin).into(), origin)
            }
            None => {
                (format!("{place}/{ip}").into(), format!("endpoint {ip} of service {place}/{}", service.unwrap_or("?")))
            }
        };
        let candidate = name.map(|name| {
            Candidate::new(DialTarget { name, ip: Some(ip), port })
                .with_state(state)
                .with_origin(origin.as_str())
                .with_generation(hash(&who))
                .with_zone(zone)
        });
        Found { who, ip, told_by_absence: told_by_absence && pod.is_some(), origin, candidate }
    }
}

/// What slices and Endpoints say about one node.
pub(super) struct Endpoint<'a> {
    pub(super) ip: IpAddr,
    pub(super) hostname: Option<&'a str>,
    pub(super) service: Option<&'a str>,
    /// Of the object.
    pub(super) metadata: &'a ObjectMeta,
    pub(super) target: Option<&'a ObjectReference>,
    pub(super) port: Option<u16>,
    pub(super) state: CandidateState,
    pub(super) zone: Option<&'a str>,
    pub(super) told_by_absence: bool,
}

/// The port of a name, if it is one.
pub(super) fn named_port<'a>(wanted: &str, mut ports: impl Iterator<Item = (Option<&'a str>, i32)>) -> Option<u16> {
    let (_, port) = ports.find(|(name, _)| *name == Some(wanted))?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

pub(super) fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
