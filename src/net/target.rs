//! Whom to dial: a node name, and optionally where it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::proto::{NodeName, NodeNameError};

/// A node to connect to. The handshake is by name; the address says where.
///
/// Without `ip` the host part of the name is looked up. Without `port` the EPMD at the address is
/// asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialTarget {
    /// The name that the peer has to answer to.
    pub name: NodeName,
    /// The address, where it is known.
    pub ip: Option<IpAddr>,
    /// The port it listens on for distribution, where it is known.
    pub port: Option<u16>,
}

impl DialTarget {
    /// A target at a known address.
    pub fn at(name: NodeName, ip: IpAddr) -> Self {
        Self { name, ip: Some(ip), port: None }
    }

    /// The same target with a known port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

impl From<NodeName> for DialTarget {
    fn from(name: NodeName) -> Self {
        Self { name, ip: None, port: None }
    }
}

impl fmt::Display for DialTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip, self.port) {
            (Some(ip), Some(port)) => write!(f, "{}={}", self.name, SocketAddr::new(ip, port)),
            (Some(ip), None) => write!(f, "{}={ip}", self.name),
            (None, Some(port)) => write!(f, "{}=:{port}", self.name),
            (None, None) => write!(f, "{}", self.name),
        }
    }
}

/// Text that is not `NODE`, `NODE=IP`, `NODE=IP:PORT` or `NODE=:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialTargetError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// What stands behind the `=` is no address.
    #[error("`{0}` is no address: write NODE=IP, NODE=IP:PORT or NODE=:PORT (IPv6 with a port as [IP]:PORT)")]
    Address(String),
}

impl FromStr for DialTarget {
    type Err = DialTargetError;

    fn from_str(text: &str) -> Result<Self, DialTargetError> {
        let Some((name, address)) = text.split_once('=') else {
            return Ok(NodeName::new(text)?.into());
        };
        let target = Self::from(NodeName::new(name)?);
        let wrong = || DialTargetError::Address(address.to_owned());
        // `::1` begins with a colon too, and what follows it is no port.
        if let Some(port) = address.strip_prefix(':').and_then(|port| port.parse().ok()) {
            return Ok(target.with_port(port));
        }
        if let Ok(address) = address.parse::<SocketAddr>() {
            return Ok(Self::at(target.name, address.ip()).with_port(address.port()));
        }
        let ip = address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| wrong())?;
        Ok(Self::at(target.name, ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_printed() {
        for text in ["a@h", "a@h=127.0.0.2", "a@h=127.0.0.2:4000", "a@h=[::1]:4000", "a@h=::1", "a@h=:4000"] {
            assert_eq!(text.parse::<DialTarget>().unwrap().to_string(), text);
        }
        for text in ["a", "a@h=", "a@h=x", "a@h=1.2.3.4:x"] {
            assert!(text.parse::<DialTarget>().is_err(), "{text}");
        }
    }
}
