//! Presences between gussets and a BEAM of every release that does what a replica of `Phoenix.Tracker` does
//! (`gusset_tracker.erl`, with the `MapSet` of the Elixir of that release).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use common::node::{self, atom, name_of, until};
use common::{Beam, BeamOptions, Epmd, LATER, Otp, SOON, otp, require, unique, within};
use gusset::services::pubsub::PubSub;
use gusset::services::tracker::{PresenceEvent, PresenceEvents, TrackError, Tracker, TrackerError, TrackerOptions};
use gusset::{Node, Process, Term};
use serde::{Deserialize, Serialize};

const PUBSUB: &str = "MyApp.PubSub";
const TRACKER: &str = "MyApp.Presence";
/// Often, so that tests need not wait.
const PERIOD: Duration = Duration::from_millis(50);
/// Long after everything that is told at once.
const NEVER: Duration = Duration::from_secs(600);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meta {
    status: String,
}

fn meta(status: &str) -> Meta {
    Meta { status: status.to_owned() }
}

/// A BEAM with a PubSub and a replica.
struct Phoenix {
    beam: Beam,
}

impl Phoenix {
    async fn start(otp: &Otp, epmd: &Epmd, name: &str, down: Duration, pool_size: u32) -> Self {
        let elixir = otp.elixir_code();
        let options = BeamOptions::named(name).args(["-pa", elixir.to_str().unwrap()]);
        let beam = Beam::start(otp, epmd, options).await;
        beam.value(&format!("gusset_pubsub:start('Elixir.{PUBSUB}', 1)")).await;
        let options = format!(
            "#{{pool_size => {pool_size}, broadcast_period => {}, max_silent_periods => 3, down_period => {}}}",
            PERIOD.as_millis(),
            down.as_millis()
        );
        let start = format!("gusset_tracker:start('Elixir.{TRACKER}', 'Elixir.{PUBSUB}', {options})");
        assert_eq!(beam.value(&start).await, "ok");
        Self { beam }
    }

    /// Calls a function of the imitation: its arguments behind the name of the tracker.
    async fn does(&self, function: &str, arguments: &str) -> String {
        self.beam.value(&format!("gusset_tracker:{function}('Elixir.{TRACKER}'{arguments})")).await
    }

    /// A process under this name, tracked under that key.
    async fn track(&self, topic: &str, key: &str, status: &str) {
        let worker = "spawn(fun() -> receive stop -> ok end end)";
        self.beam.value(&format!("register('{key}', {worker})")).await;
        let arguments =
            format!(", whereis('{key}'), {{<<\"{topic}\">>, <<\"{key}\">>}}, #{{status => <<\"{status}\">>}}");
        assert!(self.does("track", &arguments).await.starts_with("{ok,"));
    }

    /// Waits until it shows exactly these keys and states.
    async fn shows(&self, topic: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(key, status)| format!("{{<<\"{key}\">>,<<\"{status}\">>}}")).collect();
        let list = format!("gusset_tracker:list('Elixir.{TRACKER}', <<\"{topic}\">>)");
        let condition = format!(
            "case [{{K, maps:get(status, M)}} || {{K, M}} <- {list}] of [{}] -> true; Other -> Other end",
            expected.join(",")
        );
        self.beam.wait_until(&condition, LATER).await.unwrap();
    }

    async fn knows_replicas(&self, nodes: &[&Node]) {
        let mut nodes: Vec<_> = nodes.iter().map(|node| format!("{{{},up}}", atom(node))).collect();
        nodes.sort();
        let condition = format!("gusset_tracker:replicas('Elixir.{TRACKER}') =:= [{}]", nodes.join(","));
        self.beam.wait_until(&condition, LATER).await.unwrap();
    }
}

/// A gusset with a PubSub and a replica.
struct Member {
    node: Node,
    pubsub: PubSub,
    tracker: Tracker,
}

fn options(down: Duration, pool_size: u32) -> TrackerOptions {
    TrackerOptions::named(TRACKER)
        .pool_size(NonZeroU32::new(pool_size).unwrap())
        .broadcast_period(PERIOD)
        .max_silent_periods(3)
        .down_period(down)
}

