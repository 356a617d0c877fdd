//! Being a node among nodes: connecting from either side, visible and hidden, coming back, going away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::node::{self, atom, builder, connect, event, name_of, until};
use common::{Beam, BeamOptions, COOKIE, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::discovery::Static;
use gusset::net::ConnectError;
use gusset::node::ConnectFailure;
use gusset::{Cookie, EpmdMode, Node, NodeEvent};

/// Collects `nodeup` and `nodedown` of all kinds of nodes on a BEAM, in a process called `seen`.
async fn watch_nodes(beam: &Beam) {
    let prepare = "fun() -> net_kernel:monitor_nodes(true, [{node_type, all}, nodedown_reason]) end";
    beam.value(&format!("gusset_fixture:collect(seen, {prepare})")).await;
}

#[tokio::test]
async fn both_sides_see_each_other_whoever_connects_visible_or_hidden() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        for (we_are_hidden, beam_is_hidden) in [(false, false), (true, false), (false, true)] {
            let mut options = BeamOptions::default();
            if beam_is_hidden {
                options = options.hidden();
            }
            let beam = Beam::start(&otp, &epmd, options).await;
            let node = if we_are_hidden { node::start_hidden(&epmd).await } else { node::start(&epmd).await };
            let (us, them) = (atom(&node), name_of(&beam));
            let hidden = we_are_hidden || beam_is_hidden;
            let (list, other) = if hidden { ("hidden", "visible") } else { ("visible", "hidden") };
            watch_nodes(&beam).await;
            let mut events = node.monitor_nodes();
            for they_connect in [false, true] {
                if they_connect {
                    assert_eq!(beam.value(&format!("net_kernel:connect_node({us})")).await, "true");
                } else {
                    connect(&node, &beam).await;
                }
                let is_hidden = event(&mut events, "up", |event| match event {
                    NodeEvent::Up { name, hidden, .. } if *name == them => Some(*hidden),
                    _ => None,
                });
                assert_eq!(is_hidden.await, hidden);
                beam.wait_until(&format!("nodes({list}) =:= [{us}]"), SOON).await.unwrap();
                assert_eq!(beam.value(&format!("nodes({other})")).await, "[]");
                let (visible, invisible) = (node.nodes(), node.hidden_nodes());
                let expected = if hidden { (vec![], vec![them.clone()]) } else { (vec![them.clone()], vec![]) };
                assert_eq!((visible, invisible), expected);
                assert_eq!(beam.value(&format!("net_adm:ping({us})")).await, "pong");
                if they_connect {
                    beam.value(&format!("erlang:disconnect_node({us})")).await;
                } else {
                    assert!(node.disconnect(&them));
                }
                event(&mut events, "down", |event| {
                    matches!(event, NodeEvent::Down { name, .. } if *name == them).then_some(())
                })
                .await;
                beam.wait_until(&format!("not lists:member({us}, nodes(connected))"), SOON).await.unwrap();
            }
            let seen = beam.value("[element(1, E) || E <- gusset_fixture:collected(seen, 4, 5000)]").await;
            assert_eq!(seen, "[nodeup,nodedown,nodeup,nodedown]");
            beam.assert_clean_log().await;
            node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_cookie_is_named_as_such_and_a_cookie_for_one_peer_mends_it() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default().cookie("another_cookie")).await;
        let node = node::start(&epmd).await;
        let failed = node.connect(name_of(&beam)).await.unwrap_err();
        let ConnectFailure::Dial(error) = &failed.cause else { panic!("{failed}") };
        assert!(matches!(**error, ConnectError::WrongCookie { .. }), "{failed}");
        assert_eq!(beam.value(&format!("net_kernel:connect_node({})", atom(&node))).await, "false");
        assert!(node.connected_nodes().is_empty());
        node.config().cookies.set_for(name_of(&beam), Cookie::new("another_cookie").unwrap());
        connect(&node, &beam).await;
        assert!(node.disconnect(&name_of(&beam)));
        beam.wait_until("nodes() =:= []", SOON).await.unwrap();
        assert_eq!(beam.value(&format!("net_kernel:connect_node({})", atom(&node))).await, "true");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn connecting_from_both_sides_at_once_gives_one_connection_200_times() {
    for release in [25, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::named(&unique("m"))).await;
        // Once as the smaller name, once as the greater.
        for prefix in ["a", "z"] {
            let node = builder(&epmd, &unique(prefix)).start().await.unwrap();
            let (us, them) = (atom(&node), name_of(&beam));
            let started = std::time::Instant::now();
            for round in 0..100 {
                let call = format!("net_kernel:connect_node({us})");
                let (ours, theirs) = tokio::join!(node.connect(them.clone()), beam.eval(&call));
                assert_eq!(theirs.unwrap(), "true", "{prefix} in round {round}");
                ours.unwrap_or_else(|error| panic!("{prefix} in round {round}: {error}"));
                assert_eq!(node.nodes(), std::slice::from_ref(&them));
                assert!(node.disconnect(&them));
                until("the end of the connection", SOON, || node.nodes().is_empty()).await;
                beam.wait_until(&format!("not lists:member({us}, nodes())"), SOON).await.unwrap();
            }
            // A stall of the handshake costs seven seconds.
            assert!(started.elapsed() < Duration::from_secs(60), "{:?} for 100 rounds", started.elapsed());
            node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_node_that_comes_back_at_once_under_its_name_is_a_new_node() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let name = unique("phoenix");
        watch_nodes(&beam).await;
        let mut creations = Vec::new();
        for _ in 0..5 {
            let node = builder(&epmd, &name).start().await.unwrap();
            connect(&node, &beam).await;
            beam.wait_until(&format!("nodes() =:= [{}]", atom(&node)), SOON).await.unwrap();
            creations.push(node.creation());
            node.shutdown().await;
        }
        creations.dedup();
        assert_eq!(creations.len(), 5, "{creations:?}");
        let seen = beam.value("[element(1, E) || E <- gusset_fixture:collected(seen, 10, 5000)]").await;
        assert_eq!(seen, format!("[{}]", ["nodeup,nodedown"; 5].join(",")));
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn a_beam_that_restarts_is_met_again_with_its_new_creation() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let name = unique("restart");
    let node = node::start(&epmd).await;
    let mut events = node.monitor_nodes();
    let mut creations = Vec::new();
    for _ in 0..2 {
        let mut beam = Beam::start(&otp, &epmd, BeamOptions::named(&name)).await;
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
        creations.push(
            event(&mut events, "up", |event| match event {
                NodeEvent::Up { creation, .. } => Some(*creation),
                _ => None,
            })
            .await,
        );
        beam.kill9().await;
        event(&mut events, "down", |event| matches!(event, NodeEvent::Down { .. }).then_some(())).await;
    }
    assert_ne!(creations[0], creations[1]);
    node.shutdown().await;
}

#[tokio::test]
async fn a_gusset_that_alone_discovers_makes_a_full_mesh_of_beams_that_do_not() {
    let mut otps = Vec::new();
    for release in [25, 27, 29] {
        otps.push(require!(otp::get(release)));
    }
    let epmd = Epmd::start(&otps[1]).await;
    let mut beams = Vec::new();
    for otp in &otps {
        beams.push(Beam::start(otp, &epmd, BeamOptions::default()).await);
    }
    for beam in &beams {
        assert_eq!(beam.value("nodes(connected)").await, "[]", "none knows another");
    }
    let list = Static::new(beams.iter().map(|beam| name_of(beam).into()));
    let node = builder(&epmd, &unique("introducer")).discovery(list).start().await.unwrap();
    let mut all: Vec<_> = beams.iter().map(|beam| beam.node_name.clone()).collect();
    all.push(node.name().to_string());
    let all = all.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
    let meshed = format!("lists:sort([node() | nodes()]) =:= lists:sort([{all}])");
    for beam in &beams {
        beam.wait_until(&meshed, LATER).await.unwrap();
    }
    for beam in &beams {
        beam.assert_clean_log().await;
    }
    // It was needed for the introduction only. (When it leaves, a BEAM may hear of that from another one before it
    // sees it: a reason for `global` to drop its link to the node that leaves, and to say so.)
    node.shutdown().await;
    let without = format!("lists:sort([node() | nodes()]) =:= lists:sort([{all}] -- [{}])", atom(&node));
    for beam in &beams {
        beam.wait_until(&without, SOON).await.unwrap();
    }
    for beam in &beams {
        assert_eq!(beam.value(&without).await, "true");
    }
}

#[tokio::test]
async fn a_frozen_beam_is_noticed_after_the_tick_time_and_met_again() {
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default().kernel("net_ticktime", "4")).await;
    let node = builder(&epmd, &unique("gusset")).net_ticktime(Duration::from_secs(4)).start().await.unwrap();
    connect(&node, &beam).await;
    let mut events = node.monitor_nodes();
    // Idle for longer than the tick time: ticks keep it up in both directions.
    let idle = tokio::time::timeout(Duration::from_secs(8), events.recv()).await;
    assert!(idle.is_err(), "{idle:?}");
    assert_eq!(beam.value("nodes()").await, format!("[{}]", atom(&node)));
    let frozen = std::time::Instant::now();
    beam.sigstop();
    let reason = event(&mut events, "down", |event| match event {
        NodeEvent::Down { reason, .. } => Some(reason.clone()),
        _ => None,
    })
    .await;
    let after = frozen.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_millis(6500)).contains(&after), "{after:?}: {reason}");
    beam.sigcont();
    beam.wait_until("nodes() =:= []", LATER).await.unwrap();
    connect(&node, &beam).await;
    assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    node.shutdown().await;
}

