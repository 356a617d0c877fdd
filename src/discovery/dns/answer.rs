//! From records to candidates, and which of them are remembered. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::discovery::desired::{Candidate, Desired, SelfView};
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind};
use crate::discovery::template::{Facts, NameTemplate};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// An SRV record, with the address of its target where one is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// The target, without the dot at its end.
    pub(super) target: String,
    pub(super) port: u16,
    pub(super) ip: Option<IpAddr>,
}

/// How records become names.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    pub(super) basename: String,
    pub(super) template: NameTemplate,
    pub(super) namespace: Option<String>,
    pub(super) service: Option<String>,
    pub(super) domain: String,
    pub(super) query: String,
    pub(super) ports_of_records: bool,
}

impl Naming {
    pub(super) fn of_addresses(&self, addresses: &[IpAddr]) -> Result<Vec<Candidate>, DiscoveryError> {
        let candidates = addresses.iter().map(|ip| {
            let facts = Facts {
                basename: Some(&self.basename),
                ip: Some(*ip),
                namespace: self.namespace.as_deref(),
                service: self.service.as_deref(),
                domain: Some(&self.domain),
                ..Facts::default()
            };
            // All addresses get their names from the same facts: what fails for one fails for all.
            let name = self.template.render(&facts).map_err(|error| {
                let text = format!("no node name can be made for {ip}, an address of `{}`: {error}", self.query);
                DiscoveryError::new(DiscoveryErrorKind::Config, text)
            })?;
            Ok(Candidate::new(DialTarget::at(name, *ip)).with_origin(format!("address of {}", self.query)))
        });
        candidates.collect()
    }

    pub(super) fn of_services(&self, services: &[Service]) -> Result<Vec<Candidate>, DiscoveryError> {
        let mut by_target: BTreeMap<&str, (BTreeSet<u16>, Option<IpAddr>)> = BTreeMap::new();
        for service in services {
            let (ports, ip) = by_target.entry(&service.target).or_default();
            ports.insert(service.port);
            *ip = ip.or(service.ip);
        }
        let candidates = by_target.into_iter().map(|(target, (ports, ip))| {
            let name = NodeName::new(format!("{}@{target}", self.basename)).map_err(|error| {
                let text = format!("no node name can be made for `{target}`, a target of `{}`: {error}", self.query);
                DiscoveryError::new(DiscoveryErrorKind::Config, text)
            })?;
            let only_port = if ports.len() == 1 { ports.first().copied() } else { None };
            let port = only_port.filter(|port| self.ports_of_records && *port != 0);
            let origin = format!("SRV target of {}", self.query);
            Ok(Candidate::new(DialTarget { name, ip, port }).with_origin(origin))
        });
        candidates.collect()
    }
}

/// What answers had, and when each name was last in one.
#[derive(Debug)]
pub(super) struct Seen {
    own: NodeName,
    own_address: Option<IpAddr>,
    remember: Duration,
    names: BTreeMap<NodeName, (Candidate, Instant)>,
}

impl Seen {
    pub(super) fn new(own: NodeName, own_address: Option<IpAddr>, remember: Duration) -> Self {
        Self { own, own_address, remember, names: BTreeMap::new() }
    }

    /// Takes in an answer: all that is wanted now.
    pub(super) fn take_in(&mut self, found: Vec<Candidate>, now: Instant, query: &str) -> Desired {
        for mut candidate in found {
            let known = self.names.get(&candidate.target.name);
            // A target that did not resolve just now is most likely where it was.
            candidate.target.ip = candidate.target.ip.or_else(|| known.and_then(|(known, _)| known.target.ip));
            self.names.insert(candidate.target.name.clone(), (candidate, now));
        }
        let crowded = self.names.len() > MOST_REMEMBERED;
        let remember = if crowded { Duration::ZERO } else { self.remember };
        self.names.retain(|_, (_, at)| now.saturating_duration_since(*at) <= remember);
        Desired::new(self.names.values().map(|(candidate, _)| candidate.clone())).with_me(self.me(query))
    }

