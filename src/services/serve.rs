//! The loop of a server: takes messages apart, calls the methods of a [`GenServer`], answers `sys`.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::functions::panic_text;
use super::gen_server::{Envelope, ReplyTo, fault};
use super::server::{Answer, GenServer, Next, Unreadable};
use super::sys::{self, Verdict};
use crate::atom;
use crate::etf::{Atom, DecodeError, Payload};
use crate::node::{Ended, Message, Node, Process, Reason, Service};
use crate::tuple;

/// Serves until the server stops, or somebody ends the process; gives the reason.
pub async fn serve(process: Process, server: impl GenServer) -> Reason {
    Serving::new(process, server).run().await
}

/// A server at work.
pub(crate) struct Serving<S> {
    server: S,
    process: Process,
    node: Node,
    suspended: bool,
    /// Stops by itself when the node shuts down.
    finishes: bool,
    /// Since when it leads, where those who settle conflicts may ask for it.
    leads_since: Option<Instant>,
}

/// How a server came to its end.
enum End {
    /// By itself, or because it was asked to: it may clean up.
    Stopped(Reason),
    /// By a signal.
    Ended(Reason),
}

/// What a server waits for.
enum Arrival {
    Message(Message),
    Silence,
    Shutdown,
}

impl<S: GenServer> Serving<S> {
    pub(crate) fn new(process: Process, server: S) -> Self {
        let node = process.node();
        Self { server, process, node, suspended: false, finishes: false, leads_since: None }
    }

    /// Lets it clean up when the node shuts down.
    pub(crate) fn finishing(mut self) -> Self {
        self.process.finish_at_shutdown();
        self.finishes = true;
        self
    }

    /// Answers the gen call `time_alive` with the nanoseconds since now: wrappers that settle conflicts
    /// of names by age ask for it (Elixir's Individual).
    pub(crate) fn leading(mut self) -> Self {
        self.leads_since = Some(Instant::now());
        self
    }

    /// Runs until the reason to exit with is known.
    pub(crate) async fn run(mut self) -> Reason {
        let end = AssertUnwindSafe(self.work()).catch_unwind().await.unwrap_or_else(|panic| {
            let text = panic_text(&*panic);
            tracing::error!(pid = %self.process.pid(), module = %self.server.module(), panic = text, "a server panicked");
            End::Stopped(Reason::from_term(&tuple![atom!("panic"), text]))
        });
        match end {
            End::Ended(reason) => reason,
            End::Stopped(reason) => {
                self.server.terminate(&reason, &mut self.process).await;
                reason
            }
        }
    }

    async fn work(&mut self) -> End {
        let mut next = self.server.init(&mut self.process).await;
        loop {
            if let Next::Stop(reason) = next {
                return End::Stopped(reason);
            }
            next = match self.arrival().await {
                Ok(Arrival::Message(message)) => self.message(message).await,
                Ok(Arrival::Silence) => self.server.idle(&mut self.process).await,
                Ok(Arrival::Shutdown) => Next::Stop(Reason::shutdown()),
                Err(Ended { reason }) => return End::Ended(reason),
            };
        }
    }

    async fn arrival(&mut self) -> Result<Arrival, Ended> {
        let Self { server, process, node, suspended, finishes, .. } = self;
        let (suspended, idle_after) = (*suspended, server.idle_after());
        let message = async {
            if suspended {
                let system = process.recv_match(|message| is_for_suspended(message).then(|| message.clone()));
                return system.await.map(Arrival::Message);
            }
            match idle_after {
                Some(silence) => Ok(process.recv_timeout(silence).await?.map_or(Arrival::Silence, Arrival::Message)),
                None => process.recv().await.map(Arrival::Message),
            }
        };
        if !*finishes {
            return message.await;
        }
        tokio::select! {
            biased;
            () = node.shutting_down() => Ok(Arrival::Shutdown),
            message = message => message,
        }
    }

    async fn message(&mut self, message: Message) -> Next {
        let Message::Sent(payload) = message else { return self.server.handle_info(message, &mut self.process).await };
        match Envelope::of(&payload) {
            Envelope::Call(from, request) => self.call(request, from).await,
            Envelope::Cast(request) => match request.decode() {
                Ok(request) => self.server.handle_cast(request, &mut self.process).await,
                Err(error) => self.unreadable(&request, &error, None),
            },
            Envelope::System(from, request) => self.system(&from, &request),
            Envelope::Other => self.server.handle_info(Message::Sent(payload), &mut self.process).await,
        }
    }

    async fn call(&mut self, request: Payload, from: ReplyTo) -> Next {
        if let Some(since) = self.leads_since
            && request.reader().atom().is_ok_and(|request| request == "time_alive")
        {
            from.reply_soon(&self.process, &u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
            return Next::Continue;
        }
        let request = match request.decode() {
            Ok(request) => request,
            Err(error) => return self.unreadable(&request, &error, Some(&from)),
        };
        match self.server.handle_call(request, from.clone(), &mut self.process).await {
            Answer::Reply(reply) => from.reply_soon(&self.process, &reply),
            Answer::Later => {}
            Answer::Stop(reason, reply) => {
                if let Some(reply) = reply {
                    from.reply_soon(&self.process, &reply);
                }
                return Next::Stop(reason);
            }
        }
        Next::Continue
    }

    /// A request of another type; with the caller, where it was a call.
    fn unreadable(&mut self, request: &Payload, error: &DecodeError, from: Option<&ReplyTo>) -> Next {
        let verdict = self.server.unreadable(request, error);
        let (pid, module) = (self.process.pid(), self.server.module());
        let by = from.map(|from| from.pid().to_string());
        tracing::warn!(%pid, %module, by, %error, ?verdict, "a request that this server does not take");
        let what = if from.is_some() { atom!("bad_call") } else { atom!("bad_cast") };
        match (verdict, from) {
            (Unreadable::Crash, _) => return Next::Stop(fault(what, error)),
            (Unreadable::Refuse, Some(from)) => drop(from.dismiss(&self.process, &fault(what, error))),
            (Unreadable::Refuse | Unreadable::Ignore, _) => {}
        }
        Next::Continue
    }

    fn system(&mut self, from: &ReplyTo, request: &Payload) -> Next {
        let Self { server, process, suspended, .. } = self;
        let look = sys::Look { process, from, module: server.module(), state: &|| server.state() };
        let (reply, verdict) = look.answer(request, *suspended);
        from.reply_payload_soon(process, &reply);
        match verdict {
            Verdict::Stay => Next::Continue,
            Verdict::Suspended(now) => {
                *suspended = now;
                Next::Continue
            }
            Verdict::Terminate(reason) => Next::Stop(reason),
        }
    }
}

fn is_for_suspended(message: &Message) -> bool {
    matches!(message, Message::Sent(payload) if matches!(Envelope::of(payload), Envelope::System(..)))
}

/// A [`GenServer`] under a name: what [`Node::install`] takes.
pub(crate) struct Named<S>(pub(crate) Atom, pub(crate) S);

impl<S: GenServer> Service for Named<S> {
    fn name(&self) -> Atom {
        self.0.clone()
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        Box::pin(serve(process, self.1))
    }
}
