//! The socket during a handshake: messages with a time limit each, and the socket options of a connection.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::step::Step;
use crate::proto::HandshakeError;
use crate::proto::handshake::{Framing, PrefixWidth};

/// How long a step of connecting may take: `net_setuptime` of the kernel application.
pub const DEFAULT_SETUP_TIMEOUT: Duration = Duration::from_secs(7);

/// A stream that carries handshake messages. Each step has the whole time limit for itself, as in
/// `dist_util.erl`, which restarts its timer at each of them.
#[derive(Debug)]
pub(super) struct HandshakeIo<S> {
    stream: S,
    received: BytesMut,
    framing: Framing,
    limit: Duration,
}

/// Where a handshake stopped, and why.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) step: Step,
    pub(super) cause: Cause,
}

/// Why a handshake stopped.
#[derive(Debug)]
pub(super) enum Cause {
    /// Nothing came for this long.
    Timeout(Duration),
    /// The peer closed or reset the connection.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// What came was not what should have come.
    Handshake(HandshakeError),
}

impl Stopped {
    /// For `map_err` on the results of `proto`.
    pub(super) fn at(step: Step) -> impl FnOnce(HandshakeError) -> Self {
        move |error| Self { step, cause: Cause::Handshake(error) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HandshakeIo<S> {
    pub(super) fn new(stream: S, width: PrefixWidth, limit: Duration) -> Self {
        Self { stream, received: BytesMut::new(), framing: Framing(width), limit }
    }

    /// Sends `messages` with one write.
    pub(super) async fn send(&mut self, step: Step, messages: &[&[u8]]) -> Result<(), Stopped> {
        let mut out = Vec::new();
        for message in messages {
            self.framing.put(message, &mut out);
        }
        let write = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        match timeout(self.limit, write).await {
            Ok(sent) => sent.map_err(|error| Stopped { step, cause: cause_of(error) }),
            Err(_) => Err(Stopped { step, cause: Cause::Timeout(self.limit) }),
        }
    }

    /// Waits for the next message.
    pub(super) async fn receive(&mut self, step: Step) -> Result<Bytes, Stopped> {
        match timeout(self.limit, self.next_message()).await {
            Ok(message) => message.map_err(|cause| Stopped { step, cause }),
            Err(_) => Err(Stopped { step, cause: Cause::Timeout(self.limit) }),
        }
    }

    async fn next_message(&mut self) -> Result<Bytes, Cause> {
        loop {
            if let Some(message) = self.framing.cut(&mut self.received).map_err(Cause::Handshake)? {
                return Ok(message);
            }
            // What is buffered is bounded: a message is limited, and at most one read goes beyond it.
            self.received.reserve(READ_SIZE);
            if self.stream.read_buf(&mut self.received).await.map_err(cause_of)? == 0 {
                return Err(Cause::Closed);
            }
        }
    }

    /// The stream, and what has come behind the last message.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.received)
    }
}

/// A peer that closes with something of ours unread resets the connection: the same thing for us.
fn cause_of(error: io::Error) -> Cause {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Cause::Closed,
        _ => Cause::Io(error),
    }
}

/// A challenge nobody can foresee: with one that repeats, an old digest would be proof again.
pub(super) fn random_challenge() -> Result<u32, Stopped> {
    getrandom::u32().map_err(|error| Stopped { step: Step::Prepare, cause: Cause::Io(io::Error::other(error)) })
}

/// Sets what every distribution connection has: no delay (a signal must not wait for the answer to the one
/// before it, `inet_tcp_dist.erl` sets `nodelay`) and keepalive.
///
/// Neither is worth losing a connection for, so a socket that refuses them is used as it is.
pub(super) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    if let Err(error) = socket.set_tcp_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY on this socket");
    }
    if let Err(error) = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER)) {
        tracing::debug!(%error, "no keepalive on this socket");
    }
}

/// How much is read at once in a handshake: every message of it fits.
const READ_SIZE: usize = 4096;

/// Ticks find dead peers long before this; keepalive is for the firewalls in between.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
