//! The reader task: delivers what comes, watches whether the peer lives, and ends the connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use bytes::buf::Limit;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::patience::Patience;
use super::reason::{CloseCause, CloseParty, CloseReason};
use super::shared::Shared;
use super::{ChannelConfig, HiddenPeer, Receiver};
use crate::proto::{Frame, FrameReader, Liveness, Progress, Verdict};

pub(super) struct Reader<I, R> {
    input: I,
    frames: FrameReader,
    liveness: Liveness,
    receiver: R,
    end: End,
}

/// Whatever happens to the task, those who wait for the end of the connection learn of it.
struct End(Arc<Shared>);

impl<I: AsyncRead + Unpin, R: Receiver> Reader<I, R> {
    pub(super) fn new(
        input: I,
        leftover: BytesMut,
        hidden: HiddenPeer,
        config: &ChannelConfig,
        receiver: R,
        shared: Arc<Shared>,
    ) -> Self {
        shared.received_bytes.store(leftover.len() as u64, Relaxed);
        let hidden = hidden == HiddenPeer::Yes;
        let liveness = Liveness::new(Instant::now().into_std(), config.net_ticktime, config.net_tickintensity, hidden);
        let frames = FrameReader::new(shared.flags, config.frame_limits(), leftover);
        Self { input, frames, liveness, receiver, end: End(shared) }
    }

    pub(super) async fn run(mut self, mut writer: JoinHandle<()>, flush_timeout: Duration) {
        let reason = self.read().await;
        let shared = &self.end.0;
        shared.close(reason.clone());
        // Somebody else may have been first.
        let reason = shared.reason().unwrap_or(reason);
        if reason.is_graceful() {
            // To close a socket with bytes unread resets the connection, and what was written last may
            // never be read. So the rest is read and dropped until the peer has closed as well.
            let linger = async { tokio::join!(&mut writer, discard(&mut self.input)) };
            if tokio::time::timeout(flush_timeout, linger).await.is_err() {
                tracing::debug!(?flush_timeout, "the peer did not take or close everything in time");
            }
        }
        // The socket is to be gone before anybody is told.
        if !writer.is_finished() {
            writer.abort();
            let _joined = writer.await;
        }
        drop(self.input);
        self.receiver.closed(reason);
        drop(self.end);
    }

    /// Reads and delivers until there is a reason not to.
    async fn read(&mut self) -> CloseReason {
        let shared = self.end.0.clone();
        let mut stop = std::pin::pin!(shared.stop.cancelled());
        let mut timer = std::pin::pin!(tokio::time::sleep_until(self.liveness.deadline().into()));
        let mut patience = Patience::default();
        loop {
            match self.deliver(&shared) {
                Err(reason) => return reason,
                // Receivers may wait behind this task. When they are through the next messages can have their memory.
                Ok(Size::Large) if self.frames.is_ahead() => tokio::task::yield_now().await,
                Ok(_) if self.frames.is_out_of_buffers() => tokio::task::yield_now().await,
                Ok(_) => {}
            }
            let Progress { received_packets, sent_bytes, .. } = shared.progress();
            let looks = patience.looks(received_packets, sent_bytes);
            let mut looked = 0;
            let read = loop {
                tokio::select! {
                    biased;
                    () = &mut stop => return shared.reason().unwrap_or_else(|| CloseReason::disconnect("stopped")),
                    () = &mut timer => {
                        match self.liveness.poll(Instant::now().into_std(), shared.progress()) {
                            Verdict::Fine => {}
                            Verdict::SendTick => shared.tick(),
                            Verdict::Dead { silence } => {
                                return CloseReason { who: CloseParty::Network, why: CloseCause::TickTimeout { silence } };
                            }
                        }
                        timer.as_mut().reset(self.liveness.deadline().into());
                    }
                    read = read_into(&mut self.input, self.frames.room()) => break read,
                    () = tokio::task::yield_now(), if looked < looks => looked += 1,
                }
            };
            match read {
                Ok(0) => return CloseReason { who: CloseParty::Peer, why: CloseCause::PeerClosed },
                Ok(len) => {
                    shared.received_bytes.fetch_add(len as u64, Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return CloseReason::io(error),
            }
            if looks > 0 {
                patience.looked(looked);
            }
        }
    }

    /// Delivers the packets that have come in full: what one read gave, so a bounded number.
    fn deliver(&mut self, shared: &Shared) -> Result<Size, CloseReason> {
        let mut packets = 0;
        let done = self.deliver_all(shared, &mut packets);
        shared.received_packets.fetch_add(packets, Relaxed);
        self.receiver.pause();
        done
    }

    fn deliver_all(&mut self, shared: &Shared, packets: &mut u64) -> Result<Size, CloseReason> {
        let mut size = Size::Small;
        while !shared.is_stopped()
            && let Some(frame) = self.frames.next().map_err(CloseReason::protocol)?
        {
            *packets += 1;
            match frame {
                Frame::Sent(message) => {
                    if message.payload.bytes().len() >= LARGE {
                        size = Size::Large;
                    }
                    self.receiver.deliver(message).map_err(CloseReason::protocol)?;
                }
                Frame::Signal(signal) => self.receiver.signal(*signal).map_err(CloseReason::protocol)?,
                Frame::Fragment => {}
                Frame::Tick => {
                    let mut progress = shared.progress();
                    progress.received_packets += *packets;
                    if self.liveness.tick_received(progress) {
                        shared.tick();
                    }
                }
            }
        }
        Ok(size)
    }
}

/// What the largest message of one read was.
enum Size {
    Small,
    Large,
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.close(CloseReason { who: CloseParty::Local, why: CloseCause::Abandoned });
        self.0.ended.cancel();
    }
}

/// From here on the memory of a message is worth a pause.
const LARGE: usize = 256 << 10;

async fn read_into(input: &mut (impl AsyncRead + Unpin), mut room: Limit<&mut BytesMut>) -> io::Result<usize> {
    input.read_buf(&mut room).await
}

/// Reads and drops until the peer has closed.
async fn discard(input: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = BytesMut::with_capacity(8 << 10);
    while let Ok(1..) = input.read_buf(&mut bytes).await {
        bytes.clear();
    }
}
