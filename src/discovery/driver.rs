//! The strategies and the reconciler on tokio, against a real mesh.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::event::DiscoveryEvent;
use super::mesh::{DialFailure, FailureKind, Mesh, MeshEvent};
use super::reconcile::{Action, Input, ReconcileConfig, Reconciler};
use super::snapshot::Snapshot;
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter, Reports, Strategy, TopologyName};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// Topologies to be started.
#[derive(Default)]
pub struct Discovery {
    config: ReconcileConfig,
    topologies: Vec<(TopologyName, Arc<dyn Strategy>)>,
}

impl Discovery {
    /// No topology yet.
    pub fn new(config: ReconcileConfig) -> Self {
        Self { config, topologies: Vec::new() }
    }

    /// Adds a topology. The nodes of all of them together are what is wanted; one with a name that is
    /// taken replaces the other.
    #[must_use]
    pub fn topology(mut self, name: impl Into<TopologyName>, strategy: impl Strategy) -> Self {
        self.add(name, Arc::new(strategy));
        self
    }

    /// Adds a topology, for those who have the strategy behind a pointer.
    pub fn add(&mut self, name: impl Into<TopologyName>, strategy: Arc<dyn Strategy>) {
        let name = name.into();
        self.topologies.retain(|(known, _)| *known != name);
        self.topologies.push((name, strategy));
    }

    /// True when there is nothing to start.
    pub fn is_empty(&self) -> bool {
        self.topologies.is_empty()
    }

    /// Starts the strategies and keeps the mesh connected until the handle is stopped or dropped. Has to
    /// be called within a tokio runtime.
    pub fn start(self, mesh: Arc<dyn Mesh>) -> DiscoveryHandle {
        let mut reconciler = Reconciler::new(mesh.name(), self.config.clone());
        let wake = Arc::new(Notify::new());
        let mut strategies = JoinSet::new();
        let mut reports = Vec::new();
        for (name, strategy) in self.topologies {
            reconciler.add_topology(name.clone(), strategy.kind());
            let (reporter, end) = Reporter::waking(wake.clone());
            strategies.spawn(keep_running(name.clone(), strategy, mesh.name(), reporter));
            reports.push((name, end));
        }
        let reconciler = Arc::new(Mutex::new(reconciler));
        let (events, first) = broadcast::channel(EVENTS_KEPT);
        let stop = CancellationToken::new();
        let driver = Driver {
            // Listening begins before the first look at what is connected, so that nothing falls between.
            news: mesh.events(),
            mesh,
            reconciler: reconciler.clone(),
            events: events.clone(),
            dial_limit: self.config.dial_limit,
            dials: JoinSet::new(),
            reports,
            wake,
        };
        let task = tokio::spawn(driver.run(strategies, stop.clone()));
        DiscoveryHandle { reconciler, events, first: Mutex::new(Some(first)), task, stop: stop.drop_guard() }
    }
}

