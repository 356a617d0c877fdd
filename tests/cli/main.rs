//! The binary as its users meet it: `gusset run`, the tools, their exit codes, and what is written about them.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod configuration;
mod documentation;
mod failures;
mod run;
mod settings;
mod tools;

use std::time::{Duration, Instant};

use common::{Epmd, Finished, SOON, gusset};

/// What a command did, and how long it took.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
    took: Duration,
}

/// Runs a command of a tool with the cookie of the fixtures.
async fn tool<const N: usize>(epmd: &Epmd, args: [&str; N]) -> Ran {
    finish(gusset::command(args).expect("the binary").epmd(epmd).fixture_cookie()).await
}

async fn finish(command: gusset::GussetCommand) -> Ran {
    let started = Instant::now();
    let Finished { status, stdout, stderr } = command.finish(SOON + SOON).await;
    let code = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}\n{stdout}{stderr}"));
    Ran { code, stdout, stderr, took: started.elapsed() }
}

impl Ran {
    /// It worked, and printed this line.
    #[track_caller]
    fn printed(&self, line: &str) {
        assert_eq!((self.code, self.stdout.trim_end()), (0, line), "{}", self.stderr);
    }

    /// It failed with this code, and its error says all of this.
    #[track_caller]
    fn failed(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "an error goes to standard error");
        for text in says {
            assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("fixture_cookie"), "the cookie is in the error:\n{}", self.stderr);
    }
}
