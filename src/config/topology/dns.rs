//! `strategy = "dns"`.

use super::naming;
use crate::config::schema::{Key, StrategyKind};

/// What is asked for in the DNS.
pub(super) const KEYS: &[Key] = &[
    Key::text("query", "NAME", "The name to look up; without it that of `service` in `namespace`.")
        .example("myapp-headless.default.svc.cluster.local.")
        .option("dns-query")
        .brings(),
    Key::text("records", "RECORDS", "Which records are asked for.").default("addresses").option("dns-records").choices(
        &[
            ("addresses", "A and AAAA: nodes are called by `mode` or `template`"),
            ("srv", "SRV: nodes are called basename@TARGET"),
        ],
    ),
    Key::flag("srv_ports", "Take the ports of SRV records for distribution ports, instead of asking EPMD."),
    Key::list("resolver", "IP[:PORT]", "The name servers; by default those of /etc/resolv.conf.")
        .example("10.96.0.10")
        .option("dns-resolver"),
    Key::number("polling_interval", "MS", "How often the name is looked up; 5000 if not given here or in [discovery].")
        .example("5000")
        .option("polling-interval"),
    Key::number("lookup_within", "SECONDS", "How long an answer may take.").default("10"),
    Key::number("remember", "SECONDS", "How long a name is dialled that answers no longer have.").default("60"),
];

/// Which addresses count, shared with Kubernetes.
pub(super) const FAMILY: &[Key] = &[Key::text(
    "family",
    "FAMILY",
    "Which address counts, of those that a node has; by default `first`, for DNS `prefer-v4`.",
)
.example("prefer-v4")
.choices(&[
    ("first", "the first one that is listed (for DNS: `prefer-v4`)"),
    ("prefer-v4", "IPv4, else IPv6"),
    ("prefer-v6", "IPv6, else IPv4"),
    ("v4", "IPv4 only"),
    ("v6", "IPv6 only"),
])];

pub(super) const KIND: StrategyKind = StrategyKind {
    name: "dns",
    heading: "Discovery by DNS",
    about: "The addresses or SRV records of a name.",
    keys: &[KEYS, FAMILY, naming::KEYS],
    names: &[
        ("Kubernetes.DNS", &[("mode", "ip")]),
        ("Kubernetes.DNSSRV", &[("records", "srv")]),
        ("DNSPoll", &[("mode", "ip")]),
    ],
    foreign: &[],
};

#[cfg(feature = "dns")]
pub(super) use self::strategy::build;

#[cfg(feature = "dns")]
mod strategy {
    use super::super::Described;
    use super::super::naming::Naming;
    use crate::config::value::{NameServer, Records};
    use crate::discovery::Dns;
    use crate::net::Family;

    pub(in crate::config::topology) fn build(described: &Described<'_>) -> Option<Dns> {
        let (values, problems) = (described.values, described.common.problems);
        let naming = described.naming();
        let records = values.or("records", Records::Addresses, problems);
        let Some(query) = values.read::<String>("query", problems).or_else(|| of_service(&naming, records)) else {
            if values.get("query").is_none() {
                described.missing(
                    "which name is looked up?",
                    "give it: --dns-query myapp-headless, or `service` and `namespace`",
                );
            }
            return None;
        };
        let strategy = match records {
            Records::Addresses => Dns::addresses(query),
            Records::Srv => Dns::services(query),
        };
        let servers: Vec<NameServer> = values.or("resolver", Vec::new(), problems);
        let mut strategy = strategy
            .basename(naming.basename)
            .template(naming.template)
            .cluster_domain(naming.domain)
            .name_servers(servers.into_iter().map(|NameServer(address)| address))
            .family(values.read("family", problems).unwrap_or(Family::default()));
        if values.or("srv_ports", false, problems) {
            strategy = strategy.use_srv_ports();
        }
        if let Some(namespace) = naming.namespace {
            strategy = strategy.namespace(namespace);
        }
        if let Some(service) = naming.service {
            strategy = strategy.service(service);
        }
        if let Some(address) = described.common.pod_ip {
            strategy = strategy.own_address(address);
        }
        if let Some(pause) = described.polling_interval() {
            strategy = strategy.every(pause);
        }
        if let Some(limit) = described.seconds("lookup_within") {
            strategy = strategy.answer_within(limit);
        }
        if let Some(time) = described.seconds("remember") {
            strategy = strategy.remember(time);
        }
        Some(strategy)
    }

    /// The full name of a Service. Addresses are found without a namespace too, through the search list of a pod.
    fn of_service(naming: &Naming, records: Records) -> Option<String> {
        let service = naming.service.as_deref()?;
        match &naming.namespace {
            _ if service.contains('.') => Some(service.to_owned()),
            Some(namespace) => Some(format!("{service}.{namespace}.svc.{}.", naming.domain.trim_matches('.'))),
            None => (records == Records::Addresses).then(|| service.to_owned()),
        }
    }
}
