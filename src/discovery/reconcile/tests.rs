//! The rules, one by one, under a clock that only these tests move.

mod pauses;
mod policy;

use std::net::IpAddr;
use std::num::NonZeroUsize;

use super::config::PRUNE_GRACE;
use super::*;
use crate::discovery::{Candidate, CandidateState, DiscoveryErrorKind, LinkStatus};

struct World {
    reconciler: Reconciler,
    now: Instant,
    actions: Vec<Action>,
}

fn name(short: &str) -> NodeName {
    NodeName::new(format!("{short}@h")).unwrap()
}

fn target(short: &str) -> DialTarget {
    name(short).into()
}

fn candidates(shorts: &[&str]) -> Desired {
    Desired::new(shorts.iter().map(|short| Candidate::new(target(short))))
}

fn in_state(short: &str, state: CandidateState) -> Desired {
    Desired::new([Candidate::new(target(short)).with_state(state)])
}

fn error(kind: DiscoveryErrorKind) -> DiscoveryError {
    DiscoveryError::new(kind, "no")
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ReconcileConfig)) -> Self {
        let mut config = ReconcileConfig::default();
        change(&mut config);
        Self { reconciler: Reconciler::new(name("me"), config), now: Instant::now(), actions: Vec::new() }
    }

    fn input(&mut self, input: Input) -> &mut Self {
        self.actions = self.reconciler.handle(input, self.now);
        self
    }

    fn answer(&mut self, desired: Desired) -> &mut Self {
        self.answer_of("pods", desired)
    }

    fn answer_of(&mut self, topology: &str, desired: Desired) -> &mut Self {
        self.input(Input::Answer { topology: topology.into(), desired })
    }

    /// A link comes up, through our dial if one runs.
    fn up(&mut self, short: &str) -> &mut Self {
        let dialling = self.link(short) == Some(LinkStatus::Dialling);
        self.input(Input::Up(name(short)));
        if dialling {
            let mut actions = std::mem::take(&mut self.actions);
            self.input(Input::Dialled { name: name(short), result: Ok(()) });
            actions.append(&mut self.actions);
            self.actions = actions;
        }
        self
    }

    fn down(&mut self, short: &str) -> &mut Self {
        self.input(Input::Down { name: name(short), reason: "cut".to_owned() })
    }

    fn failed(&mut self, short: &str, kind: FailureKind) -> &mut Self {
        self.input(Input::Dialled { name: name(short), result: Err(DialFailure::new(kind, "no")) })
    }

    /// Lets time pass, waking as the reconciler asks, and returns who was dialled on the way and after how long.
    fn pass(&mut self, time: Duration) -> Vec<(String, Duration)> {
        let (begin, end) = (self.now, self.now + time);
        let mut dialled = Vec::new();
        for _ in 0..10_000 {
            let Some(at) = self.reconciler.next_wakeup().filter(|at| *at <= end) else {
                self.now = end;
                return dialled;
            };
            self.now = self.now.max(at);
            self.input(Input::Tick);
            dialled.extend(self.dials().into_iter().map(|short| (short, self.now - begin)));
        }
        panic!("the reconciler asks to be woken and does nothing");
    }

    fn dials(&self) -> Vec<String> {
        let dials = self.actions.iter().filter_map(|action| match action {
            Action::Dial(target) => Some(target.name.name().to_owned()),
            _ => None,
        });
        dials.collect()
    }

    fn cuts(&self) -> Vec<String> {
        let cuts = self.actions.iter().filter_map(|action| match action {
            Action::Disconnect { name, .. } => Some(name.name().to_owned()),
            _ => None,
        });
        cuts.collect()
    }

    fn told(&self) -> Vec<&DiscoveryEvent> {
        let told = self.actions.iter().filter_map(|action| match action {
            Action::Tell(event) => Some(event),
            _ => None,
        });
        told.collect()
    }

    fn retry_in(&self) -> Duration {
        let mut retries = self.told().into_iter().filter_map(|event| match event {
            DiscoveryEvent::ConnectFailed { retry_in, .. } => *retry_in,
            _ => None,
        });
        retries.next_back().unwrap()
    }

    fn link(&self, short: &str) -> Option<LinkStatus> {
        let snapshot = self.reconciler.snapshot(self.now);
        snapshot.peers.into_iter().find(|peer| peer.name == name(short)).map(|peer| peer.link)
    }
}

