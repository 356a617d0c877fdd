//! Whom of those that were found it dials, and who comes first.

use std::collections::BTreeSet;

use super::*;

fn limited(own: &str, max_peers: usize) -> World {
    let mut config = ReconcileConfig::default();
    config.policy.max_peers = NonZeroUsize::new(max_peers);
    World { reconciler: Reconciler::new(name(own), config), now: Instant::now(), actions: Vec::new() }
}

fn gated() -> World {
    World::with(|config| config.policy.release_gate = true)
}

/// Nodes as `name/zone/release`; an empty part is not known.
fn placed(nodes: &[&str]) -> Desired {
    Desired::new(nodes.iter().map(|text| {
        let mut parts = text.split('/').map(|part| (!part.is_empty()).then_some(part));
        let short = parts.next().flatten().unwrap();
        Candidate::new(target(short)).with_zone(parts.next().flatten()).with_release(parts.next().flatten())
    }))
}

const TEN: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

fn held(world: &World, why: HeldBack) -> Vec<String> {
    let peers = world.reconciler.snapshot(world.now).peers.into_iter();
    peers.filter(|peer| peer.link == LinkStatus::HeldBack(why)).map(|peer| peer.name.name().to_owned()).collect()
}

#[test]
fn no_more_are_dialled_than_the_limit_and_a_lost_or_failed_one_makes_room_for_the_next() {
    let mut world = limited("me", 3);
    world.answer(candidates(&TEN));
    let first = world.dials();
    assert_eq!(first.len(), 3, "{first:?}");
    assert_eq!(held(&world, HeldBack::LimitReached).len(), 7);
    world.failed(&first[0], FailureKind::Timeout);
    let [fourth] = &world.dials()[..] else { panic!("{:?}", world.actions) };
    assert!(!first.contains(fourth));
    for short in [&first[1], &first[2], fourth] {
        world.up(short);
        assert!(world.dials().is_empty(), "{:?}", world.actions);
    }
    assert!(world.pass(Duration::from_secs(3600)).is_empty(), "as many as there may be are up");
    assert!(world.reconciler.next_wakeup().is_none(), "nothing to wake up for");
    // Lost after a long time it is tried again, and when it is not there, the next one is.
    world.down(&first[1]);
    let again = world.dials();
    assert_eq!(again.len(), 1);
    world.failed(&again[0], FailureKind::Refused);
    assert_eq!(world.dials().len(), 1);
    assert_ne!(world.dials(), again);
}

#[test]
fn links_of_any_origin_count_and_none_is_dropped_when_there_are_too_many() {
    let mut world = limited("me", 2);
    world.input(Input::Connected(vec![name("shell"), name("a"), name("b"), name("c")]));
    world.answer(candidates(&TEN));
    assert!(world.dials().is_empty() && world.cuts().is_empty(), "{:?}", world.actions);
    world.pass(Duration::from_secs(3600));
    assert!(world.cuts().is_empty());
    world.down("shell").down("a");
    assert!(world.dials().is_empty(), "two are still up");
    world.down("b");
    assert_eq!(world.dials().len(), 1);
    // One that is not even known comes in while that dial runs.
    let dialled = world.dials();
    world.up("guest").failed(&dialled[0], FailureKind::Timeout);
    assert!(world.pass(Duration::from_secs(3600)).is_empty());
    assert!(world.cuts().is_empty());
}

