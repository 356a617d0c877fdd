//! Discovery by a file of names, which is read again when it changes.
//!
//! A file that cannot be read, or not understood, changes nothing: the last good list stays in force. A
//! name that was in one good list and is not in the next was taken off by somebody, so it is *gone*.

mod changes;
mod list;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use self::changes::Changes;
use super::desired::{Candidate, Desired, SelfView};
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter, Strategy};
use crate::net::DialTarget;
use crate::proto::NodeName;

/// Finds the nodes that a TOML or JSON file lists.
///
/// ```toml
/// # nodes.toml
/// nodes = [
///     "a@10.0.0.1",
///     "b@example.com=10.0.0.2",        # dialled at this address
///     "c@example.com=10.0.0.3:4370",   # … and at this port, without asking an EPMD
/// ]
/// ```
///
/// A file whose name ends in `.json` has `{"nodes": ["a@10.0.0.1"]}`, or the list alone. Each entry is what
/// [`DialTarget`] is read from. On Linux a change is seen at once (inotify on the folder, so a file that is
/// replaced as a whole and a mounted ConfigMap are seen too); everywhere the file is also looked at every
/// now and then.
///
/// Taking a name off the list is proof that its node is gone: its link falls under
/// [`Prune`](super::Prune). `nodes = []` takes all of them off; an empty or missing file is an error.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    every: Duration,
}

impl File {
    /// A file that lists nodes.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), every: LOOK_EVERY }
    }

    /// How often the file is looked at even if nothing was heard of a change (30 seconds if not given).
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause.max(SHORTEST_PAUSE);
        self
    }

    async fn read(&self) -> Result<Vec<DialTarget>, DiscoveryError> {
        let path = self.path.clone();
        // A file system may hang (NFS), and nobody else is to wait for it.
        let text = tokio::task::spawn_blocking(move || read(&path));
        let text = match timeout(READ_LIMIT, text).await {
            Ok(Ok(text)) => text.map_err(|error| self.unreadable(&error))?,
            Ok(Err(_ended)) => return Err(self.error(DiscoveryErrorKind::Stopped, "reading it did not end")),
            Err(_elapsed) => {
                let text = format!("it could not be read within {READ_LIMIT:?}");
                return Err(self.error(DiscoveryErrorKind::Timeout, &text));
            }
        };
        let is_json = self.path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let targets = if is_json { list::of_json(&text) } else { list::of_toml(&text) };
        targets.map_err(|error| {
            let text = format!("line {}, column {}: {}", error.line, error.column, error.text);
            self.error(DiscoveryErrorKind::Config, &text)
                .with_fix("the last good list stays in force until it is mended")
        })
    }

    fn unreadable(&self, error: &io::Error) -> DiscoveryError {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => DiscoveryErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => DiscoveryErrorKind::Forbidden,
            _ => DiscoveryErrorKind::Other,
        };
        self.error(kind, &error.to_string()).with_fix("the last good list stays in force until it can be read")
    }

    fn error(&self, kind: DiscoveryErrorKind, text: &str) -> DiscoveryError {
        DiscoveryError::new(kind, format!("the list of nodes {}: {text}", self.path.display()))
    }

    fn desired(&self, own: &NodeName, targets: Vec<DialTarget>, before: &BTreeSet<NodeName>) -> Desired {
        let origin = self.path.display().to_string();
        let candidates = targets.into_iter().map(|target| Candidate::new(target).with_origin(origin.clone()));
        let desired = Desired::new(candidates);
        let gone: Vec<NodeName> = before.iter().filter(|name| !desired.peers.contains_key(*name)).cloned().collect();
        // A list may well be of the others only.
        let me = if desired.peers.contains_key(own) { SelfView::Called(own.clone()) } else { SelfView::Unknown };
        desired.with_gone(gone).with_me(me)
    }
}

impl Strategy for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        Box::pin(follow(self.clone(), own, report))
    }
}

async fn follow(settings: File, own: NodeName, report: Reporter) {
    // Watching begins before the first reading, so that no change falls between.
    let mut changes = Changes::of(&settings.path);
    let mut last_good: Option<Vec<DialTarget>> = None;
    loop {
        match settings.read().await {
            Ok(targets) if last_good.as_ref() == Some(&targets) => report.healthy(),
            Ok(targets) => {
                let before = last_good.iter().flatten().map(|target| target.name.clone()).collect();
                report.desired(settings.desired(&own, targets.clone(), &before));
                last_good = Some(targets);
            }
            Err(error) => report.degraded(error),
        }
        if timeout(settings.every, changes.next()).await.is_ok() {
            // Who writes a file in several steps is given the time to finish.
            sleep(SETTLE).await;
        }
    }
}

fn read(path: &std::path::Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {LARGEST} bytes")));
    }
    Ok(text)
}

/// A safety net under inotify, cheap.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Not in a tight loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Longer than an editor takes from the first to the last step of a save, and nothing to a person.
const SETTLE: Duration = Duration::from_millis(50);
/// A disk in trouble takes seconds; beyond this it is down.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Room for tens of thousands of names, and an end to what a wrong path can cost.
const LARGEST: u64 = 4 << 20;
