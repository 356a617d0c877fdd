//! `pg` between gussets and BEAM nodes of every release: who is in which group, on both sides, whatever happens. The
//! `pg` of a BEAM crashes on whatever it does not know, so each test ends with a look at its process and its log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::node::{self, atom, name_of, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::services::pg::{GroupEvent, PgError, Scope};
use gusset::{Node, NodeEvent, Pid, Term, atom};

/// The scope of these tests.
const SCOPE: &str = "gusset_test";

/// A BEAM, and the process of its scope once it runs.
struct Member {
    beam: Beam,
    scope: Option<String>,
}

impl Member {
    async fn start(release: u32, epmd: &Epmd) -> Self {
        let otp = otp::get(release).expect("installed");
        let beam = Beam::start(&otp, epmd, BeamOptions::named(&unique(&format!("n{release}")))).await;
        Self { beam, scope: None }
    }

    /// Starts the scope, which then must never end.
    async fn pg(mut self) -> Self {
        self.beam.value(&format!("{{ok, P}} = pg:start({SCOPE}), P")).await;
        self.scope = Some(self.beam.value(&format!("whereis({SCOPE})")).await);
        self
    }

    /// Starts a process that joins a group some times.
    async fn join(&self, group: &str, times: usize) -> String {
        let join = format!("pg:join({SCOPE}, {group}, lists:duplicate({times}, P))");
        self.beam.value(&format!("P = spawn(fun() -> receive stop -> ok end end), ok = {join}, pid_to_list(P)")).await
    }

    async fn is_unharmed(&self) {
        let scope = self.scope.as_ref().expect("started");
        assert_eq!(&self.beam.value(&format!("whereis({SCOPE})")).await, scope, "OTP {}", self.beam.otp.release);
        let log = self.beam.settled_log().await;
        assert!(!log.contains("=ERROR REPORT") && !log.contains("=CRASH REPORT"), "{}: {log}", self.beam.node_name);
    }
}

type Groups = BTreeMap<Term, Vec<Pid>>;

fn sorted(mut pids: Vec<Pid>) -> Vec<Pid> {
    pids.sort();
    pids
}

fn groups_here(scope: &Scope) -> Groups {
    scope.which_groups().into_iter().map(|group| (group.clone(), sorted(scope.members(group)))).collect()
}

async fn groups_there(asker: &Node, beam: &Beam) -> Groups {
    let (name, scope) = (name_of(beam), atom!("gusset_test"));
    let names: Vec<Term> = asker.rpc(&name, "pg", "which_groups", &(&scope,)).await.expect("asks");
    let mut groups = Groups::new();
    for group in names {
        let pids: Vec<Pid> = asker.rpc(&name, "pg", "get_members", &(&scope, &group)).await.expect("asks");
        // Between the two questions it may have ended.
        if !pids.is_empty() {
            groups.insert(group, sorted(pids));
        }
    }
    groups
}

