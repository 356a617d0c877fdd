//! `logger_proxy` and `error_logger`: log events that other nodes send here, because the process that
//! they are about has its group leader on this node. They go into the log of this process.

use super::format::{characters, format};
use super::gen_server::ReplyTo;
use super::server::{Answer, GenServer, Next};
use crate::atom;
use crate::etf::{Atom, Payload, Pid, Term};
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
            && let Some(event) = event(&term)
        {
            event.log();
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
            && let Some(event) = old_event(&term)
        {
            event.log();
        }
        Next::Continue
    }

    fn module(&self) -> Atom {
        atom!("error_logger")
    }
}

/// What is logged of an event.
#[derive(Debug, PartialEq)]
struct Event {
    level: String,
    text: String,
    /// The process that it is about.
    pid: Option<Pid>,
}

impl Event {
    fn log(self) {
        let Self { level, mut text, pid } = self;
        if let Some((end, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(end);
            text.push_str(" … (the rest is not logged)");
        }
        let node = pid.as_ref().map(|pid| &pid.node);
        let (node, pid) = (node.map(tracing::field::display), pid.as_ref().map(tracing::field::display));
        match level.as_str() {
            "emergency" | "alert" | "critical" | "error" => {
                tracing::error!(target: "erlang_log", node, pid, level, "{text}");
            }
            "warning" => tracing::warn!(target: "erlang_log", node, pid, level, "{text}"),
            "debug" => tracing::debug!(target: "erlang_log", node, pid, level, "{text}"),
            _ => tracing::info!(target: "erlang_log", node, pid, level, "{text}"),
        }
    }
}

/// `{log, Level, Format, Args, Meta}` or `{log, Level, StringOrReport, Meta}`.
fn event(term: &Term) -> Option<Event> {
    let (log, level, text, meta) = match term.as_tuple()? {
        [log, Term::Atom(level), control, Term::List(args), meta] => (log, level, text_of(control, args), meta),
        [log, Term::Atom(level), report, meta] => {
            let text = match report {
                Term::Map(_) => None,
                text => characters(text, false),
            };
            (log, level, text.unwrap_or_else(|| report_text(report)), meta)
        }
        _ => return None,
    };
    let pid = meta.as_map().and_then(|meta| meta.get_atom("pid")).and_then(Term::as_pid).cloned();
    log.is_atom("log").then(|| Event { level: level.to_string(), text, pid })
}

/// `{notify, {Type, GroupLeader, {Pid, FormatOrType, ArgsOrReport}}}`.
fn old_event(term: &Term) -> Option<Event> {
    let [notify, event] = term.as_tuple_of()?;
    if !notify.is_atom("notify") {
        return None;
    }
    let [Term::Atom(kind), _leader, data] = event.as_tuple_of()? else { return None };
    let [pid, what, details] = data.as_tuple_of()?;
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
    Some(Event { level: level.to_owned(), text, pid: pid.as_pid().cloned() })
}

fn text_of(control: &Term, args: &[Term]) -> String {
    let control = match control {
        Term::Atom(control) => Some(control.as_str().to_owned()),
        control => characters(control, false),
    };
    let text = control.as_deref().and_then(|control| format(control, args).ok());
    // As `logger` has it, what does not fit is shown as it is.
    text.unwrap_or_else(|| format!("{} {}", control.unwrap_or_default(), print(&Term::from(args.to_vec()))))
}

/// The text of a report. The function in its metadata that would make one is code of the other node, so
/// those of OTP that say that something has died are told here; others are printed.
fn report_text(report: &Term) -> String {
    known_report(report).unwrap_or_else(|| print(report))
}

fn known_report(report: &Term) -> Option<String> {
    let of = |key: &str| report.as_map()?.get_atom(key);
    let [of_module, kind] = of("label")?.as_tuple_of()?;
    let (of_module, kind) = (of_module.as_atom()?.as_str(), kind.as_atom().map_or("", |kind| kind.as_str()));
    match (of_module, kind) {
        // proc_lib.erl:crash_report/4
        ("proc_lib", "crash") => {
            let own = of("report")?.as_list()?.first()?;
            let item = |key| pair(own, key);
            let [class, reason, stack] = item("error_info")?.as_tuple_of()?;
            let name = match item("registered_name") {
                Some(name) if *name != Term::NIL => format!(" {}", print(name)),
                _ => String::new(),
            };
            let call = item("initial_call").map_or(String::new(), |call| format!(", {}", print(call)));
            Some(format!(
                "crash of {}{name}{call}: {}: {} in {}",
                item("pid").map_or("a process".to_owned(), print),
                print(class),
                print(reason),
                print(stack)
            ))
        }
        ("gen_server" | "gen_statem" | "gen_event", "terminate") => {
            let name = of("name").map_or(String::new(), print);
            let reason = of("reason").or_else(|| of("reason_info")).map(print);
            let last = of("last_message").map_or(String::new(), |last| format!(", last message: {}", print(last)));
            Some(format!("{of_module} {name} terminating: {}{last}", reason?))
        }
        // supervisor.erl:report_error/4
        ("supervisor", kind) => {
            let item = |key| Some(print(pair(of("report")?, key)?));
            let child = pair(of("report")?, "offender").and_then(|offender| pair(offender, "id").or(Some(offender)));
            Some(format!(
                "supervisor {}: {kind}: {}, child {}",
                item("supervisor")?,
                item("reason")?,
                child.map_or(String::new(), print)
            ))
        }
        _ => None,
    }
}

/// The value of a key in a list of pairs.
fn pair<'t>(pairs: &'t Term, key: &str) -> Option<&'t Term> {
    pairs.as_list()?.iter().find_map(|pair| match pair.as_tuple_of() {
        Some([known, value]) if known.is_atom(key) => Some(value),
        _ => None,
    })
}

