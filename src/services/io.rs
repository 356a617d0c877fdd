//! The io protocol ("The Erlang I/O Protocol" of the STDLIB user's guide): where output of processes
//! goes whose group leader lives on this node. There is nothing to read from: input is `eof`.

mod client;

use std::time::Duration;

pub use client::{InputError, Line, get_line, put_chars};
pub(crate) use client::{flush, io_reply, io_request, line_of, line_request, put_request};

use super::format::{characters, format};
use super::gen_server::ReplyTo;
use super::server::{Answer, GenServer, Next};
use crate::etf::{Atom, Payload, Pid, Term};
use crate::node::{Message, Process};
use crate::{atom, list, tuple};

/// Where output goes.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Into the log of this process, line by line.
    Log,
    /// To a C node that waits for the result of a call, as `{rex_stdout, Text}` (`rpc.erl`).
    Process(Pid),
}

/// A group leader.
#[derive(Debug)]
pub(crate) struct IoServer {
    sink: Sink,
    /// A line that is not complete yet.
    line: String,
    /// What the current requests have printed.
    printed: String,
}

impl IoServer {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, line: String::new(), printed: String::new() }
    }

    /// Carries out a request, and gives what is to be replied.
    fn request(&mut self, request: &Term) -> Term {
        let parts = match request {
            Term::Atom(what) if what == "getopts" => {
                return list![tuple![atom!("binary"), true], tuple![atom!("encoding"), atom!("unicode")]];
            }
            Term::Tuple(parts) => parts.as_slice(),
            _ => return error("request"),
        };
        let Some((Term::Atom(what), args)) = parts.split_first() else { return error("request") };
        match (what.as_str(), args) {
            ("put_chars", [encoding, chars]) => self.put(characters(chars, encoding.is_atom("latin1"))),
            ("put_chars", [_, module, function, Term::List(args)]) => self.put(call_for_text(module, function, args)),
            // The form before unicode: always latin-1.
            ("put_chars", [chars]) => self.put(characters(chars, true)),
            ("put_chars", [module, function, Term::List(args)]) => self.put(call_for_text(module, function, args)),
            ("get_line" | "get_chars" | "get_until", [_, ..]) => Term::Atom(atom!("eof")),
            ("get_password" | "get_geometry", [_]) => error("enotsup"),
            ("setopts", [Term::List(_)]) => Term::Atom(atom!("ok")),
            ("requests", [Term::List(requests)]) => {
                let mut result = Term::Atom(atom!("ok"));
                for request in requests {
                    // One level, so that nothing recurses on what somebody sent.
                    let nested = matches!(request, Term::Tuple(parts) if parts.first().is_some_and(|what| what.is_atom("requests")));
                    result = if nested { error("request") } else { self.request(request) };
                    if matches!(&result, Term::Tuple(parts) if parts.first().is_some_and(|tag| tag.is_atom("error"))) {
                        break;
                    }
                }
                result
            }
            _ => error("request"),
        }
    }

    fn put(&mut self, text: Option<String>) -> Term {
        match text {
            Some(text) => {
                self.printed.push_str(&text);
                Term::Atom(atom!("ok"))
            }
            None => error("put_chars"),
        }
    }

    /// Passes on what has been printed.
    async fn pass_on(&mut self, from: &Pid, process: &Process) {
        let printed = std::mem::take(&mut self.printed);
        if printed.is_empty() {
            return;
        }
        match &self.sink {
            Sink::Process(to) => {
                let message = Payload::from_term(&tuple![atom!("rex_stdout"), printed]);
                if let Ok(message) = message
                    && let Err(error) = process.forward(to, &message).await
                {
                    tracing::debug!(%to, %error, "output did not get away");
                }
            }
            Sink::Log => {
                self.line.push_str(&printed);
                let (whole, rest) = match self.line.rsplit_once('\n') {
                    Some((whole, rest)) => (Some(whole), rest),
                    None => (None, self.line.as_str()),
                };
                for line in whole.into_iter().flat_map(|whole| whole.split('\n')) {
                    log(line, Some(from));
                }
                let rest = rest.to_owned();
                self.line = rest;
                if self.line.len() > LONGEST_LINE {
                    self.end_line();
                }
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            log(&std::mem::take(&mut self.line), None);
        }
    }
}

impl GenServer for IoServer {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, _request: Payload, _from: ReplyTo, _process: &mut Process) -> Answer<Term> {
        Answer::Later
    }

    async fn handle_info(&mut self, message: Message, process: &mut Process) -> Next {
        let Message::Sent(payload) = message else { return Next::Continue };
        let term = match payload.term() {
            Ok(term) => term,
            Err(error) => {
                tracing::warn!(%error, "an io request that cannot be read");
                return Next::Continue;
            }
        };
        let Term::Tuple(parts) = term else { return Next::Continue };
        let Ok([what, Term::Pid(from), reply_as, request]) = <[Term; 4]>::try_from(parts) else {
            return Next::Continue;
        };
        if !what.is_atom("io_request") {
            return Next::Continue;
        }
        let result = self.request(&request);
        self.pass_on(&from, process).await;
        let reply = tuple![atom!("io_reply"), reply_as, result];
        if let Ok(reply) = Payload::from_term(&reply)
            && let Err(error) = process.forward(&from, &reply).await
        {
            tracing::debug!(to = %from, %error, "an io reply did not get away");
        }
        Next::Continue
    }

    fn idle_after(&self) -> Option<Duration> {
        (!self.line.is_empty()).then_some(UNFINISHED_LINE)
    }

    async fn idle(&mut self, _process: &mut Process) -> Next {
        self.end_line();
        Next::Continue
    }

    fn module(&self) -> Atom {
        atom!("user")
    }
}

