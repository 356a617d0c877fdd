//! `iex` in a pseudo-terminal: what a person at a keyboard sees.

use super::{BeamOptions, Epmd, Otp, Program, program::Output};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::OwnedFd,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Wide, so that no line of a test is wrapped by the line editor.
const WINDOW: Winsize = Winsize { ws_row: 50, ws_col: 400, ws_xpixel: 0, ws_ypixel: 0 };

#[derive(Debug)]
pub struct Iex {
    pub node_name: String,
    program: Program,
    keyboard: File,
    /// Bytes of the plain text that earlier calls of `expect` have used up.
    seen: usize,
    _home: TempDir,
}

impl Iex {
    /// Starts `iex` as a distributed node and waits for its prompt.
    pub async fn start(otp: &Otp, epmd: &Epmd, options: BeamOptions) -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let (terminal, inside) = pseudo_terminal().expect("a pseudo-terminal");
        // setsid makes the terminal the controlling one, as a login would; it becomes iex, with the same id.
        let mut command = Command::new("setsid");
        options.environment(&mut command, epmd, home.path());
        command
            .env("TERM", "xterm")
            .env("ERL_ZFLAGS", options.flags(home.path()).expect("flags").join(" "))
            .arg("--ctty")
            .arg(otp.program("iex"))
            .args([if options.is_short() { "--sname" } else { "--name" }, &options.full_name()])
            .args(["--cookie", options.cookie_text()])
            .stdin(inside.try_clone().expect("a descriptor"))
            .stdout(inside.try_clone().expect("a descriptor"))
            .stderr(inside);
        let child = command.spawn().expect("setsid starts iex");
        // It holds the inner end of the terminal, whose last copy must be the child's.
        drop(command);
        let keyboard = terminal.try_clone().expect("a descriptor");
        let output = Output::default();
        output.pump_blocking(terminal);
        let node_name = options.full_name();
        let mut iex = Self { node_name, program: Program::of("iex", child, output), keyboard, seen: 0, _home: home };
        iex.expect("iex(", super::LATER).await;
        iex.expect(")1>", super::LATER).await;
        iex
    }

    /// Types a line and the return key.
    pub fn send_line(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\r").as_bytes()).expect("the terminal takes the line");
    }

    /// Waits until `text` appears after what was expected before; gives what stands before it. Colours and cursor
    /// movements are taken out.
    pub async fn expect(&mut self, text: &str, limit: Duration) -> String {
        let seen = self.seen;
        let find = |raw: &str| {
            let plain = plain(raw);
            let rest = plain.get(seen..)?;
            rest.find(text).map(|at| (rest[..at].to_owned(), seen + at + text.len()))
        };
        match self.program.output().until(&format!("{text:?} on the screen"), limit, find).await {
            Ok((before, end)) => {
                self.seen = end;
                before
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Types a line, and waits for `answer` behind the line as the terminal echoes it.
    pub async fn ask(&mut self, line: &str, answer: &str, limit: Duration) -> String {
        self.send_line(line);
        self.expect(line, limit).await;
        self.expect(answer, limit).await
    }

    /// What the screen has shown, as text.
    pub fn screen(&self) -> String {
        plain(&self.program.output().text())
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

fn pseudo_terminal() -> std::io::Result<(File, OwnedFd)> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let path = ptsname(&terminal, Vec::new())?.into_string().map_err(std::io::Error::other)?;
    let inside = OpenOptions::new().read(true).write(true).open(path)?;
    tcsetwinsize(&terminal, WINDOW)?;
    Ok((terminal.into(), inside.into()))
}

/// Without escape sequences and carriage returns.
fn plain(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                // CSI: up to a letter or one of @[\]^_`{|}~
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC: up to BEL
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}') {},
                _ => {}
            },
            '\r' | '\u{7}' | '\u{8}' => {}
            other => text.push(other),
        }
    }
    text
}
