//! A node that comes back under its name while the other side still believes in its old connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::node::{self, atom, builder, event, name_of, until};
use common::proxy::Proxy;
use common::{Beam, BeamOptions, Epmd, LATER, SOON, gusset as binary, otp, require, unique, within};
use gusset::net::EpmdClient;
use gusset::proto::epmd::EpmdEntry;
use gusset::{DialTarget, EpmdMode, NodeEvent};

/// The port that a BEAM listens on for distribution.
async fn port_of(epmd: &Epmd, beam: &Beam) -> u16 {
    let own = name_of(beam);
    epmd.names().await.into_iter().find(|(name, _)| name == own.name()).expect("registered").1
}

#[tokio::test]
async fn we_come_back_while_a_beam_still_believes_the_old_link_is_alive() {
    for release in [25, 27, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let port = port_of(&epmd, &beam).await;
        let proxy = Proxy::start(async move { port }).await;
        let name = unique("revenant");
        let first = builder(&epmd, &name).start().await.unwrap();
        first.connect(DialTarget::at(name_of(&beam), [127, 0, 0, 1].into()).with_port(proxy.port())).await.unwrap();
        beam.wait_until(&format!("nodes() =:= [{}]", atom(&first)), SOON).await.unwrap();
        let prepare = "fun() -> net_kernel:monitor_nodes(true) end";
        beam.value(&format!("gusset_fixture:collect(seen, {prepare})")).await;
        let creation = first.creation();
        first.shutdown().await;
        until("the proxy holds the old connection", SOON, || proxy.held() >= 1).await;
        assert_eq!(beam.value("nodes()").await, format!("[{}]", atom(&first)));

        let again = builder(&epmd, &name).start().await.unwrap();
        assert_ne!(again.creation(), creation);
        let started = Instant::now();
        again.connect(name_of(&beam)).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(3), "OTP {release}: {:?}", started.elapsed());
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&again))).await, "pong");
        let seen = beam.value("gusset_fixture:collected(seen, 2, 5000)").await;
        assert_eq!(seen, format!("[{{nodedown,{0}}},{{nodeup,{0}}}]", atom(&again)));
        beam.assert_clean_log().await;
        again.shutdown().await;
    }
}

#[tokio::test]
async fn a_beam_comes_back_while_we_still_believe_the_old_link_is_alive() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let name = unique("returning");
        // Known to EPMD by the port of the proxy, so that the BEAM connects through it.
        let lease = common::PortLease::new();
        let own = lease.port();
        let proxy = Proxy::start(async move { own }).await;
        let node = builder(&epmd, &unique("patient"))
            .listen(vec![IpAddr::from([127, 0, 0, 1])], own..=own)
            .epmd(EpmdMode::None, epmd.port())
            .start()
            .await
            .unwrap();
        let client = EpmdClient::new([127, 0, 0, 1].into(), epmd.port());
        let _registration = client.register(EpmdEntry::new(node.name().name(), proxy.port())).await.unwrap();
        let mut events = node.monitor_nodes();
        let mut creations = Vec::new();
        for life in 1..=3 {
            let mut beam = Beam::start(&otp, &epmd, BeamOptions::named(&name)).await;
            assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
            let creation = event(&mut events, "up", |event| match event {
                NodeEvent::Up { creation, .. } => Some(*creation),
                _ => None,
            });
            creations.push(creation.await);
            beam.kill9().await;
            until("the proxy holds the old connection", SOON, || proxy.held() >= life).await;
            assert_eq!(node.nodes().len(), 1, "the old connection is still believed in");
        }
        creations.dedup();
        assert_eq!(creations.len(), 3);
        node.shutdown().await;
    }
}

#[tokio::test]
async fn the_binary_is_killed_and_comes_back_under_its_name() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let name = format!("{}@127.0.0.1", unique("phoenix"));
    for _ in 0..3 {
        let args = ["run", "--name", &name, "--connect", &beam.node_name, "--listen", "127.0.0.1"];
        let command = require!(binary::command(args)).epmd(&epmd).fixture_cookie();
        let (mut running, _) = command.spawn_until("up ").await;
        beam.wait_until(&format!("nodes() =:= ['{name}']"), SOON).await.unwrap();
        assert_eq!(beam.value(&format!("net_adm:ping('{name}')")).await, "pong");
        running.kill9().await;
    }
    beam.wait_until("nodes() =:= []", SOON).await.unwrap();
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn the_binary_is_frozen_for_longer_than_the_tick_time_and_is_met_again() {
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default().kernel("net_ticktime", "4")).await;
    let name = format!("{}@127.0.0.1", unique("frozen"));
    let args = ["run", "--name", &name, "--connect", &beam.node_name, "--listen", "127.0.0.1", "--net-ticktime", "4"];
    let command = require!(binary::command(args)).epmd(&epmd).fixture_cookie();
    let (mut running, _) = command.spawn_until("up ").await;
    beam.wait_until(&format!("nodes() =:= ['{name}']"), SOON).await.unwrap();
    let frozen = Instant::now();
    running.sigstop();
    beam.wait_until("nodes() =:= []", LATER).await.unwrap();
    let after = frozen.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_millis(6500)).contains(&after), "{after:?}");
    running.sigcont();
    // It finds out, and connects again by itself, as it was told to.
    beam.wait_until(&format!("nodes() =:= ['{name}']"), LATER).await.unwrap();
    assert_eq!(beam.value(&format!("net_adm:ping('{name}')")).await, "pong");
    let stopped = within(SOON, "an orderly end", running.terminate(SOON)).await;
    assert!(stopped.success());
}

#[tokio::test]
async fn garbage_at_the_door_does_not_disturb_the_node() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = node::start(&epmd).await;
    let address = ("127.0.0.1", node.port().unwrap());
    let garbage: [&[u8]; 6] =
        [b"GET / HTTP/1.1\r\n\r\n", b"", b"\x00\x00", b"\xff\xff\xff\xff", b"\x00\x05Nabcd", &[0; 70_000]];
    for bytes in garbage {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within(SOON, "the door closes", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{bytes:?} was answered with {answer:?}");
    }
    assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    node.shutdown().await;
}
