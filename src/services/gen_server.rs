//! The envelopes of `gen_server`, `gen_statem` and `sys`: calls, casts, system messages, and replies.
//!
//! A tag is opaque to whoever serves a call, and is echoed as it came. Where it names an alias
//! (OTP 24 and later) the reply goes to the alias, so that one that comes too late vanishes; else it
//! goes to the pid (`gen.erl:reply/2`).

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use serde::Serialize;

use crate::atom;
use crate::etf::{self, Atom, DecodeError, Encoder, Limits, MAX_REF_WORDS, Payload, Pid, Reader, Ref, Term};
use crate::node::{Node, Process, Reason, SendError, Target};
use crate::proto::NodeName;

/// A message to a server, by its envelope.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Envelope {
    /// `{'$gen_call', From, Request}`: an answer is due.
    Call(ReplyTo, Payload),
    /// `{'$gen_cast', Request}`.
    Cast(Payload),
    /// `{system, From, Request}`: what `sys` asks of a process.
    System(ReplyTo, Payload),
    /// Anything else.
    Other,
}

impl Envelope {
    /// Reads the envelope and leaves the request as it is.
    pub fn of(message: &Payload) -> Self {
        Self::read(message).unwrap_or(Self::Other)
    }

    fn read(message: &Payload) -> Result<Self, DecodeError> {
        let mut reader = message.reader();
        let arity = reader.tuple()?;
        if arity != 2 && arity != 3 {
            return Ok(Self::Other);
        }
        let kind = reader.atom()?;
        if arity == 2 {
            return Ok(if kind == "$gen_cast" { Self::Cast(message.part_from(reader.offset())) } else { Self::Other });
        }
        if kind != "$gen_call" && kind != "system" {
            return Ok(Self::Other);
        }
        let from = ReplyTo::read(&mut reader)?;
        let request = message.part_from(reader.offset());
        Ok(if kind == "system" { Self::System(from, request) } else { Self::Call(from, request) })
    }
}

/// Who waits for the reply to a call: `From` of `handle_call/3`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyTo {
    pid: Pid,
    tag: Tag,
}

/// What tells one call of a process from the others, in the shapes that releases give it.
#[derive(Debug, Clone, PartialEq)]
enum Tag {
    /// OTP 23, and whoever keeps it simple.
    Ref(Ref),
    /// `[alias|Alias]`: OTP 24 and later.
    Alias(Ref),
    /// Any other term: `{Ref, Node}` and `[[alias|Alias]|Ref]` of `multi_call`.
    Other { term: Term, alias: Option<Ref> },
}

impl ReplyTo {
    /// The reply to `pid`, under a tag.
    pub fn new(pid: Pid, tag: Term) -> Self {
        let tag = match tag {
            Term::Ref(reference) => Tag::Ref(*reference),
            term => match alias_of(&term) {
                Some((alias, true)) => Tag::Alias(alias),
                Some((alias, false)) => Tag::Other { term, alias: Some(alias) },
                None => Tag::Other { term, alias: None },
            },
        };
        Self { pid, tag }
    }

    /// `{Pid, Tag}`, as a term.
    pub fn from_term(from: &Term) -> Option<Self> {
        let [Term::Pid(pid), tag] = from.as_tuple_of()? else { return None };
        Some(Self::new(pid.clone(), tag.clone()))
    }

