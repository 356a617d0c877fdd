//! The doctor: why can a node not be reached, or not be found? It goes through the stages of connecting one by one
//! and says for each what it found, and what to do where it failed.
//!
//! It is a guest: it connects as a hidden node with a name of its own, and changes nothing.

#[cfg(feature = "kubernetes")]
mod kubernetes;
mod local;
mod peer;

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

#[cfg(feature = "kubernetes")]
pub use kubernetes::{KubernetesOptions, kubernetes};
pub use local::{LocalOptions, local};
pub use peer::{PeerOptions, peer};

use crate::proto::Cookie;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at, in a word: `host`, `epmd`, `tcp`, `cookie`.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do about it; `None` where there is nothing to do.
    pub fix: Option<String>,
    /// The kind of trouble, where it failed.
    pub trouble: Option<Trouble>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It works, or will; but this may surprise.
    Warn,
    /// It does not work.
    Fail,
}

/// What kind of trouble a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// Our own settings.
    Configuration,
    /// A name that has no address.
    Lookup,
    /// No EPMD, or one that does not know the node.
    Epmd,
    /// No connection.
    Tcp,
    /// The node refused the handshake.
    Handshake,
    /// The cookies differ.
    Cookie,
    /// No answer in time.
    Timeout,
    /// The Kubernetes API says no.
    Access,
    /// Everything else.
    Other,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// Where checks are told as they are made; remembers the first that failed.
pub struct Report<'a> {
    tell: Box<dyn FnMut(&Check) + Send + 'a>,
    first: Option<Check>,
}

impl<'a> Report<'a> {
    /// A report that hands each check to `tell` at once.
    pub fn new(tell: impl FnMut(&Check) + Send + 'a) -> Self {
        Self { tell: Box::new(tell), first: None }
    }

    /// The first check that failed.
    pub fn first_failure(&self) -> Option<&Check> {
        self.first.as_ref()
    }

    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.add(Check { check, verdict: Verdict::Ok, text: text.into(), fix: None, trouble: None });
    }

    fn warn(&mut self, check: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Check { check, verdict: Verdict::Warn, text: text.into(), fix: some(fix), trouble: None });
    }

    fn fail(&mut self, check: &'static str, trouble: Trouble, text: impl Into<String>, fix: impl Into<String>) {
        let (text, fix, trouble) = (text.into(), some(fix), Some(trouble));
        self.add(Check { check, verdict: Verdict::Fail, text, fix, trouble });
    }

    fn add(&mut self, check: Check) {
        (self.tell)(&check);
        if check.verdict == Verdict::Fail && self.first.is_none() {
            self.first = Some(check);
        }
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("first", &self.first).finish_non_exhaustive()
    }
}

fn some(fix: impl Into<String>) -> Option<String> {
    Some(fix.into()).filter(|fix| !fix.is_empty())
}

/// What two people can compare without telling each other the cookie: the first digits of its SHA-256. Few enough to
/// say little about a cookie that is guessable, enough to tell two apart.
pub fn cookie_hash(cookie: &Cookie) -> String {
    // The bytes that a BEAM has for it, each character one byte.
    let bytes: Vec<u8> = cookie.reveal().chars().filter_map(|char| u8::try_from(u32::from(char)).ok()).collect();
    let digest = Sha256::digest(bytes);
    digest.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// What to type in iex to get the same digits.
const HASH_IN_IEX: &str = ":crypto.hash(:sha256, Atom.to_charlist(Node.get_cookie())) |> Base.encode16(case: :lower) \
                           |> binary_part(0, 8)";
const HASH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_beginning_of_sha256_over_the_bytes_of_the_cookie() {
        let hash = cookie_hash(&Cookie::new("abc").unwrap());
        assert_eq!(hash, "ba7816bf");
    }

    #[test]
    fn the_first_failure_is_remembered_and_warnings_are_none() {
        let mut told = Vec::new();
        let mut report = Report::new(|check: &Check| told.push(check.verdict));
        report.warn("a", "", "");
        report.fail("b", Trouble::Epmd, "no", "do");
        report.fail("c", Trouble::Tcp, "no", "do");
        assert_eq!(report.first_failure().unwrap().trouble, Some(Trouble::Epmd));
        drop(report);
        assert_eq!(told, [Verdict::Warn, Verdict::Fail, Verdict::Fail]);
    }
}
