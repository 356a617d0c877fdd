//! `global` between gussets and BEAM nodes of every release: the mesh, the names, the locks, and what
//! happens when somebody leaves, crashes or loses a connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::node::{self, atom, name_of, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::services::global::Global;
use gusset::{Message, Node, NodeName, Pid, Process, Term};

/// A gusset that takes part in `global`.
struct Member {
    node: Node,
    global: Global,
}

impl Member {
    async fn start(epmd: &Epmd, name: &str) -> Self {
        let node = node::builder(epmd, name).start().await.expect("the node starts");
        let global = node.global().expect("a visible node has it");
        Self { node, global }
    }

    fn has(&self, name: &str) -> Option<Pid> {
        self.global.whereis(&Term::atom(name).expect("a name"))
    }

    async fn knows(&self, others: &[&str]) {
        let mut expected: Vec<NodeName> = others.iter().map(|name| name.parse().expect("a name")).collect();
        expected.sort();
        until("the gusset knows all", LATER, || self.global.known() == expected && self.node.nodes() == expected).await;
    }
}

async fn start(releases: &[u32], epmd: &Epmd) -> Vec<Beam> {
    let mut beams = Vec::new();
    for release in releases {
        let otp = otp::get(*release).expect("installed");
        beams.push(Beam::start(&otp, epmd, BeamOptions::named(&unique(&format!("n{release}")))).await);
    }
    beams
}

fn erlang_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
    names.sort();
    format!("[{}]", names.join(","))
}

/// Waits until everybody is connected with everybody, and `global` agrees.
async fn meshed(beams: &[Beam], gussets: &[&Member]) {
    let all: Vec<&str> = beams
        .iter()
        .map(|beam| beam.node_name.as_str())
        .chain(gussets.iter().map(|one| one.node.name().as_str()))
        .collect();
    for beam in beams {
        let others = erlang_list(all.iter().copied().filter(|name| *name != beam.node_name));
        let condition = format!(
            "{{lists:sort(nodes()), lists:sort(lists:map(fun({{N, _}}) -> N; (N) -> N end, gen_server:call(global_name_server, get_known)))}} =:= {{{others}, {others}}}"
        );
        beam.wait_until(&condition, LATER).await.unwrap_or_else(|error| panic!("{}: {error}", beam.node_name));
        assert_eq!(beam.value("global:sync()").await, "ok", "OTP {}", beam.otp.release);
    }
    for gusset in gussets {
        let me = gusset.node.name().as_str();
        gusset.knows(&all.iter().copied().filter(|name| *name != me).collect::<Vec<_>>()).await;
        gusset.global.sync(LATER).await.expect("syncs");
    }
}

async fn connect(from: &Beam, to: &str) {
    assert_eq!(from.value(&format!("net_kernel:connect_node('{to}')")).await, "true");
}

/// A name registered at one node is seen at all, and gone from all when its process ends.
async fn names_work(beams: &[Beam], gussets: &[&Member]) {
    for (number, beam) in beams.iter().enumerate() {
        let name = format!("of_beam_{number}");
        let start = format!("P = spawn(fun() -> receive stop -> ok end end), global:register_name({name}, P)");
        assert_eq!(beam.value(&start).await, "yes");
        let pid = beam.value(&format!("global:whereis_name({name})")).await;
        assert_ne!(pid, "undefined");
        for other in beams {
            other.wait_until(&format!("node(global:whereis_name({name})) =:= {}", beam.atom()), SOON).await.unwrap();
        }
        for gusset in gussets {
            until("the name at the gusset", SOON, || gusset.has(&name).is_some()).await;
            assert_eq!(gusset.has(&name).unwrap().node.as_str(), beam.node_name);
        }
        beam.value(&format!("global:send({name}, stop)")).await;
        for other in beams {
            other.wait_until(&format!("global:whereis_name({name}) =:= undefined"), SOON).await.unwrap();
        }
        for gusset in gussets {
            until("the name is gone", SOON, || gusset.has(&name).is_none()).await;
        }
    }
    for (number, gusset) in gussets.iter().enumerate() {
        let name = format!("of_gusset_{number}");
        let mut process = gusset.node.process();
        assert!(register(gusset, &name, &process).await);
        for beam in beams {
            let here = format!("node(global:whereis_name({name})) =:= {}", atom(&gusset.node));
            beam.wait_until(&here, SOON).await.unwrap();
            beam.value(&format!("global:send({name}, {{hello, {}}})", beam.otp.release)).await;
            assert_eq!(node::next(&mut process).await, format!("{{hello,{}}}", beam.otp.release));
        }
        for other in gussets {
            assert_eq!(other.has(&name).as_ref(), Some(process.pid()));
        }
        drop(process);
        for beam in beams {
            beam.wait_until(&format!("global:whereis_name({name}) =:= undefined"), SOON).await.unwrap();
        }
    }
}

