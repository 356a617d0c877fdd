//! Numbers and texts that nobody else has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static UNIQUE: AtomicU32 = AtomicU32::new(0);

fn unique() -> u32 {
    UNIQUE.fetch_add(1, Ordering::Relaxed)
}

fn time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What tells the lives of a replica apart: microseconds since 1970, and a bit so that no two are the same.
pub(super) fn vsn() -> i64 {
    i64::try_from(time().as_micros()).unwrap_or(i64::MAX / 2).saturating_add(i64::from(unique()))
}

/// What tells the states of a presence apart, opaque to everybody: twelve bytes as Phoenix makes them, nanoseconds since
/// 1970 and something of this process, in base64url.
pub(super) fn phx_ref() -> String {
    let nanoseconds = time().as_nanos() as u64;
    let number = unique();
    let tail = number ^ std::process::id().wrapping_mul(0x9e37_79b9);
    base64url(&[nanoseconds.to_be_bytes().as_slice(), tail.to_be_bytes().as_slice()].concat())
}

/// Of whole groups of three bytes, so that no padding is due.
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 3 * 4);
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for shift in [18, 12, 6, 0] {
            let digit = ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or(b'_');
            text.push(char::from(digit));
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_that_of_base64url() {
        // 1> base64:encode(<<0,16,131,251,255,191>>) with + and / replaced.
        assert_eq!(base64url(&[0, 16, 131, 251, 255, 191]), "ABCD-_-_");
    }

    #[test]
    fn nothing_comes_twice() {
        let (a, b) = (phx_ref(), phx_ref());
        assert_eq!((a.len(), b.len()), (16, 16));
        assert_ne!(a, b);
        assert_ne!(vsn(), vsn());
    }
}
