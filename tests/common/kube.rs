//! A real Kubernetes API server: any that the environment names, else one that a tool starts.

use super::{Missing, within};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Weak},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{process::Command, sync::Mutex};

/// The first start on a machine may have to fetch the server.
const START: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Kube {
    kubeconfig: PathBuf,
    started: Option<(PathBuf, TempDir)>,
}

impl Kube {
    /// The one that all tests of a program share; it goes with its last user.
    pub async fn shared() -> Result<Arc<Self>, Missing> {
        static SHARED: Mutex<Weak<Kube>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let kube = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&kube);
        Ok(kube)
    }

    /// `GUSSET_TEST_KUBECONFIG` names a cluster for tests; else the tool `GUSSET_KUBE_TOOL` starts an API server by
    /// `TOOL api up DIR` (which prints `KUBECONFIG=…`) and stops it by `TOOL api down DIR`.
    pub async fn start() -> Result<Self, Missing> {
        if let Some(kubeconfig) = variable("GUSSET_TEST_KUBECONFIG") {
            assert!(kubeconfig.exists(), "GUSSET_TEST_KUBECONFIG: {} does not exist", kubeconfig.display());
            return Ok(Self { kubeconfig, started: None });
        }
        let Some(tool) = variable("GUSSET_KUBE_TOOL") else {
            let why = "no Kubernetes API: set GUSSET_TEST_KUBECONFIG to the kubeconfig of a cluster for tests";
            return Err(Missing(why.to_owned()));
        };
        Ok(Self::start_with(tool).await)
    }

    /// One that the test may stop and kill; `None`, which is said, where the environment only names one that is not ours.
    pub async fn private() -> Result<Option<Self>, Missing> {
        match (variable("GUSSET_KUBE_TOOL"), variable("GUSSET_TEST_KUBECONFIG")) {
            (Some(tool), _) => Ok(Some(Self::start_with(tool).await)),
            (None, Some(_)) => {
                eprintln!("left out: only an API server that the test has started may be stopped (GUSSET_KUBE_TOOL)");
                Ok(None)
            }
            (None, None) => Self::start().await.map(Some),
        }
    }

    async fn start_with(tool: PathBuf) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = Command::new(&tool);
        command.args(["api", "up"]).arg(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        // Made before it runs, so that the server goes away with a start that fails half-way, too.
        let mut kube = Self { kubeconfig: PathBuf::new(), started: Some((tool, folder)) };
        let output = within(START, "a Kubernetes API server", command.output()).await.expect("the tool runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "GUSSET_KUBE_TOOL: {}", String::from_utf8_lossy(&output.stderr));
        let line = |line: &str| line.trim_start_matches("export ").strip_prefix("KUBECONFIG=").map(PathBuf::from);
        kube.kubeconfig = text.lines().find_map(line).expect("the tool prints KUBECONFIG=…");
        kube
    }

    /// The file to give to a client.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whether the server is ours alone.
    pub fn is_private(&self) -> bool {
        self.started.is_some()
    }

    /// Signals the API server; only for one that is [`Kube::private`].
    pub fn signal(&self, signal: Signal) {
        let (_, folder) = self.started.as_ref().expect("a server of our own");
        let pid = std::fs::read_to_string(folder.path().join("run/apiserver.pid")).expect("the server's pid");
        let pid = pid.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?)).expect("a pid");
        kill_process(pid, signal).expect("the server runs");
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        if let Some((tool, folder)) = &self.started {
            let mut command = std::process::Command::new(tool);
            let _ = command.args(["api", "down"]).arg(folder.path()).stdin(Stdio::null()).output();
        }
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