async fn register(gusset: &Member, name: &str, process: &Process) -> bool {
    let name = Term::atom(name).expect("a name");
    within(LATER, "register", gusset.global.register(name, process.pid())).await.expect("registers")
}

/// A gusset in a runtime of its own, to be killed: all of its sockets close at once.
struct Victim {
    runtime: tokio::runtime::Runtime,
    member: Member,
}

impl Victim {
    async fn start(epmd: &Epmd, name: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (port, name) = (epmd.port(), name.to_owned());
        let member = runtime.spawn(async move {
            // EPMD takes a moment to see that the last one of this name is gone.
            let node = loop {
                match node::builder_at(port, &name).start().await {
                    Ok(node) => break node,
                    Err(error) if error.to_string().contains("runs on this host already") => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(error) => panic!("the node starts: {error}"),
                }
            };
            let global = node.global().expect("a visible node has it");
            Member { node, global }
        });
        let member = within(LATER, "a gusset", member).await.expect("starts");
        Self { runtime, member }
    }

    /// Connects; all that belongs to the connection runs in the runtime that will be killed.
    async fn connect(&self, beam: &Beam) {
        let (node, name) = (self.member.node.clone(), name_of(beam));
        let dial = self.runtime.spawn(async move { node.connect(name).await });
        within(SOON, "connect", dial).await.expect("not cancelled").expect("connects");
    }

    async fn kill(self) {
        let stop = move || self.runtime.shutdown_timeout(SOON);
        tokio::task::spawn_blocking(stop).await.expect("stops");
    }
}

async fn logs_are_clean(beams: &[Beam]) {
    for beam in beams {
        beam.assert_clean_log().await;
    }
}

/// For where somebody left: BEAMs that notice one after the other warn each other, which does no harm.
async fn no_server_crashed(beams: &[Beam]) {
    for beam in beams {
        let log = beam.settled_log().await;
        assert!(!log.contains("=ERROR REPORT") && !log.contains("=CRASH REPORT"), "{}: {log}", beam.node_name);
    }
}

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
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beams = start(&[27, 27, 27], &epmd).await;
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

#[tokio::test]
async fn a_node_that_restarts_again_and_again_leaves_neither_locks_nor_names() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beams = start(&[27, 25], &epmd).await;
    connect(&beams[0], &beams[1].node_name).await;
    let name = unique("again");
    for round in 0..12 {
        let victim = Victim::start(&epmd, &name).await;
        victim.connect(&beams[round % 2]).await;
        if round % 3 == 0 {
            meshed(&beams, &[&victim.member]).await;
            assert!(register(&victim.member, "restless", &victim.member.node.process()).await);
        }
        victim.kill().await;
    }
    meshed(&beams, &[]).await;
    names_work(&beams, &[]).await;
    for beam in &beams {
        let nothing = "{global:registered_names(), ets:tab2list(global_locks)} =:= {[], []}";
        beam.wait_until(nothing, SOON).await.unwrap();
    }
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
