//! The built `gusset` binary.

use super::{COOKIE, Epmd, LATER, Missing, NOT_INHERITED, Program, program::Output};
use rustix::process::Signal;
use std::{ffi::OsStr, path::Path, process::ExitStatus, time::Duration};
use tempfile::TempDir;
use tokio::process::Command;

/// How to start the binary: arguments and environment, in a home folder of its own.
#[derive(Debug)]
pub struct GussetCommand {
    command: Command,
    home: TempDir,
}

/// A running `gusset`. Dropping it kills it.
#[derive(Debug)]
pub struct Gusset {
    program: Program,
    home: TempDir,
}

/// What a command that ends by itself left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// `gusset ARGS…`. Missing where the binary is not built (a run without the feature `cli`).
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<GussetCommand, Missing> {
    let Some(path) = option_env!("CARGO_BIN_EXE_gusset") else {
        return Err(Missing("the gusset binary is not built without the feature `cli`".to_owned()));
    };
    let home = TempDir::new().expect("a temporary folder");
    let mut command = Command::new(path);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command.args(args).env("HOME", home.path()).current_dir(home.path());
    Ok(GussetCommand { command, home })
}

impl GussetCommand {
    /// With the private epmd of the test.
    pub fn epmd(self, epmd: &Epmd) -> Self {
        self.epmd_port(epmd.port())
    }

    pub fn epmd_port(self, port: u16) -> Self {
        self.env("ERL_EPMD_PORT", port.to_string())
    }

    /// With the cookie file that `erl` would read in this home folder.
    pub fn cookie_file(self, cookie: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = self.home.path().join(".erlang.cookie");
        std::fs::write(&path, cookie).expect("a cookie file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("its mode");
        self
    }

    /// With the cookie of the BEAM fixtures.
    pub fn fixture_cookie(self) -> Self {
        self.cookie_file(COOKIE)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts it and leaves it running.
    pub fn spawn(self) -> Gusset {
        Gusset { program: Program::start("gusset", self.command).expect("gusset starts"), home: self.home }
    }

    /// Starts it, and waits for its line with `needle`.
    pub async fn spawn_until(self, needle: &str) -> (Gusset, String) {
        let gusset = self.spawn();
        let line = gusset.line_with(needle, LATER).await;
        (gusset, line)
    }

    /// Runs it to its end.
    pub async fn finish(mut self, limit: Duration) -> Finished {
        self.command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(limit, self.command.output()).await {
            Ok(output) => {
                let output = output.expect("gusset runs");
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                Finished { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
            }
            Err(_) => panic!("{:?} has not ended within {limit:?}", self.command.as_std()),
        }
    }
}

impl Gusset {
    /// Waits for a line with `needle` in what it writes.
    pub async fn line_with(&self, needle: &str, limit: Duration) -> String {
        self.output().line_with(needle, limit).await.unwrap_or_else(|error| panic!("gusset: {error}"))
    }

    pub fn output(&self) -> &Output {
        self.program.output()
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn sigstop(&mut self) {
        assert!(self.program.signal(Signal::STOP), "gusset runs");
    }

    pub fn sigcont(&mut self) {
        assert!(self.program.signal(Signal::CONT), "gusset runs");
    }

    pub async fn kill9(&mut self) {
        self.program.kill9().await;
    }

    /// SIGTERM, without waiting for the end.
    pub fn signal_term(&mut self) {
        assert!(self.program.signal(Signal::TERM), "gusset runs");
    }

    /// SIGTERM, as Kubernetes and systemd stop a service.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        assert!(self.program.signal(Signal::TERM), "gusset runs");
        self.program.wait(limit).await
    }
}