    fn me(&self, query: &str) -> SelfView {
        if self.names.contains_key(&self.own) {
            return SelfView::Called(self.own.clone());
        }
        let at_our_address = self.own_address.and_then(|own| {
            self.names.values().find(|(candidate, _)| candidate.target.ip == Some(own)).map(|(found, _)| found)
        });
        match at_our_address {
            Some(found) => SelfView::Called(found.target.name.clone()),
            None => SelfView::Missing(format!(
                "no record of `{query}` leads to this node; in Kubernetes the Service has to select its pod, and needs \
                 publishNotReadyAddresses: true to list it before it is ready"
            )),
        }
    }
}

/// More than any answer holds (64 KiB, 16 bytes for a record): beyond that, only the last answer counts.
const MOST_REMEMBERED: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(template: NameTemplate) -> Naming {
        Naming {
            basename: "app".to_owned(),
            template,
            namespace: Some("prod".to_owned()),
            service: None,
            domain: "cluster.local".to_owned(),
            query: "web".to_owned(),
            ports_of_records: true,
        }
    }

    fn targets(candidates: &[Candidate]) -> Vec<String> {
        candidates.iter().map(|candidate| candidate.target.to_string()).collect()
    }

    fn service(target: &str, port: u16, ip: Option<&str>) -> Service {
        Service { target: target.to_owned(), port, ip: ip.map(|ip| ip.parse().unwrap()) }
    }

    #[test]
    fn addresses_become_names_as_the_template_says_and_a_template_that_asks_for_more_is_an_error() {
        let addresses = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let found = naming(NameTemplate::ip()).of_addresses(&addresses).unwrap();
        assert_eq!(targets(&found), ["app@10.0.0.7=10.0.0.7", "app@fd00::7=fd00::7"]);
        let found = naming(NameTemplate::dns()).of_addresses(&addresses).unwrap();
        assert_eq!(targets(&found)[0], "app@10-0-0-7.prod.pod.cluster.local=10.0.0.7");
        let error = naming(NameTemplate::hostname()).of_addresses(&addresses).unwrap_err();
        assert_eq!(error.kind, DiscoveryErrorKind::Config);
        assert!(error.text.contains("hostname"), "{error}");
    }

    #[test]
    fn a_port_counts_when_the_target_has_one_only() {
        let services = [
            service("a.web", 4370, Some("10.0.0.1")),
            service("a.web", 4370, None),
            service("b.web", 4370, None),
            service("b.web", 8080, Some("10.0.0.2")),
            service("c.web", 0, None),
        ];
        let found = naming(NameTemplate::ip()).of_services(&services).unwrap();
        assert_eq!(targets(&found), ["app@a.web=10.0.0.1:4370", "app@b.web=10.0.0.2", "app@c.web"]);
        let found = Naming { ports_of_records: false, ..naming(NameTemplate::ip()) }.of_services(&services).unwrap();
        assert_eq!(targets(&found)[0], "app@a.web=10.0.0.1");
    }

    #[test]
    fn names_stay_wanted_for_a_while_after_an_answer_lacks_them_and_are_never_gone() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let naming = naming(NameTemplate::ip());
        let found = |ip: &str| naming.of_addresses(&[ip.parse().unwrap()]).unwrap();
        let own = NodeName::new("me@10.0.0.9").unwrap();
        let mut seen = Seen::new(own, Some("10.0.0.2".parse().unwrap()), Duration::from_secs(60));
        let first = seen.take_in(found("10.0.0.1"), at(0), "web");
        assert!(matches!(first.me, SelfView::Missing(_)));
        let both = seen.take_in(found("10.0.0.2"), at(50), "web");
        assert_eq!(both.peers.len(), 2);
        assert_eq!(both.me, SelfView::Called(NodeName::new("app@10.0.0.2").unwrap()));
        let late = seen.take_in(found("10.0.0.2"), at(61), "web");
        assert_eq!((late.peers.len(), late.gone.len()), (1, 0));
    }

    #[test]
    fn a_target_that_does_not_resolve_for_once_is_where_it_was() {
        let naming = naming(NameTemplate::ip());
        let mut seen = Seen::new(NodeName::new("me@h").unwrap(), None, Duration::ZERO);
        let now = Instant::now();
        for ip in [Some("10.0.0.1"), None] {
            let found = naming.of_services(&[service("a.web", 1, ip)]).unwrap();
            let desired = seen.take_in(found, now, "web");
            assert_eq!(desired.peers.values().next().unwrap().target.to_string(), "app@a.web=10.0.0.1:1");
        }
    }
}
