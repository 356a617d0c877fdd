//! Two strategies for the same nodes: the better one while it works, the other one else.
//!
//! Meant for the Kubernetes API with DNS behind it. What the API refuses is no trouble: somebody has decided
//! that there is no Role for this pod, and DNS does without. What the API fails to do is trouble; then DNS
//! helps, and that the API fails is still reported. A switch only replaces the set of those that are wanted:
//! who is missing from the other set keeps the link.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::desired::Desired;
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Report, Reporter, Reports, Strategy};
use crate::proto::NodeName;

/// Uses one strategy while it works, and another one else.
///
/// ```
/// # #[cfg(all(feature = "kubernetes", feature = "dns"))] {
/// use gusset::discovery::{Auto, Dns, Kubernetes, NameTemplate};
///
/// let watch = Kubernetes::pods("prod", "app=myapp").basename("myapp").template(NameTemplate::dns());
/// let dns = Dns::addresses("myapp-headless.prod.svc.cluster.local.")
///     .basename("myapp")
///     .template(NameTemplate::dns())
///     .namespace("prod");
/// let auto = Auto::new(watch, dns);
/// let in_use = auto.in_use(); // `kubernetes`, or `dns` and why
/// # }
/// ```
///
/// Both have to give the same names to the same nodes; give them the same template. The second one rests
/// while the first one works. The first one is tried again all the time, with its own pauses, so that a
/// Role which appears is made use of, and one that is taken away costs nothing but speed.
pub struct Auto {
    first: Arc<dyn Strategy>,
    second: Arc<dyn Strategy>,
    patience: Duration,
    in_use: InUse,
}

impl Auto {
    /// `first` while it works, else `second`.
    pub fn new(first: impl Strategy, second: impl Strategy) -> Self {
        let (first, second) = (Arc::new(first), Arc::new(second));
        Self { first, second, patience: PATIENCE, in_use: InUse::default() }
    }

    /// How long the first strategy may say nothing at its start before the second one is used meanwhile
    /// (5 seconds if not given).
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Where it can be read which of the two is in use, also while it runs.
    pub fn in_use(&self) -> InUse {
        self.in_use.clone()
    }
}

impl fmt::Debug for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auto").field("first", &self.first.kind()).field("second", &self.second.kind()).finish()
    }
}

/// Which strategy of an [`Auto`] is in use, and why.
#[derive(Debug, Clone, Default)]
pub struct InUse(Arc<Mutex<Option<Choice>>>);

/// The kind of a strategy, and why it is not the first one.
type Choice = (&'static str, Option<DiscoveryError>);

impl InUse {
    /// The kind of the strategy in use (`kubernetes`, `dns`); `None` before there was any news.
    pub fn kind(&self) -> Option<&'static str> {
        self.0.lock().as_ref().map(|(kind, _)| *kind)
    }

    /// Why it is the second one; `None` when it is the first.
    pub fn reason(&self) -> Option<DiscoveryError> {
        self.0.lock().as_ref().and_then(|(_, reason)| reason.clone())
    }
}

impl Strategy for Auto {
    fn kind(&self) -> &'static str {
        "auto"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        let (first, reports) = Reporter::new();
        let run = Run {
            second: self.second.clone(),
            kinds: (self.first.kind(), self.second.kind()),
            in_use: self.in_use.clone(),
            report,
            held: None,
            trouble: None,
            other: None,
        };
        Box::pin(run.until_dropped(self.first.run(own.clone(), first), reports, own, self.patience))
    }
}

struct Run {
    second: Arc<dyn Strategy>,
    kinds: (&'static str, &'static str),
    in_use: InUse,
    report: Reporter,
    /// What the first one said while it was not in use.
    held: Option<Desired>,
    /// Why the first one is not in use.
    trouble: Option<DiscoveryError>,
    /// The second one, while it is in use.
    other: Option<Other>,
}

struct Other {
    running: Fuse<BoxFuture<'static, ()>>,
    reports: Reports,
    /// It has given an answer.
    answered: bool,
    /// How it does, for what both together report.
    error: Option<DiscoveryError>,
}

impl Run {
    async fn until_dropped(
        mut self,
        first: BoxFuture<'static, ()>,
        first_reports: Reports,
        own: NodeName,
        patience: Duration,
    ) {
        let mut first = first.fuse();
        let patient_until = Instant::now() + patience;
        loop {
            let undecided = self.in_use.kind().is_none();
            tokio::select! {
                // One that returns has said all it knows.
                () = &mut first => {}
                news = first_reports.next() => self.first_said(news, &own),
                news = other_news(&mut self.other) => self.second_said(news),
                () = sleep_until(patient_until), if undecided => {
                    let text = format!("`{}` has given no answer within {patience:?}", self.kinds.0);
                    self.use_second(DiscoveryError::new(DiscoveryErrorKind::Timeout, text), &own);
                }
            }
        }
    }

