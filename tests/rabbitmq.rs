//! RabbitMQ as a peer: its functions called, its status read into types, and its peace kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too

mod common;

use std::net::IpAddr;

use common::{LATER, RabbitMq, SOON, gusset as binary, node, require, unique, within};

use gusset::{Atom, Node, NodeName, Term, atom};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Of what `rabbit:status/0` says, a list of pairs, the parts that people look at.
#[derive(Debug, Deserialize)]
struct Status {
    pid: u32,
    rabbitmq_version: String,
    erlang_version: String,
    release_series_support_status: String,
    os: (Atom, Atom),
    running_applications: Vec<(Atom, String, String)>,
    memory: Memory,
    vm_memory_high_watermark: f64,
    vm_memory_limit: u64,
    disk_free: u64,
    alarms: Vec<Term>,
    is_under_maintenance: bool,
    listeners: Vec<Listener>,
    file_descriptors: Descriptors,
    processes: Processes,
    kernel: (Atom, u64),
    data_directory: String,
    totals: Totals,
    uptime: u64,
}

/// In bytes.
#[derive(Debug, Deserialize)]
struct Memory {
    mnesia: u64,
    code: u64,
    strategy: Atom,
    total: Total,
}

#[derive(Debug, Deserialize)]
struct Total {
    erlang: u64,
    rss: u64,
    allocated: u64,
}

/// The record of `rabbit.hrl`.
#[derive(Debug, Deserialize)]
#[serde(rename = "#listener")]
struct Listener {
    node: Atom,
    protocol: Atom,
    host: String,
    ip_address: (u8, u8, u8, u8),
    port: u16,
    opts: Vec<Term>,
}

#[derive(Debug, Deserialize)]
struct Descriptors {
    total_limit: u64,
    total_used: u64,
}

#[derive(Debug, Deserialize)]
struct Processes {
    limit: u64,
    used: u64,
}

#[derive(Debug, Deserialize)]
struct Totals {
    virtual_host_count: u64,
    queue_count: u64,
}

/// `rabbit_mnesia:status/0`.
#[derive(Debug, Deserialize)]
struct Cluster {
    nodes: Vec<(Atom, Vec<Atom>)>,
    running_nodes: Vec<Atom>,
    partitions: Vec<Term>,
}

#[tokio::test]
async fn its_functions_are_called_and_its_status_is_read_into_types() {
    let mut rabbit = require!(RabbitMq::start().await);
    let version = rabbit.version();
    let visible = node::start(&rabbit.epmd).await;
    let hidden = node::start_hidden(&rabbit.epmd).await;
    for node in [&visible, &hidden] {
        assert_eq!(call::<String>(node, &rabbit, "rabbit_misc", "version").await, version);
        check(&call(node, &rabbit, "rabbit", "status").await, &rabbit);
    }
    visible.shutdown().await;
    rabbit.has_logged(visible.name().as_str(), "down").await;
    rabbit.assert_undisturbed();
}

fn check(status: &Status, rabbit: &RabbitMq) {
    assert_eq!(status.rabbitmq_version, rabbit.version());
    assert!(status.erlang_version.starts_with("Erlang/OTP 25 "), "{status:?}");
    assert_eq!(status.release_series_support_status, "supported");
    assert_eq!(status.os, (atom!("unix"), atom!("linux")));
    let runs = |name: &str| status.running_applications.iter().find(|(app, _, _)| app.as_str() == name);
    let (_, description, version) = runs("rabbit").expect("itself");
    assert_eq!((description.as_str(), version), ("RabbitMQ", &status.rabbitmq_version));
    assert!(runs("mnesia").is_some() && runs("ra").is_some(), "{status:?}");
    let (memory, total) = (&status.memory, &status.memory.total);
    assert!(memory.mnesia > 0 && memory.code > 1_000_000 && memory.strategy.as_str() == "rss", "{memory:?}");
    assert!(total.erlang > memory.code && total.rss > 0 && total.allocated > 0, "{memory:?}");
    assert!(status.vm_memory_high_watermark > 0.0 && status.vm_memory_limit > 0 && status.disk_free > 0, "{status:?}");
    assert!(status.alarms.is_empty() && !status.is_under_maintenance, "{status:?}");
    let listener = |protocol: &str| status.listeners.iter().find(|listener| listener.protocol.as_str() == protocol);
    let amqp = listener("amqp").expect("AMQP");
    assert_eq!(amqp.node.as_str(), rabbit.node_name);
    assert_eq!(
        (IpAddr::from(<[u8; 4]>::from(amqp.ip_address)), amqp.port),
        ([127, 0, 0, 1].into(), rabbit.amqp_port())
    );
    assert!(!amqp.host.is_empty() && !amqp.opts.is_empty(), "{amqp:?}");
    assert!(listener("clustering").is_some(), "{status:?}");
    assert!(status.file_descriptors.total_limit > status.file_descriptors.total_used, "{status:?}");
    assert!(status.processes.limit > status.processes.used && status.processes.used > 100, "{status:?}");
    assert_eq!(status.kernel, (atom!("net_ticktime"), 60));
    assert!(status.data_directory.ends_with(&rabbit.node_name), "{status:?}");
    assert_eq!((status.totals.virtual_host_count, status.totals.queue_count), (1, 0));
    assert!(status.pid > 1 && status.uptime < 3600, "{status:?}");
}

