//! PubSub between gussets and a BEAM of every release that does what `Phoenix.PubSub` does (`gusset_pubsub.erl`; its
//! workers crash on any message but the one that is due).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::num::NonZeroUsize;

use common::node::{self, atom, name_of, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::node::Reason;
use gusset::services::pubsub::{PubSub, PubSubError, PubSubOptions, Publisher, RecvError, SCOPE, Subscription};
use gusset::{Node, Term, atom};

const NAME: &str = "MyApp.PubSub";

/// A BEAM with a PubSub, and a process `inbox` that is subscribed to the topic `lobby`.
struct Phoenix {
    beam: Beam,
    scope: String,
}

impl Phoenix {
    async fn start(release: u32, epmd: &Epmd, pool_size: usize) -> Self {
        let otp = otp::get(release).expect("installed");
        let beam = Beam::start(&otp, epmd, BeamOptions::named(&unique(&format!("n{release}")))).await;
        let start = format!("gusset_pubsub:start('Elixir.{NAME}', {pool_size})");
        let scope = beam.value(&start).await;
        let subscribe = format!("gusset_pubsub:subscribe('Elixir.{NAME}', <<\"lobby\">>)");
        beam.value(&format!("gusset_fixture:collect(inbox, fun() -> {subscribe} end)")).await;
        Self { beam, scope }
    }

    /// Calls a function of the imitation: its arguments behind the name of the PubSub.
    async fn does(&self, function: &str, arguments: &str) -> String {
        self.beam.value(&format!("gusset_pubsub:{function}('Elixir.{NAME}', {arguments})")).await
    }

    /// What its subscriber has got, as soon as there are so many.
    async fn got(&self, count: usize) -> String {
        self.beam.value(&format!("gusset_fixture:collected(inbox, {count}, 5000)")).await
    }

    async fn knows(&self, nodes: &[&Node]) {
        let mut names: Vec<String> = nodes.iter().map(|node| atom(node)).collect();
        names.sort();
        let condition = format!("gusset_pubsub:nodes('Elixir.{NAME}') =:= [{}]", names.join(","));
        self.beam.wait_until(&condition, LATER).await.unwrap();
    }

    async fn is_unharmed(&self) {
        assert_eq!(self.beam.value(&format!("whereis('{SCOPE}')")).await, self.scope, "OTP {}", self.beam.otp.release);
        self.beam.assert_clean_log().await;
    }
}

/// The next message of a subscription, as Erlang prints it, and its dispatcher.
async fn next(subscription: &mut Subscription) -> (String, String) {
    let broadcast = within(SOON, "a broadcast", subscription.recv()).await.expect("a message");
    (broadcast.term().unwrap().to_string(), broadcast.dispatcher().to_string())
}

fn plain(text: &str) -> (String, String) {
    (text.to_owned(), SCOPE.to_owned())
}

async fn met(pubsub: &PubSub, phoenixes: &[&Phoenix], gussets: usize) {
    until("all workers are known", LATER, || pubsub.nodes().len() == phoenixes.len() + gussets).await;
}

#[tokio::test]
async fn broadcasts_reach_the_subscribers_of_both_sides() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let phoenix = Phoenix::start(otp.release, &epmd, 1).await;
        let gusset = node::start(&epmd).await;
        let pubsub = PubSub::start(&gusset, NAME).await.unwrap();
        let mut lobby = pubsub.subscribe("lobby");
        node::connect(&gusset, &phoenix.beam).await;
        phoenix.knows(&[&gusset]).await;
        met(&pubsub, &[&phoenix], 0).await;

        phoenix.does("broadcast", "<<\"lobby\">>, #{event => <<\"hello\">>}").await;
        assert_eq!(next(&mut lobby).await, plain("#{event => <<\"hello\">>}"));
        assert_eq!(pubsub.broadcast("lobby", &("from", "rust")).await.unwrap(), 1);
        assert_eq!(next(&mut lobby).await, plain("{<<\"from\">>,<<\"rust\">>}"));
        let so_far = "#{event => <<\"hello\">>},{<<\"from\">>,<<\"rust\">>}";
        assert_eq!(phoenix.got(2).await, format!("[{so_far}]"));

        // Another topic is another topic.
        phoenix.does("broadcast", "<<\"other\">>, 1").await;
        assert_eq!(pubsub.broadcast("other", &1).await.unwrap(), 1);

        // All but the one who sends.
        let mut second = pubsub.subscribe("lobby");
        pubsub.broadcast_from(&lobby, "lobby", &2).await.unwrap();
        assert_eq!(next(&mut second).await, plain("2"));
        phoenix.does("broadcast_from", "whereis(inbox), <<\"lobby\">>, 3").await;
        assert_eq!((next(&mut lobby).await, next(&mut second).await), (plain("3"), plain("3")));

        // To one node, by the name of the adapter.
        let their = name_of(&phoenix.beam);
        pubsub.direct_broadcast(&their, "lobby", &4).await.unwrap();
        phoenix.does("direct_broadcast", &format!("{}, <<\"lobby\">>, 5", atom(&gusset))).await;
        assert_eq!(next(&mut lobby).await, plain("5"));
        pubsub.direct_broadcast(gusset.name(), "lobby", &6).await.unwrap();
        assert_eq!(next(&mut lobby).await, plain("6"));
        pubsub.local_broadcast("lobby", &7).unwrap();
        assert_eq!(next(&mut lobby).await, plain("7"));

        // Dispatched by a module of the application.
        phoenix.does("broadcast", "<<\"lobby\">>, 8, gusset_pubsub").await;
        assert_eq!(next(&mut lobby).await, ("8".to_owned(), "gusset_pubsub".to_owned()));
        pubsub.dispatched_by(atom!("gusset_pubsub")).broadcast("lobby", &9).await.unwrap();
        assert_eq!(next(&mut lobby).await, ("9".to_owned(), "gusset_pubsub".to_owned()));
        assert_eq!(phoenix.got(6).await, format!("[{so_far},2,4,{{dispatched,8}},{{dispatched,9}}]"));

        // Large ones, which go in fragments.
        let large = Term::binary(vec![7; 300_000]);
        pubsub.broadcast("lobby", &large).await.unwrap();
        assert_eq!(next(&mut lobby).await.0, large.to_string());
        phoenix.got(7).await;
        let same = "lists:last(gusset_fixture:collected(inbox)) =:= binary:copy(<<7>>, 300000)";
        assert_eq!(phoenix.beam.value(same).await, "true");
        phoenix.does("broadcast", "<<\"lobby\">>, binary:copy(<<7>>, 300000)").await;
        assert_eq!(next(&mut lobby).await.0, large.to_string());

        phoenix.is_unharmed().await;
        gusset.shutdown().await;
        assert_eq!(within(SOON, "the end", lobby.recv()).await.unwrap_err(), RecvError::Closed);
        phoenix.knows(&[]).await;
        phoenix.is_unharmed().await;
    }
}

