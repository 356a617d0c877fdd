//! Pauses that grow with each failure, and are never the same for two nodes.

use std::time::Duration;

/// How long to wait before the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The pause after the first failure; each further failure doubles it.
    pub first: Duration,
    /// It never grows beyond this.
    pub max: Duration,
}

impl Backoff {
    /// Pauses from `first` up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The pause after so many failures in a row, with a random part of [`JITTER_PERCENT`] either way.
    pub(super) fn pause(&self, failures: u32, dice: &mut Dice) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let pause = self.first.saturating_mul(1 << doublings).min(self.max);
        jittered(pause, JITTER_PERCENT, dice)
    }
}

/// The pause with a random part of so many percent (at most 100) either way.
pub(super) fn jittered(pause: Duration, percent: u32, dice: &mut Dice) -> Duration {
    pause.saturating_mul(100 - percent + dice.below(2 * percent + 1)) / 100
}

/// A small source of random numbers (xorshift64*). Good for spreading load, and for nothing else.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Seeded by the operating system; a constant where that fails, which only costs the spreading.
    pub(super) fn seeded() -> Self {
        Self::new(getrandom::u64().unwrap_or(SEED_OF_LAST_RESORT))
    }

    /// A number from 0 to `bound` - 1.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        ((u64::from(high) * u64::from(bound)) >> 32) as u32
    }
}

/// A fifth either way: enough that nodes which failed together do not come back together.
const JITTER_PERCENT: u32 = 20;
/// 2^16 times any sensible first pause is beyond any sensible maximum.
const MAX_DOUBLINGS: u32 = 16;
const SEED_OF_LAST_RESORT: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_stay_within_the_jitter() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut dice = Dice::new(7);
        for (failures, secs) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (u32::MAX, 30.0)] {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let pause = backoff.pause(failures, &mut dice);
                assert!((secs * 0.8..=secs * 1.2).contains(&pause.as_secs_f64()), "{failures}: {pause:?}");
                seen.insert(pause);
            }
            assert!(seen.len() > 10, "pauses differ");
        }
    }
}
