//! Singletons and locks of the cluster: gussets and BEAM nodes that want the same, partitions, and sudden deaths.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::node::{self, atom, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::services::global::{Global, GlobalError};
use gusset::services::{Answer, GenServer, Leadership, ReplyTo, Singleton};
use gusset::{Atom, Node, Pid, Process, Reason, Term, atom as a, global_name};

/// A gusset in a runtime of its own, so that it can be killed as a whole.
struct Member {
    node: Node,
    global: Global,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Member {
    async fn start(epmd: &Epmd, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (port, name) = (epmd.port(), unique(name));
        let node = runtime.spawn(async move { node::builder_at(port, &name).start().await.expect("the node starts") });
        let node = within(LATER, "a gusset", node).await.unwrap();
        let global = node.global().expect("a visible node has it");
        Self { node, global, runtime: Some(runtime) }
    }

    async fn connect(&self, to: &str) {
        let (node, to) = (self.node.clone(), to.parse::<gusset::NodeName>().unwrap());
        let dial = self.runtime.as_ref().unwrap().spawn(async move { node.connect(to).await });
        within(SOON, "connect", dial).await.unwrap().expect("connects");
    }

    fn leader(&self) -> Option<Pid> {
        self.global.whereis(&a!("leader").into())
    }

    /// All sockets close at once, nobody says goodbye.
    async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(SOON)).await.unwrap();
    }

    async fn shutdown(mut self) {
        let runtime = self.runtime.take().unwrap();
        let node = self.node.clone();
        within(LATER, "shutdown", runtime.spawn(async move { node.shutdown().await })).await.unwrap();
        runtime.shutdown_background();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How often the body of a singleton runs at the moment, and how often it has been started.
#[derive(Clone, Default)]
struct Runs {
    now: Arc<AtomicUsize>,
    ever: Arc<AtomicUsize>,
}

impl Runs {
    fn singleton(&self, member: &Member) -> Singleton {
        let runs = self.clone();
        member.global.singleton(a!("leader"), move || {
            let runs = runs.clone();
            async move {
                runs.ever.fetch_add(1, Ordering::SeqCst);
                runs.now.fetch_add(1, Ordering::SeqCst);
                let _running = Running(runs.now);
                std::future::pending().await
            }
        })
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn leads(singleton: &Singleton) -> Pid {
    let state = within(LATER, "leads", singleton.wait_for(Leadership::is_leading)).await;
    state.leader().expect("it leads").clone()
}

async fn stands_by(singleton: &Singleton, for_node: &str) {
    let there = |state: &Leadership| matches!(state, Leadership::Standby(Some(pid)) if pid.node == *for_node);
    let waited = tokio::time::timeout(LATER, singleton.wait_for(there)).await;
    waited.unwrap_or_else(|_| panic!("does not stand by for {for_node}, but is {:?}", singleton.state()));
}

async fn beam_sees(beam: &Beam, node: &str) {
    let there = format!("(catch node(global:whereis_name(leader))) =:= '{node}'");
    beam.wait_until(&there, LATER).await.unwrap_or_else(|error| panic!("OTP {}: {error}", beam.otp.release));
}

async fn meshed(beams: &[Beam], members: &[&Member]) {
    let count = beams.len() + members.len() - 1;
    for beam in beams {
        beam.wait_until(&format!("length(nodes()) =:= {count}"), LATER).await.unwrap();
        assert_eq!(beam.value("global:sync()").await, "ok");
    }
    for member in members {
        until("all are known", LATER, || member.global.known().len() == count).await;
    }
}

async fn start(releases: &[u32], epmd: &Epmd) -> Vec<Beam> {
    let mut beams = Vec::new();
    for release in releases {
        let options = BeamOptions::named(&unique(&format!("n{release}")));
        beams.push(Beam::start(&otp::get(*release).expect("installed"), epmd, options).await);
    }
    beams
}

#[tokio::test]
async fn one_of_two_gussets_leads_and_the_other_takes_over_when_it_dies() {
    for release in [25, 27, 29] {
        require!(otp::get(release));
    }
    let epmd = Epmd::start(&otp::get(27).unwrap()).await;
    let beams = start(&[25, 27, 29], &epmd).await;
    let (one, two) = (Member::start(&epmd, "one").await, Member::start(&epmd, "two").await);
    one.connect(&beams[0].node_name).await;
    for (from, to) in [(0, 1), (1, 2)] {
        beams[from].value(&format!("net_kernel:connect_node({})", beams[to].atom())).await;
    }
    two.connect(&beams[2].node_name).await;
    meshed(&beams, &[&one, &two]).await;

    let runs = Runs::default();
    let first = runs.singleton(&one);
    let pid = leads(&first).await;
    let second = runs.singleton(&two);
    stands_by(&second, one.node.name().as_str()).await;
    until("one runs", SOON, || runs.now() == 1).await;
    assert_eq!(second.state().leader(), Some(&pid));
    let shown = one.node.children().into_iter().any(|child| child.pid == pid && child.id == a!("leader").into());
    assert!(shown, "the supervisor shows it");
    for beam in &beams {
        beam_sees(beam, one.node.name().as_str()).await;
        // It answers those who look at it, and refuses the rest.
        assert_eq!(beam.value("element(1, sys:get_status({global, leader}))").await, "status");
        let refused = beam.value("catch gen_server:call({global, leader}, work, 60000)").await;
        assert!(refused.starts_with("{'EXIT',{{bad_call,<<\"unknown variant `work`"), "{refused}");
        assert!(beam.eval_bool("gen_server:call({global, leader}, time_alive) > 0").await);
    }
    // The process is killed, again and again: one leads each time, here or there.
    for beam in &beams {
        let before = runs.ever.load(Ordering::SeqCst);
        beam.value("exit(global:whereis_name(leader), kill)").await;
        until("it is gone", SOON, || !one.node.is_alive(&pid)).await;
        until("another one runs, and leads", LATER, || {
            let one_leads = first.state().is_leading() != second.state().is_leading();
            runs.ever.load(Ordering::SeqCst) > before && runs.now() == 1 && one_leads
        })
        .await;
        beam.wait_until("is_pid(global:whereis_name(leader))", LATER).await.unwrap();
    }
    // The node that leads is killed.
    let (dies, stays, survivor) = match first.state().is_leading() {
        true => (one, two, second),
        false => (two, one, first),
    };
    let dead = dies.node.name().clone();
    dies.kill().await;
    leads(&survivor).await;
    until("one runs", SOON, || runs.now() == 1).await;
    for beam in &beams {
        beam_sees(beam, stays.node.name().as_str()).await;
        assert!(!beam.eval_bool(&format!("lists:member('{dead}', nodes())")).await);
    }
    // It gives up: the name is free, and the body has been stopped.
    within(LATER, "stop", survivor.stop()).await;
    assert_eq!((survivor.state(), runs.now()), (Leadership::Ended, 0));
    for beam in &beams {
        beam.wait_until("global:whereis_name(leader) =:= undefined", SOON).await.unwrap();
    }
    stays.shutdown().await;
}

#[tokio::test]
async fn a_gen_server_of_a_beam_that_was_first_is_waited_for() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let mut beams = start(&[otp.release, otp.release], &epmd).await;
        let gusset = Member::start(&epmd, "gusset").await;
        for beam in &beams {
            gusset.connect(&beam.node_name).await;
        }
        meshed(&beams, &[&gusset]).await;
        let start = "gen_server:start({global, leader}, gusset_fixture, [], [])";
        assert!(beams[0].value(&format!("element(1, {start})")).await == "ok");
        let runs = Runs::default();
        let singleton = runs.singleton(&gusset);
        stands_by(&singleton, &beams[0].node_name).await;
        assert_eq!((runs.now(), gusset.leader()), (0, singleton.state().leader().cloned()));
        beams[0].kill9().await;
        let pid = leads(&singleton).await;
        until("it runs", SOON, || runs.now() == 1).await;
        beam_sees(&beams[1], gusset.node.name().as_str()).await;
        // Now it is the other way round.
        let taken = format!("{{error, {{already_started, P}}}} = {start}, node(P)");
        assert_eq!(beams[1].value(&taken).await, atom(&gusset.node));
        // Somebody takes the name away: the body stops, and another one is waited for.
        assert_eq!(beams[1].value("global:re_register_name(leader, whereis(init))").await, "yes");
        stands_by(&singleton, &beams[1].node_name).await;
        until("it has stopped", SOON, || runs.now() == 0 && !gusset.node.is_alive(&pid)).await;
        beams[1].value("global:unregister_name(leader)").await;
        leads(&singleton).await;
        until("it runs again", SOON, || runs.now() == 1).await;
        singleton.stop().await;
        let ok = format!("gusset_fixture:wait_until(fun() -> element(1, {start}) =:= ok end, 10000)");
        assert_eq!(beams[1].value(&ok).await, "true");
        drop(beams);
        gusset.shutdown().await;
    }
}

#[tokio::test]
async fn when_partitions_meet_one_of_two_leaders_stays() {
    for otp in otp::available() {
        for ours_stays in [true, false] {
            let epmd = Epmd::start(&otp).await;
            let beams = start(&[otp.release], &epmd).await;
            let gusset = Member::start(&epmd, if ours_stays { "a" } else { "z" }).await;
            let runs = Runs::default();
            let singleton = runs.singleton(&gusset);
            leads(&singleton).await;
            beams[0].value("{ok, _} = gen_server:start({global, leader}, gusset_fixture, [], []), ok").await;
            gusset.connect(&beams[0].node_name).await;
            meshed(&beams, &[&gusset]).await;
            let winner = if ours_stays { gusset.node.name().to_string() } else { beams[0].node_name.clone() };
            beam_sees(&beams[0], &winner).await;
            until("the same here", LATER, || gusset.leader().is_some_and(|pid| pid.node == *winner)).await;
            match ours_stays {
                true => assert!(singleton.state().is_leading()),
                false => stands_by(&singleton, &winner).await,
            }
            until("one runs", SOON, || runs.now() == usize::from(ours_stays)).await;
            gusset.shutdown().await;
        }
    }
}

#[tokio::test]
async fn two_gussets_that_are_cut_off_lead_each_and_one_of_them_when_they_meet_again() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let (one, two) = (Member::start(&epmd, "one").await, Member::start(&epmd, "two").await);
    one.connect(two.node.name().as_str()).await;
    meshed(&[], &[&one, &two]).await;
    let runs = Runs::default();
    let first = runs.singleton(&one);
    leads(&first).await;
    let second = runs.singleton(&two);
    stands_by(&second, one.node.name().as_str()).await;
    for round in 1..=3 {
        assert!(two.node.disconnect(one.node.name()));
        leads(&second).await;
        until("both run", SOON, || runs.now() == 2).await;
        until("both know", SOON, || one.node.nodes().is_empty()).await;
        two.connect(one.node.name().as_str()).await;
        meshed(&[], &[&one, &two]).await;
        stands_by(&second, one.node.name().as_str()).await;
        until("one runs", SOON, || runs.now() == 1).await;
        assert!(first.state().is_leading());
        // Who stayed has not been started again, in any round.
        assert_eq!(runs.ever.load(Ordering::SeqCst), 1 + round);
    }
    one.shutdown().await;
    leads(&second).await;
    two.shutdown().await;
    assert_eq!(second.state(), Leadership::Ended);
}