/// The text that a function of the asking node would give: those of `io_lib` that are known here.
pub(crate) fn call_for_text(module: &Term, function: &Term, args: &[Term]) -> Option<String> {
    let known = module.is_atom("io_lib");
    match (function.as_atom()?.as_str(), args) {
        ("format" | "fwrite", [control, Term::List(args)]) if known => {
            let control = match control {
                Term::Atom(control) => control.as_str().to_owned(),
                control => characters(control, false)?,
            };
            format(&control, args).ok()
        }
        // With options: how many characters to print at most is a wish, not a promise.
        ("format" | "fwrite", [control, args @ Term::List(_), Term::List(_)]) if known => {
            call_for_text(module, &Term::Atom(atom!("format")), &[control.clone(), args.clone()])
        }
        ("write", [term]) if known => format("~w", std::slice::from_ref(term)).ok(),
        ("print", [term]) if known => format("~p", std::slice::from_ref(term)).ok(),
        ("nl", []) if known => Some("\n".to_owned()),
        _ => None,
    }
}

fn error(reason: &'static str) -> Term {
    tuple![atom!("error"), Atom::from_static(reason)]
}

fn log(line: &str, from: Option<&Pid>) {
    match from {
        Some(from) => tracing::info!(target: "erlang_io", %from, "{line}"),
        None => tracing::info!(target: "erlang_io", "{line}"),
    }
}

/// A line that does not end is printed after so much silence: a prompt, or a row of dots.
const UNFINISHED_LINE: Duration = Duration::from_millis(200);
/// A line beyond this is printed in pieces, so that output without line ends is not collected.
const LONGEST_LINE: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: Term) -> (String, String) {
        let mut server = IoServer::new(Sink::Log);
        let result = server.request(&request).to_string();
        (result, server.printed)
    }

    fn answer(result: &str, printed: &str) -> (String, String) {
        (result.to_owned(), printed.to_owned())
    }

    #[test]
    fn output_in_every_form_is_text() {
        let (unicode, put) = (atom!("unicode"), atom!("put_chars"));
        assert_eq!(ask(tuple![&put, &unicode, "grün"]), answer("ok", "grün"));
        assert_eq!(ask(tuple![&put, &unicode, list![Term::charlist("a"), list!["b", 252]]]), answer("ok", "abü"));
        assert_eq!(ask(tuple![&put, Term::binary(vec![0xfc])]), answer("ok", "ü"));
        let args = list![Term::charlist("~s=~p~n"), list![Term::charlist("x"), list![1, 2]]];
        assert_eq!(ask(tuple![&put, &unicode, atom!("io_lib"), atom!("format"), args]), answer("ok", "x=[1,2]\n"));
        let bad = tuple![&put, &unicode, atom!("io_lib"), atom!("format"), list![Term::charlist("~p"), list![]]];
        assert_eq!(ask(bad), answer("{error,put_chars}", ""));
        let other = tuple![&put, &unicode, atom!("os"), atom!("cmd"), list![Term::charlist("ls")]];
        assert_eq!(ask(other), answer("{error,put_chars}", ""));
    }

    #[test]
    fn there_is_no_input_and_no_terminal() {
        assert_eq!(ask(tuple![atom!("get_line"), atom!("unicode"), Term::charlist("> ")]), answer("eof", ""));
        assert_eq!(ask(tuple![atom!("get_geometry"), atom!("columns")]), answer("{error,enotsup}", ""));
        assert_eq!(ask(Term::Atom(atom!("getopts"))), answer("[{binary,true},{encoding,unicode}]", ""));
        assert_eq!(ask(tuple![atom!("setopts"), list![]]), answer("ok", ""));
        assert_eq!(ask(tuple![atom!("juggle"), 7]), answer("{error,request}", ""));
    }

    #[test]
    fn of_several_requests_the_last_counts_up_to_the_first_error() {
        let put = |text: &str| tuple![atom!("put_chars"), atom!("unicode"), text];
        let all = tuple![atom!("requests"), list![put("a"), put("b"), Term::Atom(atom!("getopts"))]];
        assert_eq!(ask(all), answer("[{binary,true},{encoding,unicode}]", "ab"));
        let stopped = tuple![atom!("requests"), list![put("a"), atom!("what"), put("b")]];
        assert_eq!(ask(stopped), answer("{error,request}", "a"));
    }
}
