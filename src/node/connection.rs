//! A connection that is up, as the node sees it: the channel, and which processes have to hear of its
//! end.

use std::collections::HashSet;
use std::fmt;
use std::time::Instant;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::table::key;
use crate::etf::{Creation, Payload, Pid};
use crate::net::channel::Channel;
use crate::proto::{Control, Flags, NodeName, Outgoing};

/// A connection that is up.
pub(crate) struct Connection {
    /// Tells connections of one peer apart.
    pub(crate) id: u64,
    pub(crate) name: NodeName,
    pub(crate) creation: Creation,
    pub(crate) hidden: bool,
    pub(crate) flags: Flags,
    pub(crate) channel: Channel,
    pub(crate) since: Instant,
    /// Processes that may have links, monitors or spawn requests over this connection; `None` once it
    /// is lost, so that none is added that nobody would clean up.
    involved: Mutex<Option<HashSet<u32, RandomState>>>,
    /// Cancelled when everybody has been told that it is gone.
    pub(crate) gone: CancellationToken,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        name: NodeName,
        creation: Creation,
        hidden: bool,
        flags: Flags,
        channel: Channel,
    ) -> Self {
        let involved = Mutex::new(Some(HashSet::default()));
        let since = Instant::now();
        Self { id, name, creation, hidden, flags, channel, since, involved, gone: CancellationToken::new() }
    }

    /// Notes that a process has to hear of the end; false when the connection is lost already.
    pub(crate) fn involve(&self, pid: &Pid) -> bool {
        match &mut *self.involved.lock() {
            Some(involved) => {
                involved.insert(key(pid));
                true
            }
            None => false,
        }
    }

    /// Those who have to hear of the end; only once.
    pub(crate) fn take_involved(&self) -> HashSet<u32, RandomState> {
        self.involved.lock().take().unwrap_or_default()
    }

    /// Sends a protocol signal; these pass the byte budget, as in a BEAM.
    pub(crate) fn signal(&self, control: &Control) {
        if self.can_say(control) {
            self.channel.push(Outgoing::signal(control, self.flags));
        }
    }

    /// The same, in its place among what a process has sent: a signal that names no sender would else
    /// overtake a large message of that process.
    pub(crate) fn signal_by(&self, sender: &Pid, control: &Control) {
        if self.can_say(control) {
            self.channel.push(Outgoing::signal(control, self.flags).sent_by(sender));
        }
    }

    /// Some signals have no form for some peers (an old one, a C node); a BEAM leaves them out too.
    fn can_say(&self, control: &Control) -> bool {
        let can = control.is_expressible(self.flags);
        if !can {
            tracing::debug!(peer = %self.name, ?control, "the peer has no form for this signal");
        }
        can
    }

    /// Sends a protocol signal with a reason or another term.
    pub(crate) fn signal_with(&self, sender: &Pid, control: &Control, payload: &Payload) {
        if !self.can_say(control) {
            return;
        }
        match Outgoing::with_term_bytes(control, self.flags, payload) {
            Ok(outgoing) => self.channel.push(outgoing.sent_by(sender)),
            Err(error) => {
                // A peer that never hears of an exit or a DOWN waits for ever: better without a reason.
                tracing::error!(peer = %self.name, ?control, %error, "the reason of a signal cannot be sent on");
                let plain = Outgoing::with_payload(control, self.flags, |encoder| {
                    encoder.atom(&crate::atom!("unreadable_reason"));
                    Ok::<_, std::convert::Infallible>(())
                });
                match plain {
                    Ok(outgoing) => self.channel.push(outgoing.sent_by(sender)),
                    Err(never) => match never {},
                }
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} #{})", self.name, self.id)
    }
}
