//! Processes, names, links, monitors and exits between a gusset and BEAM nodes of every release.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::node::{self, atom, connect, name_of, next, until, with_each};
use common::{Beam, BeamOptions, Epmd, SOON, otp, within};
use gusset::node::Target;
use gusset::{Message, Process, Reason, Term};

/// The pid of a process of this node as an expression for the BEAM to evaluate: it got it by message.
async fn introduce(process: &Process, beam: &Beam, name: &str) {
    let to = Target::NameOn(gusset::Atom::new(name).unwrap(), name_of(beam));
    process.send(to, process.pid()).await.unwrap();
    beam.wait_until(&format!("gusset_fixture:collected({name}) =/= []"), SOON).await.unwrap();
}

#[tokio::test]
async fn messages_go_to_pids_and_names_in_both_directions_and_in_order() {
    with_each(|node, beam| async move {
        beam.value("gusset_fixture:collect(box)").await;
        let mut inbox = node.register("inbox").unwrap();
        beam.value(&format!("[{{inbox, {}}} ! {{n, I}} || I <- lists:seq(1, 100)]", atom(&node))).await;
        for i in 1..=100 {
            assert_eq!(next(&mut inbox).await, format!("{{n,{i}}}"));
        }
        introduce(&inbox, &beam, "box").await;
        beam.value("[Pid] = gusset_fixture:collected(box), Pid ! {self(), hello}").await;
        let message = inbox.recv().await.unwrap().term().unwrap();
        let Some([Term::Pid(from), word]) = message.as_tuple() else { panic!("{message}") };
        assert!(word.is_atom("hello") && from.node == *name_of(&beam).as_atom());
        for i in 0..100 {
            inbox.send(("box", &name_of(&beam)), &("n", i)).await.unwrap();
        }
        let expected = "[{<<\"n\">>, I} || I <- lists:seq(0, 99)]";
        let same = format!("tl(gusset_fixture:collected(box, 101, 5000)) =:= {expected}");
        assert!(beam.eval_bool(&same).await);
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn messages_for_nobody_do_no_harm() {
    with_each(|node, beam| async move {
        beam.value(&format!("{{nobody, {}}} ! hello", atom(&node))).await;
        let process = node.process();
        process.send(("nobody", &name_of(&beam)), "hello").await.unwrap();
        beam.value("gusset_fixture:collect(box)").await;
        {
            let gone = node.process();
            introduce(&gone, &beam, "box").await;
        }
        beam.value("[Pid] = gusset_fixture:collected(box), Pid ! hello").await;
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn monitors_of_a_beam_on_us_fire_with_the_object_that_was_named() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let down = "receive {'DOWN', R, process, O, Why} -> {O, Why} after 5000 -> late end";
        let unknown = beam.value(&format!("R = monitor(process, {{nobody, {us}}}), {down}")).await;
        assert_eq!(unknown, format!("{{{{nobody,{us}}},noproc}}"));

        let process = node.register("watched").unwrap();
        beam.eval_in("w", &format!("R = monitor(process, {{watched, {us}}})")).await.unwrap();
        // Answered after the monitor has arrived.
        assert_eq!(beam.eval_in("w", &format!("net_adm:ping({us})")).await.unwrap(), "pong");
        let big = Term::binary(vec![7u8; 1 << 20]);
        process.end(Reason::from(Term::tuple([Term::atom("big").unwrap(), big])));
        let seen =
            beam.eval_in("w", "receive {'DOWN', R, process, O, {big, B}} -> {O, byte_size(B)} after 5000 -> late end");
        assert_eq!(seen.await.unwrap(), format!("{{{{watched,{us}}},1048576}}"));

        // By pid, dead already.
        beam.value("gusset_fixture:collect(box)").await;
        {
            let gone = node.process();
            introduce(&gone, &beam, "box").await;
        }
        let dead = format!("[P] = gusset_fixture:collected(box), R = monitor(process, P), {down}");
        assert!(beam.value(&dead).await.ends_with(",noproc}"));
        // Taken back before it fires.
        let process = node.register("watched").unwrap();
        let quiet = format!("R2 = monitor(process, {{watched, {us}}}), demonitor(R2), {us} =:= {us}");
        beam.eval_in("w", &quiet).await.unwrap();
        assert_eq!(beam.eval_in("w", &format!("net_adm:ping({us})")).await.unwrap(), "pong");
        process.end(Reason::shutdown());
        assert_eq!(beam.eval_in("w", &format!("net_adm:ping({us})")).await.unwrap(), "pong");
        assert_eq!(
            beam.eval_in("w", "receive {'DOWN', R2, _, _, _} -> fired after 0 -> quiet end").await.unwrap(),
            "quiet"
        );
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn our_monitors_on_a_beam_fire() {
    with_each(|node, beam| async move {
        let mut process = node.process();
        let peer = name_of(&beam);
        let unknown = process.monitor(("nobody", &peer)).await.unwrap();
        let Message::Down { reference, object, reason } = within(SOON, "DOWN", process.recv()).await.unwrap() else {
            panic!()
        };
        assert!(reference == unknown && reason.is("noproc"));
        assert_eq!(object.term().to_string(), format!("{{nobody,'{peer}'}}"));

        beam.value("register(soon, spawn(fun() -> receive stop -> exit(enough) end end))").await;
        let watch = process.monitor(("soon", &peer)).await.unwrap();
        process.send(("soon", &peer), &gusset::atom!("stop")).await.unwrap();
        let Message::Down { reference, reason, .. } = within(SOON, "DOWN", process.recv()).await.unwrap() else {
            panic!()
        };
        assert!(reference == watch && reason.is("enough"), "{reason}");

        beam.value("register(later, spawn(fun() -> receive stop -> ok end end))").await;
        let watch = process.monitor(("later", &peer)).await.unwrap();
        assert!(process.demonitor(&watch));
        assert!(!process.demonitor(&watch));
        process.send(("later", &peer), &gusset::atom!("stop")).await.unwrap();
        beam.wait_until("whereis(later) =:= undefined", SOON).await.unwrap();
        assert!(process.try_recv().unwrap().is_none());
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn links_carry_exits_in_both_directions() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let peer = name_of(&beam);
        beam.value("gusset_fixture:collect(box)").await;
        // Ours ends, theirs traps.
        let process = node.register("linked").unwrap();
        introduce(&process, &beam, "box").await;
        beam.eval_in("l", "process_flag(trap_exit, true), [P] = gusset_fixture:collected(box), link(P)").await.unwrap();
        assert_eq!(beam.eval_in("l", &format!("net_adm:ping({us})")).await.unwrap(), "pong");
        process.end(Reason::from(Term::atom("enough").unwrap()));
        let seen = beam.eval_in("l", "receive {'EXIT', P, Why} -> Why after 5000 -> late end").await.unwrap();
        assert_eq!(seen, "enough");
        // To a dead one.
        let seen = beam.eval_in("l", "link(P), receive {'EXIT', P, W2} -> W2 after 5000 -> late end").await.unwrap();
        assert_eq!(seen, "noproc");
        // Theirs ends, ours traps; then ours does not.
        let mut process = node.process();
        process.trap_exits(true);
        beam.value("register(one, spawn(fun() -> receive {Why} -> exit(Why) end end))").await;
        beam.value("register(two, spawn(fun() -> receive {Why} -> exit(Why) end end))").await;
        let pid = |name: &'static str| {
            let node = node.clone();
            let peer = peer.clone();
            async move {
                node.rpc::<gusset::Pid>(&peer, "erlang", "whereis", &(gusset::Atom::new(name).unwrap(),)).await.unwrap()
            }
        };
        let (one, two) = (pid("one").await, pid("two").await);
        process.link(&one).await;
        process.send(&one, &(gusset::atom!("bye"),)).await.unwrap();
        let message = within(SOON, "EXIT", process.recv()).await.unwrap();
        assert!(matches!(&message, Message::Exit { from, reason } if *from == one && reason.is("bye")), "{message:?}");
        process.trap_exits(false);
        process.link(&two).await;
        process.send(&two, &(gusset::atom!("bye"),)).await.unwrap();
        let ended = within(SOON, "the end", process.recv()).await.unwrap_err();
        assert!(ended.reason.is("bye"));
        assert!(!node.is_alive(process.pid()));
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn unlinking_is_silent_afterwards_even_when_both_cross() {
    with_each(|node, beam| async move {
        let mut process = node.process();
        process.trap_exits(true);
        beam.value("gusset_fixture:collect(box)").await;
        introduce(&process, &beam, "box").await;
        let spawn = "register(partner, spawn(fun() -> process_flag(trap_exit, true), \
                     [P] = gusset_fixture:collected(box), \
                     (fun Loop() -> receive storm -> [begin link(P), unlink(P) end || _ <- lists:seq(1, 500)], P ! done, Loop(); \
                      {'EXIT', _, W} -> exit({spurious, W}); stop -> exit(stopped) end end)() end))";
        beam.value(spawn).await;
        let peer = name_of(&beam);
        let partner: gusset::Pid = node.rpc(&peer, "erlang", "whereis", &(gusset::atom!("partner"),)).await.unwrap();
        process.send(&partner, &gusset::atom!("storm")).await.unwrap();
        for _ in 0..500 {
            process.link(&partner).await;
            process.unlink(&partner);
        }
        assert_eq!(next(&mut process).await, "done");
        process.unlink(&partner);
        process.send(&partner, &gusset::atom!("stop")).await.unwrap();
        beam.wait_until("whereis(partner) =:= undefined", SOON).await.unwrap();
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
        assert!(process.try_recv().unwrap().is_none());
        until("no link is left", SOON, || node.processes().iter().all(|known| known.links == 0)).await;
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn exit_2_ends_or_is_trapped_and_kill_cannot_be() {
    with_each(|node, beam| async move {
        beam.value("gusset_fixture:collect(box)").await;
        let mut process = node.process();
        process.trap_exits(true);
        introduce(&process, &beam, "box").await;
        beam.value("[P] = gusset_fixture:collected(box), exit(P, normal), exit(P, why)").await;
        for expected in ["normal", "why"] {
            let message = within(SOON, "EXIT", process.recv()).await.unwrap();
            assert_eq!(node::reason_of(&message).as_deref(), Some(expected));
        }
        let watch = "[P] = gusset_fixture:collected(box), R = monitor(process, P), exit(P, kill), \
                     receive {'DOWN', R, process, P, Why} -> Why after 5000 -> late end";
        assert_eq!(beam.value(watch).await, "killed");
        assert!(process.recv().await.unwrap_err().reason.is("killed"));
        // And from here.
        let peer = name_of(&beam);
        beam.value("register(victim, spawn(fun() -> process_flag(trap_exit, true), receive never -> ok end end))")
            .await;
        let victim: gusset::Pid = node.rpc(&peer, "erlang", "whereis", &(gusset::atom!("victim"),)).await.unwrap();
        let mut process = node.process();
        process.monitor(&victim).await.unwrap();
        process.exit(&victim, &Reason::kill()).await.unwrap();
        let message = within(SOON, "DOWN", process.recv()).await.unwrap();
        assert_eq!(node::reason_of(&message).as_deref(), Some("killed"));
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_to_links_and_monitors() {
    with_each(|node, mut beam| async move {
        let peer = name_of(&beam);
        let mut process = node.process();
        process.trap_exits(true);
        beam.value("register(one, spawn(fun() -> receive never -> ok end end))").await;
        let one: gusset::Pid = node.rpc(&peer, "erlang", "whereis", &(gusset::atom!("one"),)).await.unwrap();
        process.link(&one).await;
        process.monitor(&one).await.unwrap();
        process.monitor(("one", &peer)).await.unwrap();
        process.monitor_nodes();
        beam.kill9().await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let message = within(SOON, "the end", process.recv()).await.unwrap();
            seen.push(match &message {
                Message::Exit { reason, .. } => format!("exit {reason}"),
                Message::Down { reason, .. } => format!("down {reason}"),
                Message::Node(event) => format!("node {}", event.name()),
                other => format!("{other:?}"),
            });
        }
        // The node itself is the last to be told of, as on a BEAM.
        let expected = ["exit noconnection", "down noconnection", "down noconnection"].map(str::to_owned);
        assert_eq!(seen[..3], expected);
        assert_eq!(seen[3], format!("node {peer}"));
        assert!(node.nodes().is_empty());
    })
    .await;
}

#[tokio::test]
async fn aliases_take_messages_until_they_are_taken_back() {
    for release in [25, 27, 29] {
        let otp = common::require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let node = node::start(&epmd).await;
        connect(&node, &beam).await;
        beam.value("gusset_fixture:collect(box)").await;
        let mut process = node.process();
        let (always, once) = (process.alias(), process.reply_alias());
        process.send(("box", &name_of(&beam)), &(&always, &once)).await.unwrap();
        let send = "[{Always, Once}] = gusset_fixture:collected(box, 1, 5000), \
                    [begin Always ! {always, I}, Once ! {once, I} end || I <- [1, 2]]";
        beam.value(send).await;
        for expected in ["{always,1}", "{once,1}", "{always,2}"] {
            assert_eq!(next(&mut process).await, expected);
        }
        assert!(process.unalias(&always));
        beam.value("[{Always, _}] = gusset_fixture:collected(box), Always ! late").await;
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
        assert!(process.try_recv().unwrap().is_none());
        // An alias of theirs takes what we send.
        let ask = format!(
            "A = alias(), {{answer, {}}} ! {{A, please}}, receive {{thanks, X}} -> X after 5000 -> late end",
            atom(&node)
        );
        let mut answering = node.register("answer").unwrap();
        let answer = async {
            let (alias, _): (gusset::Ref, gusset::Atom) = answering.recv().await.unwrap().decode().unwrap();
            answering.send(alias, &(gusset::atom!("thanks"), 7)).await.unwrap();
        };
        let (seen, ()) = tokio::join!(beam.value(&ask), answer);
        assert_eq!(seen, "7");
        beam.assert_clean_log().await;
        node.shutdown().await;
    }
}

#[tokio::test]
async fn terms_of_every_kind_come_back_unchanged() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let (raw, tree) = (node.register("echo_raw").unwrap(), node.register("echo_tree").unwrap());
        for (mut process, as_tree) in [(raw, false), (tree, true)] {
            tokio::spawn(async move {
                while let Ok(message) = process.recv().await {
                    let (from, term): (gusset::Pid, Term) = message.decode().unwrap();
                    if as_tree {
                        process.send(&from, &term).await.unwrap();
                    } else {
                        let payload = message.payload().unwrap();
                        let mut reader = payload.reader();
                        reader.tuple_of(2).unwrap();
                        reader.pid().unwrap();
                        process.forward(&from, &payload.part_from(reader.offset())).await.unwrap();
                    }
                }
            });
        }
        for name in ["echo_raw", "echo_tree"] {
            let different = format!(
                "[K || K <- gusset_fixture:kinds(), begin {{{name}, {us}}} ! {{self(), K}}, \
                 receive K -> false; Other -> {{true, Other}} after 5000 -> true end end]"
            );
            assert_eq!(beam.value(&different).await, "[]", "{name}");
        }
        // 64 MiB in both directions.
        let big = format!(
            "B = binary:copy(<<1,2,3,4>>, 16 bsl 20), {{echo_raw, {us}}} ! {{self(), B}}, \
             receive B -> same; _ -> other after 60000 -> late end"
        );
        assert_eq!(beam.eval_within(&big, Duration::from_secs(70)).await.unwrap(), "same");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stops_holds_back_senders_and_nothing_is_lost() {
    let otp = common::require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = node::start(&epmd).await;
    connect(&node, &beam).await;
    beam.value("gusset_fixture:collect(box)").await;
    beam.sigstop();
    let peer = name_of(&beam);
    let process = node.process();
    let chunk = gusset::Payload::from_term(&Term::binary(vec![1u8; 64 << 10])).unwrap();
    let sending = async {
        for _ in 0..640 {
            process.forward(("box", &peer), &chunk).await.unwrap();
        }
    };
    let mut sending = std::pin::pin!(sending);
    // The budget is one MiB; what the kernel's buffers take comes on top.
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut sending).await.is_err(), "nothing held the sender back");
    let queued = node.peer(&peer).unwrap().stats.queued_bytes;
    assert!(queued < 4 << 20, "{queued} bytes are queued");
    beam.sigcont();
    within(SOON, "the rest", sending).await;
    beam.wait_until("length(gusset_fixture:collected(box)) =:= 640", SOON).await.unwrap();
    node.shutdown().await;
}

#[tokio::test]
async fn signals_of_traced_processes_arrive_like_others() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        beam.value("gusset_fixture:collect(box)").await;
        let mut inbox = node.register("inbox").unwrap();
        inbox.trap_exits(true);
        introduce(&inbox, &beam, "box").await;
        // A message to a pid, one to a name, a spawn, an exit, and the exit of a link: all with a token.
        let traced = format!(
            "[P] = gusset_fixture:collected(box), \
             Self = self(), \
             spawn(fun() -> seq_trace:set_token(label, 17), seq_trace:set_token(send, true), \
                 P ! to_pid, {{inbox, {us}}} ! to_name, \
                 Self ! {{node, rpc:call({us}, erlang, node, [])}}, \
                 exit(P, traced), link(P), exit(linked) end), \
             receive {{node, N}} -> N after 5000 -> late end"
        );
        assert_eq!(beam.value(&traced).await, us);
        assert_eq!(next(&mut inbox).await, "to_pid");
        assert_eq!(next(&mut inbox).await, "to_name");
        for expected in ["traced", "linked"] {
            let message = within(SOON, "EXIT", inbox.recv()).await.unwrap();
            assert_eq!(node::reason_of(&message).as_deref(), Some(expected));
        }
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_hear_of_an_end_here_can_shut_the_node_down_at_once() {
    // Many watchers, so that telling them all takes longer than to wake up who waits here.
    const WATCHERS: usize = 5000;
    for (way, otp) in otp::available().into_iter().flat_map(|otp| [("inbox", otp.clone()), ("monitor", otp)]) {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let node = node::start(&epmd).await;
        connect(&node, &beam).await;
        beam.value("gusset_fixture:collect(box)").await;
        let mut process = node.register("watched").unwrap();
        introduce(&process, &beam, "box").await;
        let watch = format!(
            "[Pid] = gusset_fixture:collected(box),
             Watch = fun(_) -> erlang:monitor(process, Pid) end,
             gusset_fixture:collect(heard, fun() -> process_flag(trap_exit, true), link(Pid),
                 lists:foreach(Watch, lists:seq(1, {WATCHERS})) end),
             {{watched, {}}} ! ready",
            atom(&node)
        );
        beam.value(&watch).await;
        assert_eq!(next(&mut process).await, "ready");

        let mut watcher = node.process();
        let pid = process.pid().clone();
        watcher.monitor(&pid).await.unwrap();
        let ended = tokio::spawn(async move {
            if way == "inbox" {
                process.recv().await.unwrap_err();
            } else {
                watcher.recv().await.unwrap();
            }
        });
        let boom = Reason::from_term(&Term::from(gusset::atom!("boom")));
        let killer = node.clone();
        tokio::task::spawn_blocking(move || assert!(killer.exit(&pid, &boom)));
        within(SOON, "the end", ended).await.unwrap();
        node.shutdown().await;
        let reasons = format!(
            "lists:usort([case M of {{'DOWN', _, _, _, Why}} -> Why; {{'EXIT', _, Why}} -> Why end
                || M <- gusset_fixture:collected(heard, {WATCHERS} + 1, 10000)])"
        );
        assert_eq!(beam.value(&reasons).await, "[boom]", "OTP {}, {way}", otp.release);
        beam.assert_clean_log().await;
    }
}
