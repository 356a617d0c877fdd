//! Requests whose answers are fetched later (`gen_server:send_request/2`), and what all calls share.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::CALL_TIMEOUT;
use super::destination::Destination;
use super::gen_server::{call_message, reply_in};
use crate::etf::{Payload, Ref, Term};
use crate::node::{CallError, Message, Node, Process, Reason, SendError, Target};

/// A request that has been sent, and whose answer can be awaited when it is needed
/// (`gen_server:send_request/2`). Several at once are awaited with what there is for futures (`join_all`,
/// `FuturesUnordered`, `tokio::select!`).
///
/// `request.await` waits until [`CALL_TIMEOUT`] after sending; [`response`](Self::response) until
/// another moment. Dropping it forgets the request: an answer that comes later vanishes.
///
/// ```no_run
/// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use gusset::atom;
///
/// let one = node.send_request::<i64>(("stock", "a@myhost"), &atom!("level")).await?;
/// let two = node.send_request::<i64>(("stock", "b@myhost"), &atom!("level")).await?;
/// let total = one.await? + two.await?;
/// # Ok(()) }
/// ```
#[must_use = "without awaiting it the answer is never seen; `cast` sends what needs none"]
pub struct RequestId<R> {
    /// Its own, so that whatever comes after the answer goes to nobody.
    process: Process,
    exchange: Exchange,
    sent: Instant,
    reply: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> RequestId<R> {
    /// Waits for the answer until `timeout` from now (`gen_server:receive_response/2`).
    ///
    /// # Errors
    /// As [`Node::call`].
    pub async fn response(mut self, timeout: Duration) -> Result<R, CallError> {
        let answer = tokio::time::timeout(timeout, self.exchange.answer(&mut self.process)).await;
        Ok(answer.unwrap_or(Err(CallError::Timeout(timeout)))?.decode()?)
    }

    /// The answer, if it is there (`gen_server:check_response/2`); afterwards it is gone.
    pub fn try_response(&mut self) -> Option<Result<R, CallError>> {
        loop {
            match self.process.try_recv() {
                Ok(None) => return None,
                Ok(Some(message)) => {
                    if let Some(answer) = self.exchange.answer_in(&message) {
                        return Some(answer.and_then(|payload| Ok(payload.decode()?)));
                    }
                }
                Err(ended) => return Some(Err(ended.into())),
            }
        }
    }
}

impl<R: DeserializeOwned + 'static> IntoFuture for RequestId<R> {
    type Output = Result<R, CallError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let left = CALL_TIMEOUT.saturating_sub(self.sent.elapsed());
        Box::pin(async move {
            self.response(left).await.map_err(|error| match error {
                CallError::Timeout(_) => CallError::Timeout(CALL_TIMEOUT),
                other => other,
            })
        })
    }
}

impl<R> std::fmt::Debug for RequestId<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestId({})", self.exchange.tag)
    }
}

impl Node {
    /// `gen_server:send_request/2`: asks a server, and leaves waiting for the answer to the
    /// [`RequestId`]. That there is no such server, or no way to its node, is told by the answer.
    ///
    /// # Errors
    /// When the request could not be sent.
    pub async fn send_request<R: DeserializeOwned>(
        &self,
        server: impl Destination,
        request: &(impl Serialize + ?Sized),
    ) -> Result<RequestId<R>, CallError> {
        let process = self.process_labelled("request");
        let exchange = Exchange::by_ref(&process);
        exchange.send(&process, server.find(self)?, request).await?;
        Ok(RequestId { process, exchange, sent: Instant::now(), reply: PhantomData })
    }
}

/// One request on its way: the monitor of the server, whose reference also tells the answer from others.
pub(crate) struct Exchange {
    pub(crate) monitor: Ref,
    tag: Term,
}

impl Exchange {
    /// The answer goes to the pid: for processes that end with the call.
    pub(crate) fn by_ref(process: &Process) -> Self {
        let monitor = process.node().make_ref();
        Self { tag: Term::from(monitor.clone()), monitor }
    }

    /// The answer goes to an alias that is taken back after the call, so that none comes late.
    pub(crate) fn by_alias(process: &Process) -> Self {
        let monitor = process.node().make_ref();
        process.alias_as(&monitor);
        Self { tag: crate::list![crate::atom!("alias"); &monitor], monitor }
    }

    pub(crate) async fn send(
        &self,
        process: &Process,
        server: Target,
        request: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        let request = call_message(process.pid(), &self.tag, request).map_err(SendError::from)?;
        process.monitor_as(server.clone(), &self.monitor).await?;
        match process.forward(server, &request).await {
            // The monitor tells of it, as in a BEAM.
            Ok(()) | Err(SendError::NotConnected(_) | SendError::ConnectionLost(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn answer(&self, process: &mut Process) -> Result<Payload, CallError> {
        process.recv_match(|message| self.answer_in(message)).await?
    }

    fn answer_in(&self, message: &Message) -> Option<Result<Payload, CallError>> {
        match message {
            Message::Sent(payload) => reply_in(payload, &self.tag).map(Ok),
            Message::Down { reference, .. } if *reference != self.monitor => None,
            Message::Down { reason, .. } => Some(Err(CallError::Down(Reason::clone(reason)))),
            _ => None,
        }
    }
}
