//! Why a handshake ended.

use std::fmt;

use super::super::{Flags, NodeName, NodeNameError};

/// Why a handshake ended. Each of these closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A length in front of a message says more than any handshake message has.
    #[error("a handshake message of {len} bytes was announced (at most {max} are taken): is this a distribution port, and is TLS on or off at both ends?", max = super::MAX_HANDSHAKE_MESSAGE)]
    TooLong {
        /// The announced length in bytes.
        len: usize,
    },
    /// A message that has no place here.
    #[error("the peer sent {found} where {expected} was expected")]
    Unexpected {
        /// The message that was expected.
        expected: &'static str,
        /// What came: the first byte of it.
        found: Found,
    },
    /// A message that ended too early.
    #[error("{message} of the peer is cut short")]
    Short {
        /// Which message.
        message: &'static str,
    },
    /// A status word that nobody knows.
    #[error("the peer answered with the unknown status `{status}`")]
    UnknownStatus {
        /// The status, with everything unprintable escaped.
        status: String,
    },
    /// The peer has a name that no node can have.
    #[error("the peer has an impossible name: {0}")]
    PeerName(#[from] NodeNameError),
    /// Our own name or host has a character that the handshake cannot carry.
    #[error("our own name `{name}` has characters beyond `ÿ`, which no handshake can carry")]
    LocalName {
        /// The name.
        name: String,
    },
    /// Only a node that has a name can be connected to.
    #[error("we have no name yet, so no node can connect to us")]
    Unnamed,
    /// The node that answered is another one.
    #[error("we asked for {asked} and {answered} answered: {}", why_another(asked, answered))]
    OtherName {
        /// Whom we dialled.
        asked: NodeName,
        /// Who answered.
        answered: NodeName,
    },
    /// The peer does not offer all that we need.
    #[error("{peer} lacks what this connection needs: {missing}")]
    MissingFlags {
        /// The peer.
        peer: NodeName,
        /// What is missing.
        missing: FlagList,
    },
    /// The peer is dialling us, and its attempt wins.
    #[error("{peer} is connecting to us at the same time and its attempt goes first: wait for it to come in")]
    Nok {
        /// The peer.
        peer: NodeName,
    },
    /// The peer does not want us.
    #[error(
        "{peer} does not allow us: {}",
        if .missing.is_empty() { "it has a list of allowed nodes (net_kernel:allow/1) without us".to_owned() }
        else { format!("it asks for more than we offer, perhaps {}", .missing) }
    )]
    NotAllowed {
        /// The peer.
        peer: NodeName,
        /// What the newest releases ask for and we did not offer.
        missing: FlagList,
    },
    /// The peer gave us a name although we have one, or one on another host.
    #[error("the peer named us `{name}`, which we did not ask for")]
    Renamed {
        /// The name.
        name: String,
    },
    /// We asked for a name and got none.
    #[error("{peer} gives out no names: start with a name")]
    NotNamed {
        /// The peer.
        peer: NodeName,
    },
    /// The initiator said that it does not want to replace the old connection.
    #[error("the peer gave this attempt up: the connection that is up stays")]
    AliveKept,
    /// The digest of the peer is not that of our cookie.
    #[error("{peer} has another cookie than we have for it")]
    WrongCookie {
        /// The peer.
        peer: NodeName,
    },
}

/// The first byte of a message, for error texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found(pub Option<u8>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("an empty message"),
            Some(byte) => write!(f, "a message `{}`", byte.escape_ascii()),
        }
    }
}

/// Flags that are missing, each with the first OTP release that asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagList(Vec<(&'static str, Option<u16>)>);

impl FlagList {
    /// The flags of `required` that `offered` lacks.
    pub(super) fn missing(offered: Flags, required: Flags) -> Self {
        Self(offered.missing(required).collect())
    }

    /// True when nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of each flag, and the first OTP release that asks for it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<u16>)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for FlagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, release)) in self.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match release {
                Some(release) => write!(f, "{name} (OTP {release} and later ask for it)")?,
                None => f.write_str(name)?,
            }
        }
        Ok(())
    }
}

/// What is most likely wrong where a node answers to another name.
fn why_another(asked: &NodeName, answered: &NodeName) -> &'static str {
    if asked.name() == answered.name() && asked.is_long() != answered.is_long() {
        "one name is long and one is short, and such nodes cannot be connected (`-name` and `-sname`)"
    } else {
        "another node listens at this address, or a port is registered under the wrong name"
    }
}
