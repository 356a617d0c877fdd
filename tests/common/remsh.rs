//! Remote shells in a pseudo-terminal: `erl -remsh` and `iex --remsh`.

use super::{BeamOptions, Epmd, Otp, Terminal};

/// The two programs that open one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Erl,
    Iex,
}

/// Starts a client that opens a shell on the node `target`.
pub fn open(client: Client, otp: &Otp, epmd: &Epmd, options: &BeamOptions, target: &str) -> Terminal {
    let (name, program) = match client {
        Client::Erl => ("erl", otp.program("erl")),
        Client::Iex => ("iex", otp.program("iex")),
    };
    Terminal::start(name, program, |command, home| {
        options.environment(command, epmd, home);
        let flags = options.flags(home).expect("flags");
        match client {
            Client::Erl => command
                .args([if options.is_short() { "-sname" } else { "-name" }, &options.full_name()])
                .args(["-setcookie", options.cookie_text(), "-remsh", target])
                .args(flags),
            Client::Iex => command
                .env("ERL_ZFLAGS", flags.join(" "))
                .args([if options.is_short() { "--sname" } else { "--name" }, &options.full_name()])
                .args(["--cookie", options.cookie_text(), "--remsh", target]),
        };
    })
}
