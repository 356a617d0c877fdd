//! A child process in its own process group, with its output kept, stopped by id.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::watch,
};

/// How long a killed process may take to be gone before a drop stops waiting for it.
const REAP: Duration = Duration::from_secs(5);

/// A running child. Its process group is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    pid: u32,
    exited: Option<ExitStatus>,
    output: Output,
}

impl Program {
    /// Starts `command` with standard output and error captured together.
    pub fn start(name: &str, mut command: Command) -> std::io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let output = Output::default();
        if let Some(stdout) = child.stdout.take() {
            output.pump(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.pump(stderr);
        }
        Ok(Self::of(name, child, output))
    }

    /// Wraps a child that leads its own process group and whose output someone else pumps.
    pub fn of(name: &str, child: Child, output: Output) -> Self {
        let pid = child.id().expect("a child that was just started");
        Self { name: name.to_owned(), child, pid, exited: None, output }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it wrote so far.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The status, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().ok().flatten();
        }
        self.exited
    }

    /// Waits for its end; fails the test after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.status() {
            return status;
        }
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => *self.exited.insert(status.expect("the status of a child")),
            Err(_) => panic!("{} has not ended within {limit:?}; its output:\n{}", self.name, self.output.text()),
        }
    }

    /// Sends a signal to the process itself; `false` if it is gone.
    pub fn signal(&mut self, signal: Signal) -> bool {
        self.status().is_none() && self.id().is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// SIGKILL to the process and what it started, and waits for its end.
    pub async fn kill9(&mut self) -> ExitStatus {
        self.kill_group();
        self.wait(REAP).await
    }

    fn kill_group(&mut self) {
        // Once reaped, the id may belong to somebody else; the group lives on while a member does.
        if let Some(pid) = self.id() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).ok()?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.exited.is_none() {
            self.kill_group();
            let deadline = Instant::now() + REAP;
            while self.status().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The output of a program while it grows.
#[derive(Debug, Clone)]
pub struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// (bytes so far, streams still open)
    state: Arc<watch::Sender<(usize, usize)>>,
}

impl Default for Output {
    fn default() -> Self {
        Self { bytes: Arc::default(), state: Arc::new(watch::channel((0, 0)).0) }
    }
}

impl Output {
    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The whole line that holds `needle`, as soon as it is complete. The error has everything that was written.
    pub async fn line_with(&self, needle: &str, limit: Duration) -> Result<String, String> {
        let find = |text: &str| {
            let complete = text.rfind('\n').map_or("", |end| &text[..end]);
            complete.lines().find(|line| line.contains(needle)).map(str::to_owned)
        };
        self.until(&format!("a line with {needle:?}"), limit, find).await
    }

    /// Waits until `find` makes something of the text so far.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        let mut state = self.state.subscribe();
        let found = tokio::time::timeout(limit, async {
            loop {
                let ended = state.borrow_and_update().1 == 0;
                if let Some(found) = find(&self.text()) {
                    return Some(found);
                }
                if ended || state.changed().await.is_err() {
                    return None;
                }
            }
        });
        match found.await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(format!("the output ended without {what}:\n{}", self.text())),
            Err(_) => Err(format!("no {what} within {limit:?}:\n{}", self.text())),
        }
    }

    /// Adds what `stream` gives, until it ends.
    pub fn pump(&self, mut stream: impl AsyncRead + Unpin + Send + 'static) {
        self.state.send_modify(|state| state.1 += 1);
        let output = self.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                output.push(&buffer[..read]);
            }
            output.state.send_modify(|state| state.1 -= 1);
        });
    }

    /// As [`Output::pump`] for a file that can only be read by blocking, such as the outer end of a terminal.
    pub fn pump_blocking(&self, mut file: std::fs::File) {
        self.state.send_modify(|state| state.1 += 1);
        let output = self.clone();
        // A thread of its own: the runtime would wait for one of its pool when a test ends.
        std::thread::spawn(move || {
            let mut buffer = vec![0; 8192];
            while let Ok(read @ 1..) = std::io::Read::read(&mut file, &mut buffer) {
                output.push(&buffer[..read]);
            }
            output.state.send_modify(|state| state.1 -= 1);
        });
    }

    fn push(&self, more: &[u8]) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(more);
        self.state.send_modify(|state| state.0 += more.len());
    }
}