#[test]
fn all_that_are_wanted_are_dialled_at_once_except_ourselves() {
    let mut world = World::new();
    world.answer(candidates(&["a", "b", "me"]));
    assert_eq!(world.dials(), ["a", "b"]);
    world.answer(candidates(&["a", "b", "me"]));
    assert!(world.actions.is_empty(), "a dial runs, nothing changed: {:?}", world.actions);
}

#[test]
fn a_name_that_others_would_call_us_is_not_dialled_either() {
    let mut world = World::new();
    let ours = NodeName::new("me@10-0-0-1.ns.pod.cluster.local").unwrap();
    let both = [name("a"), ours.clone()].map(|name| Candidate::new(name.into()));
    world.answer(Desired::new(both).with_me(SelfView::Called(ours)));
    assert_eq!(world.dials(), ["a"]);
}

#[test]
fn a_node_at_our_address_with_another_basename_is_dialled_as_our_pod_mate() {
    let mut world = World::new();
    world.answer(candidates(&["a", "app"]).with_me(SelfView::Called(name("app"))));
    assert_eq!(world.dials(), ["a", "app"]);
}

#[test]
fn who_is_connected_is_not_dialled_whoever_began_it() {
    let mut world = World::new();
    world.input(Input::Connected(vec![name("a")])).up("b");
    world.answer(candidates(&["a", "b", "c"]));
    assert_eq!(world.dials(), ["c"]);
    // c dials us while our own dial runs, which then fails: that is no failure.
    world.input(Input::Up(name("c"))).failed("c", FailureKind::Other);
    assert!(world.actions.is_empty(), "{:?}", world.actions);
    assert!(world.pass(Duration::from_secs(3600)).is_empty());
}

#[test]
fn dials_are_bounded_and_the_next_begins_when_one_ends() {
    let mut world = World::with(|config| config.max_dials = NonZeroUsize::new(2).unwrap());
    world.answer(candidates(&["a", "b", "c", "d"]));
    assert_eq!(world.dials(), ["a", "b"]);
    world.failed("a", FailureKind::Refused);
    assert_eq!(world.dials(), ["c"]);
    world.up("b");
    assert_eq!(world.dials(), ["d"]);
}

#[test]
fn many_dead_nodes_leave_room_for_a_new_one() {
    let mut world = World::with(|config| config.max_dials = NonZeroUsize::new(4).unwrap());
    let dead: Vec<String> = (0..20).map(|n| format!("dead{n}")).collect();
    let dead: Vec<&str> = dead.iter().map(String::as_str).collect();
    world.answer(candidates(&dead));
    for name in &dead {
        world.failed(name, FailureKind::Gone);
    }
    world.pass(Duration::from_secs(60));
    let mut all = dead.clone();
    all.push("fresh");
    world.answer(candidates(&all));
    assert_eq!(world.dials(), ["fresh"]);
}