    /// Reads `{Pid, Tag}`.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.tuple_of(2)?;
        let pid = reader.pid()?;
        let start = reader.clone();
        if let Ok(reference) = reader.reference() {
            return Ok(Self { pid, tag: Tag::Ref(reference) });
        }
        *reader = start.clone();
        if let Ok(alias) = read_alias(reader) {
            return Ok(Self { pid, tag: Tag::Alias(alias) });
        }
        *reader = start;
        Ok(Self::new(pid, Term::decode(reader, &Limits::default())?))
    }

    /// The process that called.
    pub fn pid(&self) -> &Pid {
        &self.pid
    }

    /// The tag of the call.
    pub fn tag(&self) -> Term {
        match &self.tag {
            Tag::Ref(reference) => Term::from(reference.clone()),
            Tag::Alias(alias) => crate::list![atom!("alias"); alias],
            Tag::Other { term, .. } => term.clone(),
        }
    }

    /// `{Pid, Tag}`, as a term.
    pub fn term(&self) -> Term {
        crate::tuple![&self.pid, self.tag()]
    }

    /// Where the reply goes.
    pub fn target(&self) -> Target {
        match &self.tag {
            Tag::Alias(alias) | Tag::Other { alias: Some(alias), .. } => Target::Alias(alias.clone()),
            Tag::Ref(_) | Tag::Other { .. } => Target::Pid(self.pid.clone()),
        }
    }

    /// True where the caller runs OTP 26 or later: only these have aliases of five words.
    pub(crate) fn is_otp_26(&self) -> bool {
        matches!(&self.tag, Tag::Alias(alias) if alias.words().len() == MAX_REF_WORDS)
    }

    /// Replies with a value.
    ///
    /// # Errors
    /// When there is no way to the node of the caller, or the value cannot be a term.
    pub async fn reply<T: Serialize + ?Sized>(&self, process: &Process, value: &T) -> Result<(), SendError> {
        process.forward(self.target(), &self.message_with(value)?).await
    }

    /// Replies from wherever there is no process at hand: a task that a server has started.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub async fn reply_from<T: Serialize + ?Sized>(&self, node: &Node, value: &T) -> Result<(), SendError> {
        self.reply(&node.process_labelled("reply"), value).await
    }

    /// Replies with a term that is encoded already, as when a request is passed back.
    ///
    /// # Errors
    /// When there is no way to the node of the caller.
    pub async fn reply_payload(&self, process: &Process, value: &Payload) -> Result<(), SendError> {
        process.forward(self.target(), &self.message(value)?).await
    }

    /// Replies without waiting: where the caller's node reads slowly, or is not connected, a task of
    /// its own waits instead, so that one caller never holds up the others.
    pub(crate) fn reply_soon<T: Serialize + ?Sized>(&self, process: &Process, value: &T) {
        match self.message_with(value) {
            Ok(message) => self.post(process, message),
            Err(error) => {
                tracing::error!(to = %self.pid, %error, "a reply cannot be encoded");
                self.dismiss(process, &fault(atom!("bad_reply"), &error));
            }
        }
    }

    /// [`reply_soon`](Self::reply_soon) with a term that is encoded already.
    pub(crate) fn reply_payload_soon(&self, process: &Process, value: &Payload) {
        match self.message(value) {
            Ok(message) => self.post(process, message),
            Err(error) => tracing::error!(to = %self.pid, %error, "a reply cannot be encoded"),
        }
    }

    /// Tells the caller that its call came to nothing, as if the server had ended with that reason: its
    /// monitor fires, so that it does not wait. False for a caller that does not watch the server under
    /// the reference of its call (`multi_call` up to OTP 25, C nodes).
    pub(crate) fn dismiss(&self, process: &Process, reason: &Reason) -> bool {
        let reference = match &self.tag {
            Tag::Ref(reference) | Tag::Alias(reference) => Some(reference),
            // `[[alias|Alias]|Monitor]` of multi_call.
            Tag::Other { term: Term::ImproperList(_, monitor), .. } => match monitor.as_ref() {
                Term::Ref(monitor) => Some(monitor.as_ref()),
                _ => None,
            },
            Tag::Other { .. } => None,
        };
        reference.is_some_and(|reference| process.dismiss_watcher(&self.pid, reference, reason))
    }

    fn post(&self, process: &Process, message: Payload) {
        match process.try_forward(self.target(), &message) {
            Ok(()) => {}
            Err(SendError::Busy(_) | SendError::NoConnection(_)) => {
                let (node, to) = (process.node(), self.target());
                let waiting = node.extension::<LateReplies>();
                if waiting.0.fetch_add(1, Ordering::Relaxed) >= MOST_LATE_REPLIES {
                    waiting.0.fetch_sub(1, Ordering::Relaxed);
                    tracing::error!(peer = %self.pid.node, limit = MOST_LATE_REPLIES, "calls, and does not read the replies");
                    if let Ok(peer) = NodeName::try_from(&self.pid.node) {
                        node.disconnect_because(&peer, "too many replies wait for it");
                    }
                    return;
                }
                let late = node.process_labelled("late reply");
                node.spawn_task(async move {
                    if let Err(error) = late.forward(to, &message).await {
                        tracing::debug!(%error, "a reply did not get away");
                    }
                    waiting.0.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => tracing::debug!(to = %self.pid, %error, "a reply did not get away"),
        }
    }

    /// `{Tag, Value}`: the tag with its atoms in full, the value as it is.
    fn message(&self, value: &Payload) -> Result<Payload, etf::EncodeError> {
        let mut buf = BytesMut::with_capacity(value.bytes().len() + ROOM_FOR_TAG);
        self.head(&mut Encoder::new(&mut buf))?;
        buf.extend_from_slice(value.bytes());
        Ok(value.with_bytes(buf.freeze()))
    }

    /// `{Tag, Value}`.
    fn message_with<T: Serialize + ?Sized>(&self, value: &T) -> Result<Payload, etf::EncodeError> {
        let mut buf = BytesMut::with_capacity(ROOM_FOR_TAG);
        let mut encoder = Encoder::new(&mut buf);
        self.head(&mut encoder)?;
        etf::serialize_into(value, &mut encoder)?;
        Ok(Payload::new(buf.freeze(), None))
    }

    fn head(&self, encoder: &mut Encoder<'_>) -> Result<(), etf::EncodeError> {
        encoder.tuple_header(2);
        match &self.tag {
            Tag::Ref(reference) => {
                encoder.reference(reference);
                Ok(())
            }
            Tag::Alias(_) => self.tag().encode(encoder),
            Tag::Other { term, .. } => term.encode(encoder),
        }
    }
}

/// `{What, Text}`: why a call or cast came to nothing.
pub(crate) fn fault(what: Atom, error: &dyn std::fmt::Display) -> Reason {
    Reason::from_term(&crate::tuple![what, error.to_string()])
}

/// How many replies wait for nodes that read slowly.
#[derive(Default)]
struct LateReplies(AtomicUsize);

/// So many replies may wait at the same time; a node that calls on without reading is disconnected.
const MOST_LATE_REPLIES: usize = 10_000;

/// The alias in a tag; true where the tag is nothing but that.
fn alias_of(tag: &Term) -> Option<(Ref, bool)> {
    let Term::ImproperList(head, _) = tag else { return None };
    let inner = || only_alias(head.first().filter(|_| head.len() == 1)?);
    only_alias(tag).map(|alias| (alias, true)).or_else(|| inner().map(|alias| (alias, false)))
}

/// `[alias|Alias]`.
fn only_alias(term: &Term) -> Option<Ref> {
    let Term::ImproperList(head, tail) = term else { return None };
    match (head.as_slice(), tail.as_ref()) {
        ([word], Term::Ref(alias)) if word.is_atom("alias") => Some(Ref::clone(alias)),
        _ => None,
    }
}

fn read_alias(reader: &mut Reader<'_>) -> Result<Ref, DecodeError> {
    let one = reader.list()? == Some(1) && reader.atom()? == "alias";
    if one { reader.reference() } else { Err(reader.error(etf::DecodeErrorKind::Invalid("not an alias"))) }
}

/// `{'$gen_call', {Pid, Tag}, Request}`.
pub(crate) fn call_message<T: Serialize + ?Sized>(
    pid: &Pid,
    tag: &Term,
    request: &T,
) -> Result<Payload, etf::EncodeError> {
    let mut buf = BytesMut::new();
    let mut encoder = Encoder::new(&mut buf);
    encoder.tuple_header(3);
    encoder.atom(&atom!("$gen_call"));
    encoder.tuple_header(2);
    encoder.pid(pid);
    tag.encode(&mut encoder)?;
    etf::serialize_into(request, &mut encoder)?;
    Ok(Payload::new(buf.freeze(), None))
}

/// `{system, {Pid, Ref}, {terminate, Reason}}`, what `gen_server:stop/3` sends.
pub(crate) fn terminate_message(pid: &Pid, tag: &Ref, reason: &Reason) -> Result<Payload, etf::EncodeError> {
    etf::to_payload(&(atom!("system"), (pid, tag), (atom!("terminate"), reason.payload())))
}

/// `{'$gen_cast', Request}`.
pub(crate) fn cast_message<T: Serialize + ?Sized>(request: &T) -> Result<Payload, etf::EncodeError> {
    let mut buf = BytesMut::new();
    let mut encoder = Encoder::new(&mut buf);
    encoder.tuple_header(2);
    encoder.atom(&atom!("$gen_cast"));
    etf::serialize_into(request, &mut encoder)?;
    Ok(Payload::new(buf.freeze(), None))
}

/// The value of `{Tag, Value}` where the tag is this one.
pub(crate) fn reply_in(message: &Payload, tag: &Term) -> Option<Payload> {
    let mut reader = message.reader();
    reader.tuple_of(2).ok()?;
    let same = match tag {
        Term::Ref(reference) => reader.reference().ok()? == **reference,
        tag => match alias_of(tag) {
            Some((alias, true)) => read_alias(&mut reader).ok()? == alias,
            _ => Term::decode(&mut reader, &Limits::default()).ok()? == *tag,
        },
    };
    same.then(|| message.part_from(reader.offset()))
}

/// More than a tag of two references takes; only spares the buffer from growing.
const ROOM_FOR_TAG: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Creation;
    use crate::{list, tuple};

    fn pid() -> Pid {
        Pid { node: atom!("a@h"), id: 1, serial: 0, creation: Creation(7) }
    }

    fn reference(last: u32) -> Ref {
        Ref::from_three(atom!("a@h"), Creation(7), [1, 2, last])
    }

    fn payload(term: &Term) -> Payload {
        Payload::from_term(term).unwrap()
    }

    #[test]
    fn calls_of_every_release_are_answered_under_their_tag() {
        let plain = Term::from(reference(1));
        let alias = list![atom!("alias"); reference(2)];
        let multi_23 = tuple![reference(3), atom!("b@h")];
        let multi = list![list![atom!("alias"); reference(4)]; reference(5)];
        let to_pid = Target::Pid(pid());
        for (tag, target) in [
            (plain, to_pid.clone()),
            (alias, Target::Alias(reference(2))),
            (multi_23, to_pid.clone()),
            (multi, Target::Alias(reference(4))),
            (tuple![], to_pid),
        ] {
            let call = payload(&tuple![atom!("$gen_call"), tuple![pid(), tag.clone()], atom!("get")]);
            let Envelope::Call(from, request) = Envelope::of(&call) else { panic!("{tag} is no call") };
            assert_eq!(request.term().unwrap(), Term::from(atom!("get")));
            assert_eq!((from.pid(), from.tag(), from.target()), (&pid(), tag.clone(), target));
            let reply = from.message(&payload(&Term::from("value"))).unwrap();
            assert_eq!(reply.term().unwrap(), tuple![tag.clone(), "value"]);
            assert_eq!(reply_in(&reply, &tag).unwrap().term().unwrap(), Term::from("value"));
            assert!(reply_in(&reply, &Term::from(reference(9))).is_none());
            assert_eq!(ReplyTo::from_term(&from.term()), Some(from));
        }
    }

    #[test]
    fn casts_and_system_messages_are_told_apart_from_the_rest() {
        let of = |term: Term| Envelope::of(&payload(&term));
        assert!(
            matches!(of(tuple![atom!("$gen_cast"), 7]), Envelope::Cast(request) if request.term().unwrap() == 7.into())
        );
        let from = tuple![pid(), reference(1)];
        assert!(matches!(of(tuple![atom!("system"), from.clone(), atom!("get_state")]), Envelope::System(..)));
        for other in [
            tuple![atom!("$gen_call"), pid(), 7],
            tuple![atom!("$gen_call"), 7],
            tuple![atom!("other"), from, 7],
            tuple![],
            Term::from(7),
        ] {
            assert!(matches!(of(other.clone()), Envelope::Other), "{other}");
        }
    }
}
