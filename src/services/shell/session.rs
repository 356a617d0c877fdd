//! One terminal that talks to this node: prompt, line, answer.
//!
//! The process waits for answers of its group leader without a limit of time, as nobody else can say
//! how long a person takes, or a terminal that was stopped with control-S. It has a monitor on it
//! instead, so that it ends with the client, its node or the connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::builtins::{self, LEAVING};
use super::command::{CommandError, Commands, Invocation};
use super::line::{self, Line as Typed};
use super::text::show;
use crate::etf::{Pid, Ref, Term};
use crate::node::{Ended, Message, Node, Process, Reason};
use crate::services::io::{self, InputError, Line, io_reply, io_request, line_of};
use crate::tuple;

/// A session, for as long as it lasts.
pub(super) struct Session {
    process: Process,
    node: Node,
    leader: Pid,
    commands: Arc<Commands>,
    /// What has come that is nothing of ours: for the command `flush`.
    inbox: VecDeque<Message>,
    /// What the session hangs on: the monitors of the group leader and of the service.
    watched: Vec<Ref>,
}

/// What happens to a session besides answers.
enum Event {
    /// Control-C, or `i` at the client's job control.
    Interrupt,
    /// The session is over.
    End(Reason),
}

impl Session {
    pub(super) fn new(process: Process, leader: Pid, commands: Arc<Commands>) -> Self {
        let node = process.node();
        Self { process, node, leader, commands, inbox: VecDeque::new(), watched: Vec::new() }
    }

    /// Talks until either side leaves.
    pub(super) async fn run(mut self, service: Pid, args: Vec<Term>) -> Reason {
        // Interrupts are exit signals of the group leader.
        self.process.trap_exits(true);
        for pid in [&self.leader, &service] {
            match self.process.monitor(pid).await {
                Ok(monitor) => self.watched.push(monitor),
                Err(error) => tracing::debug!(%pid, %error, "a shell without a monitor"),
            }
        }
        let reason = match self.talk(&args).await {
            Event::End(reason) => reason,
            Event::Interrupt => Reason::normal(),
        };
        tracing::info!(leader = %self.leader, %reason, "a shell is closed");
        reason
    }

    async fn talk(&mut self, args: &[Term]) -> Event {
        self.let_iex_begin(args).await;
        if let Err(event) = self.print(HELLO).await {
            return event;
        }
        let mut number = 1;
        loop {
            let prompt = format!("gusset({}){number}> ", self.node.name());
            let line = match self.ask(io::line_request(&prompt)).await.map(line_of) {
                Ok(Ok(Line::Text(line))) => line,
                Ok(Ok(Line::Eof)) => return Event::End(Reason::normal()),
                Ok(Err(InputError::Refused(why))) if why.is_atom("interrupted") => continue,
                Ok(Err(error)) => {
                    tracing::info!(leader = %self.leader, %error, "a shell has no input");
                    return Event::End(Reason::normal());
                }
                Err(Event::Interrupt) => continue,
                Err(end) => return end,
            };
            if line.trim().is_empty() {
                continue;
            }
            number += 1;
            match self.answer(&line).await {
                Ok(()) | Err(Event::Interrupt) => {}
                Err(end) => return end,
            }
        }
    }

    /// iex runs what its command line asks for (`-e`, `-r`) while the shell waits (`iex:sync_remote/2`,
    /// in older Elixir `IEx.CLI.remote_start/2`); erl has no such arguments.
    async fn let_iex_begin(&mut self, args: &[Term]) {
        let [_, mfa] = args else { return };
        let Some([_, _, Term::List(sync)]) = mfa.as_tuple_of() else { return };
        let [Term::Pid(parent), reference] = sync.as_slice() else { return };
        let begin = tuple![crate::atom!("begin"), reference.clone(), self.process.pid()];
        if self.process.send(parent, &begin).await.is_err() {
            return;
        }
        let done = |message: &Message| {
            let term = message.payload()?.term().ok()?;
            let [done, of] = term.as_tuple_of()?;
            (done.is_atom("done") && of == reference).then_some(())
        };
        if tokio::time::timeout(IEX_BEGINS, self.process.recv_match(done)).await.is_err() {
            tracing::debug!(%parent, timeout = ?IEX_BEGINS, "iex is busy with its command line; the shell begins");
        }
    }

