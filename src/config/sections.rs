//! The keys of the sections with fixed names.

use super::schema::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "node",
        heading: "Identity",
        about: "Who this node is. What concerns names holds for its peers too, unless their topology says otherwise.",
        keys: NODE,
    },
    Section { name: "listen", heading: "Network", about: "Where other nodes reach this one.", keys: LISTEN },
    Section { name: "http", heading: "Health and metrics", about: "Probes, metrics and status over HTTP.", keys: HTTP },
    Section { name: "services", heading: "Services", about: "What other nodes find here.", keys: SERVICES },
    Section { name: "log", heading: "Log", about: "What is written to standard error.", keys: LOG },
    Section {
        name: "discovery",
        heading: "Discovery",
        about: "Whom to connect to, and what becomes of links.",
        keys: DISCOVERY,
    },
];

/// How names are made, as libcluster's `mode` says it.
pub(super) const MODES: &[(&str, &str)] = &[
    ("dns", "basename@a-b-c-d.NAMESPACE.pod.DOMAIN"),
    ("ip", "basename@IP"),
    ("hostname", "basename@HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN, for the pods of a StatefulSet"),
];

const SERVICES: &[Key] =
    &[Key::flag("shell", "Let others open a shell here (`erl -remsh`, `iex --remsh`): whoever has the cookie can.")
        .default("true")
        .option("shell")];

const NODE: &[Key] = &[
    Key::text("name", "NAME", "The long name of the node (`name@host.domain`, `name@10.0.0.7`).")
        .example("gusset@10.0.0.7")
        .option("name")
        .rivals(&["sname", "release_node"]),
    Key::text("sname", "NAME", "The short name of the node (`name`, `name@host`).")
        .example("gusset")
        .option("sname")
        .rivals(&["name", "release_node"]),
    Key::text(
        "release_node",
        "NAME",
        "The name as a release gives it; `distribution` says whether it is long or short.",
    )
    .example("myapp@10.0.0.7")
    .variables(&["RELEASE_NODE"])
    .rivals(&["name", "sname"]),
    Key::text("distribution", "KIND", "How `release_node`, or a name that is made of basename and host, is completed.")
        .example("name")
        .variables(&["RELEASE_DISTRIBUTION"])
        .choices(&[("name", "as a long name"), ("sname", "as a short name"), ("none", "the node does not start")]),
    Key::text("basename", "NAME", "The part of node names before the `@`, ours and that of peers.")
        .default("gusset")
        .variables(&["RELEASE_NAME"])
        .option("basename"),
    Key::text("mode", "MODE", "How nodes in pods are called.")
        .default("dns")
        .option("mode")
        .choices(MODES)
        .rivals(&["template"]),
    Key::text(
        "template",
        "TEMPLATE",
        "The same with parts of your choice: basename, ip, ip_dashed, hostname, namespace, service, domain, label.X, \
         annotation.X in braces.",
    )
    .example("{basename}@{ip_dashed}.{namespace}.pod.{domain}")
    .option("name-template")
    .rivals(&["mode"]),
    Key::text(
        "namespace",
        "NAMESPACE",
        "The namespace of this pod, and of its peers; by default that of the kubeconfig or of the service account.",
    )
    .example("default")
    .variables(&["NAMESPACE", "POD_NAMESPACE", "MY_POD_NAMESPACE", "KUBERNETES_NAMESPACE"])
    .option("kubernetes-namespace"),
    Key::text("service", "SERVICE", "The headless Service: for names that have it in them (mode `hostname`), and to look up where nothing else is said.")
        .example("myapp-headless")
        .variables(&["SERVICE_NAME", "HEADLESS_SERVICE"])
        .option("kubernetes-service"),
    Key::text("hostname", "NAME", "The name of this pod, for mode `hostname`.").example("web-0").variables(&[
        "POD_NAME",
        "MY_POD_NAME",
        "HOSTNAME",
    ]),
    Key::text("pod_ip", "IP", "The address of this pod (`status.podIP`).")
        .example("10.0.0.7")
        .variables(&["POD_IP", "MY_POD_IP"]),
    Key::text("cluster_domain", "DOMAIN", "The domain of the Kubernetes cluster.")
        .default(crate::discovery::DEFAULT_CLUSTER_DOMAIN)
        .variables(&["CLUSTER_DOMAIN"])
        .option("cluster-domain"),
    Key::flag("hidden", "Be hidden: not in Node.list() of others, no part in global.").option("hidden"),
    Key::text(
        "cookie",
        "COOKIE",
        "The cookie. Others on this machine can see an option in the list of processes: prefer a file.",
    )
    .example("a long random text")
    .variables(&["RELEASE_COOKIE"])
    .option("cookie")
    .rivals(&["cookie_file"])
    .secret(),
    Key::text(
        "cookie_file",
        "FILE",
        "A file with the cookie. Without any it is ~/.erlang.cookie, which `gusset run` makes if it is missing.",
    )
    .example("/run/secrets/cookie")
    .variables(&["GUSSET_COOKIE_FILE"])
    .option("cookie-file")
    .rivals(&["cookie"]),
    Key::number("net_ticktime", "SECONDS", "A peer that is silent for so many seconds is gone.")
        .default("60")
        .option("net-ticktime"),
    Key::number("net_tickintensity", "N", "In how many parts that time is divided for ticks.").default("4"),
    Key::number("net_setuptime", "SECONDS", "How long each step of the connection set-up may take.").default("7"),
];

