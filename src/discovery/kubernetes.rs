//! Discovery by watching the Kubernetes API: pods, EndpointSlices or Endpoints.
//!
//! A list, then a watch from where the list ended; a lost watch, a resource version that has expired, and
//! a long time without news all end in a new list that replaces the old one in one step. Who runs, has an address and
//! is not being deleted is dialled at that address, whatever the cluster's DNS says. Several selectors and namespaces
//! each have a list and a watch of their own; what they find is one set.

mod access;
#[cfg(feature = "ops")]
mod census;
mod endpoints;
mod error;
mod lookup;
mod own;
mod pods;
mod rules;
mod slices;
mod union;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{Endpoints, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use self::access::Access;
#[cfg(feature = "ops")]
pub(crate) use self::census::{Census, matches};
#[cfg(feature = "ops")]
pub(crate) use self::error::chain;
pub use self::lookup::{Family, Lookup};
use self::lookup::{Place, Source};
use self::rules::Rules;
use super::own_name::DEFAULT_CLUSTER_DOMAIN;
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter, Strategy};
use super::template::{NameTemplate, PortRule};
use crate::proto::NodeName;

/// Finds the nodes that run in the pods of a Kubernetes cluster.
///
/// ```
/// use gusset::discovery::{Family, Kubernetes, NameTemplate};
///
/// let pods = Kubernetes::pods("default", "app=myapp,tier=web").basename("myapp").template(NameTemplate::dns());
/// // The endpoints of a Service, and those of another one in another namespace.
/// let slices = Kubernetes::slices("default", "app=myapp").also("workers", "app=myapp").family(Family::PreferV4);
/// // The StatefulSet behind the headless Service `web`, by the names that its pods have there.
/// let named = Kubernetes::slices_here("").service("web").template(NameTemplate::hostname());
/// ```
///
/// What it needs is a Role with `get`, `list` and `watch` on what is looked up (`pods`, `endpoints`, or `endpointslices`
/// of the API group `discovery.k8s.io`) in each namespace.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    access: Access,
    lookup: Lookup,
    places: Vec<Place>,
    basename: Option<String>,
    template: NameTemplate,
    service: Option<String>,
    domain: String,
    port: PortRule,
    family: Family,
    release_label: Option<String>,
    own_address: Option<IpAddr>,
    relist_every: Duration,
    answer_within: Duration,
}

impl Kubernetes {
    /// The pods of a namespace that match a label selector (`app=myapp,tier!=batch`). The empty selector
    /// matches all pods.
    pub fn pods(namespace: impl Into<String>, selector: impl Into<String>) -> Self {
        Self::new(Lookup::Pods, Some(namespace.into()), selector.into())
    }

    /// The same in this node's own namespace: that of the kubeconfig's context, or of the service account.
    pub fn pods_here(selector: impl Into<String>) -> Self {
        Self::new(Lookup::Pods, None, selector.into())
    }

    /// The endpoints in the EndpointSlices of a namespace that match a label selector, whether they are ready or not.
    ///
    /// The selector is compared with the labels of the *slices*, not with those of the pods. A slice has the labels of
    /// its Service, and `kubernetes.io/service-name`. With an empty selector and a [`service`](Self::service) it is the
    /// slices of that service.
    pub fn slices(namespace: impl Into<String>, selector: impl Into<String>) -> Self {
        Self::new(Lookup::EndpointSlices, Some(namespace.into()), selector.into())
    }

    /// The same in this node's own namespace.
    pub fn slices_here(selector: impl Into<String>) -> Self {
        Self::new(Lookup::EndpointSlices, None, selector.into())
    }

    /// The addresses in the Endpoints of a namespace that match a label selector, whether they are ready or not.
    ///
    /// The selector is compared with the labels of the *Endpoints*, which are those of their Service, not with those of
    /// the pods. With an empty selector and a [`service`](Self::service) it is the Endpoints of that service.
    pub fn endpoints(namespace: impl Into<String>, selector: impl Into<String>) -> Self {
        Self::new(Lookup::Endpoints, Some(namespace.into()), selector.into())
    }

    /// The same in this node's own namespace.
    pub fn endpoints_here(selector: impl Into<String>) -> Self {
        Self::new(Lookup::Endpoints, None, selector.into())
    }

    fn new(lookup: Lookup, namespace: Option<String>, selector: String) -> Self {
        Self {
            access: Access::Inferred,
            lookup,
            places: vec![Place { namespace, selector }],
            basename: None,
            template: NameTemplate::dns(),
            service: None,
            domain: DEFAULT_CLUSTER_DOMAIN.to_owned(),
            port: PortRule::Epmd,
            family: Family::First,
            release_label: None,
            own_address: None,
            relist_every: RELIST_EVERY,
            answer_within: ANSWER_WITHIN,
        }
    }

    /// Looks at another resource, with the same selectors.
    #[must_use]
    pub fn lookup(mut self, lookup: Lookup) -> Self {
        self.lookup = lookup;
        self
    }

