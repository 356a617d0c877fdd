//! The loop around a watch: when to list anew, when to wait, and what to report. One for each source; what they know
//! comes together in one set.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, pin_mut};
use kube::Api;
use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Kubernetes;
use super::access;
use super::error::{has_expired, is_lost_page, silence, watch_error};
use super::lookup::Source;
use super::rules::Shows;
use super::union::Union;
use crate::discovery::backoff::{Backoff, Dice};
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter};
use crate::proto::NodeName;

/// Watches all sources until it is dropped.
pub(super) async fn run<K: Shows>(settings: Kubernetes, own: NodeName, report: Reporter) {
    let sources = settings.sources();
    let union = Union::new(settings.rules(own), sources.clone());
    let shared = Arc::new(Shared { union: Mutex::new(union), report, held: Notify::new() });
    let watches = sources.into_iter().enumerate().map(|(number, source)| {
        let (settings, shared) = (settings.clone(), shared.clone());
        Watch { settings, shared, source, number, strained: false, failures: 0, dice: Dice::seeded() }.run::<K>()
    });
    tokio::join!(join_all(watches), shared.settle());
}

/// What all sources know together, and where it is reported.
struct Shared {
    union: Mutex<Union>,
    report: Reporter,
    /// Something may have to be decided later.
    held: Notify,
}

impl Shared {
    fn take_in<K: Shows>(&self, source: usize, event: Event<K>) -> bool {
        let mut union = self.union.lock();
        let news = union.take_in(source, event, Instant::now().into_std());
        if union.settles_at().is_some() {
            self.held.notify_one();
        }
        news
    }

    fn publish(&self) {
        let mut union = self.union.lock();
        let desired = union.desired();
        if union.is_well() {
            self.report.desired(desired);
        } else {
            self.report.desired_while_degraded(desired);
        }
    }

    fn failed(&self, source: usize, error: DiscoveryError) {
        let mut union = self.union.lock();
        let was_last = union.failed(source, error);
        if was_last && union.has_listed() {
            let desired = union.desired();
            self.report.desired_while_degraded(desired);
        }
        if let Some(trouble) = union.trouble() {
            self.report.degraded(trouble);
        }
    }

    fn mended(&self, source: usize) {
        let mut union = self.union.lock();
        if !union.mended(source) {
            return;
        }
        match union.trouble() {
            Some(trouble) => self.report.degraded(trouble),
            None if union.is_well() => self.report.healthy(),
            None => {}
        }
    }

    /// Decides in time about what waits for a decision.
    async fn settle(&self) {
        loop {
            let at = self.union.lock().settles_at().map(Instant::from_std);
            tokio::select! {
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {}
                () = self.held.notified() => continue,
            }
            if self.union.lock().settle(Instant::now().into_std()) {
                self.publish();
            }
        }
    }
}

/// How a round of list and watch ends.
enum End {
    /// It is time to list anew.
    ListAnew,
    /// A connection broke, which is routine (the server restarts, a balancer tires of it) unless it goes on.
    Broken(DiscoveryError),
    /// There is no answer.
    Failed(DiscoveryError),
}

/// One source.
struct Watch {
    settings: Kubernetes,
    shared: Arc<Shared>,
    source: Source,
    number: usize,
    /// A connection broke since the watch last held.
    strained: bool,
    failures: u32,
    dice: Dice,
}

impl Watch {
    async fn run<K: Shows>(mut self) {
        let mut client = None;
        loop {
            let began = Instant::now();
            let connected = match client.take() {
                Some(client) => Ok(client),
                None => self.connect().await,
            };
            let ended = match connected {
                Ok(connected) => match self.list_and_watch::<K>(&connected).await {
                    End::ListAnew => {
                        client = Some(connected);
                        None
                    }
                    End::Broken(_) if !self.strained => {
                        self.strained = true;
                        None
                    }
                    End::Broken(error) | End::Failed(error) => Some(error),
                },
                Err(error) => Some(error),
            };
            match ended {
                // However a server behaves, it is not asked for lists in a tight loop.
                None => sleep_until(began + SHORTEST_ROUND).await,
                Some(error) => {
                    // The next try starts from the credentials, which may have changed.
                    self.failures = self.failures.saturating_add(1);
                    self.shared.failed(self.number, error);
                    sleep(PAUSES.pause(self.failures, &mut self.dice)).await;
                }
            }
        }
    }