const LISTEN: &[Key] = &[
    Key::list("addresses", "IP", "The addresses to listen on for other nodes (`::` takes IPv6 and IPv4).")
        .default("0.0.0.0")
        .option("listen"),
    Key::number(
        "port",
        "PORT[-PORT]",
        "The port to listen on, or a range of which one is taken; any free one by default.",
    )
    .example("9100")
    .variables(&["ERL_DIST_PORT"])
    .option("dist-port"),
    Key::text("epmd", "MODE", "Which EPMD tells others the port of this node.").default("auto").option("epmd").choices(
        &[
            ("auto", "that of this host; where none runs, serve as one"),
            ("external", "that of this host, and no other"),
            ("embedded", "serve as one"),
            (
                "none",
                "no EPMD at all, neither here nor at the peers: all listen on the same port (`erl -start_epmd false \
             -erl_epmd_port PORT`)",
            ),
        ],
    ),
    Key::number("epmd_port", "PORT", "The port of EPMD, here and on other hosts.")
        .default("4369")
        .variables(&["ERL_EPMD_PORT"])
        .option("epmd-port"),
    Key::list("epmd_addresses", "IP", "Where an EPMD of our own listens, besides loopback; everywhere by default.")
        .example("10.0.0.7")
        .variables(&["ERL_EPMD_ADDRESS"])
        .option("epmd-listen"),
];

const HTTP: &[Key] = &[
    Key::text(
        "address",
        "[IP]:PORT",
        "Serve /livez, /readyz, /metrics and /status over HTTP: `:9569` on all addresses, `9569` on this host only.",
    )
    .example(":9569")
    .variables(&["GUSSET_HTTP"])
    .option("http"),
    Key::number("ready_min_connected", "N", "Ready when connected to so many nodes; 0 is ready at once.")
        .default("1")
        .variables(&["GUSSET_READY_MIN_CONNECTED"])
        .option("ready-min-connected"),
    Key::number("ready_stable", "SECONDS", "Ready, too, when nobody else has been found for so long.")
        .default("5")
        .variables(&["GUSSET_READY_STABLE"])
        .option("ready-stable"),
    Key::number("drain_delay", "SECONDS", "With HTTP, on SIGTERM: how long to be not ready before links are closed.")
        .default("5")
        .variables(&["GUSSET_DRAIN_DELAY"])
        .option("drain-delay"),
];

const LOG: &[Key] = &[
    Key::text("filter", "FILTER", "What to log to standard error, as for RUST_LOG (`info`, `gusset=debug` …).")
        .default(DEFAULT_LOG)
        .variables(&["GUSSET_LOG"])
        .option("log"),
    Key::flag("json", "Log lines as JSON.").option("log-json"),
];

/// What the driver of discovery has to say is on standard output already, and with it what its client warns of.
pub(crate) const DEFAULT_LOG: &str = "warn,gusset::discovery::driver=off,kube_runtime=error";

const DISCOVERY: &[Key] = &[
    Key::list("connect", "NODE[=IP[:PORT]]", "Connect to this node, and again when it is lost.")
        .example("app@10.0.0.8")
        .option("connect"),
    Key::list(
        "discover",
        "TOPOLOGY",
        "How to find nodes: strategies, or names of topologies of the file; `none` waits for others. By default the \
         topologies of the file; without any, `none` with nodes to connect to or without EPMD, else `local-epmd`.",
    )
    .example("local-epmd")
    .option("discover"),
    Key::number(
        "polling_interval",
        "MS",
        "How often to look where nothing can be watched; by default 1000 for `local-epmd`, 5000 for `dns` and `hosts`.",
    )
    .example("5000")
    .option("polling-interval"),
    Key::text("prune", "WHEN", "What becomes of the link to a node that has left for certain.")
        .default("after-grace")
        .option("prune")
        .choices(&[
            ("never", "it stays until it breaks by itself"),
            ("after-grace", "it may break by itself for a while (`prune_grace`), then it is closed"),
            ("immediate", "it is closed at once"),
        ]),
    Key::number("prune_grace", "SECONDS", "How long such a link may break by itself, with prune `after-grace`.")
        .default("120"),
    Key::number("max_dials", "N", "The most dials at a time.").default("32"),
    Key::number("max_peers", "N", "Dial nobody while so many links are up or being dialled; no limit by default.")
        .example("50")
        .option("max-peers"),
    Key::flag("same_zone_first", "Of those that are due, dial the nodes of our own zone first.")
        .option("same-zone-first"),
    Key::text("zone", "ZONE", "Our zone; by default the one that discovery finds for our own pod.")
        .example("eu-central-1a")
        .option("zone"),
    Key::flag("release_gate", "Dial only nodes of our own release.").option("release-gate"),
    Key::text("release", "RELEASE", "Our release; by default the one that discovery finds for our own pod.")
        .example("5d4f8c7b9")
        .option("release"),
];
