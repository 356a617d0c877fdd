//! Replicas that talk in memory: whatever is lost, doubled or out of order, they agree in the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::core::{Core, Out, Periods, Said};
use super::crdt::{Context, Crdt, Mode, Part, ReplicaRef};
use super::presence::Presence;
use super::wire;
use crate::atom;
use crate::etf::{Atom, Creation, Map, Payload, Pid, Term};

fn name(number: usize) -> ReplicaRef {
    ReplicaRef { node: Atom::new(format!("n{number}@h")).unwrap(), vsn: 100 + number as i64 }
}

fn pid(node: &ReplicaRef, id: u32) -> Pid {
    Pid { node: node.node.clone(), id, serial: 0, creation: Creation(1) }
}

fn presence(node: &ReplicaRef, id: u32, meta: i64) -> Presence {
    let meta = Map::from_iter([(Term::Atom(atom!("m")), Term::from(meta))]);
    Presence::new(Bytes::from_static(b"t"), Term::from(i64::from(id)), pid(node, id), meta)
}

fn seen(crdt: &Crdt) -> BTreeSet<(Atom, u32, String)> {
    let entry = |presence: &Presence| (presence.node().clone(), presence.pid().id, presence.meta().to_string());
    crdt.topic(b"t").map(entry).collect()
}

/// Over the wire and back.
fn sent(part: &Part) -> Part {
    let said = Said::TransferAck { reference: Term::from(1), from: part.replica.clone(), part: part.clone() };
    let Said::TransferAck { part: read, .. } = wire::read(&wire::write(&said).unwrap()).unwrap() else { panic!() };
    assert_eq!(read, *part);
    read
}

/// One change: a process joins, updates or leaves.
fn change(crdt: &mut Crdt, id: u32, step: i64) {
    let own = crdt.own().clone();
    match crdt.find(&pid(&own, id), b"t", &Term::from(i64::from(id))).map(|(number, _)| number) {
        None => crdt.join(presence(&own, id, step)).unwrap(),
        Some(number) => {
            crdt.leave(number).unwrap();
            if step % 2 == 0 {
                crdt.join(presence(&own, id, step)).unwrap();
            }
        }
    }
}

/// A history of one replica, as the deltas that it broadcasts and the whole of it.
fn history(steps: &[(u32, bool)]) -> (Crdt, Vec<Part>) {
    let (mut crdt, mut parts, mut told) = (Crdt::new(name(0)), Vec::new(), 0);
    for (step, (id, tell)) in steps.iter().enumerate() {
        change(&mut crdt, *id, step as i64);
        if *tell {
            parts.extend(crdt.since(told));
            told = crdt.own_clock();
        }
    }
    parts.extend(crdt.since(told));
    // Who lacks nothing and asks all the same gets the whole of it.
    parts.push(crdt.answer(&crdt.context()));
    (crdt, parts)
}

#[test]
fn numbers_are_those_of_phoenix() {
    let mut crdt = Crdt::new(name(0));
    crdt.join(presence(crdt.own(), 1, 0)).unwrap();
    crdt.leave(1).unwrap();
    crdt.join(presence(&name(0), 1, 1)).unwrap();
    let delta = crdt.since(0).unwrap();
    assert_eq!((crdt.own_clock(), &delta.mode), (3, &Mode::Delta(0, 3)));
    assert_eq!(delta.clouds[&name(0)], BTreeSet::from([1, 2, 3]));
    assert_eq!(delta.values.keys().map(|tag| tag.number).collect::<Vec<_>>(), [3]);
    // A leave of what was told before names both its tag and its own number.
    crdt.leave(3).unwrap();
    let delta = crdt.since(3).unwrap();
    assert_eq!((delta.clouds[&name(0)].clone(), delta.values.len()), (BTreeSet::from([3, 4]), 0));
    assert_eq!(crdt.since(4), None);
}

#[test]
fn what_was_too_long_ago_is_sent_as_a_whole() {
    let mut crdt = Crdt::new(name(0));
    for step in 0..=super::crdt::MAX_DELTA as i64 {
        change(&mut crdt, 1, step * 2);
    }
    assert!(crdt.since(0).is_none());
    assert_eq!(crdt.answer(&Context::from([(name(0), 0)])).mode, Mode::Whole);
    let last = crdt.own_clock();
    assert_eq!(crdt.answer(&Context::from([(name(0), last - 5)])).mode, Mode::Delta(last - 5, last));
}

