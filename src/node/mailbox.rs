//! The mailbox of a process: whoever sends pushes, the process takes all that has come in one go.
//!
//! Messages of a flood cost one lock and one waking a batch, not one each, and what waits is no larger than
//! a payload: exits, downs and the like are boxed.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;

use super::message::Message;
use crate::etf::Payload;

/// Where messages for a process are put. What senders write stands apart from what the process writes for each message
/// and from whatever is beside: else the caches of two processors would hand it to and fro.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    queue: Apart<Mutex<Queue>>,
    counts: Apart<Counts>,
}

/// Written by the process only.
#[derive(Debug, Default)]
struct Counts {
    /// How many the process has taken out of the queue so far, …
    out: AtomicU64,
    /// … and not looked at yet.
    taken: AtomicUsize,
}

/// In lines of the cache of its own: two, as processors fetch these in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[derive(Debug, Default)]
struct Queue {
    mails: VecDeque<Mail>,
    /// The process, where it waits.
    waiting: Option<Waker>,
    closed: bool,
}

/// A message as it waits.
#[derive(Debug)]
pub(crate) enum Mail {
    Sent(Payload),
    Other(Box<Message>),
}

impl From<Message> for Mail {
    fn from(message: Message) -> Self {
        match message {
            Message::Sent(payload) => Self::Sent(payload),
            other => Self::Other(Box::new(other)),
        }
    }
}

impl From<Mail> for Message {
    #[inline]
    fn from(mail: Mail) -> Self {
        match mail {
            Mail::Sent(payload) => Self::Sent(payload),
            Mail::Other(message) => *message,
        }
    }
}

impl Mailbox {
    /// Adds a message; false when the process has ended.
    pub(crate) fn push(&self, message: Message) -> bool {
        self.put(|mails| mails.push_back(message.into()))
    }

    /// Adds something that was sent, unless the process has ended. Who waits for it is to be [woken](wake).
    #[inline]
    pub(crate) fn push_sent(&self, payload: Payload) -> Option<Waker> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return None;
        }
        queue.mails.push_back(Mail::Sent(payload));
        queue.waiting.take()
    }

    /// Adds messages, and leaves `payloads` empty; false when the process has ended.
    pub(crate) fn push_all(&self, payloads: &mut Vec<Payload>) -> bool {
        let delivered = self.put(|mails| mails.extend(payloads.drain(..).map(Mail::Sent)));
        payloads.clear();
        delivered
    }

    fn put(&self, add: impl FnOnce(&mut VecDeque<Mail>)) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        add(&mut queue.mails);
        let waiting = queue.waiting.take();
        drop(queue);
        wake(waiting);
        true
    }

    /// Takes no more messages, and drops those that wait.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let (mails, waiting) = (std::mem::take(&mut queue.mails), queue.waiting.take());
        drop(queue);
        wake(waiting);
        drop(mails);
    }

    /// How many messages the process has looked at so far.
    pub(crate) fn handled(&self) -> u64 {
        let taken = self.counts.taken.load(Ordering::Relaxed);
        self.counts.out.load(Ordering::Relaxed).saturating_sub(taken as u64)
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().mails.len() + self.counts.taken.load(Ordering::Relaxed)
    }
}

/// Wakes the process that waited, without any lock.
#[inline]
pub(crate) fn wake(waiting: Option<Waker>) {
    if let Some(waker) = waiting {
        waker.wake();
    }
}

/// The end of a mailbox where the process takes its messages out.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    batch: VecDeque<Mail>,
}

impl Inbox {
    /// The next message; `None` when the mailbox is closed.
    #[inline]
    pub(crate) fn poll(&mut self, mailbox: &Mailbox, context: &mut Context<'_>) -> Poll<Option<Mail>> {
        // A process that finds a message each time gives way to others now and then, as with any other channel.
        let coop = ready!(tokio::task::coop::poll_proceed(context));
        if self.batch.is_empty() && !ready!(self.refill(mailbox, context)) {
            return Poll::Ready(None);
        }
        coop.made_progress();
        Poll::Ready(self.pop(mailbox))
    }

    /// Waits until there is something to take, and takes it; false when the mailbox is closed.
    fn refill(&mut self, mailbox: &Mailbox, context: &mut Context<'_>) -> Poll<bool> {
        let mut queue = mailbox.queue.lock();
        if queue.closed {
            return Poll::Ready(false);
        }
        if queue.mails.is_empty() {
            match &mut queue.waiting {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        self.take(mailbox, &mut queue);
        Poll::Ready(true)
    }

    /// The next message that is there.
    pub(crate) fn try_pop(&mut self, mailbox: &Mailbox) -> Option<Mail> {
        if self.batch.is_empty() {
            self.take(mailbox, &mut mailbox.queue.lock());
        }
        self.pop(mailbox)
    }

    fn take(&mut self, mailbox: &Mailbox, queue: &mut Queue) {
        if self.batch.capacity() > KEPT_ROOM {
            self.batch = VecDeque::new();
        }
        std::mem::swap(&mut self.batch, &mut queue.mails);
        mailbox.counts.taken.store(self.batch.len(), Ordering::Relaxed);
        mailbox.counts.out.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
    }

    #[inline]
    fn pop(&mut self, mailbox: &Mailbox) -> Option<Mail> {
        let mail = self.batch.pop_front();
        // Nobody else writes it.
        mailbox.counts.taken.store(self.batch.len(), Ordering::Relaxed);
        mail
    }
}

/// A queue that has been longer gives its memory back once it is empty.
const KEPT_ROOM: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use super::*;
    use crate::etf::Term;

    #[derive(Default)]
    struct Wakings(AtomicU32);

    impl Wake for Wakings {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn payload(number: i64) -> Payload {
        Payload::from_term(&Term::from(number)).unwrap()
    }

    fn number(mail: Option<Mail>) -> Option<i64> {
        mail.map(|mail| Message::from(mail).decode().unwrap())
    }

    #[test]
    fn a_batch_wakes_once_and_keeps_its_order() {
        let (mailbox, mut inbox, wakings) = (Mailbox::default(), Inbox::default(), Arc::new(Wakings::default()));
        let waker = wakings.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(inbox.poll(&mailbox, &mut context).is_pending());
        assert!(mailbox.push_all(&mut vec![payload(1), payload(2)]));
        assert!(mailbox.push(Message::Sent(payload(3))));
        assert_eq!((wakings.0.load(Ordering::Relaxed), mailbox.len()), (1, 3));
        for expected in 1..=3 {
            let Poll::Ready(message) = inbox.poll(&mailbox, &mut context) else { panic!("it is there") };
            assert_eq!(number(message), Some(expected));
            assert_eq!((mailbox.len(), mailbox.handled()), (3 - expected as usize, expected as u64));
        }
        assert!(inbox.poll(&mailbox, &mut context).is_pending());
    }

    #[test]
    fn the_end_wakes_and_nothing_comes_any_more() {
        let (mailbox, mut inbox, wakings) = (Mailbox::default(), Inbox::default(), Arc::new(Wakings::default()));
        let waker = wakings.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(inbox.poll(&mailbox, &mut context).is_pending());
        mailbox.close();
        assert_eq!(wakings.0.load(Ordering::Relaxed), 1);
        assert!(!mailbox.push(Message::Sent(payload(1))));
        assert!(matches!(inbox.poll(&mailbox, &mut context), Poll::Ready(None)));
        assert_eq!(number(inbox.try_pop(&mailbox)), None);
    }

    #[test]
    fn what_waits_is_small() {
        assert!(size_of::<Mail>() <= 56, "{}", size_of::<Mail>());
    }
}