#[tokio::test]
async fn it_is_not_disturbed_by_those_who_join_leave_and_die_and_counts_none_of_them() {
    let rabbit = require!(RabbitMq::start().await);
    let visible = node::start(&rabbit.epmd).await;
    let hidden = node::start_hidden(&rabbit.epmd).await;
    let peer: NodeName = rabbit.node_name.parse().unwrap();
    within(SOON, "connect", visible.connect(peer.clone())).await.unwrap();
    within(SOON, "connect", hidden.connect(peer)).await.unwrap();
    // One of the binary too, which a kill ends without a goodbye.
    let name = format!("{}@127.0.0.1", unique("killed"));
    let mut killed = require!(run(&rabbit, &name));
    rabbit.has_logged(&name, "up").await;
    rabbit.has_logged(visible.name().as_str(), "up").await;

    let mut seen: Vec<Atom> = call(&hidden, &rabbit, "erlang", "nodes").await;
    seen.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(seen.iter().map(Atom::as_str).collect::<Vec<_>>(), [visible.name().as_str(), name.as_str()]);
    assert_eq!(call::<Atom>(&hidden, &rabbit, "global", "sync").await.as_str(), "ok");

    alone(&hidden, &rabbit).await;
    // The one command of the documentation.
    let called = require!(binary::command(["call", &rabbit.node_name, "rabbit_misc:version"]));
    let called = called.epmd(&rabbit.epmd).fixture_cookie().finish(LATER).await;
    assert_eq!(called.stdout, format!("\"{}\"\n", rabbit.version()), "{}", called.stderr);
    assert!(called.status.success());

    killed.kill9().await;
    rabbit.has_logged(&name, "down").await;
    // In order, and dropped with all that runs it.
    visible.shutdown().await;
    rabbit.has_logged(visible.name().as_str(), "down").await;
    let (mut rabbit, name) = tokio::task::spawn_blocking(|| dropped(rabbit)).await.unwrap();
    rabbit.has_logged(&name, "down").await;

    alone(&hidden, &rabbit).await;
    assert!(call::<bool>(&hidden, &rabbit, "rabbit", "is_running").await);
    hidden.shutdown().await;
    rabbit.assert_undisturbed();
    // Its node monitor is not told of those who hide.
    assert!(!rabbit.output().text().contains(hidden.name().as_str()), "{}", rabbit.output().text());
}

/// A node of a runtime of its own, which is gone on return; and the node's name.
fn dropped(rabbit: RabbitMq) -> (RabbitMq, String) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = runtime.block_on(async {
        let node = node::start(&rabbit.epmd).await;
        assert!(call::<bool>(&node, &rabbit, "rabbit", "is_running").await);
        rabbit.has_logged(node.name().as_str(), "up").await;
        node.name().to_string()
    });
    (rabbit, name)
}

/// It is the only member of its cluster, and whole.
async fn alone(node: &Node, rabbit: &RabbitMq) {
    let itself = std::slice::from_ref(&rabbit.node_name);
    for function in ["all", "all_running"] {
        let members: Vec<Atom> = call(node, rabbit, "rabbit_nodes", function).await;
        assert_eq!(members.iter().map(Atom::as_str).collect::<Vec<_>>(), itself, "{function}");
    }
    let cluster: Cluster = call(node, rabbit, "rabbit_mnesia", "status").await;
    let disc: Vec<&str> = cluster.nodes.iter().flat_map(|(_, nodes)| nodes.iter().map(Atom::as_str)).collect();
    assert_eq!((disc.as_slice(), cluster.nodes[0].0.as_str()), ([itself[0].as_str()].as_slice(), "disc"));
    assert_eq!(cluster.running_nodes.iter().map(Atom::as_str).collect::<Vec<_>>(), itself);
    assert!(cluster.partitions.is_empty(), "{cluster:?}");
}

async fn call<R: DeserializeOwned>(node: &Node, rabbit: &RabbitMq, module: &str, function: &str) -> R {
    let peer: NodeName = rabbit.node_name.parse().unwrap();
    let answer = within(LATER, function, node.rpc(&peer, module, function, ())).await;
    answer.unwrap_or_else(|error| panic!("{module}:{function}: {error}"))
}

/// `gusset run`, connected to it.
fn run(rabbit: &RabbitMq, name: &str) -> Result<common::Gusset, common::Missing> {
    let args = ["run", "--name", name, "--listen", "127.0.0.1", "--epmd", "external", "--connect", &rabbit.node_name];
    let command = binary::command(args)?;
    Ok(command.epmd(&rabbit.epmd).fixture_cookie().spawn())
}
