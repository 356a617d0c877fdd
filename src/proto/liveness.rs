//! Ticks: when to send one, and when a silent peer is gone.
//!
//! The rules are those of `dist_util.erl:con_loop` and `net_kernel.erl:ticker`. In every interval
//! (`net_ticktime / net_tickintensity`) a node sends a tick if it sent nothing else, and counts whether
//! a packet came; after as many silent intervals as the intensity says, the peer is gone. Nodes do not
//! agree on a tick time, so two things are done beyond these rules:
//!
//! - A tick is answered by a tick if nothing else went out since the one before. A peer with a shorter
//!   tick time thereby sees us as often as it asks, and ticks never multiply: an answer is only due when
//!   nothing was sent between two ticks that came.
//! - A packet that comes slowly counts as life for each 64 KiB of it, the size of a fragment. A BEAM
//!   counts whole packets only, and drops a peer without fragments that sends a huge message over a thin
//!   line; counting every byte would let a peer that dribbles live for ever.

use std::time::{Duration, Instant};

/// The tick state of a connection.
#[derive(Debug)]
pub struct Liveness {
    interval: Duration,
    intensity: u32,
    hidden: bool,
    next: Instant,
    last: Progress,
    /// Intervals in a row in which nothing came.
    silent: u32,
    /// What had been sent when the last tick came.
    sent_at_tick: u64,
}

/// What has gone over a connection since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Packets that came, ticks included.
    pub received_packets: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Bytes that were written.
    pub sent_bytes: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Send a tick, between two packets.
    SendTick,
    /// The peer has been silent for too long.
    Dead {
        /// For how long, at least.
        silence: Duration,
    },
}

impl Liveness {
    /// A connection that is up since `now`. `hidden` is true when one of its nodes is hidden; ticks are
    /// then sent more eagerly, as a BEAM does.
    pub fn new(now: Instant, ticktime: Duration, intensity: u32, hidden: bool) -> Self {
        let intensity = intensity.max(1);
        let interval = (ticktime / intensity).max(SHORTEST_INTERVAL);
        Self {
            interval,
            intensity,
            hidden,
            next: now + interval,
            last: Progress::default(),
            silent: 0,
            sent_at_tick: 0,
        }
    }

    /// When to call [`poll`](Self::poll) next.
    pub fn deadline(&self) -> Instant {
        self.next
    }

    /// To be called at the deadline. Called late (the machine slept, the process was stopped) it counts
    /// one interval, not several: a peer is only given up for a silence that was listened to.
    pub fn poll(&mut self, now: Instant, progress: Progress) -> Verdict {
        if now < self.next {
            return Verdict::Fine;
        }
        self.next = now + self.interval;
        let last = std::mem::replace(&mut self.last, progress);
        let packets = progress.received_packets != last.received_packets;
        let received = packets || progress.received_bytes - last.received_bytes >= SLOW_PACKET;
        self.silent = if received { 0 } else { self.silent + 1 };
        if self.silent >= self.intensity {
            return Verdict::Dead { silence: self.interval * self.silent };
        }
        let sent = progress.sent_bytes > last.sent_bytes;
        if sent && (received || !self.hidden) {
            return Verdict::Fine;
        }
        // The tick itself is nothing that would make the next one unnecessary.
        self.last.sent_bytes += TICK_LEN;
        Verdict::SendTick
    }

    /// To be called when a tick has come; true when it is to be answered.
    pub fn tick_received(&mut self, progress: Progress) -> bool {
        let idle = self.sent_at_tick == progress.sent_bytes;
        self.sent_at_tick = progress.sent_bytes;
        idle
    }
}

/// A BEAM takes no tick time below one second; shorter ones are for tests.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes of a tick: the length of a packet that has none.
const TICK_LEN: u64 = 4;

