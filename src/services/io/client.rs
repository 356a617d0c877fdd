//! The asking side of the io protocol: output to a group leader, and lines from it.

use std::time::Duration;

use crate::etf::{Atom, Payload, Pid, Ref, Term};
use crate::node::{Ended, Message, Process, Reason, SendError};
use crate::services::format::characters;
use crate::{atom, tuple};

/// What a group leader gives for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line {
    /// What was typed, its end of line included.
    Text(String),
    /// There is nothing to read from (any more).
    Eof,
}

/// A line that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// There is nobody to ask.
    #[error("the process has no group leader")]
    NoLeader,
    /// The group leader is gone, or was never there.
    #[error("the group leader is gone: {0}")]
    Gone(Reason),
    /// The group leader answers `{error, Reason}`: `interrupted`, where somebody interrupted the input.
    #[error("the group leader says {{error,{0}}}")]
    Refused(Term),
    /// The answer is of no form that the protocol has.
    #[error("the group leader answers neither a line nor eof: {0}")]
    Odd(Term),
    /// There is no way to the group leader.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The asking process has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Prints for a process of this node, where its group leader (or `user`) wants it. Waits until it is
/// printed, though not for ever.
///
/// # Errors
/// The reason, when the process has been ended meanwhile.
pub async fn put_chars(process: &mut Process, text: &str) -> Result<(), Reason> {
    match request(process, put_request(text), PRINT_TIMEOUT).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            tracing::warn!(pid = %process.pid(), timeout = ?PRINT_TIMEOUT, "a group leader does not answer");
        }
        Err(InputError::Ended(ended)) => return Err(ended.reason),
        Err(error) => tracing::debug!(pid = %process.pid(), %error, "output did not get away"),
    }
    Ok(())
}

/// Asks the group leader of a process of this node (or `user`) for a line (`io:get_line/1`). Waits as
/// long as whoever sits there takes, or until the group leader is gone.
///
/// ```no_run
/// # async fn example(node: gusset::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use gusset::services::{Line, get_line};
///
/// // `rpc:call(Node, quiz, ask, [])` asks whoever sits at the calling node.
/// node.export(gusset::atom!("quiz"), gusset::atom!("ask"), 0, |mut context, _| async move {
///     Ok(match get_line(context.process(), "name? ").await {
///         Ok(Line::Text(name)) => name.trim().into(),
///         _ => gusset::Term::Atom(gusset::atom!("nobody")),
///     })
/// });
/// # Ok(()) }
/// ```
///
/// # Errors
/// When the group leader is gone, refuses, or was interrupted; when the process has been ended.
pub async fn get_line(process: &mut Process, prompt: &str) -> Result<Line, InputError> {
    // The limit is never reached: the monitor tells when nobody can answer any more.
    match request(process, line_request(prompt), Duration::MAX).await? {
        Some(answer) => line_of(answer),
        None => Ok(Line::Eof),
    }
}

/// One request and its answer, with a monitor for as long as it takes. `None`: no answer in time.
async fn request(process: &mut Process, request: Term, limit: Duration) -> Result<Option<Term>, InputError> {
    let leader = process.group_leader().or_else(|| process.node().whereis("user")).ok_or(InputError::NoLeader)?;
    let monitor = process.monitor(&leader).await?;
    let message = io_request(process.pid(), &monitor, request)?;
    let answer = async {
        process.forward(&leader, &message).await?;
        process
            .recv_match(|message| match message {
                Message::Down { reference, reason, .. } if *reference == monitor => {
                    Some(Err(InputError::Gone(reason.clone())))
                }
                Message::Sent(payload) => io_reply(payload, &monitor).map(Ok),
                _ => None,
            })
            .await?
    };
    let answer = tokio::time::timeout(limit, answer).await;
    process.demonitor_flush(&monitor);
    answer.ok().transpose()
}

/// `{put_chars, unicode, Text}`.
pub(crate) fn put_request(text: &str) -> Term {
    tuple![atom!("put_chars"), atom!("unicode"), text]
}

/// `{get_line, unicode, Prompt}`.
pub(crate) fn line_request(prompt: &str) -> Term {
    tuple![atom!("get_line"), atom!("unicode"), prompt]
}

/// `{io_request, From, ReplyAs, Request}`.
pub(crate) fn io_request(from: &Pid, reply_as: &Ref, request: Term) -> Result<Payload, SendError> {
    Ok(Payload::from_term(&tuple![atom!("io_request"), from, reply_as, request])?)
}

/// The answer under that mark, where the message is one.
pub(crate) fn io_reply(message: &Payload, reply_as: &Ref) -> Option<Term> {
    let mut reader = message.reader();
    reader.tuple_of(3).ok()?;
    let ours = reader.atom().ok()? == "io_reply" && reader.reference().ok()? == *reply_as;
    ours.then(|| message.part_from(reader.offset()).term().unwrap_or_else(|error| odd(&error.to_string())))
}

fn odd(what: &str) -> Term {
    tuple![atom!("error"), tuple![atom!("unreadable"), what]]
}

/// What the answer to a `get_line` means.
///
/// # Errors
/// When it is not a line.
pub(crate) fn line_of(answer: Term) -> Result<Line, InputError> {
    match answer {
        Term::Atom(eof) if eof == "eof" => Ok(Line::Eof),
        Term::Tuple(parts) => match <[Term; 2]>::try_from(parts) {
            Ok([error, reason]) if error.is_atom("error") => Err(InputError::Refused(reason)),
            Ok(parts) => Err(InputError::Odd(Term::Tuple(parts.into()))),
            Err(parts) => Err(InputError::Odd(Term::Tuple(parts))),
        },
        // A list or a binary, as its options say.
        text => characters(&text, false).map(Line::Text).ok_or(InputError::Odd(text)),
    }
}

/// Waits until an io server has handled all that was sent to it before.
pub(crate) async fn flush(process: &mut Process, server: &Pid) {
    let reply_as = process.node().make_ref();
    let Ok(request) = io_request(process.pid(), &reply_as, Term::Atom(Atom::from_static("getopts"))) else { return };
    if process.forward(server, &request).await.is_err() {
        return;
    }
    let answered = process.recv_match(|message| io_reply(message.payload()?, &reply_as));
    if tokio::time::timeout(FLUSH_TIMEOUT, answered).await.is_err() {
        tracing::debug!(%server, "output was not passed on in time");
    }
}

/// How long printing waits for the group leader. One that is stuck holds up a BEAM process for ever.
const PRINT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the result of a call waits for the output that came before it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    #[test]
    fn lines_come_as_lists_and_as_binaries() {
        let line = |term: Term| line_of(term).unwrap();
        assert_eq!(line(Term::charlist("ab\n")), Line::Text("ab\n".to_owned()));
        assert_eq!(line("grün\n".into()), Line::Text("grün\n".to_owned()));
        assert_eq!(line(list![8364, 10]), Line::Text("€\n".to_owned()));
        assert_eq!(line(Term::NIL), Line::Text(String::new()));
        assert_eq!(line(atom!("eof").into()), Line::Eof);
    }

    #[test]
    fn what_is_no_line_is_an_error_that_names_it() {
        let error = |term: Term| line_of(term).unwrap_err().to_string();
        assert_eq!(error(tuple![atom!("error"), atom!("interrupted")]), "the group leader says {error,interrupted}");
        assert!(error(tuple![1, 2, 3]).ends_with("neither a line nor eof: {1,2,3}"));
        assert!(error(atom!("what").into()).ends_with("what"));
        assert!(error(list![-1]).ends_with("[-1]"));
    }
}
