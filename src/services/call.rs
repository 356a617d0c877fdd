//! Calls and casts to servers of other nodes: the client side of `gen_server`.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::destination::Destination;
use super::gen_server::{cast_message, terminate_message};
use super::request::Exchange;
use crate::etf::Payload;
use crate::node::{CallError, Message, Node, Process, Reason, SendError, Target};
use crate::proto::NodeName;

/// How long a call waits, unless it says otherwise: the default of `gen_server:call/2`.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Node {
    /// `gen_server:call/2`: asks a server and waits up to [`CALL_TIMEOUT`] for the reply. A reply that
    /// comes later vanishes.
    ///
    /// ```no_run
    /// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use gusset::{atom, global_name};
    ///
    /// // GenServer.call({MyApp.Stock, :"app@myhost"}, {:take, "bolt", 3})
    /// let left: Result<i64, gusset::Term> =
    ///     node.call(("Elixir.MyApp.Stock", "app@myhost"), &(atom!("take"), "bolt", 3)).await?;
    /// // GenServer.call({:global, :leader}, :who)
    /// let who: gusset::Atom = node.call(global_name(atom!("leader")), &atom!("who")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Down`] at once where there is no such server (`noproc`), no way to its node
    /// (`noconnection`), or it ends before it replies.
    pub async fn call<R: DeserializeOwned>(
        &self,
        server: impl Destination,
        request: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        self.call_timeout(server, request, CALL_TIMEOUT).await
    }

    /// [`call`](Self::call) with a time limit of its own, connecting included.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_timeout<R: DeserializeOwned>(
        &self,
        server: impl Destination,
        request: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<R, CallError> {
        // A process of its own: whatever comes after the reply goes to nobody.
        let mut process = self.process_labelled("call");
        let exchange = Exchange::by_ref(&process);
        let reply = ask(&mut process, &exchange, server.find(self)?, request, timeout).await?;
        Ok(reply.decode()?)
    }

    /// `gen_server:cast/2`: tells a server something, and waits for nothing.
    ///
    /// # Errors
    /// When there is no way to its node, or nobody has the name in `global`.
    pub async fn cast(&self, server: impl Destination, request: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.process_labelled("cast").cast(server, request).await
    }

    /// `gen_server:multi_call/4`: asks the servers of one name on several nodes at once. The answers
    /// stand in the order of the nodes.
    pub async fn multi_call<R: DeserializeOwned>(
        &self,
        nodes: &[NodeName],
        name: &str,
        request: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Vec<(NodeName, Result<R, CallError>)> {
        let calls = nodes
            .iter()
            .map(|node| async move { (node.clone(), self.call_timeout((name, node), request, timeout).await) });
        join_all(calls).await
    }

    /// `gen_server:abcast/3`: tells the servers of one name on several nodes something.
    pub async fn abcast(&self, nodes: &[NodeName], name: &str, request: &(impl Serialize + ?Sized)) {
        let process = self.process_labelled("abcast");
        for result in join_all(nodes.iter().map(|node| process.cast((name, node), request))).await {
            if let Err(error) = result {
                tracing::debug!(name, %error, "a cast did not get away");
            }
        }
    }

    /// `gen_server:stop/3` (`GenServer.stop`): asks a server, here or elsewhere, to end with a reason, and
    /// waits until it has; it cleans up first (`terminate`).
    ///
    /// # Errors
    /// [`CallError::Down`] where it ends with another reason, or is not there (`noproc`).
    pub async fn stop_server(
        &self,
        server: impl Destination,
        reason: Reason,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let mut process = self.process_labelled("stop");
        let server = server.find(self)?;
        let exchange = async {
            let monitor = process.monitor(&server).await?;
            let request = terminate_message(process.pid(), &self.make_ref(), &reason).map_err(SendError::from)?;
            process.forward(&server, &request).await?;
            let down = process.recv_match(|message| match message {
                Message::Down { reference, reason, .. } if *reference == monitor => Some(reason.clone()),
                _ => None,
            });
            let ended = down.await?;
            if ended.term()? == reason.term()? { Ok(()) } else { Err(CallError::Down(ended)) }
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }
}

impl Process {
    /// As [`Node::call_timeout`], with this process as the caller that the server sees. Other
    /// messages stay in the mailbox. A reply that comes too late vanishes where the server's node
    /// knows aliases (OTP 24 and later).
    ///
    /// # Errors
    /// As [`Node::call`]; also when this process is ended meanwhile.
    pub async fn call<R: DeserializeOwned>(
        &mut self,
        server: impl Destination,
        request: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<R, CallError> {
        let server = server.find(&self.node())?;
        let exchange = Exchange::by_alias(self);
        let reply = ask(self, &exchange, server, request, timeout).await;
        self.unalias(&exchange.monitor);
        Ok(reply?.decode()?)
    }

    /// `gen_server:cast/2`: tells a server something, and waits for nothing.
    ///
    /// # Errors
    /// As [`Node::cast`].
    pub async fn cast(&self, server: impl Destination, request: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.forward(server.find(&self.node())?, &cast_message(request)?).await
    }
}

async fn ask(
    process: &mut Process,
    exchange: &Exchange,
    server: Target,
    request: &(impl Serialize + ?Sized),
    timeout: Duration,
) -> Result<Payload, CallError> {
    let answer = async {
        exchange.send(process, server, request).await?;
        exchange.answer(process).await
    };
    let answer = tokio::time::timeout(timeout, answer).await;
    process.demonitor_flush(&exchange.monitor);
    answer.unwrap_or(Err(CallError::Timeout(timeout)))
}
