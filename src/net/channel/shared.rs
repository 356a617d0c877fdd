//! What the handles, the reader and the writer of a connection share: the queue, and the end.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{ChannelStats, CloseReason, Closed, SendRefused};
use crate::proto::{Flags, Outgoing, Progress};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) flags: Flags,
    busy_limit: usize,
    queue: Mutex<Queue>,
    /// Bytes that are queued here or that the writer has taken and not written yet.
    queued_bytes: AtomicUsize,
    /// Wakes the writer.
    pub(super) work: Notify,
    /// Wakes those who wait for the budget.
    space: Notify,
    /// Somebody has begun to end the connection.
    pub(super) stop: CancellationToken,
    /// The same, for those who look often.
    stopped: AtomicBool,
    /// The receiver has been told of the end.
    pub(super) ended: CancellationToken,
    pub(super) received_packets: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) sent_packets: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    messages: Vec<Outgoing>,
    tick: bool,
    closed: Option<CloseReason>,
}

impl Shared {
    pub(super) fn new(flags: Flags, busy_limit: usize) -> Self {
        Self {
            flags,
            busy_limit,
            queue: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
            work: Notify::new(),
            space: Notify::new(),
            stop: CancellationToken::new(),
            stopped: AtomicBool::new(false),
            ended: CancellationToken::new(),
            received_packets: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_packets: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn push(&self, message: Outgoing) -> Result<(), Closed> {
        self.enqueue(message, usize::MAX).map_err(|_| Closed)
    }

    #[expect(clippy::result_large_err, reason = "the message goes back as it came, without an allocation")]
    pub(super) fn try_send(&self, message: Outgoing) -> Result<(), SendRefused> {
        self.enqueue(message, self.busy_limit)
    }

    pub(super) async fn send(&self, mut message: Outgoing) -> Result<(), Closed> {
        loop {
            // Listens before it looks, so that space that comes in between is not missed.
            let space = self.space.notified();
            match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(SendRefused::Closed(closed)) => return Err(closed),
                Err(SendRefused::Busy(refused)) => message = refused,
            }
            space.await;
        }
    }

    #[expect(clippy::result_large_err, reason = "the message goes back as it came, without an allocation")]
    fn enqueue(&self, message: Outgoing, limit: usize) -> Result<(), SendRefused> {
        let len = message.len();
        let mut queue = self.queue.lock();
        if queue.closed.is_some() {
            return Err(Closed.into());
        }
        if self.queued_bytes.load(Relaxed) >= limit {
            return Err(SendRefused::Busy(message));
        }
        self.queued_bytes.fetch_add(len, Relaxed);
        queue.messages.push(message);
        // The writer takes all there is, so only the first message has to wake it.
        let first = queue.messages.len() == 1;
        drop(queue);
        if first {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Has a tick sent, as soon as a packet has ended.
    pub(super) fn tick(&self) {
        self.queue.lock().tick = true;
        self.work.notify_one();
    }

    /// Moves what is queued to `messages`, which is empty; true when a tick is to be sent.
    pub(super) fn take(&self, messages: &mut Vec<Outgoing>) -> bool {
        let mut queue = self.queue.lock();
        std::mem::swap(&mut queue.messages, messages);
        std::mem::take(&mut queue.tick)
    }

    /// Says that what the writer has taken shrank (or grew by headers) from `before` to `after` bytes.
    pub(super) fn account(&self, before: usize, after: usize) {
        if after > before {
            self.queued_bytes.fetch_add(after - before, Relaxed);
            return;
        }
        let was = self.queued_bytes.fetch_sub(before - after, Relaxed);
        if was >= self.busy_limit && was - (before - after) < self.busy_limit {
            self.space.notify_waiters();
        }
    }

    /// Begins to end the connection, unless somebody has.
    pub(super) fn close(&self, reason: CloseReason) {
        {
            let mut queue = self.queue.lock();
            if queue.closed.is_some() {
                return;
            }
            queue.closed = Some(reason);
        }
        self.stopped.store(true, Release);
        self.stop.cancel();
        self.space.notify_waiters();
    }

    /// True as soon as somebody has begun to end the connection.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Acquire)
    }

    /// Why the connection ends, if it does.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.queue.lock().closed.clone()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            received_packets: self.received_packets.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            sent_bytes: self.sent_bytes.load(Relaxed),
        }
    }

    pub(super) fn stats(&self) -> ChannelStats {
        let Progress { received_packets, received_bytes, sent_bytes } = self.progress();
        ChannelStats {
            received_packets,
            received_bytes,
            sent_packets: self.sent_packets.load(Relaxed),
            sent_bytes,
            queued_bytes: self.queued_bytes.load(Relaxed),
        }
    }
}
