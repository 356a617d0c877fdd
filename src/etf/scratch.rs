//! The buffer that the terms of a thread are made in.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

use super::encode::{Encoder, TYPICAL_TERM};

thread_local! {
    /// What the last small term of this thread was made in.
    static SCRATCH: Cell<Option<Box<BytesMut>>> = const { Cell::new(None) };
}

/// To copy a larger term costs more than to give its buffer away.
const SMALL: usize = 2048;

/// Gives what `write` encodes to `small`, to be copied, or as a whole to `large`.
#[inline]
pub(super) fn encode<T, E>(
    write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    small: impl FnOnce(&[u8]) -> T,
    large: impl FnOnce(Bytes) -> T,
) -> Result<T, E> {
    let mut buf = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    buf.clear();
    buf.reserve(TYPICAL_TERM);
    write(&mut Encoder::new(&mut buf))?;
    if buf.len() > SMALL {
        return Ok(large(buf.freeze()));
    }
    let made = small(&buf);
    // A thread that ends has no more use for it.
    let _ = SCRATCH.try_with(|scratch| scratch.set(Some(buf)));
    Ok(made)
}