#[test]
fn nobody_else_removes_what_is_ours_or_adds_to_it() {
    let mut crdt = Crdt::new(name(0));
    crdt.join(presence(&name(0), 1, 0)).unwrap();
    let mut liar = Crdt::new(name(1));
    liar.join(presence(&name(1), 1, 0)).unwrap();
    let mut part = liar.answer(&liar.context());
    part.context.insert(name(0), 99);
    let before = seen(&crdt);
    // Nor is anything taken of a replica that was never heard.
    assert!(crdt.merge(&part).unwrap().is_empty());
    assert_eq!(seen(&crdt), before);
    crdt.up(&name(1)).unwrap();
    assert_eq!(crdt.merge(&part).unwrap().joins.len(), 1);
    assert_eq!(crdt.merge(&part).unwrap().joins.len(), 0);
    assert_eq!(crdt.down(&name(1)).len(), 1);
    assert_eq!(seen(&crdt), before);
    assert_eq!(crdt.up(&name(1)).unwrap().len(), 1);
    assert_eq!(crdt.forget(&name(1)).len(), 1);
    assert_eq!(seen(&crdt), before);
}

#[test]
fn odd_bytes_are_errors() {
    let good = wire::write(&Said::Permdown { from: name(0) }).unwrap();
    assert_eq!(wire::read(&good).unwrap(), Said::Permdown { from: name(0) });
    for odd in [
        "{pub,heartbeat,{'a@h',1},empty,{{'a@h',1},[]}}",
        "{pub,heartbeat,{'a@h',1},other,{{'a@h',1},#{}}}",
        "{pub,heartbeat,{<<\"a\">>,1},empty,{{'a@h',1},#{}}}",
        "{pub,heartbeat,{'a@h',1},empty,{{'a@h',1},#{{'a@h',1} => -1}}}",
        "{pub,heartbeat,{'a@h',1},#{'__struct__' => 'Elixir.Phoenix.Tracker.State'},{{'a@h',1},#{}}}",
        "{pub,transfer_ack,1,{'a@h',1},{1,2}}",
        "{pub,graceful_permdown,'a@h'}",
        "{pub,graceful_permdown,{'a@h',1},1}",
        "[pub]",
    ] {
        let payload = Payload::from_term(&odd.parse().unwrap()).unwrap();
        assert!(wire::read(&payload).is_err(), "{odd}");
    }
}

