//! How handshake messages are cut: a length in front of each, big-endian.

use bytes::{Buf, Bytes, BytesMut};

use super::HandshakeError;

/// How many bytes the length in front of a handshake message has.
///
/// Two over TCP. Over TLS it is four from the first message on, which the protocol's description does not
/// mention (`inet_tls_dist.erl` sets `{packet, 4}` before the handshake).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrefixWidth {
    /// `u16`, over TCP.
    #[default]
    Two,
    /// `u32`, over TLS.
    Four,
}

/// Cuts what came into messages, and puts lengths before what goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing(pub PrefixWidth);

impl Framing {
    /// Takes the next message off the front of `received`; `None` when it has not come in full. What
    /// follows the message stays in `received`.
    ///
    /// # Errors
    /// [`HandshakeError::TooLong`] as soon as the length says so; nothing is ever allocated for it.
    pub fn cut(self, received: &mut BytesMut) -> Result<Option<Bytes>, HandshakeError> {
        let (prefix, len) = match (self.0, received.as_ref()) {
            (PrefixWidth::Two, [a, b, ..]) => (2, usize::from(u16::from_be_bytes([*a, *b]))),
            (PrefixWidth::Four, [a, b, c, d, ..]) => (4, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
            _ => return Ok(None),
        };
        if len > MAX_HANDSHAKE_MESSAGE {
            return Err(HandshakeError::TooLong { len });
        }
        if received.len() < prefix + len {
            return Ok(None);
        }
        received.advance(prefix);
        Ok(Some(received.split_to(len).freeze()))
    }

    /// Adds `message` with its length to `out`. All messages that we make are far below 64 KiB.
    pub fn put(self, message: &[u8], out: &mut Vec<u8>) {
        match self.0 {
            PrefixWidth::Two => out.extend_from_slice(&(message.len() as u16).to_be_bytes()),
            PrefixWidth::Four => out.extend_from_slice(&(message.len() as u32).to_be_bytes()),
        }
        out.extend_from_slice(message);
    }
}

/// The longest handshake message that is taken, in bytes. The longest known one has a name of 255
/// characters and some 20 bytes around it; the rest is room for what later releases may append.
pub const MAX_HANDSHAKE_MESSAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_wherever_the_stream_was_split() {
        for width in [PrefixWidth::Two, PrefixWidth::Four] {
            let framing = Framing(width);
            let mut stream = Vec::new();
            framing.put(b"sok", &mut stream);
            framing.put(b"", &mut stream);
            framing.put(b"next", &mut stream);
            for split in 0..=stream.len() {
                let (mut received, mut messages) = (BytesMut::new(), Vec::new());
                for part in [&stream[..split], &stream[split..]] {
                    received.extend_from_slice(part);
                    while let Some(message) = framing.cut(&mut received).unwrap() {
                        messages.push(message);
                    }
                }
                assert_eq!(messages, [&b"sok"[..], b"", b"next"], "split at {split}");
                assert!(received.is_empty());
            }
        }
    }

    #[test]
    fn what_comes_behind_a_message_stays() {
        let mut received = BytesMut::from(&b"\x00\x03sok\x00\x00\x00\x01p"[..]);
        assert_eq!(Framing::default().cut(&mut received).unwrap().unwrap(), "sok");
        assert_eq!(&received[..], b"\x00\x00\x00\x01p");
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_the_bytes_come() {
        let mut received = BytesMut::from(&[0x10, 0x01][..]);
        assert!(matches!(Framing::default().cut(&mut received), Err(HandshakeError::TooLong { len: 4097 })));
        let mut received = BytesMut::from(&[0xFF; 4][..]);
        assert!(Framing(PrefixWidth::Four).cut(&mut received).is_err());
    }
}
