//! Terms from one message into another, without building them: atoms change from references into
//! one header to references into another, or to full text.

use smallvec::SmallVec;

use super::decode::refused;
use super::encode::{CHAIN_FROM, Encoder, FunStart};
use super::error::DecodeError;
use super::payload::Payload;
use super::read::Reader;
use super::tag;

impl<'a> Encoder<'a> {
    /// Writes the term that comes next in `reader`, which may belong to another message.
    ///
    /// # Errors
    /// For what is no term; the buffer then holds half of it.
    pub fn copy(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        if reader.atoms().is_empty() && !self.refers_to_atoms() {
            let from = reader.rest();
            let start = reader.offset();
            reader.skip()?;
            let len = reader.offset() - start;
            self.buffer().extend_from_slice(from.get(..len).unwrap_or_default());
            return Ok(());
        }
        // How many parts are missing, twice, plus one for a fun.
        let mut open: SmallVec<[u64; 64]> = SmallVec::new();
        let mut funs: Vec<FunStart<'a>> = Vec::new();
        loop {
            let (parts, fun) = self.copy_item(reader)?;
            if parts > 0 {
                open.push(parts << 1 | u64::from(fun.is_some()));
                funs.extend(fun);
                continue;
            }
            if let Some(fun) = fun {
                self.fun_end(fun);
            }
            loop {
                match open.last_mut() {
                    None => return Ok(()),
                    Some(parts) if *parts >= 4 => {
                        *parts -= 2;
                        break;
                    }
                    Some(_) => {
                        if open.pop().is_some_and(|parts| parts & 1 == 1)
                            && let Some(fun) = funs.pop()
                        {
                            self.fun_end(fun);
                        }
                    }
                }
            }
        }
    }

    /// Writes a payload, whatever message it came with.
    ///
    /// # Errors
    /// As [`copy`](Self::copy); none for a payload that was validated or encoded here.
    pub fn payload(&mut self, payload: &Payload) -> Result<(), DecodeError> {
        self.copy(&mut payload.reader())
    }

    /// Copies one item, or the head of one; says how many parts follow.
    fn copy_item(&mut self, reader: &mut Reader<'_>) -> Result<(u64, Option<FunStart<'a>>), DecodeError> {
        let parts = match reader.peek_tag()? {
            tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => {
                self.atom(&reader.atom()?);
                0
            }
            tag::NEW_PID | tag::PID => {
                self.pid(&reader.pid()?);
                0
            }
            tag::NEW_PORT | tag::V4_PORT | tag::PORT => {
                self.port(&reader.port()?);
                0
            }
            tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => {
                self.reference(&reader.reference()?);
                0
            }
            tag::SMALL_TUPLE | tag::LARGE_TUPLE => {
                let arity = reader.tuple()?;
                self.tuple_header(arity as u32);
                arity as u64
            }
            tag::LIST => {
                let len = reader.list()?.unwrap_or_default();
                self.list_header(len as u32);
                len as u64 + 1
            }
            tag::MAP => {
                let pairs = reader.map()?;
                self.map_header(pairs as u32);
                pairs as u64 * 2
            }
            tag::BINARY => {
                let start = reader.clone();
                let slice = reader.binary()?;
                if slice.len() >= CHAIN_FROM {
                    *reader = start;
                    self.bytes(&reader.bytes()?);
                } else {
                    self.binary(slice);
                }
                0
            }
            tag::EXPORT => {
                let (module, function, arity) = reader.export()?;
                self.export(&module, &function, arity);
                0
            }
            tag::NEW_FUN => {
                let (fun, free) = reader.fun_head()?;
                return Ok((free as u64, Some(self.fun_head(&fun, free as u32))));
            }
            tag::RECORD => {
                let record = reader.record_head()?;
                self.record_header(record.fields.len() as u32, record.flags);
                self.atom(&record.module);
                self.atom(&record.name);
                record.fields.iter().for_each(|(name, _)| self.atom(name));
                record.fields.len() as u64
            }
            tag::SMALL_INTEGER
            | tag::INTEGER
            | tag::SMALL_BIG
            | tag::LARGE_BIG
            | tag::NEW_FLOAT
            | tag::FLOAT
            | tag::NIL
            | tag::STRING
            | tag::BIT_BINARY => {
                let from = reader.rest();
                let start = reader.offset();
                reader.skip()?;
                let len = reader.offset() - start;
                self.buffer().extend_from_slice(from.get(..len).unwrap_or_default());
                0
            }
            other => return Err(refused(reader.offset(), other)),
        };
        Ok((parts, None))
    }
}