#[test]
fn whom_it_dials_first_is_always_the_same_for_one_node_and_differs_between_nodes() {
    let many: Vec<String> = (0..100).map(|n| format!("n{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let chosen = |own: &str| {
        let mut world = limited(own, 4);
        world.answer(candidates(&many));
        world.dials()
    };
    let mut times_chosen = std::collections::BTreeMap::<String, usize>::new();
    let mut choices = BTreeSet::new();
    for gusset in 0..50 {
        let own = format!("gusset{gusset}");
        let choice = chosen(&own);
        assert_eq!(choice, chosen(&own));
        choices.insert(choice.clone());
        for peer in choice {
            *times_chosen.entry(peer).or_default() += 1;
        }
    }
    // 200 choices of 100 nodes: each is chosen twice on average.
    assert!(choices.len() > 45 && times_chosen.len() > 70, "{} of 100 nodes are chosen", times_chosen.len());
    assert!(times_chosen.values().all(|times| *times < 12), "{times_chosen:?}");
    // Somebody who joins or leaves changes the choice by no more than themselves.
    let before: BTreeSet<_> = chosen("gusset1").into_iter().collect();
    let gone = before.first().unwrap().clone();
    let mut world = limited("gusset1", 4);
    world.answer(candidates(&many.iter().copied().filter(|short| *short != gone).collect::<Vec<_>>()));
    let after: BTreeSet<_> = world.dials().into_iter().collect();
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), [&gone]);
}

#[test]
fn nodes_of_our_zone_are_dialled_first() {
    let nodes = ["a/west", "b/east", "c/", "d/east", "me/east"];
    for own_zone in [None, Some("west".into())] {
        let mut world = World::with(|config| {
            config.max_dials = NonZeroUsize::MIN;
            config.policy.same_zone_first = true;
            config.policy.own_zone.clone_from(&own_zone);
        });
        let order = if own_zone.is_some() { ["a", "b", "c", "d"] } else { ["b", "d", "a", "c"] };
        world.answer(placed(&nodes));
        for short in order {
            assert_eq!(world.dials(), [short], "own zone {own_zone:?}");
            world.up(short);
        }
    }
}

#[test]
fn with_a_limit_nodes_of_our_zone_are_preferred_and_those_of_others_are_better_than_none() {
    let mut world = limited("me", 2);
    world.reconciler.config.policy.same_zone_first = true;
    world.answer(placed(&["me/east", "a/west", "b/west", "c/west", "x/east", "y/east"]));
    let mut first = world.dials();
    first.sort();
    assert_eq!(first, ["x", "y"]);
    world.up("x").failed("y", FailureKind::Timeout);
    let [far] = &world.dials()[..] else { panic!("{:?}", world.actions) };
    assert!(["a", "b", "c"].contains(&far.as_str()));
}

#[test]
fn of_nodes_that_all_start_at_the_same_time_those_of_our_zone_come_first_again_and_again() {
    let mut world = limited("me", 1);
    world.reconciler.config.policy.same_zone_first = true;
    world.answer(placed(&["me/east", "a/west", "b/west", "x/east"]));
    for _ in 0..3 {
        assert_eq!(world.dials(), ["x"]);
        world.failed("x", FailureKind::Refused);
        for _ in ["a", "b"] {
            let dialled = world.dials();
            if let Some(short) = dialled.first().filter(|short| *short != "x") {
                world.failed(short, FailureKind::Refused);
            }
        }
        // All of them are due by then.
        world.now += Duration::from_secs(1);
        world.input(Input::Tick);
    }
}

#[test]
fn far_nodes_that_failed_get_their_turn_though_many_near_ones_are_dead() {
    let mut world = World::with(|config| {
        config.max_dials = NonZeroUsize::new(4).unwrap();
        config.policy.same_zone_first = true;
    });
    let dead: Vec<String> = (0..200).map(|n| format!("n{n}/east")).collect();
    let mut nodes: Vec<&str> = dead.iter().map(String::as_str).collect();
    nodes.extend(["me/east", "far/west"]);
    world.answer(placed(&nodes));
    let mut running = world.dials();
    let mut far = 0;
    for _ in 0..600 {
        world.now += Duration::from_secs(7);
        for short in std::mem::take(&mut running) {
            far += usize::from(short == "far");
            world.failed(&short, FailureKind::Timeout);
            running.extend(world.dials());
        }
        world.input(Input::Tick);
        running.extend(world.dials());
    }
    assert!(far >= 3, "dialled {far} times in {} s", 600 * 7);
}

