//! Parts of a message that leave the deserializer as slices of it.
//!
//! serde has no call that hands over shared bytes, only borrowed ones, and those would have to be
//! copied by whoever keeps them. So the deserializer lays the slice down here and makes the call with
//! the same bytes; the visitor takes the slice if it is that of its bytes, and copies otherwise.

use std::cell::Cell;

use super::payload::Payload;

thread_local! {
    static HANDED: Cell<Option<(Payload, *const [u8])>> = const { Cell::new(None) };
}

/// Makes a call during which [`take`] finds `part`, which has the same bytes as `bytes`.
pub(super) fn over<T>(part: Payload, bytes: &[u8], call: impl FnOnce() -> T) -> T {
    let _ = HANDED.try_with(|handed| handed.set(Some((part, bytes))));
    let answer = call();
    // Whatever the visitor has left would keep the whole message.
    let _ = HANDED.try_with(Cell::take);
    answer
}

/// The part of the message that these very bytes are.
pub(super) fn take(bytes: &[u8]) -> Option<Payload> {
    let (part, of) = HANDED.try_with(Cell::take).ok().flatten()?;
    std::ptr::eq(of, bytes).then_some(part)
}
