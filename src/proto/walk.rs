//! Walking over encoded terms without building them: to find their end, and to carry them over from one
//! message into another, whose header has other atoms.

use bytes::Bytes;

use crate::etf::{CHAIN_FROM, DecodeError, DecodeErrorKind, Encoder, Limits, Payload, Reader, tag};

/// Moves `reader` behind one term, which is checked in full.
pub(super) fn skip(reader: &mut Reader<'_>, limits: &Limits) -> Result<(), DecodeError> {
    let mut open = 1_u64;
    let mut items = 0;
    while open > 0 {
        open -= 1;
        items += 1;
        if items > limits.items {
            return Err(reader.error(DecodeErrorKind::Invalid("too many items")));
        }
        match step(reader)? {
            Step::Bytes { children } | Step::Fun { children, .. } => open += children,
            Step::Atom | Step::Pid | Step::Port | Step::Reference | Step::Binary => match reader.peek_tag()? {
                tag::BINARY => drop(reader.binary()?),
                tag::NEW_PID | tag::PID => drop(reader.pid()?),
                tag::NEW_PORT | tag::V4_PORT | tag::PORT => drop(reader.port()?),
                tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => drop(reader.reference()?),
                _ => drop(reader.atom()?),
            },
        }
    }
    Ok(())
}

/// Writes the term of `payload` for another message: references into the header that it came with
/// become atoms of the message that `enc` writes. Nothing is built; large binaries stay shared.
pub(super) fn transcode(payload: &Payload, enc: &mut Encoder<'_>) -> Result<(), DecodeError> {
    let mut reader = payload.reader();
    let mut open = 1_u64;
    let mut funs: Vec<OpenFun> = Vec::new();
    while open > 0 {
        open -= 1;
        let start = reader.clone();
        match step(&mut reader)? {
            Step::Bytes { children } => {
                open += children;
                copy(&start, &reader, enc)?;
            }
            Step::Fun { children } => {
                funs.push(OpenFun { size_at: enc.buffer().len() + 1, until: open });
                open += children;
                copy(&start, &reader, enc)?;
            }
            Step::Atom => enc.atom(&reader.atom()?),
            Step::Pid => enc.pid(&reader.pid()?),
            Step::Port => enc.port(&reader.port()?),
            Step::Reference => enc.reference(&reader.reference()?),
            Step::Binary => {
                let bytes: &[u8] = reader.binary()?;
                // The size of a fun is put in behind it, so its bytes have to stay in one buffer.
                if bytes.len() >= CHAIN_FROM && funs.is_empty() {
                    enc.bytes(&payload.bytes().slice_ref(bytes));
                } else {
                    enc.binary(bytes);
                }
            }
        }
        while let Some(fun) = funs.pop_if(|fun| fun.until == open) {
            let size = enc.buffer().len() - fun.size_at;
            if let (Some(field), Ok(size)) = (enc.buffer().get_mut(fun.size_at..fun.size_at + 4), u32::try_from(size)) {
                field.copy_from_slice(&size.to_be_bytes());
            }
        }
    }
    Ok(())
}

/// A fun that is being written: its atoms may get other lengths, so its size is known at its end.
struct OpenFun {
    /// Where its size goes, in the buffer.
    size_at: usize,
    /// How many terms are left to walk when it has ended.
    until: u64,
}

/// What stands at the reader, and what is to be done with it.
enum Step {
    /// Bytes that mean the same everywhere, which have been read, followed by `children` terms.
    Bytes {
        children: u64,
    },
    /// Like `Bytes`, for a fun: its second to fifth byte are the size of all of it.
    Fun {
        children: u64,
    },
    /// Unread: it has an atom in it, or is one.
    Atom,
    Pid,
    Port,
    Reference,
    /// Unread.
    Binary,
}

fn step(reader: &mut Reader<'_>) -> Result<Step, DecodeError> {
    let start = reader.clone();
    let bytes = |children: usize| Ok(Step::Bytes { children: children as u64 });
    match reader.peek_tag()? {
        tag::ATOM_CACHE_REF | tag::ATOM | tag::SMALL_ATOM | tag::ATOM_UTF8 | tag::SMALL_ATOM_UTF8 => Ok(Step::Atom),
        tag::NEW_PID | tag::PID => Ok(Step::Pid),
        tag::NEW_PORT | tag::V4_PORT | tag::PORT => Ok(Step::Port),
        tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE => Ok(Step::Reference),
        tag::BINARY => Ok(Step::Binary),
        tag::SMALL_INTEGER => take(reader, 2, bytes(0)),
        tag::INTEGER => take(reader, 5, bytes(0)),
        tag::NEW_FLOAT => take(reader, 9, bytes(0)),
        tag::FLOAT => take(reader, 32, bytes(0)),
        tag::NIL => take(reader, 1, bytes(0)),
        tag::SMALL_BIG => {
            reader.u8()?;
            let len = usize::from(reader.u8()?);
            take(reader, len + 1, bytes(0))
        }
        tag::LARGE_BIG => {
            reader.u8()?;
            let len = reader.count(1)?;
            take(reader, len + 1, bytes(0))
        }
        tag::BIT_BINARY => {
            reader.u8()?;
            let len = reader.count(1)?;
            take(reader, len + 1, bytes(0))
        }
        tag::STRING => {
            reader.byte_list()?;
            bytes(0)
        }
        tag::SMALL_TUPLE | tag::LARGE_TUPLE => bytes(reader.tuple()?),
        tag::LIST => bytes(reader.list()?.map_or(0, |count| count + 1)),
        tag::MAP => bytes(reader.map()? * 2),
        tag::EXPORT => take(reader, 1, bytes(3)),
        tag::RECORD => {
            reader.u8()?;
            let fields = reader.count(2)?;
            take(reader, 1, bytes(2 + 2 * fields))
        }
        tag::NEW_FUN => {
            // Size, arity, unique id, index; then the number of free variables.
            reader.take(1 + 4 + 1 + 16 + 4)?;
            let free = reader.count(1)?;
            // Module, old index, old unique, pid, and the free variables.
            Ok(Step::Fun { children: 4 + free as u64 })
        }
        other => Err(start.error(DecodeErrorKind::UnknownTag(other))),
    }
}

fn take(reader: &mut Reader<'_>, len: usize, step: Result<Step, DecodeError>) -> Result<Step, DecodeError> {
    reader.take(len)?;
    step
}

/// Copies what lies between two positions of a reader.
fn copy(from: &Reader<'_>, to: &Reader<'_>, enc: &mut Encoder<'_>) -> Result<(), DecodeError> {
    let bytes = from.clone().take(to.offset() - from.offset())?;
    enc.buffer().extend_from_slice(bytes);
    Ok(())
}

/// A payload whose bytes are legal in any message, as it refers to no header.
pub(super) fn stands_alone(payload: &Payload) -> Option<&Bytes> {
    payload.atoms().is_empty().then(|| payload.bytes())
}
