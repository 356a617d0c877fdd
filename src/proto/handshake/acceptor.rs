//! The side that is dialled.

use super::super::{Cookie, Flags, NodeName};
use super::error::FlagList;
use super::message::{
    Name, Status, read_alive_answer, read_complement, read_name, read_reply, write_ack, write_challenge, write_status,
};
use super::{HandshakeError, LocalIdentity, Negotiated, Refusal, Welcome};
use crate::etf::Creation;

/// The name of the caller is to come: where every incoming handshake starts.
#[derive(Debug)]
pub struct AwaitName {
    local: LocalIdentity,
    us: NodeName,
}

/// Who calls.
#[derive(Debug)]
pub enum Arrival {
    /// A node with a name: decide whether it may go on.
    Named(Greeting),
    /// A node that asks us for a name.
    Unnamed(NameRequest),
    /// A node that lacks flags.
    Refused(Refused),
}

/// A node that has to be sent away: send `reply`, then close with `error`.
#[derive(Debug)]
pub struct Refused {
    /// The message to send.
    pub reply: Vec<u8>,
    /// Why.
    pub error: HandshakeError,
}

impl AwaitName {
    /// Begins.
    ///
    /// # Errors
    /// [`HandshakeError::Unnamed`] when we have no name yet.
    pub fn new(local: &LocalIdentity) -> Result<Self, HandshakeError> {
        let us = local.name.clone().ok_or(HandshakeError::Unnamed)?;
        Ok(Self { local: local.clone(), us })
    }

    /// Takes the name, in the present form and in that of protocol version 5.
    ///
    /// # Errors
    /// An impossible name, or what is wrong with the message: close without an answer, as BEAM does.
    pub fn on_message(self, message: &[u8]) -> Result<Arrival, HandshakeError> {
        let Self { local, us } = self;
        let Name { flags, creation, text } = read_name(message)?;
        if flags.contains(Flags::NAME_ME) {
            // A host is what makes a name behind an `@`. The old form has no room for this flag.
            let host = NodeName::new(format!("x@{text}"))?.host().to_owned();
            return Ok(Arrival::Unnamed(NameRequest { local, us, flags, host }));
        }
        let peer = NodeName::new(text)?;
        let greeting = Greeting { local, us, peer, flags, creation, named: None };
        Ok(match greeting.checked() {
            Ok(greeting) => Arrival::Named(greeting),
            Err(refused) => Arrival::Refused(refused),
        })
    }
}

/// A node asks us for a name.
#[derive(Debug)]
pub struct NameRequest {
    local: LocalIdentity,
    us: NodeName,
    flags: Flags,
    host: String,
}

impl NameRequest {
    /// The host part that the name has to have.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Gives a name. The initiator refuses one whose host part is not [`host`](Self::host).
    ///
    /// # Errors
    /// [`Refused`] when the node lacks flags.
    pub fn grant(self, name: NodeName, creation: Creation) -> Result<Greeting, Refused> {
        let Self { local, us, flags, .. } = self;
        Greeting { local, us, peer: name, flags, creation: Some(creation), named: Some(creation) }.checked()
    }

    /// Gives none: the message, behind which the connection has to be closed.
    pub fn refuse(self) -> Vec<u8> {
        refusal_message(Refusal::NotAllowed)
    }
}

/// A node with a name and all flags that we need stands at the door.
#[derive(Debug)]
pub struct Greeting {
    local: LocalIdentity,
    us: NodeName,
    peer: NodeName,
    flags: Flags,
    creation: Option<Creation>,
    /// The creation of a name that we gave.
    named: Option<Creation>,
}

impl Greeting {
    /// Its name.
    pub fn peer(&self) -> &NodeName {
        &self.peer
    }

    /// True when the connection would be in no `nodes()`.
    pub fn hidden(&self) -> bool {
        !(self.flags & self.offer()).contains(Flags::PUBLISHED)
    }

    /// Goes on: the next state and both messages, the status and our challenge. `challenge` has to be
    /// unpredictable.
    ///
    /// # Errors
    /// [`HandshakeError::LocalName`].
    pub fn welcome(self, welcome: Welcome, challenge: u32) -> Result<(Challenged, [Vec<u8>; 2]), HandshakeError> {
        let status = match (self.named, welcome) {
            (Some(creation), _) => Status::Named(self.peer.clone(), creation),
            (None, Welcome::Ok) => Status::Ok,
            (None, Welcome::OkSimultaneous) => Status::OkSimultaneous,
        };
        let status = write_status(&status)?;
        let (next, message) = self.challenge(challenge)?;
        Ok((next, [status, message]))
    }

    /// Asks whether this connection is to replace the one that is up: the next state and the message.
    pub fn alive(self) -> (AwaitAlive, Vec<u8>) {
        (AwaitAlive(self), b"salive".to_vec())
    }

    /// Sends it away: the message, behind which the connection has to be closed.
    pub fn refuse(&self, refusal: Refusal) -> Vec<u8> {
        refusal_message(refusal)
    }

