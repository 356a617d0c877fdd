//! Buffers that messages have been cut out of, kept to be read into again.
//!
//! Memory that is new to the process costs more than what is read into it.

use bytes::BytesMut;

/// The buffers of one connection whose messages have gone to their receivers, the oldest first, and how large they are. One can be used again once
/// all receivers have dropped what they had of it.
#[derive(Debug)]
pub(super) struct Spares {
    buffers: Vec<(BytesMut, usize)>,
    most: usize,
    largest: usize,
}

impl Spares {
    /// Keeps so many buffers at `most`, and none that is larger than `largest`.
    pub(super) fn new(most: usize, largest: usize) -> Self {
        Self { buffers: Vec::new(), most, largest }
    }

    /// An empty buffer for `expected` bytes that nobody uses any more.
    pub(super) fn take(&mut self, expected: usize) -> Option<BytesMut> {
        let at = self.buffers.iter_mut().position(|(spare, _)| spare.try_reclaim(expected))?;
        Some(self.buffers.remove(at).0)
    }

    /// Keeps a buffer whose messages have been cut out of it; with all of them it had `capacity` bytes.
    pub(super) fn keep(&mut self, mut spare: BytesMut, capacity: usize) {
        if capacity <= self.largest {
            if self.buffers.len() >= self.most {
                self.buffers.remove(0);
            }
            spare.clear();
            self.buffers.push((spare, capacity));
        }
    }

    /// True when as many are kept as may be, and receivers have something of each.
    pub(super) fn all_in_use(&mut self) -> bool {
        self.buffers.len() >= self.most
            && !self.buffers.iter_mut().any(|(spare, capacity)| spare.try_reclaim(*capacity))
    }

    /// Gives all of them back.
    pub(super) fn clear(&mut self) {
        self.buffers = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_once_its_messages_are_dropped() {
        let mut spares = Spares::new(1, 1 << 10);
        let mut buffer = BytesMut::with_capacity(1 << 10);
        buffer.extend_from_slice(b"a message, and what is behind it");
        let message = buffer.split_to(9).freeze();
        let place = message.as_ptr();
        spares.keep(buffer, 1 << 10);
        assert!(spares.take(1 << 10).is_none() && spares.all_in_use());
        drop(message);
        assert!(!spares.all_in_use());
        let again = spares.take(1 << 10).unwrap();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (place, 0, 1 << 10));
        assert!(spares.take(1).is_none());
    }

    #[test]
    fn no_more_and_no_larger_ones_are_kept_than_said() {
        let mut spares = Spares::new(2, 1 << 10);
        for capacity in [1 << 10, 1 << 10, 1 << 10, 1 << 11] {
            spares.keep(BytesMut::with_capacity(capacity), capacity);
        }
        assert!(spares.take(1).is_some() && spares.take(1).is_some() && spares.take(1).is_none());
    }
}
