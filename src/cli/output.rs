//! What the binary prints: lines for people on standard output, or JSON objects, one a line; the log
//! goes to standard error.

use std::io::{IsTerminal, Write};

use serde_json::Value;
use tracing_subscriber::EnvFilter;

use super::Failure;

/// Starts the log.
pub(crate) fn log(filter: &str, json: bool) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::configuration(format!("--log: {error}"));
    let filter = EnvFilter::try_new(filter).map_err(|error| wrong(&error))?;
    let ansi = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    if json { builder.json().try_init() } else { builder.try_init() }.map_err(|error| wrong(&error))
}

/// Prints results, one way or the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people only.
    pub(crate) fn text(self, text: impl FnOnce() -> String) {
        if !self.json {
            self.line(text, || Value::Null);
        }
    }

    /// One line: text for people, or the object for machines. A reader that has gone is no error.
    pub(crate) fn line(self, text: impl FnOnce() -> String, object: impl FnOnce() -> Value) {
        let line = if self.json { object().to_string() } else { text() };
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