/// Running discovery. Dropping it stops it; links stay as they are.
#[derive(Debug)]
pub struct DiscoveryHandle {
    reconciler: Arc<Mutex<Reconciler>>,
    events: broadcast::Sender<DiscoveryEvent>,
    first: Mutex<Option<broadcast::Receiver<DiscoveryEvent>>>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl DiscoveryHandle {
    /// All events from now on; whoever asks first gets them from the start. A reader that lags loses the oldest
    /// and is told how many.
    pub fn events(&self) -> broadcast::Receiver<DiscoveryEvent> {
        self.first.lock().take().unwrap_or_else(|| self.events.subscribe())
    }

    /// How things stand.
    pub fn snapshot(&self) -> Snapshot {
        self.reconciler.lock().snapshot(now())
    }

    /// The same view of how things stand for others, who do not keep discovery running by it.
    pub fn view(&self) -> DiscoveryView {
        DiscoveryView { reconciler: self.reconciler.clone() }
    }

    /// Stops dialling and watching, and returns when it has stopped. Links stay as they are.
    pub async fn stop(self) {
        drop(self.stop);
        // It only fails when the task panicked or the runtime is going down; it has stopped either way.
        let _ = self.task.await;
    }
}

/// How discovery stands, for tables and probes. Cheap to clone; once discovery has stopped, it shows the state of then.
#[derive(Debug, Clone)]
pub struct DiscoveryView {
    reconciler: Arc<Mutex<Reconciler>>,
}

impl DiscoveryView {
    /// How things stand.
    pub fn snapshot(&self) -> Snapshot {
        self.reconciler.lock().snapshot(now())
    }
}

struct Driver {
    mesh: Arc<dyn Mesh>,
    news: futures_util::stream::BoxStream<'static, MeshEvent>,
    reconciler: Arc<Mutex<Reconciler>>,
    events: broadcast::Sender<DiscoveryEvent>,
    dial_limit: Duration,
    dials: JoinSet<(NodeName, Result<(), DialFailure>)>,
    reports: Vec<(TopologyName, Reports)>,
    wake: Arc<Notify>,
}

impl Driver {
    async fn run(mut self, _strategies: JoinSet<()>, stop: CancellationToken) {
        self.look_at_links();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wakeup = self.reconciler.lock().next_wakeup();
            let wakeup = wakeup.map_or_else(|| Instant::now() + LOOK_EVERY, Instant::from_std);
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.news.next() => match event {
                    None => break,
                    Some(MeshEvent::Up(name)) => self.handle(Input::Up(name)),
                    Some(MeshEvent::Down { name, reason }) => self.handle(Input::Down { name, reason }),
                    Some(MeshEvent::Lagged) => self.look_at_links(),
                },
                () = self.wake.notified() => self.read_reports(),
                Some(ended) = self.dials.join_next() => self.dialled(ended),
                () = sleep_until(wakeup) => self.handle(Input::Tick),
                _ = look.tick() => self.look_at_links(),
            }
        }
        self.handle(Input::Stop);
    }

    fn look_at_links(&mut self) {
        let connected = self.mesh.connected();
        self.handle(Input::Connected(connected));
    }

    fn read_reports(&mut self) {
        let mut inputs = Vec::new();
        for (topology, reports) in &self.reports {
            let Some(report) = reports.take() else { continue };
            if let Some(desired) = report.desired {
                inputs.push(Input::Answer { topology: topology.clone(), desired });
            }
            if report.healthy {
                inputs.push(Input::Healthy { topology: topology.clone() });
            }
            if let Some(error) = report.error {
                inputs.push(Input::Failure { topology: topology.clone(), error });
            }
        }
        for input in inputs {
            self.handle(input);
        }
    }

    fn dialled(&mut self, ended: Result<(NodeName, Result<(), DialFailure>), tokio::task::JoinError>) {
        // A dial catches its own panic and is never aborted while this runs.
        let Ok((name, result)) = ended else { return };
        if result.is_ok() && self.mesh.is_connected(&name) {
            self.handle(Input::Up(name.clone()));
        }
        self.handle(Input::Dialled { name, result });
    }

    fn handle(&mut self, input: Input) {
        let actions = self.reconciler.lock().handle(input, now());
        for action in actions {
            match action {
                Action::Dial(target) => {
                    self.dials.spawn(dial(self.mesh.clone(), target, self.dial_limit));
                }
                Action::Disconnect { name, reason } => self.mesh.disconnect(&name, &reason),
                Action::Tell(event) => {
                    log(&event);
                    // Nobody has to listen.
                    let _ = self.events.send(event);
                }
            }
        }
    }
}

async fn dial(mesh: Arc<dyn Mesh>, target: DialTarget, limit: Duration) -> (NodeName, Result<(), DialFailure>) {
    let name = target.name.clone();
    let connect = AssertUnwindSafe(async { mesh.connect(target).await }).catch_unwind();
    let result = match tokio::time::timeout(limit, connect).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(DialFailure::new(FailureKind::Other, "the dial panicked, which is a defect")),
        Err(_elapsed) => Err(DialFailure::new(FailureKind::Timeout, format!("no connection within {limit:?}"))),
    };
    (name, result)
}

