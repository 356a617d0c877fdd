//! Large packets that come in one piece: C nodes and older releases send no fragments.

use bytes::{Bytes, BytesMut};

use super::fragment::ahead;
use super::spares::Spares;

/// A packet that comes bit by bit, and is read to where it stays.
#[derive(Debug, Default)]
pub(super) struct LargePacket(Option<(BytesMut, usize)>);

impl LargePacket {
    /// Takes the start of a packet of `len` bytes: the rest is read into [`tail`](Self::tail), until
    /// [`finish`](Self::finish) finds it there.
    pub(super) fn begin(&mut self, len: usize, start: &[u8], spares: &mut Spares) {
        let new = || BytesMut::with_capacity(len.min(start.len() + ahead(start.len(), 0)));
        let mut packet = spares.take(len).unwrap_or_else(new);
        packet.extend_from_slice(start);
        self.0 = Some((packet, len));
    }

    /// How many bytes of the packet are missing.
    pub(super) fn missing(&self) -> Option<usize> {
        self.0.as_ref().map(|(packet, len)| len.saturating_sub(packet.len()))
    }

    /// Where the packet that is being read goes to, with room at its end.
    pub(super) fn tail(&mut self) -> Option<&mut BytesMut> {
        let (packet, len) = self.0.as_mut()?;
        if packet.capacity() == packet.len() {
            // One byte at least: a reader takes no room for the end.
            let missing = len.saturating_sub(packet.len()).max(1);
            packet.reserve(missing.min(ahead(packet.len(), 0)));
        }
        Some(packet)
    }

    /// The packet, when all of it has come. What was read behind it goes to `behind`.
    pub(super) fn finish(&mut self, behind: &mut BytesMut, spares: &mut Spares) -> Option<Bytes> {
        let (mut packet, len) = self.0.take_if(|(packet, len)| packet.len() >= *len)?;
        behind.extend_from_slice(packet.get(len..).unwrap_or_default());
        packet.truncate(len);
        let capacity = packet.capacity();
        let bytes = packet.split().freeze();
        spares.keep(packet, capacity);
        Some(bytes)
    }
}
