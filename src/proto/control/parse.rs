//! Reading control messages: on the stack, with every element checked.

use std::ops::Range;

use crate::atom;
use crate::etf::{Atom, DecodeError, DecodeErrorKind, Limits, Pid, Reader, Ref, tag, validate};

use super::op::{self, SPAWNED_LINK, SPAWNED_MONITOR, altact};
use super::{Control, ControlError, ExitTarget, ProcRef, Recipient, SpawnOptions};

impl Control {
    /// Parses the control term that `bytes` start with.
    pub(crate) fn parse(bytes: &[u8], atoms: &[Atom], limits: &Limits) -> Result<Parsed, ControlError> {
        let mut reader = Reader::new(bytes, atoms);
        let malformed = |operation| move |source| ControlError::Malformed { operation, source };
        let arity = reader.tuple().map_err(malformed("the control tuple"))?;
        let code = reader.u64().map_err(malformed("the operation"))?;
        let Some(&(_, name, expected)) = op::ALL.iter().find(|(known, _, _)| *known == code) else {
            return Err(ControlError::UnknownOperation { code, arity });
        };
        // Those of later releases may append elements to this one.
        let fits = if code == op::ALTACT_SIG_SEND { arity >= expected } else { arity == expected };
        if !fits {
            return Err(ControlError::Arity { operation: name, expected, found: arity });
        }
        let mut elements = Elements { reader, limits, left: arity - 1, reason: None };
        let control = elements.control(code).map_err(malformed(name))?;
        // Trace tokens, and whatever a later release may have appended.
        while elements.left > 0 {
            elements.skip().map_err(malformed(name))?;
        }
        Ok(Parsed { control, reason: elements.reason, len: elements.reader.offset() })
    }
}

/// Reads the control term of a message in its usual forms, and makes nothing of what is only passed over. `None`
/// where [`Control::parse`] has to look: other operations, and whatever is wrong.
pub(crate) fn parse_sent(bytes: &[u8], atoms: &[Atom]) -> Option<ParsedSent> {
    let &[tag::SMALL_TUPLE, arity, tag::SMALL_INTEGER, code, ..] = bytes else { return None };
    let mut reader = Reader::new(bytes, atoms);
    reader.take(4).ok()?;
    let (from, to) = match (u64::from(code), arity) {
        (op::SEND_SENDER, 3) => (Some(reader.pass_pid().ok()?), Recipient::Pid(reader.pid().ok()?)),
        (op::SEND, 3) => {
            reader.pass_atom().ok()?;
            (None, Recipient::Pid(reader.pid().ok()?))
        }
        (op::REG_SEND, 4) => {
            let from = reader.pass_pid().ok()?;
            reader.pass_atom().ok()?;
            (Some(from), Recipient::Name(reader.atom().ok()?))
        }
        (op::ALIAS_SEND, 3) => (Some(reader.pass_pid().ok()?), Recipient::Alias(reader.reference().ok()?)),
        _ => return None,
    };
    Some(ParsedSent { from, to, len: reader.offset() })
}

/// The control term of a message, parsed.
pub(crate) struct ParsedSent {
    pub(crate) from: Option<(u32, u32)>,
    pub(crate) to: Recipient,
    /// How many bytes the control term has.
    pub(crate) len: usize,
}

/// A control term, parsed.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) control: Control,
    /// Where the reason stands, when it is an element of the control tuple.
    pub(crate) reason: Option<Range<usize>>,
    /// How many bytes the control term has.
    pub(crate) len: usize,
}

/// The elements of a control tuple behind its operation.
struct Elements<'a> {
    reader: Reader<'a>,
    limits: &'a Limits,
    left: usize,
    reason: Option<Range<usize>>,
}