/// Waits until all have the same members in the same groups, so many in all.
async fn agree(memberships: usize, gussets: &[(&Node, &Scope)], members: &[&Member]) {
    let count = |groups: &Groups| groups.values().map(Vec::len).sum::<usize>();
    let (asker, first) = gussets[0];
    let mut all = Vec::new();
    let agreed = async {
        loop {
            let expected = groups_here(first);
            all = gussets.iter().map(|(_, scope)| groups_here(scope)).collect();
            for member in members {
                all.push(groups_there(asker, &member.beam).await);
            }
            if count(&expected) == memberships && all.iter().all(|groups| *groups == expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(LATER, agreed).await.is_err() {
        panic!("not {memberships} memberships that all agree on: {all:#?}");
    }
}

/// Joins, joins again, leaves and ends on both sides. Nobody is a member before and after.
async fn groups_work(gussets: &[(&Node, &Scope)], members: &[&Member]) {
    let mut joined = 0;
    for member in members {
        member.join("one", 1).await;
        let pid = member.join("{two, <<\"b\">>}", 3).await;
        member
            .beam
            .value(&format!("pg:leave({SCOPE}, {{two, <<\"b\">>}}, list_to_pid({pid:?}))", pid = pid.trim_matches('"')))
            .await;
        joined += 3;
    }
    let mut processes = Vec::new();
    for (node, scope) in gussets {
        let (first, second) = (node.process(), node.process());
        scope.join(atom!("one"), &first).await.unwrap();
        scope
            .join((atom!("two"), "b"), vec![first.pid().clone(), first.pid().clone(), second.pid().clone()])
            .await
            .unwrap();
        scope.join(7, &second).await.unwrap();
        assert!(scope.leave((atom!("two"), "b"), &first).await.unwrap());
        assert!(!scope.leave(7, &first).await.unwrap());
        assert_eq!(scope.local_members((atom!("two"), "b")).len(), 2);
        assert!(scope.which_local_groups().contains(&7.into()));
        joined += 4;
        processes.push((first, second));
    }
    agree(joined, gussets, members).await;

    // Ends: each leaves all of its groups.
    for (first, second) in processes {
        drop(first);
        joined -= 2;
        second.end(gusset::Reason::from_term(&Term::from(atom!("crashed"))));
        joined -= 2;
    }
    agree(joined, gussets, members).await;
    for member in members {
        let ends = format!(
            "[exit(P, kill) || G <- pg:which_local_groups({SCOPE}), P <- pg:get_local_members({SCOPE}, G)], ok"
        );
        member.beam.value(&ends).await;
    }
    agree(0, gussets, members).await;
}

#[tokio::test]
async fn groups_are_the_same_on_both_sides_whoever_starts_first() {
    for otp in otp::available() {
        for order in ["scopes, connection", "beam, connection, gusset", "gusset, connection, beam", "connection, both"]
        {
            let epmd = Epmd::start(&otp).await;
            let mut member = Member::start(otp.release, &epmd).await;
            let gusset = node::start(&epmd).await;
            let early = gusset.process();
            if order.starts_with("scopes") || order.starts_with("beam") {
                member = member.pg().await;
                member.join("early", 2).await;
            }
            if order.starts_with("scopes") || order.starts_with("gusset") {
                gusset.pg(SCOPE).unwrap().join(atom!("early"), &early).await.unwrap();
            }
            node::connect(&gusset, &member.beam).await;
            if member.scope.is_none() {
                member = member.pg().await;
                member.join("early", 2).await;
            }
            let scope = gusset.pg(SCOPE).unwrap();
            if order == "connection, both" || order.ends_with("gusset") {
                scope.join(atom!("early"), &early).await.unwrap();
            }
            let gussets = [(&gusset, &scope)];
            agree(3, &gussets, &[&member]).await;
            assert_eq!(scope.nodes(), vec![name_of(&member.beam)]);
            member.beam.value(&format!("[exit(P, kill) || P <- pg:get_local_members({SCOPE}, early)], ok")).await;
            drop(early);
            groups_work(&gussets, &[&member]).await;
            member.is_unharmed().await;
            member.beam.assert_clean_log().await;
            gusset.shutdown().await;
        }
    }
}

#[tokio::test]
async fn releases_that_can_share_a_scope_share_it_with_two_gussets() {
    for releases in [[25, 27], [27, 29]] {
        let newest = require!(otp::get(releases[1]));
        require!(otp::get(releases[0]));
        let epmd = Epmd::start(&newest).await;
        let (old, new) = (Member::start(releases[0], &epmd).await, Member::start(releases[1], &epmd).await);
        let (old, new) = (old.pg().await, new.pg().await);
        let (a, b) = (node::start(&epmd).await, node::start(&epmd).await);
        let (scope_a, scope_b) = (a.pg(SCOPE).unwrap(), b.pg(SCOPE).unwrap());
        node::connect(&a, &old.beam).await;
        node::connect(&b, &new.beam).await;
        within(SOON, "connect", a.connect(b.name().clone())).await.unwrap();
        let everybody = || [scope_a.nodes().len(), scope_b.nodes().len()] == [3, 3];
        until("all scopes have met", LATER, everybody).await;
        groups_work(&[(&a, &scope_a), (&b, &scope_b)], &[&old, &new]).await;

        // Who is there later learns what was before.
        let early = a.process();
        scope_a.join(atom!("early"), &early).await.unwrap();
        let c = node::start(&epmd).await;
        let scope_c = c.pg(SCOPE).unwrap();
        node::connect(&c, &old.beam).await;
        agree(1, &[(&a, &scope_a), (&b, &scope_b), (&c, &scope_c)], &[&old, &new]).await;
        for node in [&a, &b, &c] {
            node.shutdown().await;
        }
        for member in [&old, &new] {
            member.beam.wait_until(&format!("pg:which_groups({SCOPE}) =:= []"), SOON).await.unwrap();
            member.is_unharmed().await;
        }
    }
}

#[tokio::test]
async fn a_scope_that_ends_takes_its_members_along_and_comes_back() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let mut member = Member::start(otp.release, &epmd).await.pg().await;
        let gusset = node::start(&epmd).await;
        let scope = gusset.pg(SCOPE).unwrap();
        node::connect(&gusset, &member.beam).await;
        let process = gusset.process();
        scope.join(atom!("g"), &process).await.unwrap();
        member.join("g", 2).await;
        agree(3, &[(&gusset, &scope)], &[&member]).await;

        // That of the BEAM crashes, and is started again.
        let (_, mut events) = scope.monitor(atom!("g"));
        member.beam.value(&format!("exit(whereis({SCOPE}), kill)")).await;
        until("its members are gone", SOON, || scope.members(atom!("g")) == [process.pid().clone()]).await;
        let gone = within(SOON, "an event", events.recv()).await;
        assert!(matches!(gone, Some(GroupEvent::Leave { ref members, .. }) if members.len() == 2), "{gone:?}");
        member = member.pg().await;
        member.join("h", 1).await;
        agree(2, &[(&gusset, &scope)], &[&member]).await;

        // Ours ends, and is started again.
        scope.stop();
        member.beam.wait_until(&format!("pg:get_members({SCOPE}, g) =:= []"), SOON).await.unwrap();
        assert!(matches!(scope.join(atom!("g"), &process).await, Err(PgError::Stopped(_))));
        assert_eq!(within(SOON, "the end of the events", events.recv()).await, None);
        let scope = gusset.pg(SCOPE).unwrap();
        agree(1, &[(&gusset, &scope)], &[&member]).await;
        scope.join(atom!("g"), &process).await.unwrap();
        agree(2, &[(&gusset, &scope)], &[&member]).await;
        assert_eq!(gusset.pg(SCOPE).unwrap().pid(), scope.pid());

        // The connection is lost, and comes back.
        assert!(gusset.disconnect(&name_of(&member.beam)));
        until("its members are gone", SOON, || scope.members(atom!("h")).is_empty()).await;
        member.beam.wait_until(&format!("pg:get_members({SCOPE}, g) =:= []"), SOON).await.unwrap();
        node::connect(&gusset, &member.beam).await;
        agree(2, &[(&gusset, &scope)], &[&member]).await;
        member.is_unharmed().await;

        // Its node crashes.
        member.beam.kill9().await;
        until("only ours is left", SOON, || scope.which_groups() == [Term::from(atom!("g"))]).await;
        assert!(scope.nodes().is_empty());
        gusset.shutdown().await;
    }
}

#[tokio::test]
async fn a_hidden_gusset_greets_first_and_is_met() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let member = Member::start(otp.release, &epmd).await.pg().await;
        let gusset = node::start_hidden(&epmd).await;
        let scope = gusset.pg(SCOPE).unwrap();
        node::connect(&gusset, &member.beam).await;
        until("the scopes have met", SOON, || scope.nodes().len() == 1).await;
        groups_work(&[(&gusset, &scope)], &[&member]).await;
        member.is_unharmed().await;
        gusset.shutdown().await;
    }
}