    /// Also those that match this selector in this namespace. Who is found twice is one node; it has gone when nothing
    /// shows it any more. A selector that fails makes the strategy degraded, the others go on.
    #[must_use]
    pub fn also(mut self, namespace: impl Into<String>, selector: impl Into<String>) -> Self {
        self.places.push(Place { namespace: Some(namespace.into()), selector: selector.into() });
        self
    }

    /// Also those that match this selector in this node's own namespace.
    #[must_use]
    pub fn also_here(mut self, selector: impl Into<String>) -> Self {
        self.places.push(Place { namespace: None, selector: selector.into() });
        self
    }

    /// The part of the names before the `@`; that of this node's own name if not given.
    #[must_use]
    pub fn basename(mut self, basename: impl Into<String>) -> Self {
        self.basename = Some(basename.into());
        self
    }

    /// How names are made; [`NameTemplate::dns`] if not given. Only pods have labels and annotations to make names of.
    #[must_use]
    pub fn template(mut self, template: NameTemplate) -> Self {
        self.template = template;
        self
    }

    /// The headless service, for templates that ask for it, and for slices and Endpoints that are given no selector.
    /// If not given: the pod's `spec.subdomain`, the slice's label `kubernetes.io/service-name`, the name of the
    /// Endpoints.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// The domain of the cluster; `cluster.local` if not given.
    #[must_use]
    pub fn cluster_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// Where the distribution port is found; the EPMD of each pod is asked if not given.
    #[must_use]
    pub fn port(mut self, port: PortRule) -> Self {
        self.port = port;
        self
    }

    /// Which address counts where a pod has several; [`Family::First`] if not given.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// The label of the pods that tells their release ([`Candidate::release`](super::Candidate::release)); only pods
    /// have it.
    #[must_use]
    pub fn release_label(mut self, key: impl Into<String>) -> Self {
        self.release_label = Some(key.into());
        self
    }

    /// The address of the pod that this node runs in (`POD_IP`), to tell what others would call it.
    #[must_use]
    pub fn own_address(mut self, address: IpAddr) -> Self {
        self.own_address = Some(address);
        self
    }

    /// Uses this kubeconfig. If not given: `KUBECONFIG`; else `~/.kube/config` if it is there, else the service
    /// account of the pod.
    #[must_use]
    pub fn kubeconfig(mut self, path: impl Into<PathBuf>) -> Self {
        self.access = Access::Kubeconfig(path.into());
        self
    }

    /// How often everything is listed anew, as a safety net under the watch (10 minutes if not given).
    #[must_use]
    pub fn relist_every(mut self, pause: Duration) -> Self {
        self.relist_every = pause;
        self
    }

    /// How long the API may take over an answer (30 seconds if not given).
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }

    /// What it looks up.
    #[cfg(feature = "ops")]
    pub(crate) fn looks_up(&self) -> Lookup {
        self.lookup
    }

    /// Everything that is listed and watched.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let source = |place| Source::new(self.lookup, place, self.service.as_deref());
        self.places.iter().map(source).collect()
    }

    /// The namespace of a source, where it is given.
    fn namespace_of(&self, source: usize) -> Option<String> {
        self.places.get(source)?.namespace.clone()
    }

    /// The way to the API.
    pub(crate) async fn config(&self) -> Result<kube::Config, DiscoveryError> {
        self.access.config().await
    }

    fn rules(&self, own: NodeName) -> Rules {
        Rules {
            basename: self.basename.clone().unwrap_or_else(|| own.name().to_owned()),
            template: self.template.clone(),
            service: self.service.clone(),
            domain: self.domain.clone(),
            port: self.port.clone(),
            family: self.family,
            release_label: self.release_label.clone(),
            own,
            own_address: self.own_address,
        }
    }

    /// What can be seen to be wrong before anybody is asked.
    pub(crate) fn check(&self) -> Result<(), DiscoveryError> {
        if self.lookup == Lookup::Pods {
            return Ok(());
        }
        let asks = if let Some(label) = &self.release_label {
            format!("the label `{label}` for the release")
        } else if let Some(fact) = self.template.asks_pod() {
            format!("`{{{fact}}}` for the names")
        } else if let PortRule::Annotation(key) = &self.port {
            format!("the annotation `{key}` for the port")
        } else {
            return Ok(());
        };
        let text = format!("discovery wants {asks}, which is written on pods, and not in {}", self.lookup);
        Err(DiscoveryError::new(DiscoveryErrorKind::Config, text).with_fix("use the lookup `pods`, or do without"))
    }
}

impl Strategy for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        if let Err(error) = self.check() {
            report.degraded(error);
            return Box::pin(std::future::pending());
        }
        match self.lookup {
            Lookup::EndpointSlices => Box::pin(watch::run::<EndpointSlice>(self.clone(), own, report)),
            Lookup::Pods => Box::pin(watch::run::<Pod>(self.clone(), own, report)),
            Lookup::Endpoints => Box::pin(watch::run::<Endpoints>(self.clone(), own, report)),
        }
    }
}

/// A watch that has silently stopped delivering is found out at the latest then.
const RELIST_EVERY: Duration = Duration::from_secs(600);
/// The API server's own limit for a request that is no watch is 60 s; one that takes half of it is in trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
