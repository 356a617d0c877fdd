//! The contract of a strategy: run, and report sets or errors, each as what it is.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::desired::Desired;
use crate::proto::NodeName;

/// The name that an operator gave to one strategy with its settings.
pub type TopologyName = Arc<str>;

/// A way to find nodes. Bring your own by implementing this.
///
/// ```
/// use gusset::discovery::{Candidate, Desired, Reporter, Strategy};
/// use gusset::proto::NodeName;
///
/// struct Seed(NodeName);
///
/// impl Strategy for Seed {
///     fn kind(&self) -> &'static str {
///         "seed"
///     }
///
///     fn run(&self, _own: NodeName, report: Reporter) -> futures_util::future::BoxFuture<'static, ()> {
///         let seed = Candidate::new(self.0.clone().into());
///         Box::pin(async move { report.desired(Desired::new([seed])) })
///     }
/// }
/// ```
pub trait Strategy: Send + Sync + 'static {
    /// What it is, in one word: `static`, `kubernetes`.
    fn kind(&self) -> &'static str;

    /// Finds nodes and reports them until it is dropped. `own` is the name of this node; it may be in
    /// the sets and is never dialled.
    ///
    /// An answer that could not be had is an error ([`Reporter::degraded`]), never an empty set; try again
    /// with a pause. A strategy that knows all it will ever know may return.
    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()>;
}

/// Where a strategy reports to. Never blocks; what was not read yet is replaced by what is newer, and no
/// proof that a node left is lost by that.
#[derive(Debug, Clone)]
pub struct Reporter {
    slot: Arc<Slot>,
}

impl Reporter {
    /// A reporter, and the end where its reports are taken from: to test a strategy, or to drive one by hand.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> (Self, Reports) {
        Self::waking(Arc::default())
    }

    pub(super) fn waking(wake: Arc<Notify>) -> (Self, Reports) {
        let slot = Arc::new(Slot { unread: Mutex::default(), wake });
        (Self { slot: slot.clone() }, Reports { slot })
    }

    /// Reports a complete answer, which also says that all is well.
    pub fn desired(&self, desired: Desired) {
        self.put(|unread| {
            unread.add(desired);
            unread.error = None;
            unread.healthy = true;
        });
    }

    /// Reports a complete answer that came although not all is well: health stays as it is.
    pub fn desired_while_degraded(&self, desired: Desired) {
        self.put(|unread| unread.add(desired));
    }

    /// Reports that all is well and nothing has changed.
    pub fn healthy(&self) {
        self.put(|unread| {
            unread.error = None;
            unread.healthy = true;
        });
    }

    /// Reports that no answer could be had. What was known stays.
    pub fn degraded(&self, error: DiscoveryError) {
        self.put(|unread| {
            unread.error = Some(error);
            unread.healthy = false;
        });
    }

    fn put(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.slot.unread.lock());
        self.slot.wake.notify_one();
    }
}

/// The reading end of a [`Reporter`].
#[derive(Debug)]
pub struct Reports {
    slot: Arc<Slot>,
}

/// What was reported since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The newest answer.
    pub desired: Option<Desired>,
    /// The newest error, when nothing good came after it.
    pub error: Option<DiscoveryError>,
    /// All was said to be well.
    pub healthy: bool,
}

impl Report {
    fn add(&mut self, desired: Desired) {
        self.desired = Some(match self.desired.take() {
            Some(unread) => desired.after(unread),
            None => desired,
        });
    }
}

impl Reports {
    /// What was reported since the last look; `None` when nothing was.
    pub fn take(&self) -> Option<Report> {
        let report = std::mem::take(&mut *self.slot.unread.lock());
        (report != Report::default()).then_some(report)
    }

    /// Waits for a report.
    pub async fn next(&self) -> Report {
        loop {
            if let Some(report) = self.take() {
                return report;
            }
            self.slot.wake.notified().await;
        }
    }
}

#[derive(Debug)]
struct Slot {
    unread: Mutex<Report>,
    wake: Arc<Notify>,
}

/// How a strategy does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It has not answered yet.
    Starting,
    /// Its last answer is good.
    Healthy,
    /// It has no answer; the last good set is in force.
    Degraded {
        /// Why.
        error: DiscoveryError,
        /// Since when.
        since: Instant,
    },
}

/// Why a strategy has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct DiscoveryError {
    /// The kind, for metrics and for code.
    pub kind: DiscoveryErrorKind,
    /// What failed, at which step.
    pub text: String,
    /// What to do about it; empty when there is nothing to say.
    pub fix: String,
}

impl DiscoveryError {
    /// An error.
    pub fn new(kind: DiscoveryErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), fix: String::new() }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fix.as_str() {
            "" => f.write_str(&self.text),
            fix => write!(f, "{}; {fix}", self.text),
        }
    }
}

/// What kind of trouble a strategy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DiscoveryErrorKind {
    /// The source does not know who we are (HTTP 401).
    Unauthorized,
    /// The source knows who we are and says no (HTTP 403).
    Forbidden,
    /// The source does not have what we ask for (HTTP 404, an unknown name).
    NotFound,
    /// The source cannot be reached.
    Unreachable,
    /// The source did not answer in time.
    Timeout,
    /// Our own settings are wrong or incomplete.
    Config,
    /// The strategy ended where it should not have.
    Stopped,
    /// Everything else.
    Other,
}

impl DiscoveryErrorKind {
    /// A word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Config => "config",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Candidate;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    #[test]
    fn proof_that_a_node_left_survives_a_newer_answer_that_comes_before_the_first_was_read() {
        let (report, reports) = Reporter::new();
        report.desired(Desired::default().with_gone([name("a@h"), name("b@h")]));
        report.desired(Desired::new([Candidate::new(name("b@h").into())]));
        let desired = reports.take().unwrap().desired.unwrap();
        assert!(desired.gone.contains(&name("a@h")));
        assert!(!desired.gone.contains(&name("b@h")), "it came back");
        assert_eq!(reports.take(), None);
    }

    #[test]
    fn an_error_takes_nothing_from_an_answer_that_was_not_read_yet() {
        let (report, reports) = Reporter::new();
        report.desired(Desired::new([Candidate::new(name("b@h").into())]));
        report.degraded(DiscoveryError::new(DiscoveryErrorKind::Timeout, "no answer"));
        let both = reports.take().unwrap();
        assert!(both.desired.is_some() && both.error.is_some() && !both.healthy);
        report.healthy();
        assert_eq!(reports.take().unwrap().error, None);
    }
}