#[tokio::test]
async fn a_beam_may_change_its_tick_time_while_it_is_connected() {
    futures_util::future::join_all(otp::available().into_iter().map(changes_its_tick_time)).await;
}

async fn changes_its_tick_time(otp: common::Otp) {
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = node::start(&epmd).await;
    connect(&node, &beam).await;
    let mut events = node.monitor_nodes();
    // From a minute to 4 s, which is less than the time between two ticks of ours.
    assert_eq!(beam.value("net_kernel:set_net_ticktime(4, 1)").await, "change_initiated");
    beam.wait_until("net_kernel:get_net_ticktime() =:= 4", LATER).await.unwrap();
    let idle = tokio::time::timeout(Duration::from_secs(12), events.recv()).await;
    assert!(idle.is_err(), "OTP {}: {idle:?}", otp.release);
    assert_eq!(beam.value("nodes()").await, format!("[{}]", atom(&node)));
    // And back to a longer one.
    assert_eq!(beam.value("net_kernel:set_net_ticktime(60, 1)").await, "change_initiated");
    beam.wait_until("net_kernel:get_net_ticktime() =:= 60", LATER).await.unwrap();
    assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    assert!(tokio::time::timeout(Duration::ZERO, events.recv()).await.is_err());
    beam.assert_clean_log().await;
    node.shutdown().await;
}

