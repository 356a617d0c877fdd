//! Who leaves, is cut off, or restarts without an end.

use std::time::Duration;

use gusset::DialTarget;

use crate::cluster::{Member, Victim, connect, meshed, names_work, no_server_crashed, register, start};
use crate::common::node::{self, atom, name_of, until};
use crate::common::proxy::Proxy;
use crate::common::{Beam, Epmd, LATER, SOON, otp, require, unique, within};

#[tokio::test]
async fn one_broken_connection_throws_out_both_ends_and_they_can_come_back() {
    for release in [25, 27, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let beams = start(&[release, release, release], &epmd).await;
        for beam in &beams[1..] {
            connect(&beams[0], &beam.node_name).await;
        }
        let gusset = Member::start(&epmd, &unique("pop")).await;
        node::connect(&gusset.node, &beams[0]).await;
        meshed(&beams, &[&gusset]).await;

        assert_eq!(beams[0].value(&format!("erlang:disconnect_node({})", atom(&gusset.node))).await, "true");
        // Everybody agrees that the gusset is out; with the node that cut it off, or without.
        until("the gusset is alone", SOON, || gusset.node.nodes().is_empty() && gusset.global.known().is_empty()).await;
        for beam in &beams {
            beam.wait_until(&format!("not lists:member({}, nodes())", atom(&gusset.node)), SOON).await.unwrap();
        }
        for beam in &beams[1..] {
            connect(&beams[0], &beam.node_name).await;
        }
        meshed(&beams, &[]).await;
        names_work(&beams, &[]).await;

        node::connect(&gusset.node, &beams[1]).await;
        meshed(&beams, &[&gusset]).await;
        names_work(&beams, &[&gusset]).await;

        // And from our side.
        assert!(gusset.node.disconnect(&name_of(&beams[2])));
        until("the gusset is alone", SOON, || gusset.node.nodes().is_empty() && gusset.global.known().is_empty()).await;
        gusset.node.shutdown().await;
    }
}

/// Each node, and all that it is connected with, itself included.
async fn everybody_sees(beams: &[Beam], gusset: &Member) -> Vec<(String, Vec<String>)> {
    let us = gusset.node.name().to_string();
    let mut with_us: Vec<_> = gusset.node.nodes().iter().map(ToString::to_string).chain([us.clone()]).collect();
    with_us.sort();
    let mut views = vec![(us, with_us)];
    for beam in beams {
        let seen =
            beam.value("lists:flatten(lists:join(\",\", lists:sort([atom_to_list(N) || N <- [node() | nodes()]])))");
        let seen = seen.await.trim_matches('"').split(',').map(str::to_owned).collect();
        views.push((beam.node_name.clone(), seen));
    }
    views
}

#[tokio::test]
async fn a_link_that_is_cut_on_its_way_leaves_no_overlapping_partitions_and_heals() {
    for release in [25, 27, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let beams = start(&[release, release, release], &epmd).await;
        for beam in &beams[1..] {
            connect(&beams[0], &beam.node_name).await;
        }
        meshed(&beams, &[]).await;
        let gusset = Member::start(&epmd, &unique("cut")).await;
        let name = name_of(&beams[0]);
        let port = epmd.names().await.into_iter().find(|(known, _)| known == name.name()).expect("registered").1;
        let proxy = Proxy::start(async move { port }).await;
        let through = DialTarget::at(name, [127, 0, 0, 1].into()).with_port(proxy.port());
        within(SOON, "connect", gusset.node.connect(through)).await.expect("connects");
        meshed(&beams, &[&gusset]).await;

        proxy.cut();
        // Both ends have lost each other and tell the others, who let go of one of them, or of both.
        until("the far end is lost", SOON, || !gusset.node.nodes().contains(&name_of(&beams[0]))).await;
        let mut views = Vec::new();
        let sees_whom_its_peers_see = within(LATER, "no overlapping partitions", async {
            loop {
                views = everybody_sees(&beams, &gusset).await;
                if views.iter().all(|(_, seen)| views.iter().all(|(peer, same)| !seen.contains(peer) || seen == same)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        sees_whom_its_peers_see.await;
        println!("OTP {release}: {views:?}");
        // Healed: whoever dials, all are one cluster again.
        for beam in &beams[1..] {
            connect(&beams[0], &beam.node_name).await;
        }
        within(SOON, "connect", gusset.node.connect(name_of(&beams[0]))).await.expect("connects");
        meshed(&beams, &[&gusset]).await;
        names_work(&beams, &[&gusset]).await;
        no_server_crashed(&beams).await;
        gusset.node.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_that_restarts_again_and_again_leaves_neither_locks_nor_names() {
    // Not OTP 23: its `global` cannot tell a session with the last life from one with the new, and is let go.
    for releases in [[27, 25], [27, 29]] {
        restarts_leave_nothing(releases).await;
    }
}

/// Twenty lives of a visible node within about ten seconds: some hold a name and a lock at their end, some die
/// while `global` has just begun with them.
async fn restarts_leave_nothing(releases: [u32; 2]) {
    for release in releases {
        require!(otp::get(release));
    }
    let epmd = Epmd::start(&otp::get(releases[0]).expect("installed")).await;
    let beams = start(&releases, &epmd).await;
    connect(&beams[0], &beams[1].node_name).await;
    let name = unique("again");
    let started = std::time::Instant::now();
    for round in 0..20 {
        let victim = Victim::start(&epmd, &name).await;
        victim.connect(&beams[round % 2]).await;
        if round % 4 == 0 {
            meshed(&beams, &[&victim.member]).await;
            assert!(register(&victim.member, "restless", &victim.member.node.process()).await);
        }
        victim.kill().await;
    }
    println!("20 lives in {:?}", started.elapsed());
    meshed(&beams, &[]).await;
    names_work(&beams, &[]).await;
    for beam in &beams {
        let nothing = "{global:registered_names(), ets:tab2list(global_locks)} =:= {[], []}";
        beam.wait_until(nothing, SOON).await.unwrap();
    }
    no_server_crashed(&beams).await;
}
