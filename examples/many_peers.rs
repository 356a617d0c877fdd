//! What very many nodes cost: those that discovery knows, and those that are connected.
//!
//! ```console
//! $ cargo run --release --example many_peers -- decisions 1000 10000
//! $ cargo run --release --example many_peers -- node THERE ABSENT [SETTLE_SECONDS [MEASURE_SECONDS]]
//! $ cargo run --release --example many_peers -- idle PEERS [MEASURE_SECONDS [TICK_TIME_SECONDS]]
//! $ cargo run --release --example many_peers -- busy PEERS [MEASURE_SECONDS [one]]
//! ```
//!
//! `decisions` drives the reconciler alone, with no socket. `node` runs a node whose strategy reports THERE nodes that
//! run (in a process of their own) and ABSENT ones that do not: of four of them three refuse connections, and one is
//! at an address that answers nothing at all.
//!
//! `idle` and `busy` run a node that so many nodes connect to, all of them in one other process. They are hidden, or
//! they would all connect to one another. With `one` the node has a runtime of one thread. See `docs/performance.md`.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use gusset::discovery::{
    Action, Candidate, Desired, DialFailure, FailureKind, Input, LinkStatus, ReconcileConfig, Reconciler, Reporter,
    Strategy,
};
use gusset::ops::Figures;
use gusset::{Cookie, DialTarget, EpmdMode, Node, NodeBuilder, NodeName, Pid, Process};
use serde_bytes::{ByteBuf, Bytes};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, Lines};
use tokio::process::{Child, ChildStdout};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| args.get(at).map_or(Ok(default), |text| text.parse());
    match args.first().map(String::as_str) {
        Some("decisions") => {
            println!(
                "peers | first answer | all come up, each | same answer | tick | one fails | snapshot | memory each"
            );
            for count in args.iter().skip(1) {
                decisions(count.parse()?)?;
            }
            Ok(())
        }
        Some("node") => {
            let (settle, measure) = (number(3, 120)?, number(4, 60)?);
            let seconds = |number: usize| Duration::from_secs(number as u64);
            runtime()?.block_on(node(number(1, 50)?, number(2, 950)?, seconds(settle), seconds(measure)))
        }
        Some("others") => runtime()?.block_on(others(number(1, 50)?)),
        Some("idle") => {
            let (measure, ticktime) = (Duration::from_secs(number(2, 60)? as u64), number(3, 60)?);
            runtime()?.block_on(idle(number(1, 500)?, measure, ticktime))
        }
        Some("busy") => {
            let one_thread = args.get(3).is_some_and(|word| word == "one");
            let runtime = if one_thread { single_threaded()? } else { runtime()? };
            runtime.block_on(busy(number(1, 64)?, number(2, 10)?))
        }
        Some("peers") => runtime()?.block_on(peers(number(1, 500)?, args.get(2).ok_or("whom?")?, number(3, 60)?)),
        _ => Err("usage: many_peers decisions PEERS… | node THERE ABSENT [SETTLE_SECONDS [MEASURE_SECONDS]] \
                  | idle PEERS [MEASURE_SECONDS [TICK_TIME_SECONDS]] | busy PEERS [MEASURE_SECONDS [one]]"
            .into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn single_threaded() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Such nodes as Kubernetes has them.
fn candidates(count: usize) -> Result<Vec<Candidate>, Failure> {
    let candidate = |nth: usize| -> Result<Candidate, Failure> {
        let [_, _, high, low] = u32::try_from(nth)?.to_be_bytes();
        let name: NodeName = format!("app@10-7-{high}-{low}.default.pod.cluster.local").parse()?;
        let target = DialTarget::at(name, Ipv4Addr::new(10, 7, high, low).into());
        Ok(Candidate::new(target).with_origin(format!("pod default/app-{nth}")))
    };
    (0..count).map(candidate).collect()
}

fn decisions(count: usize) -> Result<(), Failure> {
    let resident = || Figures::now().resident_bytes.unwrap_or(0);
    let candidates = candidates(count)?;
    let answer = || Input::Answer { topology: "pods".into(), desired: Desired::new(candidates.iter().cloned()) };
    // Once for nothing, so that what the allocator keeps is no part of the difference.
    drop(answer());
    let before = resident();
    let mut reconciler = Reconciler::new("me@10-8-0-1.default.pod.cluster.local".parse()?, ReconcileConfig::default());
    let mut now = Instant::now();

    let first = answer();
    let (mut actions, took) = timed(|| reconciler.handle(first, now));
    let began = Instant::now();
    let mut dialled = 0;
    while let Some(action) = actions.pop() {
        if let Action::Dial(target) = action {
            dialled += 1;
            actions.extend(reconciler.handle(Input::Up(target.name.clone()), now));
            actions.extend(reconciler.handle(Input::Dialled { name: target.name, result: Ok(()) }, now));
            reconciler.next_wakeup();
        }
    }
    let each = began.elapsed() / u32::try_from(dialled.max(1))?;
    drop(actions);
    let memory = resident().saturating_sub(before) / count.max(1) as u64;

    let again = answer();
    let (_, same) = timed(|| reconciler.handle(again, now));
    let tick = mean(1000, || drop((reconciler.handle(Input::Tick, now), reconciler.next_wakeup())));
    let snapshot = mean(10, || drop(reconciler.snapshot(now)));
    // One link after the other is lost, dialled, and cannot be had.
    now += Duration::from_secs(60);
    let mut names = candidates.iter().map(|candidate| candidate.target.name.clone()).cycle();
    let fails = mean(count.min(1000), || {
        let Some(name) = names.next() else { return };
        reconciler.handle(Input::Down { name: name.clone(), reason: String::new() }, now);
        let result = Err(DialFailure::new(FailureKind::Timeout, ""));
        reconciler.handle(Input::Dialled { name, result }, now);
        reconciler.next_wakeup();
    });
    println!("{count} | {took:.1?} | {each:.1?} | {same:.1?} | {tick:.1?} | {fails:.1?} | {snapshot:.1?} | {memory} B");
    Ok(())
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (run(), began.elapsed())
}

fn mean(times: usize, mut run: impl FnMut()) -> Duration {
    let began = Instant::now();
    for _ in 0..times {
        run();
    }
    began.elapsed() / u32::try_from(times.max(1)).unwrap_or(u32::MAX)
}

/// A strategy that knows what it was told.
struct Known(Vec<DialTarget>);

impl Strategy for Known {
    fn kind(&self) -> &'static str {
        "known"
    }

    fn run(&self, _own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        report.desired(Desired::new(self.0.iter().cloned().map(Candidate::new)));
        Box::pin(std::future::ready(()))
    }
}

async fn node(there: usize, absent: usize, settle: Duration, measure: Duration) -> Result<(), Failure> {
    // The others end when their standard input does.
    let mut child = Command::new(std::env::current_exe()?)
        .args(["others", &there.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
    let epmd: u16 = lines.next().ok_or("the others have not started")??.parse()?;
    let mut targets: Vec<DialTarget> = Vec::new();
    for line in lines.by_ref().take(there) {
        targets.push(line?.parse()?);
    }
    let hole = BlackHole::open()?;
    for nth in 0..absent {
        let [_, _, high, low] = u32::try_from(nth)?.to_be_bytes();
        let name: NodeName = format!("absent{nth}@127.1.{high}.{low}").parse()?;
        targets.push(match nth % 4 {
            0 => DialTarget::at(name, hole.address.ip()).with_port(hole.address.port()),
            _ => DialTarget::at(name, Ipv4Addr::new(127, 1, high, low).into()).with_port(NOBODY_LISTENS),
        });
    }
    let bare = Figures::now();
    let builder = builder("measured", EpmdMode::External, epmd)?.topology("known", Arc::new(Known(targets)));
    let began = Instant::now();
    let (node, discovery) = builder.start_with_discovery().await?;
    let discovery = discovery.ok_or("no discovery")?;
    while node.connected_nodes().len() < there && began.elapsed() < settle {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("connected to {} of {there} after {:.1?}", node.connected_nodes().len(), began.elapsed());
    while began.elapsed() < settle {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (before, dials) = (Figures::now(), discovery.snapshot().stats.dials);
    println!("dials while it settled: {dials}");
    tokio::time::sleep(measure).await;
    let (after, snapshot) = (Figures::now(), discovery.snapshot());
    let cpu = after.cpu_seconds.unwrap_or(0.0) - before.cpu_seconds.unwrap_or(0.0);
    let mib = |figures: &Figures| figures.resident_bytes.unwrap_or(0) as f64 / f64::from(1 << 20);
    let up = snapshot.peers.iter().filter(|peer| matches!(peer.link, LinkStatus::Up { .. })).count();
    println!("links up: {up}, known: {}", snapshot.peers.len());
    println!("memory: {:.1} MiB before the node, {:.1} MiB at rest", mib(&bare), mib(&after));
    println!("CPU: {cpu:.2} s in {:.0} s ({:.2} %)", measure.as_secs_f64(), 100.0 * cpu / measure.as_secs_f64());
    let per_minute = (snapshot.stats.dials - dials) as f64 * 60.0 / measure.as_secs_f64();
    println!("dials: {per_minute:.0} a minute, of all failed so far: {:?}", snapshot.stats.failed);
    discovery.stop().await;
    node.shutdown().await;
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// The nodes that are there, with an EPMD among them; they tell where they are, and end with the standard input.
async fn others(count: usize) -> Result<(), Failure> {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut nodes = Vec::new();
    println!("{free}");
    for nth in 0..count.max(1) {
        let node = builder(&format!("there{nth}"), EpmdMode::Auto, free)?.start().await?;
        println!("{}=127.0.0.1:{}", node.name(), node.port().ok_or("no port")?);
        nodes.push(node);
    }
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

/// A node, and the process of the nodes that are connected to it.
struct Connected {
    node: Node,
    child: Child,
    answers: Lines<tokio::io::BufReader<ChildStdout>>,
    /// The figures of this process before there was a connection.
    bare: Figures,
}

impl Connected {
    async fn start(count: usize, ticktime: usize) -> Result<Self, Failure> {
        let seconds = Duration::from_secs(ticktime as u64);
        let node = builder("measured", EpmdMode::None, 1)?.net_ticktime(seconds).start().await?;
        for nth in 0..count {
            tokio::spawn(echo(node.register(&format!("echo{nth}"))?));
        }
        let bare = Figures::now();
        let target = format!("{}=127.0.0.1:{}", node.name(), node.port().ok_or("no port")?);
        let mut child = tokio::process::Command::new(std::env::current_exe()?)
            .args(["peers", &count.to_string(), &target, &ticktime.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = tokio::io::BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let mut this = Self { node, child, answers, bare };
        println!("{}", this.answer().await?);
        // The peers are through with the last handshake a little earlier than this side.
        let began = Instant::now();
        while this.node.hidden_nodes().len() != count {
            if began.elapsed() > Duration::from_secs(5) {
                return Err(format!("{} of {count} are connected", this.node.hidden_nodes().len()).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(this)
    }

    async fn ask(&mut self, command: &str) -> Result<String, Failure> {
        let line = format!("{command}\n");
        self.child.stdin.as_mut().ok_or("no standard input")?.write_all(line.as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<String, Failure> {
        Ok(self.answers.next_line().await?.ok_or("the peers have ended")?)
    }

    async fn end(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        self.child.wait().await?;
        self.node.shutdown().await;
        Ok(())
    }
}

/// Sends back what it is sent.
async fn echo(mut process: Process) {
    while let Ok(message) = process.recv().await {
        if let Ok((from, number, payload)) = message.decode::<(Pid, i64, ByteBuf)>() {
            // One who has gone waits for nothing.
            let _ = process.send(&from, &(number, payload)).await;
        }
    }
}

async fn idle(count: usize, measure: Duration, ticktime: usize) -> Result<(), Failure> {
    let mut connected = Connected::start(count, ticktime).await?;
    let bare = connected.bare;
    let each = |figures: &Figures| {
        let grown = |of: fn(&Figures) -> Option<u64>| {
            (of(figures).unwrap_or(0) as f64 - of(&bare).unwrap_or(0) as f64) / 1024.0 / count as f64
        };
        format!("{:.1} KiB, {:.0} KiB", grown(|of| of.resident_bytes), grown(|of| of.virtual_bytes))
    };
    let before = Figures::now();
    println!("memory for each peer, and address space: {} once connected", each(&before));
    tokio::time::sleep(measure).await;
    let after = Figures::now();
    println!("after {measure:?} with ticks alone: {}", each(&after));
    let cpu = after.cpu_seconds.unwrap_or(0.0) - before.cpu_seconds.unwrap_or(0.0);
    let share = 100.0 * cpu / measure.as_secs_f64();
    let ticks: u64 = connected.node.peers().iter().map(|peer| peer.stats.sent_packets).sum();
    println!("CPU at rest: {cpu:.2} s, {share:.2} % of a core; {ticks} ticks were sent");
    println!("the burst: {}", connected.ask("burst").await?);
    println!("after {BURST} messages of {BURST_SIZE} bytes to and fro with each: {}", each(&Figures::now()));
    tokio::time::sleep(Duration::from_secs(ticktime as u64) / 2).await;
    println!("after two ticks more: {}", each(&Figures::now()));
    connected.end().await
}

async fn busy(count: usize, seconds: usize) -> Result<(), Failure> {
    let mut connected = Connected::start(count, 60).await?;
    let before = Figures::now();
    println!("{}", connected.ask(&format!("busy {seconds}")).await?);
    let after = Figures::now();
    let cpu = after.cpu_seconds.unwrap_or(0.0) - before.cpu_seconds.unwrap_or(0.0);
    let packets: u64 = connected.node.peers().iter().map(|peer| peer.stats.received_packets).sum();
    println!("CPU of the measured process: {cpu:.2} s, {:.2} s per million round trips", cpu * 1e6 / packets as f64);
    connected.end().await
}

/// The nodes that connect to `target`, and do what the lines of the standard input say.
async fn peers(count: usize, target: &str, ticktime: usize) -> Result<(), Failure> {
    let target: DialTarget = target.parse()?;
    let began = Instant::now();
    let mut peers = Vec::new();
    for nth in 0..count {
        let builder = builder(&format!("peer{nth}"), EpmdMode::None, 1)?.hidden().no_listener().without_services();
        let node = builder.net_ticktime(Duration::from_secs(ticktime as u64)).start().await?;
        node.connect(target.clone()).await?;
        peers.push(node);
    }
    println!("{count} connected one after the other in {:.1?}", began.elapsed());
    loop {
        let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose()).await??;
        let Some(line) = line else { return Ok(()) };
        let (limit, payload) = match line.strip_prefix("busy ") {
            Some(seconds) => (Limit::Time(Duration::from_secs(seconds.parse()?)), BUSY_SIZE),
            None => (Limit::Messages(BURST), BURST_SIZE),
        };
        let began = Instant::now();
        let run = |(nth, node): (usize, &Node)| {
            let to = (format!("echo{nth}"), target.name.clone());
            tokio::spawn(round_trips(node.process(), to, limit, payload))
        };
        let mut runs: Vec<_> = Vec::new();
        for peer in peers.iter().enumerate() {
            runs.push(run(peer));
            // The burst is one after the other: what is kept of it is then no longer needed by anybody.
            while matches!(limit, Limit::Messages(_)) && runs.last().is_some_and(|run| !run.is_finished()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let (mut times, mut counts) = (Vec::new(), Vec::new());
        for run in runs {
            let of_one = run.await??;
            counts.push(of_one.len());
            times.extend(of_one);
        }
        let seconds = began.elapsed().as_secs_f64();
        let mut counts: Vec<f64> = counts.into_iter().map(|count| count as f64 / seconds).collect();
        counts.sort_by(f64::total_cmp);
        times.sort();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
        println!(
            "{:.0} round trips/s; of one peer at least {:.0}, at most {:.0}; p50 {:?}, p99 {:?}, worst {:?}",
            counts.iter().sum::<f64>(),
            counts.first().unwrap_or(&0.0),
            counts.last().unwrap_or(&0.0),
            at(0.5),
            at(0.99),
            times.last().copied().unwrap_or_default()
        );
    }
}

#[derive(Clone, Copy)]
enum Limit {
    Time(Duration),
    Messages(usize),
}

/// How long each of the round trips took that a process makes, some of them at a time.
async fn round_trips(
    mut process: Process,
    (name, node): (String, NodeName),
    limit: Limit,
    size: usize,
) -> Result<Vec<Duration>, Failure> {
    let payload = vec![7; size];
    let began = Instant::now();
    let (mut sent, mut times) = (VecDeque::new(), Vec::new());
    loop {
        let on = match limit {
            Limit::Time(time) => began.elapsed() < time,
            Limit::Messages(count) => times.len() + sent.len() < count,
        };
        if on && sent.len() < AT_A_TIME {
            let number = (times.len() + sent.len()) as i64;
            process.send((&*name, &node), &(process.pid(), number, Bytes::new(&payload))).await?;
            sent.push_back(Instant::now());
            continue;
        }
        let Some(since) = sent.pop_front() else { return Ok(times) };
        let (number, _) = process.recv().await?.decode::<(i64, ByteBuf)>()?;
        if number != times.len() as i64 {
            return Err(format!("the answer to {number} where that to {} is due", times.len()).into());
        }
        times.push(since.elapsed());
    }
}

fn builder(name: &str, mode: EpmdMode, epmd: u16) -> Result<NodeBuilder, Failure> {
    let loopback = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let builder = Node::builder(format!("{name}@127.0.0.1")).cookie(Cookie::new("many")?);
    Ok(builder.listen(loopback, 0..=0).epmd(mode, epmd))
}

/// A listener that never accepts and whose queue is full: who connects hears nothing.
struct BlackHole {
    address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    fn open() -> Result<Self, Failure> {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::new(127, 2, 0, 1), 0)).into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().ok_or("no address")?;
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
            if queued.len() > MOST_QUEUED {
                return Err("the queue of a listener does not fill up here: no black hole".into());
            }
        }
        Ok(Self { address, _listener: listener, _queued: queued })
    }
}

/// Messages of a peer that have no answer yet, where all are busy; and how large they are.
const AT_A_TIME: usize = 16;
const BUSY_SIZE: usize = 64;
/// What idle peers send once, to see what is kept of it.
const BURST: usize = 200;
const BURST_SIZE: usize = 1024;
/// Of the ports that need root, this one has had no service for decades (tcpmux).
const NOBODY_LISTENS: u16 = 1;
/// Linux lets one more wait than was asked for.
const MOST_QUEUED: usize = 16;
