//! What `sys` asks of a server: state, status, suspension, termination (`sys.erl:do_cmd/6`).

use super::gen_server::ReplyTo;
use super::supervisor::SUPERVISOR;
use crate::atom;
use crate::etf::{Atom, DecodeError, Payload, Term};
use crate::node::{Process, Reason};
use crate::{list, tuple};

/// What a system message does to the loop of a server.
#[derive(Debug)]
pub(crate) enum Verdict {
    Stay,
    Suspended(bool),
    Terminate(Reason),
}

/// What there is to look at.
pub(crate) struct Look<'a> {
    pub(crate) process: &'a Process,
    pub(crate) from: &'a ReplyTo,
    pub(crate) module: Atom,
    pub(crate) state: &'a dyn Fn() -> Term,
}

impl Look<'_> {
    /// The answer to a system message; there always is one.
    pub(crate) fn answer(&self, request: &Payload, suspended: bool) -> (Payload, Verdict) {
        let (reply, verdict) = match request.term() {
            Ok(request) => self.answer_term(request, suspended),
            Err(error) => (unreadable(&error), Verdict::Stay),
        };
        let reply = Payload::from_term(&reply).unwrap_or_else(|error| {
            tracing::error!(pid = %self.process.pid(), %error, "the state of a server cannot be encoded");
            Reason::from_term(&tuple![atom!("error"), atom!("badarg")]).payload().clone()
        });
        (reply, verdict)
    }

    fn answer_term(&self, request: Term, suspended: bool) -> (Term, Verdict) {
        let ok = || Term::Atom(atom!("ok"));
        match &request {
            Term::Atom(what) => match what.as_str() {
                // `{ok, State}` from 26.1 on, which mended states that look like an error.
                "get_state" if self.from.is_otp_26() => return (tuple![atom!("ok"), (self.state)()], Verdict::Stay),
                "get_state" => return ((self.state)(), Verdict::Stay),
                "get_status" => return (self.status(suspended), Verdict::Stay),
                "suspend" => return (ok(), Verdict::Suspended(true)),
                "resume" => return (ok(), Verdict::Suspended(false)),
                _ => {}
            },
            Term::Tuple(parts) => match parts.as_slice() {
                [what, reason] if what.is_atom("terminate") => {
                    return (ok(), Verdict::Terminate(Reason::from_term(reason)));
                }
                [what, debug] if what.is_atom("debug") => return (debug_answer(debug), Verdict::Stay),
                // The fun is code that only the asking node has.
                [what, _] if what.is_atom("replace_state") => {
                    return (refused("system_replace_state"), Verdict::Stay);
                }
                [what, _, _, _] if what.is_atom("change_code") && suspended => {
                    return (refused("system_code_change"), Verdict::Stay);
                }
                _ => {}
            },
            _ => {}
        }
        (tuple![atom!("error"), tuple![atom!("unknown_system_msg"), request]], Verdict::Stay)
    }

    /// As `gen_server` formats it: tools (observer) take it apart.
    fn status(&self, suspended: bool) -> Term {
        let pid = self.process.pid();
        let state = if suspended { atom!("suspended") } else { atom!("running") };
        let name = self.process.names().into_iter().next().map_or_else(|| pid.to_string(), |name| name.to_string());
        let supervisor = self.process.node().whereis(SUPERVISOR.as_str()).filter(|supervisor| supervisor != pid);
        let (ancestors, parent) = match &supervisor {
            Some(supervisor) => (list![SUPERVISOR], supervisor),
            None => (Term::NIL, pid),
        };
        let dictionary = list![
            tuple![atom!("$ancestors"), ancestors],
            tuple![atom!("$initial_call"), tuple![&self.module, atom!("init"), 1]],
        ];
        let data = |pairs: Term| tuple![atom!("data"), pairs];
        let misc = list![
            tuple![atom!("header"), Term::charlist(&format!("Status for generic server {name}"))],
            data(list![
                tuple![Term::charlist("Status"), &state],
                tuple![Term::charlist("Parent"), parent],
                tuple![Term::charlist("Logged events"), Term::NIL],
            ]),
            data(list![tuple![Term::charlist("State"), (self.state)()]]),
        ];
        tuple![
            atom!("status"),
            pid,
            tuple![atom!("module"), atom!("gen_server")],
            list![dictionary, state, parent, Term::NIL, misc],
        ]
    }
}

/// Nothing is logged or counted per message here, so there is nothing to get.
fn debug_answer(what: &Term) -> Term {
    let pair = |first: &str, second: &str| {
        what.as_tuple_of().is_some_and(|[a, b]: &[Term; 2]| a.is_atom(first) && b.is_atom(second))
    };
    if pair("log", "get") {
        return tuple![atom!("ok"), Term::NIL];
    }
    if pair("statistics", "get") {
        return tuple![atom!("ok"), atom!("no_statistics")];
    }
    Term::Atom(atom!("ok"))
}

/// The answer to what would run code of the asking node.
fn refused(callback: &'static str) -> Term {
    let callback = Term::Atom(Atom::from_static(callback));
    tuple![
        atom!("error"),
        tuple![atom!("callback_failed"), tuple![atom!("gusset"), callback], tuple![atom!("error"), atom!("undef")],],
    ]
}

fn unreadable(error: &DecodeError) -> Term {
    tuple![atom!("error"), tuple![atom!("unknown_system_msg"), error.to_string()]]
}
