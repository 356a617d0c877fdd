//! What scopes say to each other, read piece by piece under limits, and written.
//!
//! | message | meaning |
//! |---|---|
//! | `{discover, Scope}`, `{discover, Scope, Version}` | here I am: tell me your members |
//! | `{'$gen_cast', {sync, Scope, [{Group, [Pid]}]}}` | all my members |
//! | `{join, Scope, Group, Pid or [Pid]}` | they joined |
//! | `{leave, Scope, Pid or [Pid], [Group]}` | they left these groups, once for each time a group is listed |
//! | `{'$gen_cast', {local_data, Scope, Version, #{Group => [Pid]}}}` | OTP 29 among its own: as `sync` |
//! | `{update, Scope, [{Group, [Joined], [Left]}]}` | OTP 29 among its own: as `join` and `leave` |
//!
//! The `pg` of a BEAM ends with `badarg` on any other message, before OTP 26 also on a greeting of three elements, and
//! with `{badkey, Group}` (23 to 28) on a `leave` of a group in which it knows no member of that scope. So a scope is
//! told of changes only after it has been told all members, and of each change exactly once.

use std::sync::Arc;

use bytes::BytesMut;

use crate::atom;
use crate::etf::{DecodeError, DecodeErrorKind, EncodeError, Encoder, Limits, Payload, Pid, Reader, Term};

/// The most groups that a peer may have members in. What it has beyond is not known here; the log says so.
pub(super) const MOST_GROUPS: usize = 1_000_000;
/// The most memberships (a process that joined twice has two) that a peer may have.
pub(super) const MOST_MEMBERS: usize = 2_000_000;
/// The most bytes that the names of a peer's groups may have together, as they come encoded.
pub(super) const MOST_NAME_BYTES: usize = 64 << 20;
/// The most bytes that the name of one group may have.
const LONGEST_NAME: usize = 64 << 10;

/// The name of a group, and how many bytes it came in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name {
    pub(super) term: Arc<Term>,
    pub(super) bytes: usize,
}

/// What another scope says; the pid is that of its process.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Discover(Pid),
    Sync(Pid, Vec<(Name, Vec<Pid>)>),
    Join(Pid, Name, Vec<Pid>),
    Leave(Pid, Vec<Pid>, Vec<Name>),
    Update(Pid, Vec<(Name, Vec<Pid>, Vec<Pid>)>),
}

impl Heard {
    /// A plain message.
    pub(super) fn message(payload: &Payload) -> Result<Self, DecodeError> {
        let mut input = Input::new(payload);
        let arity = input.reader.tuple()?;
        let kind = input.reader.atom_text()?.into_owned();
        let peer = input.reader.pid()?;
        match (kind.as_str(), arity) {
            ("discover", 2 | 3) => Ok(Self::Discover(peer)),
            ("join", 4) => Ok(Self::Join(peer, input.name()?, input.pids_or_pid()?)),
            ("leave", 4) => Ok(Self::Leave(peer, input.pids_or_pid()?, input.list(Input::name)?)),
            ("update", 3) => Ok(Self::Update(peer, input.list(Input::change)?)),
            _ => input.reader.fail(DecodeErrorKind::Invalid(UNKNOWN)),
        }
    }

    /// What was cast.
    pub(super) fn cast(request: &Payload) -> Result<Self, DecodeError> {
        let mut input = Input::new(request);
        let arity = input.reader.tuple()?;
        let kind = input.reader.atom_text()?.into_owned();
        let peer = input.reader.pid()?;
        match (kind.as_str(), arity) {
            ("sync", 3) => Ok(Self::Sync(peer, input.list(Input::group)?)),
            ("local_data", 4) => {
                input.reader.skip()?;
                let mut groups = Vec::new();
                for _ in 0..input.reader.map()? {
                    groups.push((input.name()?, input.pids()?));
                }
                Ok(Self::Sync(peer, groups))
            }
            _ => input.reader.fail(DecodeErrorKind::Invalid(UNKNOWN)),
        }
    }
}

const UNKNOWN: &str = "no scope of `pg` says this";

/// `{join_local, Group, Pids}` and `{leave_local, Group, Pids}`: what a node asks of its own scope.
pub(super) struct Request {
    pub(super) leaves: bool,
    pub(super) group: Term,
    pub(super) pids: Vec<Pid>,
}

impl Request {
    pub(super) fn read(payload: &Payload) -> Result<Self, DecodeError> {
        let mut input = Input::new(payload);
        input.reader.tuple_of(3)?;
        let leaves = match &*input.reader.atom_text()? {
            "join_local" => false,
            "leave_local" => true,
            _ => return input.reader.fail(DecodeErrorKind::Invalid("not a call that a scope of `pg` answers")),
        };
        // A program's own groups are its own affair.
        let group = Term::decode(&mut input.reader, &Limits::default())?;
        Ok(Self { leaves, group, pids: input.pids_or_pid()? })
    }
}

