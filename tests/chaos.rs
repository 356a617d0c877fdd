//! Three BEAMs and three gussets to whom everything happens at once: groups, names, crashes, lost connections. When it is
//! over all six must agree again, and no BEAM may have lost a process that it lives by.
//!
//! `GUSSET_CHAOS_SECONDS` says how long (`make chaos`: a minute), `GUSSET_CHAOS_SEED` which steps; how they meet is up to
//! the machine. `GUSSET_CHAOS_BEAMS=1` has six BEAMs and no gusset, to see what they come to by themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "chaos/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use cluster::{Cluster, Step};
use common::{otp, require};
use tokio::time::Instant;

const SECONDS: u64 = 10;
const SEED: u64 = 20_250_711;
/// From the last step on, for all to agree.
const CALM: Duration = Duration::from_secs(60);
/// When all see each other, and yet a name is not the same everywhere, for so long, they lose each other once more and meet
/// again (docs/compatibility.md); `GUSSET_CHAOS_STRICT=1` does without.
const APART: Duration = Duration::from_secs(20);
/// As long as a name may take to register: a lock that its holder lost on the way is waited for.
const DONE: Duration = Duration::from_secs(60);
/// So many steps with links that come and go, then so many without.
const SPELL: usize = 80;
/// How many of the last steps a failure tells.
const LAST: usize = 60;

/// SplitMix64: the steps of a seed are the same for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Two different numbers.
    fn pair(&mut self, limit: usize) -> (usize, usize) {
        let one = self.below(limit);
        (one, (one + 1 + self.below(limit - 1)) % limit)
    }
}