proptest! {
    /// Whatever arrives is an answer or an error, and never ends the process.
    #[test]
    fn spoilt_messages_do_no_harm(
        steps in proptest::collection::vec((0..4u32, any::<bool>()), 1..10),
        spoilt in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let (origin, parts) = history(&steps);
        let mut core = Core::new(name(1), periods());
        for part in parts {
            let said = Said::Heartbeat { from: name(0), delta: Some(part), context: origin.context() };
            let mut bytes = wire::write(&said).unwrap().bytes().to_vec();
            for (index, byte) in &spoilt {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            let cut = bytes.get(..cut.index(bytes.len())).map(<[u8]>::to_vec);
            prop_assert!(wire::read(&Payload::new(cut.unwrap().into(), None)).is_err());
            if let Ok(said) = wire::read(&Payload::new(bytes.into(), None)) {
                core.hear(said, Instant::now());
            }
        }
    }

    /// Parts of a history in any order, some twice, are the history.
    #[test]
    fn merging_is_commutative_and_idempotent(
        steps in proptest::collection::vec((0..4u32, any::<bool>()), 1..40),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let (origin, parts) = history(&steps);
        let mut replica = Crdt::new(name(1));
        replica.up(&name(0)).unwrap();
        let mut shown = BTreeSet::new();
        let shuffled = order.iter().map(|index| index.get(&parts)).chain(&parts);
        for part in shuffled {
            let changes = replica.merge(&sent(part)).unwrap();
            // What is told is what changes.
            let entry = |presence: &Presence| (presence.node().clone(), presence.pid().id, presence.meta().to_string());
            changes.leaves.iter().for_each(|presence| assert!(shown.remove(&entry(presence))));
            changes.joins.iter().for_each(|presence| assert!(shown.insert(entry(presence))));
            prop_assert_eq!(&shown, &seen(&replica));
        }
        prop_assert_eq!(seen(&replica), seen(&origin));
        prop_assert_eq!(replica.context()[&name(0)], origin.own_clock());
    }

    /// Three replicas that lose messages agree as soon as none is lost for a while.
    #[test]
    fn replicas_agree_after_any_losses(
        steps in proptest::collection::vec((0..3usize, 0..4u32, any::<[bool; 4]>()), 1..60),
    ) {
        let mut net = Net::new(3);
        for (step, (at, id, lost)) in steps.iter().enumerate() {
            let core = &mut net.cores[*at];
            let own = core.crdt().own().clone();
            let found = core.crdt().find(&pid(&own, *id), b"t", &Term::from(i64::from(*id))).map(|(number, _)| number);
            match found {
                None => drop(core.track(presence(&own, *id, step as i64)).unwrap()),
                Some(number) if step % 2 == 0 => drop(core.update(number, presence(&own, *id, step as i64)).unwrap()),
                Some(_) => drop(core.untrack(&pid(&own, *id), b"t", &Term::from(i64::from(*id)))),
            }
            net.period(|from, to| lost[(from + to) % 4]);
        }
        for _ in 0..40 {
            net.period(|_, _| false);
        }
        let all: Vec<_> = net.cores.iter().map(|core| seen(core.crdt())).collect();
        prop_assert_eq!(&all[0], &all[1]);
        prop_assert_eq!(&all[0], &all[2]);
        let own: usize = net.cores.iter().map(|core| {
            core.crdt().topic(b"t").filter(|presence| presence.node() == &core.crdt().own().node).count()
        }).sum();
        prop_assert_eq!(all[0].len(), own);
    }
}

/// Some replicas under one clock.
struct Net {
    cores: Vec<Core>,
    now: Instant,
}

impl Net {
    fn new(count: usize) -> Self {
        Self { cores: (0..count).map(|number| Core::new(name(number), periods())).collect(), now: Instant::now() }
    }

    fn period(&mut self, lost: impl Fn(usize, usize) -> bool) {
        self.now += periods().broadcast;
        for from in 0..self.cores.len() {
            let (_, out) = self.cores[from].tick(self.now, || Term::from(1));
            let mut queue: Vec<_> = out.into_iter().map(|out| (from, out)).collect();
            while let Some((from, out)) = queue.pop() {
                let (only, said) = match out {
                    Out::Broadcast(said) => (None, said),
                    Out::To(node, said) => (Some(node), said),
                };
                for to in (0..self.cores.len()).filter(|to| *to != from) {
                    if only.as_ref().is_some_and(|node| *node != name(to).node) || lost(from, to) {
                        continue;
                    }
                    let read = wire::read(&wire::write(&said).unwrap()).unwrap();
                    queue.extend(self.cores[to].hear(read, self.now).1.map(|answer| (to, answer)));
                }
            }
        }
    }
}

fn periods() -> Periods {
    let broadcast = Duration::from_secs(1);
    Periods { broadcast, max_silent: 4, down: broadcast * 8, permdown: broadcast * 20, clock_sample: 2 }
}

#[test]
fn a_silent_replica_is_down_then_forgotten_and_a_new_life_replaces_the_old_one() {
    let mut net = Net::new(2);
    net.cores[0].track(presence(&name(0), 1, 0)).unwrap();
    for _ in 0..3 {
        net.period(|_, _| false);
    }
    assert_eq!(seen(net.cores[1].crdt()).len(), 1);
    let left = |net: &mut Net| {
        net.now += periods().broadcast;
        net.cores[1].tick(net.now, || Term::from(1)).0.leaves.len()
    };
    assert_eq!((0..9).map(|_| left(&mut net)).sum::<usize>(), 1);
    assert_eq!((seen(net.cores[1].crdt()).len(), net.cores[1].nodes().len()), (0, 0));
    // Heard again, it has what it had.
    for _ in 0..6 {
        net.period(|_, _| false);
    }
    assert_eq!(seen(net.cores[1].crdt()).len(), 1);
    // Another life of it, which says so.
    let again = ReplicaRef { vsn: 999, ..name(0) };
    let said = Said::Heartbeat { from: again.clone(), delta: None, context: Context::from([(again.clone(), 0)]) };
    let (changes, _) = net.cores[1].hear(said, net.now);
    assert_eq!((changes.joins.len(), changes.leaves.len()), (0, 1));
    // The end of the old one means nothing any more, that of the new one does.
    net.cores[1].hear(Said::Permdown { from: name(0) }, net.now);
    assert_eq!(net.cores[1].nodes(), [name(0).node]);
    net.cores[1].hear(Said::Permdown { from: again }, net.now);
    assert!(net.cores[1].nodes().is_empty());
    // After the longer silence nothing is kept.
    net.cores[0] = Core::new(name(0), periods());
    net.cores[0].track(presence(&name(0), 1, 0)).unwrap();
    net.period(|_, _| false);
    assert_eq!(net.cores[1].crdt().context().len(), 2);
    for _ in 0..21 {
        left(&mut net);
    }
    assert!(net.cores[1].crdt().topic(b"t").next().is_none());
    assert_eq!(net.cores[1].hear(Said::Permdown { from: name(0) }, net.now).0.leaves.len(), 0);
}
