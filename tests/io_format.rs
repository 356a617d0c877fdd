//! What our group leaders make of `io_lib:format/2`, beside what the `io_lib` of every release makes of it.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use common::node::{atom, with_each};

/// Control strings and their arguments. Terms stand on one line here however long they are, so none is too long for
/// one there.
const CASES: &str = include_str!("io_format/cases.txt");

#[tokio::test]
async fn directives_print_as_io_lib_prints_them() {
    with_each(|node, beam| async move {
        let (mut checked, mut different) = (0, Vec::new());
        for case in CASES.lines().filter(|line| !line.starts_with('%') && !line.is_empty()) {
            let us = atom(&node);
            let both = format!(
                "{{C, A}} = {{{case}}},
                 Theirs = try lists:flatten(io_lib:format(C, A)) catch error:badarg -> badarg end,
                 Ours = case rpc:call({us}, io_lib, format, [C, A]) of {{badrpc, {{'EXIT', {{badarg, _}}}}}} -> badarg; T -> T end,
                 case Ours of Theirs -> same; _ -> {{theirs, Theirs, ours, Ours}} end"
            );
            let compared = beam.value(&both).await;
            if compared != "same" {
                different.push(format!("{case}: {compared}"));
            }
            checked += 1;
        }
        assert!(different.is_empty(), "OTP {}:\n{}", beam.otp.release, different.join("\n"));
        assert!(checked > 100, "{checked} cases");
    })
    .await;
}
