//! The knobs of the decisions.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::policy::Policy;
use crate::discovery::backoff::{Backoff, Dice, jittered};
use crate::discovery::mesh::FailureKind;

/// What becomes of a link to a node that has left for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It stays until it breaks by itself.
    Never,
    /// It may break by itself for so long, then it is dropped.
    AfterGrace(Duration),
    /// It is dropped at once.
    Immediate,
}

impl Default for Prune {
    fn default() -> Self {
        Self::AfterGrace(PRUNE_GRACE)
    }
}

/// The knobs. Start from [`ReconcileConfig::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconcileConfig {
    /// Whom of those that were found to dial, and in which order.
    pub policy: Policy,
    /// What becomes of links to nodes that left.
    pub prune: Prune,
    /// The most dials at a time. One that has run for a second without an answer does not count any more, so that
    /// addresses where nothing is keep nobody waiting, until there are eight times as many.
    pub max_dials: NonZeroUsize,
    /// Pauses between dials of one node.
    pub backoff: Backoff,
    /// Pauses after failures that someone has to mend (a wrong cookie, not allowed).
    pub backoff_misconfigured: Backoff,
    /// Where [`Backoff::max`] is for nodes that an operator named by hand
    /// ([`Candidate::by_hand`](crate::discovery::Candidate::by_hand)): they are few, and known to come back.
    pub max_pause_by_hand: Duration,
    /// About how long to wait between dials of a node that was found just now and is not up yet (nothing listens,
    /// or its EPMD does not know it). Longer when many nodes wait at the same time.
    pub boot_pause: Duration,
    /// For how long after a node was found, or was started anew, that is so.
    pub boot_window: Duration,
    /// A link that breaks sooner than this counts as a failure, so that it is not dialled in a tight loop.
    pub stable_after: Duration,
    /// A dial that has not ended by then is given up.
    pub dial_limit: Duration,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            prune: Prune::default(),
            max_dials: MAX_DIALS,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            backoff_misconfigured: Backoff::new(Duration::from_secs(10), Duration::from_secs(120)),
            max_pause_by_hand: Duration::from_secs(5),
            boot_pause: Duration::from_millis(250),
            boot_window: Duration::from_secs(15),
            stable_after: Duration::from_secs(10),
            dial_limit: DIAL_LIMIT,
        }
    }
}

/// What a pause depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setback {
    /// The failure; `None` for a link that broke soon after it had come up.
    pub(super) kind: Option<FailureKind>,
    /// The node was found just now.
    pub(super) booting: bool,
    /// An operator named the node.
    pub(super) by_hand: bool,
    /// How many nodes wait to be dialled.
    pub(super) waiting: usize,
}

impl ReconcileConfig {
    /// The pause after a failure. `steps` counts the pauses that grew.
    pub(super) fn pause(&self, setback: Setback, steps: &mut u32, dice: &mut Dice) -> Duration {
        let Setback { kind, booting, by_hand, waiting } = setback;
        let crowd = 1 + u32::try_from(waiting / CROWD).unwrap_or(u32::MAX - 1);
        if booting && kind.is_some_and(FailureKind::mends_by_waiting) {
            return jittered(self.boot_pause.saturating_mul(crowd), BOOT_JITTER_PERCENT, dice);
        }
        *steps = steps.saturating_add(1);
        let backoff = match kind {
            Some(kind) if kind.needs_a_person() => self.backoff_misconfigured,
            _ if by_hand => {
                let max = self.max_pause_by_hand.saturating_mul(crowd).min(self.backoff.max);
                Backoff { max, ..self.backoff }
            }
            _ => self.backoff,
        };
        backoff.pause(*steps, dice)
    }

    /// A quarter of the slots is kept for nodes that have not failed, so that hundreds of dead addresses,
    /// each with its time-out, do not keep a new node waiting.
    pub(super) fn max_retries(&self) -> usize {
        let max = self.max_dials.get();
        (max - max / 4).max(1)
    }
}

/// Twice the usual `net_ticktime`: by then ticks have ended every link to a node that is really dead.
pub(super) const PRUNE_GRACE: Duration = Duration::from_secs(120);
/// Enough for a large cluster to form in a few round trips, few enough not to look like a port scan.
const MAX_DIALS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// More than `net_setuptime` (7 s) for each of EPMD, TCP and handshake.
const DIAL_LIMIT: Duration = Duration::from_secs(30);
/// So many nodes may be tried again at the shortest pauses; with each further so many, pauses are one more times as
/// long. With 250 ms that is some 250 dials a second, however many nodes are not there.
const CROWD: usize = 64;
/// 100 to 400 ms of 250: pods that were created together are not asked together.
const BOOT_JITTER_PERCENT: u32 = 60;
