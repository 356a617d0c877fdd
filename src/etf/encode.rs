//! The encoder: one method per kind of term, straight into a buffer.
//!
//! It writes the tags that every release from OTP 23 on takes (`docs/wire-notes.md`). It does not check
//! that a tuple gets as many elements as its header promised: that is for the layers above (`Term`,
//! serde), which know.

use bytes::{BufMut, Bytes, BytesMut};
use num_bigint::{BigInt, Sign};
use smallvec::SmallVec;

use super::atom::{Atom, AtomTooLong, MAX_ATOM_CHARACTERS};
use super::ids::{Pid, Port, Ref};
use super::read::Reader;
use super::tag;
use super::term::OpaqueFun;

/// From this size on a binary is chained to the message instead of copied into it.
pub const CHAIN_FROM: usize = 4096;

/// Room for most terms that are encoded on their own, so that the buffer need not grow.
pub(crate) const TYPICAL_TERM: usize = 128;

/// The atoms of one message, in the order of their first use: those that the distribution header
/// names, so that the terms can refer to them by a byte.
#[derive(Debug, Clone, Default)]
pub struct AtomRefs(SmallVec<[Atom; 6]>);

impl AtomRefs {
    /// A header may name this many atoms; the rest stands in the terms in full.
    pub const MAX: usize = 255;

    /// The index of an atom, which is added if there is room for it.
    pub fn index(&mut self, atom: &Atom) -> Option<u8> {
        if let Some(index) = self.0.iter().position(|known| known == atom) {
            return Some(index as u8);
        }
        if self.0.len() == Self::MAX {
            return None;
        }
        self.0.push(atom.clone());
        Some((self.0.len() - 1) as u8)
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The atoms, in order.
    pub fn as_slice(&self) -> &[Atom] {
        &self.0
    }
}

/// Writes terms into a buffer.
///
/// [`Encoder::new`] gives terms as `term_to_binary` does (without the version byte, see
/// [`Encoder::version`]); [`Encoder::with_atoms`] gives the form for messages behind a
/// distribution header.
#[derive(Debug)]
pub struct Encoder<'a> {
    buf: &'a mut BytesMut,
    atoms: Option<&'a mut AtomRefs>,
    chain: Option<&'a mut Vec<Bytes>>,
}

impl<'a> Encoder<'a> {
    /// Atoms in full, everything into `buf`.
    pub fn new(buf: &'a mut BytesMut) -> Self {
        Self { buf, atoms: None, chain: None }
    }

    /// Atoms as indices into `atoms`, the list that the distribution header will carry.
    pub fn with_atoms(buf: &'a mut BytesMut, atoms: &'a mut AtomRefs) -> Self {
        Self { buf, atoms: Some(atoms), chain: None }
    }

    /// Lets large binaries go into `chain` as they are, each after the bytes that precede it. The
    /// message is then all of `chain`, followed by what is left in the buffer.
    #[must_use]
    pub fn chaining(mut self, chain: &'a mut Vec<Bytes>) -> Self {
        self.chain = Some(chain);
        self
    }

