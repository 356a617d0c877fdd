//! Discovery by watching pods through the Kubernetes API.
//!
//! A list, then a watch from where the list ended; a lost watch, a resource version that has expired, and
//! a long time without news all end in a new list that replaces the old one in one step. Pods that run,
//! have an address and are not being deleted are dialled at that address, whatever the cluster's DNS says.

mod error;
mod pods;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::config::{KubeConfigOptions, Kubeconfig};

#[cfg(feature = "ops")]
pub(crate) use self::error::chain;
use self::error::{access_error, kubeconfig_error, outside_error, service_account_error};
use self::pods::PodRules;
use super::own_name::DEFAULT_CLUSTER_DOMAIN;
use super::strategy::{DiscoveryError, Reporter, Strategy};
use super::template::{NameTemplate, PortRule};
use crate::proto::NodeName;

/// Finds the nodes that run in pods.
///
/// ```
/// use gusset::discovery::{Kubernetes, NameTemplate};
///
/// let strategy = Kubernetes::pods("default", "app=myapp,tier=web").basename("myapp").template(NameTemplate::dns());
/// ```
///
/// What it needs is a Role with `get`, `list` and `watch` on `pods` in the namespace.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    access: Access,
    namespace: Option<String>,
    selector: String,
    basename: Option<String>,
    template: NameTemplate,
    service: Option<String>,
    domain: String,
    port: PortRule,
    own_address: Option<IpAddr>,
    relist_every: Duration,
    answer_within: Duration,
}

impl Kubernetes {
    /// The pods of a namespace that match a label selector (`app=myapp,tier!=batch`). The empty selector
    /// matches all pods.
    pub fn pods(namespace: impl Into<String>, selector: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::pods_here(selector) }
    }

    /// The same in this node's own namespace: that of the kubeconfig's context, or of the service account.
    pub fn pods_here(selector: impl Into<String>) -> Self {
        Self {
            access: Access::Inferred,
            namespace: None,
            selector: selector.into(),
            basename: None,
            template: NameTemplate::dns(),
            service: None,
            domain: DEFAULT_CLUSTER_DOMAIN.to_owned(),
            port: PortRule::Epmd,
            own_address: None,
            relist_every: RELIST_EVERY,
            answer_within: ANSWER_WITHIN,
        }
    }

    /// The part of the names before the `@`; that of this node's own name if not given.
    #[must_use]
    pub fn basename(mut self, basename: impl Into<String>) -> Self {
        self.basename = Some(basename.into());
        self
    }

    /// How names are made; [`NameTemplate::dns`] if not given.
    #[must_use]
    pub fn template(mut self, template: NameTemplate) -> Self {
        self.template = template;
        self
    }

    /// The headless service, for templates that ask for it; the pod's `spec.subdomain` if not given.
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

    /// A client, and the namespace to watch.
    async fn connect(&self) -> Result<(kube::Client, String), DiscoveryError> {
        let config = match &self.access {
            Access::Inferred => inferred().await?,
            Access::Kubeconfig(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| kubeconfig_error(&error))?;
                configured(kubeconfig).await?
            }
        };
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(|error| access_error(&error))?;
        Ok((client, namespace))
    }

    fn rules(&self, own: NodeName) -> PodRules {
        PodRules {
            basename: self.basename.clone().unwrap_or_else(|| own.name().to_owned()),
            template: self.template.clone(),
            service: self.service.clone(),
            domain: self.domain.clone(),
            port: self.port.clone(),
            own,
            own_address: self.own_address,
            selector: self.selector.clone(),
        }
    }
}

impl Strategy for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        Box::pin(watch::run(self.clone(), own, report))
    }
}

/// As `kubectl` finds its way, but that a `KUBECONFIG` which leads nowhere is an error and not a reason to look
/// elsewhere: whoever sets it means it.
async fn inferred() -> Result<kube::Config, DiscoveryError> {
    if let Some(kubeconfig) = Kubeconfig::from_env().map_err(|error| kubeconfig_error(&error))? {
        return configured(kubeconfig).await;
    }
    let nowhere = match Kubeconfig::read() {
        Ok(kubeconfig) => return configured(kubeconfig).await,
        Err(error) => error,
    };
    if std::env::var_os(IN_A_POD).is_none() {
        return Err(outside_error(&nowhere));
    }
    kube::Config::incluster().map_err(|error| service_account_error(&error))
}

async fn configured(kubeconfig: Kubeconfig) -> Result<kube::Config, DiscoveryError> {
    let options = KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| kubeconfig_error(&error))
}

#[derive(Debug, Clone)]
enum Access {
    Inferred,
    Kubeconfig(PathBuf),
}

/// Kubernetes sets it in every pod.
const IN_A_POD: &str = "KUBERNETES_SERVICE_HOST";
/// A watch that has silently stopped delivering is found out at the latest then.
const RELIST_EVERY: Duration = Duration::from_secs(600);
/// The API server's own limit for a request that is no watch is 60 s; one that takes half of it is in trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
