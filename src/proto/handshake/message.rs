//! The handshake messages as bytes: one function to write and one to read each.

use super::super::cookie::DIGEST_LEN;
use super::super::{Flags, NodeName};
use super::error::Found;
use super::{HandshakeError, LocalIdentity};
use crate::etf::Creation;

/// Message 1: who calls.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) flags: Flags,
    /// `None` in the old form of the message; it comes with the complement then.
    pub(super) creation: Option<Creation>,
    /// A node name, or only the host part together with [`Flags::NAME_ME`].
    pub(super) text: String,
}

/// Message 4: who answers, and the challenge.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) flags: Flags,
    pub(super) challenge: u32,
    pub(super) creation: Creation,
    pub(super) name: NodeName,
}

/// Message 2: what the acceptor says to the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    OkSimultaneous,
    Nok,
    NotAllowed,
    Alive,
    Named(NodeName, Creation),
}

/// A digest and the challenge that comes with it.
pub(super) type Digest = [u8; DIGEST_LEN];

pub(super) fn write_name(local: &LocalIdentity) -> Result<Vec<u8>, HandshakeError> {
    let (text, creation) = match &local.name {
        Some(name) => (name.as_str(), local.creation),
        None => (local.host.as_str(), Creation(0)),
    };
    let text = latin1(text)?;
    let mut out = vec![b'N'];
    out.extend_from_slice(&local.offer().bits().to_be_bytes());
    out.extend_from_slice(&creation.0.to_be_bytes());
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(&text);
    Ok(out)
}

pub(super) fn read_name(message: &[u8]) -> Result<Name, HandshakeError> {
    let mut fields = Fields::new(message, "the name message");
    match message.first() {
        Some(b'N') => {
            fields.skip(1)?;
            let flags = Flags::from_wire(fields.u64()?);
            let creation = Some(Creation(fields.u32()?));
            let len = fields.u16()?;
            // More may follow; later releases may put something there.
            Ok(Name { flags, creation, text: fields.text(usize::from(len))? })
        }
        Some(b'n') => {
            fields.skip(1)?;
            let _version = fields.u16()?;
            let flags = Flags::from_wire(u64::from(fields.u32()?));
            let len = fields.left();
            Ok(Name { flags, creation: None, text: fields.text(len)? })
        }
        found => Err(unexpected("its name", found)),
    }
}

pub(super) fn write_status(status: &Status) -> Result<Vec<u8>, HandshakeError> {
    Ok(match status {
        Status::Ok => b"sok".to_vec(),
        Status::OkSimultaneous => b"sok_simultaneous".to_vec(),
        Status::Nok => b"snok".to_vec(),
        Status::NotAllowed => b"snot_allowed".to_vec(),
        Status::Alive => b"salive".to_vec(),
        Status::Named(name, creation) => {
            let mut out = NAMED.to_vec();
            let name = latin1(name.as_str())?;
            out.extend_from_slice(&(name.len() as u16).to_be_bytes());
            out.extend_from_slice(&name);
            out.extend_from_slice(&creation.0.to_be_bytes());
            out
        }
    })
}

pub(super) fn read_status(message: &[u8]) -> Result<Status, HandshakeError> {
    match message {
        b"sok" => Ok(Status::Ok),
        b"sok_simultaneous" => Ok(Status::OkSimultaneous),
        b"snok" => Ok(Status::Nok),
        b"snot_allowed" => Ok(Status::NotAllowed),
        b"salive" => Ok(Status::Alive),
        named if named.starts_with(NAMED) => {
            let mut fields = Fields::new(message, "the status message");
            fields.skip(NAMED.len())?;
            let len = fields.u16()?;
            let name = NodeName::new(fields.text(usize::from(len))?)?;
            Ok(Status::Named(name, Creation(fields.u32()?)))
        }
        [b's', status @ ..] => {
            let status = status.get(..SHOWN_STATUS).unwrap_or(status);
            Err(HandshakeError::UnknownStatus { status: status.escape_ascii().to_string() })
        }
        other => Err(unexpected("a status", other.first())),
    }
}

/// The answer of the initiator to the status `alive`.
pub(super) fn write_alive_answer(goes_on: bool) -> Vec<u8> {
    if goes_on { b"strue".to_vec() } else { b"sfalse".to_vec() }
}

pub(super) fn read_alive_answer(message: &[u8]) -> Result<bool, HandshakeError> {
    match message {
        b"strue" => Ok(true),
        b"sfalse" => Ok(false),
        other => Err(unexpected("its answer to `alive`", other.first())),
    }
}