#[tokio::test]
async fn wrappers_that_settle_conflicts_by_age_get_along_with_ours() {
    for otp in otp::available() {
        for (name, ours_first) in [("a", true), ("a", false), ("z", true), ("z", false)] {
            let epmd = Epmd::start(&otp).await;
            let beams = start(&[otp.release], &epmd).await;
            let gusset = Member::start(&epmd, name).await;
            let runs = Runs::default();
            let theirs = async || beams[0].value("{yes, P} = gusset_fixture:individual(leader), P").await;
            let mut singleton = None;
            // Ages are what this is about: apart by more than it takes to ask for one after the other.
            let a_while = || tokio::time::sleep(Duration::from_millis(500));
            if ours_first {
                leads(singleton.insert(runs.singleton(&gusset))).await;
                a_while().await;
                theirs().await;
            } else {
                theirs().await;
                a_while().await;
                leads(singleton.insert(runs.singleton(&gusset))).await;
            }
            let singleton = singleton.unwrap();
            gusset.connect(&beams[0].node_name).await;
            meshed(&beams, &[&gusset]).await;
            // The side with the smaller name settles it: theirs by age, ours as global does by default.
            let ours_stays = if name == "a" { true } else { ours_first };
            let winner = if ours_stays { gusset.node.name().to_string() } else { beams[0].node_name.clone() };
            beam_sees(&beams[0], &winner).await;
            until("the same here", LATER, || gusset.leader().is_some_and(|pid| pid.node == *winner)).await;
            if !ours_stays {
                stands_by(&singleton, &winner).await;
            }
            until("as many run", SOON, || runs.now() == usize::from(ours_stays)).await;
            let asked = beams[0].value("persistent_term:get(younger, nobody) =/= nobody").await;
            assert_eq!(asked, if name == "z" { "true" } else { "false" });
            gusset.shutdown().await;
        }
    }
}

