//! `rex`: calls of C nodes and of `erl_call`, blocking calls, casts of OTP 23, and what is left of the
//! server behind `rpc` (`rpc.erl`).

use tokio::sync::{mpsc, oneshot};

use super::erpc::MAX_ARGS;
use super::functions::{apply, reason_after};
use super::gen_server::ReplyTo;
use super::io::{self, IoServer};
use super::server::{Answer, GenServer, Next};
use crate::etf::{Atom, Payload, Pid, Term};
use crate::node::{Class, Exception, Message, Node, Process, Reason, SendError, Target};
use crate::{atom, list, tuple};

/// The server of that name.
pub(crate) struct Rex {
    node: Node,
    /// Where blocking calls wait for each other.
    blocking: mpsc::UnboundedSender<(Call, Caller)>,
}

impl Rex {
    pub(crate) fn new(node: &Node) -> Self {
        let (blocking, mut queue) = mpsc::unbounded_channel::<(Call, Caller)>();
        let worker = node.clone();
        node.spawn_task(async move {
            loop {
                tokio::select! {
                    () = worker.shutting_down() => return,
                    next = queue.recv() => match next {
                        Some((call, caller)) => call.run(&worker, caller).await,
                        None => return,
                    },
                }
            }
        });
        Self { node: node.clone(), blocking }
    }
}

impl GenServer for Rex {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, request: Payload, from: ReplyTo, _process: &mut Process) -> Answer<Term> {
        let request = match request.term() {
            Ok(request) => request,
            // Whoever calls may wait for ever.
            Err(error) => {
                tracing::warn!(by = %from.pid(), %error, "a call that cannot be read");
                return Answer::Reply(badrpc(Err(Exception::badarg())));
            }
        };
        let Some((kind, call)) = Call::parse(request) else { return Answer::Later };
        let caller = Caller::Gen(from);
        match kind.as_str() {
            "call" => call.spawn(&self.node, caller),
            "block_call" => drop(self.blocking.send((call, caller))),
            _ => {}
        }
        Answer::Later
    }

    async fn handle_cast(&mut self, request: Payload, _process: &mut Process) -> Next {
        match request.term().ok().and_then(Call::parse) {
            Some((kind, call)) if kind == "cast" => call.cast(&self.node),
            _ => {}
        }
        Next::Continue
    }

    async fn handle_info(&mut self, message: Message, process: &mut Process) -> Next {
        let Message::Sent(payload) = message else { return Next::Continue };
        let Ok(Term::Tuple(parts)) = payload.term() else { return Next::Continue };
        let Ok([Term::Pid(from), request]) = <[Term; 2]>::try_from(parts) else { return Next::Continue };
        self.plain(from, request, process).await;
        Next::Continue
    }

    fn state(&self) -> Term {
        Term::map([])
    }

    fn module(&self) -> Atom {
        atom!("rpc")
    }
}

impl Rex {
    /// `{From, Request}`: what C nodes send, and what needs no `gen_server` envelope.
    async fn plain(&self, from: Pid, request: Term, process: &Process) {
        let own = self.node.name().as_atom();
        let answer = match request {
            Term::Atom(what) if what == "features_request" => {
                tuple![atom!("features_reply"), own, list![atom!("erpc")]]
            }
            Term::Tuple(parts) => match parts.as_slice() {
                [what, Term::Atom(name), message] if what.is_atom("sbcast") => {
                    let result = match self.deliver(process, name, message).await {
                        true => Term::Atom(own.clone()),
                        false => tuple![atom!("nonexisting_name"), name],
                    };
                    tuple![atom!("rex"), own, result]
                }
                [what, Term::Atom(name), message] if what.is_atom("send") => {
                    if self.deliver(process, name, &tuple![&from, message.clone()]).await {
                        return; // the receiver answers
                    }
                    tuple![atom!("rex"), own, tuple![atom!("nonexisting_name"), name]]
                }
                _ => match Call::parse(Term::Tuple(parts)) {
                    Some((kind, call)) if kind == "call" => return call.spawn(&self.node, Caller::Plain(from)),
                    _ => return,
                },
            },
            _ => return,
        };
        send(process, Target::Pid(from), &answer).await;
    }