#[tokio::test]
async fn a_lost_epmd_is_registered_with_again_and_connections_stay() {
    let otp = require!(otp::get(25));
    let mut epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = node::start(&epmd).await;
    connect(&node, &beam).await;
    let (creation, own) = (node.creation(), node.name().name().to_owned());
    epmd.kill().await;
    assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    epmd.restart().await;
    within(LATER, "the registration", async {
        while !epmd.names().await.iter().any(|(name, _)| *name == own) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!((node.creation(), node.nodes()), (creation, vec![name_of(&beam)]));
    // And others find us through it.
    let other = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    assert_eq!(other.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    node.shutdown().await;
}

#[tokio::test]
async fn without_epmd_nodes_meet_at_a_fixed_port() {
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let lease = common::PortLease::new();
    let beam = Beam::start(&otp, &epmd, BeamOptions::default().fixed_port(lease.port())).await;
    let at = format!("{}=127.0.0.1:{}", beam.node_name, lease.port());
    let node = Node::builder(format!("{}@127.0.0.1", unique("portly")))
        .cookie(Cookie::new(COOKIE).unwrap())
        .listen(vec!["127.0.0.1".parse().unwrap()], 0..=0)
        .epmd(EpmdMode::None, epmd.port())
        .start()
        .await
        .unwrap();
    node.connect(at.parse::<gusset::DialTarget>().unwrap()).await.unwrap();
    assert_eq!(beam.value("nodes()").await, format!("[{}]", atom(&node)));
    assert!(epmd.names().await.iter().all(|(name, _)| name != node.name().name()));
    node.shutdown().await;
}

#[tokio::test]
async fn a_dynamic_name_is_granted_by_a_beam_and_by_us() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let nameless = Node::builder_named_by(name_of(&beam).into(), "127.0.0.1")
            .cookie(Cookie::new(COOKIE).unwrap())
            .epmd(EpmdMode::External, epmd.port())
            .start()
            .await
            .unwrap();
        beam.wait_until(&format!("nodes(hidden) =:= [{}]", atom(&nameless)), SOON).await.unwrap();
        assert_eq!(nameless.hidden_nodes(), [name_of(&beam)]);
        nameless.shutdown().await;

        let host = node::start(&epmd).await;
        let ours = Node::builder_named_by(host.name().clone().into(), "127.0.0.1")
            .cookie(Cookie::new(COOKIE).unwrap())
            .epmd(EpmdMode::External, epmd.port())
            .start()
            .await
            .unwrap();
        assert_eq!(host.hidden_nodes(), [ours.name().clone()]);
        let (name, creation) = (ours.name().clone(), ours.creation());
        ours.shutdown().await;
        until("the name is free", SOON, || host.hidden_nodes().is_empty()).await;
        let next = Node::builder_named_by(host.name().clone().into(), "127.0.0.1")
            .cookie(Cookie::new(COOKIE).unwrap())
            .epmd(EpmdMode::External, epmd.port())
            .start()
            .await
            .unwrap();
        assert_eq!(*next.name(), name);
        assert_eq!(next.creation().0, creation.0 + 1);
        next.shutdown().await;
        host.shutdown().await;
    }
}

#[tokio::test]
async fn sending_connects_by_itself_and_a_node_that_is_not_there_is_an_error() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.value("gusset_fixture:collect(box)").await;
    let node = node::start(&epmd).await;
    let process = node.process();
    process.send(("box", &name_of(&beam)), &1).await.unwrap();
    assert_eq!(beam.value("gusset_fixture:collected(box, 1, 5000)").await, "[1]");
    let nobody = process.send(("box", "nobody@127.0.0.1"), &1).await.unwrap_err().to_string();
    assert!(nobody.contains("EPMD") && nobody.contains("nobody"), "{nobody}");
    node.shutdown().await;
}