#[tokio::test]
async fn a_message_comes_once_through_whichever_worker_of_a_pool() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let phoenix = Phoenix::start(27, &epmd, 3).await;
    let gusset = node::start(&epmd).await;
    let options = PubSubOptions::named("Elixir.MyApp.PubSub").pool_size(NonZeroUsize::new(3).unwrap());
    let pubsub = PubSub::start(&gusset, options).await.unwrap();
    let mut lobby = pubsub.subscribe("lobby");
    node::connect(&gusset, &phoenix.beam).await;
    let known = format!(
        "[length([P || P <- pg:get_members('{SCOPE}', G), node(P) =/= node()]) || G <- pg:which_groups('{SCOPE}')] =:= [1,1,1]"
    );
    phoenix.beam.wait_until(&known, SOON).await.unwrap();
    assert_eq!(phoenix.does("spread", "<<\"lobby\">>, lists:seq(1, 60)").await, "3");
    let mut numbers = Vec::new();
    for _ in 0..60 {
        let broadcast = within(SOON, "a broadcast", lobby.recv()).await.unwrap();
        numbers.push(broadcast.decode::<(i64, i64)>().unwrap().0);
    }
    // Workers are processes: what comes through different ones has no common order.
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
    met(&pubsub, &[&phoenix], 0).await;
    pubsub.broadcast("lobby", &atom!("once")).await.unwrap();
    assert_eq!(next(&mut lobby).await, plain("once"));
    assert!(phoenix.got(61).await.ends_with(",once]"));
    phoenix.is_unharmed().await;
}