    async fn deliver(&self, process: &Process, name: &Atom, message: &Term) -> bool {
        let there = self.node.whereis(name.as_str()).is_some();
        if there {
            send(process, Target::Name(name.clone()), message).await;
        }
        there
    }
}

/// Who waits for the result of a call.
#[derive(Debug)]
enum Caller {
    /// With the envelope of a `gen_server`.
    Gen(ReplyTo),
    /// A C node: gets `{rex, Result}`.
    Plain(Pid),
}

impl Caller {
    fn pid(&self) -> &Pid {
        match self {
            Self::Gen(from) => from.pid(),
            Self::Plain(pid) => pid,
        }
    }

    async fn reply(&self, process: &Process, result: &Term) {
        match self {
            Self::Plain(pid) => send(process, Target::Pid(pid.clone()), &tuple![atom!("rex"), result.clone()]).await,
            Self::Gen(from) => match Payload::from_term(result) {
                Ok(result) => {
                    if let Err(error) = from.reply_payload(process, &result).await {
                        tracing::debug!(to = %from.pid(), %error, "the result of a call did not get away");
                    }
                }
                Err(error) => tracing::error!(to = %from.pid(), %error, "the result of a call cannot be encoded"),
            },
        }
    }
}

/// `{Kind, M, F, Args, GroupLeader}`.
#[derive(Debug)]
struct Call {
    module: Atom,
    function: Atom,
    args: Vec<Term>,
    output: Output,
}

/// Where the function's output goes.
#[derive(Debug, PartialEq)]
enum Output {
    /// To a group leader.
    Leader(Pid),
    /// To our own `user`.
    User,
    /// To the caller, as `{rex_stdout, Text}`.
    Caller,
}

impl Call {
    fn parse(request: Term) -> Option<(Atom, Self)> {
        let Term::Tuple(parts) = request else { return None };
        let [Term::Atom(kind), Term::Atom(module), Term::Atom(function), args, leader]: [Term; 5] =
            parts.try_into().ok()?
        else {
            return None;
        };
        let Term::List(args) = args else { return None };
        let output = match leader {
            Term::Pid(leader) => Output::Leader(leader),
            leader if leader.is_atom("send_stdout_to_caller") => Output::Caller,
            _ => Output::User,
        };
        Some((kind, Self { module, function, args: args.into_vec(), output }))
    }

    fn spawn(self, node: &Node, caller: Caller) {
        let worker = node.clone();
        node.spawn_task(async move { self.run(&worker, caller).await });
    }

    /// Runs the function in a process of its own, and replies whatever becomes of that process.
    async fn run(self, node: &Node, caller: Caller) {
        let mut clerk = node.process_labelled("rex call");
        let output = match &self.output {
            Output::Leader(leader) => Some(leader.clone()),
            Output::User => node.whereis("user"),
            Output::Caller => {
                let server = IoServer::new(io::Sink::Process(caller.pid().clone()));
                Some(node.spawn_labelled("rex stdout", |process| super::serve::serve(process, server)))
            }
        };
        let (result, outcome) = oneshot::channel();
        let label = format!("{}:{}/{}", self.module, self.function, self.args.len());
        let leader = output.clone();
        let pid = node.spawn_labelled(&label, |process| async move {
            if let Some(leader) = leader {
                process.set_group_leader(leader);
            }
            let outcome = if self.args.len() > MAX_ARGS {
                Err(Exception::error(Term::Atom(atom!("system_limit"))))
            } else {
                apply(process, &self.module, &self.function, self.args).await
            };
            drop(result.send(outcome));
            Reason::normal()
        });
        let monitor = clerk.monitor(&pid).await;
        let result = match outcome.await {
            Ok(outcome) => badrpc(outcome),
            // It was ended from outside.
            Err(_) => {
                let ended = clerk.recv_match(|message| match message {
                    Message::Down { reference, reason, .. } if monitor.as_ref().is_ok_and(|own| own == reference) => {
                        Some(reason.clone())
                    }
                    _ => None,
                });
                let reason = ended.await.ok().and_then(|reason| reason.term().ok());
                badrpc(Err(Exception::exit(reason.unwrap_or(Term::Atom(atom!("killed"))))))
            }
        };
        if let (Output::Caller, Some(server)) = (&self.output, output) {
            io::flush(&mut clerk, &server).await;
            node.exit(&server, &Reason::shutdown());
        }
        caller.reply(&clerk, &result).await;
    }

