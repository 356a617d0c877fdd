//! The loop of a server: a process that answers calls, takes casts, and lets `sys` look at it, as a
//! `gen_server` does.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::gen_server::{Envelope, ReplyTo};
use super::sys::{self, Verdict};
use crate::atom;
use crate::etf::{self, Atom, EncodeError, Payload, Pid, Term};
use crate::node::{Message, Node, Process, Reason, RegisterError, Service};

/// What a server does with what it is sent. All methods run one after the other in the process of
/// the server; a panic in one ends it, as an exception ends a `gen_server`.
pub trait Server: Send + 'static {
    /// `handle_call/3`: a request that somebody waits for.
    fn call(&mut self, request: Payload, from: ReplyTo, process: &mut Process) -> impl Future<Output = Answer> + Send;

    /// `handle_cast/2`: a request that nobody waits for.
    fn cast(&mut self, request: Payload, process: &mut Process) -> impl Future<Output = Next> + Send {
        tracing::debug!(pid = %process.pid(), ?request, "a cast that nobody takes");
        std::future::ready(Next::Continue)
    }

    /// `handle_info/2`: any other message.
    fn info(&mut self, message: Message, process: &mut Process) -> impl Future<Output = Next> + Send {
        tracing::debug!(pid = %process.pid(), ?message, "a message that nobody takes");
        std::future::ready(Next::Continue)
    }

    /// After so much silence [`idle`](Self::idle) is called; asked before each message.
    fn idle_after(&self) -> Option<Duration> {
        None
    }

    /// Nothing has come for [`idle_after`](Self::idle_after).
    fn idle(&mut self, process: &mut Process) -> impl Future<Output = Next> + Send {
        let _ = process;
        std::future::ready(Next::Continue)
    }

    /// What `sys:get_state/1` shows.
    fn state(&self) -> Term {
        Term::Atom(atom!("not_shown"))
    }

    /// The module that `sys:get_status/1` and tools that look at processes name.
    fn module(&self) -> Atom {
        atom!("gusset")
    }
}

/// What becomes of a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer {
    /// This is the reply.
    Reply(Payload),
    /// The reply comes later, through [`ReplyTo::reply`], or never.
    Later,
    /// The server ends, after a reply where there is one.
    Stop(Reason, Option<Payload>),
}

impl Answer {
    /// A reply with a value.
    ///
    /// # Errors
    /// When the value cannot be a term.
    pub fn reply<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        Self::payload(value).map(Self::Reply)
    }

    /// A value as [`Stop`](Self::Stop) takes it.
    ///
    /// # Errors
    /// When the value cannot be a term.
    pub fn payload<T: Serialize + ?Sized>(value: &T) -> Result<Payload, EncodeError> {
        etf::to_payload(value)
    }
}

impl From<&Term> for Answer {
    /// A reply; a term that cannot be written gets none.
    fn from(value: &Term) -> Self {
        match Payload::from_term(value) {
            Ok(payload) => Self::Reply(payload),
            Err(error) => {
                tracing::error!(%error, "a reply cannot be encoded");
                Self::Later
            }
        }
    }
}

/// What a server does next.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Next {
    /// It waits for the next message.
    Continue,
    /// It ends.
    Stop(Reason),
}

/// Serves until the server stops, or somebody ends the process.
pub async fn serve(mut process: Process, mut server: impl Server) -> Reason {
    let mut suspended = false;
    loop {
        let message = if suspended {
            process.recv_match(|message| is_for_suspended(message).then(|| message.clone())).await.map(Some)
        } else {
            match server.idle_after() {
                Some(silence) => process.recv_timeout(silence).await,
                None => process.recv().await.map(Some),
            }
        };
        let next = match message {
            Err(ended) => return ended.reason,
            Ok(None) => server.idle(&mut process).await,
            Ok(Some(Message::Sent(payload))) => match Envelope::of(&payload) {
                Envelope::Call(from, request) => call(&mut server, request, from, &mut process).await,
                Envelope::Cast(request) => server.cast(request, &mut process).await,
                Envelope::System(from, request) => {
                    let (reply, verdict) = answer_sys(&server, &process, (&from, &request), suspended);
                    from.reply_soon(&process, &reply);
                    match verdict {
                        Verdict::Stay => Next::Continue,
                        Verdict::Suspended(now) => {
                            suspended = now;
                            Next::Continue
                        }
                        Verdict::Terminate(reason) => Next::Stop(reason),
                    }
                }
                Envelope::Other => server.info(Message::Sent(payload), &mut process).await,
            },
            Ok(Some(other)) => server.info(other, &mut process).await,
        };
        if let Next::Stop(reason) = next {
            return reason;
        }
    }
}

fn answer_sys(
    server: &impl Server,
    process: &Process,
    (from, request): (&ReplyTo, &Payload),
    suspended: bool,
) -> (Payload, Verdict) {
    sys::Look { process, from, module: server.module(), state: &|| server.state() }.answer(request, suspended)
}

async fn call(server: &mut impl Server, request: Payload, from: ReplyTo, process: &mut Process) -> Next {
    match server.call(request, from.clone(), process).await {
        Answer::Reply(reply) => from.reply_soon(process, &reply),
        Answer::Later => {}
        Answer::Stop(reason, reply) => {
            if let Some(reply) = reply {
                from.reply_soon(process, &reply);
            }
            return Next::Stop(reason);
        }
    }
    Next::Continue
}

fn is_for_suspended(message: &Message) -> bool {
    matches!(message, Message::Sent(payload) if matches!(Envelope::of(payload), Envelope::System(..)))
}

/// A [`Server`] under a name: what [`Node::install`] takes.
pub(crate) struct Named<S>(pub(crate) Atom, pub(crate) S);

impl<S: Server> Service for Named<S> {
    fn name(&self) -> Atom {
        self.0.clone()
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        Box::pin(serve(process, self.1))
    }
}

impl Node {
    /// Runs a server under a name, in a task of its own.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn spawn_server(&self, name: &str, server: impl Server) -> Result<Pid, RegisterError> {
        self.install(Named(Atom::new(name)?, server))
    }
}
