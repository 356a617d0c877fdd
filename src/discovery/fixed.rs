//! A list of nodes that somebody wrote down.

use futures_util::future::BoxFuture;

use super::desired::{Candidate, Desired};
use super::strategy::{Reporter, Strategy};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// These nodes, for ever. Names without an address are looked up when they are dialled.
#[derive(Debug, Clone, Default)]
pub struct Static {
    targets: Vec<DialTarget>,
}

impl Static {
    /// A strategy that names these nodes. This node itself may be among them.
    pub fn new(targets: impl IntoIterator<Item = DialTarget>) -> Self {
        Self { targets: targets.into_iter().collect() }
    }
}

impl Strategy for Static {
    fn kind(&self) -> &'static str {
        "static"
    }

    fn run(&self, _own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        let candidate = |target: &DialTarget| Candidate::new(target.clone()).with_origin("static list").named_by_hand();
        report.desired(Desired::new(self.targets.iter().map(candidate)));
        Box::pin(std::future::ready(()))
    }
}