impl Payload {
    /// The same term with all atoms in full, so that it stands for itself.
    ///
    /// # Errors
    /// As [`Encoder::copy`].
    pub fn self_contained(&self) -> Result<Self, DecodeError> {
        if self.atoms().is_empty() {
            return Ok(self.clone());
        }
        let mut buf = bytes::BytesMut::with_capacity(self.bytes().len() * 2);
        Encoder::new(&mut buf).payload(self)?;
        Ok(Self::new(buf.freeze(), None))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;

    use super::*;
    use crate::atom;
    use crate::etf::{AtomRefs, Creation, Fun, Limits, OpaqueFun, Pid, Record, Ref, Term};
    use crate::{list, tuple};

    fn everything() -> Term {
        let pid = Pid { node: atom!("worker@host.example"), id: 7, serial: 1, creation: Creation(9) };
        let fun = OpaqueFun {
            arity: 3,
            uniq: [7; 16],
            index: 2,
            module: atom!("global"),
            old_index: 4,
            old_uniq: 99,
            pid: pid.clone(),
            free: vec![atom!("worker@host.example").into(), tuple![atom!("ok")], Term::from(vec![7u8; 5000])],
        };
        let plain = OpaqueFun { free: Vec::new(), ..fun.clone() };
        let record = Record {
            flags: 1,
            module: atom!("nr"),
            name: atom!("pt"),
            fields: vec![(atom!("x"), 1.into()), (atom!("y"), Term::Fun(Box::new(Fun::Opaque(plain))))],
        };
        tuple![
            atom!("ok"),
            list![atom!("alias"); Ref::from_three(atom!("worker@host.example"), Creation(9), [1, 2, 3])],
            Term::map([(atom!("ok").into(), Term::from(vec![1u8; 5000])), (1.into(), 2.5.into())]),
            Fun::Opaque(fun),
            record,
            Term::export(atom!("global"), atom!("ok"), 3),
            i64::MIN,
            Term::charlist("text"),
            pid,
        ]
    }

    fn with_atoms(term: &Term) -> Payload {
        let (mut buf, mut atoms) = (BytesMut::new(), AtomRefs::default());
        term.encode(&mut Encoder::with_atoms(&mut buf, &mut atoms)).unwrap();
        Payload::new(buf.freeze(), Some(Arc::from(atoms.as_slice())))
    }

    #[test]
    fn terms_move_between_messages_with_different_atoms() {
        let term = everything();
        let plain = Payload::from_term(&term).unwrap();
        let first = with_atoms(&term);
        assert!(first.bytes().len() < plain.bytes().len());
        assert_eq!(first.self_contained().unwrap().bytes(), plain.bytes());

        let (mut buf, mut atoms) = (BytesMut::new(), AtomRefs::default());
        atoms.index(&atom!("other"));
        let mut encoder = Encoder::with_atoms(&mut buf, &mut atoms);
        encoder.payload(&first).unwrap();
        encoder.payload(&plain).unwrap();
        let mut reader = Reader::new(&buf, atoms.as_slice());
        for _ in 0..2 {
            assert_eq!(Term::decode(&mut reader, &Limits::default()).unwrap(), term);
        }
        reader.finish().unwrap();
    }

    #[test]
    fn large_binaries_are_chained_but_not_inside_funs() {
        let first = with_atoms(&everything());
        let (mut buf, mut chain) = (BytesMut::new(), Vec::new());
        Encoder::new(&mut buf).chaining(&mut chain).payload(&first).unwrap();
        assert_eq!(chain.len(), 2);
        let mut whole = chain.concat();
        whole.extend_from_slice(&buf);
        assert_eq!(&whole[..], Payload::from_term(&everything()).unwrap().bytes());
    }
}