impl Member {
    async fn start(epmd: &Epmd, name: &str, down: Duration, pool_size: u32) -> Self {
        let node = node::builder(epmd, name).start().await.expect("the node starts");
        let pubsub = PubSub::start(&node, PUBSUB).await.unwrap();
        let tracker = Tracker::start(&node, &pubsub, options(down, pool_size)).unwrap();
        Self { node, pubsub, tracker }
    }

    fn track(&self, topic: &str, key: &str, status: &str) -> Process {
        let process = self.node.process();
        self.tracker.track(process.pid(), topic, key, &meta(status)).unwrap();
        process
    }

    fn shown(&self, topic: &str) -> Vec<(String, String)> {
        let entry = |presence: &gusset::services::tracker::Presence| {
            (presence.key().to_text().unwrap(), presence.decode::<Meta>().unwrap().status)
        };
        let mut shown: Vec<_> = self.tracker.list(topic).iter().map(entry).collect();
        shown.sort();
        shown
    }

    /// Waits until it shows exactly these keys and states.
    async fn shows(&self, topic: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(key, status)| ((*key).to_owned(), (*status).to_owned())).collect();
        let limit = tokio::time::timeout(LATER, async {
            let mut pause = tokio::time::interval(PERIOD);
            while self.shown(topic) != expected {
                pause.tick().await;
            }
        });
        assert!(limit.await.is_ok(), "{:?}, not {expected:?}", self.shown(topic));
    }
}