    /// Does what a line asks for, and prints the outcome.
    async fn answer(&mut self, line: &str) -> Result<(), Event> {
        if line.len() > LONGEST_LINE {
            return self.print(&format!("** a line has at most {LONGEST_LINE} bytes\n")).await;
        }
        let commands = self.commands.clone();
        let outcome = match line::read(line, |name| commands.get(name).is_some()) {
            Ok(Typed::Empty) => return Ok(()),
            Ok(Typed::Command(name, _)) if LEAVING.contains(&name) => {
                self.print(GOODBYE).await?;
                return Err(Event::End(Reason::normal()));
            }
            Ok(Typed::Command("flush", _)) => Ok(self.flush()),
            Ok(Typed::Command(name, text)) => match commands.get(name).cloned() {
                Some(command) => {
                    let text = text.to_owned();
                    let all = commands.clone();
                    self.run_command(move |process| command.run(Invocation::new(process, &text, all))).await?
                }
                None => Ok(String::new()),
            },
            Ok(Typed::Call(call)) => self.run_command(move |process| builtins::run(process, None, call)).await?,
            Ok(Typed::Term(text)) => match text.parse::<Term>() {
                Ok(term) => Ok(show(&term)),
                Err(error) => Err(format!("{error}\n   `help` lists the commands").into()),
            },
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(text) if text.is_empty() => Ok(()),
            Ok(text) => self.print(&format!("{text}\n")).await,
            Err(error) => self.print(&format!("** {}\n", show(&error))).await,
        }
    }

    /// Runs a command in a process of its own, whose group leader is the terminal, until it is done or
    /// interrupted.
    async fn run_command<R>(
        &mut self,
        run: impl FnOnce(Process) -> R + Send + 'static,
    ) -> Result<Result<String, CommandError>, Event>
    where
        R: Future<Output = Result<String, CommandError>> + Send + 'static,
    {
        let (done, mut outcome) = oneshot::channel();
        let leader = self.leader.clone();
        let worker = self.node.spawn_labelled("shell: command", move |process| {
            process.set_group_leader(leader);
            async move {
                // Nobody waits where the session has ended.
                let _ = done.send(run(process).await);
                Reason::normal()
            }
        });
        let worker = Worker { node: self.node.clone(), pid: worker };
        loop {
            tokio::select! {
                outcome = &mut outcome => {
                    return Ok(outcome.unwrap_or_else(|_| Err("the command was ended; the log may say why".into())));
                }
                message = self.process.recv() => match self.event(message) {
                    None => {}
                    Some(Event::Interrupt) => {
                        drop(worker);
                        return Ok(Err("interrupted".into()));
                    }
                    Some(end) => return Err(end),
                },
            }
        }
    }

    async fn print(&mut self, text: &str) -> Result<(), Event> {
        if text.is_empty() {
            return Ok(());
        }
        self.ask(io::put_request(text)).await.map(drop)
    }

    /// A request to the group leader, and its answer.
    async fn ask(&mut self, request: Term) -> Result<Term, Event> {
        let mark = self.node.make_ref();
        let sent = match io_request(self.process.pid(), &mark, request) {
            Ok(message) => self.process.forward(&self.leader, &message).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(leader = %self.leader, %error, "a shell cannot reach its terminal");
            return Err(Event::End(Reason::noconnection()));
        }
        loop {
            let message = self.process.recv().await;
            if let Ok(Message::Sent(payload)) = &message
                && let Some(answer) = io_reply(payload, &mark)
            {
                return Ok(answer);
            }
            match self.event(message) {
                // What is interrupted is answered, too: `{error, interrupted}`, or `ok` for output.
                None | Some(Event::Interrupt) => {}
                Some(end) => return Err(end),
            }
        }
    }

    /// What a message means that is no answer; others are kept for `flush`.
    fn event(&mut self, message: Result<Message, Ended>) -> Option<Event> {
        match message {
            Err(ended) => Some(Event::End(ended.reason)),
            Ok(Message::Exit { reason, .. }) if reason.is("interrupt") => Some(Event::Interrupt),
            Ok(Message::Exit { reason, .. }) => Some(Event::End(reason)),
            Ok(Message::Down { reference, reason, .. }) if self.watched.contains(&reference) => {
                Some(Event::End(reason))
            }
            Ok(other) => {
                if self.inbox.len() == MOST_KEPT {
                    self.inbox.pop_front();
                }
                self.inbox.push_back(other);
                None
            }
        }
    }

    fn flush(&mut self) -> String {
        let messages = self.inbox.drain(..);
        let lines: Vec<_> = messages
            .map(|message| match message.term() {
                Ok(term) => format!("Shell got {}", show(&term)),
                Err(error) => format!("Shell got what cannot be shown: {error}"),
            })
            .collect();
        if lines.is_empty() { "nothing has come".to_owned() } else { lines.join("\n") }
    }
}

/// The process of a command. It ends with whoever waits for it, also where that one is killed.
struct Worker {
    node: Node,
    pid: Pid,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.node.exit(&self.pid, &Reason::kill());
    }
}

const HELLO: &str = concat!(
    "gusset ",
    env!("CARGO_PKG_VERSION"),
    ": a node written in Rust, with a small shell of its own. `help` lists its commands.\n"
);
/// Clients stay where they are when a shell ends.
const GOODBYE: &str = "The session ends. Leave erl or iex with control-G, q and return.\n";
/// How long the shell waits for an iex that is busy with its own command line.
const IEX_BEGINS: Duration = Duration::from_secs(5);
/// What a person types or pastes is shorter.
const LONGEST_LINE: usize = 64 << 10;
/// Messages that wait for `flush`; then the oldest go.
const MOST_KEPT: usize = 1000;
