//! A small shell for `erl -remsh` and `iex --remsh`: commands about this node, calls of what is exported
//! here, terms that stand for themselves.
//!
//! A client calls `shell:start()` (erl) or `iex:start(Opts, MFA)` by `erpc` in a process whose group
//! leader is its terminal, gets a pid, and links with it (`group.erl:start_shell/1`, `iex.erl`). That
//! process is a session: it asks for lines by the io protocol and prints. Editing and history are the
//! client's; what the tab key completes it asks for by `edlin_expand:expand` or `IEx.Autocomplete`.

mod builtins;
mod command;
mod complete;
mod line;
mod session;
mod text;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use command::{CommandError, Invocation};

use self::command::Commands;
use self::session::Session;
use super::functions::{Arity, CallContext};
use super::gen_server::ReplyTo;
use super::serve::serve;
use super::server::{Answer, GenServer};
use super::system_info::version_text;
use crate::etf::{Atom, Payload, Term};
use crate::node::{Exception, Node, Process, Reason, Service};
use crate::{atom, tuple};

/// The shell that other nodes can open on this one. A [`Service`]: without it, `erl -remsh` and
/// `iex --remsh` are refused. Whoever has the cookie can use it, as with a BEAM.
///
/// ```no_run
/// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use gusset::services::Shell;
///
/// let shell = Shell::new().command("queue", "queue [LIMIT]: what waits", |invocation| async move {
///     let limit = invocation.words().next().map_or(Ok(10), str::parse::<usize>)?;
///     Ok(format!("{limit} of 0 jobs"))
/// });
/// node.install(shell)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Shell {
    commands: Commands,
}

impl Shell {
    /// With the standard commands.
    pub fn new() -> Self {
        let mut commands = Commands::default();
        builtins::add(&mut commands);
        Self { commands }
    }

    /// Adds a command, or replaces the one of that name. `help` is a line: how it is typed, then what it
    /// does (`"queue [LIMIT]: what waits"`). What it returns is printed; meanwhile it can
    /// [`print`](Invocation::print). It runs in a process of its own, which ends when it is
    /// interrupted or the client goes.
    #[must_use]
    pub fn command<F, R, T>(mut self, name: &str, help: &str, run: F) -> Self
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, CommandError>> + Send + 'static,
        T: std::fmt::Display,
    {
        self.commands.add(name, help, run);
        self
    }

    /// Adds a line to what the command `info` shows.
    #[must_use]
    pub fn fact(mut self, name: &str, tell: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.commands.facts.push((name.to_owned(), Arc::new(tell)));
        self
    }
}

impl Service for Shell {
    fn name(&self) -> Atom {
        SERVICE
    }

    fn run(self: Box<Self>, process: Process) -> BoxFuture<'static, Reason> {
        // Before anything is awaited: when `install` returns, the shell is there.
        export(&process.node(), &Arc::new(self.commands));
        Box::pin(serve(process, Open))
    }
}

/// The process under the name; while it lives, sessions do.
struct Open;

impl GenServer for Open {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, _: Payload, _: ReplyTo, _: &mut Process) -> Answer<Term> {
        Answer::Later
    }

    fn module(&self) -> Atom {
        SERVICE
    }
}

/// The registered name of the service.
const SERVICE: Atom = atom!("gusset_shell");

/// True where the shell is there.
pub(super) fn is_open(node: &Node) -> bool {
    node.whereis(SERVICE.as_str()).is_some()
}

/// Modules that clients ask for (`code:ensure_loaded/1`) before they open a shell.
pub(super) fn is_of_a_shell(module: &Atom) -> bool {
    ["shell", "iex", "Elixir.IEx", "edlin_expand", "Elixir.IEx.Autocomplete"].contains(&module.as_str())
}

/// Lets clients know that there is no shell: what `erl -remsh` starts without asking whether it is there.
pub(super) fn export_refusal(node: &Node) {
    for function in [atom!("start"), atom!("start_interactive")] {
        node.export(atom!("shell"), function, Arity::Any, |context, _| refuse(context));
    }
}

/// A process that says no, and ends. An error would only be seen by those who do not ask for a shell to
/// talk to: erl drops it, and could not print while it waits for this answer.
async fn refuse(mut context: CallContext) -> Result<Term, Exception> {
    let leader = context.process().group_leader();
    let pid = context.node().spawn_labelled("shell: refusal", |mut process| async move {
        if let Some(leader) = leader {
            process.set_group_leader(leader);
        }
        match super::io::put_chars(&mut process, &format!("{}{NO_SHELL}\n", version_text())).await {
            Ok(()) => Reason::normal(),
            Err(ended) => ended,
        }
    });
    Ok(Term::Pid(pid))
}

const NO_SHELL: &str = "There is no shell here: call functions with rpc (gusset:functions() lists them).";

fn export(node: &Node, commands: &Arc<Commands>) {
    for (module, function) in [
        (atom!("shell"), atom!("start")),
        (atom!("shell"), atom!("start_interactive")),
        // The first one up to OTP 25, the second one from OTP 26 on.
        (atom!("Elixir.IEx"), atom!("start")),
        (atom!("iex"), atom!("start")),
    ] {
        let commands = commands.clone();
        node.export(module, function, Arity::Any, move |context: CallContext, args: Vec<Term>| {
            start(context, commands.clone(), args)
        });
    }
    for module in [atom!("edlin_expand"), atom!("Elixir.IEx.Autocomplete")] {
        let commands = commands.clone();
        node.export(module, atom!("expand"), Arity::Any, move |context: CallContext, args: Vec<Term>| {
            let completion = complete::expand(&context.node(), &commands, args.first());
            std::future::ready(Ok(completion))
        });
    }
}

/// Starts a session for the terminal that is the caller's group leader, and gives its pid.
async fn start(mut context: CallContext, commands: Arc<Commands>, args: Vec<Term>) -> Result<Term, Exception> {
    let node = context.node();
    let Some(service) = node.whereis(SERVICE.as_str()) else { return refuse(context).await };
    let Some(leader) = context.process().group_leader() else {
        return Err(Exception::error(tuple![atom!("enotsup"), "a shell needs a group leader to talk to"]));
    };
    tracing::info!(%leader, "a shell is opened");
    let pid = node.spawn_labelled("shell", move |process| {
        process.set_group_leader(leader.clone());
        Session::new(process, leader, commands).run(service, args)
    });
    Ok(Term::Pid(pid))
}
