//! The packets of libcluster's Gossip, as bytes. No I/O.
//!
//! Plain: `heartbeat::` and `term_to_binary(#{node => NodeAtom})`. With a secret: an IV of 16 bytes and the
//! AES-256-CBC of the same, padded as PKCS#7 says, under the SHA-256 of the secret.

use std::io;

use aes::Aes256;
use bytes::BytesMut;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use sha2::{Digest, Sha256};

use crate::etf::{Atom, DecodeError, Encoder, Limits, Reader, validate};
use crate::proto::NodeName;

/// Makes and reads packets.
pub(super) struct Codec {
    key: Option<[u8; 32]>,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    #[error("it is not encrypted, and this node has a secret; give the sender the same secret")]
    Unencrypted,
    #[error("it does not decrypt; the sender has another secret")]
    Undecipherable,
    #[error("it seems to be encrypted, and this node has no secret; give it the one of the sender")]
    Encrypted,
    #[error("it is no heartbeat: {0}")]
    Malformed(String),
}

impl Codec {
    pub(super) fn new(secret: Option<&str>) -> Self {
        Self { key: secret.map(|secret| Sha256::digest(secret.as_bytes()).into()) }
    }

    /// The heartbeat of a node.
    ///
    /// # Errors
    /// When the system has no random numbers for the IV.
    pub(super) fn encode(&self, own: &NodeName) -> io::Result<Vec<u8>> {
        let plain = heartbeat(own);
        let Some(key) = &self.key else { return Ok(plain) };
        let mut iv = [0; BLOCK];
        getrandom::fill(&mut iv).map_err(|error| io::Error::other(error.to_string()))?;
        let cipher = cbc::Encryptor::<Aes256>::new(key.into(), &iv.into());
        Ok([&iv[..], &cipher.encrypt_padded_vec::<Pkcs7>(&plain)].concat())
    }

    /// The name in a packet.
    pub(super) fn decode(&self, packet: &[u8]) -> Result<NodeName, PacketError> {
        if packet.len() > MAX_PACKET {
            return Err(PacketError::Malformed(format!("it is longer than {MAX_PACKET} bytes")));
        }
        match (&self.key, packet.strip_prefix(PREFIX)) {
            (None, Some(term)) => read(term),
            (None, None) if looks_encrypted(packet) => Err(PacketError::Encrypted),
            (None, None) => Err(PacketError::Malformed("it does not begin as one".to_owned())),
            (Some(_), Some(_)) => Err(PacketError::Unencrypted),
            (Some(key), None) => {
                let plain = decrypt(key, packet).ok_or(PacketError::Undecipherable)?;
                read(plain.strip_prefix(PREFIX).ok_or(PacketError::Undecipherable)?)
            }
        }
    }
}

fn heartbeat(own: &NodeName) -> Vec<u8> {
    let mut term = BytesMut::new();
    let mut encoder = Encoder::new(&mut term);
    encoder.version();
    encoder.map_header(1);
    encoder.atom(&Atom::from_static(KEY));
    encoder.atom(own.as_atom());
    [PREFIX, &term].concat()
}

fn read(bytes: &[u8]) -> Result<NodeName, PacketError> {
    let malformed = |error: DecodeError| PacketError::Malformed(error.to_string());
    let name = name_in(bytes).map_err(malformed)?;
    let name = name.ok_or_else(|| PacketError::Malformed("its map has no `node`".to_owned()))?;
    NodeName::new(name).map_err(|error| PacketError::Malformed(error.to_string()))
}

/// The value of `node`. A map with more in it is read too, as the pattern of libcluster does.
fn name_in(bytes: &[u8]) -> Result<Option<String>, DecodeError> {
    let mut reader = Reader::new(bytes, &[]);
    reader.version()?;
    let length = validate(reader.rest(), 0, &Limits::default())?;
    let term = reader.take(length)?;
    reader.finish()?;
    let mut reader = Reader::new(term, &[]);
    for _ in 0..reader.map()? {
        // A copy of the reader looks whether the key is an atom; other keys are passed by.
        let is_node = reader.clone().atom_text().is_ok_and(|key| key == KEY);
        reader.skip()?;
        if is_node {
            return Ok(Some(reader.atom_text()?.into_owned()));
        }
        reader.skip()?;
    }
    Ok(None)
}