    fn first_said(&mut self, news: Report, own: &NodeName) {
        self.hold(news.desired);
        if self.in_use.kind() == Some(self.kinds.0)
            && let Some(desired) = self.held.take()
        {
            self.report.desired_while_degraded(desired);
        }
        if news.healthy {
            self.use_first();
        } else if let Some(error) = news.error {
            self.use_second(error, own);
        }
    }

    /// Keeps an answer; proof that somebody left is not lost by a newer one.
    fn hold(&mut self, desired: Option<Desired>) {
        let Some(desired) = desired else { return };
        self.held = Some(match self.held.take() {
            Some(unread) => desired.after(unread),
            None => desired,
        });
    }

    fn use_first(&mut self) {
        self.other = None;
        self.trouble = None;
        let kind = self.kinds.0;
        if self.in_use.0.lock().replace((kind, None)).is_none_or(|(before, _)| before != kind) {
            tracing::info!(strategy = kind, "discovery uses `{kind}`, which works");
        }
        match self.held.take() {
            Some(desired) => self.report.desired(desired),
            None => self.report.healthy(),
        }
    }

    fn use_second(&mut self, why: DiscoveryError, own: &NodeName) {
        let (first, second) = self.kinds;
        let before = self.in_use.0.lock().replace((second, Some(why.clone())));
        let changed =
            before.is_none_or(|(kind, reason)| kind != second || reason.map(|reason| reason.kind) != Some(why.kind));
        if changed {
            tracing::warn!(strategy = second, reason = %why, "discovery uses `{second}`, because `{first}` does not work");
        }
        self.trouble = Some(why);
        if self.other.is_none() {
            let (report, reports) = Reporter::new();
            let running = self.second.run(own.clone(), report).fuse();
            self.other = Some(Other { running, reports, answered: false, error: None });
        }
        self.report_health();
    }

    fn second_said(&mut self, news: Report) {
        let Some(other) = &mut self.other else { return };
        if news.healthy {
            other.error = None;
        }
        other.answered |= news.healthy || news.desired.is_some();
        if news.error.is_some() {
            other.error = news.error;
        }
        if let Some(desired) = news.desired {
            self.report.desired_while_degraded(desired);
        }
        if news.healthy || self.other.as_ref().is_some_and(|other| other.error.is_some()) {
            self.report_health();
        }
    }

    /// While the second one is in use: all is well when it has answered, and nothing is wrong but that the
    /// first one is not allowed.
    fn report_health(&self) {
        let Some(why) = &self.trouble else { return };
        let Some(other) = &self.other else { return };
        let (first, second) = self.kinds;
        match &other.error {
            Some(error) => {
                let text = format!("neither `{first}` nor `{second}` has an answer: {}; {}", why.text, error.text);
                self.report.degraded(DiscoveryError::new(error.kind, text).with_fix(why.fix.clone()));
            }
            None if is_refusal(why.kind) && other.answered => self.report.healthy(),
            None if is_refusal(why.kind) => {}
            None => {
                let text = format!("`{second}` is used, because `{first}` fails: {}", why.text);
                self.report.degraded(DiscoveryError::new(why.kind, text).with_fix(why.fix.clone()));
            }
        }
    }
}

/// What the second strategy says; nothing ever while it is not in use.
async fn other_news(other: &mut Option<Other>) -> Report {
    let Some(other) = other else { return std::future::pending().await };
    loop {
        tokio::select! {
            news = other.reports.next() => return news,
            () = &mut other.running => {}
        }
    }
}

/// Somebody has decided that there is no such source for us; it is not broken.
fn is_refusal(kind: DiscoveryErrorKind) -> bool {
    matches!(
        kind,
        DiscoveryErrorKind::Unauthorized
            | DiscoveryErrorKind::Forbidden
            | DiscoveryErrorKind::NotFound
            | DiscoveryErrorKind::Config
    )
}

