//! Accepting: from a socket that came in to a connection whose handshake is done.
//!
//! The decisions are the node's, through [`Gatekeeper`]: it knows who is connected, whom it is dialling, and
//! the cookies.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::Established;
use super::error::AcceptError;
use super::step::Step;
use super::transport::{Cause, HandshakeIo, Stopped, random_challenge, tune};
use crate::etf::Creation;
use crate::proto::handshake::{
    Accepted, Arrival, AwaitName, Challenged, Greeting, PrefixWidth, Refusal, Refused, Welcome,
};
use crate::proto::{Cookie, HandshakeError, LocalIdentity, Negotiated, NodeName};

/// One connection that came in, told apart from other attempts of the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(u64);

impl AttemptId {
    /// An id that no other attempt of this process has.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The node's answer to a name at the door (`net_kernel.erl:accept_pending`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is in the way: pending from now on.
    Ok,
    /// We were dialling that node, and its attempt wins: ours is given up; pending from now on.
    OkSimultaneous,
    /// We are dialling that node, and our attempt wins.
    Nok,
    /// We are connected to that node: it has to say whether this attempt replaces that connection. Pending
    /// from now on, beside the connection that is up.
    Alive,
    /// This node is not wanted, and is told so.
    NotAllowed(String),
    /// Close without a word, as BEAM does while an attempt to replace a connection is going on.
    Close(String),
}

/// What accepting asks the node. Implementations answer from memory: nothing here may block.
pub trait Gatekeeper: Send + Sync + 'static {
    /// A node with all flags that we need is at the door. After [`Verdict::Ok`],
    /// [`OkSimultaneous`](Verdict::OkSimultaneous) and [`Alive`](Verdict::Alive) exactly one of two things
    /// follows: [`connected`](Self::connected) or [`abandoned`](Self::abandoned) for this attempt. (Who calls
    /// [`accept`] without a [`Listener`](super::Listener) gets the connection as its result in place of the
    /// former.) After all other verdicts nothing follows.
    fn arrival(&self, peer: &NodeName, hidden: bool, attempt: AttemptId) -> Verdict;

    /// The cookie for a node: the one set for it, else our own.
    fn cookie(&self, peer: &NodeName) -> Cookie;

    /// A node asks for a name on `host`. `None` refuses. [`arrival`](Self::arrival) follows with the new name.
    fn dynamic_name(&self, host: &str) -> Option<(NodeName, Creation)>;

    /// The node has proven itself; the last message goes out when this has returned. It is called once per
    /// attempt that gets so far, after any verdict. After [`Verdict::Alive`], take the older connection down
    /// and return when it is down. An error closes this attempt: the peer's next one may have superseded it.
    fn before_ack<'a>(&'a self, peer: &'a NodeName, attempt: AttemptId) -> BoxFuture<'a, Result<(), String>>;

    /// The attempt came to nothing after [`arrival`](Self::arrival) had said yes: what was pending is free
    /// again, and an older connection that is still up stays up.
    fn abandoned(&self, peer: &NodeName, attempt: AttemptId);

    /// The attempt succeeded: the node takes the connection.
    fn connected(&self, established: Established);
}

/// Does the handshake on a connection that came in. Every step has the time limit `setup_timeout`. Dropping
/// the future closes the socket and tells the gatekeeper.
///
/// # Errors
/// [`AcceptError`] says which step failed. The socket is closed then, and a pending attempt
/// [`abandoned`](Gatekeeper::abandoned).
pub async fn accept<G: Gatekeeper + ?Sized>(
    stream: TcpStream,
    local: &LocalIdentity,
    gate: &Arc<G>,
    setup_timeout: Duration,
) -> Result<Established, AcceptError> {
    let io_error = |source| AcceptError::Io { peer: None, step: Step::PeerName, source };
    let address = stream.peer_addr().map_err(io_error)?;
    tune(&stream);
    let attempt = AttemptId::next();
    let io = HandshakeIo::new(stream, PrefixWidth::Two, setup_timeout);
    Door { io, gate: gate.as_ref(), attempt, peer: None, pending: None, limit: setup_timeout }
        .open(local, address)
        .await
}

/// One handshake that came in.
struct Door<'a, G: Gatekeeper + ?Sized> {
    io: HandshakeIo<TcpStream>,
    gate: &'a G,
    attempt: AttemptId,
    /// Who calls, for errors.
    peer: Option<NodeName>,
    /// Tells the gatekeeper when the attempt comes to nothing.
    pending: Option<Pending<'a, G>>,
    limit: Duration,
}

