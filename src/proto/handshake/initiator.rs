//! The side that dials.

use super::super::{Cookie, Flags, NodeName};
use super::error::FlagList;
use super::message::{Status, read_ack, read_challenge, read_status, write_alive_answer, write_name, write_reply};
use super::{HandshakeError, LocalIdentity, Negotiated};
use crate::etf::Creation;

/// Where every outgoing handshake starts.
#[derive(Debug)]
pub struct Initiator;

impl Initiator {
    /// Begins a handshake with `peer`: the first state and the first message, to be sent at once.
    ///
    /// # Errors
    /// [`HandshakeError::LocalName`].
    pub fn start(
        local: &LocalIdentity,
        peer: &NodeName,
        cookie: &Cookie,
    ) -> Result<(AwaitStatus, Vec<u8>), HandshakeError> {
        let message = write_name(local)?;
        Ok((AwaitStatus { local: local.clone(), peer: peer.clone(), cookie: cookie.clone() }, message))
    }
}

/// Our name is out; the peer says whether it goes on with us.
#[derive(Debug)]
pub struct AwaitStatus {
    local: LocalIdentity,
    peer: NodeName,
    cookie: Cookie,
}

/// What the status of the peer leads to.
#[derive(Debug)]
pub enum StatusOutcome {
    /// The handshake goes on.
    Continue(AwaitChallenge),
    /// The peer believes that an earlier connection of us is up and asks whether this one replaces it.
    Alive(AnswerAlive),
}

impl AwaitStatus {
    /// Takes the status.
    ///
    /// `ok_simultaneous` continues like `ok`: the peer drops its own attempt by itself.
    ///
    /// # Errors
    /// [`Nok`](HandshakeError::Nok), [`NotAllowed`](HandshakeError::NotAllowed),
    /// [`NotNamed`](HandshakeError::NotNamed), [`Renamed`](HandshakeError::Renamed), or what is wrong with
    /// the message.
    pub fn on_message(self, message: &[u8]) -> Result<StatusOutcome, HandshakeError> {
        let Self { local, peer, cookie } = self;
        let status = read_status(message)?;
        match (status, local.name.clone()) {
            (Status::Nok, _) => Err(HandshakeError::Nok { peer }),
            (Status::NotAllowed, _) => {
                let missing = FlagList::missing(local.offer(), Flags::REQUIRED_BY_26);
                Err(HandshakeError::NotAllowed { peer, missing })
            }
            (Status::Named(name, creation), None) if name.host() == local.host => {
                Ok(StatusOutcome::Continue(AwaitChallenge { us: (name, creation), local, peer, cookie }))
            }
            (Status::Named(name, _), _) => Err(HandshakeError::Renamed { name: name.as_str().to_owned() }),
            (_, None) => Err(HandshakeError::NotNamed { peer }),
            (Status::Ok | Status::OkSimultaneous, Some(name)) => {
                Ok(StatusOutcome::Continue(AwaitChallenge { us: (name, local.creation), local, peer, cookie }))
            }
            (Status::Alive, Some(name)) => Ok(StatusOutcome::Alive(AnswerAlive(AwaitChallenge {
                us: (name, local.creation),
                local,
                peer,
                cookie,
            }))),
        }
    }
}

/// The peer asks whether this connection is to replace the one it believes to be up.
#[derive(Debug)]
pub struct AnswerAlive(AwaitChallenge);

impl AnswerAlive {
    /// Yes: the next state and the message. From OTP 25 on the peer goes on at once; OTP 23 and 24 wait
    /// until the old connection has died by itself.
    pub fn replace(self) -> (AwaitChallenge, Vec<u8>) {
        (self.0, write_alive_answer(true))
    }

    /// No: the message, behind which the connection has to be closed. The old connection stays.
    pub fn keep(self) -> Vec<u8> {
        write_alive_answer(false)
    }
}

/// The peer goes on; its challenge is to come.
#[derive(Debug)]
pub struct AwaitChallenge {
    local: LocalIdentity,
    us: (NodeName, Creation),
    peer: NodeName,
    cookie: Cookie,
}

impl AwaitChallenge {
    /// Takes the challenge, and answers it together with `challenge`, which is ours and has to be
    /// unpredictable.
    ///
    /// # Errors
    /// [`OtherName`](HandshakeError::OtherName), [`MissingFlags`](HandshakeError::MissingFlags), or what is
    /// wrong with the message.
    pub fn on_message(self, message: &[u8], challenge: u32) -> Result<(AwaitAck, Vec<u8>), HandshakeError> {
        let Self { local, us: (local_name, local_creation), peer, cookie } = self;
        let theirs = read_challenge(message)?;
        if theirs.name != peer {
            return Err(HandshakeError::OtherName { asked: peer, answered: theirs.name });
        }
        let missing = FlagList::missing(theirs.flags, local.required);
        if !missing.is_empty() {
            return Err(HandshakeError::MissingFlags { peer, missing });
        }
        let reply = write_reply(challenge, &cookie.digest(theirs.challenge));
        let negotiated =
            Negotiated::new((peer, theirs.creation, theirs.flags), (local_name, local_creation, local.offer()));
        Ok((AwaitAck { negotiated, cookie, challenge }, reply))
    }
}

/// We have proven ourselves; the proof of the peer is to come.
///
/// A peer whose cookie differs from ours closes the connection here without a word.
#[derive(Debug)]
pub struct AwaitAck {
    negotiated: Negotiated,
    cookie: Cookie,
    challenge: u32,
}

impl AwaitAck {
    /// Takes the proof. What comes behind this message is the traffic of the connection.
    ///
    /// # Errors
    /// [`WrongCookie`](HandshakeError::WrongCookie), or what is wrong with the message.
    pub fn on_message(self, message: &[u8]) -> Result<Negotiated, HandshakeError> {
        let digest = read_ack(message)?;
        if !self.cookie.verify(self.challenge, &digest) {
            return Err(HandshakeError::WrongCookie { peer: self.negotiated.peer });
        }
        Ok(self.negotiated)
    }
}
