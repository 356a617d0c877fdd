//! A real Kubernetes API server: any that the environment names, else one that a tool starts.

use super::{Missing, within};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tempfile::TempDir;
use tokio::process::Command;

/// The first start on a machine may have to fetch the server.
const START: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Kube {
    kubeconfig: PathBuf,
    started: Option<(PathBuf, TempDir)>,
}

impl Kube {
    /// `GUSSET_TEST_KUBECONFIG` names a cluster for tests; else the tool `GUSSET_KUBE_TOOL` starts an API server by
    /// `TOOL api up DIR` (which prints `KUBECONFIG=…`) and stops it by `TOOL api down DIR`.
    pub async fn start() -> Result<Self, Missing> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(kubeconfig) = variable("GUSSET_TEST_KUBECONFIG") {
            assert!(kubeconfig.exists(), "GUSSET_TEST_KUBECONFIG: {} does not exist", kubeconfig.display());
            return Ok(Self { kubeconfig, started: None });
        }
        let Some(tool) = variable("GUSSET_KUBE_TOOL") else {
            let why = "no Kubernetes API: set GUSSET_TEST_KUBECONFIG to the kubeconfig of a cluster for tests";
            return Err(Missing(why.to_owned()));
        };
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
        Ok(kube)
    }

    /// The file to give to a client.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whether the server is ours alone: a test may do to it what it likes.
    pub fn is_private(&self) -> bool {
        self.started.is_some()
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
