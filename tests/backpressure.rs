//! Peers that stop reading and processes that stop receiving: what grows, what waits, and who must not notice.
//!
//! `GUSSET_FREEZE_SECONDS` says for how long a BEAM is frozen (5).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::node::{self, atom, builder, connect, name_of, next, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::node::SendError;
use gusset::ops::Figures;
use gusset::{Node, NodeName, Pid, Process, Term};
use serde_bytes::{ByteBuf, Bytes};

/// One at a time: some of them look at the memory of the process, and all at how long something takes.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Who is held up by a frozen peer waits for seconds; who is not, for much less, even on a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

const MIB: u64 = 1 << 20;

/// A process `box` that takes `{Sender, Number, _}` and notes what does not come in order from 0 on.
const COUNTING: &str = "register(box, spawn(fun() -> (fun Loop(Next, Wrong) -> receive \
     {ask, Who} -> Who ! {counted, lists:sort(maps:to_list(Next)), Wrong}, Loop(Next, Wrong); \
     {Id, N, _} -> case maps:get(Id, Next, 0) of \
         N -> Loop(maps:put(Id, N + 1, Next), Wrong); \
         Other -> Loop(maps:put(Id, N + 1, Next), [{Id, Other, N} | Wrong]) end end end)(#{}, []) end))";

