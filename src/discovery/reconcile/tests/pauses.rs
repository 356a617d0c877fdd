//! How long it waits after a failure, and when people hear of one.

use super::*;

pub(super) fn near(pause: Duration, secs: f64) -> bool {
    (secs * 0.8..=secs * 1.2).contains(&pause.as_secs_f64())
}

/// Shortly after it was found: some 250 ms, 60 % more or less.
fn flat(pause: Duration) -> bool {
    (100..=400).contains(&pause.as_millis())
}

#[test]
fn pauses_between_dials_double_with_a_jitter_up_to_a_limit() {
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    world.pass(ReconcileConfig::default().boot_window);
    for secs in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        world.failed("a", FailureKind::Refused);
        let pause = world.retry_in();
        assert!(near(pause, secs), "{pause:?} is not about {secs} s");
        let dialled = world.pass(Duration::from_secs(40));
        assert_eq!(dialled, [("a".to_owned(), pause)]);
    }
}

#[test]
fn what_only_a_person_can_mend_is_tried_less_often() {
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    for secs in [10.0, 20.0, 40.0, 80.0, 120.0, 120.0] {
        world.failed("a", FailureKind::WrongCookie);
        assert!(near(world.retry_in(), secs), "{:?} is not about {secs} s", world.retry_in());
        assert_eq!(world.pass(Duration::from_secs(150)).len(), 1);
    }
}

#[test]
fn news_about_a_node_end_its_pause() {
    let at = |ip: [u8; 4], state, generation| {
        let target = DialTarget::at(name("a"), IpAddr::from(ip));
        Desired::new([Candidate::new(target).with_state(state).with_generation(generation)])
    };
    let (first, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut world = World::new();
    world.answer(at(first, CandidateState::NotReady, 1));
    for news in [
        at(other, CandidateState::NotReady, 1),
        at(other, CandidateState::NotReady, 2),
        at(other, CandidateState::Ready, 2),
    ] {
        world.failed("a", FailureKind::Timeout);
        world.failed("a", FailureKind::Timeout);
        world.answer(news.clone());
        assert_eq!(world.dials(), ["a"], "{news:?}");
        world.failed("a", FailureKind::Timeout);
        assert!(near(world.retry_in(), 1.0), "pauses start afresh");
        world.answer(news);
        assert!(world.dials().is_empty(), "the same again is no news");
    }
}

#[test]
fn a_lost_link_is_dialled_at_once_and_one_that_flaps_is_not() {
    let mut world = World::new();
    world.answer(candidates(&["a"])).up("a");
    world.pass(Duration::from_secs(60));
    world.down("a");
    assert_eq!(world.dials(), ["a"]);
    assert!(world.told().iter().any(|event| matches!(event, DiscoveryEvent::Lost { .. })));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        world.up("a");
        world.now += Duration::from_millis(10);
        world.down("a");
        assert!(world.dials().is_empty());
        pauses.extend(world.pass(Duration::from_secs(60)).into_iter().map(|(_, pause)| pause.as_secs_f64()));
    }
    assert_eq!(pauses.len(), 4);
    assert!(pauses.windows(2).all(|pair| pair[0] * 1.2 < pair[1]), "{pauses:?}");
}

#[test]
fn a_node_that_is_still_starting_is_tried_again_soon_and_after_a_while_less_and_less_often() {
    for kind in [FailureKind::Refused, FailureKind::NotReady] {
        let mut world = World::new();
        world.answer(candidates(&["a"]));
        let (found, mut tries) = (world.now, 0);
        while world.now - found < Duration::from_secs(15) {
            world.failed("a", kind);
            assert!(flat(world.retry_in()), "{:?}", world.retry_in());
            assert_eq!(world.pass(world.retry_in()).len(), 1);
            tries += 1;
        }
        assert!((37..=150).contains(&tries), "{tries} tries in 15 s");
        for secs in [1.0, 2.0, 4.0] {
            world.failed("a", kind);
            assert!(near(world.retry_in(), secs), "{:?} is not about {secs} s", world.retry_in());
            assert_eq!(world.pass(world.retry_in()).len(), 1);
        }
        // Its container was started again.
        world.failed("a", kind).answer(Desired::new([Candidate::new(target("a")).with_generation(2)]));
        assert_eq!(world.dials(), ["a"]);
        world.failed("a", kind);
        assert!(flat(world.retry_in()), "{:?}", world.retry_in());
    }
}

