//! What all handles of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::{Handle, RuntimeMetrics};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::NodeConfig;
use super::dynamic::DynamicNames;
use super::events::Subscribers;
use super::extensions::Extensions;
use super::peers::Peers;
use super::spawn::Functions;
use super::table::Table;
use crate::etf::Creation;
use crate::net::channel::ChannelStats;
use crate::proto::NodeName;

/// What all handles of a node share.
pub(crate) struct Core {
    pub(crate) name: NodeName,
    pub(crate) creation: Creation,
    pub(crate) config: NodeConfig,
    /// Where others can connect.
    pub(crate) port: Option<u16>,
    pub(crate) table: Table,
    pub(crate) peers: Peers,
    pub(crate) subscribers: Subscribers,
    pub(crate) functions: Functions,
    pub(crate) dynamic_names: DynamicNames,
    pub(crate) extensions: Extensions,
    /// Cancelled when the node shuts down.
    pub(crate) shutdown: CancellationToken,
    /// All tasks of the node.
    tasks: TaskTracker,
    /// Where they run: a call from another runtime must not tie a connection to that one.
    runtime: Handle,
    pub(crate) started: std::time::Instant,
    next_unlink_id: AtomicU64,
    /// Bytes that came and that were sent over connections that are gone.
    past_received: AtomicU64,
    past_sent: AtomicU64,
}

impl Core {
    pub(crate) fn new(
        name: NodeName,
        creation: Creation,
        config: NodeConfig,
        ref_salt: u32,
        port: Option<u16>,
    ) -> Arc<Self> {
        Arc::new(Self {
            table: Table::new(name.as_atom().clone(), creation, ref_salt),
            peers: Peers::default(),
            subscribers: Subscribers::default(),
            functions: Functions::default(),
            dynamic_names: DynamicNames::default(),
            extensions: Extensions::default(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            started: std::time::Instant::now(),
            next_unlink_id: AtomicU64::new(1),
            past_received: AtomicU64::new(0),
            past_sent: AtomicU64::new(0),
            name,
            creation,
            config,
            port,
        })
    }

    /// Runs a task on the runtime of the node; shutting down waits for it.
    pub(crate) fn run_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Returns when all tasks have ended.
    pub(crate) async fn all_tasks_ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn runtime_metrics(&self) -> RuntimeMetrics {
        self.runtime.metrics()
    }

    /// Keeps the bytes of a connection that is gone.
    pub(crate) fn keep_io(&self, stats: &ChannelStats) {
        self.past_received.fetch_add(stats.received_bytes, Ordering::Relaxed);
        self.past_sent.fetch_add(stats.sent_bytes, Ordering::Relaxed);
    }

    /// Bytes of the connections that are gone: that came, that were sent.
    pub(crate) fn past_io(&self) -> (u64, u64) {
        (self.past_received.load(Ordering::Relaxed), self.past_sent.load(Ordering::Relaxed))
    }

    /// A number for an `UNLINK_ID`, never zero.
    pub(crate) fn unlink_id(&self) -> u64 {
        self.next_unlink_id.fetch_add(1, Ordering::Relaxed).max(1)
    }
}
