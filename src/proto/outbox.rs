//! What goes out: encoded messages, and the order and form in which they go on the wire.

use crate::etf::{Encoder, Payload, Pid};

use super::control::Control;
use super::flags::Flags;

/// One encoded message, made by whoever sends it. Only its header is missing, which depends on what
/// goes out before it.
#[derive(Debug)]
pub struct Outgoing {}

impl Outgoing {
    /// A control message without payload.
    pub fn signal(control: &Control, flags: Flags) -> Self {
        let _ = (control, flags);
        todo!()
    }

    /// A control message, and the payload that `write` encodes.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn with_payload<E>(
        control: &Control,
        flags: Flags,
        write: impl FnOnce(&mut Encoder<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let _ = (control, flags, write);
        todo!()
    }

    /// A control message, and a payload that is encoded already, maybe with atoms of another
    /// message's header.
    pub fn with_term_bytes(control: &Control, flags: Flags, payload: &Payload) -> Self {
        let _ = (control, flags, payload);
        todo!()
    }

    /// Says which process this comes from where the control message does not
    /// ([`Control::sender`]): signals of one process keep their order on the wire.
    #[must_use]
    pub fn sent_by(self, sender: &Pid) -> Self {
        let _ = sender;
        todo!()
    }

    /// How many bytes it has, without its header.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub fn len(&self) -> usize {
        todo!()
    }
}