impl Elements<'_> {
    fn control(&mut self, code: u64) -> Result<Control, DecodeError> {
        Ok(match code {
            op::LINK => Control::Link { from: self.pid()?, to: self.pid()? },
            op::UNLINK => Control::Unlink { id: None, from: self.pid()?, to: self.pid()? },
            op::UNLINK_ID => Control::Unlink { id: Some(self.unlink_id()?), from: self.pid()?, to: self.pid()? },
            op::UNLINK_ID_ACK => Control::UnlinkAck { id: self.unlink_id()?, from: self.pid()?, to: self.pid()? },
            op::SEND | op::SEND_TT => {
                self.atom()?;
                Control::Send { from: None, to: self.pid()? }
            }
            op::SEND_SENDER | op::SEND_SENDER_TT => Control::Send { from: Some(self.pid()?), to: self.pid()? },
            op::REG_SEND | op::REG_SEND_TT => {
                let from = self.pid()?;
                self.atom()?;
                Control::RegSend { from, to: self.atom()? }
            }
            op::ALIAS_SEND | op::ALIAS_SEND_TT => Control::AliasSend { from: self.pid()?, to: self.reference()? },
            op::ALTACT_SIG_SEND => self.altact()?,
            op::GROUP_LEADER => Control::GroupLeader { leader: self.pid()?, to: self.pid()? },
            op::EXIT => {
                let control = Control::Exit { from: self.pid()?, to: self.pid()? };
                self.reason()?;
                control
            }
            op::EXIT_TT => {
                let control = Control::Exit { from: self.pid()?, to: self.pid()? };
                self.skip()?;
                self.reason()?;
                control
            }
            op::PAYLOAD_EXIT | op::PAYLOAD_EXIT_TT => Control::Exit { from: self.pid()?, to: self.pid()? },
            op::EXIT2 => {
                let control = Control::Exit2 { from: self.pid()?, to: ExitTarget::Pid(self.pid()?) };
                self.reason()?;
                control
            }
            op::EXIT2_TT => {
                let control = Control::Exit2 { from: self.pid()?, to: ExitTarget::Pid(self.pid()?) };
                self.skip()?;
                self.reason()?;
                control
            }
            op::PAYLOAD_EXIT2 | op::PAYLOAD_EXIT2_TT => {
                Control::Exit2 { from: self.pid()?, to: ExitTarget::Pid(self.pid()?) }
            }
            op::MONITOR_P => {
                Control::Monitor { from: self.pid()?, target: self.proc_ref()?, reference: self.reference()? }
            }
            op::DEMONITOR_P => {
                Control::Demonitor { from: self.pid()?, target: self.proc_ref()?, reference: self.reference()? }
            }
            op::MONITOR_P_EXIT => {
                let control =
                    Control::MonitorExit { from: self.proc_ref()?, to: self.pid()?, reference: self.reference()? };
                self.reason()?;
                control
            }
            op::PAYLOAD_MONITOR_P_EXIT => {
                Control::MonitorExit { from: self.proc_ref()?, to: self.pid()?, reference: self.reference()? }
            }
            op::SPAWN_REQUEST | op::SPAWN_REQUEST_TT => self.spawn_request()?,
            op::SPAWN_REPLY | op::SPAWN_REPLY_TT => self.spawn_reply()?,
            _ => return Err(self.reader.error(DecodeErrorKind::Invalid("an operation without a parser"))),
        })
    }

    fn altact(&mut self) -> Result<Control, DecodeError> {
        let start = self.reader.clone();
        let flags = self.altact_flags()?;
        if flags & altact::TOKEN != 0 && self.left < 3 {
            return Err(start.error(DecodeErrorKind::Invalid("the flags tell of a trace token that is not there")));
        }
        let from = self.pid()?;
        let (alias, name, exit) = (flags & altact::ALIAS != 0, flags & altact::NAME != 0, flags & altact::EXIT != 0);
        Ok(match (alias, name) {
            (true, true) => {
                return Err(start.error(DecodeErrorKind::Invalid("the flags tell of both a name and an alias")));
            }
            (true, false) if exit => Control::Exit2 { from, to: ExitTarget::Alias(self.reference()?) },
            (true, false) => Control::AliasSend { from, to: self.reference()? },
            (false, true) if exit => Control::Exit2 { from, to: ExitTarget::Name(self.atom()?) },
            (false, true) => Control::RegSend { from, to: self.atom()? },
            (false, false) if exit => Control::Exit2 { from, to: ExitTarget::Pid(self.pid()?) },
            (false, false) => Control::Send { from: Some(from), to: self.pid()? },
        })
    }

    /// The flags of [`op::ALTACT_SIG_SEND`]: any integer that is not negative, of which the low bits count.
    fn altact_flags(&mut self) -> Result<u64, DecodeError> {
        let negative = || DecodeErrorKind::Invalid("the flags are negative");
        let start = self.reader.clone();
        self.taken();
        let is_big = match self.reader.peek_tag()? {
            tag::SMALL_BIG => Some(false),
            tag::LARGE_BIG => Some(true),
            _ => None,
        };
        let Some(is_large) = is_big else {
            return match self.reader.i64()? {
                flags @ 0.. => Ok(flags.unsigned_abs()),
                _ => Err(start.error(negative())),
            };
        };
        skip(&mut self.reader, self.limits)?;
        let mut raw = start.clone();
        raw.u8()?;
        if is_large {
            raw.u32()?;
        } else {
            raw.u8()?;
        }
        let sign = raw.u8()?;
        let magnitude = raw.take(self.reader.offset() - raw.offset())?;
        if sign != 0 && magnitude.iter().any(|&byte| byte != 0) {
            return Err(start.error(negative()));
        }
        Ok(magnitude.first().copied().unwrap_or_default().into())
    }

    fn spawn_request(&mut self) -> Result<Control, DecodeError> {
        let reference = self.reference()?;
        let (parent, group_leader) = (self.pid()?, self.pid()?);
        self.taken();
        self.reader.tuple_of(3)?;
        let (module, function) = (self.reader.atom()?, self.reader.atom()?);
        let start = self.reader.clone();
        let Ok(arity) = u8::try_from(self.reader.u64()?) else {
            return Err(start.error(DecodeErrorKind::Invalid("a function has at most 255 arguments")));
        };
        let list = self.reader.clone();
        self.skip()?;
        let options = SpawnOptions::parse(list, self.limits)?;
        Ok(Control::SpawnRequest { reference, parent, group_leader, module, function, arity, options })
    }

    fn spawn_reply(&mut self) -> Result<Control, DecodeError> {
        let (reference, to) = (self.reference()?, self.pid()?);
        self.taken();
        let flags = self.reader.u64()?;
        let (link, monitor) = (flags & SPAWNED_LINK != 0, flags & SPAWNED_MONITOR != 0);
        self.taken();
        let result = match self.reader.peek_tag()? {
            tag::NEW_PID | tag::PID => Ok(self.reader.pid()?),
            _ => Err(self.reader.atom()?),
        };
        Ok(Control::SpawnReply { reference, to, link, monitor, result })
    }

    fn unlink_id(&mut self) -> Result<u64, DecodeError> {
        let start = self.reader.clone();
        self.taken();
        match self.reader.u64()? {
            0 => Err(start.error(DecodeErrorKind::Invalid("the id of an unlink request is 0"))),
            id => Ok(id),
        }
    }

    fn pid(&mut self) -> Result<Pid, DecodeError> {
        self.taken();
        self.reader.pid()
    }

    fn atom(&mut self) -> Result<Atom, DecodeError> {
        self.taken();
        self.reader.atom()
    }

    fn reference(&mut self) -> Result<Ref, DecodeError> {
        self.taken();
        self.reader.reference()
    }

    fn proc_ref(&mut self) -> Result<ProcRef, DecodeError> {
        self.taken();
        Ok(match self.reader.peek_tag()? {
            tag::NEW_PID | tag::PID => ProcRef::Pid(self.reader.pid()?),
            _ => ProcRef::Name(self.reader.atom()?),
        })
    }

    fn reason(&mut self) -> Result<(), DecodeError> {
        let start = self.reader.offset();
        self.skip()?;
        self.reason = Some(start..self.reader.offset());
        Ok(())
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        self.taken();
        skip(&mut self.reader, self.limits)
    }

    /// Counts an element that is being read. The arity has been checked, so this stays above zero.
    fn taken(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

impl SpawnOptions {
    /// Reads an option list that has been walked over: whatever is odd in it is a bad option.
    fn parse(mut list: Reader<'_>, limits: &Limits) -> Result<Self, DecodeError> {
        let mut options = Self::default();
        if !matches!(list.peek_tag()?, tag::NIL | tag::LIST) {
            options.bad = Some(BAD_OPTION);
            return Ok(options);
        }
        let Some(count) = list.list()? else { return Ok(options) };
        for _ in 0..count {
            if let Some(bad) = options.parse_one(&mut list, limits)? {
                options.bad.get_or_insert(bad);
            }
        }
        if list.peek_tag()? != tag::NIL {
            options.bad.get_or_insert(BAD_OPTION);
        }
        Ok(options)
    }

    fn parse_one(&mut self, list: &mut Reader<'_>, limits: &Limits) -> Result<Option<Atom>, DecodeError> {
        let start = list.clone();
        skip(list, limits)?;
        let mut item = start;
        if let Ok(name) = item.atom() {
            return Ok(match name.as_str() {
                "link" => {
                    self.link = true;
                    None
                }
                "monitor" => {
                    self.monitor = true;
                    None
                }
                _ => Some(name),
            });
        }
        if item.tuple_of(2).is_err() {
            return Ok(Some(BAD_OPTION));
        }
        Ok(match item.atom() {
            Ok(name) if name == "monitor" => {
                self.monitor = true;
                None
            }
            Ok(name) if TUNING_OPTIONS.contains(&name.as_str()) => None,
            Ok(name) => Some(name),
            Err(_) => Some(BAD_OPTION),
        })
    }
}

/// Stands for an option that has no name.
const BAD_OPTION: Atom = atom!("badopt");

/// Options of a spawn request that say how a BEAM is to run the process, and those that only concern
/// the node that asks.
const TUNING_OPTIONS: [&str; 9] = [
    "priority",
    "min_heap_size",
    "fullsweep_after",
    "min_bin_vheap_size",
    "max_heap_size",
    "message_queue_data",
    "async_dist",
    "reply",
    "reply_tag",
];

/// Moves `reader` behind one term, which is checked in full.
fn skip(reader: &mut Reader<'_>, limits: &Limits) -> Result<(), DecodeError> {
    let start = reader.offset();
    let len = validate(reader.rest(), reader.atoms().len(), limits)
        .map_err(|error| DecodeError { offset: start + error.offset, ..error })?;
    reader.take(len).map(drop)
}