#[test]
fn dials_without_an_answer_do_not_keep_others_waiting() {
    let mut world = World::with(|config| config.max_dials = NonZeroUsize::new(2).unwrap());
    let names: Vec<String> = (0..40).map(|n| format!("n{n:02}")).collect();
    world.answer(candidates(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(world.dials(), ["n00", "n01"]);
    let dialled = world.pass(Duration::from_secs(3));
    let (last, after) = dialled.last().unwrap();
    assert_eq!((dialled.len(), last.as_str(), *after), (6, "n07", Duration::from_secs(3)));
    assert_eq!(world.pass(Duration::from_secs(20)).len(), 8, "eight times as many, and no more");
    world.failed("n00", FailureKind::Timeout);
    assert_eq!(world.dials(), ["n16"]);
}

#[test]
fn news_while_a_dial_runs_lead_to_another_one_when_it_fails() {
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    world.answer(Desired::new([Candidate::new(target("a")).with_generation(2)]));
    assert!(world.dials().is_empty());
    world.failed("a", FailureKind::Refused);
    assert_eq!(world.dials(), ["a"]);
    world.failed("a", FailureKind::Refused);
    assert!(world.dials().is_empty());
}

#[test]
fn a_dial_that_went_well_without_a_link_afterwards_is_a_failure() {
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    world.input(Input::Connected(Vec::new())).input(Input::Dialled { name: name("a"), result: Ok(()) });
    assert!(pauses::near(world.retry_in(), 1.0));
}

#[test]
fn no_error_drops_a_link_or_forgets_a_name() {
    let mut world = World::with(|config| config.prune = Prune::Immediate);
    world.answer(candidates(&["a", "b"])).up("a");
    for kind in [DiscoveryErrorKind::Forbidden, DiscoveryErrorKind::Timeout, DiscoveryErrorKind::Unreachable] {
        world.input(Input::Failure { topology: "pods".into(), error: error(kind) });
        assert!(world.cuts().is_empty());
        assert_eq!(world.told().len(), 1, "each new kind is told once");
        world.input(Input::Failure { topology: "pods".into(), error: error(kind) });
        assert!(world.told().is_empty());
        world.pass(Duration::from_secs(3600));
    }
    assert!(matches!(world.link("a"), Some(LinkStatus::Up { .. })));
    world.failed("b", FailureKind::Timeout);
    assert!(!world.pass(Duration::from_secs(5)).is_empty(), "b is still dialled from the last good answer");
    world.down("a");
    assert_eq!(world.dials(), ["a"], "a lost link too");
    world.input(Input::Healthy { topology: "pods".into() });
    assert!(matches!(world.told()[..], [DiscoveryEvent::Recovered { .. }]));
}

#[test]
fn an_empty_or_smaller_answer_drops_no_link() {
    for prune in [Prune::Immediate, Prune::AfterGrace(Duration::ZERO), Prune::Never] {
        for answer in [candidates(&[]), candidates(&["b"])] {
            let mut world = World::with(|config| config.prune = prune);
            world.answer(candidates(&["a", "b"])).up("a").up("b");
            world.answer(answer);
            assert!(world.told().iter().any(|event| matches!(
                event,
                DiscoveryEvent::Removed { evidence: Evidence::Absence, connected: true, .. }
            )));
            assert!(world.cuts().is_empty());
            world.pass(Duration::from_secs(24 * 3600));
            assert!(matches!(world.link("a"), Some(LinkStatus::Up { .. })));
        }
    }
}

#[test]
fn what_is_absent_and_not_connected_is_no_longer_dialled() {
    let mut world = World::new();
    world.answer(candidates(&["a", "b"])).up("b");
    world.answer(candidates(&[]));
    world.failed("a", FailureKind::Timeout);
    assert!(matches!(world.told()[..], [DiscoveryEvent::ConnectFailed { retry_in: None, .. }]));
    world.down("b");
    assert!(world.pass(Duration::from_secs(3600)).is_empty());
    world.input(Input::Tick);
    assert_eq!(world.link("a"), None, "forgotten in the end");
}

#[test]
fn rotating_answers_do_not_end_pauses_and_drop_nothing() {
    let mut world = World::with(|config| config.prune = Prune::Immediate);
    world.answer(candidates(&["a", "b"])).up("b").failed("a", FailureKind::Timeout).failed("a", FailureKind::Timeout);
    world.pass(Duration::from_millis(500));
    for _ in 0..10 {
        world.answer(candidates(&["b"]));
        assert!(world.cuts().is_empty() && world.dials().is_empty());
        world.answer(candidates(&["a"]));
        assert!(world.cuts().is_empty() && world.dials().is_empty(), "{:?}", world.actions);
    }
}

#[test]
fn proof_that_a_node_left_ends_its_link_as_the_policy_says() {
    let grace = Duration::from_secs(90);
    for (prune, cut_after) in
        [(Prune::Never, None), (Prune::AfterGrace(grace), Some(grace)), (Prune::Immediate, Some(Duration::ZERO))]
    {
        let mut world = World::with(|config| config.prune = prune);
        world.answer(candidates(&["a", "b"])).up("a").up("b");
        world.answer(candidates(&["b"]).with_gone([name("a")]));
        let mut cut = (!world.cuts().is_empty()).then_some(Duration::ZERO);
        let begin = world.now;
        while world.now < begin + Duration::from_secs(600) {
            world.now += Duration::from_secs(1);
            world.input(Input::Tick);
            if !world.cuts().is_empty() {
                assert_eq!((cut, world.cuts()), (None, vec!["a".to_owned()]), "once");
                cut = Some(world.now - begin);
            }
        }
        assert_eq!(cut, cut_after);
    }
}

#[test]
fn the_reconciler_asks_to_be_woken_for_the_end_of_the_grace() {
    let mut world = World::new();
    world.answer(candidates(&["a"])).up("a");
    world.answer(candidates(&[]).with_gone([name("a")]));
    assert_eq!(world.reconciler.next_wakeup(), Some(world.now + PRUNE_GRACE));
    world.pass(PRUNE_GRACE);
    assert_eq!(world.cuts(), ["a"]);
}

#[test]
fn a_node_that_comes_back_within_the_grace_keeps_its_link() {
    let mut world = World::new();
    world.answer(candidates(&["a"])).up("a");
    world.answer(candidates(&[]).with_gone([name("a")]));
    world.pass(PRUNE_GRACE / 2);
    world.answer(candidates(&["a"]));
    world.pass(PRUNE_GRACE * 4);
    assert!(matches!(world.link("a"), Some(LinkStatus::Up { .. })));
}

#[test]
fn a_node_that_left_and_is_not_connected_is_forgotten_and_dialled_when_it_returns() {
    let mut world = World::new();
    world.answer(candidates(&["a"])).failed("a", FailureKind::Refused).failed("a", FailureKind::Refused);
    world.answer(candidates(&[]).with_gone([name("a")]));
    assert_eq!(world.link("a"), None);
    world.answer(candidates(&["a"]));
    assert_eq!(world.dials(), ["a"]);
}

#[test]
fn nobody_who_is_unknown_to_discovery_loses_a_link() {
    let mut world = World::with(|config| config.prune = Prune::Immediate);
    world.up("shell");
    world.answer(candidates(&["a"]));
    world.answer(candidates(&[]).with_gone([name("a")]));
    assert!(world.cuts().is_empty());
}

#[test]
fn terminating_nodes_are_neither_dialled_nor_dropped() {
    let mut world = World::with(|config| config.prune = Prune::Immediate);
    world.answer(in_state("a", CandidateState::Terminating));
    assert!(world.dials().is_empty());
    world.answer(candidates(&["a"])).up("a");
    world.answer(in_state("a", CandidateState::Terminating));
    assert!(world.cuts().is_empty());
    world.pass(Duration::from_secs(60));
    world.down("a");
    assert!(world.dials().is_empty());
    assert!(world.pass(Duration::from_secs(3600)).is_empty());
    assert_eq!(world.link("a"), Some(LinkStatus::Down));
}

#[test]
fn ready_nodes_come_before_those_that_are_not() {
    let mut world = World::with(|config| config.max_dials = NonZeroUsize::MIN);
    let mut desired = candidates(&["z"]);
    desired.peers.extend(in_state("a", CandidateState::NotReady).peers);
    world.answer(desired);
    assert_eq!(world.dials(), ["z"]);
    world.failed("z", FailureKind::Refused);
    assert_eq!(world.dials(), ["a"], "which are dialled nevertheless");
}

#[test]
fn topologies_add_up_and_one_alone_takes_nothing_away() {
    let mut world = World::with(|config| config.prune = Prune::Immediate);
    world.answer_of("pods", candidates(&["a", "b"])).up("a").up("b");
    world.answer_of("list", candidates(&["b", "c"]));
    assert_eq!(world.dials(), ["c"]);
    world.answer_of("pods", candidates(&[]).with_gone([name("a"), name("b")]));
    assert_eq!(world.cuts(), ["a"], "b is still on the list");
    world.pass(Duration::from_secs(3600));
    world.down("b");
    assert_eq!(world.dials(), ["b"]);
}

#[test]
fn that_a_node_is_on_its_way_out_counts_for_all_topologies() {
    let mut world = World::new();
    world.answer_of("pods", in_state("a", CandidateState::Terminating));
    world.answer_of("list", candidates(&["a"]));
    assert!(world.dials().is_empty());
}

#[test]
fn an_address_is_better_than_none() {
    let mut world = World::new();
    let at = DialTarget::at(name("a"), IpAddr::from([10, 0, 0, 1]));
    world.answer_of("list", candidates(&["a"])).failed("a", FailureKind::Lookup);
    world.answer_of("pods", Desired::new([Candidate::new(at.clone())]));
    assert!(world.actions.contains(&Action::Dial(at)), "{:?}", world.actions);
}

#[test]
fn that_peers_would_not_find_us_is_told_once_with_both_names() {
    let mut world = World::new();
    let bad = || candidates(&["a", "alias"]).with_me(SelfView::Called(name("alias")));
    world.answer(bad()).up("a");
    assert!(!world.told().iter().any(|event| matches!(event, DiscoveryEvent::NotFindable { .. })), "give it time");
    world.pass(Duration::from_secs(10));
    let told = world.told();
    let [DiscoveryEvent::NotFindable { own, called, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((own, called), (&name("me"), &Some(name("alias"))));
    let line = told[0].to_string();
    assert!(line.contains("me@h") && line.contains("alias@h"), "{line}");

    world.answer(bad());
    world.now += Duration::from_secs(1800);
    world.input(Input::Tick);
    assert!(world.told().is_empty(), "not again so soon: {:?}", world.told());
    world.pass(Duration::from_secs(1801));
    assert!(matches!(world.told()[..], [DiscoveryEvent::NotFindable { .. }]));
}

#[test]
fn a_pod_that_is_a_little_late_in_the_api_is_no_reason_to_warn() {
    let mut world = World::new();
    world.answer(candidates(&["a"]).with_me(SelfView::Missing("labels".to_owned()))).up("a");
    world.pass(Duration::from_secs(8));
    world.answer(candidates(&["a", "me"]).with_me(SelfView::Called(name("me"))));
    assert!(world.told().is_empty());
    assert_eq!(world.reconciler.next_wakeup(), None);
}

#[test]
fn links_that_news_missed_are_set_right() {
    let mut world = World::new();
    world.answer(candidates(&["a", "b"])).up("a");
    world.pass(Duration::from_secs(60));
    world.failed("b", FailureKind::Refused);
    world.input(Input::Connected(vec![name("b")]));
    assert_eq!(world.dials(), ["a"]);
    assert!(matches!(world.link("b"), Some(LinkStatus::Up { .. })));
}

#[test]
fn after_the_stop_nothing_is_dialled_and_nothing_dropped() {
    let mut world = World::with(|config| config.prune = Prune::Immediate);
    world.answer(candidates(&["a", "b"])).up("a").input(Input::Stop);
    world.answer(candidates(&["c"]).with_gone([name("a")]));
    assert!(world.cuts().is_empty() && world.dials().is_empty());
    world.failed("b", FailureKind::Refused).down("a");
    assert!(world.dials().is_empty());
    assert_eq!(world.reconciler.next_wakeup(), None);
}

#[test]
fn a_thousand_nodes_of_which_most_are_dead_all_get_their_turn() {
    let mut world = World::new();
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.answer(candidates(&names));
    let mut running: Vec<(Instant, String)> = world.dials().into_iter().map(|short| (world.now, short)).collect();
    let mut tried = std::collections::BTreeSet::new();
    let begin = world.now;
    // Each dial takes its seven seconds and fails.
    while world.now < begin + Duration::from_secs(1000) {
        let Some(first) = running.iter().map(|(at, _)| *at).min() else { break };
        let (ended, rest): (Vec<_>, Vec<_>) = running.into_iter().partition(|(at, _)| *at == first);
        running = rest;
        world.now = first + Duration::from_secs(7);
        for (_, short) in ended {
            tried.insert(short.clone());
            world.failed(&short, FailureKind::Timeout);
            running.extend(world.dials().into_iter().map(|short| (world.now, short)));
        }
        assert!(running.len() <= 32);
    }
    assert_eq!(tried.len(), 1000);
    assert_eq!(world.reconciler.snapshot(world.now).peers.len(), 1000);
}
