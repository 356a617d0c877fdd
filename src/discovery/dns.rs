//! Discovery by DNS: the addresses or the SRV records of a service name, asked again and again.
//!
//! What an answer has is dialled; what it lacks is *not* gone. Name servers cut answers short, hand out
//! parts of them in turn and lag behind, so names stay wanted for a while after they were last seen, and
//! no answer of a name server ever costs a link. NXDOMAIN, SERVFAIL, silence and empty answers are errors.

mod answer;
mod lookup;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use self::answer::{Naming, Seen};
use self::lookup::Lookups;
use super::backoff::{Backoff, Dice};
use super::own_name::DEFAULT_CLUSTER_DOMAIN;
use super::strategy::{DiscoveryError, Reporter, Strategy};
use super::template::NameTemplate;
use crate::net::Family;
use crate::proto::NodeName;

/// Finds the nodes behind a name in the DNS.
///
/// ```
/// use gusset::discovery::{Dns, NameTemplate};
///
/// // libcluster's Kubernetes.DNS and DNSPoll, dns_cluster: `myapp@10.0.0.7`
/// let addresses = Dns::addresses("myapp-headless.prod.svc.cluster.local").basename("myapp");
/// // The same pods under the names that the DNS of the cluster gives them: `myapp@10-0-0-7.prod.pod.cluster.local`
/// let pods = Dns::addresses("myapp-headless").basename("myapp").template(NameTemplate::dns()).namespace("prod");
/// // libcluster's Kubernetes.DNSSRV: `myapp@web-0.myapp-headless.prod.svc.cluster.local`
/// let targets = Dns::services("myapp-headless.prod.svc.cluster.local").basename("myapp");
/// ```
///
/// In Kubernetes the name is that of a headless Service (`clusterIP: None`). Without
/// `publishNotReadyAddresses: true` in it a pod has no record before it is ready, and loses it when it is
/// not ready for a moment: nodes that are ready only once they are connected then never find each other.
/// A name that ends in a dot is taken as it stands; to others the search list of `/etc/resolv.conf` applies.
#[derive(Debug, Clone)]
pub struct Dns {
    query: String,
    kind: RecordKind,
    basename: Option<String>,
    template: NameTemplate,
    namespace: Option<String>,
    service: Option<String>,
    domain: String,
    family: Family,
    ports_of_records: bool,
    own_address: Option<IpAddr>,
    name_servers: Vec<SocketAddr>,
    every: Duration,
    answer_within: Duration,
    remember: Duration,
}

