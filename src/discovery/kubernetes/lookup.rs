//! What is watched: which resource, where, by which selector; and which of several addresses counts.

use std::fmt;
use std::net::IpAddr;

use kube::runtime::watcher;

/// Which resource of the Kubernetes API tells what the nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// `discovery.k8s.io/v1` EndpointSlices: the endpoints of Services, also those that are not ready or terminate.
    /// Needs Kubernetes 1.21.
    EndpointSlices,
    /// Pods, by their own labels; needs no Service.
    Pods,
    /// Endpoints, which slices replace since Kubernetes 1.21. They know neither zones nor who terminates.
    Endpoints,
}

impl Lookup {
    /// The resource as the API and a Role call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndpointSlices => "endpointslices",
            Self::Pods => "pods",
            Self::Endpoints => "endpoints",
        }
    }

    /// The API group of the resource, as a Role calls it.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::EndpointSlices => "discovery.k8s.io",
            Self::Pods | Self::Endpoints => "",
        }
    }

    /// The line of a Role that allows what discovery does.
    pub(crate) fn rule(self) -> String {
        format!("{{apiGroups: [\"{}\"], resources: [\"{self}\"], verbs: [\"get\", \"list\", \"watch\"]}}", self.group())
    }

    /// What one object is, for people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::EndpointSlices => "EndpointSlice",
            Self::Pods => "pod",
            Self::Endpoints => "Endpoints object",
        }
    }

    /// What a selector is compared with, where that is no matter of course.
    pub(crate) fn selector_note(self) -> Option<&'static str> {
        match self {
            Self::EndpointSlices => Some(
                "the selector is compared with the labels of the EndpointSlices (those of their Service, and \
                 kubernetes.io/service-name), not with those of the pods",
            ),
            Self::Pods => None,
            Self::Endpoints => Some(
                "the selector is compared with the labels of the Endpoints (those of their Service), not with those of \
                 the pods",
            ),
        }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which address of a node counts where there are several (dual stack).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// The one that the pod lists first (`status.podIP`), which is also what `POD_IP` usually is. Slices and
    /// Endpoints do not say which that is: there it is the family of this node's own address, else IPv4; who has
    /// only one address is found by that.
    #[default]
    First,
    /// IPv4 only; who has none is left out.
    V4,
    /// IPv6 only; who has none is left out.
    V6,
    /// IPv4 where there is one.
    PreferV4,
    /// IPv6 where there is one.
    PreferV6,
}

impl Family {
    /// How well an address suits: less is better, `None` is not at all. `own` is this node's own address.
    pub(super) fn rank(self, ip: IpAddr, own: Option<IpAddr>) -> Option<u8> {
        let preferred = |wanted: bool| Some(u8::from(!wanted));
        match self {
            Self::First => preferred(ip.is_ipv4() == own.is_none_or(|own| own.is_ipv4())),
            Self::V4 => ip.is_ipv4().then_some(0),
            Self::V6 => ip.is_ipv6().then_some(0),
            Self::PreferV4 => preferred(ip.is_ipv4()),
            Self::PreferV6 => preferred(ip.is_ipv6()),
        }
    }

    /// The only family that will do.
    pub(super) fn only(self) -> Option<&'static str> {
        match self {
            Self::V4 => Some("IPv4"),
            Self::V6 => Some("IPv6"),
            Self::First | Self::PreferV4 | Self::PreferV6 => None,
        }
    }
}

/// A selector in a namespace, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `None` is this node's own.
    pub(super) namespace: Option<String>,
    pub(super) selector: String,
}

/// One list and watch: a resource, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) lookup: Lookup,
    /// As asked for, or as found out since.
    pub(crate) namespace: Option<String>,
    pub(crate) wanted: Wanted,
}

/// Which objects of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those with these labels.
    Labels(String),
    /// The one of this name.
    Named(String),
}

impl Source {
    /// Without a selector, slices and Endpoints are those of the service.
    pub(super) fn new(lookup: Lookup, place: &Place, service: Option<&str>) -> Self {
        let labels = || Wanted::Labels(place.selector.clone());
        let wanted = match (lookup, service) {
            (Lookup::EndpointSlices, Some(service)) if place.selector.is_empty() => {
                Wanted::Labels(format!("{SERVICE_NAME}={service}"))
            }
            (Lookup::Endpoints, Some(service)) if place.selector.is_empty() => Wanted::Named(service.to_owned()),
            _ => labels(),
        };
        Self { lookup, namespace: place.namespace.clone(), wanted }
    }

    pub(super) fn config(&self) -> watcher::Config {
        match &self.wanted {
            Wanted::Labels(selector) => watcher::Config::default().labels(selector),
            Wanted::Named(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("this node's own")
    }

    /// Where it can be seen what there is.
    pub(crate) fn kubectl(&self) -> String {
        format!("kubectl get {} -n {} --show-labels", self.lookup, self.namespace.as_deref().unwrap_or("NAMESPACE"))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(selector) => write!(f, "`{selector}`"),
            Self::Named(name) => write!(f, "the name `{name}`"),
        }
    }
}

/// The label of a slice that names its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_of_the_own_address_is_the_first_where_nobody_says_which_is() {
        let [v4, v6]: [IpAddr; 2] = [[10, 0, 0, 1].into(), "fd00::1".parse().unwrap()];
        let best = |family: Family, own| {
            let mut all = [v4, v6].map(|ip| (family.rank(ip, own), ip)).to_vec();
            all.retain(|(rank, _)| rank.is_some());
            all.sort();
            all.into_iter().map(|(_, ip)| ip).collect::<Vec<_>>()
        };
        assert_eq!(best(Family::First, None), [v4, v6]);
        assert_eq!(best(Family::First, Some(v6)), [v6, v4]);
        assert_eq!(best(Family::PreferV6, Some(v4)), [v6, v4]);
        assert_eq!(best(Family::V4, Some(v6)), [v4]);
        assert_eq!(best(Family::V6, None), [v6]);
    }

    #[test]
    fn a_service_alone_says_which_slices_and_endpoints_are_meant() {
        let source = |lookup, selector: &str| {
            let place = Place { namespace: None, selector: selector.to_owned() };
            Source::new(lookup, &place, Some("web")).wanted
        };
        let labels = |text: &str| Wanted::Labels(text.to_owned());
        assert_eq!(source(Lookup::EndpointSlices, ""), labels("kubernetes.io/service-name=web"));
        assert_eq!(source(Lookup::Endpoints, ""), Wanted::Named("web".to_owned()));
        assert_eq!(source(Lookup::Pods, ""), labels(""), "of pods it is all");
        assert_eq!(source(Lookup::EndpointSlices, "a=b"), labels("a=b"));
    }
}