/// Follows a stream until so many presences have come and gone, by key.
async fn follow(events: &mut PresenceEvents, joins: usize, leaves: usize) -> (Vec<String>, Vec<String>) {
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    within(LATER, "joins and leaves", async {
        while joined.len() < joins || left.len() < leaves {
            let Some(PresenceEvent::Diff { joins, leaves, .. }) = events.recv().await else { panic!("the end") };
            joined.extend(joins.iter().map(|presence| presence.key().to_text().unwrap()));
            left.extend(leaves.iter().map(|presence| presence.key().to_text().unwrap()));
        }
    })
    .await;
    (joined, left)
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[tokio::test]
async fn both_sides_show_who_joins_changes_and_leaves() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let phoenix = Phoenix::start(&otp, &epmd, &unique("beam"), NEVER, 1).await;
        let gusset = Member::start(&epmd, &unique("gusset"), NEVER, 1).await;
        // Those that were there before they met come by transfer.
        let alice = gusset.track("lobby", "alice", "new");
        phoenix.track("lobby", "bob", "new").await;
        let (none, mut events) = gusset.tracker.monitor("lobby");
        assert_eq!(none.len(), 1);
        node::connect(&gusset.node, &phoenix.beam).await;
        let both = [("alice", "new"), ("bob", "new")];
        gusset.shows("lobby", &both).await;
        phoenix.shows("lobby", &both).await;
        assert_eq!(follow(&mut events, 1, 0).await, (keys(&["bob"]), keys(&[])));
        assert_eq!(gusset.tracker.nodes(), [name_of(&phoenix.beam).as_atom().clone()]);

        // One after the other comes by heartbeat, in another topic too, and the pids are those of the processes.
        let carol = gusset.track("lobby", "carol", "new");
        let _elsewhere = gusset.track("other", "carol", "else");
        let three = [both[0], both[1], ("carol", "new")];
        phoenix.shows("lobby", &three).await;
        phoenix.shows("other", &[("carol", "else")]).await;
        let pid = format!(
            "[{{P, _}}] = gusset_tracker:get_by_key('Elixir.{TRACKER}', <<\"lobby\">>, <<\"carol\">>), P ! hello, node(P)"
        );
        assert_eq!(phoenix.beam.value(&pid).await, atom(&gusset.node));
        let mut carol = carol;
        assert_eq!(node::next(&mut carol).await, "hello");
        let bob = gusset.tracker.get_by_key("lobby", "bob");
        assert_eq!((bob.len(), bob[0].node().as_str()), (1, phoenix.beam.node_name.as_str()));
        assert!(bob[0].phx_ref().is_some() && bob[0].phx_ref_prev().is_none());

        // Updates.
        let before = gusset.tracker.get_by_key("lobby", "alice")[0].phx_ref().unwrap().to_owned();
        let after = gusset.tracker.update(alice.pid(), "lobby", "alice", &meta("busy")).unwrap();
        let alice_there = format!(
            "case gusset_tracker:get_by_key('Elixir.{TRACKER}', <<\"lobby\">>, <<\"alice\">>) of \
             [{{_, #{{status := <<\"busy\">>, phx_ref := <<\"{after}\">>, phx_ref_prev := <<\"{before}\">>}}}}] -> true; \
             Other -> Other end"
        );
        phoenix.beam.wait_until(&alice_there, SOON).await.unwrap();
        phoenix.does("update", ", whereis(bob), {<<\"lobby\">>, <<\"bob\">>}, #{status => <<\"away\">>}").await;
        gusset.shows("lobby", &[("alice", "busy"), ("bob", "away"), ("carol", "new")]).await;
        let now = &gusset.tracker.get_by_key("lobby", "bob")[0];
        assert_eq!(now.phx_ref_prev(), bob[0].phx_ref());
        let told = follow(&mut events, 3, 2).await;
        assert_eq!(told, (keys(&["carol", "alice", "bob"]), keys(&["alice", "bob"])));

        // What cannot be.
        let again = gusset.tracker.track(alice.pid(), "lobby", "alice", &meta("new"));
        assert!(matches!(again, Err(TrackError::AlreadyTracked(_))), "{again:?}");
        let nobody = gusset.tracker.update(alice.pid(), "lobby", "nobody", &meta("new"));
        assert!(matches!(nobody, Err(TrackError::NoPresence(_))), "{nobody:?}");
        let foreign = gusset.tracker.track(bob[0].pid(), "lobby", "x", &meta("new"));
        assert!(matches!(foreign, Err(TrackError::NotLocal(_))), "{foreign:?}");
        let number = gusset.tracker.track(alice.pid(), "lobby", "x", &7);
        assert!(matches!(number, Err(TrackError::NotAMap(Term::Integer(7)))), "{number:?}");

        // Leaves: by a word, and by death.
        gusset.tracker.untrack(alice.pid(), "lobby", "alice");
        drop(carol);
        phoenix.shows("lobby", &[("bob", "away")]).await;
        phoenix.beam.value("exit(whereis(bob), kill)").await;
        gusset.shows("lobby", &[]).await;
        assert_eq!(follow(&mut events, 0, 3).await.1, keys(&["alice", "carol", "bob"]));
        assert_eq!(
            gusset.tracker.update(alice.pid(), "lobby", "alice", &meta("x")).unwrap_err().to_string(),
            format!("{} is not tracked in that topic under that key; track it first", alice.pid())
        );

        // A node that shuts down says so: nobody waits for the silence.
        phoenix.shows("other", &[("carol", "else")]).await;
        gusset.node.shutdown().await;
        phoenix.shows("other", &[]).await;
        phoenix.knows_replicas(&[]).await;
        phoenix.beam.assert_clean_log().await;
        assert_eq!(within(SOON, "the end", events.recv()).await, None);
    }
}