impl Dns {
    /// The nodes at the addresses (A and AAAA records) of a name.
    pub fn addresses(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            kind: RecordKind::Addresses,
            basename: None,
            template: NameTemplate::ip(),
            namespace: None,
            service: None,
            domain: DEFAULT_CLUSTER_DOMAIN.to_owned(),
            family: Family::default(),
            ports_of_records: false,
            own_address: None,
            name_servers: Vec::new(),
            every: POLL_EVERY,
            answer_within: ANSWER_WITHIN,
            remember: REMEMBER,
        }
    }

    /// The nodes that the SRV records of a name point to: `basename@TARGET`, with the target as it is
    /// written there. They are dialled at the address that comes along with the record, or that a lookup
    /// of the target gives.
    pub fn services(query: impl Into<String>) -> Self {
        Self { kind: RecordKind::Services, ..Self::addresses(query) }
    }

    /// The part of the names before the `@`; that of this node's own name if not given.
    #[must_use]
    pub fn basename(mut self, basename: impl Into<String>) -> Self {
        self.basename = Some(basename.into());
        self
    }

    /// How names are made of addresses; [`NameTemplate::ip`] if not given. It can ask for `basename`, `ip`,
    /// `ip_dashed`, `namespace`, `service` and `domain`; more is not known here. SRV targets are names already.
    #[must_use]
    pub fn template(mut self, template: NameTemplate) -> Self {
        self.template = template;
        self
    }

    /// The namespace, for templates that ask for it.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The service, for templates that ask for it.
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// The domain of the cluster, for templates that ask for it; `cluster.local` if not given.
    #[must_use]
    pub fn cluster_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// Which records count (IPv4, then IPv6 if not given). The second family is asked only when the name
    /// has no record of the first: a pod with an address of each is still one node with one name.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Takes the port of an SRV record as the distribution port of the node, instead of asking its EPMD.
    /// Ask for the records of the right port then: `_dist._tcp.SERVICE.NAMESPACE.svc.DOMAIN` for a port
    /// named `dist`. A target that comes with several ports is asked through EPMD.
    #[must_use]
    pub fn use_srv_ports(mut self) -> Self {
        self.ports_of_records = true;
        self
    }

    /// The address of the pod that this node runs in (`POD_IP`), to tell what others would call it.
    #[must_use]
    pub fn own_address(mut self, address: IpAddr) -> Self {
        self.own_address = Some(address);
        self
    }

    /// Asks these servers over UDP and TCP. If not given, those of `/etc/resolv.conf`.
    #[must_use]
    pub fn name_servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.name_servers = servers.into_iter().collect();
        self
    }

    /// How often the name is looked up (5 seconds if not given), a fifth more or less each time. After
    /// errors the pauses grow to at most half a minute.
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause.max(SHORTEST_PAUSE);
        self
    }

    /// How long an answer may take, with all that is asked anew for it (10 seconds if not given).
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }

    /// How long a name is still dialled that answers no longer have (a minute if not given). It has to be
    /// longer than a name server takes to hand out all parts of an answer in turn.
    #[must_use]
    pub fn remember(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }

    fn naming(&self, own: &NodeName) -> Naming {
        Naming {
            basename: self.basename.clone().unwrap_or_else(|| own.name().to_owned()),
            template: self.template.clone(),
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            domain: self.domain.clone(),
            query: self.query.clone(),
            ports_of_records: self.ports_of_records,
        }
    }
}

impl Strategy for Dns {
    fn kind(&self) -> &'static str {
        match self.kind {
            RecordKind::Addresses => "dns",
            RecordKind::Services => "dns-srv",
        }
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        Box::pin(poll(self.clone(), own, report))
    }
}

async fn poll(settings: Dns, own: NodeName, report: Reporter) {
    let naming = settings.naming(&own);
    let pauses = Backoff::new(settings.every, settings.every.max(LONGEST_PAUSE));
    let mut seen = Seen::new(own, settings.own_address, settings.remember);
    let (mut lookups, mut failures, mut dice) = (None, 0u32, Dice::seeded());
    loop {
        match ask(&settings, &naming, &mut lookups).await {
            Ok(found) => {
                failures = 0;
                report.desired(seen.take_in(found, Instant::now().into_std(), &settings.query));
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                // /etc/resolv.conf may have changed.
                lookups = None;
                report.degraded(error);
            }
        }
        sleep(pauses.pause(failures, &mut dice)).await;
    }
}

/// One complete answer, as candidates.
async fn ask(
    settings: &Dns,
    naming: &Naming,
    lookups: &mut Option<Lookups>,
) -> Result<Vec<super::Candidate>, DiscoveryError> {
    let lookups = match lookups {
        Some(lookups) => lookups,
        None => lookups.insert(Lookups::new(&settings.name_servers, settings.answer_within, settings.family)?),
    };
    match settings.kind {
        RecordKind::Addresses => naming.of_addresses(&lookups.addresses(&settings.query).await?),
        RecordKind::Services => naming.of_services(&lookups.services(&settings.query).await?),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordKind {
    Addresses,
    Services,
}

/// What libcluster and dns_cluster do, and the time to live of such records in a cluster's DNS.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// A name server has other clients.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A name server that struggles is given that much rest; who waits for it notices no more.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Twice what a resolver waits for one server.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A dozen polls.
const REMEMBER: Duration = Duration::from_secs(60);