/// An API server that is well answers within a second; nobody wants to wait for one that is not.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::discovery::Candidate;

    /// A strategy that says what it is told to, and whose runs can be counted.
    struct Scripted {
        kind: &'static str,
        runs: mpsc::UnboundedSender<Reporter>,
    }

    impl Strategy for Scripted {
        fn kind(&self) -> &'static str {
            self.kind
        }

        fn run(&self, _own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
            self.runs.send(report).unwrap();
            Box::pin(std::future::pending())
        }
    }

    fn scripted(kind: &'static str) -> (Scripted, mpsc::UnboundedReceiver<Reporter>) {
        let (runs, reporters) = mpsc::unbounded_channel();
        (Scripted { kind, runs }, reporters)
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn set(names: &[&str]) -> Desired {
        Desired::new(names.iter().map(|text| Candidate::new(name(text).into())))
    }

    fn error(kind: DiscoveryErrorKind) -> DiscoveryError {
        DiscoveryError::new(kind, "no").with_fix("do something")
    }

    async fn until(reports: &Reports, reached: impl Fn(&Report) -> bool) -> Report {
        let waiting = async {
            loop {
                let report = reports.next().await;
                if reached(&report) {
                    return report;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("a report as wanted")
    }

    #[tokio::test(start_paused = true)]
    async fn it_falls_back_where_it_is_refused_and_returns_when_it_is_allowed() {
        let ((first, mut firsts), (second, mut seconds)) = (scripted("api"), scripted("names"));
        let auto = Auto::new(first, second);
        let in_use = auto.in_use();
        let (report, reports) = Reporter::new();
        let task = tokio::spawn(auto.run(name("me@h"), report));
        let first = firsts.recv().await.unwrap();
        assert_eq!(in_use.kind(), None);

        first.degraded(error(DiscoveryErrorKind::Forbidden));
        let second = seconds.recv().await.unwrap();
        second.desired(set(&["a@h", "b@h"]));
        let report = until(&reports, |report| report.desired.is_some()).await;
        assert_eq!(report.desired.unwrap().peers.len(), 2);
        assert!(report.healthy, "a Role that nobody gave is no trouble");
        assert_eq!((in_use.kind(), in_use.reason().unwrap().kind), (Some("names"), DiscoveryErrorKind::Forbidden));

        // The list works before the watch has proved to hold: held back until then, and its proof is not lost.
        first.desired_while_degraded(set(&["a@h"]).with_gone([name("c@h")]));
        first.desired_while_degraded(set(&["a@h"]));
        tokio::task::yield_now().await;
        first.healthy();
        let report = until(&reports, |report| report.desired.is_some()).await;
        let desired = report.desired.unwrap();
        assert_eq!(desired.peers.keys().cloned().collect::<Vec<_>>(), [name("a@h")]);
        assert_eq!(desired.gone.into_iter().collect::<Vec<_>>(), [name("c@h")], "and `b@h` is not gone");
        assert!(report.healthy);
        assert_eq!((in_use.kind(), in_use.reason()), (Some("api"), None));
        second.desired(set(&["z@h"]));

        // Taken away while it runs.
        first.degraded(error(DiscoveryErrorKind::Forbidden));
        let second = seconds.recv().await.unwrap();
        second.desired(set(&["a@h", "b@h"]));
        let report = until(&reports, |report| report.desired.is_some()).await;
        assert!(report.desired.unwrap().gone.is_empty());
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_is_trouble_though_the_other_one_helps() {
        let ((first, mut firsts), (second, mut seconds)) = (scripted("api"), scripted("names"));
        let auto = Auto::new(first, second);
        let (report, reports) = Reporter::new();
        let task = tokio::spawn(auto.run(name("me@h"), report));
        let first = firsts.recv().await.unwrap();
        first.desired(set(&["a@h"]));
        until(&reports, |report| report.healthy && report.desired.is_some()).await;
        assert!(seconds.try_recv().is_err(), "the second one rests");

        first.degraded(error(DiscoveryErrorKind::Unreachable));
        let second = seconds.recv().await.unwrap();
        second.desired(set(&["b@h"]));
        let report = until(&reports, |report| report.desired.is_some()).await;
        assert!(!report.healthy && report.error.unwrap().text.contains("`names` is used"));
        second.degraded(error(DiscoveryErrorKind::Timeout));
        let report = until(&reports, |report| report.error.is_some()).await;
        assert!(report.error.unwrap().text.contains("neither `api` nor `names`"));
        assert_eq!(report.desired, None);

        first.healthy();
        until(&reports, |report| report.healthy).await;
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_a_source_that_says_nothing() {
        let ((first, mut firsts), (second, mut seconds)) = (scripted("api"), scripted("names"));
        let auto = Auto::new(first, second);
        let in_use = auto.in_use();
        let (report, reports) = Reporter::new();
        let task = tokio::spawn(auto.run(name("me@h"), report));
        let _first = firsts.recv().await.unwrap();
        seconds.recv().await.unwrap().desired(set(&["b@h"]));
        until(&reports, |report| report.desired.is_some()).await;
        assert_eq!(in_use.reason().unwrap().kind, DiscoveryErrorKind::Timeout);
        task.abort();
    }
}
