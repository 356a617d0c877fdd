//! The loop around the watch: when to list anew, when to wait, and what to report.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Kubernetes;
use super::error::{has_expired, silence, watch_error};
use super::pods::PodSet;
use crate::discovery::backoff::{Backoff, Dice};
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter};
use crate::proto::NodeName;

/// Watches until it is dropped.
pub(super) async fn run(settings: Kubernetes, own: NodeName, report: Reporter) {
    let mut state = Watch {
        pods: PodSet::new(settings.rules(own)),
        settings,
        report,
        degraded: false,
        strained: false,
        failures: 0,
        dice: Dice::seeded(),
    };
    let mut client = None;
    loop {
        let began = Instant::now();
        let connected = match client.take() {
            Some(connected) => Ok(connected),
            None => state.connect().await,
        };
        let ended = match connected {
            Ok(connected) => match state.list_and_watch(&connected).await {
                End::ListAnew => {
                    client = Some(connected);
                    None
                }
                End::Broken(_) if !state.strained => {
                    state.strained = true;
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
                state.failures = state.failures.saturating_add(1);
                state.degraded = true;
                state.report.degraded(error);
                sleep(PAUSES.pause(state.failures, &mut state.dice)).await;
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

struct Watch {
    settings: Kubernetes,
    pods: PodSet,
    report: Reporter,
    degraded: bool,
    /// A connection broke since the watch last held.
    strained: bool,
    failures: u32,
    dice: Dice,
}

impl Watch {
    async fn connect(&self) -> Result<(kube::Client, String), DiscoveryError> {
        let limit = self.settings.answer_within;
        let connected = timeout(limit, self.settings.connect()).await;
        connected.unwrap_or_else(|_elapsed| Err(silence("give access", limit)))
    }

    async fn list_and_watch(&mut self, (client, namespace): &(kube::Client, String)) -> End {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let selector = self.settings.selector.clone();
        let limit = self.settings.answer_within;
        let events = watcher::watcher(api, watcher::Config::default().labels(&selector));
        pin_mut!(events);

        let mut listed = false;
        let mut deadline = Instant::now() + limit;
        let mut proof: Option<Instant> = None;
        let relist_at =
            Instant::now() + Backoff::new(self.settings.relist_every, Duration::MAX).pause(1, &mut self.dice);
        loop {
            let mut event = tokio::select! {
                event = events.next() => event,
                () = sleep_until(deadline), if !listed => return End::Failed(silence("list pods", limit)),
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
                        publish |= self.pods.take_in(event, namespace);
                        if done {
                            proof = Some(Instant::now() + WATCH_HOLDS_AFTER);
                        }
                    }
                    Some(Err(error)) => {
                        if publish {
                            self.publish();
                        }
                        return self.ending(&error, namespace);
                    }
                    None => return End::ListAnew,
                }
                match events.next().now_or_never() {
                    Some(next) => event = next,
                    None => break,
                }
            }
            if publish {
                self.publish();
            }
        }
    }

    fn publish(&mut self) {
        let desired = self.pods.desired();
        if self.degraded {
            self.report.desired_while_degraded(desired);
        } else {
            self.report.desired(desired);
        }
    }

    /// The watch has started and holds: what was wrong is mended.
    fn holds(&mut self) {
        self.strained = false;
        self.failures = 0;
        if std::mem::take(&mut self.degraded) {
            self.report.healthy();
        }
    }

    fn ending(&self, error: &watcher::Error, namespace: &str) -> End {
        tracing::debug!(namespace, %error, "watch of pods ended");
        if has_expired(error) {
            return End::ListAnew;
        }
        let explained = watch_error(error, namespace, &self.settings.selector);
        match explained.kind {
            DiscoveryErrorKind::Unreachable => End::Broken(explained),
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