#[tokio::test]
async fn who_comes_late_gets_everything_in_a_delta_or_as_a_whole() {
    for otp in otp::available() {
        for whole in [false, true] {
            let epmd = Epmd::start(&otp).await;
            let phoenix = Phoenix::start(&otp, &epmd, &unique("beam"), NEVER, 1).await;
            if whole {
                phoenix.does("oblivious", "").await;
            }
            let mut expected = BTreeMap::new();
            for number in 10..40 {
                phoenix.track("lobby", &format!("b{number}"), "there").await;
                expected.insert(format!("b{number}"), "there");
            }
            phoenix.beam.value("exit(whereis(b11), kill)").await;
            expected.remove("b11");
            let first = Member::start(&epmd, &unique("first"), NEVER, 1).await;
            if whole {
                // More changes than are kept.
                let restless = first.node.process();
                for _ in 0..=5000 {
                    first.tracker.track(restless.pid(), "lobby", "restless", &meta("x")).unwrap();
                    first.tracker.untrack(restless.pid(), "lobby", "restless");
                }
            }
            let workers: Vec<_> = (10..40).map(|number| first.track("lobby", &format!("g{number}"), "here")).collect();
            first.tracker.untrack(workers[2].pid(), "lobby", "g12");
            expected.extend((10..40).filter(|number| *number != 12).map(|number| (format!("g{number}"), "here")));
            node::connect(&first.node, &phoenix.beam).await;
            let all: Vec<_> = expected.iter().map(|(key, status)| (key.as_str(), *status)).collect();
            first.shows("lobby", &all).await;
            phoenix.shows("lobby", &all).await;

            // A third, connected to both, has all from both.
            let late = Member::start(&epmd, &unique("late"), NEVER, 1).await;
            node::connect(&late.node, &phoenix.beam).await;
            within(SOON, "connect", late.node.connect(first.node.name().clone())).await.unwrap();
            late.shows("lobby", &all).await;
            phoenix.beam.assert_clean_log().await;
            late.node.shutdown().await;
            first.node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_killed_node_is_down_after_silence_and_its_next_life_replaces_it_at_once() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let down = PERIOD * 20;
        let gusset = Member::start(&epmd, &unique("gusset"), down, 1).await;
        let _alice = gusset.track("lobby", "alice", "here");
        let name = unique("beam");
        let phoenix = Phoenix::start(&otp, &epmd, &name, down, 1).await;
        phoenix.track("lobby", "bob", "first").await;
        node::connect(&gusset.node, &phoenix.beam).await;
        gusset.shows("lobby", &[("alice", "here"), ("bob", "first")]).await;
        phoenix.shows("lobby", &[("alice", "here"), ("bob", "first")]).await;

        // Silence on both sides, then together again: nothing is lost.
        gusset.node.disconnect(&name_of(&phoenix.beam));
        gusset.shows("lobby", &[("alice", "here")]).await;
        phoenix.shows("lobby", &[("bob", "first")]).await;
        node::connect(&gusset.node, &phoenix.beam).await;
        gusset.shows("lobby", &[("alice", "here"), ("bob", "first")]).await;
        phoenix.shows("lobby", &[("alice", "here"), ("bob", "first")]).await;
        phoenix.beam.assert_clean_log().await;

        drop(phoenix);
        gusset.shows("lobby", &[("alice", "here")]).await;
        assert!(gusset.tracker.nodes().is_empty());
        let phoenix = Phoenix::start(&otp, &epmd, &name, down, 1).await;
        phoenix.track("lobby", "bob", "second").await;
        node::connect(&gusset.node, &phoenix.beam).await;
        gusset.shows("lobby", &[("alice", "here"), ("bob", "second")]).await;
        phoenix.shows("lobby", &[("alice", "here"), ("bob", "second")]).await;
        phoenix.beam.assert_clean_log().await;
        gusset.node.shutdown().await;
    }
}

#[tokio::test]
async fn a_new_replica_of_a_node_takes_the_place_of_the_old_one_at_once() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let phoenix = Phoenix::start(&otp, &epmd, &unique("beam"), NEVER, 2).await;
    let gusset = Member::start(&epmd, &unique("gusset"), NEVER, 2).await;
    let worker = gusset.track("lobby", "alice", "first");
    node::connect(&gusset.node, &phoenix.beam).await;
    phoenix.shows("lobby", &[("alice", "first")]).await;
    // It is killed, not stopped: nobody is told.
    for shard in ["Elixir.MyApp.Presence_shard0", "Elixir.MyApp.Presence_shard1"] {
        let pid = gusset.node.whereis(shard).unwrap();
        gusset.node.exit(&pid, &gusset::node::Reason::from_term(&Term::from(gusset::atom!("kill"))));
    }
    let stopped = gusset.tracker.track(worker.pid(), "lobby", "alice", &meta("x"));
    assert!(matches!(stopped, Err(TrackError::Stopped)), "{stopped:?}");
    until("it shows nobody", SOON, || gusset.tracker.list("lobby").is_empty()).await;
    let again = Tracker::start(&gusset.node, &gusset.pubsub, options(NEVER, 2)).unwrap();
    assert!(matches!(Tracker::start(&gusset.node, &gusset.pubsub, TRACKER), Err(TrackerError::Register(_))));
    phoenix.shows("lobby", &[]).await;
    again.track(worker.pid(), "lobby", "alice", &meta("second")).unwrap();
    phoenix.shows("lobby", &[("alice", "second")]).await;
    again.stop().await;
    phoenix.shows("lobby", &[]).await;
    phoenix.knows_replicas(&[]).await;
    phoenix.beam.assert_clean_log().await;
}

