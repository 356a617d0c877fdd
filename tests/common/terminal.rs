//! A program in a pseudo-terminal: what a person at a keyboard sees.

use super::{LATER, Program, program::Output};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::Write,
    os::fd::OwnedFd,
    path::Path,
    process::ExitStatus,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Wide, so that no line of a test is wrapped by the line editor.
const WINDOW: Winsize = Winsize { ws_row: 50, ws_col: 400, ws_xpixel: 0, ws_ypixel: 0 };

#[derive(Debug)]
pub struct Terminal {
    program: Program,
    keyboard: File,
    /// Bytes of the plain text that earlier calls of `expect` have used up.
    seen: usize,
    _home: TempDir,
}

impl Terminal {
    /// Starts a program in a terminal of its own; `prepare` gives it arguments and environment.
    pub fn start(name: &str, path: impl AsRef<OsStr>, prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let (terminal, inside) = pseudo_terminal().expect("a pseudo-terminal");
        // setsid makes the terminal the controlling one, as a login would; it becomes the program, with the same id.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(path).env("TERM", "xterm");
        prepare(&mut command, home.path());
        command
            .stdin(inside.try_clone().expect("a descriptor"))
            .stdout(inside.try_clone().expect("a descriptor"))
            .stderr(inside);
        let child = command.spawn().expect("setsid starts the program");
        // It holds the inner end of the terminal, whose last copy must be the child's.
        drop(command);
        let keyboard = terminal.try_clone().expect("a descriptor");
        let output = Output::default();
        output.pump_blocking(terminal);
        Self { program: Program::of(name, child, output), keyboard, seen: 0, _home: home }
    }

    /// Types a line and the return key.
    pub fn send_line(&mut self, line: &str) {
        self.send_keys(&format!("{line}\r"));
    }

    /// Types keys; `\t` is the tab key, `\x03` control-C.
    pub fn send_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes the keys");
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

    /// Waits for the end of the program.
    pub async fn ended(&mut self) -> ExitStatus {
        self.program.wait(LATER).await
    }

    pub async fn kill9(&mut self) {
        self.program.kill9().await;
    }

    /// Stops reading for it, as a terminal does that was halted by control-S: SIGSTOP and SIGCONT.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        assert!(self.program.signal(signal), "the program runs");
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
