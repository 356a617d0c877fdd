//! A real Kubernetes API server: any that the environment names, else one that a tool starts.

use super::{Missing, SOON, within};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Weak},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    sync::Mutex,
};

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
        kill_process(self.pid("apiserver"), signal).expect("the server runs");
    }

    fn pid(&self, of: &str) -> Pid {
        let (_, folder) = self.started.as_ref().expect("a server of our own");
        let pid = std::fs::read_to_string(folder.path().join(format!("run/{of}.pid"))).expect("a file with the pid");
        pid.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?)).expect("a pid")
    }

    /// Forgets the history of all objects, as the API server has it done every five minutes; only for one that is
    /// [`Kube::private`].
    pub async fn compact(&self) {
        let command = format!("/proc/{}/cmdline", self.pid("etcd").as_raw_nonzero());
        let command = std::fs::read_to_string(command).expect("the command of etcd");
        let mut options = command.split('\0');
        let address = options.find_map(|option| option.strip_prefix("--listen-client-urls=http://")).expect("its port");
        let now = etcd(address, "/v3/kv/range", r#"{"key":"AA=="}"#).await;
        let revision = now.split(r#""revision":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("a revision");
        let compacted = etcd(address, "/v3/kv/compaction", &format!(r#"{{"revision":"{revision}"}}"#)).await;
        assert!(compacted.contains(" 200 OK"), "{compacted}");
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

async fn etcd(address: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("etcd takes connections");
    let length = body.len();
    let request = format!("POST {path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).await.expect("etcd reads");
    let mut answer = String::new();
    within(SOON, "an answer of etcd", socket.read_to_string(&mut answer)).await.expect("etcd answers");
    answer
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
