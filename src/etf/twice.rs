//! Whether a key of a map comes twice, for maps whose type does not tell.

use smallvec::SmallVec;

/// The encoded keys of one map, in the order in which they came.
#[derive(Default)]
pub(super) struct Keys<'a>(SmallVec<[&'a [u8]; 8]>);

/// Up to so many keys are compared each with each.
const FEW: usize = 8;
/// In a table that is half empty, so long a search means that somebody has chosen the keys.
const LONG: usize = 32;

/// For so many keys there is room at once, of those that are announced: 16 KiB.
const AT_ONCE: usize = 1024;

impl<'a> Keys<'a> {
    #[inline]
    pub(super) fn expect(&mut self, count: usize) {
        self.0.reserve(count.min(AT_ONCE));
    }

    #[inline]
    pub(super) fn push(&mut self, key: &'a [u8]) {
        self.0.push(key);
    }

    /// Sorted keys would tell, and do where a quick look leaves a doubt: what the keys are never makes this slow.
    pub(super) fn has_twice(&mut self) -> bool {
        if self.0.len() <= FEW {
            let mut rest = &self.0[..];
            while let [key, others @ ..] = rest {
                if others.contains(key) {
                    return true;
                }
                rest = others;
            }
            return false;
        }
        if self.all_hashes_differ() {
            return false;
        }
        self.0.sort_unstable();
        self.0.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
    }

    /// True only if no two keys are the same.
    fn all_hashes_differ(&self) -> bool {
        let mut table = vec![0_u64; self.0.len().next_power_of_two() * 2];
        let mask = table.len() - 1;
        self.0.iter().all(|key| {
            // Zero is an empty place.
            let hash = hash(key) | 1;
            let first = (hash >> 32) as usize;
            for step in 0..LONG {
                match table.get_mut((first + step) & mask) {
                    Some(place) if *place == 0 => {
                        *place = hash;
                        return true;
                    }
                    Some(place) if *place != hash => {}
                    _ => return false,
                }
            }
            false
        })
    }
}

fn hash(key: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let wide = u128::from(hash ^ word) * u128::from(FACTOR);
        wide as u64 ^ (wide >> 64) as u64
    };
    // Two words that may overlap are all of a usual key.
    if key.len() <= 16
        && let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk())
    {
        let hash = mix(u64::from_le_bytes(*first), FACTOR ^ key.len() as u64);
        return mix(hash, u64::from_le_bytes(*last));
    }
    let (words, rest) = key.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let hash = words.iter().fold(key.len() as u64 ^ FACTOR, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(mix(hash, u64::from_le_bytes(last)), FACTOR)
}

/// The golden ratio: odd, with bits all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn twice(keys: &[Vec<u8>]) -> bool {
        let mut all = Keys::default();
        keys.iter().for_each(|key| all.push(key));
        all.has_twice()
    }

    #[test]
    fn a_key_that_comes_twice_is_found_wherever_it_stands() {
        for count in [1_usize, 2, 8, 9, 100, 3000] {
            let mut keys: Vec<Vec<u8>> = (0..count).map(|at| format!("key {at}").into_bytes()).collect();
            assert!(!twice(&keys), "{count}");
            let again = keys[count / 3].clone();
            keys.push(again);
            assert!(twice(&keys), "{count}");
        }
    }

    #[test]
    fn keys_of_one_hash_are_compared() {
        // The first word is such that it cancels what the length has left.
        let same = |tail: u64| {
            let first = (24_u64 ^ FACTOR).to_le_bytes();
            [first, 0_u64.to_le_bytes(), tail.to_le_bytes()].concat()
        };
        let mut keys: Vec<_> = (0..20).map(same).collect();
        assert!(!twice(&keys));
        keys.push(same(7));
        assert!(twice(&keys));
        let equal = [vec![1_u8; 9], vec![1; 9]];
        let mut all = Keys::default();
        equal.iter().cycle().take(10).for_each(|key| all.push(key));
        assert!(!all.all_hashes_differ());
    }
}
