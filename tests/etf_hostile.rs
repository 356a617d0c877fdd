//! Inputs that ask for much in few bytes end in an error, and soon. `--nocapture` prints how soon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../benches/samples/hostile.rs"]
mod hostile;

use std::time::{Duration, Instant};

use bytes::Bytes;
use gusset::Term;
use gusset::etf::{Limits, Payload, Reader, from_bytes, validate};

/// The worst takes 3 ms in a debug build (`docs/terms.md`); a busy machine may stop us for much longer.
const SOON: Duration = Duration::from_millis(500);

/// The best of a few, as other work of the machine only adds.
fn measured(mut work: impl FnMut()) -> Duration {
    let one = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..5).map(|_| one(&mut work)).min().unwrap_or_default()
}

#[test]
fn hostile_inputs_end_in_an_error_soon() {
    let limits = Limits::default();
    println!("{:46} {:>10} {:>10} {:>10} {:>11} {:>10}", "µs", "validate", "tree", "type", "term inside", "blob");
    for (what, blob) in hostile::inputs() {
        let blob = Bytes::from(blob);
        let term = blob.slice(1..);
        let payload = Payload::new(term.clone(), None);
        // No deeper than `Limits::depth`: it may be passed on, but becomes no value here.
        let passes = what.starts_with("10 000");
        let times = [
            measured(|| assert_eq!(validate(&term, 0, &limits).is_ok(), passes, "{what}")),
            measured(|| assert!(payload.term().is_err(), "{what}")),
            measured(|| assert!(payload.decode::<Nested>().is_err(), "{what}")),
            measured(|| assert!(from_bytes::<(Term,)>(&blob).is_err(), "{what}")),
            measured(|| assert!(Term::from_binary(&blob, &limits).is_err(), "{what}")),
        ];
        let micros = times.map(|time| format!("{:10.2}", time.as_secs_f64() * 1e6));
        println!("{what:46} {}", micros.join(" "));
        assert!(times.iter().all(|time| *time < SOON), "{what}: {times:?}");
        // Passing over what nobody asked for has no limits, and no recursion either.
        let start = Instant::now();
        let _ = Reader::new(&term, &[]).skip();
        assert!(start.elapsed() < 4 * SOON, "{what}: {:?}", start.elapsed());
    }
}

/// As deep as the bytes say.
#[derive(Debug, serde::Deserialize)]
struct Nested(#[expect(dead_code, reason = "only read")] Vec<Nested>);