#[tokio::test]
async fn two_gussets_and_beams_that_can_share_a_scope_hear_each_other() {
    for releases in [[25, 27], [27, 29]] {
        let newest = require!(otp::get(releases[1]));
        require!(otp::get(releases[0]));
        let epmd = Epmd::start(&newest).await;
        let old = Phoenix::start(releases[0], &epmd, 1).await;
        let new = Phoenix::start(releases[1], &epmd, 1).await;
        let (a, b) = (node::start(&epmd).await, node::start(&epmd).await);
        let (pubsub_a, pubsub_b) = (PubSub::start(&a, NAME).await.unwrap(), PubSub::start(&b, NAME).await.unwrap());
        let (mut lobby_a, mut lobby_b) = (pubsub_a.subscribe("lobby"), pubsub_b.subscribe("lobby"));
        node::connect(&a, &old.beam).await;
        node::connect(&a, &new.beam).await;
        within(SOON, "connect", a.connect(b.name().clone())).await.unwrap();
        for pubsub in [&pubsub_a, &pubsub_b] {
            met(pubsub, &[&old, &new], 1).await;
        }
        for phoenix in [&old, &new] {
            let other = if std::ptr::eq(phoenix, &old) { &new } else { &old };
            let names = format!("lists:sort([{}, {}, {}])", atom(&a), atom(&b), other.beam.atom());
            let knows = format!("gusset_pubsub:nodes('Elixir.{NAME}') =:= {names}");
            phoenix.beam.wait_until(&knows, LATER).await.unwrap();
        }
        // One after the other, so that all get them in one order.
        old.does("broadcast", "<<\"lobby\">>, 1").await;
        for lobby in [&mut lobby_a, &mut lobby_b] {
            assert_eq!(next(lobby).await, plain("1"));
        }
        new.got(1).await;
        assert_eq!(pubsub_a.broadcast("lobby", &2).await.unwrap(), 3);
        for lobby in [&mut lobby_a, &mut lobby_b] {
            assert_eq!(next(lobby).await, plain("2"));
        }
        for phoenix in [&old, &new] {
            assert_eq!(phoenix.got(2).await, "[1,2]");
        }
        pubsub_b.direct_broadcast(a.name(), "lobby", &3).await.unwrap();
        assert_eq!(next(&mut lobby_a).await, plain("3"));

        // One leaves, and the others go on.
        b.shutdown().await;
        met(&pubsub_a, &[&old, &new], 0).await;
        new.does("broadcast", "<<\"lobby\">>, 4").await;
        assert_eq!(next(&mut lobby_a).await, plain("4"));
        a.shutdown().await;
        for phoenix in [&old, &new] {
            let log = phoenix.beam.settled_log().await;
            assert!(!log.contains("=ERROR REPORT") && !log.contains("=CRASH REPORT"), "{log}");
            assert_eq!(phoenix.beam.value(&format!("whereis('{SCOPE}')")).await, phoenix.scope);
        }
    }
}

#[tokio::test]
async fn a_publisher_needs_no_scope_and_may_be_hidden() {
    for otp in otp::available() {
        for hidden in [false, true] {
            let epmd = Epmd::start(&otp).await;
            let phoenix = Phoenix::start(otp.release, &epmd, 2).await;
            let gusset = if hidden { node::start_hidden(&epmd).await } else { node::start(&epmd).await };
            node::connect(&gusset, &phoenix.beam).await;
            let publisher = Publisher::new(&gusset, NAME).unwrap();
            assert_eq!(publisher.broadcast("lobby", &(1, "all")).await.unwrap(), 1);
            publisher.direct_broadcast(&name_of(&phoenix.beam), "lobby", &2).await.unwrap();
            publisher.dispatched_by(atom!("gusset_pubsub")).broadcast("lobby", &3).await.unwrap();
            assert_eq!(phoenix.got(3).await, "[{1,<<\"all\">>},2,{dispatched,3}]");
            assert!(gusset.whereis(SCOPE).is_none());
            phoenix.is_unharmed().await;
            gusset.shutdown().await;
        }
    }
}

#[tokio::test]
async fn whatever_is_ended_comes_back_and_subscriptions_go_on() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let phoenix = Phoenix::start(27, &epmd, 1).await;
    let gusset = node::start(&epmd).await;
    let pubsub = PubSub::start(&gusset, NAME).await.unwrap();
    let mut lobby = pubsub.subscribe("lobby");
    node::connect(&gusset, &phoenix.beam).await;
    phoenix.knows(&[&gusset]).await;
    met(&pubsub, &[&phoenix], 0).await;

    for (what, name) in [("a worker", pubsub.adapter().as_str()), ("the scope", SCOPE)] {
        let old = gusset.whereis(name).expect("runs");
        assert!(gusset.exit(&old, &Reason::from_term(&Term::from(atom!("kill")))));
        until(what, SOON, || gusset.whereis(name).is_some_and(|new| new != old)).await;
        let scope = gusset.pg(SCOPE).unwrap();
        let group = Term::from(pubsub.adapter());
        let worker = || gusset.whereis(pubsub.adapter().as_str());
        let joined = || worker().is_some_and(|worker| scope.local_members(group.clone()) == [worker]);
        until("its worker is in the group", SOON, joined).await;
        let them = format!("'{}'", pubsub.adapter());
        let condition = format!(
            "case [P || P <- pg:get_members('{SCOPE}', {them}), node(P) =/= node()] of [_] -> true; Other -> Other end"
        );
        phoenix.beam.wait_until(&condition, SOON).await.unwrap();
        met(&pubsub, &[&phoenix], 0).await;
        phoenix.does("broadcast", "<<\"lobby\">>, again").await;
        assert_eq!(next(&mut lobby).await, plain("again"));
        pubsub.broadcast("lobby", &atom!("back")).await.unwrap();
        assert_eq!(next(&mut lobby).await, plain("back"));
    }
    // The connection is lost and comes back.
    gusset.disconnect(&name_of(&phoenix.beam));
    phoenix.knows(&[]).await;
    node::connect(&gusset, &phoenix.beam).await;
    phoenix.knows(&[&gusset]).await;
    phoenix.does("broadcast", "<<\"lobby\">>, 'reconnected'").await;
    assert_eq!(next(&mut lobby).await, plain("reconnected"));
    phoenix.is_unharmed().await;
}

