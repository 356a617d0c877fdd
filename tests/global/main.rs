//! `global` between gussets and BEAM nodes of every release: the mesh, the names, the locks, and what
//! happens when somebody leaves, crashes or loses a connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod partings;

use std::time::Duration;

use cluster::{Member, Victim, connect, logs_are_clean, meshed, names_work, no_server_crashed, register, start};
use common::node::{self, atom};
use common::{Beam, BeamOptions, Epmd, SOON, otp, require, unique, within};
use gusset::{Message, Term};

#[tokio::test]
async fn a_gusset_and_a_beam_of_every_release_synchronise_whoever_dials() {
    for otp in otp::available() {
        for we_dial in [true, false] {
            let epmd = Epmd::start(&otp).await;
            let beams = start(&[otp.release], &epmd).await;
            let gusset = Member::start(&epmd, &unique(if we_dial { "a" } else { "z" })).await;
            if we_dial {
                node::connect(&gusset.node, &beams[0]).await;
            } else {
                connect(&beams[0], gusset.node.name().as_str()).await;
            }
            meshed(&beams, &[&gusset]).await;
            names_work(&beams, &[&gusset]).await;
            logs_are_clean(&beams).await;
            gusset.node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_mixed_cluster_with_a_gusset_works_while_it_is_there_and_after_it_has_left() {
    for release in [25, 27, 29] {
        require!(otp::get(release));
    }
    let epmd = Epmd::start(&otp::get(25).expect("installed")).await;
    let beams = start(&[25, 27, 29], &epmd).await;
    connect(&beams[0], &beams[1].node_name).await;
    connect(&beams[1], &beams[2].node_name).await;
    meshed(&beams, &[]).await;

    let name = unique("m");
    let gusset = Member::start(&epmd, &name).await;
    node::connect(&gusset.node, &beams[0]).await;
    meshed(&beams, &[&gusset]).await;
    names_work(&beams, &[&gusset]).await;
    logs_are_clean(&beams).await;
    let process = gusset.node.process();
    assert!(register(&gusset, "leaves", &process).await);

    gusset.node.shutdown().await;
    meshed(&beams, &[]).await;
    names_work(&beams, &[]).await;
    for beam in &beams {
        beam.wait_until("global:registered_names() =:= []", SOON).await.unwrap();
    }

    let victim = Victim::start(&epmd, &name).await;
    connect(&beams[2], victim.member.node.name().as_str()).await;
    meshed(&beams, &[&victim.member]).await;
    let process = victim.member.node.process();
    assert!(register(&victim.member, "dies", &process).await);
    victim.kill().await;
    meshed(&beams, &[]).await;
    names_work(&beams, &[]).await;
    for beam in &beams {
        beam.wait_until("global:registered_names() =:= []", SOON).await.unwrap();
    }

    // The same name again, in another life.
    let gusset = Member::start(&epmd, &name).await;
    connect(&beams[1], gusset.node.name().as_str()).await;
    meshed(&beams, &[&gusset]).await;
    names_work(&beams, &[&gusset]).await;
    no_server_crashed(&beams).await;
    gusset.node.shutdown().await;
}

#[tokio::test]
async fn names_from_before_the_connection_are_on_both_sides_after_it() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beams = start(&[otp.release], &epmd).await;
        let gusset = Member::start(&epmd, &unique("early")).await;
        let process = gusset.node.process();
        assert!(register(&gusset, "ours", &process).await);
        assert!(!register(&gusset, "ours", &gusset.node.process()).await);
        let method = "fun(_, P, _) -> P end";
        beams[0].value(&format!("global:register_name({{theirs, 1}}, whereis(init), {method})")).await;
        node::connect(&gusset.node, &beams[0]).await;
        meshed(&beams, &[&gusset]).await;
        let theirs = Term::tuple([Term::atom("theirs").unwrap(), Term::from(1)]);
        assert_eq!(gusset.global.whereis(&theirs).unwrap().node.as_str(), beams[0].node_name);
        let ours = format!("node(global:whereis_name(ours)) =:= {}", atom(&gusset.node));
        assert!(beams[0].eval_bool(&ours).await);
        // A name with a fun as method goes on to others.
        let second = Member::start(&epmd, &unique("second")).await;
        second.node.connect(gusset.node.name().clone()).await.unwrap();
        meshed(&beams, &[&gusset, &second]).await;
        assert_eq!(second.global.names(), gusset.global.names());
        assert_eq!(second.global.names().len(), 2);
        assert!(gusset.global.unregister(theirs).await.unwrap());
        beams[0].wait_until("global:registered_names() =:= [ours]", SOON).await.unwrap();
        logs_are_clean(&beams).await;
        gusset.node.shutdown().await;
        second.node.shutdown().await;
    }
}

#[tokio::test]
async fn of_two_processes_with_a_name_the_one_on_the_smaller_node_stays() {
    for otp in otp::available() {
        for ours_stays in [true, false] {
            let epmd = Epmd::start(&otp).await;
            let beams = start(&[otp.release], &epmd).await;
            let gusset = Member::start(&epmd, &unique(if ours_stays { "a" } else { "z" })).await;
            let mut process = gusset.node.process();
            assert!(register(&gusset, "same", &process).await);
            beams[0].value("global:register_name(same, spawn(fun() -> receive stop -> ok end end))").await;
            connect(&beams[0], gusset.node.name().as_str()).await;
            meshed(&beams, &[&gusset]).await;
            let winner = if ours_stays { gusset.node.name().as_str() } else { &beams[0].node_name };
            let there = format!("node(global:whereis_name(same)) =:= '{winner}'");
            beams[0].wait_until(&there, SOON).await.unwrap();
            assert_eq!(gusset.has("same").unwrap().node.as_str(), winner);
            if ours_stays {
                assert!(matches!(process.try_recv(), Ok(None)));
            } else {
                let ended = within(SOON, "the end of the beaten process", process.recv()).await;
                assert!(ended.unwrap_err().reason.is("killed"));
            }
            gusset.node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_conflict_over_a_name_of_another_node_is_settled_by_that_node() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beams = start(&[otp.release, otp.release], &epmd).await;
        let gusset = Member::start(&epmd, &unique("a")).await;
        // The method is one that only the node of the name can run.
        let method = "fun(_, _, Mine) -> persistent_term:put(asked, true), Mine end";
        let name_it = |method: &str| format!("global:register_name(same, whereis(init), {method})");
        beams[0].value(&name_it(method)).await;
        beams[1].value(&name_it("fun(_, _, _) -> none end")).await;
        node::connect(&gusset.node, &beams[0]).await;
        meshed(&beams[..1], &[&gusset]).await;
        connect(&beams[1], gusset.node.name().as_str()).await;
        meshed(&beams, &[&gusset]).await;
        for beam in &beams {
            let kept = format!("node(global:whereis_name(same)) =:= {}", beams[0].atom());
            beam.wait_until(&kept, SOON).await.unwrap();
        }
        assert_eq!(gusset.has("same").unwrap().node.as_str(), beams[0].node_name);
        assert!(beams[0].eval_bool("persistent_term:get(asked, false)").await);
        logs_are_clean(&beams).await;
        gusset.node.shutdown().await;
    }
}

#[tokio::test]
async fn old_and_new_nodes_are_in_one_cluster_with_a_gusset() {
    let otp = require!(otp::get(23));
    require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let beams = start(&[23, 25, 23], &epmd).await;
    let (one, two) = (Member::start(&epmd, &unique("one")).await, Member::start(&epmd, &unique("two")).await);
    node::connect(&one.node, &beams[0]).await;
    connect(&beams[1], &beams[0].node_name).await;
    meshed(&beams[..2], &[&one]).await;
    connect(&beams[2], two.node.name().as_str()).await;
    meshed(&beams[2..], &[&two]).await;
    // Two partitions become one.
    connect(&beams[1], two.node.name().as_str()).await;
    meshed(&beams, &[&one, &two]).await;
    names_work(&beams, &[&one, &two]).await;
    logs_are_clean(&beams).await;
    one.node.shutdown().await;
    meshed(&beams, &[&two]).await;
    names_work(&beams, &[&two]).await;
    two.node.shutdown().await;
}

#[tokio::test]
async fn gussets_synchronise_with_each_other_and_with_a_beam() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let (one, two) = (Member::start(&epmd, &unique("one")).await, Member::start(&epmd, &unique("two")).await);
        let process = one.node.process();
        assert!(register(&one, "alone", &process).await);
        one.node.connect(two.node.name().clone()).await.unwrap();
        meshed(&[], &[&one, &two]).await;
        names_work(&[], &[&one, &two]).await;
        assert_eq!(two.has("alone").as_ref(), Some(process.pid()));

        let beams = start(&[otp.release], &epmd).await;
        connect(&beams[0], two.node.name().as_str()).await;
        meshed(&beams, &[&one, &two]).await;
        names_work(&beams, &[&one, &two]).await;

        let three = Member::start(&epmd, &unique("three")).await;
        three.node.connect(one.node.name().clone()).await.unwrap();
        meshed(&beams, &[&one, &two, &three]).await;
        names_work(&beams, &[&one, &two, &three]).await;
        logs_are_clean(&beams).await;
        for gusset in [one, two, three] {
            gusset.node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_lock_is_free_when_its_owner_dies() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let mut beams = start(&[otp.release, otp.release], &epmd).await;
        let gusset = Member::start(&epmd, &unique("locks")).await;
        node::connect(&gusset.node, &beams[0]).await;
        node::connect(&gusset.node, &beams[1]).await;
        meshed(&beams, &[&gusset]).await;
        let hold = "spawn(fun() -> true = global:set_lock({mine, self()}), receive stop -> ok end end)";
        beams[0].value(&format!("register(holder, {hold})")).await;
        let nodes = format!("[{}]", atom(&gusset.node));
        let try_lock = format!("fun() -> global:set_lock({{mine, me}}, {nodes}, 0) end()");
        beams[1].wait_until(&format!("{try_lock} =:= false"), SOON).await.unwrap();
        beams[0].value("exit(whereis(holder), kill)").await;
        beams[1].wait_until(&try_lock, SOON).await.unwrap();
        beams[1].value(&format!("global:del_lock({{mine, me}}, {nodes})")).await;

        // The lock for registrations itself, by a node that dies.
        let hold = "spawn(fun() -> true = global:set_lock({global, self()}), receive stop -> ok end end)";
        beams[0].value(&format!("register(holder, {hold})")).await;
        let locked = format!("global:set_lock({{global, me}}, {nodes}, 0) =:= false");
        beams[1].wait_until(&locked, SOON).await.unwrap();
        beams[0].kill9().await;
        drop(beams.remove(0));
        meshed(&beams, &[&gusset]).await;
        names_work(&beams, &[&gusset]).await;
        gusset.node.shutdown().await;
    }
}

#[tokio::test]
async fn transactions_of_all_nodes_exclude_each_other() {
    for releases in [[23, 23, 25], [25, 27, 29]] {
        transactions_exclude_each_other(releases).await;
    }
}

async fn transactions_exclude_each_other(releases: [u32; 3]) {
    for release in releases {
        require!(otp::get(release));
    }
    let epmd = Epmd::start(&otp::get(releases[2]).expect("installed")).await;
    let beams = start(&releases, &epmd).await;
    let gusset = Member::start(&epmd, &unique("trans")).await;
    for beam in &beams {
        node::connect(&gusset.node, beam).await;
    }
    meshed(&beams, &[&gusset]).await;
    let mut counter = gusset.node.register("counter").unwrap();
    // Each transaction says when it begins and ends; between the two nobody else may begin.
    let to = format!("{{counter, {}}}", atom(&gusset.node));
    let one =
        format!("global:trans({{critical, self()}}, fun() -> {to} ! {{enter, node()}}, {to} ! {{leave, node()}} end)");
    for beam in &beams {
        beam.value(&format!("[spawn(fun() -> [{one} || _ <- lists:seq(1, 5)] end) || _ <- [1, 2]]")).await;
    }
    let mut inside: Option<String> = None;
    for _ in 0..beams.len() * 2 * 5 * 2 {
        let message = node::next(&mut counter).await;
        match inside.take() {
            None => inside = Some(message.replace("enter", "leave")),
            Some(expected) => assert_eq!(message, expected),
        }
    }
    gusset.node.shutdown().await;
}

#[tokio::test]
async fn hidden_connections_are_none_of_its_business() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let hidden = Beam::start(&otp, &epmd, BeamOptions::default().hidden()).await;
    let gusset = Member::start(&epmd, &unique("visible")).await;
    let mut listener = gusset.node.process();
    listener.monitor_nodes();
    node::connect(&gusset.node, &hidden).await;
    assert!(matches!(within(SOON, "nodeup", listener.recv()).await, Ok(Message::Node(_))));
    gusset.global.sync(Duration::from_secs(1)).await.unwrap();
    assert_eq!(hidden.value("net_adm:ping(node())").await, "pong");
    assert!(gusset.global.known().is_empty() && gusset.global.synced().is_empty());
    assert!(node::start_hidden(&epmd).await.global().is_none());
    hidden.assert_clean_log().await;
    gusset.node.shutdown().await;
}
