//! The decisions of discovery with many known nodes: time and allocations of one answer, one event, one look.
//!
//! `cargo bench --bench discovery [FILTER]`. `examples/many_peers.rs` measures a node with sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use divan::{AllocProfiler, Bencher, black_box};
use gusset::DialTarget;
use gusset::discovery::{Action, Candidate, Desired, DialFailure, FailureKind, Input, ReconcileConfig, Reconciler};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const PEERS: [u32; 3] = [100, 1_000, 10_000];

fn main() {
    divan::main();
}

fn target(nth: u32) -> DialTarget {
    let [_, _, high, low] = nth.to_be_bytes();
    let name = format!("app@10-7-{high}-{low}.default.pod.cluster.local").parse().unwrap();
    DialTarget::at(name, Ipv4Addr::new(10, 7, high, low).into())
}

fn answer(peers: u32) -> Input {
    let candidates = (0..peers).map(|nth| Candidate::new(target(nth)).with_origin(format!("pod default/app-{nth}")));
    Input::Answer { topology: "pods".into(), desired: Desired::new(candidates) }
}

fn reconciler() -> Reconciler {
    let mut config = ReconcileConfig::default();
    config.policy.same_zone_first = true;
    Reconciler::new("me@10-8-0-1.default.pod.cluster.local".parse().unwrap(), config)
}

/// All are found; every second one is connected, the others have failed.
fn settled(peers: u32, now: Instant) -> Reconciler {
    let mut reconciler = reconciler();
    let mut actions = reconciler.handle(answer(peers), now);
    let mut nth = 0;
    while let Some(action) = actions.pop() {
        let Action::Dial(target) = action else { continue };
        nth += 1;
        let mut result = Err(DialFailure::new(FailureKind::Timeout, "no answer"));
        if nth % 2 == 0 {
            actions.extend(reconciler.handle(Input::Up(target.name.clone()), now));
            result = Ok(());
        }
        actions.extend(reconciler.handle(Input::Dialled { name: target.name, result }, now));
    }
    reconciler
}

#[divan::bench(args = PEERS)]
fn first_answer(bencher: Bencher<'_, '_>, peers: u32) {
    let now = Instant::now();
    bencher.with_inputs(|| (reconciler(), answer(peers))).bench_local_values(|(mut reconciler, answer)| {
        let actions = reconciler.handle(answer, now);
        (reconciler, actions)
    });
}

#[divan::bench(args = PEERS)]
fn same_answer_again(bencher: Bencher<'_, '_>, peers: u32) {
    let now = Instant::now();
    let mut reconciler = settled(peers, now);
    bencher.with_inputs(|| answer(peers)).bench_local_values(|answer| reconciler.handle(answer, now));
}

#[divan::bench(args = PEERS)]
fn tick_and_wakeup(bencher: Bencher<'_, '_>, peers: u32) {
    let now = Instant::now();
    let mut reconciler = settled(peers, now);
    bencher.bench_local(|| (reconciler.handle(Input::Tick, black_box(now)), reconciler.next_wakeup()));
}

/// A link comes up and goes again, and the dial after that fails.
#[divan::bench(args = PEERS)]
fn link_lost_and_dial_failed(bencher: Bencher<'_, '_>, peers: u32) {
    let mut now = Instant::now();
    let mut reconciler = settled(peers, now);
    let name = target(0).name;
    bencher.bench_local(|| {
        reconciler.handle(Input::Up(name.clone()), now);
        now += Duration::from_secs(60);
        reconciler.handle(Input::Down { name: name.clone(), reason: String::new() }, now);
        let result = Err(DialFailure::new(FailureKind::Timeout, "no answer"));
        let actions = reconciler.handle(Input::Dialled { name: name.clone(), result }, now);
        (actions, reconciler.next_wakeup())
    });
}

#[divan::bench(args = PEERS)]
fn snapshot(bencher: Bencher<'_, '_>, peers: u32) {
    let now = Instant::now();
    let reconciler = settled(peers, now);
    bencher.bench_local(|| reconciler.snapshot(black_box(now)));
}
