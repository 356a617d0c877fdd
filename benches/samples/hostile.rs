//! Short inputs that ask for much. Shared by the benches and by `tests/etf_hostile.rs`.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// What each is called, and its bytes as a stand-alone term.
pub(crate) fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a list of 4 294 967 295 elements in 6 bytes", vec![131, 108, 255, 255, 255, 255]),
        ("a map of 4 294 967 295 pairs in 6 bytes", vec![131, 116, 255, 255, 255, 255]),
        ("10 000 nested tuples in 20 kB", nested(&[104, 1], 10_000)),
        ("1 000 000 nested tuples in 2 MB", nested(&[104, 1], 1_000_000)),
        ("1 000 000 nested lists in 5 MB", nested(&[108, 0, 0, 0, 1], 1_000_000)),
        ("lists that each announce 65 536 elements", nested(&[108, 0, 1, 0, 0], 100_000)),
        ("tag 68, a header inside a term", vec![131, 68]),
        ("tag 82, an atom of a cache that is not there", vec![131, 82, 0]),
        ("a zip bomb that announces 4 GiB", bomb(u32::MAX)),
        ("a zip bomb of 8 MiB that announces 10 bytes", bomb(10)),
    ]
}

fn nested(level: &[u8], times: usize) -> Vec<u8> {
    [&[131][..], &level.repeat(times), &[106]].concat()
}

/// A compressed term that inflates a thousandfold, to `BOMB` bytes.
fn bomb(announced: u32) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new([&[131, 80][..], &announced.to_be_bytes()].concat(), Compression::fast());
    let zeros = [0; 1 << 16];
    zlib.write_all(&[109]).unwrap();
    zlib.write_all(&(BOMB as u32).to_be_bytes()).unwrap();
    (0..BOMB / zeros.len()).for_each(|_| zlib.write_all(&zeros).unwrap());
    zlib.finish().unwrap()
}

const BOMB: usize = 8 << 20;