fn freeze() -> Duration {
    let seconds = std::env::var("GUSSET_FREEZE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

fn resident() -> u64 {
    Figures::now().resident_bytes.expect("Linux tells")
}

/// Which connection it is, and how many bytes are queued for it.
fn queue_of(node: &Node, peer: &NodeName) -> (u64, usize) {
    let peer = node.peer(peer).expect("connected");
    (peer.connection, peer.stats.queued_bytes)
}

/// How long a message to the process `echo` of a BEAM and its answer take.
async fn round_trip(process: &mut Process, peer: &NodeName, number: i64) -> Duration {
    let began = Instant::now();
    process.send(("echo", peer), &(process.pid(), number, Bytes::new(b"hello"))).await.unwrap();
    assert_eq!(next(process).await, format!("{{{number},<<\"hello\">>}}"));
    began.elapsed()
}

/// Processes that send to the `box` of a peer as fast as they may, until they are told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    senders: Vec<tokio::task::JoinHandle<Result<u64, SendError>>>,
}

impl Flood {
    fn start(node: &Node, peer: &NodeName, senders: i64, size: usize) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let run = |id: i64| {
            let (stop, sent, peer, process) = (stop.clone(), sent.clone(), peer.clone(), node.process());
            let payload = ByteBuf::from(vec![7; size]);
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    process.send(("box", &peer), &(id, number, &payload)).await?;
                    number += 1;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                Ok(number)
            })
        };
        let senders = (0..senders).map(run).collect();
        Self { stop, sent, senders }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many each has sent.
    async fn end(self) -> Vec<Result<u64, SendError>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = Vec::new();
        for sender in self.senders {
            counts.push(within(LATER, "the end of a sender", sender).await.unwrap());
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_beam_makes_its_senders_wait_and_nobody_else() {
    let _alone = ALONE.lock().await;
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let mut frozen = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let other = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = node::start(&epmd).await;
    connect(&node, &frozen).await;
    connect(&node, &other).await;
    frozen.value(COUNTING).await;
    other.value("gusset_fixture:echo(echo)").await;
    let (frozen_name, other_name) = (name_of(&frozen), name_of(&other));
    let limit = node.config().busy_limit;
    let (connection, _) = queue_of(&node, &frozen_name);
    let mut pinger = node.process();
    round_trip(&mut pinger, &other_name, -1).await;

    let before = resident();
    frozen.sigstop();
    let began = Instant::now();
    let flood = Flood::start(&node, &frozen_name, 8, 1024);
    let (mut most_queued, mut most_memory, mut stalled, mut stalled_at) = (0, 0, 0, Duration::ZERO);
    let mut trips = Vec::new();
    while began.elapsed() < freeze() {
        trips.push(round_trip(&mut pinger, &other_name, trips.len() as i64).await);
        most_queued = most_queued.max(queue_of(&node, &frozen_name).1);
        most_memory = most_memory.max(resident().saturating_sub(before));
        if flood.sent() != stalled {
            (stalled, stalled_at) = (flood.sent(), began.elapsed());
        }
    }
    trips.sort();
    let (median, worst) = (trips[trips.len() / 2], trips[trips.len() - 1]);
    eprintln!(
        "{} round trips: median {median:?}, worst {worst:?}; {stalled} messages sent within {stalled_at:?}; \
         queued at most {most_queued} bytes; memory grew by at most {} KiB",
        trips.len(),
        most_memory >> 10
    );
    assert!(worst < PROMPT && median < PROMPT / 10, "median {median:?}, worst {worst:?}");
    assert!(stalled_at < freeze() / 2, "the senders still send after {stalled_at:?}");
    // One message may go over the limit, and each gets a header on its way out.
    assert!((limit..limit + (64 << 10)).contains(&most_queued), "{most_queued} bytes are queued");
    assert!(most_memory < 16 * MIB, "memory grew by {most_memory} bytes");
    let refused = pinger.try_send(("box", &frozen_name), &(100, 0, Bytes::new(b"")));
    assert!(matches!(&refused, Err(SendError::Busy(peer)) if *peer == frozen_name), "{refused:?}");

    frozen.sigcont();
    until("the senders go on", SOON, || flood.sent() > stalled + 1000).await;
    let counts: Vec<u64> = flood.end().await.into_iter().map(Result::unwrap).collect();
    let all = format!(
        "box ! {{ask, self()}}, receive {{counted, C, []}} -> lists:sum([N || {{_, N}} <- C]) =:= {}; \
         {{counted, _, Wrong}} -> exit({{wrong, Wrong}}) end",
        counts.iter().sum::<u64>()
    );
    frozen.wait_until(&all, LATER).await.unwrap();
    let each: Vec<_> = counts.iter().enumerate().map(|(id, count)| format!("{{{id},{count}}}")).collect();
    let counted = frozen.value("box ! {ask, self()}, receive {counted, C, W} -> {C, W} end").await;
    assert_eq!(counted, format!("{{[{}],[]}}", each.join(",")));
    // What was written last is accounted for when the peer may have it already.
    until("nothing is queued", SOON, || queue_of(&node, &frozen_name) == (connection, 0)).await;
    frozen.assert_clean_log().await;
    other.assert_clean_log().await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_frozen_beam_is_told_when_its_tick_time_is_over() {
    let _alone = ALONE.lock().await;
    let otp = require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let mut frozen = Beam::start(&otp, &epmd, BeamOptions::default().kernel("net_ticktime", "4")).await;
    let node = builder(&epmd, &unique("impatient")).net_ticktime(Duration::from_secs(4)).start().await.unwrap();
    connect(&node, &frozen).await;
    let name = name_of(&frozen);
    frozen.value(COUNTING).await;
    frozen.sigstop();
    let flood = Flood::start(&node, &name, 3, 4096);
    until("the tick time is over", LATER, || node.peer(&name).is_none()).await;
    for sender in flood.end().await {
        assert!(matches!(&sender, Err(SendError::ConnectionLost(peer)) if *peer == name), "{sender:?}");
    }
    frozen.sigcont();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_for_a_frozen_beam_does_not_hold_up_another_sender() {
    let _alone = ALONE.lock().await;
    let otp = require!(otp::get(29));
    let epmd = Epmd::start(&otp).await;
    let mut frozen = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let other = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = node::start(&epmd).await;
    connect(&node, &frozen).await;
    connect(&node, &other).await;
    frozen.value("gusset_fixture:collect(box)").await;
    other.value("gusset_fixture:echo(echo)").await;
    let (frozen_name, other_name) = (name_of(&frozen), name_of(&other));
    let (connection, _) = queue_of(&node, &frozen_name);
    let mut pinger = node.process();
    round_trip(&mut pinger, &other_name, -1).await;

    frozen.sigstop();
    let large: Vec<u8> = (0..8 * MIB).map(|at| ((at * at) >> 7) as u8).collect();
    let sum = large.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let sender = |number: i64| {
        let (process, peer, large) = (node.process(), frozen_name.clone(), ByteBuf::from(large.clone()));
        tokio::spawn(async move { process.send(("box", &peer), &(number, large)).await })
    };
    // The first is taken as a whole, as the queue is empty; those behind it wait.
    within(SOON, "the first is queued", sender(1)).await.unwrap().unwrap();
    let (second, third) = (sender(2), sender(3));
    let mut worst = Duration::ZERO;
    for number in 0..200 {
        worst = worst.max(round_trip(&mut pinger, &other_name, number).await);
    }
    eprintln!("200 round trips, the worst {worst:?}; queued: {} bytes", queue_of(&node, &frozen_name).1);
    assert!(worst < PROMPT, "{worst:?}");
    assert!(!second.is_finished() || !third.is_finished(), "both are queued beside {} bytes", large.len());
    // So many bytes are not in the buffers of the operating system.
    let (_, queued) = queue_of(&node, &frozen_name);
    assert!((1..17 * MIB as usize).contains(&queued), "{queued} bytes are queued");

    frozen.sigcont();
    within(LATER, "the second", second).await.unwrap().unwrap();
    within(LATER, "the third", third).await.unwrap().unwrap();
    frozen.wait_until("length(gusset_fixture:collected(box)) =:= 3", LATER).await.unwrap();
    let sums =
        "lists:sort([{N, byte_size(B), lists:sum(binary_to_list(B))} || {N, B} <- gusset_fixture:collected(box)])";
    let expected: Vec<_> = (1..=3).map(|number| format!("{{{number},{},{sum}}}", large.len())).collect();
    assert_eq!(frozen.value(sums).await, format!("[{}]", expected.join(",")));
    // What was written last is accounted for when the peer may have it already.
    until("nothing is queued", SOON, || queue_of(&node, &frozen_name) == (connection, 0)).await;
    frozen.assert_clean_log().await;
    node.shutdown().await;
}

/// A process `echo` that sends `What` back for `{From, What}`.
fn answer(node: &Node) {
    let mut echo = node.register("echo").unwrap();
    tokio::spawn(async move {
        while let Ok(message) = echo.recv().await {
            let (from, what): (Pid, Term) = message.decode().unwrap();
            echo.send(&from, &what).await.unwrap();
        }
    });
}

/// How long the slowest of some round trips from a BEAM to our `echo` takes, while something else goes on or not.
async fn slowest(beam: &Beam, node: &Node) -> Duration {
    let trips = format!(
        "lists:max([begin T = erlang:monotonic_time(millisecond), {{echo, {}}} ! {{self(), I}}, \
         receive I -> erlang:monotonic_time(millisecond) - T after 9000 -> exit(late) end end \
         || I <- lists:seq(1, 100)])",
        atom(node)
    );
    let text = beam.eval_within(&trips, LATER).await.unwrap();
    Duration::from_millis(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_receive_keeps_its_messages_and_holds_up_nobody() {
    const MESSAGES: usize = 200_000;
    let _alone = ALONE.lock().await;
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let options = || BeamOptions::default().kernel("net_ticktime", "4");
    let flooder = Beam::start(&otp, &epmd, options()).await;
    let other = Beam::start(&otp, &epmd, options()).await;
    let node = builder(&epmd, &unique("sleepy")).net_ticktime(Duration::from_secs(4)).start().await.unwrap();
    connect(&node, &flooder).await;
    connect(&node, &other).await;
    answer(&node);
    let mut sleeper = node.register("sleeper").unwrap();
    let (flooder_name, other_name) = (name_of(&flooder), name_of(&other));
    let stats = |name: &NodeName| node.peer(name).map(|peer| (peer.connection, peer.stats)).expect("connected");
    let (first, second) = (stats(&flooder_name), stats(&other_name));
    slowest(&flooder, &node).await;
    slowest(&other, &node).await;

    let memory = resident();
    let flood = format!(
        "Payload = binary:copy(<<7>>, 256), lists:foreach(fun(I) -> {{sleeper, {}}} ! {{I, Payload}} end, \
         lists:seq(1, {MESSAGES}))",
        atom(&node)
    );
    let (flooded, by_flooder, by_other) =
        tokio::join!(flooder.eval_within(&flood, LATER), slowest(&flooder, &node), slowest(&other, &node));
    assert_eq!(flooded.unwrap(), "ok");
    until("all are in the mailbox", LATER, || sleeper.queue_len() == MESSAGES).await;
    let grown = resident().saturating_sub(memory);
    let came = stats(&flooder_name).1.received_bytes - first.1.received_bytes;
    eprintln!("{grown} bytes of memory for {came} bytes on the wire; slowest round trips {by_flooder:?}, {by_other:?}");
    assert!(by_flooder < PROMPT && by_other < PROMPT, "{by_flooder:?}, {by_other:?}");
    // A queue that grows has twice the room at most, and its old place is kept by the allocator.
    let places = (3 * 64 * MESSAGES) as u64;
    assert!(grown < came + came / 2 + places, "{grown} bytes for {came} bytes on the wire");

    // Nothing but ticks goes on now, for longer than the tick time.
    for name in [&flooder_name, &other_name] {
        let (connection, before) = stats(name);
        until("ticks in both directions", LATER, || {
            let now = stats(name).1;
            now.sent_packets >= before.sent_packets + 5 && now.received_packets >= before.received_packets + 5
        })
        .await;
        assert_eq!(connection, if *name == flooder_name { first.0 } else { second.0 });
    }
    assert!(slowest(&flooder, &node).await < PROMPT && slowest(&other, &node).await < PROMPT);
    for number in 1..=MESSAGES as i64 {
        let message = sleeper.try_recv().unwrap().expect("all are there");
        assert_eq!(message.decode::<(i64, ByteBuf)>().unwrap().0, number);
    }
    assert_eq!(sleeper.queue_len(), 0);
    flooder.assert_clean_log().await;
    node.shutdown().await;
}