#[tokio::test]
async fn what_is_said_is_what_the_oldest_pg_takes_and_what_the_newest_says_is_understood() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let gusset = node::start(&epmd).await;
    // Not `pg`, but a process under its name that keeps what it is sent.
    beam.value(&format!("gusset_fixture:collect({SCOPE})")).await;
    let scope = gusset.pg(SCOPE).unwrap();
    let process = gusset.process();
    scope.join(atom!("g"), &process).await.unwrap();
    node::connect(&gusset, &beam).await;
    let them = format!("{{{SCOPE}, {}}}", atom(&gusset));

    let shapes = |name: &str, count: usize| {
        format!(
            "[case M of {{discover, P}} when is_pid(P) -> discover;
               {{'$gen_cast', {{sync, P, [{{g, [Q]}}]}}}} when is_pid(P), is_pid(Q) -> sync;
               {{join, P, h, [Q]}} when is_pid(P), is_pid(Q) -> join;
               {{join, P, h, [Q, Q]}} when is_pid(P), is_pid(Q) -> join;
               {{leave, P, [Q], [h]}} when is_pid(P), is_pid(Q) -> leave;
               {{leave, P, [Q], [h, h]}} when is_pid(P), is_pid(Q) -> leave_both;
               Other -> Other end || M <- gusset_fixture:collected({name}, {count}, 5000)]"
        )
    };

    // Its answer comes before its greeting: from then on it hears of changes, but only after all that there is.
    assert_eq!(beam.value(&shapes(SCOPE, 1)).await, "[discover]");
    beam.value(&format!("{them} ! {{'$gen_cast', {{sync, whereis({SCOPE}), []}}}}")).await;
    assert_eq!(beam.value(&shapes(SCOPE, 2)).await, "[discover,sync]");
    beam.value(&format!("{them} ! {{discover, whereis({SCOPE})}}")).await;
    assert_eq!(beam.value(&shapes(SCOPE, 3)).await, "[discover,sync,sync]");

    // As OTP 29 greets and talks among its own.
    beam.value(&format!("gusset_fixture:collect(second), {them} ! {{discover, whereis(second), 1}}")).await;
    assert_eq!(beam.value(&shapes("second", 2)).await, "[sync,discover]");
    let here = "lists:duplicate(2, whereis(init))";
    beam.value(&format!("{them} ! {{'$gen_cast', {{local_data, whereis({SCOPE}), 1, #{{g => {here}}}}}}}")).await;
    until("the members of local_data", SOON, || scope.members(atom!("g")).len() == 3).await;
    beam.value(&format!(
        "{them} ! {{update, whereis({SCOPE}), [{{g, [self()], [whereis(init)]}}, {{k, {here}, []}}]}}"
    ))
    .await;
    until("the members of an update", SOON, || scope.members(atom!("k")).len() == 2).await;
    assert_eq!(scope.members(atom!("g")).len(), 3);

    let both = vec![process.pid().clone(); 2];
    scope.join(atom!("h"), &process).await.unwrap();
    scope.join(atom!("h"), both.clone()).await.unwrap();
    scope.leave(atom!("h"), both.clone()).await.unwrap();
    scope.leave(atom!("h"), both.clone()).await.unwrap();
    let changes = "join,join,leave,leave,leave";
    assert_eq!(beam.value(&shapes(SCOPE, 8)).await, format!("[discover,sync,sync,{changes}]"));
    assert_eq!(beam.value(&shapes("second", 7)).await, format!("[sync,discover,{changes}]"));
    let other = gusset.process();
    scope.join(atom!("h"), vec![other.pid().clone(); 2]).await.unwrap();
    drop(other);
    assert_eq!(beam.value(&shapes("second", 9)).await, format!("[sync,discover,{changes},join,leave_both]"));

    // Whatever else comes does no harm.
    for odd in ["junk", "{discover, 7}", "{join, self(), g, [7]}", "{leave, whereis(init), x, y}", "{'$gen_cast', x}"] {
        beam.value(&format!("{them} ! {odd}")).await;
    }
    let asked = format!("catch gen_server:call({them}, {{unknown, request}}, 300)");
    assert!(beam.value(&asked).await.contains("timeout"));
    let asked = format!("gen_server:call({them}, {{leave_local, nothing, []}})");
    assert_eq!(beam.value(&asked).await, "not_joined");
    assert!(beam.value(&format!("element(2, sys:get_state({them}))")).await.contains(SCOPE));
    assert_eq!(gusset.whereis(SCOPE).as_ref(), Some(scope.pid()));
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn a_message_goes_to_all_members_and_events_tell_of_each_change() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let member = Member::start(otp.release, &epmd).await.pg().await;
        let gusset = node::start(&epmd).await;
        let scope = gusset.pg(SCOPE).unwrap();
        node::connect(&gusset, &member.beam).await;
        let (first, mut events) = scope.monitor(atom!("g"));
        let (_, mut of_all) = scope.monitor_scope();
        assert!(first.is_empty());
        member.beam.value(&format!("P = gusset_fixture:collect(inbox), ok = pg:join({SCOPE}, g, [P, P])")).await;
        let (group, mut process) = (Term::from(atom!("g")), gusset.process());
        let event = within(SOON, "an event", events.recv()).await.unwrap();
        let GroupEvent::Join { group: of, members } = &event else { panic!("{event:?}") };
        assert_eq!((of, members.len()), (&group, 2));
        assert_eq!(within(SOON, "an event", of_all.recv()).await.unwrap(), event);

        scope.join(group.clone(), &process).await.unwrap();
        let members = vec![process.pid().clone()];
        assert_eq!(
            within(SOON, "an event", events.recv()).await,
            Some(GroupEvent::Join { group: group.clone(), members })
        );
        assert_eq!(scope.send(&process, group.clone(), &(1, "all")).await.unwrap(), 3);
        assert_eq!(node::next(&mut process).await, "{1,<<\"all\">>}");
        let got = member.beam.value("gusset_fixture:collected(inbox, 2, 5000)").await;
        assert_eq!(got, "[{1,<<\"all\">>},{1,<<\"all\">>}]");
        let stranger: Vec<Pid> =
            scope.members(group.clone()).into_iter().filter(|pid| pid.node != process.pid().node).collect();
        assert!(matches!(scope.join(group.clone(), stranger).await, Err(PgError::NotLocal(_))));

        member.beam.value(&format!("ok = pg:leave({SCOPE}, g, whereis(inbox)), exit(whereis(inbox), kill)")).await;
        for _ in 0..2 {
            let event = within(SOON, "an event", events.recv()).await.unwrap();
            assert!(matches!(&event, GroupEvent::Leave { members, .. } if members.len() == 1), "{event:?}");
        }
        member.is_unharmed().await;
        gusset.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_meet_while_everybody_joins_and_leaves_agree_and_crash_nobody() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let member = Member::start(otp.release, &epmd).await.pg().await;
        let gusset = node::start(&epmd).await;
        let scope = gusset.pg(SCOPE).unwrap();
        let churn = {
            let (node, scope) = (gusset.clone(), scope.clone());
            async move {
                loop {
                    let (first, second) = (node.process(), node.process());
                    let all = vec![second.pid().clone(), first.pid().clone(), first.pid().clone()];
                    scope.join(atom!("churn"), all).await.unwrap();
                    scope.leave(atom!("churn"), vec![first.pid().clone(), second.pid().clone()]).await.unwrap();
                    scope.join(atom!("other"), &second).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        };
        let churn = tokio::spawn(churn);
        let there = format!(
            "spawn(fun() -> P = spawn(fun() -> receive stop -> ok end end),
                register(churn, self()),
                (fun Loop() ->
                    pg:join({SCOPE}, churn, [P, P]), pg:leave({SCOPE}, churn, P), pg:leave({SCOPE}, churn, P),
                    receive stop -> exit(P, kill) after 0 -> Loop() end
                end)()
            end)"
        );
        member.beam.value(&there).await;
        for _ in 0..20 {
            let met = async {
                while scope.nodes().is_empty() {
                    // Both sides connect at once here, and a connection may fall victim to that.
                    let _ = gusset.connect(name_of(&member.beam)).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            if tokio::time::timeout(LATER, met).await.is_err() {
                let there = member.beam.value(&format!("{{nodes(), sys:get_state({SCOPE})}}")).await;
                panic!("OTP {}: not met; here {:?}, there {there}", otp.release, gusset.nodes());
            }
            // The sync that is on its way from there may connect anew by itself.
            let mut events = gusset.monitor_nodes();
            if gusset.disconnect(&name_of(&member.beam)) {
                node::event(&mut events, "the end", |event| matches!(event, NodeEvent::Down { .. }).then_some(()))
                    .await;
            }
        }
        let connected = async {
            while gusset.connect(name_of(&member.beam)).await.is_err() || scope.nodes().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(LATER, "the last meeting", connected).await;
        churn.abort();
        assert!(churn.await.is_err_and(|error| error.is_cancelled()));
        member.beam.value("churn ! stop").await;
        let last = gusset.process();
        scope.join(atom!("last"), &last).await.unwrap();
        agree(1, &[(&gusset, &scope)], &[&member]).await;
        member.is_unharmed().await;
        gusset.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_that_does_not_read_holds_up_nobody_and_learns_all_at_once() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let mut member = Member::start(27, &epmd).await.pg().await;
    let gusset = node::start(&epmd).await;
    let scope = gusset.pg(SCOPE).unwrap();
    node::connect(&gusset, &member.beam).await;
    until("the scopes have met", SOON, || scope.nodes().len() == 1).await;
    member.beam.sigstop();
    let process = gusset.process();
    // More than the sockets and the queue of the connection take, and more messages than wait in a line.
    let padding = "x".repeat(10_000);
    within(LATER, "joins", async {
        for number in 0..2500 {
            scope.join((number, padding.as_str()), &process).await.unwrap();
        }
        for number in 100..2500 {
            assert!(scope.leave((number, padding.as_str()), &process).await.unwrap());
        }
    })
    .await;
    member.beam.sigcont();
    member.beam.wait_until(&format!("length(pg:which_groups({SCOPE})) =:= 100"), LATER).await.unwrap();
    scope.join(atom!("after"), &process).await.unwrap();
    member.beam.wait_until(&format!("length(pg:get_members({SCOPE}, 'after')) =:= 1"), SOON).await.unwrap();
    member.is_unharmed().await;
}