#[test]
fn only_nodes_of_our_release_are_dialled_and_links_to_others_stay() {
    let mut world = gated();
    world.up("c");
    world.answer(placed(&["me//v2", "a//v2", "b//v1", "c//v1", "d//"]));
    assert_eq!(world.dials(), ["a"]);
    assert_eq!(
        (held(&world, HeldBack::OtherRelease), held(&world, HeldBack::NoRelease)),
        (vec!["b".into()], vec!["d".into()])
    );
    assert!(matches!(world.link("c"), Some(LinkStatus::Up { .. })));
    world.up("b");
    world.pass(Duration::from_secs(3600));
    assert!(world.cuts().is_empty(), "who comes from the other side is welcome");
    world.down("b").down("c");
    assert!(world.pass(Duration::from_secs(3600)).is_empty());
    // The old ones are replaced by new ones under the same names.
    world.answer(placed(&["me//v2", "a//v2", "b//v2", "c//v1", "d//"]));
    assert_eq!(world.dials(), ["b"]);
}

#[test]
fn the_release_that_was_configured_goes_before_the_one_that_was_found() {
    let mut world = gated();
    world.reconciler.config.policy.own_release = Some("v1".into());
    world.answer(placed(&["me//v2", "a//v2", "b//v1"]));
    assert_eq!(world.dials(), ["b"]);
}

#[test]
fn without_the_gate_releases_do_not_matter() {
    let mut world = World::new();
    world.answer(placed(&["me//v2", "a//v2", "b//v1", "c//"]));
    assert_eq!(world.dials(), ["a", "b", "c"]);
}

#[test]
fn while_our_release_is_not_known_nobody_with_one_is_dialled_and_that_is_told_once() {
    let mut world = gated();
    world.answer(placed(&["a//v2", "b//v1", "c//"]));
    assert_eq!(world.dials(), ["c"]);
    assert_eq!(held(&world, HeldBack::OwnReleaseUnknown), ["a", "b"]);
    world.up("c");
    world.pass(Duration::from_secs(9));
    let told = |world: &World| {
        let told = world.told().into_iter().find(|event| matches!(event, DiscoveryEvent::ReleaseUnknown { .. }));
        told.map(ToString::to_string)
    };
    assert_eq!(told(&world), None, "our own pod may be a little late in the API");
    world.pass(Duration::from_secs(1));
    let line = told(&world).unwrap();
    assert!(line.contains("2 nodes") && line.contains("own release"), "{line}");
    world.answer(placed(&["a//v2", "b//v1", "c//"]));
    world.now += Duration::from_secs(3600);
    world.input(Input::Tick);
    assert_eq!(told(&world), None, "once");
    world.answer(placed(&["me//v1", "a//v2", "b//v1", "c//"]));
    assert_eq!(world.dials(), ["b"]);
    // An answer that we are missing from is no news about our release.
    world.answer(placed(&["a//v2", "b//v1", "x//v1"]));
    assert_eq!(world.dials(), ["x"]);
}

#[test]
fn a_side_car_belongs_to_the_release_and_zone_of_its_pod() {
    let mut world = gated();
    world.answer(placed(&["app//v2", "a//v1", "b//v2"]).with_me(SelfView::Called(name("app"))));
    assert_eq!(world.dials(), ["app", "b"]);
}

#[test]
fn who_is_named_by_hand_needs_no_release_and_one_of_another_release_is_held_back_nevertheless() {
    let by_hand =
        |shorts: &[&str]| Desired::new(shorts.iter().map(|short| Candidate::new(target(short)).named_by_hand()));
    let mut world = gated();
    world.answer_of("pods", placed(&["me//v2", "a//v1"]));
    world.answer_of("list", by_hand(&["a", "b"]));
    assert_eq!(world.dials(), ["b"]);
    assert_eq!(held(&world, HeldBack::OtherRelease), ["a"]);
}
