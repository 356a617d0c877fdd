//! The writer task: takes all that is queued and writes as much of it as the socket takes at once.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::reason::CloseReason;
use super::shared::Shared;

/// Writes until the connection ends. What is queued is written out before a graceful end; who waits for
/// that sets the time limit.
pub(super) async fn run<O: AsyncWrite + Unpin>(output: O, shared: Arc<Shared>) {
    let mut writer = Writer { output, bytes: VecDeque::new(), shared };
    if let Err(error) = writer.run().await {
        writer.shared.close(CloseReason::io(error));
    }
}

struct Writer<O> {
    output: O,
    /// What is being written.
    bytes: VecDeque<Bytes>,
    shared: Arc<Shared>,
}

impl<O: AsyncWrite + Unpin> Writer<O> {
    async fn run(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut stopped = false;
        loop {
            if self.bytes.is_empty() && !shared.take(AT_ONCE, &mut self.bytes) {
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

    async fn write(&mut self) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.bytes) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        let written = self.output.write_vectored(slices.get(..count).unwrap_or_default()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.shared.written(written);
        let mut left = written;
        while let Some(first) = self.bytes.front_mut() {
            if left < first.len() {
                first.advance(left);
                break;
            }
            left -= first.len();
            self.bytes.pop_front();
        }
        Ok(())
    }
}

/// How many bytes are made ready at once. A tick waits behind at most these.
const AT_ONCE: usize = 256 << 10;

/// How many slices go into one write.
const MAX_SLICES: usize = 64;