/// A message while it is read, and how much of its limits is used up.
struct Input<'a> {
    /// Not a shared one: the name of a group must not keep the buffer alive that it came in.
    reader: Reader<'a>,
    names: usize,
    name_bytes: usize,
    pids: usize,
}

impl<'a> Input<'a> {
    fn new(payload: &'a Payload) -> Self {
        Self { reader: Reader::new(payload.bytes(), payload.atoms()), names: 0, name_bytes: 0, pids: 0 }
    }

    fn name(&mut self) -> Result<Name, DecodeError> {
        let start = self.reader.clone();
        let mut end = start.clone();
        end.skip()?;
        let bytes = end.offset() - start.offset();
        self.names += 1;
        self.name_bytes += bytes;
        if bytes > LONGEST_NAME || self.names > MOST_GROUPS || self.name_bytes > MOST_NAME_BYTES {
            return start.fail(DecodeErrorKind::Invalid("too many groups in one message, or one with too long a name"));
        }
        Ok(Name { term: Arc::new(Term::decode(&mut self.reader, &Limits::default())?), bytes })
    }

    fn pid(&mut self) -> Result<Pid, DecodeError> {
        self.pids += 1;
        if self.pids > MOST_MEMBERS {
            return self.reader.fail(DecodeErrorKind::Invalid("too many members in one message"));
        }
        self.reader.pid()
    }

    fn pids(&mut self) -> Result<Vec<Pid>, DecodeError> {
        self.list(Self::pid)
    }

    fn pids_or_pid(&mut self) -> Result<Vec<Pid>, DecodeError> {
        let start = self.reader.clone();
        match self.reader.pid() {
            Ok(pid) => Ok(vec![pid]),
            Err(_) => {
                self.reader = start;
                self.pids()
            }
        }
    }

    fn group(&mut self) -> Result<(Name, Vec<Pid>), DecodeError> {
        self.reader.tuple_of(2)?;
        Ok((self.name()?, self.pids()?))
    }

    fn change(&mut self) -> Result<(Name, Vec<Pid>, Vec<Pid>), DecodeError> {
        self.reader.tuple_of(3)?;
        Ok((self.name()?, self.pids()?, self.pids()?))
    }

    /// The elements of a list; nothing is reserved for what is only announced.
    fn list<T>(&mut self, element: impl Fn(&mut Self) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        let mut elements = Vec::new();
        if let Some(count) = self.reader.list()? {
            for _ in 0..count {
                elements.push(element(self)?);
            }
            self.reader.nil()?;
        }
        Ok(elements)
    }
}

/// `{discover, Scope}`, in the form that every release takes.
pub(super) fn discover(scope: &Pid) -> Result<Payload, EncodeError> {
    written(|encoder| {
        encoder.tuple_header(2);
        encoder.atom(&atom!("discover"));
        encoder.pid(scope);
        Ok(())
    })
}

/// `{'$gen_cast', {sync, Scope, [{Group, [Pid]}]}}`.
pub(super) fn sync<'a>(
    scope: &Pid,
    groups: impl Iterator<Item = (&'a Term, &'a [Pid])>,
) -> Result<Payload, EncodeError> {
    let groups: Vec<_> = groups.collect();
    written(|encoder| {
        encoder.tuple_header(2);
        encoder.atom(&atom!("$gen_cast"));
        encoder.tuple_header(3);
        encoder.atom(&atom!("sync"));
        encoder.pid(scope);
        list(encoder, &groups, |encoder, (group, pids)| {
            encoder.tuple_header(2);
            group.encode(encoder)?;
            write_pids(encoder, pids)
        })
    })
}

/// `{join, Scope, Group, [Pid]}`.
pub(super) fn join(scope: &Pid, group: &Term, pids: &[Pid]) -> Result<Payload, EncodeError> {
    written(|encoder| {
        encoder.tuple_header(4);
        encoder.atom(&atom!("join"));
        encoder.pid(scope);
        group.encode(encoder)?;
        write_pids(encoder, pids)
    })
}

/// `{leave, Scope, [Pid], [Group]}`.
pub(super) fn leave(scope: &Pid, pids: &[Pid], groups: &[&Term]) -> Result<Payload, EncodeError> {
    written(|encoder| {
        encoder.tuple_header(4);
        encoder.atom(&atom!("leave"));
        encoder.pid(scope);
        write_pids(encoder, pids)?;
        list(encoder, groups, |encoder, group| group.encode(encoder))
    })
}

