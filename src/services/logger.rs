//! `logger_proxy` and `error_logger`: log events that other nodes send here, because the process that
//! they are about has its group leader on this node. They go into the log of this process.

use super::format::{characters, format};
use super::gen_server::ReplyTo;
use super::server::{Answer, GenServer, Next};
use crate::atom;
use crate::etf::{Atom, Payload, Term};
use crate::node::{Message, Process};

/// `logger_proxy` of OTP 21 and later (`logger_proxy.erl`).
#[derive(Debug)]
pub(crate) struct LoggerProxy;

/// `error_logger` of earlier releases and of C nodes, an event manager.
#[derive(Debug)]
pub(crate) struct ErrorLogger;

impl GenServer for LoggerProxy {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, _request: Payload, _from: ReplyTo, _process: &mut Process) -> Answer<Term> {
        Answer::Later
    }

    async fn handle_info(&mut self, message: Message, _process: &mut Process) -> Next {
        if let Some(Ok(term)) = message.payload().map(Payload::term)
            && let Some((level, text)) = event(&term)
        {
            log(level.as_str(), &text);
        }
        Next::Continue
    }

    fn module(&self) -> Atom {
        atom!("logger_proxy")
    }
}

impl GenServer for ErrorLogger {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, _request: Payload, _from: ReplyTo, _process: &mut Process) -> Answer<Term> {
        Answer::Later
    }

    async fn handle_info(&mut self, message: Message, _process: &mut Process) -> Next {
        if let Some(Ok(term)) = message.payload().map(Payload::term)
            && let Some((level, text)) = old_event(&term)
        {
            log(level, &text);
        }
        Next::Continue
    }

    fn module(&self) -> Atom {
        atom!("error_logger")
    }
}

/// `{log, Level, Format, Args, Meta}` or `{log, Level, StringOrReport, Meta}`.
fn event(term: &Term) -> Option<(Atom, String)> {
    match term.as_tuple()? {
        [log, Term::Atom(level), control, Term::List(args), _meta] if log.is_atom("log") => {
            Some((level.clone(), text_of(control, args)))
        }
        [log, Term::Atom(level), report, _meta] if log.is_atom("log") => {
            let text = match report {
                Term::Map(_) => None,
                text => characters(text, false),
            };
            Some((level.clone(), text.unwrap_or_else(|| print(report))))
        }
        _ => None,
    }
}

/// `{notify, {Type, GroupLeader, {Pid, FormatOrType, ArgsOrReport}}}`.
fn old_event(term: &Term) -> Option<(&'static str, String)> {
    let [notify, event] = term.as_tuple_of()?;
    if !notify.is_atom("notify") {
        return None;
    }
    let [Term::Atom(kind), _leader, data] = event.as_tuple_of()? else { return None };
    let [_pid, what, details] = data.as_tuple_of()?;
    let level = match kind.as_str() {
        "error" | "error_report" => "error",
        "warning_msg" | "warning_report" => "warning",
        _ => "notice",
    };
    let text = match (what, details) {
        (Term::Atom(_), report) => print(report),
        (control, Term::List(args)) => text_of(control, args),
        (_, report) => print(report),
    };
    Some((level, text))
}

fn text_of(control: &Term, args: &[Term]) -> String {
    let control = match control {
        Term::Atom(control) => Some(control.as_str().to_owned()),
        control => characters(control, false),
    };
    let text = control.as_deref().and_then(|control| format(control, args).ok());
    // As `logger` has it, what does not fit is shown as it is.
    text.unwrap_or_else(|| format!("{} {}", control.unwrap_or_default(), print(&Term::List(args.to_vec()))))
}

fn print(term: &Term) -> String {
    format("~tp", std::slice::from_ref(term)).unwrap_or_default()
}

fn log(level: &str, text: &str) {
    match level {
        "emergency" | "alert" | "critical" | "error" => tracing::error!(target: "erlang_log", level, "{text}"),
        "warning" => tracing::warn!(target: "erlang_log", level, "{text}"),
        "debug" => tracing::debug!(target: "erlang_log", level, "{text}"),
        _ => tracing::info!(target: "erlang_log", level, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{list, tuple};

    #[test]
    fn events_of_both_shapes_have_a_level_and_a_text() {
        let meta = Term::map([]);
        let formatted = tuple![atom!("log"), atom!("error"), Term::charlist("~p!"), list![7], meta.clone()];
        assert_eq!(event(&formatted), Some((atom!("error"), "7!".to_owned())));
        let string = tuple![atom!("log"), atom!("notice"), Term::charlist("hello"), meta.clone()];
        assert_eq!(event(&string), Some((atom!("notice"), "hello".to_owned())));
        let report = Term::map([(atom!("label").into(), 1.into())]);
        let reported = tuple![atom!("log"), atom!("info"), report, meta.clone()];
        assert_eq!(event(&reported), Some((atom!("info"), "#{label => 1}".to_owned())));
        let unfit = tuple![atom!("log"), atom!("error"), Term::charlist("~p"), list![], meta];
        assert_eq!(event(&unfit), Some((atom!("error"), "~p []".to_owned())));
        assert_eq!(event(&tuple![atom!("other"), 1]), None);
    }

    #[test]
    fn events_of_old_nodes_are_understood() {
        let data = tuple![atom!("pid"), Term::charlist("~s"), list![Term::charlist("x")]];
        let old = tuple![atom!("notify"), tuple![atom!("error"), atom!("leader"), data]];
        assert_eq!(old_event(&old), Some(("error", "x".to_owned())));
        let report = tuple![atom!("pid"), atom!("std_info"), list![tuple![atom!("a"), 1]]];
        let old = tuple![atom!("notify"), tuple![atom!("info_report"), atom!("leader"), report]];
        assert_eq!(old_event(&old), Some(("notice", "[{a,1}]".to_owned())));
    }
}
