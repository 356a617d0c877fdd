//! [`GenServer`]: what a server does with calls, casts and messages. The loop around it is in `serve`.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gen_server::ReplyTo;
use crate::atom;
use crate::etf::{Atom, DecodeError, Payload, Term};
use crate::node::{Message, Process, Reason};

/// A server, as a `gen_server` is one: it answers `GenServer.call`, takes casts, and lets `sys` look
/// at it. Started with [`Node::start_server`](crate::Node::start_server).
///
/// All methods run one after the other in the process of the server. Requests are read straight into
/// the types named here (`Term` takes anything); what is of another type never reaches the methods,
/// see [`unreadable`](Self::unreadable). A panic ends the server with `{panic, Text}`, as an exception
/// ends a `gen_server`; callers that wait hear of it at once.
///
/// ```no_run
/// use gusset::services::{Answer, GenServer, Next, ReplyTo};
/// use gusset::Process;
/// use serde::{Deserialize, Serialize};
///
/// /// `{take, <<"bolt">>, 3}` or `level`.
/// #[derive(Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Question {
///     Take(String, i64),
///     Level,
/// }
///
/// struct Stock(i64);
///
/// impl GenServer for Stock {
///     type Call = Question;
///     type Cast = i64;
///     type Reply = Result<i64, String>;
///
///     async fn handle_call(&mut self, question: Question, _: ReplyTo, _: &mut Process) -> Answer<Self::Reply> {
///         Answer::Reply(match question {
///             Question::Take(part, count) if count > self.0 => Err(format!("no {count} of {part}")),
///             Question::Take(_, count) => {
///                 self.0 -= count;
///                 Ok(self.0)
///             }
///             Question::Level => Ok(self.0),
///         })
///     }
///
///     async fn handle_cast(&mut self, delivered: i64, _: &mut Process) -> Next {
///         self.0 += delivered;
///         Next::Continue
///     }
/// }
///
/// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
/// // GenServer.call({:stock, node}, {:take, "bolt", 3}) is {:ok, 7}
/// let stock = node.start_server("stock", Stock(10))?;
/// # stock.ended().await;
/// # Ok(()) }
/// ```
pub trait GenServer: Send + 'static {
    /// What is asked: an enum, say, for the requests that there are.
    type Call: DeserializeOwned + Send;
    /// What is told.
    type Cast: DeserializeOwned + Send;
    /// What is answered.
    type Reply: Serialize + Send + Sync;

    /// Before the first message: the place for [`Process::trap_exits`], monitors and names.
    fn init(&mut self, process: &mut Process) -> impl Future<Output = Next> + Send {
        let _ = process;
        std::future::ready(Next::Continue)
    }

    /// A request that somebody waits for. Reply at once ([`Answer::Reply`]), or keep `from` and reply
    /// later from a method, a task or another process ([`Answer::Later`]).
    fn handle_call(
        &mut self,
        request: Self::Call,
        from: ReplyTo,
        process: &mut Process,
    ) -> impl Future<Output = Answer<Self::Reply>> + Send;

    /// A request that nobody waits for.
    fn handle_cast(&mut self, request: Self::Cast, process: &mut Process) -> impl Future<Output = Next> + Send {
        let _ = request;
        tracing::debug!(pid = %process.pid(), "a cast that nobody takes");
        std::future::ready(Next::Continue)
    }

    /// Any other message: plain sends, `DOWN`s, exits where they are trapped, node events.
    fn handle_info(&mut self, message: Message, process: &mut Process) -> impl Future<Output = Next> + Send {
        tracing::debug!(pid = %process.pid(), ?message, "a message that nobody takes");
        std::future::ready(Next::Continue)
    }

    /// The server stops: because a method said so or panicked, because `sys:terminate/2` or
    /// `GenServer.stop` asked for it, or because the node shuts down (connections are closed by then). As
    /// in Erlang it is *not* called when a signal ends the process: `kill`, or, unless exits are
    /// trapped, `exit/2` and the end of a linked process.
    fn terminate(&mut self, reason: &Reason, process: &mut Process) -> impl Future<Output = ()> + Send {
        let _ = (reason, process);
        std::future::ready(())
    }

    /// What becomes of a call or cast that is not of the type [`Call`](Self::Call) or
    /// [`Cast`](Self::Cast). A `gen_server` crashes with `function_clause`; the default here is milder
    /// to everybody else, see [`Unreadable`].
    fn unreadable(&mut self, request: &Payload, error: &DecodeError) -> Unreadable {
        let _ = (request, error);
        Unreadable::Refuse
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

    /// The module that `sys:get_status/1`, `supervisor:which_children/1` and tools that look at
    /// processes name.
    fn module(&self) -> Atom {
        atom!("gusset")
    }
}

/// What becomes of a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Answer<R> {
    /// This is the reply.
    Reply(R),
    /// The reply comes later, through [`ReplyTo::reply`], or never.
    Later,
    /// The server ends, after a reply where there is one.
    Stop(Reason, Option<R>),
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

/// What becomes of a request that is not of the type that the server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// The server goes on, and the fault is logged. A caller exits at once with `{bad_call, Text}`, where
    /// the text says what is wrong: its monitor of the server fires, as if the server had ended. Callers
    /// that have none under the reference of the call (`multi_call` up to OTP 25) run into their time-out.
    Refuse,
    /// The server goes on, the fault is logged, and a caller runs into its time-out.
    Ignore,
    /// The server ends with `{bad_call, Text}` or `{bad_cast, Text}`, as a `gen_server` ends with
    /// `function_clause`.
    Crash,
}
