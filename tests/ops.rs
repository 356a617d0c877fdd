//! What an operator sees of a node, against real BEAMs: status, metrics and probes over HTTP, and the binary's.

#![cfg(feature = "ops")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Beam, BeamOptions, Epmd, LATER, SOON, gusset as binary, node, otp, require, unique, within};
use gusset::discovery::Static;
use gusset::ops::{HttpServer, Observer, PeerState, ReadyConfig, Status};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response as it came.
#[derive(Debug)]
struct Response {
    code: u16,
    head: String,
    body: String,
}

async fn request(address: SocketAddr, text: &str) -> Response {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that has said all and closes with something unread may reset the connection.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    let answer = within(SOON, "an HTTP response", exchange).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {answer:?}")).parse().unwrap();
    Response { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
}

async fn until_code(address: SocketAddr, path: &str, code: u16) -> Response {
    within(LATER, &format!("{path} answers {code}"), async {
        loop {
            let response = get(address, path).await;
            if response.code == code {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// Samples by their name with labels. Fails on whatever is not the text format.
fn parse(metrics: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut typed: BTreeMap<&str, &str> = BTreeMap::new();
    for line in metrics.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<_> = comment.splitn(3, ' ').collect();
            match words[..] {
                ["HELP", _, help] => assert!(!help.is_empty(), "{line}"),
                ["TYPE", name, kind] => {
                    assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
                    assert!(kind != "counter" || name.ends_with("_total"), "{line}");
                    assert_eq!(typed.insert(name, kind), None, "a family stands in one place: {line}");
                }
                _ => panic!("neither HELP nor TYPE: {line}"),
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let name = key.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(typed.contains_key(name) || typed.get(family) == Some(&"histogram"), "without a type: {line}");
        let before = samples.insert(key.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")));
        assert_eq!(before, None, "twice: {line}");
    }
    samples
}

async fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let response = get(address, "/metrics").await;
    assert_eq!(response.code, 200);
    assert!(response.head.contains("content-type: text/plain; version=0.0.4"), "{}", response.head);
    parse(&response.body)
}

async fn status(address: SocketAddr) -> Value {
    serde_json::from_str(&get(address, "/status").await.body).unwrap()
}

async fn serve(observer: &Observer) -> HttpServer {
    HttpServer::bind(SocketAddr::from(([127, 0, 0, 1], 0)), observer.clone()).await.unwrap()
}

#[tokio::test]
async fn a_peer_shows_up_in_status_and_metrics_and_its_series_vanish_with_it() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let node = node::start(&epmd).await;
    let observer = Observer::start(&node, None, ReadyConfig::new(1, Duration::from_secs(3600)));
    let server = serve(&observer).await;
    let address = server.local_addr();

    let response = get(address, "/readyz").await;
    assert_eq!(response.code, 503);
    assert!(response.body.contains("connected to 0 of at least 1"), "{}", response.body);
    assert_eq!(get(address, "/livez").await.code, 200, "alive whoever is there");

    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    assert_eq!(beam.value(&format!("net_kernel:connect_node({})", node::atom(&node))).await, "true");
    until_code(address, "/readyz", 200).await;

    let series = |name: &str| format!("erlang_vm_dist_{name}{{peer=\"{}\"}}", beam.node_name);
    let samples = metrics(address).await;
    for name in ["recv_bytes", "recv_cnt", "send_bytes", "send_cnt"] {
        assert!(samples[&series(name)] > 0.0, "{name}: {samples:?}");
    }
    assert_eq!(samples[&series("node_state")], 3.0);
    for name in ["send_pend_bytes", "node_queue_size_bytes"] {
        assert!(samples.contains_key(&series(name)), "{name}");
    }
    assert_eq!(samples["gusset_cluster_nodes{state=\"connected\"}"], 1.0);
    assert_eq!(samples["gusset_nodeup_total"], 1.0);
    assert_eq!(samples["gusset_ready"], 1.0);
    assert!(samples["process_resident_memory_bytes"] > 100_000.0);

    let shown = status(address).await;
    let peer = &shown["peers"][0];
    assert_eq!((peer["name"].as_str(), peer["state"].as_str()), (Some(beam.node_name.as_str()), Some("connected")));
    assert_eq!(peer["link"]["hidden"], false);
    let creation = beam.value("erlang:system_info(creation)").await;
    assert_eq!(peer["link"]["creation"].to_string(), creation);
    assert!(peer["link"]["flags"].as_array().unwrap().iter().any(|flag| flag == "UNLINK_ID"), "{peer}");
    assert_eq!(shown["node"], node.name().as_str());
    node::until("global knows the peer", LATER, || {
        Status::of(&node, None).global.is_some_and(|global| global.synced == [beam.node_name.clone()])
    })
    .await;

    beam.kill9().await;
    until_code(address, "/readyz", 503).await;
    let samples = metrics(address).await;
    assert!(!samples.keys().any(|key| key.contains(&beam.node_name)), "{samples:?}");
    assert_eq!(samples["gusset_nodedown_total"], 1.0);
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "stopped");
    node.shutdown().await;
}

#[tokio::test]
async fn who_cannot_be_reached_is_shown_with_the_reason_since_when_and_the_next_try() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let stranger = Beam::start(&otp, &epmd, BeamOptions::default().cookie("another_cookie")).await;
    let friend = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let absent = format!("{}@127.0.0.1", unique("absent"));
    let targets = [&stranger.node_name, &friend.node_name, &absent].map(|name| name.parse().unwrap());
    let builder = node::builder(&epmd, &unique("gusset")).topology("list", Arc::new(Static::new(targets)));
    let (node, discovery) = builder.start_with_discovery().await.unwrap();
    let discovery = discovery.unwrap();
    let observer = Observer::start(&node, Some(&discovery), ReadyConfig::new(2, Duration::ZERO));
    let server = serve(&observer).await;
    let address = server.local_addr();

    node::until("one is connected and two have failed", LATER, || {
        let counts = observer.status().counts;
        (counts.connected, counts.failed) == (1, 2)
    })
    .await;
    let status = Status::of(&node, Some(&discovery));
    let peer = |name: &str| status.peers.iter().find(|peer| peer.name == name).unwrap();
    assert_eq!(peer(&friend.node_name).state, PeerState::Connected);
    for (name, kind) in [(&stranger.node_name, "wrong_cookie"), (&absent, "not_ready")] {
        let peer = peer(name);
        let failure = peer.failure.as_ref().unwrap();
        assert_eq!((peer.state, failure.kind.as_str()), (PeerState::Failed, kind), "{peer:?}");
        assert!(peer.since.unwrap() >= failure.ago && failure.retry_in.is_some(), "{peer:?}");
        assert_eq!(peer.wanted_by, ["list"]);
    }
    assert_eq!(status.counts.discovered, 3);

    let body = get(address, "/readyz?verbose").await.body;
    assert!(body.contains("[-]cluster failed: connected to 1 of at least 2; 2 found and not connected"), "{body}");
    let samples = metrics(address).await;
    assert_eq!(samples["gusset_connect_attempts_total{result=\"ok\"}"], 1.0);
    assert!(samples["gusset_connect_attempts_total{result=\"failed\",reason=\"wrong_cookie\"}"] >= 1.0);
    assert_eq!(samples["gusset_cluster_failing_nodes{reason=\"not_ready\"}"], 1.0);
    assert!(samples["gusset_connect_duration_seconds_count{result=\"failed\"}"] >= 2.0, "{samples:?}");
    assert_eq!(samples["gusset_discovery_healthy{topology=\"list\",kind=\"static\"}"], 1.0);
    assert!(samples.contains_key("gusset_discovery_age_seconds{topology=\"list\"}"));

    // Who was never wanted and has left leaves no trace.
    let guest = node::start_hidden(&epmd).await;
    guest.connect(node.name().clone()).await.unwrap();
    let knows = || observer.status().peers.iter().any(|peer| peer.name == guest.name().as_str());
    node::until("the guest is there", LATER, knows).await;
    guest.shutdown().await;
    node::until("the guest is forgotten", LATER, || !knows()).await;

    // Written as JSON, it is read as it was.
    let read: Status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
    assert_eq!(read.counts, status.counts);
    node.shutdown().await;
}

#[tokio::test]
async fn only_small_get_and_head_requests_are_answered_and_slow_ones_are_ended() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let node = node::start(&epmd).await;
    let observer = Observer::start(&node, None, ReadyConfig::new(0, Duration::ZERO));
    let server = serve(&observer).await;
    let address = server.local_addr();

    let response = request(address, "POST /readyz HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(response.code, 405);
    assert!(response.head.contains("allow: get, head"), "{}", response.head);
    let response = get(address, "/nowhere").await;
    assert!(
        response.code == 404 && response.body.contains("\n  /livez ") && response.body.contains("/metrics"),
        "{response:?}"
    );
    let response = request(address, "HEAD /status HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(response.code == 200 && response.body.is_empty(), "{response:?}");
    let response = request(address, "GET /livez HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(response.code, 413);
    let large = format!("GET /livez HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n", "x".repeat(10_000));
    assert_eq!(request(address, &large).await.code, 431);
    assert_eq!(request(address, "nonsense\r\n\r\n").await.code, 400);

    // As many as there may be who say nothing hold nobody up for long.
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(within(LATER, "an answer behind silent clients", get_patiently(address)).await, 200);
    node.shutdown().await;
}

async fn get_patiently(address: SocketAddr) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn on_sigterm_the_binary_is_first_not_ready_then_leaves() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let name = format!("{}@127.0.0.1", unique("gusset"));
    let command = require!(binary::command(["run", "--name", &name, "--http", "127.0.0.1:0", "--drain-delay", "600"]));
    let command = command.epmd(&epmd).fixture_cookie();
    let (mut gusset, line) = command.spawn_until("status at http://").await;
    let address: SocketAddr = line.rsplit('/').next().unwrap().trim().parse().unwrap();
    assert_eq!(get(address, "/livez").await.code, 200);
    until_code(address, "/readyz", 200).await;
    assert_eq!(status(address).await["topologies"][0]["name"], "local-epmd");

    gusset.signal_term();
    let response = until_code(address, "/readyz", 503).await;
    assert_eq!(response.body, "not ready: leaving (SIGTERM)\n");
    // Not ready, and still a member that works for who has not noticed yet.
    assert_eq!(get(address, "/livez").await.code, 200);
    assert_eq!(status(address).await["counts"]["connected"], 1);
    assert_eq!(beam.value(&format!("net_adm:ping('{name}')")).await, "pong");
    gusset.kill9().await;

    let command = require!(binary::command(["run", "--name", &name, "--http", "127.0.0.1:0", "--drain-delay", "0"]));
    let (mut gusset, _) = command.epmd(&epmd).fixture_cookie().spawn_until("status at http://").await;
    gusset.line_with(&format!("up    {}", beam.node_name), LATER).await;
    assert!(gusset.terminate(LATER).await.success());
}
