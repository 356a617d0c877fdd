//! A connection after its handshake: a reader task, a writer task, and the queue between the node and
//! the writer.
//!
//! The reader never waits for anybody but the socket. The writer takes everything that is queued into
//! one vectored write. The queue has a budget in bytes: above it those who send messages wait
//! ([`Channel::send`]) or are refused ([`Channel::try_send`]), as a BEAM suspends them
//! (`busy_dist_port`); signals of the protocol pass ([`Channel::push`]).

mod patience;
mod reader;
mod reason;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::etf::Limits;
use crate::proto::{Flags, FrameLimits, Incoming, Outgoing, ProtocolViolation, Sent};

pub use reason::{CloseCause, CloseParty, CloseReason};
pub(crate) use shared::Refusal;
use shared::Shared;

/// Starts the two tasks of a connection whose handshake is done.
///
/// `leftover` is what was read behind the handshake, `flags` are those that both sides offered. Must be
/// called within a tokio runtime. The connection ends when [`Channel::close`] is called or the last
/// clone of the [`Channel`] is dropped, or when the peer or the network ends it.
///
/// Where reader and writer can be had without a lock between them (`TcpStream::into_split`) use
/// [`start_split`].
pub fn start<S, R>(
    stream: S,
    leftover: BytesMut,
    flags: Flags,
    hidden: HiddenPeer,
    config: ChannelConfig,
    receiver: R,
) -> Channel
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    R: Receiver,
{
    start_split(tokio::io::split(stream), leftover, flags, hidden, config, receiver)
}

/// [`start`] for a stream that is split already.
pub fn start_split<I, O, R>(
    (input, output): (I, O),
    leftover: BytesMut,
    flags: Flags,
    hidden: HiddenPeer,
    config: ChannelConfig,
    receiver: R,
) -> Channel
where
    I: AsyncRead + Send + Unpin + 'static,
    O: AsyncWrite + Send + Unpin + 'static,
    R: Receiver,
{
    let shared = Arc::new(Shared::new(flags, config.busy_limit));
    let writer = tokio::spawn(writer::run(output, shared.clone()));
    let reader = reader::Reader::new(input, leftover, hidden, &config, receiver, shared.clone());
    tokio::spawn(reader.run(writer, config.flush_timeout));
    Channel(Arc::new(Handle(shared)))
}

/// What a connection delivers to.
pub trait Receiver: Send + 'static {
    /// Takes a message. Called in the order of arrival; must not block, or everything that comes from
    /// this peer waits.
    ///
    /// # Errors
    /// When the peer may not send this; the connection ends with it.
    fn deliver(&mut self, message: Sent) -> Result<(), ProtocolViolation>;

    /// Takes a signal; for the rest as [`deliver`](Self::deliver).
    ///
    /// # Errors
    /// When the peer may not send this; the connection ends with it.
    fn signal(&mut self, signal: Incoming) -> Result<(), ProtocolViolation>;

    /// All that has come is delivered, and the next thing may be a while.
    fn pause(&mut self) {}

    /// The connection has ended. Called once, after the last [`deliver`](Self::deliver).
    fn closed(self, reason: CloseReason);
}

/// How a connection behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// A peer from which nothing has come for this long is gone (`net_ticktime`, 60 s).
    pub net_ticktime: Duration,
    /// A tick is sent when nothing else was sent for a fraction of `net_ticktime`: one of this many
    /// (`net_tickintensity`, 4).
    pub net_tickintensity: u32,
    /// The largest packet to take, in bytes.
    pub max_frame: usize,
    /// What terms may come.
    pub limits: Limits,
    /// How many bytes may be queued before senders have to wait (`+zdbbl`, 1 MiB).
    pub busy_limit: usize,
    /// How many messages may arrive in fragments at the same time.
    pub max_sequences: usize,
    /// How many bytes the unfinished ones of these may have together.
    pub max_sequence_bytes: usize,
    /// How long a graceful close may take to write out what is queued.
    pub flush_timeout: Duration,
}