    /// What was written from `start` on, to be read again.
    pub(super) fn written_from(&self, start: usize) -> Reader<'_> {
        let atoms = self.atoms.as_deref().map_or(&[][..], AtomRefs::as_slice);
        Reader::new(self.buf.get(start..).unwrap_or_default(), atoms)
    }

    /// The buffer, to write bytes that are encoded already.
    #[inline]
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buf
    }

    /// True when atoms are written as indices, so that bytes encoded for themselves still fit (full
    /// atoms are legal everywhere) but bytes of another message with indices do not.
    pub fn refers_to_atoms(&self) -> bool {
        self.atoms.is_some()
    }

    /// The version byte 131 that starts a term outside of distribution headers.
    pub fn version(&mut self) {
        self.buf.put_u8(tag::VERSION);
    }

    /// An atom.
    #[inline]
    pub fn atom(&mut self, atom: &Atom) {
        if let Some(atoms) = self.atoms.as_deref_mut()
            && let Some(index) = atoms.index(atom)
        {
            self.buf.put_slice(&[tag::ATOM_CACHE_REF, index]);
            return;
        }
        match atom.short() {
            // All that it has room for goes out, and what is too much is taken back.
            Some((len, text)) => {
                let mut all = [0; 18];
                all[0] = tag::SMALL_ATOM_UTF8;
                all[1] = len;
                all[2..].copy_from_slice(text);
                self.buf.put_slice(&all);
                self.buf.truncate(self.buf.len() - (text.len() - usize::from(len)));
            }
            None => self.plain_atom(atom.as_bytes()),
        }
    }

    /// An atom of text, without making the atom where it is not referred to.
    #[inline]
    pub(crate) fn atom_of(&mut self, text: &str) -> Result<(), AtomTooLong> {
        if self.atoms.is_some() || text.len() > MAX_ATOM_CHARACTERS {
            self.atom(&Atom::new(text)?);
        } else {
            self.plain_atom(text.as_bytes());
        }
        Ok(())
    }

    /// As [`atom_of`](Self::atom_of), of the bytes of an atom.
    #[inline]
    pub(crate) fn atom_of_bytes(&mut self, text: &[u8]) -> Result<(), AtomTooLong> {
        if self.atoms.is_some() {
            return self.atom_of(std::str::from_utf8(text).unwrap_or_default());
        }
        self.plain_atom(text);
        Ok(())
    }

    #[inline]
    fn plain_atom(&mut self, text: &[u8]) {
        if let Ok(len) = u8::try_from(text.len()) {
            self.buf.reserve(2 + text.len());
            self.buf.put_slice(&[tag::SMALL_ATOM_UTF8, len]);
        } else {
            // 255 characters of at most 4 bytes: always fits 16 bits.
            self.counted(tag::ATOM_UTF8, text.len() as u16);
        }
        self.buf.put_slice(text);
    }

    /// A tag and a count of two bytes.
    #[inline]
    fn counted(&mut self, tag: u8, count: u16) {
        let [high, low] = count.to_be_bytes();
        self.buf.put_slice(&[tag, high, low]);
    }

    /// A tag and a number of four bytes.
    #[inline]
    fn tagged(&mut self, tag: u8, number: u32) {
        let [a, b, c, d] = number.to_be_bytes();
        self.buf.put_slice(&[tag, a, b, c, d]);
    }

    /// An integer, in its shortest form.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        if let Ok(byte) = u8::try_from(value) {
            self.buf.put_slice(&[tag::SMALL_INTEGER, byte]);
        } else if let Ok(word) = i32::try_from(value) {
            self.tagged(tag::INTEGER, word as u32);
        } else {
            self.wide(value < 0, value.unsigned_abs());
        }
    }

    /// An unsigned integer, in its shortest form.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.i64(value),
            Err(_) => self.wide(false, value),
        }
    }

    /// An integer of any size, in its shortest form.
    pub fn big(&mut self, value: &BigInt) {
        if let Ok(value) = i64::try_from(value) {
            return self.i64(value);
        }
        let (sign, magnitude) = value.to_bytes_le();
        if magnitude.len() <= 255 {
            return self.small_big(sign == Sign::Minus, &magnitude);
        }
        self.buf.put_u8(tag::LARGE_BIG);
        self.buf.put_u32(magnitude.len() as u32);
        self.buf.put_u8(u8::from(sign == Sign::Minus));
        self.buf.put_slice(&magnitude);
    }

    /// An integer of at most eight bytes: all of them go out, and what is too much is taken back.
    #[inline]
    fn wide(&mut self, negative: bool, magnitude: u64) {
        let len = 8 - magnitude.leading_zeros() / 8;
        let [a, b, c, d, e, f, g, h] = magnitude.to_le_bytes();
        self.buf.put_slice(&[tag::SMALL_BIG, len as u8, u8::from(negative), a, b, c, d, e, f, g, h]);
        self.buf.truncate(self.buf.len() - (8 - len as usize));
    }

    fn small_big(&mut self, negative: bool, magnitude: &[u8]) {
        let len = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        self.buf.put_slice(&[tag::SMALL_BIG, len as u8, u8::from(negative)]);
        self.buf.put_slice(&magnitude[..len]);
    }

    /// A float. Not-a-number and the infinities do not exist in Erlang; a BEAM closes the connection
    /// for them, so it is for the caller to refuse them.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        self.buf.put_slice(&[tag::NEW_FLOAT, a, b, c, d, e, f, g, h]);
    }

    /// The empty list, or the tail of a proper one.
    #[inline]
    pub fn nil(&mut self) {
        self.buf.put_u8(tag::NIL);
    }

    /// Starts a list of `len` elements; then come these, then the tail ([`nil`](Self::nil) for a
    /// proper list).
    #[inline]
    pub fn list_header(&mut self, len: u32) {
        self.tagged(tag::LIST, len);
    }

    /// A list of bytes, in the compact form where there are at most 65535.
    pub fn byte_list(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(0) => self.nil(),
            Ok(len) => {
                self.buf.reserve(3 + bytes.len());
                self.counted(tag::STRING, len);
                self.buf.put_slice(bytes);
            }
            Err(_) => {
                self.list_header(bytes.len() as u32);
                for &byte in bytes {
                    self.buf.put_slice(&[tag::SMALL_INTEGER, byte]);
                }
                self.nil();
            }
        }
    }

    /// Text as a list of its characters, in the compact form where all are latin-1 and at most 65535.
    pub fn charlist(&mut self, text: &str) {
        if text.is_ascii() {
            return self.byte_list(text.as_bytes());
        }
        let count = text.chars().count();
        match u16::try_from(count) {
            Ok(count) if text.chars().all(|character| u8::try_from(character).is_ok()) => {
                self.buf.put_u8(tag::STRING);
                self.buf.put_u16(count);
                self.buf.extend(text.chars().map(|character| u32::from(character) as u8));
            }
            _ => {
                // A text of more than 4 GiB does not get here: its characters would not fit a message.
                self.list_header(count as u32);
                for character in text.chars() {
                    self.i64(u32::from(character).into());
                }
                self.nil();
            }
        }
    }

    /// Starts a tuple of `arity` elements.
    #[inline]
    pub fn tuple_header(&mut self, arity: u32) {
        if let Ok(arity) = u8::try_from(arity) {
            self.buf.put_slice(&[tag::SMALL_TUPLE, arity]);
        } else {
            self.tagged(tag::LARGE_TUPLE, arity);
        }
    }

    /// Starts a map of `pairs` keys and values, each key before its value. Keys must differ: a BEAM
    /// closes the connection for a key that comes twice.
    #[inline]
    pub fn map_header(&mut self, pairs: u32) {
        self.tagged(tag::MAP, pairs);
    }

    /// A binary, copied.
    #[inline]
    pub fn binary(&mut self, bytes: &[u8]) {
        self.buf.reserve(5 + bytes.len());
        self.tagged(tag::BINARY, bytes.len() as u32);
        self.buf.put_slice(bytes);
    }

    /// A binary, chained where it is large and [`chaining`](Self::chaining) is on.
    #[inline]
    pub fn bytes(&mut self, bytes: &Bytes) {
        match self.chain.as_deref_mut() {
            Some(chain) if bytes.len() >= CHAIN_FROM => {
                self.buf.put_u8(tag::BINARY);
                self.buf.put_u32(bytes.len() as u32);
                chain.push(self.buf.split().freeze());
                chain.push(bytes.clone());
            }
            _ => self.binary(bytes),
        }
    }

    /// A bitstring whose last byte has `bits` (1 to 8) used bits, the high ones.
    pub fn bitstring(&mut self, bytes: &[u8], bits: u8) {
        if bits == 8 || bytes.is_empty() {
            return self.binary(bytes);
        }
        self.buf.put_u8(tag::BIT_BINARY);
        self.buf.put_u32(bytes.len() as u32);
        self.buf.put_u8(bits);
        self.buf.put_slice(bytes);
    }

    /// A pid.
    pub fn pid(&mut self, pid: &Pid) {
        self.buf.put_u8(tag::NEW_PID);
        self.atom(&pid.node);
        let mut numbers = [0; 12];
        let all = [pid.id, pid.serial, pid.creation.0];
        numbers.as_chunks_mut::<4>().0.iter_mut().zip(all).for_each(|(to, number)| *to = number.to_be_bytes());
        self.buf.put_slice(&numbers);
    }

    /// A port; the wide form only where the number needs it, which only nodes with `V4_NC` make.
    pub fn port(&mut self, port: &Port) {
        let narrow = u32::try_from(port.id).ok().filter(|&id| id < 1 << 28);
        self.buf.put_u8(if narrow.is_some() { tag::NEW_PORT } else { tag::V4_PORT });
        self.atom(&port.node);
        match narrow {
            Some(id) => self.buf.put_u32(id),
            None => self.buf.put_u64(port.id),
        }
        self.buf.put_u32(port.creation.0);
    }

    /// A reference, with as many words as it came with.
    pub fn reference(&mut self, reference: &Ref) {
        self.buf.put_u8(tag::NEWER_REFERENCE);
        self.buf.put_u16(reference.words().len() as u16);
        self.atom(&reference.node);
        self.buf.put_u32(reference.creation.0);
        for &word in reference.words() {
            self.buf.put_u32(word);
        }
    }

    /// `fun Module:Function/Arity`.
    pub fn export(&mut self, module: &Atom, function: &Atom, arity: u8) {
        self.buf.put_u8(tag::EXPORT);
        self.atom(module);
        self.atom(function);
        self.i64(i64::from(arity));
    }

    /// Starts a native record: then come its module, its name, the names of the `fields`, and their
    /// values.
    pub(crate) fn record_header(&mut self, fields: u32, flags: u8) {
        self.buf.put_u8(tag::RECORD);
        self.buf.put_u32(fields);
        self.buf.put_u8(flags);
    }

    /// Starts an opaque fun: then come as many values as `free` says, and [`fun_end`](Self::fun_end),
    /// which writes the size that readers skip by.
    pub(crate) fn fun_head(&mut self, fun: &OpaqueFun, free: u32) -> FunStart<'a> {
        self.buf.put_u8(tag::NEW_FUN);
        let start = FunStart { size_at: self.buf.len(), chain: self.chain.take() };
        self.buf.put_u32(0);
        self.buf.put_u8(fun.arity);
        self.buf.put_slice(&fun.uniq);
        self.buf.put_u32(fun.index);
        self.buf.put_u32(free);
        self.atom(&fun.module);
        self.i64(fun.old_index);
        self.i64(fun.old_uniq);
        self.pid(&fun.pid);
        start
    }

    /// Ends an opaque fun.
    pub(crate) fn fun_end(&mut self, start: FunStart<'a>) {
        let size = self.buf.len().saturating_sub(start.size_at) as u32;
        self.patch(start.size_at, size);
        self.chain = start.chain;
    }

    /// Writes a u32 over one that was left open at `at`.
    #[inline]
    pub(crate) fn patch(&mut self, at: usize, value: u32) {
        if let Some(open) = self.buf.get_mut(at..at + 4) {
            open.copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// An opaque fun that is being written. Nothing is chained meanwhile: its size counts bytes of one buffer.
#[must_use]
pub(crate) struct FunStart<'a> {
    size_at: usize,
    chain: Option<&'a mut Vec<Bytes>>,
}
