//! On how many threads a node runs: one inside of a program that has no more, a few as `gusset run`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::node::{self, atom, builder, name_of};
use common::{
    Beam, BeamOptions, Epmd, LATER, Missing, PortLease, SOON, gusset as binary, otp, require, unique, within,
};
use gusset::{Pid, Term};

/// The BEAM and what the test asks of it live on `others`, so that the one thread is the node's alone.
#[test]
fn a_node_lives_on_a_runtime_of_one_thread() {
    const MESSAGES: i64 = 50_000;
    let others = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for release in [23, 25, 29] {
        let otp = require!(otp::get(release));
        let (epmd, beam) = others.block_on(async {
            let epmd = Epmd::start(&otp).await;
            let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
            beam.value("gusset_fixture:server(server)").await;
            (epmd, std::sync::Arc::new(beam))
        });
        let peer = name_of(&beam);
        let ask = |source: String| {
            let beam = beam.clone();
            let asked = others.spawn(async move { beam.eval_within(&source, LATER).await });
            async move { asked.await.unwrap().unwrap() }
        };
        one.block_on(async {
            let node = builder(&epmd, &unique("single")).start().await.unwrap();
            let us = atom(&node);
            within(SOON, "connect", node.connect(peer.clone())).await.unwrap();
            assert_eq!(ask(format!("net_adm:ping({us})")).await, "pong");
            let pong: Term = node.call(("server", &peer), &(gusset::atom!("ping"), 7)).await.unwrap();
            assert_eq!(pong.to_string(), "{pong,7}");
            let mut inbox = node.register("inbox").unwrap();

            // Floods in both directions at once, each read as it comes.
            let from_beam = ask(format!(
                "Pid = spawn(fun() -> (fun Loop(N) -> receive {{n, N}} -> Loop(N + 1); \
                 {{total, Who}} -> Who ! {{total, N}} end end)(0) end), register(counter, Pid), {{inbox, {us}}} ! Pid, \
                 lists:foreach(fun(I) -> {{inbox, {us}}} ! {{I, <<\"payload\">>}} end, lists:seq(1, {MESSAGES}))"
            ));
            let counter: Pid = within(SOON, "a pid", inbox.recv()).await.unwrap().decode().unwrap();
            let mut sender = node.process();
            let to_beam = tokio::spawn(async move {
                for number in 0..MESSAGES {
                    sender.send(&counter, &(gusset::atom!("n"), number)).await.unwrap();
                }
                sender.send(&counter, &(gusset::atom!("total"), sender.pid())).await.unwrap();
                node::next(&mut sender).await
            });
            let read = async {
                for number in 1..=MESSAGES {
                    let message = inbox.recv().await.unwrap();
                    assert_eq!(message.decode::<(i64, serde_bytes::ByteBuf)>().unwrap().0, number);
                }
            };
            within(LATER, "the flood of the BEAM", read).await;
            assert_eq!(from_beam.await, "ok");
            let total = within(LATER, "our own flood", to_beam).await.unwrap();
            assert_eq!(total, format!("{{total,{MESSAGES}}}"));
            assert_eq!(ask(format!("net_adm:ping({us})")).await, "pong");
            within(Duration::from_secs(8), "the end", node.shutdown()).await;
        });
        others.block_on(beam.assert_clean_log());
    }
}

/// The threads of a process that run tasks.
fn workers(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("tokio-")).count()
}

#[tokio::test]
async fn gusset_run_has_no_thread_for_each_core_of_a_large_machine() {
    let epmd = PortLease::new();
    let run = || {
        let name = format!("{}@127.0.0.1", unique("threads"));
        Ok::<_, Missing>(binary::command(["run", "--name", &name])?.fixture_cookie().epmd_port(epmd.port()))
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    let (own_choice, _) = require!(run()).spawn_until(" is up ").await;
    assert_eq!(workers(own_choice.pid()), cores.min(4));
    let (as_told, _) = require!(run()).env("TOKIO_WORKER_THREADS", "7").spawn_until(" is up ").await;
    assert_eq!(workers(as_told.pid()), 7);
}
