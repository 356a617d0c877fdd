//! `erlang:phash2/2`, as far as something on the wire is chosen by it: of binaries.
//!
//! The hash is the same on all nodes of all releases (the reference manual promises it), so that every node finds the
//! same shard for a topic. Source: `make_hash2` of the emulator, which hashes bytes by Bob Jenkins' "lookup2"; checked
//! with OTP 23, 25, 27 and 29.

use std::num::NonZeroU32;

/// `erlang:phash2(Binary, Range)`: a number from 0 to below `range`.
///
/// ```
/// use std::num::NonZeroU32;
///
/// // 1> erlang:phash2(<<"room:lobby">>, 16).
/// assert_eq!(gusset::etf::phash2(b"room:lobby", NonZeroU32::new(16).unwrap()), 12);
/// ```
pub fn phash2(binary: &[u8], range: NonZeroU32) -> u32 {
    hash(binary) % range.get()
}

fn hash(binary: &[u8]) -> u32 {
    let seed = GOLDEN.wrapping_mul(OF_BINARIES);
    if binary.is_empty() {
        return seed;
    }
    let (mut a, mut b, mut c) = (GOLDEN, GOLDEN, seed);
    let mut blocks = binary.chunks_exact(BLOCK);
    for block in &mut blocks {
        let [x, y, z] = words(block);
        (a, b, c) = mix(a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z));
    }
    // The lowest byte of the last word belongs to the length.
    let [x, y, z] = words(blocks.remainder());
    c = c.wrapping_add(binary.len() as u32).wrapping_add(z << 8);
    mix(a.wrapping_add(x), b.wrapping_add(y), c).2
}

/// Up to twelve bytes as three words, little-endian.
fn words(bytes: &[u8]) -> [u32; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(4)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    for (x, y, z) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> x);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << y);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> z);
    }
    (a, b, c)
}

const BLOCK: usize = 12;
/// The golden ratio of 2^32, with which all hashes begin.
const GOLDEN: u32 = 0x9e37_79b9;
/// The multiple of [`GOLDEN`] that stands for binaries.
const OF_BINARIES: u32 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    /// What `erlang:phash2(Binary, 1 bsl 32)` gives, the same in OTP 23, 25, 27 and 29.
    #[test]
    fn hashes_are_those_of_a_beam() {
        let all: Vec<u8> = (0..=255).collect();
        let known: [(&[u8], u32); 8] = [
            (b"", 147_926_629),
            (b"a", 1_589_197_455),
            (b"room:lobby", 225_471_484),
            (b"elevenbytes", 2_322_354_142),
            (b"twelve bytes", 93_359_736),
            (b"thirteenbytes", 2_292_863_227),
            (&all, 4_163_814_291),
            ("bücher".as_bytes(), 47_472_627),
        ];
        for (binary, expected) in known {
            assert_eq!(hash(binary), expected, "{binary:?}");
        }
        assert_eq!(phash2(b"room:lobby", NonZeroU32::new(16).unwrap()), 225_471_484 % 16);
    }
}