fn written(write: impl FnOnce(&mut Encoder<'_>) -> Result<(), EncodeError>) -> Result<Payload, EncodeError> {
    let mut buf = BytesMut::new();
    write(&mut Encoder::new(&mut buf))?;
    Ok(Payload::new(buf.freeze(), None))
}

fn write_pids(encoder: &mut Encoder<'_>, pids: &[Pid]) -> Result<(), EncodeError> {
    list(encoder, pids, |encoder, pid| {
        encoder.pid(pid);
        Ok(())
    })
}

fn list<T>(
    encoder: &mut Encoder<'_>,
    elements: &[T],
    write: impl Fn(&mut Encoder<'_>, &T) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    if !elements.is_empty() {
        encoder.list_header(elements.len() as u32);
        for element in elements {
            write(encoder, element)?;
        }
    }
    encoder.nil();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Creation;
    use crate::{list, tuple};

    fn pid(id: u32) -> Pid {
        Pid { node: atom!("a@h"), id, serial: 0, creation: Creation(7) }
    }

    fn payload(term: &Term) -> Payload {
        Payload::from_term(term).unwrap()
    }

    fn names(heard: &[(Name, Vec<Pid>)]) -> Vec<(Term, Vec<Pid>)> {
        heard.iter().map(|(name, pids)| ((*name.term).clone(), pids.clone())).collect()
    }

    #[test]
    fn all_dialects_are_understood() {
        let heard = |term: Term| Heard::message(&payload(&term)).unwrap();
        let (p, q) = (pid(1), pid(2));
        assert_eq!(heard(tuple![atom!("discover"), &p]), Heard::Discover(p.clone()));
        assert_eq!(heard(tuple![atom!("discover"), &p, 1]), Heard::Discover(p.clone()));
        for pids in [Term::from(&q), list![&q]] {
            let Heard::Join(peer, group, joined) = heard(tuple![atom!("join"), &p, atom!("g"), pids.clone()]) else {
                panic!("no join")
            };
            assert_eq!((peer, &*group.term, joined), (p.clone(), &Term::from(atom!("g")), vec![q.clone()]));
            let Heard::Leave(_, left, groups) = heard(tuple![atom!("leave"), &p, pids, list!["g", "g"]]) else {
                panic!("no leave")
            };
            assert_eq!((left, groups.len()), (vec![q.clone()], 2));
        }
        let change = tuple!["g", list![&q], list![]];
        let Heard::Update(_, changes) = heard(tuple![atom!("update"), &p, list![change]]) else { panic!("no update") };
        assert_eq!((changes[0].1.len(), changes[0].2.len()), (1, 0));

        let cast = |term: Term| Heard::cast(&payload(&term)).unwrap();
        let expected = vec![(Term::from("g"), vec![q.clone(), q.clone()])];
        let data = Term::map([(Term::from("g"), list![&q, &q])]);
        for message in
            [tuple![atom!("sync"), &p, list![tuple!["g", list![&q, &q]]]], tuple![atom!("local_data"), &p, 1, data]]
        {
            let Heard::Sync(peer, groups) = cast(message) else { panic!("no sync") };
            assert_eq!((peer, names(&groups)), (p.clone(), expected.clone()));
        }
    }

    #[test]
    fn what_is_said_has_the_shapes_of_otp_23() {
        let (p, q, group) = (pid(1), pid(2), Term::from("g"));
        let said = |payload: Result<Payload, EncodeError>| payload.unwrap().term().unwrap();
        assert_eq!(said(discover(&p)), tuple![atom!("discover"), &p]);
        assert_eq!(said(join(&p, &group, std::slice::from_ref(&q))), tuple![atom!("join"), &p, "g", list![&q]]);
        assert_eq!(
            said(leave(&p, std::slice::from_ref(&q), &[&group, &group])),
            tuple![atom!("leave"), &p, list![&q], list!["g", "g"]]
        );
        let pids = [q.clone(), q.clone()];
        let groups = [(&group, &pids[..])];
        let body = tuple![atom!("sync"), &p, list![tuple!["g", list![&q, &q]]]];
        assert_eq!(said(sync(&p, groups.into_iter())), tuple![atom!("$gen_cast"), body]);
        assert_eq!(said(sync(&p, [].into_iter())), tuple![atom!("$gen_cast"), tuple![atom!("sync"), &p, list![]]]);
    }

    #[test]
    fn what_no_scope_says_is_an_error() {
        let p = pid(1);
        for odd in [
            tuple![],
            Term::from(7),
            tuple![atom!("discover"), 7],
            tuple![atom!("discover"), &p, 1, 2],
            tuple![atom!("join"), &p, "g", list![1]],
            tuple![atom!("join"), &p, "g", list![&p; 7]],
            tuple![atom!("leave"), &p, &p, "g"],
            tuple![atom!("update"), &p, list![tuple!["g", list![]]]],
            tuple![atom!("join"), &p, Term::binary(vec![0; LONGEST_NAME]), &p],
        ] {
            assert!(Heard::message(&payload(&odd)).is_err(), "{odd}");
        }
        assert!(Heard::cast(&payload(&tuple![atom!("sync"), &p, tuple![]])).is_err());
        assert!(Heard::cast(&payload(&tuple![atom!("other"), &p, list![]])).is_err());
    }
}
