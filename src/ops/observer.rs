//! Watches a node and its discovery, and remembers what a snapshot cannot show: when something last changed, and
//! how long dials took.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinHandle;

use super::health::{self, Readiness, ReadyConfig};
use super::metrics::{self, Histogram};
use super::status::Status;
use crate::discovery::{DiscoveryEvent, DiscoveryHandle, DiscoveryView};
use crate::node::{Node, NodeEvent, NodeEvents};
use crate::proto::NodeName;

/// Watches a node for its operator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Node,
    discovery: Option<DiscoveryView>,
    config: ReadyConfig,
    draining: Mutex<Option<String>>,
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Observer {
    /// Begins to watch. Has to be called within a tokio runtime.
    pub fn start(node: &Node, discovery: Option<&DiscoveryHandle>, config: ReadyConfig) -> Self {
        let record = Arc::new(Mutex::new(Record::new(Instant::now())));
        let events = discovery.map(DiscoveryHandle::events);
        let task = tokio::spawn(watch(record.clone(), node.monitor_nodes(), events));
        let discovery = discovery.map(DiscoveryHandle::view);
        Self(Arc::new(Inner { node: node.clone(), discovery, config, draining: Mutex::default(), record, task }))
    }

    /// How the node stands.
    pub fn status(&self) -> Status {
        Status::with(&self.0.node, self.0.discovery.as_ref().map(DiscoveryView::snapshot))
    }

    /// May work be sent here?
    pub fn readiness(&self) -> Readiness {
        self.readiness_of(&self.status())
    }

    /// From now on the node is not ready, for this reason: the first step of leaving, before any link is closed.
    pub fn drain(&self, reason: &str) {
        self.0.draining.lock().get_or_insert_with(|| reason.to_owned());
    }

    /// All metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        let snapshot = self.0.discovery.as_ref().map(DiscoveryView::snapshot);
        let stats = snapshot.as_ref().map(|snapshot| snapshot.stats.clone());
        let status = Status::with(&self.0.node, snapshot);
        let ready = self.readiness_of(&status).ready;
        metrics::render(&status, stats.as_ref(), &self.0.record.lock(), ready)
    }

    fn readiness_of(&self, status: &Status) -> Readiness {
        let unchanged_for = self.0.record.lock().changed.elapsed();
        health::readiness(status, unchanged_for, self.0.draining.lock().as_deref(), &self.0.config)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Record {
    /// When a node last came, went, was found or was lost, or a topology began or ceased to answer.
    changed: Instant,
    dialling: HashMap<NodeName, Instant>,
    pub(super) dials_ok: Histogram,
    pub(super) dials_failed: Histogram,
    pub(super) ups: u64,
    pub(super) downs: u64,
}

impl Record {
    fn new(now: Instant) -> Self {
        let (dials_ok, dials_failed) = (Histogram::default(), Histogram::default());
        Self { changed: now, dialling: HashMap::new(), dials_ok, dials_failed, ups: 0, downs: 0 }
    }

    fn node(&mut self, event: &NodeEvent, now: Instant) {
        self.changed = now;
        match event {
            NodeEvent::Up { .. } => self.ups += 1,
            NodeEvent::Down { .. } => self.downs += 1,
        }
    }

    fn discovery(&mut self, event: DiscoveryEvent, now: Instant) {
        match event {
            DiscoveryEvent::Connecting { target, .. } => {
                self.dialling.insert(target.name, now);
            }
            DiscoveryEvent::Connected { name } => {
                if let Some(took) = self.dialled(&name, now) {
                    self.dials_ok.observe(took);
                }
            }
            DiscoveryEvent::ConnectFailed { name, .. } => {
                if let Some(took) = self.dialled(&name, now) {
                    self.dials_failed.observe(took);
                }
            }
            DiscoveryEvent::Discovered { .. }
            | DiscoveryEvent::Removed { .. }
            | DiscoveryEvent::Lost { .. }
            | DiscoveryEvent::Pruned { .. }
            | DiscoveryEvent::Degraded { .. }
            | DiscoveryEvent::Recovered { .. } => self.changed = now,
            _ => {}
        }
    }

    fn dialled(&mut self, name: &NodeName, now: Instant) -> Option<Duration> {
        let began = self.dialling.remove(name)?;
        Some(now.saturating_duration_since(began))
    }
}

async fn watch(
    record: Arc<Mutex<Record>>,
    mut nodes: NodeEvents,
    mut events: Option<broadcast::Receiver<DiscoveryEvent>>,
) {
    loop {
        tokio::select! {
            event = nodes.recv() => match event {
                Some(event) => record.lock().node(&event, Instant::now()),
                None => return,
            },
            event = next(&mut events) => match event {
                Ok(event) => record.lock().discovery(event, Instant::now()),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "events of discovery came faster than they were counted: dial times are incomplete");
                    let mut record = record.lock();
                    record.dialling.clear();
                    record.changed = Instant::now();
                }
                Err(RecvError::Closed) => events = None,
            },
        }
    }
}

async fn next(events: &mut Option<broadcast::Receiver<DiscoveryEvent>>) -> Result<DiscoveryEvent, RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::FailureKind;

    #[test]
    fn dials_are_timed_from_their_beginning_to_their_end() {
        let began = Instant::now();
        let name: NodeName = "b@h".parse().unwrap();
        let mut record = Record::new(began);
        let connecting = DiscoveryEvent::Connecting { target: name.clone().into(), attempt: 1 };
        let at = |ms| began + Duration::from_millis(ms);
        record.discovery(connecting.clone(), at(0));
        let failed = DiscoveryEvent::ConnectFailed {
            name: name.clone(),
            kind: FailureKind::Refused,
            text: String::new(),
            retry_in: None,
            failures: 1,
            tell: true,
        };
        record.discovery(failed, at(300));
        record.discovery(connecting, at(1000));
        record.discovery(DiscoveryEvent::Connected { name: name.clone() }, at(1007));
        // One that came in by itself is no dial.
        record.discovery(DiscoveryEvent::Connected { name }, at(2000));
        assert_eq!((record.dials_failed.count(), record.dials_ok.count()), (1, 1));
        assert!((record.dials_ok.sum() - 0.007).abs() < 1e-9, "{}", record.dials_ok.sum());
        assert_eq!(record.changed, began, "a dial is no change of the cluster");
    }
}
