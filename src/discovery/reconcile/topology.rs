//! What the reconciler knows about one topology.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::discovery::desired::{Candidate, SelfView};
use crate::discovery::snapshot::TopologyStatus;
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind, Health, TopologyName};
use crate::proto::NodeName;

#[derive(Debug)]
pub(super) struct Topology {
    pub(super) kind: &'static str,
    pub(super) health: Health,
    pub(super) last_success: Option<Instant>,
    /// How many names its last answer has.
    pub(super) size: usize,
    pub(super) answers: u64,
    pub(super) errors: BTreeMap<DiscoveryErrorKind, u64>,
    pub(super) last_error: Option<(Instant, DiscoveryError)>,
    /// Where we are and what we belong to, as its last answer with us in it says.
    pub(super) own_zone: Option<Arc<str>>,
    pub(super) own_release: Option<Arc<str>>,
    /// What those who use it call us.
    pub(super) me: SelfView,
    /// Since when they would not find us so.
    bad_since: Option<Instant>,
    /// When that was last told, and what.
    pub(super) told: Option<(Instant, SelfView)>,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            kind: "custom",
            health: Health::Starting,
            last_success: None,
            size: 0,
            answers: 0,
            errors: BTreeMap::new(),
            last_error: None,
            own_zone: None,
            own_release: None,
            me: SelfView::Unknown,
            bad_since: None,
            told: None,
        }
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

    /// What is known about this node. An answer without it says nothing: what was known stays.
    pub(super) fn know_self(&mut self, own: Option<&Candidate>) {
        if let Some(own) = own {
            self.own_zone.clone_from(&own.zone);
            self.own_release.clone_from(&own.release);
        }
    }

    pub(super) fn status(&self, name: &TopologyName, now: Instant) -> TopologyStatus {
        let ago = |at: Instant| now.saturating_duration_since(at);
        TopologyStatus {
            name: name.clone(),
            kind: self.kind,
            health: self.health.clone(),
            last_success: self.last_success.map(ago),
            size: self.size,
            answers: self.answers,
            errors: self.errors.clone(),
            last_error: self.last_error.as_ref().map(|(at, error)| (error.clone(), ago(*at))),
        }
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
pub(super) const SELF_CHECK_GRACE: Duration = Duration::from_secs(10);
/// The same warning is not given again sooner.
const SELF_CHECK_REPEAT: Duration = Duration::from_secs(3600);
/// A different one is, though not in a stream.
const SELF_CHECK_PAUSE: Duration = Duration::from_secs(60);
