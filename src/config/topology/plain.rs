//! The strategies that need neither names to be made nor a network of their own: `epmd`, `local-epmd`, `hosts`, `file`.

use std::net::{IpAddr, Ipv4Addr};

use super::Described;
use crate::config::schema::{Fate, Key, StrategyKind};
use crate::config::value::Port;
use crate::discovery::{Hosts, LocalEpmd, Static};
use crate::net::DialTarget;

const EPMD_PORT: Key =
    Key::number("epmd_port", "PORT", "The port of the EPMDs; that of [listen] if not given.").example("4369");

pub(super) const EPMD: StrategyKind = StrategyKind {
    name: "epmd",
    heading: "Discovery by a list",
    about: "The nodes that you name.",
    keys: &[&[Key::list(
        "nodes",
        "NODE[=IP[:PORT]]",
        "The nodes, with the address where the name alone does not lead there.",
    )
    .example("app@10.0.0.8")
    .aliases(&[("hosts", "")])]],
    names: &[("Epmd", &[]), ("static", &[])],
    foreign: &[("timeout", Fate::Ignored("a node that is lost is dialled again in any case, sooner"))],
};

pub(super) const LOCAL_EPMD: StrategyKind = StrategyKind {
    name: "local-epmd",
    heading: "Discovery on this host",
    about: "The nodes that the EPMD of this host knows.",
    keys: &[&[
        Key::number("polling_interval", "MS", "How often it is asked; 1000 if not given here or in [discovery].")
            .example("1000")
            .option("polling-interval"),
        Key::text("address", "IP", "Where it is, and where the nodes are dialled.").default("127.0.0.1"),
        EPMD_PORT,
    ]],
    names: &[("LocalEpmd", &[])],
    foreign: &[],
};

pub(super) const HOSTS: StrategyKind = StrategyKind {
    name: "hosts",
    heading: "Discovery by hosts",
    about: "The nodes that the EPMDs of some hosts know.",
    keys: &[&[
        Key::list("hosts", "HOST", "The hosts.").example("one.example.com").rivals(&["hosts_file"]),
        Key::text(
            "hosts_file",
            "FILE",
            "A file of hosts, as `.hosts.erlang` is written; without either that file in this or the home folder.",
        )
        .example("/etc/gusset/hosts.erlang")
        .option("hosts-file")
        .brings()
        .rivals(&["hosts"]),
        Key::number("polling_interval", "MS", "How often they are asked; 5000 if not given here or in [discovery].")
            .example("5000")
            .option("polling-interval")
            .aliases(&[("timeout", "")]),
        Key::number("answer_within", "SECONDS", "How long a host may take to be found, and its EPMD to answer.")
            .default("5"),
        EPMD_PORT,
    ]],
    names: &[("ErlangHosts", &[])],
    foreign: &[],
};

pub(super) const FILE: StrategyKind = StrategyKind {
    name: "file",
    heading: "Discovery by a file",
    about: "The nodes that a TOML or JSON file lists; it is read again when it changes.",
    keys: &[&[
        Key::text("path", "FILE", "The file: `nodes = [\"a@10.0.0.1\", …]`.")
            .example("/etc/gusset/nodes.toml")
            .option("nodes-file")
            .brings(),
        Key::number("look_every", "SECONDS", "How often it is looked at even if nothing was heard of a change.")
            .default("30"),
    ]],
    names: &[],
    foreign: &[],
};

pub(super) fn epmd(described: &Described<'_>) -> Option<Static> {
    let nodes: Option<Vec<DialTarget>> = described.values.read("nodes", described.common.problems);
    if described.values.get("nodes").is_none() {
        described.missing("which nodes?", "name them: nodes = [\"app@10.0.0.8\"]");
    }
    Some(Static::new(nodes?))
}

pub(super) fn local_epmd(described: &Described<'_>) -> LocalEpmd {
    let address = described.values.or("address", IpAddr::from(Ipv4Addr::LOCALHOST), described.common.problems);
    let pause = described.polling_interval().unwrap_or(crate::config::settings::LOCAL_POLL_EVERY);
    LocalEpmd::at(address, epmd_port(described)).every(pause)
}

pub(super) fn hosts(described: &Described<'_>) -> Option<Hosts> {
    let (values, problems, port) = (described.values, described.common.problems, epmd_port(described));
    let hosts = match (values.get("hosts"), values.get("hosts_file")) {
        (Some(_), _) => Hosts::new(values.read::<Vec<String>>("hosts", problems)?, port),
        (None, Some(_)) => Hosts::file(values.file("hosts_file", problems)?, port),
        (None, None) => Hosts::find(port),
    };
    let hosts = match described.polling_interval() {
        Some(pause) => hosts.every(pause),
        None => hosts,
    };
    Some(match described.seconds("answer_within") {
        Some(limit) => hosts.answer_within(limit),
        None => hosts,
    })
}

#[cfg(feature = "file")]
pub(super) fn file(described: &Described<'_>) -> Option<crate::discovery::File> {
    let Some(path) = described.values.file("path", described.common.problems) else {
        if described.values.get("path").is_none() {
            described.missing("which file?", "give it: --nodes-file FILE, or `path`");
        }
        return None;
    };
    let file = crate::discovery::File::new(path);
    Some(match described.seconds("look_every") {
        Some(pause) => file.every(pause),
        None => file,
    })
}

fn epmd_port(described: &Described<'_>) -> u16 {
    let own = described.values.read("epmd_port", described.common.problems).map(|Port(port)| port);
    own.unwrap_or(described.common.epmd_port)
}