#[tokio::test]
async fn two_gussets_meet_and_talk() {
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let (one, two) = (node::start(&epmd).await, node::start(&epmd).await);
    let mut inbox = two.register("inbox").unwrap();
    one.process().send(("inbox", two.name()), &("hello", 7)).await.unwrap();
    let (word, number): (String, i64) = within(SOON, "a message", inbox.recv()).await.unwrap().decode().unwrap();
    assert_eq!((word.as_str(), number), ("hello", 7));
    assert_eq!((one.nodes(), two.nodes()), (vec![two.name().clone()], vec![one.name().clone()]));
    let mut events = two.monitor_nodes();
    one.shutdown().await;
    event(&mut events, "down", |event| matches!(event, NodeEvent::Down { .. }).then_some(())).await;
    two.shutdown().await;
}

#[test]
fn a_connection_belongs_to_the_runtime_of_the_node_whoever_asks_for_it() {
    let otp = require!(otp::get(27));
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (own, other) = (runtime(), runtime());
    let (epmd, beam, node) = own.block_on(async {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let node = node::start(&epmd).await;
        (epmd, beam, node)
    });
    other.block_on(connect(&node, &beam));
    other.shutdown_background();
    own.block_on(async {
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
        assert_eq!(node.nodes(), [name_of(&beam)]);
        node.shutdown().await;
        drop((beam, epmd));
    });
}

#[tokio::test]
async fn nodes_meet_over_ipv6_in_both_directions() {
    let loopback = std::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    if std::net::TcpListener::bind((loopback, 0)).is_err() {
        common::skip(&common::Missing("this machine has no IPv6 loopback".to_owned()));
        return;
    }
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let (ours, theirs) = (common::PortLease::new(), common::PortLease::new());
    // Names that are addresses need neither a look-up nor, with fixed ports, an EPMD.
    let options = BeamOptions::named(&format!("{}@::1", unique("six"))).host(loopback, "::1").fixed_port(theirs.port());
    let options = options.kernel("inet_dist_use_interface", "{0,0,0,0,0,0,0,1}").args(["-proto_dist", "inet6_tcp"]);
    let beam = Beam::start(&otp, &epmd, options).await;
    let node = Node::builder(format!("{}@::1", unique("six")))
        .cookie(Cookie::new(COOKIE).unwrap())
        .listen(vec![loopback], ours.port()..=ours.port())
        .epmd(EpmdMode::None, epmd.port())
        .start()
        .await
        .unwrap();
    let at: gusset::DialTarget = format!("{}=[::1]:{}", beam.node_name, theirs.port()).parse().unwrap();
    node.connect(at).await.unwrap();
    assert_eq!(beam.value("nodes()").await, format!("[{}]", atom(&node)));
    assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    node.shutdown().await;
}