impl<G: Gatekeeper + ?Sized> Door<'_, G> {
    async fn open(mut self, local: &LocalIdentity, address: SocketAddr) -> Result<Established, AcceptError> {
        let negotiated = match self.shake(local).await {
            Ok(negotiated) => negotiated,
            Err(Ended::Explained(error)) => return Err(error),
            Err(Ended::Stopped(stopped)) => return Err(explain(stopped, self.peer.take())),
        };
        if let Some(pending) = &mut self.pending {
            pending.done = true;
        }
        let (stream, leftover) = self.io.into_parts();
        tracing::debug!(peer = %negotiated.peer, addr = %address, flags = %negotiated.flags, "handshake done");
        Ok(Established { negotiated, stream, leftover, address, attempt: Some(self.attempt) })
    }

    async fn shake(&mut self, local: &LocalIdentity) -> Result<Negotiated, Ended> {
        let greeting = self.greet(local).await?;
        let peer = greeting.peer().clone();
        let state = match self.answer(greeting).await? {
            Challenged::Reply(state) => state,
            Challenged::Complement(state) => {
                let message = self.io.receive(Step::Complement).await?;
                state.on_message(&message).map_err(Stopped::at(Step::Complement))?
            }
        };
        let message = self.io.receive(Step::Reply).await?;
        let cookie = self.gate.cookie(&peer);
        let Accepted { negotiated, ack } = state.on_message(&message, &cookie).map_err(Stopped::at(Step::Reply))?;
        match timeout(self.limit, self.gate.before_ack(&peer, self.attempt)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(Ended::Explained(AcceptError::GivenUp { peer, reason })),
            Err(_) => {
                let cause = Cause::Timeout(self.limit);
                return Err(Ended::Stopped(Stopped { step: Step::OldConnection, cause }));
            }
        }
        self.io.send(Step::Ack, &[&ack]).await?;
        Ok(negotiated)
    }

    /// Reads the name; gives one to a node that has none.
    async fn greet(&mut self, local: &LocalIdentity) -> Result<Greeting, Ended> {
        let state = AwaitName::new(local).map_err(Stopped::at(Step::Prepare))?;
        let message = self.io.receive(Step::PeerName).await?;
        let greeting = match state.on_message(&message).map_err(Stopped::at(Step::PeerName))? {
            Arrival::Named(greeting) => Ok(greeting),
            Arrival::Refused(refused) => Err(refused),
            Arrival::Unnamed(request) => match self.gate.dynamic_name(request.host()) {
                Some((name, creation)) => request.grant(name, creation),
                None => {
                    let host = request.host().to_owned();
                    self.io.send(Step::Status, &[&request.refuse()]).await?;
                    return Err(Ended::Explained(AcceptError::NoName { host }));
                }
            },
        };
        match greeting {
            Ok(greeting) => {
                self.peer = Some(greeting.peer().clone());
                Ok(greeting)
            }
            Err(Refused { reply, error }) => {
                self.io.send(Step::Status, &[&reply]).await?;
                Err(Stopped { step: Step::PeerName, cause: Cause::Handshake(error) }.into())
            }
        }
    }

    /// Asks the node, and sends what it says.
    async fn answer(&mut self, greeting: Greeting) -> Result<Challenged, Ended> {
        let peer = greeting.peer().clone();
        let verdict = self.gate.arrival(&peer, greeting.hidden(), self.attempt);
        tracing::debug!(%peer, attempt = %self.attempt, ?verdict, "a node is at the door");
        if matches!(verdict, Verdict::Ok | Verdict::OkSimultaneous | Verdict::Alive) {
            self.pending = Some(Pending { gate: self.gate, peer: peer.clone(), attempt: self.attempt, done: false });
        }
        let (refusal, error) = match verdict {
            Verdict::Ok => return self.welcome(greeting, Welcome::Ok).await,
            Verdict::OkSimultaneous => return self.welcome(greeting, Welcome::OkSimultaneous).await,
            Verdict::Alive => return self.ask_whether_to_replace(greeting).await,
            Verdict::Nok => (Some(Refusal::Nok), AcceptError::Nok { peer }),
            Verdict::NotAllowed(reason) => (Some(Refusal::NotAllowed), AcceptError::Refused { peer, reason }),
            Verdict::Close(reason) => (None, AcceptError::Refused { peer, reason }),
        };
        if let Some(refusal) = refusal {
            self.io.send(Step::Status, &[&greeting.refuse(refusal)]).await?;
        }
        Err(Ended::Explained(error))
    }

    async fn welcome(&mut self, greeting: Greeting, welcome: Welcome) -> Result<Challenged, Ended> {
        let (state, [status, challenge]) =
            greeting.welcome(welcome, random_challenge()?).map_err(Stopped::at(Step::Status))?;
        self.io.send(Step::Status, &[&status, &challenge]).await?;
        Ok(state)
    }

    async fn ask_whether_to_replace(&mut self, greeting: Greeting) -> Result<Challenged, Ended> {
        let (state, message) = greeting.alive();
        self.io.send(Step::Status, &[&message]).await?;
        let message = self.io.receive(Step::Alive).await?;
        let (state, challenge) = state.on_message(&message, random_challenge()?).map_err(Stopped::at(Step::Alive))?;
        self.io.send(Step::Challenge, &[&challenge]).await?;
        Ok(state)
    }
}

/// Calls [`Gatekeeper::abandoned`] when it goes, unless the attempt succeeded: also when the future of the
/// handshake is dropped.
struct Pending<'a, G: Gatekeeper + ?Sized> {
    gate: &'a G,
    peer: NodeName,
    attempt: AttemptId,
    done: bool,
}

impl<G: Gatekeeper + ?Sized> Drop for Pending<'_, G> {
    fn drop(&mut self) {
        if !self.done {
            self.gate.abandoned(&self.peer, self.attempt);
        }
    }
}

/// How a handshake ended before its time.
enum Ended {
    Stopped(Stopped),
    Explained(AcceptError),
}

impl From<Stopped> for Ended {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

fn explain(stopped: Stopped, peer: Option<NodeName>) -> AcceptError {
    let Stopped { step, cause } = stopped;
    match (cause, peer) {
        (Cause::Timeout(after), peer) => AcceptError::Timeout { peer, step, after },
        (Cause::Closed, peer) => AcceptError::Closed { peer, step },
        (Cause::Io(source), peer) => AcceptError::Io { peer, step, source },
        (Cause::Handshake(HandshakeError::WrongCookie { peer }), _) => AcceptError::WrongCookie { peer },
        (Cause::Handshake(HandshakeError::MissingFlags { peer, missing }), _) => {
            AcceptError::MissingFlags { peer, missing }
        }
        (Cause::Handshake(HandshakeError::AliveKept), Some(peer)) => AcceptError::AliveKept { peer },
        (Cause::Handshake(source), peer) => AcceptError::Handshake { peer, step, source },
    }
}