/// Whether the peer (or this node) is hidden on this connection, which makes ticks more eager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenPeer {
    /// The connection is a hidden one.
    Yes,
    /// Both are visible.
    No,
}

/// A handle of a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channel(Arc<Handle>);

impl Channel {
    /// The flags that both sides offered.
    pub fn flags(&self) -> Flags {
        self.0.0.flags
    }

    /// Queues a signal of the protocol: never waits, whatever is queued. What comes after the end of the
    /// connection is dropped, as the end itself has been told to the receiver.
    pub fn push(&self, message: Outgoing) {
        // Who pushes has no use for the answer: the receiver learns of the end.
        let _closed = self.0.0.push(message);
    }

    /// Queues a message if the budget allows it.
    ///
    /// # Errors
    /// Gives the message back when too much is queued; says so when the connection is closed.
    #[expect(clippy::result_large_err, reason = "the message goes back as it came, without an allocation")]
    pub fn try_send(&self, mut message: Outgoing) -> Result<(), SendRefused> {
        self.offer(&mut message).map_err(|refusal| match refusal {
            Refusal::Busy => SendRefused::Busy(message),
            Refusal::Closed => SendRefused::Closed(Closed),
        })
    }

    /// The same for a message that is made anew each time: taken, it leaves its buffers where that can be; refused,
    /// it stays as it is.
    ///
    /// # Errors
    /// Says which of the two it was.
    pub(crate) fn offer(&self, message: &mut Outgoing) -> Result<(), Refusal> {
        self.0.0.offer(message)
    }

    /// Queues a message as soon as the budget allows it. How long that may take is for the caller to
    /// limit; a peer that is gone ends the wait after its tick time.
    ///
    /// # Errors
    /// When the connection is closed or ends meanwhile.
    pub async fn send(&self, message: Outgoing) -> Result<(), Closed> {
        self.0.0.send(message).await
    }

    /// Ends the connection. [`CloseReason::is_graceful`] ones write out what is queued first (for at most
    /// [`ChannelConfig::flush_timeout`]). The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.0.0.close(reason);
    }

    /// True as soon as somebody has begun to end the connection.
    pub fn is_closed(&self) -> bool {
        self.0.0.is_stopped()
    }

    /// Waits until the connection has ended, its queue is written or dropped, and its receiver knows.
    pub async fn wait_closed(&self) {
        self.0.0.ended.cancelled().await;
    }

    /// Counters of this connection.
    pub fn stats(&self) -> ChannelStats {
        self.0.0.stats()
    }
}

/// What all clones of a [`Channel`] share; the tasks do not hold it.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close(CloseReason { who: CloseParty::Local, why: CloseCause::Abandoned });
    }
}

/// Counters of a connection, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Packets that came, ticks included.
    pub received_packets: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Packets that were sent, ticks included.
    pub sent_packets: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that are queued now.
    pub queued_bytes: usize,
}

/// Why [`Channel::try_send`] did not take a message.
#[expect(clippy::large_enum_variant, reason = "the message goes back as it came, without an allocation")]
#[derive(Debug, thiserror::Error)]
pub enum SendRefused {
    /// Too much is queued for this peer; here is the message again.
    #[error("too much is queued for this peer")]
    Busy(Outgoing),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

impl Default for ChannelConfig {
    fn default() -> Self {
        let frames = FrameLimits::default();
        Self {
            net_ticktime: Duration::from_secs(60),
            net_tickintensity: 4,
            max_frame: frames.max_frame,
            limits: frames.terms,
            busy_limit: 1 << 20,
            max_sequences: frames.max_sequences,
            max_sequence_bytes: frames.max_sequence_bytes,
            flush_timeout: Duration::from_secs(5),
        }
    }
}

impl ChannelConfig {
    fn frame_limits(&self) -> FrameLimits {
        let mut limits = FrameLimits::default();
        limits.max_frame = self.max_frame;
        limits.terms = self.limits.clone();
        limits.max_sequences = self.max_sequences;
        limits.max_sequence_bytes = self.max_sequence_bytes;
        limits
    }
}