/// Runs a strategy. One that panics is reported and started again after a pause; one that returns has
/// said all it knows.
async fn keep_running(topology: TopologyName, strategy: Arc<dyn Strategy>, own: NodeName, report: Reporter) {
    loop {
        let run = AssertUnwindSafe(async { strategy.run(own.clone(), report.clone()).await }).catch_unwind();
        if run.await.is_ok() {
            tracing::debug!(%topology, strategy = strategy.kind(), "strategy has said all it knows");
            return;
        }
        let text = format!("the strategy `{}` panicked, which is a defect in it", strategy.kind());
        let fix = format!("it is started again in {RESTART_PAUSE:?}");
        report.degraded(DiscoveryError::new(DiscoveryErrorKind::Stopped, text).with_fix(fix));
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// One line per change of state; what repeats is for those who debug.
fn log(event: &DiscoveryEvent) {
    match event {
        DiscoveryEvent::Degraded { topology, error } => {
            tracing::warn!(%topology, kind = error.kind.as_str(), "{event}");
        }
        DiscoveryEvent::NotFindable { topology, own, .. } => tracing::warn!(%topology, %own, "{event}"),
        DiscoveryEvent::ReleaseUnknown { held_back, .. } => tracing::warn!(held_back, "{event}"),
        DiscoveryEvent::Recovered { topology } => tracing::info!(%topology, "{event}"),
        DiscoveryEvent::ConnectFailed { name, kind, tell: true, .. } => {
            tracing::warn!(peer = %name, %kind, "{event}");
        }
        DiscoveryEvent::ConnectFailed { name, kind, failures, .. } => {
            tracing::debug!(peer = %name, %kind, failures, "{event}");
        }
        DiscoveryEvent::Discovered { topology, target, .. } => {
            tracing::info!(%topology, peer = %target.name, "{event}");
        }
        DiscoveryEvent::Removed { topology, name, .. } => tracing::info!(%topology, peer = %name, "{event}"),
        DiscoveryEvent::Lost { name, .. } | DiscoveryEvent::Pruned { name, .. } => {
            tracing::info!(peer = %name, "{event}");
        }
        DiscoveryEvent::Changed { .. } | DiscoveryEvent::Connecting { .. } | DiscoveryEvent::Connected { .. } => {
            tracing::debug!("{event}");
        }
    }
}

/// What a reader may lag behind; each event is small.
const EVENTS_KEPT: usize = 1024;
/// How often the links are looked at, though every change is also told: a safety net, cheap.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A strategy that panics does so again: not in a tight loop.
const RESTART_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use futures_util::stream::BoxStream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::discovery::{Health, LinkStatus, Static};

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    /// A mesh whose dials do as they are told.
    struct Scripted {
        connected: Mutex<BTreeSet<NodeName>>,
        dials: AtomicUsize,
        how: fn(usize) -> How,
        news: broadcast::Sender<MeshEvent>,
        dialled: mpsc::UnboundedSender<NodeName>,
    }

    #[derive(Clone, Copy)]
    enum How {
        Connect,
        Hang,
        Panic,
    }

    impl Scripted {
        fn new(how: fn(usize) -> How) -> (Arc<Self>, mpsc::UnboundedReceiver<NodeName>) {
            let (dialled, dials) = mpsc::unbounded_channel();
            let news = broadcast::channel(16).0;
            (Arc::new(Self { connected: Mutex::default(), dials: AtomicUsize::new(0), how, news, dialled }), dials)
        }

        fn cut(&self, peer: &str) {
            self.connected.lock().remove(&name(peer));
            self.news.send(MeshEvent::Down { name: name(peer), reason: "cut".to_owned() }).unwrap();
        }
    }

    impl Mesh for Scripted {
        fn name(&self) -> NodeName {
            name("me@h")
        }

        fn connected(&self) -> Vec<NodeName> {
            self.connected.lock().iter().cloned().collect()
        }

        fn connect(&self, target: DialTarget) -> BoxFuture<'static, Result<(), DialFailure>> {
            let _ = self.dialled.send(target.name.clone());
            match (self.how)(self.dials.fetch_add(1, Ordering::Relaxed)) {
                How::Connect => {
                    self.connected.lock().insert(target.name.clone());
                    let _ = self.news.send(MeshEvent::Up(target.name));
                    Box::pin(std::future::ready(Ok(())))
                }
                How::Hang => Box::pin(std::future::pending()),
                How::Panic => panic!("a mesh with a defect"),
            }
        }

        fn disconnect(&self, name: &NodeName, _reason: &str) {
            self.connected.lock().remove(name);
        }

        fn events(&self) -> BoxStream<'static, MeshEvent> {
            let news = self.news.subscribe();
            futures_util::stream::unfold(news, |mut news| async { Some((news.recv().await.ok()?, news)) }).boxed()
        }
    }

    fn start(mesh: Arc<Scripted>) -> DiscoveryHandle {
        Discovery::new(ReconcileConfig::default()).topology("list", Static::new([name("a@h").into()])).start(mesh)
    }

    async fn until<T>(
        events: &mut broadcast::Receiver<DiscoveryEvent>,
        pick: impl Fn(DiscoveryEvent) -> Option<T>,
    ) -> T {
        loop {
            if let Some(picked) = pick(events.recv().await.unwrap()) {
                return picked;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_link_is_dialled_again_as_soon_as_the_mesh_tells() {
        let (mesh, mut dials) = Scripted::new(|_| How::Connect);
        let discovery = start(mesh.clone());
        assert_eq!(dials.recv().await, Some(name("a@h")));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = Instant::now();
        mesh.cut("a@h");
        assert_eq!(dials.recv().await, Some(name("a@h")));
        assert!(before.elapsed() < Duration::from_millis(10));
        assert!(dials.try_recv().is_err());
        drop(discovery);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_that_never_ends_or_panics_is_a_failure_with_a_retry() {
        let (mesh, mut dials) = Scripted::new(|nth| if nth == 0 { How::Hang } else { How::Panic });
        let discovery = start(mesh);
        let mut events = discovery.events();
        let failed = |event| match event {
            DiscoveryEvent::ConnectFailed { kind, retry_in, .. } => Some((kind, retry_in.is_some())),
            _ => None,
        };
        let began = Instant::now();
        assert_eq!(until(&mut events, failed).await, (FailureKind::Timeout, true));
        let limit = ReconcileConfig::default().dial_limit;
        assert!((limit..limit * 2).contains(&began.elapsed()));
        assert_eq!(until(&mut events, failed).await, (FailureKind::Other, true));
        assert!(dials.recv().await.is_some() && dials.recv().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_strategy_that_panics_is_degraded_and_started_again() {
        struct Flaky(Arc<AtomicUsize>);
        impl Strategy for Flaky {
            fn kind(&self) -> &'static str {
                "flaky"
            }
            fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
                assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "a strategy with a defect");
                Static::new([name("a@h").into()]).run(own, report)
            }
        }
        let (mesh, mut dials) = Scripted::new(|_| How::Connect);
        let discovery = Discovery::new(ReconcileConfig::default()).topology("flaky", Flaky(Arc::default())).start(mesh);
        let mut events = discovery.events();
        until(&mut events, |event| matches!(event, DiscoveryEvent::Degraded { .. }).then_some(())).await;
        assert!(matches!(discovery.snapshot().topologies[0].health, Health::Degraded { .. }));
        until(&mut events, |event| matches!(event, DiscoveryEvent::Recovered { .. }).then_some(())).await;
        assert_eq!(dials.recv().await, Some(name("a@h")));
    }

    #[tokio::test(start_paused = true)]
    async fn after_lost_news_the_links_are_looked_at() {
        let (mesh, mut dials) = Scripted::new(|_| How::Connect);
        let discovery = start(mesh.clone());
        dials.recv().await;
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(matches!(discovery.snapshot().peers[0].link, LinkStatus::Up { .. }));
        mesh.connected.lock().clear();
        let before = Instant::now();
        mesh.news.send(MeshEvent::Lagged).unwrap();
        dials.recv().await;
        assert!(before.elapsed() < Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn once_stopped_it_dials_no_more_and_leaves_links_alone() {
        let (mesh, mut dials) = Scripted::new(|_| How::Connect);
        let discovery = start(mesh.clone());
        dials.recv().await;
        let mut events = discovery.events();
        discovery.stop().await;
        assert_eq!(mesh.connected(), [name("a@h")]);
        while events.try_recv().is_ok() {}
        mesh.connected.lock().clear();
        let _ = mesh.news.send(MeshEvent::Lagged);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(dials.try_recv().is_err());
    }
}
