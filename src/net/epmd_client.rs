//! The EPMD client: one request per connection, each with a time limit and a cap on the reply.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::etf::Creation;
use crate::proto::epmd::{
    EpmdCodecError, EpmdEntry, EpmdRequest, KILL_OK, RegisterReply, STOP_OK, decode_dump_reply, decode_names_reply,
    decode_port_reply,
};

/// Asks the EPMD at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpmdClient {
    address: SocketAddr,
    limit: Duration,
}

impl EpmdClient {
    /// A client of the EPMD at this address and port, with [`EPMD_TIMEOUT`].
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { address: SocketAddr::new(ip, port), limit: EPMD_TIMEOUT }
    }

    /// The same client with another time limit for connecting and for the reply (each has all of it).
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Whom it asks.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node with this name (the part before the `@`); `None` when it is not registered.
    ///
    /// # Errors
    /// [`EpmdError`].
    pub async fn port_of(&self, name: &str) -> Result<Option<EpmdEntry>, EpmdError> {
        let reply = self.ask(&EpmdRequest::Port(name.to_owned()), MAX_PORT_REPLY).await?;
        self.read(decode_port_reply(&reply))
    }

    /// The names and ports of all registered nodes.
    ///
    /// # Errors
    /// [`EpmdError`].
    pub async fn names(&self) -> Result<Vec<(String, u16)>, EpmdError> {
        let reply = self.ask(&EpmdRequest::Names, MAX_TEXT_REPLY).await?;
        self.read(decode_names_reply(&reply))
    }

    /// All that this EPMD knows, as text for people. Only for clients on the same host.
    ///
    /// # Errors
    /// [`EpmdError`].
    pub async fn dump(&self) -> Result<String, EpmdError> {
        let reply = self.ask(&EpmdRequest::Dump, MAX_TEXT_REPLY).await?;
        self.read(decode_dump_reply(&reply))
    }

    /// Ends this EPMD. Only for clients on the same host.
    ///
    /// # Errors
    /// [`EpmdError::Refused`] while nodes are registered.
    pub async fn kill(&self) -> Result<(), EpmdError> {
        let reply = self.ask(&EpmdRequest::Kill, MAX_WORD_REPLY).await?;
        if reply == KILL_OK { Ok(()) } else { Err(self.refused("nodes are registered with it")) }
    }

    /// Makes this EPMD forget a node. Only for clients on the same host.
    ///
    /// # Errors
    /// [`EpmdError::Refused`] when there is no such node, or the EPMD was not started with
    /// `-relaxed_command_check` and allows no such thing.
    pub async fn stop(&self, name: &str) -> Result<(), EpmdError> {
        let reply = self.ask(&EpmdRequest::Stop(name.to_owned()), MAX_WORD_REPLY).await?;
        match reply.as_slice() {
            STOP_OK => Ok(()),
            [] => Err(self.refused("it was not started with -relaxed_command_check")),
            _ => Err(self.refused("it knows no such node")),
        }
    }

    /// Registers a node once: its creation, and the connection that has to stay open and silent.
    pub(super) async fn register_once(&self, entry: &EpmdEntry) -> Result<(Creation, TcpStream), EpmdError> {
        let mut stream = self.send(&EpmdRequest::Register(entry.clone())).await?;
        let reply = self.within(async {
            let mut reply = vec![stream.read_u8().await?];
            let len = reply.first().copied().and_then(RegisterReply::len_of).unwrap_or(1);
            reply.resize(len, 0);
            stream.read_exact(reply.get_mut(1..).unwrap_or_default()).await?;
            Ok(reply)
        });
        match self.read(RegisterReply::decode(&reply.await?))? {
            RegisterReply::Registered(creation) => Ok((creation, stream)),
            RegisterReply::Refused => Err(EpmdError::NameTaken { address: self.address, name: entry.name.clone() }),
        }
    }

    async fn ask(&self, request: &EpmdRequest, cap: usize) -> Result<Vec<u8>, EpmdError> {
        let mut stream = self.send(request).await?;
        let mut reply = Vec::new();
        let mut capped = (&mut stream).take(cap as u64 + 1);
        self.within(capped.read_to_end(&mut reply)).await?;
        if reply.len() > cap {
            return Err(EpmdError::TooLong { address: self.address, cap });
        }
        Ok(reply)
    }

    async fn send(&self, request: &EpmdRequest) -> Result<TcpStream, EpmdError> {
        let request = self.read(request.encode())?;
        let unreachable = |source| EpmdError::Unreachable { address: self.address, source };
        let connect = timeout(self.limit, TcpStream::connect(self.address)).await;
        let mut stream = connect.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
        self.within(stream.write_all(&request)).await?;
        Ok(stream)
    }

    async fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, EpmdError> {
        match timeout(self.limit, work).await {
            Ok(done) => done.map_err(|source| EpmdError::Io { address: self.address, source }),
            Err(_) => Err(EpmdError::Timeout { address: self.address, after: self.limit }),
        }
    }

    fn read<T>(&self, decoded: Result<T, EpmdCodecError>) -> Result<T, EpmdError> {
        decoded.map_err(|source| EpmdError::Codec { address: self.address, source })
    }

    fn refused(&self, why: &'static str) -> EpmdError {
        EpmdError::Refused { address: self.address, why }
    }
}

/// Why EPMD gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpmdError {
    /// No connection to it.
    #[error("cannot connect to EPMD at {address}: {source}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the socket said.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to EPMD at {address} failed: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// What the socket said.
        source: io::Error,
    },
    /// No answer.
    #[error("EPMD at {address} did not answer within {after:?}")]
    Timeout {
        /// Where.
        address: SocketAddr,
        /// The time limit.
        after: Duration,
    },
    /// An answer without end.
    #[error("EPMD at {address} answered with more than {cap} bytes: something else listens there")]
    TooLong {
        /// Where.
        address: SocketAddr,
        /// The limit in bytes.
        cap: usize,
    },
    /// A request that cannot be made, or an answer that makes no sense.
    #[error("EPMD at {address}: {source}; is it an EPMD?")]
    Codec {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        source: EpmdCodecError,
    },
    /// The name is registered already.
    #[error(
        "EPMD at {address} does not register `{name}`: a node with this name runs on this host already, or the name is impossible"
    )]
    NameTaken {
        /// Where.
        address: SocketAddr,
        /// The name.
        name: String,
    },
    /// It does not do what it was asked to.
    #[error("EPMD at {address} refuses: {why}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        why: &'static str,
    },
}

/// The time limit for connecting, and again for the reply (`erl_epmd.erl` waits 10 s too).
pub const EPMD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest reply to the question for a port: head, name, extra data.
const MAX_PORT_REPLY: usize = 4096;

/// The longest list of names. At some 60 bytes each, room for far more nodes than a host can run.
const MAX_TEXT_REPLY: usize = 4 << 20;

/// The longest reply of one word.
const MAX_WORD_REPLY: usize = 64;
