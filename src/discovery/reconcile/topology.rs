//! What the reconciler knows about one topology.

use std::time::{Duration, Instant};

use crate::discovery::desired::SelfView;
use crate::discovery::strategy::Health;
use crate::proto::NodeName;

#[derive(Debug)]
pub(super) struct Topology {
    pub(super) kind: &'static str,
    pub(super) health: Health,
    pub(super) last_success: Option<Instant>,
    /// How many names its last answer has.
    pub(super) size: usize,
    /// What those who use it call us.
    pub(super) me: SelfView,
    /// Since when they would not find us so.
    bad_since: Option<Instant>,
    /// When that was last told, and what.
    pub(super) told: Option<(Instant, SelfView)>,
}

impl Default for Topology {
    fn default() -> Self {
        let (kind, health, last_success, size) = ("custom", Health::Starting, None, 0);
        Self { kind, health, last_success, size, me: SelfView::Unknown, bad_since: None, told: None }
    }
}

impl Topology {
    /// "Would they find me?"
    pub(super) fn look_at_self(&mut self, own: &NodeName, me: SelfView, listed: bool, now: Instant) {
        let good = match &me {
            SelfView::Unknown => true,
            SelfView::Called(name) => name == own,
            SelfView::Missing(_) => listed,
        };
        if good {
            self.bad_since = None;
        } else if self.bad_since.is_none() || self.me != me {
            self.bad_since = Some(now);
        }
        self.me = me;
    }

    /// When to tell that peers would not find us.
    pub(super) fn check_at(&self) -> Option<Instant> {
        let patient = self.bad_since? + SELF_CHECK_GRACE;
        Some(match &self.told {
            None => patient,
            Some((at, told)) if *told == self.me => patient.max(*at + SELF_CHECK_REPEAT),
            Some((at, _)) => patient.max(*at + SELF_CHECK_PAUSE),
        })
    }
}

/// Our own pod shows up in the API some seconds after we run.
const SELF_CHECK_GRACE: Duration = Duration::from_secs(10);
/// The same warning is not given again sooner.
const SELF_CHECK_REPEAT: Duration = Duration::from_secs(3600);
/// A different one is, though not in a stream.
const SELF_CHECK_PAUSE: Duration = Duration::from_secs(60);
