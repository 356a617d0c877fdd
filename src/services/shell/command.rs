//! What can be typed by name: a table of commands, and what one gets when it is called.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::text::show;
use crate::etf::{ParseError, Term};
use crate::node::{Node, Process};
use crate::services::io;

/// Why a command did not do what it was asked for; printed as text.
pub type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// A command that somebody has typed.
#[derive(Debug)]
pub struct Invocation {
    process: Process,
    text: String,
    pub(super) commands: Arc<Commands>,
}

impl Invocation {
    pub(super) fn new(process: Process, text: &str, commands: Arc<Commands>) -> Self {
        Self { process, text: text.to_owned(), commands }
    }

    /// The node.
    pub fn node(&self) -> Node {
        self.process.node()
    }

    /// The process that the command runs in; its group leader is the terminal.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(super) fn into_process(self) -> Process {
        self.process
    }

    /// What stands behind the name, without parentheses around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same as words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_whitespace()
    }

    /// The same as terms in Erlang syntax, with commas between.
    ///
    /// # Errors
    /// Says what is no term; columns count from the first character behind the name.
    pub fn terms(&self) -> Result<Vec<Term>, ParseError> {
        super::line::terms(&self.text)
    }

    /// Prints while the command goes on; waits until the terminal has taken it.
    pub async fn print(&mut self, text: &str) {
        // The one reason against it is that this process is being ended.
        let _ = io::put_chars(&mut self.process, text).await;
    }
}

type Run = dyn Fn(Invocation) -> BoxFuture<'static, Result<String, CommandError>> + Send + Sync;

/// A command of the table.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) help: String,
    run: Arc<Run>,
}

impl Command {
    pub(super) fn run(&self, invocation: Invocation) -> BoxFuture<'static, Result<String, CommandError>> {
        (self.run)(invocation)
    }
}

/// A line of `info`.
pub(super) type Fact = (String, Arc<dyn Fn() -> String + Send + Sync>);

/// All commands, by name, and what else a shell is told.
#[derive(Clone, Default)]
pub(super) struct Commands {
    table: BTreeMap<String, Command>,
    pub(super) facts: Vec<Fact>,
}

impl Commands {
    pub(super) fn add<F, R, T>(&mut self, name: &str, help: &str, run: F)
    where
        F: Fn(Invocation) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, CommandError>> + Send + 'static,
        T: fmt::Display,
    {
        let run = Arc::new(move |invocation| -> BoxFuture<'static, Result<String, CommandError>> {
            let run = run(invocation);
            Box::pin(async move { Ok(show(&run.await?)) })
        });
        self.table.insert(name.to_owned(), Command { help: help.to_owned(), run });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Command> {
        self.table.get(name)
    }

    /// Names and commands, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Command)> {
        self.table.iter().map(|(name, command)| (name.as_str(), command))
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.keys()).finish()
    }
}
