//! `iex` in a pseudo-terminal.

use super::{BeamOptions, Epmd, LATER, Otp, Terminal};
use std::ops::{Deref, DerefMut};

/// A [`Terminal`] in which `iex` runs as a distributed node.
#[derive(Debug)]
pub struct Iex {
    pub node_name: String,
    terminal: Terminal,
}

impl Iex {
    /// Starts it and waits for its prompt.
    pub async fn start(otp: &Otp, epmd: &Epmd, options: BeamOptions) -> Self {
        let mut terminal = Terminal::start("iex", otp.program("iex"), |command, home| {
            options.environment(command, epmd, home);
            command
                .env("ERL_ZFLAGS", options.flags(home).expect("flags").join(" "))
                .args([if options.is_short() { "--sname" } else { "--name" }, &options.full_name()])
                .args(["--cookie", options.cookie_text()]);
        });
        terminal.expect("iex(", LATER).await;
        terminal.expect(")1>", LATER).await;
        Self { node_name: options.full_name(), terminal }
    }
}

impl Deref for Iex {
    type Target = Terminal;

    fn deref(&self) -> &Terminal {
        &self.terminal
    }
}

impl DerefMut for Iex {
    fn deref_mut(&mut self) -> &mut Terminal {
        &mut self.terminal
    }
}