    fn cast(self, node: &Node) {
        let label = format!("{}:{}/{}", self.module, self.function, self.args.len());
        let leader = match self.output {
            Output::Leader(leader) => Some(leader),
            _ => node.whereis("user"),
        };
        node.spawn_labelled(&label, |process| async move {
            if let Some(leader) = leader {
                process.set_group_leader(leader);
            }
            let outcome = apply(process, &self.module, &self.function, self.args).await;
            if let Err(exception) = &outcome {
                tracing::warn!(module = %self.module, function = %self.function, %exception, "a cast function failed");
            }
            reason_after(outcome)
        });
    }
}

/// The result of a call as `rpc:call/4` gives it (`rpc.erl:rpcify_exception/2`).
fn badrpc(outcome: Result<Term, Exception>) -> Term {
    let badrpc = |exit: Term| tuple![atom!("badrpc"), exit];
    let exit = |reason: Term| badrpc(tuple![atom!("EXIT"), reason]);
    match outcome {
        Ok(value) | Err(Exception { class: Class::Throw, reason: value, .. }) => match &value {
            Term::Tuple(parts) if matches!(parts.as_slice(), [tag, _] if tag.is_atom("EXIT")) => badrpc(value),
            _ => value,
        },
        Err(Exception { class: Class::Exit, reason, .. }) => exit(reason),
        Err(Exception { class: Class::Error, reason, stack }) => exit(tuple![reason, stack]),
    }
}

async fn send(process: &Process, to: Target, message: &Term) {
    let sent = match Payload::from_term(message) {
        Ok(payload) => process.forward(&to, &payload).await,
        Err(error) => Err(SendError::from(error)),
    };
    if let Err(error) = sent {
        tracing::debug!(?to, %error, "an answer did not get away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_as_rpc_tells_them() {
        let text = |outcome| badrpc(outcome).to_string();
        assert_eq!(text(Ok(Term::from(7))), "7");
        assert_eq!(text(Err(Exception::throw(Term::from(7)))), "7");
        assert_eq!(text(Err(Exception::exit(Term::from(7)))), "{badrpc,{'EXIT',7}}");
        assert_eq!(text(Ok(tuple![atom!("EXIT"), 7])), "{badrpc,{'EXIT',7}}");
        let undef = Exception::undef(&atom!("m"), &atom!("f"), Vec::new());
        assert_eq!(text(Err(undef)), "{badrpc,{'EXIT',{undef,[{m,f,[],[]}]}}}");
    }

    #[test]
    fn calls_name_where_their_output_goes() {
        let parse = |leader: Term| {
            let request = tuple![atom!("call"), atom!("m"), atom!("f"), list![1], leader];
            Call::parse(request).unwrap().1.output
        };
        assert_eq!(parse(atom!("user").into()), Output::User);
        assert_eq!(parse(atom!("send_stdout_to_caller").into()), Output::Caller);
        assert!(Call::parse(tuple![atom!("call"), atom!("m"), 7, list![], atom!("user")]).is_none());
    }
}
