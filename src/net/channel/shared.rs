//! What the handles, the reader and the writer of a connection share: the queue, and the end.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{ChannelStats, CloseCause, CloseParty, CloseReason, Closed};
use crate::proto::{Flags, Outbox, Outgoing, Progress};

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

#[derive(Debug)]
struct Queue {
    outbox: Outbox,
    /// The writer has nothing to do, and has to be woken.
    idle: bool,
    closed: Option<CloseReason>,
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Busy,
    Closed,
}

impl Shared {
    pub(super) fn new(flags: Flags, busy_limit: usize) -> Self {
        Self {
            flags,
            busy_limit,
            queue: Mutex::new(Queue { outbox: Outbox::new(flags), idle: false, closed: None }),
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

    pub(super) fn push(&self, mut message: Outgoing) -> Result<(), Closed> {
        self.enqueue(&mut message, usize::MAX).map_err(|_| Closed)
    }

    /// Queues a message if the budget allows it, and leaves its buffers where it can; else it stays as it is.
    pub(super) fn offer(&self, message: &mut Outgoing) -> Result<(), Refusal> {
        self.enqueue(message, self.busy_limit)
    }

    pub(super) async fn send(&self, mut message: Outgoing) -> Result<(), Closed> {
        loop {
            // Listens before it looks, so that space that comes in between is not missed.
            let space = self.space.notified();
            match self.offer(&mut message) {
                Ok(()) => return Ok(()),
                Err(Refusal::Closed) => return Err(Closed),
                Err(Refusal::Busy) => space.await,
            }
        }
    }

    fn enqueue(&self, message: &mut Outgoing, limit: usize) -> Result<(), Refusal> {
        let mut queue = self.queue.lock();
        if queue.closed.is_some() {
            return Err(Refusal::Closed);
        }
        if self.queued_bytes.load(Relaxed) >= limit {
            return Err(Refusal::Busy);
        }
        let before = queue.outbox.backlog();
        let put = queue.outbox.put(message);
        self.queued_bytes.fetch_add(queue.outbox.backlog() - before, Relaxed);
        let wakes = std::mem::take(&mut queue.idle);
        drop(queue);
        if wakes {
            self.work.notify_one();
        }
        if let Err(error) = put {
            drop(std::mem::take(message));
            self.close(CloseReason { who: CloseParty::Local, why: CloseCause::TooLarge(error) });
        }
        Ok(())
    }

    /// Has a tick sent, as soon as a packet has ended.
    pub(super) fn tick(&self) {
        let mut queue = self.queue.lock();
        queue.outbox.tick();
        queue.idle = false;
        drop(queue);
        self.work.notify_one();
    }

    /// Moves what is to be written next to `bytes`. False when there is nothing: then [`work`](Self::work) tells
    /// of the next.
    pub(super) fn take(&self, bound: usize, bytes: &mut VecDeque<Bytes>) -> bool {
        let mut queue = self.queue.lock();
        let before = queue.outbox.backlog();
        queue.outbox.fill(bound);
        let after = queue.outbox.backlog();
        let taken = queue.outbox.take_ready(bytes);
        self.queued_bytes.fetch_add(after - before, Relaxed);
        self.sent_packets.store(queue.outbox.packets(), Relaxed);
        queue.idle = taken == 0;
        taken > 0
    }

    /// Says that `written` bytes of what the writer has taken are written.
    pub(super) fn written(&self, written: usize) {
        self.sent_bytes.fetch_add(written as u64, Relaxed);
        let was = self.queued_bytes.fetch_sub(written, Relaxed);
        // Not before there is room for a good many: else sender and writer would wake one another for each.
        let enough = self.busy_limit / 2;
        if was > enough && was - written <= enough {
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