    /// What BEAM offers to a node that it named has [`Flags::NAME_ME`] in the place of
    /// [`Flags::PUBLISHED`].
    fn offer(&self) -> Flags {
        match self.named {
            Some(_) => self.local.flags.without(Flags::PUBLISHED).with(Flags::NAME_ME),
            None => self.local.flags.without(Flags::NAME_ME),
        }
    }

    /// Itself, when all flags are there that can be seen already.
    fn checked(self) -> Result<Self, Refused> {
        // The high half of an old name message is still to come.
        let required = if self.creation.is_some() { self.local.required } else { self.local.required & LOW_HALF };
        let missing = FlagList::missing(self.flags, required);
        if missing.is_empty() {
            return Ok(self);
        }
        let reply = self.refuse(Refusal::NotAllowed);
        Err(Refused { reply, error: HandshakeError::MissingFlags { peer: self.peer, missing } })
    }

    fn challenge(self, challenge: u32) -> Result<(Challenged, Vec<u8>), HandshakeError> {
        let offer = self.offer();
        let message = write_challenge(&self.us, self.local.creation, offer, challenge)?;
        let Self { local, us, peer, flags, creation, .. } = self;
        let state = |creation| AwaitReply { local, us, peer, flags, creation, offer, challenge };
        let next = match creation {
            Some(creation) => Challenged::Reply(state(creation)),
            None => Challenged::Complement(AwaitComplement(state(Creation(0)))),
        };
        Ok((next, message))
    }
}

/// We asked whether this connection replaces the one that is up.
#[derive(Debug)]
pub struct AwaitAlive(Greeting);

impl AwaitAlive {
    /// Takes the answer. After a yes, the next state and our challenge (`challenge` has to be
    /// unpredictable).
    ///
    /// # Errors
    /// [`AliveKept`](HandshakeError::AliveKept) after a no, or what is wrong with the message.
    pub fn on_message(self, message: &[u8], challenge: u32) -> Result<(Challenged, Vec<u8>), HandshakeError> {
        if read_alive_answer(message)? { self.0.challenge(challenge) } else { Err(HandshakeError::AliveKept) }
    }
}

/// Our challenge is out. What comes next depends on the form of the caller's name message.
#[derive(Debug)]
pub enum Challenged {
    /// The old form: the rest of it comes first.
    Complement(AwaitComplement),
    /// The answer to the challenge.
    Reply(AwaitReply),
}

/// The rest of an old name message is to come.
#[derive(Debug)]
pub struct AwaitComplement(AwaitReply);

impl AwaitComplement {
    /// Takes it.
    ///
    /// # Errors
    /// [`MissingFlags`](HandshakeError::MissingFlags), or what is wrong with the message.
    pub fn on_message(mut self, message: &[u8]) -> Result<AwaitReply, HandshakeError> {
        let (high, creation) = read_complement(message)?;
        self.0.flags = self.0.flags | Flags::from_wire(u64::from(high) << 32);
        self.0.creation = creation;
        let missing = FlagList::missing(self.0.flags, self.0.local.required);
        if missing.is_empty() { Ok(self.0) } else { Err(HandshakeError::MissingFlags { peer: self.0.peer, missing }) }
    }
}

/// The answer to our challenge is to come.
#[derive(Debug)]
pub struct AwaitReply {
    local: LocalIdentity,
    us: NodeName,
    peer: NodeName,
    flags: Flags,
    creation: Creation,
    offer: Flags,
    challenge: u32,
}

impl AwaitReply {
    /// Takes the answer and checks it against `cookie`, the one for this peer.
    ///
    /// # Errors
    /// [`WrongCookie`](HandshakeError::WrongCookie): close without a word, as BEAM does. Or what is wrong
    /// with the message.
    pub fn on_message(self, message: &[u8], cookie: &Cookie) -> Result<Accepted, HandshakeError> {
        let (challenge, digest) = read_reply(message)?;
        if !cookie.verify(self.challenge, &digest) {
            return Err(HandshakeError::WrongCookie { peer: self.peer });
        }
        let ack = write_ack(&cookie.digest(challenge));
        let peer = (self.peer, self.creation, self.flags);
        Ok(Accepted { negotiated: Negotiated::new(peer, (self.us, self.local.creation, self.offer)), ack })
    }
}

/// The peer has proven itself.
#[derive(Debug)]
pub struct Accepted {
    /// What both sides agreed on.
    pub negotiated: Negotiated,
    /// The last message. Send it only when an older connection to the same node is down.
    pub ack: Vec<u8>,
}

fn refusal_message(refusal: Refusal) -> Vec<u8> {
    match refusal {
        Refusal::Nok => b"snok".to_vec(),
        Refusal::NotAllowed => b"snot_allowed".to_vec(),
    }
}

/// The flags that an old name message carries.
const LOW_HALF: Flags = Flags::from_wire(u32::MAX as u64);