#[tokio::test]
async fn processes_have_it_in_their_mailbox_and_a_stopped_pubsub_frees_its_names() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let gusset = node::start(&epmd).await;
    let pubsub = PubSub::start(&gusset, NAME).await.unwrap();
    assert!(matches!(PubSub::start(&gusset, NAME).await, Err(PubSubError::Register(_))));
    let other = PubSub::start(&gusset, "Other.PubSub").await.unwrap();
    let (mut first, second) = (gusset.process(), gusset.process());
    pubsub.subscribe_process(&first, "lobby");
    pubsub.subscribe_process(&second, "lobby");
    let mut lobby = pubsub.subscribe("lobby");
    let mut elsewhere = other.subscribe("lobby");
    for number in 0..5000 {
        pubsub.broadcast_from(&second, "lobby", &number).await.unwrap();
    }
    for number in 0..5000 {
        assert_eq!(node::next(&mut first).await, number.to_string());
    }
    assert_eq!(second.queue_len(), 0);
    // A stream has a bound, and says what is missing.
    for number in 0..1024 {
        assert_eq!(next(&mut lobby).await, plain(&number.to_string()));
    }
    assert_eq!(within(SOON, "the gap", lobby.recv()).await.unwrap_err(), RecvError::Lagged(5000 - 1024));
    pubsub.unsubscribe_process(&first, "lobby");
    drop(second);
    pubsub.broadcast("lobby", &1).await.unwrap();
    assert_eq!((next(&mut lobby).await, first.queue_len()), (plain("1"), 0));
    other.broadcast("lobby", &2).await.unwrap();
    assert_eq!(next(&mut elsewhere).await, plain("2"));

    pubsub.stop().await;
    assert_eq!(within(SOON, "the end", lobby.recv()).await.unwrap_err(), RecvError::Closed);
    let again = PubSub::start(&gusset, NAME).await.unwrap();
    let mut lobby = again.subscribe("lobby");
    again.direct_broadcast(gusset.name(), "lobby", &3).await.unwrap();
    assert_eq!(next(&mut lobby).await, plain("3"));
}

#[tokio::test]
async fn the_binary_prints_what_is_broadcast_and_who_is_in_a_scope() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let phoenix = Phoenix::start(27, &epmd, 2).await;
    let peer = phoenix.beam.node_name.as_str();
    let command = require!(common::gusset::command([
        "run",
        "--json",
        "--name",
        "listener@127.0.0.1",
        "--connect",
        peer,
        "--listen",
        "127.0.0.1",
        "--subscribe",
        "MyApp.PubSub/2:lobby",
        "--pg",
        "teams",
    ]));
    let (mut gusset, _) = command.epmd(&epmd).fixture_cookie().spawn_until(r#""event":"nodeup""#).await;
    let condition = format!("gusset_pubsub:nodes('Elixir.{NAME}') =:= ['listener@127.0.0.1']");
    phoenix.beam.wait_until(&condition, LATER).await.unwrap();
    phoenix.does("broadcast", "<<\"lobby\">>, {hello, 1}").await;
    let line = gusset.line_with(r#""event":"broadcast""#, SOON).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["pubsub"], &line["topic"], &line["term"]),
        (&"MyApp.PubSub".into(), &"lobby".into(), &"{hello,1}".into())
    );

    phoenix.beam.value("pg:start(teams), pg:join(teams, red, whereis(inbox))").await;
    let line = gusset.line_with(r#""event":"group""#, SOON).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["kind"], &line["group"]), (&"join".into(), &"red".into()));
    assert_eq!(gusset.terminate(SOON).await.code(), Some(0));
    phoenix.is_unharmed().await;
}