/// What was done, told when the test fails.
struct Record {
    seed: u64,
    began: Instant,
    steps: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Record {
    fn note(&mut self, kind: &'static str, text: String) {
        *self.counts.entry(kind).or_default() += 1;
        self.steps.push(format!("{:>7.3} {text}", self.began.elapsed().as_secs_f64()));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.steps.len().saturating_sub(LAST);
            let last = self.steps[from..].join("\n");
            eprintln!("GUSSET_CHAOS_SEED={}, {} steps, the last of them:\n{last}", self.seed, self.steps.len());
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")),
        Err(_) => default,
    }
}

/// One thing that happens.
async fn happen(cluster: &mut Cluster, dice: &mut Dice, record: &mut Record) {
    let count = cluster.len();
    let who = dice.below(count);
    let which = dice.below(1000);
    let group = format!("g{}", dice.below(4));
    let name = format!("n{}", dice.below(8));
    let scope = dice.below(2);
    // Whatever connections there are stay for a while, so that names and groups change on all sides of a partition.
    let calm = record.steps.len() / SPELL % 2 == 1;
    let (kind, step) = match dice.below(if calm { 72 } else { 100 }) {
        0..24 => ("join", Step::Join { scope, group, which }),
        24..36 => ("leave", Step::Leave { scope, group, which }),
        36..56 => ("register", Step::Register { name }),
        56..62 => ("unregister", Step::Unregister { name }),
        62..72 => ("crash", Step::Crash { which }),
        72..88 => {
            let (who, to) = dice.pair(count);
            let step = Step::Connect { to, through_proxy: dice.below(2) == 0 };
            record.note("connect", format!("{} {step:?}", cluster.names[who]));
            return cluster.tell(who, &step).await;
        }
        88..92 => {
            let (who, from) = dice.pair(count);
            let step = Step::Disconnect { from };
            record.note("disconnect", format!("{} {step:?}", cluster.names[who]));
            return cluster.tell(who, &step).await;
        }
        92..95 => {
            let cut = dice.below(cluster.beams.len());
            record.note("cut", format!("{} is cut off from those who reach it by its proxy", cluster.names[cut]));
            return cluster.beams[cut].proxy.cut();
        }
        95..97 => return partition(cluster, dice, record).await,
        _ => return heal(cluster, dice, record).await,
    };
    record.note(kind, format!("{} {step:?}", cluster.names[who]));
    cluster.tell(who, &step).await;
}

/// Everybody of one side lets everybody of the other side go.
async fn partition(cluster: &mut Cluster, dice: &mut Dice, record: &mut Record) {
    let sides = 1 + dice.below((1 << cluster.len()) - 2);
    record.note("partition", format!("a partition: {sides:06b}"));
    let side = |who: usize| sides >> who & 1;
    for who in (0..cluster.len()).filter(|who| side(*who) == 1) {
        for from in (0..cluster.len()).filter(|from| side(*from) == 0) {
            cluster.tell(who, &Step::Disconnect { from }).await;
        }
    }
}

/// Everybody connects to everybody.
async fn heal(cluster: &mut Cluster, dice: &mut Dice, record: &mut Record) {
    record.note("heal", "all connect to all".to_owned());
    let through_proxy = dice.below(2) == 0;
    connect_all(cluster, through_proxy).await;
}

async fn connect_all(cluster: &mut Cluster, through_proxy: bool) {
    each_to_each(cluster, |to| Step::Connect { to, through_proxy }).await;
}

/// Everybody is told the same of each of the others.
async fn each_to_each(cluster: &mut Cluster, step: impl Fn(usize) -> Step) {
    for who in 0..cluster.len() {
        for other in (0..cluster.len()).filter(|other| *other != who) {
            cluster.tell(who, &step(other)).await;
        }
    }
}

/// Waits until all nodes agree; those that lost each other connect again, as discovery would have them do.
async fn agree(cluster: &mut Cluster, what: &str) -> Duration {
    let began = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(500));
    let mut may_meet_again = number("GUSSET_CHAOS_STRICT", 0) == 0;
    loop {
        pause.tick().await;
        let found = cluster.disagreements().await;
        if found.is_empty() {
            return began.elapsed();
        }
        if began.elapsed() > CALM {
            panic!("{what}: no agreement within {CALM:?}:\n{}", found.join("\n"));
        }
        if found.iter().any(|line| line.contains(" nodes: ")) {
            connect_all(cluster, false).await;
        } else if may_meet_again && began.elapsed() > APART {
            may_meet_again = false;
            eprintln!("{what}: apart after {:?}, all meet again:\n{}", began.elapsed(), found.join("\n"));
            each_to_each(cluster, |from| Step::Disconnect { from }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_chaos_all_nodes_agree() {
    for release in [25, 27, 29] {
        require!(otp::get(release));
    }
    let (seconds, seed) = (number("GUSSET_CHAOS_SECONDS", SECONDS), number("GUSSET_CHAOS_SEED", SEED));
    let mut cluster = Cluster::start(number("GUSSET_CHAOS_BEAMS", 0) != 0).await;
    let mut record = Record { seed, began: Instant::now(), steps: Vec::new(), counts: BTreeMap::new() };
    connect_all(&mut cluster, true).await;
    agree(&mut cluster, "at the start").await;

    let mut dice = Dice(seed);
    record.began = Instant::now();
    while record.began.elapsed() < Duration::from_secs(seconds) {
        happen(&mut cluster, &mut dice, &mut record).await;
        // Now and then many at once, now and then time for something to come to its end.
        if dice.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(120) as u64)).await;
        }
    }
    let agreed = agree(&mut cluster, "after the chaos").await;
    let lines = cluster.views().await.remove(cluster.measure()).len() - cluster.len();
    let waited = Instant::now();
    cluster.all_done(DONE).await;
    let done = waited.elapsed();
    let again = agree(&mut cluster, "when all is done").await;

    // And all of it still works.
    for who in 0..cluster.len() {
        for scope in 0..2 {
            cluster.tell(who, &Step::Join { scope, group: "last".to_owned(), which: who }).await;
        }
        cluster.tell(who, &Step::Register { name: format!("last{who}") }).await;
    }
    cluster.all_done(DONE).await;
    agree(&mut cluster, "at the end").await;
    let view = cluster.views().await.remove(cluster.measure());
    let count = |start: &str| view.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(count("name last"), cluster.len(), "{view:?}");
    // A BEAM of one scope has joined it twice.
    assert_eq!(count("member chaos_old last ") + count("member chaos_new last "), 2 * cluster.len(), "{view:?}");
    cluster.unharmed().await;
    cluster.shutdown().await;
    let told = format!(
        "chaos: seed {seed}, {} steps in {seconds} s {:?}, agreed on {lines} names and members after {agreed:.1?}, all steps done {done:.1?} \
         and all agreed {again:.1?} later",
        record.steps.len(),
        record.counts
    );
    // Past the test runner, which keeps what a passing test prints to itself.
    let _ = writeln!(std::io::stderr(), "{told}");
}
