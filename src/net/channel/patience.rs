//! How often a reader looks for more before it sleeps.
//!
//! A BEAM that floods a process writes few messages at a time. Who sleeps after each is woken for each, which costs more,
//! on both sides, than all that is done with a message; a scheduler of a BEAM looks around for a while before it sleeps,
//! too. Here this is done where it pays: in a flood to which nothing is answered (else the answers would have to wait),
//! and as long as something does come while it is waited for.

/// What is known of a connection, to decide on that.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// What had been sent when it was looked last, and what had been received when this was more than before.
    sent: u64,
    received: u64,
    /// How often in a row nothing came while it was waited for.
    in_vain: u32,
    /// How many times to sleep at once.
    sleeps: u32,
}

impl Patience {
    /// How often to look before the reader sleeps, given the packets received, and what was sent. A look is a turn of the
    /// runtime: whatever else is ready goes first.
    #[inline]
    pub(super) fn looks(&mut self, received: u64, sent: u64) -> u32 {
        if sent != self.sent {
            (self.sent, self.received) = (sent, received);
        }
        if received.saturating_sub(self.received) < FLOOD {
            return 0;
        }
        match self.sleeps.checked_sub(1) {
            Some(left) => {
                self.sleeps = left;
                0
            }
            None => LOOKS,
        }
    }

    /// Says what came of it: something was there after so many of these looks, or after some sleep, if they were all done.
    #[inline]
    pub(super) fn looked(&mut self, looks: u32) {
        if looks < LOOKS {
            self.in_vain = 0;
            return;
        }
        self.in_vain = (self.in_vain + 1).min(MOST_IN_VAIN);
        self.sleeps = 1 << self.in_vain;
    }
}

/// So many packets without a word from here are a flood.
const FLOOD: u64 = 64;

/// More (32, 128) did not save more in a flood of small messages from a BEAM.
pub(super) const LOOKS: u32 = 8;

/// After so many times in vain it is tried once in 257.
const MOST_IN_VAIN: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_sleeps_at_once() {
        let mut patience = Patience::default();
        assert!((0..10_000).all(|packet| patience.looks(packet, packet / 50 + 1) == 0));
    }

    #[test]
    fn a_flood_is_waited_for_as_long_as_it_comes() {
        let mut patience = Patience::default();
        let mut looked = 0;
        for packet in 0..1000 {
            if patience.looks(packet, 7) > 0 {
                looked += 1;
                patience.looked(1);
            }
        }
        assert_eq!(looked, 1000 - FLOOD);
    }

    #[test]
    fn what_is_in_vain_is_done_less_and_less_until_it_pays_again() {
        let mut patience = Patience::default();
        let mut at = Vec::new();
        for packet in 0..3000 {
            if patience.looks(FLOOD + packet, 0) > 0 {
                at.push(packet);
                patience.looked(LOOKS);
            }
        }
        let gaps: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
        let (first, others) = gaps.split_at(8);
        assert_eq!(first, [2, 4, 8, 16, 32, 64, 128, 256]);
        assert!(others.len() > 5 && others.iter().all(|gap| *gap == 256), "{others:?}");
        while patience.looks(10_000, 0) == 0 {}
        patience.looked(LOOKS - 1);
        assert_eq!(patience.looks(10_000, 0), LOOKS);
    }
}