#[test]
fn what_does_not_come_from_starting_is_not_tried_so_soon() {
    for (kind, secs) in [(FailureKind::Gone, 1.0), (FailureKind::Timeout, 1.0), (FailureKind::WrongCookie, 10.0)] {
        let mut world = World::new();
        world.answer(candidates(&["a"])).failed("a", kind);
        assert!(near(world.retry_in(), secs), "{kind}: {:?}", world.retry_in());
    }
}

#[test]
fn the_more_nodes_are_not_there_the_longer_is_each_left_alone() {
    let dials_of_a_second = |nodes: usize| {
        let mut world = World::new();
        let names: Vec<String> = (0..nodes).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.answer(candidates(&names));
        // Each dial fails as soon as it begins.
        let (end, mut dials) = (world.now + Duration::from_secs(10), 0);
        let mut running = world.dials();
        while world.now < end {
            for short in std::mem::take(&mut running) {
                world.failed(&short, FailureKind::Refused);
                running.extend(world.dials());
                dials += 1;
            }
            if !running.is_empty() {
                continue;
            }
            let next = world.reconciler.next_wakeup().unwrap();
            world.now = world.now.max(next);
            world.input(Input::Tick);
            running.extend(world.dials());
        }
        dials / 10
    };
    assert!((30..=100).contains(&dials_of_a_second(10)), "{}", dials_of_a_second(10));
    assert!(dials_of_a_second(2000) < 600, "{}", dials_of_a_second(2000));
}

#[test]
fn a_node_that_was_named_by_hand_is_waited_for_with_shorter_pauses() {
    let mut world = World::new();
    world.answer(Desired::new([Candidate::new(target("a")).named_by_hand()]));
    world.pass(Duration::from_secs(15));
    for secs in [1.0, 2.0, 4.0, 5.0, 5.0] {
        world.failed("a", FailureKind::Refused);
        assert!(near(world.retry_in(), secs), "{:?} is not about {secs} s", world.retry_in());
        assert_eq!(world.pass(Duration::from_secs(7)).len(), 1);
    }
    world.failed("a", FailureKind::WrongCookie);
    assert!(world.retry_in() > Duration::from_secs(60), "which a wrong cookie does not change");
}

#[test]
fn a_failure_is_told_once_for_each_kind_when_it_has_gone_on_for_three_seconds() {
    use FailureKind::{NotReady, Refused, Timeout};
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    let begin = world.now;
    let mut told = Vec::new();
    // Each dial ends after so many milliseconds of the whole, in this way.
    for (at, kind) in [
        (0, Refused),
        (2900, Refused),
        (3000, NotReady),
        (5900, NotReady),
        (6000, NotReady),
        (6300, NotReady),
        (6400, Timeout),
        (9500, Timeout),
        (9600, Timeout),
    ] {
        let end = begin + Duration::from_millis(at);
        world.now = end.max(world.now);
        if world.link("a") != Some(LinkStatus::Dialling) {
            world.now = world.reconciler.next_wakeup().unwrap_or(world.now).max(world.now);
            world.input(Input::Tick);
        }
        world.failed("a", kind);
        if let [DiscoveryEvent::ConnectFailed { tell: true, kind, .. }] = world.told()[..] {
            told.push((*kind, (world.now - begin).as_secs()));
        }
    }
    let kinds: Vec<_> = told.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [NotReady, Timeout], "{told:?}");
}

#[test]
fn one_dial_that_takes_three_seconds_to_fail_is_told_at_once() {
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    world.now += Duration::from_secs(7);
    world.failed("a", FailureKind::Timeout);
    assert!(matches!(world.told()[..], [DiscoveryEvent::ConnectFailed { tell: true, .. }]), "{:?}", world.told());
}

#[test]
fn what_needs_a_person_is_told_at_once_and_once() {
    let mut world = World::new();
    world.answer(candidates(&["a"]));
    let mut told = || {
        world.failed("a", FailureKind::WrongCookie);
        let told = matches!(world.told()[..], [DiscoveryEvent::ConnectFailed { tell: true, .. }]);
        world.pass(Duration::from_secs(150));
        told
    };
    assert_eq!([told(), told(), told()], [true, false, false]);
    // After it was there, it is news again.
    world.up("a");
    world.pass(Duration::from_secs(60));
    world.down("a").failed("a", FailureKind::WrongCookie);
    assert!(matches!(world.told()[..], [DiscoveryEvent::ConnectFailed { tell: true, .. }]), "{:?}", world.told());
}
