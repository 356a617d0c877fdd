//! What a command fails with: a text, an exit code by the kind of failure, and what to do.

use std::fmt;

use crate::net::{ConnectError, EpmdError, EpmdStartError};
use crate::node::{CallError, ConnectFailed, ConnectFailure, SendError, StartError};

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  something else failed
  2  the command line or the configuration is wrong
  3  a host name could not be looked up
  4  EPMD could not be reached, or does not know the node
  5  no TCP connection to the node
  6  the node refused the handshake (status, flags, another name)
  7  the cookie is wrong
  8  something took too long
  9  the called function raised, exited or threw
 10  there is no such process";

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    text: String,
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Other = 1,
    Configuration = 2,
    Lookup = 3,
    Epmd = 4,
    Tcp = 5,
    Handshake = 6,
    Cookie = 7,
    Timeout = 8,
    Exception = 9,
    NoProcess = 10,
}

impl Failure {
    pub(crate) fn configuration(text: impl Into<String>) -> Self {
        Self::new(Kind::Configuration, text)
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::new(Kind::Other, text)
    }

    pub(crate) fn epmd(text: impl Into<String>) -> Self {
        Self::new(Kind::Epmd, text)
    }

    pub(crate) fn lookup(text: impl Into<String>) -> Self {
        Self::new(Kind::Lookup, text)
    }

    pub(crate) fn tcp(text: impl Into<String>) -> Self {
        Self::new(Kind::Tcp, text)
    }

    pub(crate) fn handshake(text: impl Into<String>) -> Self {
        Self::new(Kind::Handshake, text)
    }

    pub(crate) fn cookie(text: impl Into<String>) -> Self {
        Self::new(Kind::Cookie, text)
    }

    pub(crate) fn timeout(text: impl Into<String>) -> Self {
        Self::new(Kind::Timeout, text)
    }

    pub(crate) fn exception(text: impl Into<String>) -> Self {
        Self::new(Kind::Exception, text)
    }

    pub(crate) fn no_process(text: impl Into<String>) -> Self {
        Self::new(Kind::NoProcess, text)
    }

    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), advice: None }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.kind as u8
    }

    /// What to do about it, where that is known.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<crate::builder::BuildError> for Failure {
    fn from(error: crate::builder::BuildError) -> Self {
        use crate::builder::BuildError;
        match error {
            BuildError::Start(StartError::Epmd(error)) => Self::epmd_start(&error),
            BuildError::Start(StartError::Listen(error)) => Self::other(format!("cannot listen for other nodes: {error}"))
                .advise("another port (--dist-port PORT, or LOW-HIGH to take a free one out of a range) or address (--listen IP)"),
            BuildError::Start(StartError::DynamicName(error)) => Self::connect_error(&error),
            BuildError::Name(error) => Self::configuration(error.to_string()),
            other => Self::other(other.to_string()),
        }
    }
}

impl From<ConnectFailed> for Failure {
    fn from(failed: ConnectFailed) -> Self {
        match &failed.cause {
            ConnectFailure::Dial(error) => Self::connect_error(error),
            ConnectFailure::Myself => Self::configuration(failed.to_string()),
            _ => Self::new(Kind::Handshake, failed.to_string()),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotConnected(failed) => failed.into(),
            SendError::Target(error) => Self::configuration(error.to_string()),
            other => Self::other(other.to_string()),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Send(error) => error.into(),
            CallError::Timeout(after) => Self::new(Kind::Timeout, format!("no answer within {after:?}"))
                .advise("--timeout gives it more time; the function goes on running there"),
            CallError::Exception(exception) => Self::new(Kind::Exception, exception.to_string()),
            CallError::Down(reason) if reason.is("noproc") => Self::no_process("there is no such process"),
            other => Self::other(other.to_string()),
        }
    }
}

impl Failure {
    fn epmd_start(error: &EpmdStartError) -> Self {
        let failure = Self::epmd(error.to_string());
        match error {
            EpmdStartError::Client(EpmdError::NameTaken { .. }) => {
                failure.advise("start this one under another name (--name, --sname), or stop the other one")
            }
            EpmdStartError::Client(EpmdError::Unreachable { .. }) => failure.advise(
                "start one (`epmd -daemon`, `gusset epmd`), serve one (--epmd auto), or do without (--epmd none)",
            ),
            EpmdStartError::Server(_) => {
                failure.advise("use the one that runs (--epmd auto or external), or another port (ERL_EPMD_PORT)")
            }
            _ => failure.advise("another EPMD (ERL_EPMD_PORT), or none (--epmd none)"),
        }
    }

    fn connect_error(error: &ConnectError) -> Self {
        let kind = match error {
            ConnectError::UnknownHost { .. } | ConnectError::NoAddress { .. } => Kind::Lookup,
            ConnectError::EpmdUnreachable { .. } | ConnectError::Epmd { .. } | ConnectError::UnknownToEpmd { .. } => {
                Kind::Epmd
            }
            ConnectError::Unreachable { .. } => Kind::Tcp,
            ConnectError::Timeout { .. } => Kind::Timeout,
            ConnectError::WrongCookie { .. } | ConnectError::WrongAck { .. } => Kind::Cookie,
            _ => Kind::Handshake,
        };
        let failure = Self::new(kind, format!("{} failed: {error}", error.step()));
        match kind {
            Kind::Lookup => failure.advise("give the address too: NODE=IP or NODE=IP:PORT"),
            Kind::Epmd => failure.advise("see which nodes run there with `gusset names HOST`; without EPMD, give NODE=IP:PORT"),
            Kind::Tcp => failure.advise("the node listens for distribution on a port of its own; a firewall or NetworkPolicy has to let it pass"),
            Kind::Timeout => failure.advise("is it overloaded or stopped, or does a firewall swallow what is sent? --timeout gives it more time"),
            Kind::Cookie => failure.advise("compare with `:erlang.get_cookie()` in iex there; give it with --cookie-file or RELEASE_COOKIE"),
            _ => failure,
        }
    }
}