    /// A client, and the namespace to watch, if it is this node's own.
    async fn connect(&mut self) -> Result<kube::Client, DiscoveryError> {
        let limit = self.settings.answer_within;
        let config = match timeout(limit, self.settings.config()).await {
            Ok(config) => config?,
            Err(_elapsed) => return Err(silence("give access", limit)),
        };
        let namespace = self.settings.namespace_of(self.number).unwrap_or_else(|| config.default_namespace.clone());
        self.shared.union.lock().is_in(self.number, &namespace);
        self.source.namespace = Some(namespace);
        access::client(config)
    }

    async fn list_and_watch<K: Shows>(&mut self, client: &kube::Client) -> End {
        let api: Api<K> = Api::namespaced(client.clone(), self.source.namespace());
        let limit = self.settings.answer_within;
        let events = watcher::watcher(api, self.source.config());
        pin_mut!(events);

        let mut listed = false;
        let mut deadline = Instant::now() + limit;
        let mut proof: Option<Instant> = None;
        let relist_at =
            Instant::now() + Backoff::new(self.settings.relist_every, Duration::MAX).pause(1, &mut self.dice);
        loop {
            let mut event = tokio::select! {
                event = events.next() => event,
                () = sleep_until(deadline), if !listed => {
                    return End::Failed(silence(&format!("list {}", self.source.lookup), limit));
                }
                () = sleep_until(proof.unwrap_or(relist_at)), if proof.is_some() => {
                    proof = None;
                    self.holds();
                    continue;
                }
                () = sleep_until(relist_at), if listed => return End::ListAnew,
            };
            let mut publish = false;
            // What came in one go is reported in one go.
            for _ in 0..MOST_EVENTS_AT_ONCE {
                match event {
                    Some(Ok(event)) => {
                        deadline = Instant::now() + limit;
                        let done = matches!(event, Event::InitDone);
                        listed = done || (listed && !matches!(event, Event::Init));
                        publish |= self.shared.take_in(self.number, event);
                        if done {
                            proof = Some(Instant::now() + WATCH_HOLDS_AFTER);
                        }
                    }
                    Some(Err(error)) => {
                        if publish {
                            self.shared.publish();
                        }
                        return self.ending(&error);
                    }
                    None => return End::ListAnew,
                }
                match events.next().now_or_never() {
                    Some(next) => event = next,
                    None => break,
                }
            }
            if publish {
                self.shared.publish();
            }
        }
    }

    /// The watch has started and holds: what was wrong is mended.
    fn holds(&mut self) {
        self.strained = false;
        self.failures = 0;
        self.shared.mended(self.number);
    }

    fn ending(&self, error: &watcher::Error) -> End {
        let (namespace, lookup) = (self.source.namespace(), self.source.lookup);
        tracing::debug!(namespace, %lookup, %error, "watch ended");
        if has_expired(error) {
            return End::ListAnew;
        }
        let explained = watch_error(error, &self.source);
        match explained.kind {
            DiscoveryErrorKind::Unreachable => End::Broken(explained),
            _ if is_lost_page(error) => End::Broken(explained),
            _ => End::Failed(explained),
        }
    }
}

/// As other clients of the API do: kind to a server that struggles, quick enough after a restart.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(800), Duration::from_secs(30));
/// A watch that is not allowed is refused well within this.
const WATCH_HOLDS_AFTER: Duration = Duration::from_secs(1);
/// Rounds of list and watch follow each other no faster.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);
/// A page of a list; bounds the work between two looks at the clock.
const MOST_EVENTS_AT_ONCE: usize = 500;
