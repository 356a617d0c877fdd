//! What a command fails with: a text, an exit code by the kind of failure, and what to do.

use std::fmt;

use crate::net::ConnectError;
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
