//! Identifiers, funs and native records out of a reader: what programs pass on without looking inside.

use super::super::ids::{Creation, MAX_REF_WORDS, Pid, Port, Ref};
use super::super::tag;
use super::super::term::{MAX_FREE, OpaqueFun, Record, Term};
use super::{Atom, DecodeError, DecodeErrorKind, Reader};

impl Reader<'_> {
    /// Takes `fun Module:Function/Arity`.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn export(&mut self) -> Result<(Atom, Atom, u8), DecodeError> {
        if self.peek_tag()? != tag::EXPORT {
            return self.unexpected("a fun of the form module:function/arity");
        }
        self.pass(1);
        Ok((self.atom()?, self.atom()?, self.arity()?))
    }

    /// Takes the number of arguments of an exported fun.
    pub(crate) fn arity(&mut self) -> Result<u8, DecodeError> {
        let start = self.clone();
        u8::try_from(self.i64()?)
            .or_else(|_| start.fail(DecodeErrorKind::Invalid("the arity of a fun is not between 0 and 255")))
    }

    /// Takes an opaque fun up to the values it closes over: these come next, as many as the second
    /// part of the answer says.
    pub(crate) fn fun_head(&mut self) -> Result<(OpaqueFun, usize), DecodeError> {
        let start = self.clone();
        if self.u8()? != tag::NEW_FUN {
            *self = start;
            return self.unexpected("a fun");
        }
        // The size is what some sender believes; a BEAM does not look at it either.
        self.u32()?;
        let arity = self.u8()?;
        let uniq = self.array()?;
        let index = self.u32()?;
        let free = self.count(1)?;
        if free > MAX_FREE {
            return start.fail(DecodeErrorKind::Invalid("a fun closes over more than 255 values"));
        }
        let module = self.atom()?;
        let (old_index, old_uniq) = (self.i64()?, self.i64()?);
        let pid = self.pid()?;
        Ok((OpaqueFun { arity, uniq, index, module, old_index, old_uniq, pid, free: Vec::new() }, free))
    }

    /// Takes a native record up to the values of its fields, which come next; they are empty lists
    /// in the answer.
    pub(crate) fn record_head(&mut self) -> Result<Record, DecodeError> {
        if self.peek_tag()? != tag::RECORD {
            return self.unexpected("a native record");
        }
        self.pass(1);
        let count = self.count(2)?;
        let flags = self.u8()?;
        let (module, name) = (self.atom()?, self.atom()?);
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push((self.atom()?, Term::NIL));
        }
        Ok(Record { flags, module, name, fields })
    }

    pub(crate) fn narrow_creation(&mut self) -> Result<Creation, DecodeError> {
        match self.u8()? {
            creation @ 0..=3 => Ok(Creation(creation.into())),
            _ => self.fail(DecodeErrorKind::Invalid("a creation of one byte is above 3")),
        }
    }

    /// Takes a pid, new or old.
    ///
    /// # Errors
    /// When the next term is something else.
    #[inline]
    pub fn pid(&mut self) -> Result<Pid, DecodeError> {
        match self.usual_pid() {
            Some(pid) => Ok(pid),
            None => self.rare_pid(),
        }
    }

    /// Takes a pid in the form of today, with a short name of a node.
    #[inline(always)]
    pub(crate) fn usual_pid(&mut self) -> Option<Pid> {
        let [tag::NEW_PID, behind @ ..] = self.rest else { return None };
        let mut name = Reader { rest: behind, ..*self };
        let node = name.short_atom()?;
        let (&[a, b, c, d, e, f, g, h, i, j, k, l], behind) = name.rest.split_first_chunk()?;
        self.rest = behind;
        let (id, serial) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Some(Pid { node, id, serial, creation: Creation(u32::from_be_bytes([i, j, k, l])) })
    }

    /// As [`pid`](Self::pid), for all others, and the errors.
    #[inline(never)]
    fn rare_pid(&mut self) -> Result<Pid, DecodeError> {
        let wide = match self.peek_tag()? {
            tag::NEW_PID => true,
            tag::PID => false,
            _ => return self.unexpected("a pid"),
        };
        self.pass(1);
        let node = self.atom()?;
        let (id, serial) = (self.u32()?, self.u32()?);
        let creation = if wide { Creation(self.u32()?) } else { self.narrow_creation()? };
        Ok(Pid { node, id, serial, creation })
    }

    /// Takes a port, in any of its three forms.
    ///
    /// # Errors
    /// When the next term is something else.
    pub fn port(&mut self) -> Result<Port, DecodeError> {
        let tag = self.peek_tag()?;
        if !matches!(tag, tag::V4_PORT | tag::NEW_PORT | tag::PORT) {
            return self.unexpected("a port");
        }
        self.pass(1);
        let node = self.atom()?;
        let id = if tag == tag::V4_PORT { self.u64_raw()? } else { self.u32()?.into() };
        let creation = if tag == tag::PORT { self.narrow_creation()? } else { Creation(self.u32()?) };
        Ok(Port { node, id, creation })
    }

    /// Takes a reference, in any of its three forms.
    ///
    /// # Errors
    /// When the next term is something else, or has no words or more than five.
    pub fn reference(&mut self) -> Result<Ref, DecodeError> {
        let start = self.clone();
        let tag = self.u8()?;
        let (len, node, creation) = match tag {
            tag::REFERENCE => (1, self.atom()?, None),
            tag::NEW_REFERENCE | tag::NEWER_REFERENCE => {
                let len = usize::from(self.u16()?);
                let node = self.atom()?;
                let creation = if tag == tag::NEW_REFERENCE { self.narrow_creation()? } else { Creation(self.u32()?) };
                (len, node, Some(creation))
            }
            _ => {
                *self = start;
                return self.unexpected("a reference");
            }
        };
        let mut words = [0; MAX_REF_WORDS];
        for word in words.iter_mut().take(len) {
            *word = self.u32()?;
        }
        let creation = match creation {
            Some(creation) => creation,
            None => self.narrow_creation()?,
        };
        match words.get(..len).and_then(|words| Ref::new(node, creation, words)) {
            Some(reference) => Ok(reference),
            None => start.fail(DecodeErrorKind::Invalid("a reference has one to five words")),
        }
    }
}
