//! The cookie: the secret that two nodes have to share, and the digests that prove it in the handshake.
//!
//! Reading it from a file is I/O and lives in `net`; how such a file is read (`auth.erl`) is here.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use md5::{Digest, Md5};

/// A secret shared by nodes that may talk to each other. Printing it shows `<redacted>`.
///
/// On the wire only MD5 digests of it appear, so a cookie keeps honest nodes apart; it is no protection
/// against someone who can read or change the traffic.
#[derive(Clone)]
pub struct Cookie(Arc<[u8]>);

impl Cookie {
    /// A cookie from its text: 1 to 255 characters up to `ÿ`, as it is an atom whose characters BEAM
    /// takes as single bytes (`dist_util.erl:gen_digest`).
    ///
    /// # Errors
    /// Says what no cookie can have. The text itself is in no error.
    pub fn new(text: impl AsRef<str>) -> Result<Self, CookieError> {
        let bytes = text
            .as_ref()
            .chars()
            .map(|char| u8::try_from(u32::from(char)).map_err(|_| CookieError::Character))
            .collect::<Result<Vec<u8>, _>>()?;
        match bytes.len() {
            0 => Err(CookieError::Empty),
            1..=MAX_COOKIE_LEN => Ok(Self(bytes.into())),
            _ => Err(CookieError::TooLong),
        }
    }

    /// A cookie from the contents of a cookie file, as `auth.erl` reads it: printable ASCII up to the
    /// first line end, and nothing but line ends and blanks behind it. Blanks before the line end count.
    ///
    /// # Errors
    /// [`CookieError::Character`] for anything else in it, [`CookieError::Empty`] when nothing is left.
    pub fn from_file_contents(contents: &[u8]) -> Result<Self, CookieError> {
        let end = contents.iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(contents.len());
        let (cookie, behind) = contents.split_at(end);
        if !behind.iter().all(|byte| matches!(byte, b'\n' | b'\r' | b' ')) {
            return Err(CookieError::Character);
        }
        // All of it is ASCII, so this borrows.
        Self::new(String::from_utf8_lossy(cookie))
    }

    /// What proves to the node that asked `challenge` that we know the cookie: the MD5 of the cookie
    /// followed by the challenge in decimal.
    pub fn digest(&self, challenge: u32) -> [u8; DIGEST_LEN] {
        Md5::new().chain_update(&self.0).chain_update(challenge.to_string()).finalize().into()
    }

    /// True when `digest` answers `challenge`. Takes the same time wherever the two differ.
    pub fn verify(&self, challenge: u32, digest: &[u8; DIGEST_LEN]) -> bool {
        let difference = self.digest(challenge).iter().zip(digest).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        black_box(difference) == 0
    }

    /// The text, for the places that have to hand it on (a cookie file, `erl -setcookie`). Never log it.
    pub fn reveal(&self) -> String {
        self.0.iter().copied().map(char::from).collect()
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl PartialEq for Cookie {
    /// Compares by digest, so that the time it takes tells nothing about the text.
    fn eq(&self, other: &Self) -> bool {
        self.verify(0, &other.digest(0))
    }
}

impl Eq for Cookie {}

/// What makes a text no cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// There is nothing in it.
    #[error("the cookie is empty")]
    Empty,
    /// It is longer than an atom can be.
    #[error("the cookie has more than 255 characters")]
    TooLong,
    /// A character that a BEAM would not take.
    #[error(
        "the cookie has a character that a BEAM would not take: write printable ASCII, and only line ends behind it"
    )]
    Character,
}

/// Length of a digest in bytes (MD5).
pub const DIGEST_LEN: usize = 16;

/// A cookie is an atom, and an atom has at most 255 characters.
pub const MAX_COOKIE_LEN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_beam() {
        // erlang:md5("cook" ++ "3464970737").
        let expected = 0x48c5_ad7d_3f8d_b16c_8004_8506_0bee_c15f_u128.to_be_bytes();
        assert_eq!(Cookie::new("cook").unwrap().digest(3_464_970_737), expected);
        // erlang:md5([228, $1]): a character is one byte.
        assert_eq!(Cookie::new("ä").unwrap().digest(1), <[u8; 16]>::from(Md5::digest([228, b'1'])));
    }

    #[test]
    fn a_digest_counts_only_for_its_cookie_and_its_challenge() {
        let cookie = Cookie::new("cook").unwrap();
        assert!(cookie.verify(7, &cookie.digest(7)));
        assert!(!cookie.verify(8, &cookie.digest(7)));
        assert!(!Cookie::new("kooc").unwrap().verify(7, &cookie.digest(7)));
        for at in 0..DIGEST_LEN {
            let mut digest = cookie.digest(7);
            digest[at] ^= 0x80;
            assert!(!cookie.verify(7, &digest), "byte {at} counts");
        }
    }

    #[test]
    fn a_cookie_file_is_read_as_beam_reads_it() {
        let read = |contents: &str| Cookie::from_file_contents(contents.as_bytes()).map(|cookie| cookie.reveal());
        assert_eq!(read("MONSTER\n"), Ok("MONSTER".to_owned()));
        assert_eq!(read("MONSTER  \r\n \n"), Ok("MONSTER  ".to_owned()), "seen on OTP 27");
        assert_eq!(read("two words"), Ok("two words".to_owned()));
        assert_eq!(read("\n"), Err(CookieError::Empty));
        assert_eq!(read("a\nb"), Err(CookieError::Character));
        assert_eq!(read("ä"), Err(CookieError::Character));
        assert_eq!(read(&"x".repeat(256)), Err(CookieError::TooLong));
    }

    #[test]
    fn a_cookie_does_not_print_itself() {
        assert_eq!(format!("{:?}", Cookie::new("hush").unwrap()), "<redacted>");
        assert_eq!(Cookie::new("日本").unwrap_err(), CookieError::Character);
    }
}