/// So many bytes of a packet that is not complete count as a sign of life.
const SLOW_PACKET: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two nodes with an ideal network between them, and how often each sent a tick.
    struct Pair {
        now: Instant,
        nodes: [(Liveness, Progress); 2],
        ticks: [u32; 2],
        dead: bool,
    }

    impl Pair {
        fn new(ticktimes: [u64; 2], hidden: bool) -> Self {
            let now = Instant::now();
            let node = |time| (Liveness::new(now, SECOND * time as u32, 4, hidden), Progress::default());
            Self { now, nodes: ticktimes.map(node), ticks: [0; 2], dead: false }
        }

        fn send_tick(&mut self, from: usize) {
            self.ticks[from] += 1;
            self.nodes[from].1.sent_bytes += 4;
            let (liveness, progress) = &mut self.nodes[1 - from];
            progress.received_packets += 1;
            progress.received_bytes += 4;
            if liveness.tick_received(*progress) {
                self.send_tick(1 - from);
            }
        }

        /// Until `time` has passed or one has given up the other.
        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while !self.dead {
                let at = usize::from(self.nodes[1].0.deadline() < self.nodes[0].0.deadline());
                self.now = self.nodes[at].0.deadline();
                if self.now > end {
                    break;
                }
                let (liveness, progress) = &mut self.nodes[at];
                match liveness.poll(self.now, *progress) {
                    Verdict::Fine => {}
                    Verdict::SendTick => self.send_tick(at),
                    Verdict::Dead { .. } => self.dead = true,
                }
            }
        }
    }

    #[test]
    fn an_idle_connection_lives_on_about_a_tick_per_interval() {
        for hidden in [false, true] {
            let mut pair = Pair::new([4, 4], hidden);
            pair.run(SECOND * 1000);
            assert!(!pair.dead);
            assert!(pair.ticks.iter().all(|ticks| (900..=1100).contains(ticks)), "{:?}", pair.ticks);
        }
    }

    #[test]
    fn a_peer_with_a_much_shorter_tick_time_is_kept_alive_by_answers() {
        for times in [[4, 60], [60, 4], [1, 3600]] {
            let mut pair = Pair::new(times, false);
            pair.run(SECOND * 3600);
            assert!(!pair.dead, "{times:?}");
            assert!(pair.ticks.iter().all(|&ticks| ticks <= 2 * 3600 * 4), "no storm: {:?}", pair.ticks);
        }
    }

    #[test]
    fn silence_of_as_many_intervals_as_the_intensity_says_is_the_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, SECOND * 60, 4, false);
        let progress = Progress { received_packets: 1, received_bytes: 10, sent_bytes: 10 };
        let mut verdicts = Vec::new();
        for _ in 0..5 {
            let now = liveness.deadline();
            verdicts.push(liveness.poll(now, progress));
        }
        assert_eq!(liveness.next - start, SECOND * 90);
        let dead = Verdict::Dead { silence: SECOND * 60 };
        assert_eq!(verdicts, [Verdict::Fine, Verdict::SendTick, Verdict::SendTick, Verdict::SendTick, dead]);
    }

    #[test]
    fn bytes_of_a_slow_packet_count_from_a_fragments_worth_on() {
        for (bytes_per_interval, lives) in [(64 << 10, true), (1000, false)] {
            let mut liveness = Liveness::new(Instant::now(), SECOND * 60, 4, false);
            let mut progress = Progress::default();
            let alive = (0..20).all(|_| {
                progress.received_bytes += bytes_per_interval;
                let now = liveness.deadline();
                !matches!(liveness.poll(now, progress), Verdict::Dead { .. })
            });
            assert_eq!(alive, lives);
        }
    }

    #[test]
    fn a_busy_sender_needs_no_ticks_but_a_hidden_one_that_hears_nothing_sends_some() {
        for hidden in [false, true] {
            let mut liveness = Liveness::new(Instant::now(), SECOND * 60, 4, hidden);
            let progress = Progress { sent_bytes: 1000, ..Progress::default() };
            let now = liveness.deadline();
            let expected = if hidden { Verdict::SendTick } else { Verdict::Fine };
            assert_eq!(liveness.poll(now, progress), expected);
        }
    }

    #[test]
    fn waking_up_late_counts_as_one_interval() {
        let mut liveness = Liveness::new(Instant::now(), SECOND * 4, 4, false);
        let now = liveness.deadline() + SECOND * 3600;
        assert_eq!(liveness.poll(now, Progress::default()), Verdict::SendTick);
        assert!(liveness.deadline() > now);
    }
}