/// Says who it is.
struct Leader(Atom);

impl GenServer for Leader {
    type Call = Atom;
    type Cast = Atom;
    type Reply = Atom;

    async fn handle_call(&mut self, request: Atom, _: ReplyTo, _: &mut Process) -> Answer<Atom> {
        match request.as_str() {
            "who" => Answer::Reply(self.0.clone()),
            "retire" => Answer::Stop(Reason::normal(), Some(a!("ok"))),
            _ => panic!("as asked"),
        }
    }
}

#[tokio::test]
async fn a_server_leads_and_is_called_by_its_name_wherever_it_runs() {
    for release in [25, 27, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let beams = start(&[release], &epmd).await;
        let (one, two) = (Member::start(&epmd, "one").await, Member::start(&epmd, "two").await);
        one.connect(&beams[0].node_name).await;
        two.connect(&beams[0].node_name).await;
        meshed(&beams, &[&one, &two]).await;
        let first = one.global.singleton_server(a!("leader"), || Leader(a!("one")));
        leads(&first).await;
        let second = two.global.singleton_server(a!("leader"), || Leader(a!("two")));
        stands_by(&second, one.node.name().as_str()).await;
        beam_sees(&beams[0], one.node.name().as_str()).await;
        assert_eq!(beams[0].value("gen_server:call({global, leader}, who)").await, "one");
        assert_eq!(two.node.call::<Atom>(global_name(a!("leader")), &a!("who")).await.unwrap(), "one");
        // It crashes: somebody leads again, and answers.
        let crashed = beams[0].value("catch gen_server:call({global, leader}, crash)").await;
        assert!(crashed.starts_with("{'EXIT',{{panic,<<\"as asked\">>}"), "{crashed}");
        let answers = "lists:member(catch gen_server:call({global, leader}, who), [one, two])";
        beams[0].wait_until(answers, LATER).await.unwrap();
        // It retires: its node takes no part any more, the other one leads.
        let was = beams[0].value("gen_server:call({global, leader}, who)").await;
        let (retired, other, next) = if was == "one" { (&first, &second, "two") } else { (&second, &first, "one") };
        assert_eq!(beams[0].value("gen_server:call({global, leader}, retire)").await, "ok");
        within(LATER, "the end", retired.wait_for(|state| *state == Leadership::Ended)).await;
        leads(other).await;
        let answers = format!("(catch gen_server:call({{global, leader}}, who)) =:= {next}");
        beams[0].wait_until(&answers, LATER).await.unwrap();
        one.shutdown().await;
        two.shutdown().await;
    }
}