#[tokio::test]
async fn two_gussets_and_a_beam_agree_in_all_shards_and_bear_nonsense() {
    let otp = require!(otp::get(29));
    let epmd = Epmd::start(&otp).await;
    let phoenix = Phoenix::start(&otp, &epmd, &unique("beam"), NEVER, 3).await;
    let a = Member::start(&epmd, &unique("a"), NEVER, 3).await;
    let b = Member::start(&epmd, &unique("b"), NEVER, 3).await;
    node::connect(&a.node, &phoenix.beam).await;
    node::connect(&b.node, &phoenix.beam).await;
    within(SOON, "connect", a.node.connect(b.node.name().clone())).await.unwrap();
    phoenix.knows_replicas(&[&a.node, &b.node]).await;
    let mut workers = Vec::new();
    // Enough that every shard has some.
    for number in 0..12 {
        let topic = format!("room:{number}");
        workers.push(a.track(&topic, "a", "x"));
        workers.push(b.track(&topic, "b", "y"));
        phoenix.track(&topic, &format!("p{number}"), "z").await;
    }
    // What is no message of a tracker, or says what cannot be.
    let shard = "<<\"phx_presence:Elixir.MyApp.Presence_shard0\">>";
    for odd in [
        "hello",
        "{pub, heartbeat, {node(), 1}}",
        "{pub, heartbeat, {<<1>>, a}, empty, {1, 2}}",
        "{pub, transfer_ack, make_ref(), {node(), 1}, #{'__struct__' => 'Elixir.Phoenix.Tracker.State'}}",
        "{pub, transfer_req, make_ref(), {'nobody@nowhere', 1}, {{'nobody@nowhere', 1}, #{}}}",
    ] {
        // Only to the gussets: the imitation would end with it.
        for node in [&a.node, &b.node] {
            phoenix
                .beam
                .value(&format!("gusset_pubsub:direct_broadcast('Elixir.{PUBSUB}', {}, {shard}, {odd})", atom(node)))
                .await;
        }
    }
    for number in 0..12 {
        let topic = format!("room:{number}");
        let theirs = format!("p{number}");
        let all = [("a", "x"), ("b", "y"), (theirs.as_str(), "z")];
        a.shows(&topic, &all).await;
        b.shows(&topic, &all).await;
        phoenix.shows(&topic, &all).await;
    }
    drop(workers);
    a.shows("room:0", &[("p0", "z")]).await;
    b.shows("room:11", &[("p11", "z")]).await;
    phoenix.shows("room:5", &[("p5", "z")]).await;
    assert_eq!(phoenix.does("stop", "").await, "ok");
    a.shows("room:0", &[]).await;
    b.shows("room:0", &[]).await;
    until("it is gone", SOON, || a.tracker.nodes().len() == 1).await;
    phoenix.beam.assert_clean_log().await;
}

#[tokio::test]
async fn periods_that_do_not_go_together_are_refused() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let gusset = Member::start(&epmd, &unique("gusset"), NEVER, 1).await;
    for wrong in [
        TrackerOptions::named("X").down_period(Duration::from_secs(2)),
        TrackerOptions::named("X").permdown_period(Duration::from_secs(30)),
        TrackerOptions::named("X").broadcast_period(Duration::ZERO),
    ] {
        assert!(matches!(Tracker::start(&gusset.node, &gusset.pubsub, wrong), Err(TrackerError::Periods(_))));
    }
    assert!(Tracker::start(&gusset.node, &gusset.pubsub, "X").is_ok());
}
