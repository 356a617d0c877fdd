//! Calls and casts to servers of other nodes: the client side of `gen_server`.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gen_server::{call_message, cast_message, reply_in};
use crate::atom;
use crate::etf::{Payload, Term};
use crate::list;
use crate::node::{CallError, IntoTarget, Message, Node, Process, SendError, Target};
use crate::proto::NodeName;

/// How long a call waits, unless it says otherwise: the default of `gen_server:call/2`.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Node {
    /// `gen_server:call/2`: asks a server and waits up to [`CALL_TIMEOUT`] for the reply. A reply that
    /// comes later vanishes.
    ///
    /// # Errors
    /// [`CallError::Down`] at once where there is no such server (`noproc`), no way to its node
    /// (`noconnection`), or it ends before it replies.
    pub async fn call<R: DeserializeOwned>(
        &self,
        server: impl IntoTarget,
        request: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        self.call_timeout(server, request, CALL_TIMEOUT).await
    }

    /// [`call`](Self::call) with a time limit of its own.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_timeout<R: DeserializeOwned>(
        &self,
        server: impl IntoTarget,
        request: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<R, CallError> {
        // A process of its own: whatever comes after the reply goes to nobody.
        let mut process = self.process_labelled("call");
        let tag = Term::Ref(self.make_ref());
        let reply = ask(&mut process, server.into_target().map_err(SendError::from)?, &tag, request, timeout).await?;
        Ok(reply.decode()?)
    }

    /// `gen_server:cast/2`: tells a server something, and waits for nothing.
    ///
    /// # Errors
    /// When there is no way to its node.
    pub async fn cast(&self, server: impl IntoTarget, request: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
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
        server: impl IntoTarget,
        request: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<R, CallError> {
        let server = server.into_target().map_err(SendError::from)?;
        let alias = self.reply_alias();
        let tag = list![atom!("alias"); &alias];
        let reply = ask(self, server, &tag, request, timeout).await;
        self.unalias(&alias);
        Ok(reply?.decode()?)
    }

    /// `gen_server:cast/2`: tells a server something, and waits for nothing.
    ///
    /// # Errors
    /// When there is no way to its node.
    pub async fn cast(&self, server: impl IntoTarget, request: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.forward(server, &cast_message(request)?).await
    }
}

async fn ask(
    process: &mut Process,
    server: Target,
    tag: &Term,
    request: &(impl Serialize + ?Sized),
    timeout: Duration,
) -> Result<Payload, CallError> {
    let request = call_message(process.pid(), tag, request).map_err(SendError::from)?;
    let monitor = process.monitor(&server).await?;
    let answer = async {
        process.forward(&server, &request).await?;
        process
            .recv_match(|message| match message {
                Message::Sent(payload) => reply_in(payload, tag).map(Ok),
                Message::Down { reference, reason, .. } if *reference == monitor => {
                    Some(Err(CallError::Down(reason.clone())))
                }
                _ => None,
            })
            .await?
    };
    let answer = tokio::time::timeout(timeout, answer).await;
    process.demonitor_flush(&monitor);
    answer.unwrap_or(Err(CallError::Timeout(timeout)))
}
