//! The writer task: takes all that is queued and writes as much of it as the socket takes at once.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::reason::{CloseCause, CloseParty, CloseReason};
use super::shared::Shared;
use crate::proto::{Outbox, Outgoing};

/// Writes until the connection ends. What is queued is written out before a graceful end; who waits for
/// that sets the time limit.
pub(super) async fn run<O: AsyncWrite + Unpin>(output: O, shared: Arc<Shared>) {
    let mut writer = Writer { output, outbox: Outbox::new(shared.flags), taken: Vec::new(), accounted: 0, shared };
    if let Err(error) = writer.run().await {
        writer.shared.close(CloseReason::io(error));
    }
}

struct Writer<O> {
    output: O,
    outbox: Outbox,
    taken: Vec<Outgoing>,
    /// How many bytes of ours the shared count has.
    accounted: usize,
    shared: Arc<Shared>,
}

impl<O: AsyncWrite + Unpin> Writer<O> {
    async fn run(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut stopped = false;
        loop {
            self.take();
            if self.outbox.is_empty() {
                // A stream that buffers (TLS) may hold the last bytes back.
                self.output.flush().await?;
                if stopped {
                    return self.output.shutdown().await;
                }
                tokio::select! {
                    () = shared.work.notified() => {}
                    () = shared.stop.cancelled() => stopped = true,
                }
            } else {
                tokio::select! {
                    biased;
                    written = self.write() => written?,
                    () = shared.stop.cancelled(), if !stopped => stopped = true,
                }
            }
            if stopped && !shared.reason().is_some_and(|reason| reason.is_graceful()) {
                return Ok(());
            }
        }
    }

    fn take(&mut self) {
        if self.shared.take(&mut self.taken) {
            self.outbox.tick();
        }
        for message in self.taken.drain(..) {
            self.accounted += message.len();
            if let Err(error) = self.outbox.push(message) {
                self.shared.close(CloseReason { who: CloseParty::Local, why: CloseCause::TooLarge(error) });
            }
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        self.outbox.fill(AT_ONCE);
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = self.outbox.slices(&mut slices);
        let written = self.output.write_vectored(slices.get(..count).unwrap_or_default()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.outbox.advance_written(written);
        self.shared.sent_bytes.fetch_add(written as u64, Relaxed);
        self.shared.sent_packets.store(self.outbox.packets(), Relaxed);
        let backlog = self.outbox.backlog();
        self.shared.account(self.accounted, backlog);
        self.accounted = backlog;
        Ok(())
    }
}

/// How many bytes are made ready at once. A tick waits behind at most these.
const AT_ONCE: usize = 256 << 10;

/// How many slices go into one write.
const MAX_SLICES: usize = 64;
