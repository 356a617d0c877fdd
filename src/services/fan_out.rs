//! One message to many: encoded once, and a node that reads slowly holds up nobody before it has to.

use crate::etf::Payload;
use crate::node::{Process, SendError, Target};

/// Sends to all at once, then waits for the nodes whose queue is full; how many it was sent to.
pub(super) async fn fan_out(from: &Process, to: impl Iterator<Item = Target>, message: &Payload) -> usize {
    let mut sent = 0;
    let mut slow = Vec::new();
    for target in to {
        match from.try_forward(&target, message) {
            Ok(()) => sent += 1,
            Err(SendError::Busy(_)) => slow.push(target),
            Err(error) => tracing::debug!(?target, %error, "one of many is not reached"),
        }
    }
    for target in slow {
        match from.forward(&target, message).await {
            Ok(()) => sent += 1,
            Err(error) => tracing::debug!(?target, %error, "one of many is not reached"),
        }
    }
    sent
}
