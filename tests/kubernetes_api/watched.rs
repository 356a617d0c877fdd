//! A discovery strategy on its own: what it says is waited for, and kept.

use std::collections::BTreeSet;

use gusset::discovery::{
    Candidate, CandidateState, Desired, DiscoveryError, DiscoveryErrorKind, Kubernetes, Reporter, Reports, SelfView,
    Strategy,
};
use gusset::net::DialTarget;
use gusset::proto::NodeName;

use super::DEADLINE;

/// A running strategy and what it said last.
pub(crate) struct Watched {
    reports: Reports,
    task: tokio::task::JoinHandle<()>,
    pub(crate) desired: Option<Desired>,
    pub(crate) gone: BTreeSet<NodeName>,
    pub(crate) error: Option<DiscoveryError>,
    pub(crate) healthy: bool,
    /// Every name that was ever in an answer.
    pub(crate) ever: BTreeSet<NodeName>,
    /// How many answers there were.
    pub(crate) answers: usize,
}

impl Watched {
    pub(crate) fn start(strategy: Kubernetes) -> Self {
        let (report, reports) = Reporter::new();
        let task = tokio::spawn(strategy.run(name("me@10.9.9.9"), report));
        let (gone, ever) = Default::default();
        Self { reports, task, desired: None, gone, error: None, healthy: false, ever, answers: 0 }
    }

    pub(crate) async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !reached(self) {
                let report = self.reports.next().await;
                if let Some(desired) = report.desired {
                    self.gone.extend(desired.gone.iter().cloned());
                    self.ever.extend(desired.peers.keys().cloned());
                    self.desired = Some(desired);
                    self.answers += 1;
                }
                if report.healthy {
                    (self.healthy, self.error) = (true, None);
                }
                if let Some(error) = report.error {
                    (self.healthy, self.error) = (false, Some(error));
                }
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!(
                "not within {DEADLINE:?}: {what}; it has {:?}, {:?}, gone: {:?}",
                self.desired, self.error, self.gone
            );
        }
    }

    pub(crate) async fn until_names(&mut self, names: &[&str]) {
        self.until(&format!("the names {names:?}"), |it| it.names() == names).await;
    }

    pub(crate) async fn until_state(&mut self, of: &str, state: CandidateState) {
        self.until(&format!("{of} {state:?}"), |it| it.state(of) == Some(state)).await;
    }

    pub(crate) async fn until_error(&mut self, kind: DiscoveryErrorKind) -> DiscoveryError {
        self.until(&format!("the error {kind:?}"), |it| it.error.as_ref().is_some_and(|error| error.kind == kind))
            .await;
        self.error.clone().unwrap()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.desired.iter().flat_map(|desired| desired.peers.keys().map(NodeName::as_str)).collect()
    }

    pub(crate) fn target(&self, of: &str) -> &DialTarget {
        &self.desired.as_ref().unwrap().peers[&name(of)].target
    }

    pub(crate) fn candidate(&self, of: &str) -> &Candidate {
        &self.desired.as_ref().unwrap().peers[&name(of)]
    }

    pub(crate) fn me(&self) -> SelfView {
        self.desired.as_ref().unwrap().me.clone()
    }

    pub(crate) fn state(&self, of: &str) -> Option<CandidateState> {
        Some(self.desired.as_ref()?.peers.get(&name(of))?.state)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}