#[tokio::test]
async fn locks_and_transactions_exclude_those_of_others() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beams = start(&[otp.release, otp.release], &epmd).await;
        let gusset = Member::start(&epmd, "locks").await;
        for beam in &beams {
            gusset.connect(&beam.node_name).await;
        }
        meshed(&beams, &[&gusset]).await;
        let global = &gusset.global;
        let try_lock = "global:set_lock({mine, me}, [node() | nodes()], 0)";
        let give_back = "global:del_lock({mine, me}, [node() | nodes()])";

        let lock = within(LATER, "a lock", global.set_lock(a!("mine"), SOON)).await.unwrap();
        assert_eq!(lock.nodes().len(), 3);
        let free = global.set_lock(a!("other"), Duration::ZERO).await.unwrap();
        for beam in &beams {
            assert_eq!(beam.value(try_lock).await, "false");
        }
        lock.release().await;
        // In a process that lives on: a lock ends with its owner.
        assert_eq!(beams[0].eval_in("locker", try_lock).await.unwrap(), "true");
        let begun = Instant::now();
        let refused = global.set_lock(a!("mine"), Duration::from_millis(300)).await;
        assert!(matches!(refused, Err(GlobalError::Locked(_))), "{refused:?}");
        assert!(begun.elapsed() < SOON);
        // As the same requester it is shared.
        let shared = global.set_lock_as(a!("mine"), a!("me"), Duration::ZERO).await.unwrap();
        shared.release().await;
        assert_eq!(beams[0].eval_in("locker", give_back).await.unwrap(), "true");
        // Dropped: free as soon as the others have heard of it.
        drop(global.set_lock(a!("mine"), SOON).await.unwrap());
        beams[1].wait_until(try_lock, SOON).await.unwrap();
        drop(free);

        // Transactions of all sides, each of which sees that it is alone.
        let inside = Arc::new(AtomicUsize::new(0));
        let counting = inside.clone();
        gusset.node.export_fn("m", "enter", move || counting.fetch_add(1, Ordering::SeqCst)).unwrap();
        let counting = inside.clone();
        gusset.node.export_fn("m", "leave", move || counting.fetch_sub(1, Ordering::SeqCst)).unwrap();
        let us = atom(&gusset.node);
        let one = format!("0 = rpc:call({us}, m, enter, []), 1 = rpc:call({us}, m, leave, [])");
        let loops = format!(
            "gusset_fixture:collect(done), [spawn(fun() -> done ! (catch [global:trans({{crit, self()}}, fun() -> {one} end) || _ <- lists:seq(1, 5)]) end)]"
        );
        for beam in &beams {
            beam.value(&loops).await;
        }
        for _ in 0..5 {
            let alone = global.trans(a!("crit"), LATER, async {
                let before = inside.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                (before, inside.fetch_sub(1, Ordering::SeqCst))
            });
            assert_eq!(within(LATER, "a transaction", alone).await.unwrap(), (0, 1));
        }
        for beam in &beams {
            let done = beam.eval_within("gusset_fixture:collected(done, 1, 60000)", LATER).await.unwrap();
            assert_eq!(done, "[[1,1,1,1,1]]");
        }
        gusset.shutdown().await;
    }
}

#[tokio::test]
async fn the_states_of_a_singleton_come_as_a_stream() {
    use futures_util::StreamExt;
    let otp = require!(otp::get(29));
    let epmd = Epmd::start(&otp).await;
    let one = Member::start(&epmd, "one").await;
    let runs = Runs::default();
    let singleton = runs.singleton(&one);
    let mut states = singleton.states();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|state: &Leadership| !state.is_leading()) {
        seen.push(within(LATER, "a state", states.next()).await.unwrap());
    }
    singleton.stop().await;
    assert_eq!(within(LATER, "the last state", states.next()).await, Some(Leadership::Ended));
    assert_eq!(within(LATER, "the end", states.next()).await, None);
    // A body that returns gives up the part; one that panics is run again.
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let other = one.global.singleton("other", move || {
        let attempt = count.fetch_add(1, Ordering::SeqCst);
        async move { assert!(attempt > 1, "not yet") }
    });
    within(LATER, "the end", other.wait_for(|state| *state == Leadership::Ended)).await;
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert_eq!(one.global.whereis(&Term::from("other")), None);
    one.shutdown().await;
}
