//! A connection after its handshake: a reader task, a writer task, and the queue between the node and
//! the writer.
//!
//! The reader never waits for anybody but the socket. The writer takes everything that is queued into
//! one vectored write. The queue has a budget in bytes: above it those who send messages wait
//! ([`Channel::send`]) or are refused ([`Channel::try_send`]), as a BEAM suspends them
//! (`busy_dist_port`); signals of the protocol pass ([`Channel::push`]).

use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::etf::Limits;
use crate::proto::{Flags, Incoming, Outgoing, ProtocolViolation};

/// Starts the two tasks of a connection whose handshake is done.
///
/// `leftover` is what was read behind the handshake, `flags` are those that both sides offered. Must be
/// called within a tokio runtime. The connection ends when [`Channel::close`] is called or the last
/// clone of the [`Channel`] is dropped, or when the peer or the network ends it.
pub fn start<S, R>(
    stream: S,
    leftover: BytesMut,
    flags: Flags,
    hidden_peer: HiddenPeer,
    config: ChannelConfig,
    receiver: R,
) -> Channel
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    R: Receiver,
{
    let _ = (stream, leftover, flags, hidden_peer, config, receiver);
    todo!()
}

/// What a connection delivers to.
pub trait Receiver: Send + 'static {
    /// Takes a message. Called in the order of arrival; must not block, or everything that comes from
    /// this peer waits.
    ///
    /// # Errors
    /// When the peer may not send this; the connection ends with it.
    fn deliver(&mut self, message: Incoming) -> Result<(), ProtocolViolation>;

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
pub struct Channel {}

impl Channel {
    /// The flags that both sides offered.
    pub fn flags(&self) -> Flags {
        todo!()
    }

    /// Queues a signal of the protocol: never waits, whatever is queued. What comes after the end of the
    /// connection is dropped, as the end itself has been told to the receiver.
    pub fn push(&self, message: Outgoing) {
        let _ = message;
        todo!()
    }

    /// Queues a message if the budget allows it.
    ///
    /// # Errors
    /// Gives the message back when too much is queued; says so when the connection is closed.
    pub fn try_send(&self, message: Outgoing) -> Result<(), SendRefused> {
        let _ = message;
        todo!()
    }

    /// Queues a message as soon as the budget allows it.
    ///
    /// # Errors
    /// When the connection is closed or ends meanwhile.
    pub async fn send(&self, message: Outgoing) -> Result<(), Closed> {
        let _ = message;
        todo!()
    }

    /// Ends the connection. [`CloseReason::is_graceful`] ones write out what is queued first (for at most
    /// [`ChannelConfig::flush_timeout`]). The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        let _ = reason;
        todo!()
    }

    /// True as soon as somebody has begun to end the connection.
    pub fn is_closed(&self) -> bool {
        todo!()
    }

    /// Waits until the connection has ended, its queue is written or dropped, and its receiver knows.
    pub async fn wait_closed(&self) {
        todo!()
    }

    /// Counters of this connection.
    pub fn stats(&self) -> ChannelStats {
        todo!()
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

/// Why a connection ended.
#[derive(Debug, Clone)]
pub struct CloseReason {
    /// Who ended it.
    pub who: CloseParty,
    /// Why.
    pub why: CloseCause,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseParty {
    /// This node.
    Local,
    /// The peer.
    Peer,
    /// The network between them, or a peer that died without a word.
    Network,
}

/// Why a connection ended, apart from who ended it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseCause {
    /// The peer closed the socket.
    PeerClosed,
    /// Nothing came for too long.
    TickTimeout {
        /// For how long, at least.
        silence: Duration,
    },
    /// The peer did what no node may do.
    Protocol(ProtocolViolation),
    /// The socket failed.
    Io(std::sync::Arc<std::io::Error>),
    /// Somebody here asked for it; the text says why.
    Disconnect(String),
    /// Another connection to the same node took its place.
    Replaced,
}

impl CloseReason {
    /// Somebody here asked for it, and what is queued is still to be sent.
    pub fn disconnect(text: impl Into<String>) -> Self {
        Self { who: CloseParty::Local, why: CloseCause::Disconnect(text.into()) }
    }

    /// True when what is queued is written out before the end.
    pub fn is_graceful(&self) -> bool {
        matches!(self.why, CloseCause::Disconnect(_))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, self.who) {
            (CloseCause::PeerClosed, _) => f.write_str("the peer closed the connection"),
            (CloseCause::TickTimeout { silence }, _) => {
                write!(f, "nothing came from the peer for {silence:?} (net_ticktime)")
            }
            (CloseCause::Protocol(violation), _) => write!(f, "the peer broke the protocol: {violation}"),
            (CloseCause::Io(error), _) => write!(f, "the network failed: {error}"),
            (CloseCause::Disconnect(text), _) => write!(f, "disconnected here: {text}"),
            (CloseCause::Replaced, _) => f.write_str("a newer connection to the same node took its place"),
        }
    }
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            net_ticktime: Duration::from_secs(60),
            net_tickintensity: 4,
            max_frame: 512 << 20,
            limits: Limits::default(),
            busy_limit: 1 << 20,
            max_sequences: 4096,
            max_sequence_bytes: 1 << 30,
            flush_timeout: Duration::from_secs(5),
        }
    }
}