fn print(term: &Term) -> String {
    format("~tp", std::slice::from_ref(term)).unwrap_or_default()
}

/// In characters. The state of a server may be of any size, and goes into its last words.
const LONGEST: usize = 16_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Creation;
    use crate::{list, tuple};

    #[test]
    fn events_of_both_shapes_have_a_level_and_a_text() {
        let pid = Pid { node: atom!("a@h"), id: 7, serial: 0, creation: Creation(1) };
        let meta = Term::map([(atom!("pid").into(), Term::Pid(pid.clone()))]);
        let says = |term: Term, level: &str, text: &str| {
            let expected = Event { level: level.to_owned(), text: text.to_owned(), pid: Some(pid.clone()) };
            assert_eq!(event(&term), Some(expected));
        };
        let log = atom!("log");
        says(tuple![&log, atom!("error"), Term::charlist("~p!"), list![7], meta.clone()], "error", "7!");
        says(tuple![&log, atom!("notice"), Term::charlist("hello"), meta.clone()], "notice", "hello");
        says(tuple![&log, atom!("notice"), "grün", meta.clone()], "notice", "grün");
        let report = Term::map([(atom!("label").into(), 1.into())]);
        says(tuple![&log, atom!("info"), report, meta.clone()], "info", "#{label => 1}");
        says(tuple![&log, atom!("error"), Term::charlist("~p"), list![], meta.clone()], "error", "~p []");
        assert_eq!(event(&tuple![log, atom!("info"), "x", 7]).unwrap().pid, None);
        assert_eq!(event(&tuple![atom!("other"), atom!("info"), "x", meta]), None);
        assert_eq!(event(&tuple![atom!("other"), 1]), None);
    }

    #[test]
    fn reports_of_what_has_died_are_told_in_short() {
        let text = |report: &str| report_text(&report.parse().unwrap());
        let crash =
            "#{label => {proc_lib, crash}, report => [[{initial_call, {m, f, []}}, {pid, p}, {registered_name, []},
            {error_info, {error, badarg, [{m, f, 1, []}]}}], []]}";
        assert_eq!(text(crash), "crash of p, {m,f,[]}: error: badarg in [{m,f,1,[]}]");
        let server =
            "#{label => {gen_server, terminate}, name => s, reason => why, last_message => {go, 1}, state => 7}";
        assert_eq!(text(server), "gen_server s terminating: why, last message: {go,1}");
        let child = "#{label => {supervisor, child_terminated}, report => [{supervisor, {local, s}}, {reason, killed},
            {offender, [{pid, p}, {id, worker}]}]}";
        assert_eq!(text(child), "supervisor {local,s}: child_terminated: killed, child worker");
        // What is of another shape than expected is printed as it is.
        assert_eq!(text("#{label => {proc_lib, crash}, report => 7}"), "#{label => {proc_lib,crash},report => 7}");
    }

    #[test]
    fn events_of_old_nodes_are_understood() {
        let data = tuple![atom!("pid"), Term::charlist("~s"), list![Term::charlist("x")]];
        let old = tuple![atom!("notify"), tuple![atom!("error"), atom!("leader"), data]];
        let says = |level: &str, text: &str| Some(Event { level: level.to_owned(), text: text.to_owned(), pid: None });
        assert_eq!(old_event(&old), says("error", "x"));
        let report = tuple![atom!("pid"), atom!("std_info"), list![tuple![atom!("a"), 1]]];
        let old = tuple![atom!("notify"), tuple![atom!("info_report"), atom!("leader"), report]];
        assert_eq!(old_event(&old), says("notice", "[{a,1}]"));
    }
}