pub(super) fn write_challenge(
    name: &NodeName,
    creation: Creation,
    flags: Flags,
    challenge: u32,
) -> Result<Vec<u8>, HandshakeError> {
    let name = latin1(name.as_str())?;
    let mut out = vec![b'N'];
    out.extend_from_slice(&flags.bits().to_be_bytes());
    out.extend_from_slice(&challenge.to_be_bytes());
    out.extend_from_slice(&creation.0.to_be_bytes());
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(&name);
    Ok(out)
}

pub(super) fn read_challenge(message: &[u8]) -> Result<Challenge, HandshakeError> {
    let mut fields = Fields::new(message, "the challenge");
    match message.first() {
        Some(b'N') => {
            fields.skip(1)?;
            let flags = Flags::from_wire(fields.u64()?);
            let challenge = fields.u32()?;
            let creation = Creation(fields.u32()?);
            let len = fields.u16()?;
            Ok(Challenge { flags, challenge, creation, name: NodeName::new(fields.text(usize::from(len))?)? })
        }
        // The form of OTP 22 and older. What they lack makes the flag check fail, which says so.
        Some(b'n') => {
            fields.skip(1)?;
            let _version = fields.u16()?;
            let flags = Flags::from_wire(u64::from(fields.u32()?));
            let challenge = fields.u32()?;
            let len = fields.left();
            let name = NodeName::new(fields.text(len)?)?;
            Ok(Challenge { flags: flags.without(Flags::HANDSHAKE_23), challenge, creation: Creation(0), name })
        }
        found => Err(unexpected("a challenge", found)),
    }
}

/// The rest of an old name message: the high half of the flags, and the creation.
pub(super) fn read_complement(message: &[u8]) -> Result<(u32, Creation), HandshakeError> {
    let mut fields = Fields::new(message, "the complement of the name message");
    fields.tag(b'c', "the complement of its name message")?;
    Ok((fields.u32()?, Creation(fields.u32()?)))
}

pub(super) fn write_reply(challenge: u32, digest: &Digest) -> Vec<u8> {
    let mut out = vec![b'r'];
    out.extend_from_slice(&challenge.to_be_bytes());
    out.extend_from_slice(digest);
    out
}

pub(super) fn read_reply(message: &[u8]) -> Result<(u32, Digest), HandshakeError> {
    let mut fields = Fields::new(message, "the answer to our challenge");
    fields.tag(b'r', "an answer to our challenge")?;
    Ok((fields.u32()?, fields.array()?))
}

pub(super) fn write_ack(digest: &Digest) -> Vec<u8> {
    let mut out = vec![b'a'];
    out.extend_from_slice(digest);
    out
}

pub(super) fn read_ack(message: &[u8]) -> Result<Digest, HandshakeError> {
    let mut fields = Fields::new(message, "the answer to our challenge");
    fields.tag(b'a', "an answer to our challenge")?;
    fields.array()
}

fn unexpected(expected: &'static str, found: Option<&u8>) -> HandshakeError {
    HandshakeError::Unexpected { expected, found: Found(found.copied()) }
}

/// Names travel in latin-1 (`atom_to_binary(Node, latin1)` in `dist_util.erl`), unlike atoms elsewhere.
fn latin1(name: &str) -> Result<Vec<u8>, HandshakeError> {
    name.chars()
        .map(|char| u8::try_from(u32::from(char)))
        .collect::<Result<_, _>>()
        .map_err(|_| HandshakeError::LocalName { name: name.to_owned() })
}

/// Reads fields off the front of a message; each read that does not fit says which message is short.
struct Fields<'a> {
    left: &'a [u8],
    message: &'static str,
}

impl<'a> Fields<'a> {
    fn new(left: &'a [u8], message: &'static str) -> Self {
        Self { left, message }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], HandshakeError> {
        let (taken, left) = self.left.split_at_checked(len).ok_or(HandshakeError::Short { message: self.message })?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        let (taken, left) = self.left.split_first_chunk().ok_or(HandshakeError::Short { message: self.message })?;
        self.left = left;
        Ok(*taken)
    }

    fn tag(&mut self, tag: u8, expected: &'static str) -> Result<(), HandshakeError> {
        match self.left.first() {
            Some(&found) if found == tag => self.skip(1),
            found => Err(unexpected(expected, found)),
        }
    }

    fn skip(&mut self, len: usize) -> Result<(), HandshakeError> {
        self.take(len).map(|_| ())
    }

    fn u16(&mut self) -> Result<u16, HandshakeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, HandshakeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, HandshakeError> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self, len: usize) -> Result<String, HandshakeError> {
        Ok(self.take(len)?.iter().copied().map(char::from).collect())
    }

    fn left(&self) -> usize {
        self.left.len()
    }
}

const NAMED: &[u8] = b"snamed:";

/// How much of an unknown status is shown; the rest would only fill the log.
const SHOWN_STATUS: usize = 64;
