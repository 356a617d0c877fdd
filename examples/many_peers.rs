//! What discovery costs when it knows very many nodes.
//!
//! ```console
//! $ cargo run --release --example many_peers -- decisions 1000 10000
//! $ cargo run --release --example many_peers -- node THERE ABSENT [SETTLE_SECONDS [MEASURE_SECONDS]]
//! ```
//!
//! `decisions` drives the reconciler alone, with no socket. `node` runs a node whose strategy reports THERE nodes that
//! run (in a process of their own) and ABSENT ones that do not: of four of them three refuse connections, and one is
//! at an address that answers nothing at all. See `docs/performance.md`.

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
use gusset::{Cookie, DialTarget, EpmdMode, Node, NodeBuilder, NodeName};

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
        _ => Err("usage: many_peers decisions PEERS… | node THERE ABSENT [SETTLE_SECONDS [MEASURE_SECONDS]]".into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
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

/// Of the ports that need root, this one has had no service for decades (tcpmux).
const NOBODY_LISTENS: u16 = 1;
/// Linux lets one more wait than was asked for.
const MOST_QUEUED: usize = 16;