fn decrypt(key: &[u8; 32], packet: &[u8]) -> Option<Vec<u8>> {
    let (iv, encrypted) = packet.split_first_chunk::<BLOCK>()?;
    cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_padded_vec::<Pkcs7>(encrypted).ok()
}

fn looks_encrypted(packet: &[u8]) -> bool {
    packet.len() >= 2 * BLOCK && packet.len().is_multiple_of(BLOCK)
}

const PREFIX: &[u8] = b"heartbeat::";
const KEY: &str = "node";
/// A block of AES, and the length of an IV.
const BLOCK: usize = 16;
/// The longest name of a node has 255 characters of up to 4 bytes; twice that for what surrounds it.
pub(super) const MAX_PACKET: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn with(tag: &[u8], name: &str) -> Vec<u8> {
        [b"heartbeat::\x83\x74\0\0\0\x01", tag, b"\x04node", tag, &[name.len() as u8], name.as_bytes()].concat()
    }

    #[test]
    fn heartbeats_of_old_and_new_releases_are_read_and_ours_is_that_of_a_new_one() {
        let codec = Codec::new(None);
        let (old, new) = (with(&[100, 0], "a@127.0.0.1"), with(&[119], "a@127.0.0.1"));
        assert_eq!(codec.decode(&old), Ok(name("a@127.0.0.1")));
        assert_eq!(codec.decode(&new), Ok(name("a@127.0.0.1")));
        assert_eq!(codec.encode(&name("a@127.0.0.1")).unwrap(), new);
    }

    #[test]
    fn long_names_and_encrypted_packets_come_back_and_each_packet_looks_different() {
        let long = name(&format!("a@{}", "ä".repeat(250)));
        for codec in [Codec::new(None), Codec::new(Some("secret"))] {
            for name in [&long, &name("a@h")] {
                let packet = codec.encode(name).unwrap();
                assert!(packet.len() <= MAX_PACKET);
                assert_eq!(codec.decode(&packet).as_ref(), Ok(name));
            }
        }
        let codec = Codec::new(Some("secret"));
        assert_ne!(codec.encode(&long).unwrap(), codec.encode(&long).unwrap());
    }

    #[test]
    fn what_is_not_for_us_is_told_apart() {
        let (plain, one, other) = (Codec::new(None), Codec::new(Some("one")), Codec::new(Some("other")));
        let own = name("a@h");
        assert_eq!(one.decode(&plain.encode(&own).unwrap()), Err(PacketError::Unencrypted));
        assert_eq!(one.decode(&other.encode(&own).unwrap()), Err(PacketError::Undecipherable));
        assert_eq!(plain.decode(&one.encode(&own).unwrap()), Err(PacketError::Encrypted));
        for packet in [
            &b""[..],
            b"heartbeat::",
            b"heartbeat::\x83\x74\0\0\0\0",
            b"heartbeat::\x83\x74\xff\xff\xff\xff",
            b"heartbeat::\x83\x74\0\0\0\x01\x77\x04node\x77\x01a",
            b"heartbeat::\x83\x50\xff\xff\xff\xffx",
            &[0; MAX_PACKET + 1],
        ] {
            assert!(matches!(plain.decode(packet), Err(PacketError::Malformed(_))), "{packet:?}");
        }
        let more = b"heartbeat::\x83\x74\0\0\0\x02\x61\x01\x6a\x77\x04node\x77\x03a@h";
        assert_eq!(plain.decode(more), Ok(own));
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(
            junk in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..80,
            at in 0usize..80,
            bit in 0u32..8,
        ) {
            for codec in [Codec::new(None), Codec::new(Some("secret"))] {
                let _ = codec.decode(&junk);
                let _ = codec.decode(&[PREFIX, &junk].concat());
                let mut packet = codec.encode(&name("somebody@somewhere.example")).unwrap();
                packet.truncate(packet.len().saturating_sub(cut));
                let _ = codec.decode(&packet);
                if let Some(byte) = packet.get_mut(at) {
                    *byte ^= 1 << bit;
                }
                let _ = codec.decode(&packet);
            }
        }
    }
}
