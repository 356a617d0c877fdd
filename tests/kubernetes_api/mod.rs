//! A real Kubernetes API for tests: the cluster of `GUSSET_TEST_KUBECONFIG`, or one that the tool named by
//! `GUSSET_KUBE_TOOL` starts. Without either a test is skipped and says so, except in CI, where it fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

/// An API server. One that was started here is stopped with the last user.
pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    started: Option<(PathBuf, tempfile::TempDir)>,
}

impl Cluster {
    /// The one that all tests share; `None` when there is none, which is then said.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        // Another test that failed to start one is no reason not to try.
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let cluster = match std::env::var_os("GUSSET_TEST_KUBECONFIG") {
            Some(kubeconfig) => Self { kubeconfig: kubeconfig.into(), started: None },
            None => Self::own()?,
        };
        let cluster = Arc::new(cluster);
        *shared = Arc::downgrade(&cluster);
        Some(cluster)
    }

    /// One for a single test, which may stop it.
    pub(crate) fn own() -> Option<Self> {
        let Some(tool) = std::env::var_os("GUSSET_KUBE_TOOL").map(PathBuf::from) else {
            let reason = "no Kubernetes API: set GUSSET_TEST_KUBECONFIG or GUSSET_KUBE_TOOL";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason} (in CI this is a failure)");
            eprintln!("skipped: {reason}");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let up = Command::new(&tool).args(["api", "up"]).arg(dir.path()).output().unwrap();
        assert!(up.status.success(), "the API server does not start: {}", String::from_utf8_lossy(&up.stderr));
        let lines = String::from_utf8(up.stdout).unwrap();
        let kubeconfig = lines.lines().find_map(|line| line.strip_prefix("export KUBECONFIG=")).unwrap().into();
        Some(Self { kubeconfig, started: Some((tool, dir)) })
    }

    /// Sends a signal (`STOP`, `CONT`, `KILL`) to the API server; only where it was started here.
    pub(crate) fn signal(&self, signal: &str) {
        let (_, dir) = self.started.as_ref().expect("a server of our own");
        let pid = std::fs::read_to_string(dir.path().join("run/apiserver.pid")).unwrap();
        let pid = pid.split_whitespace().next().unwrap();
        assert!(Command::new("kill").args([&format!("-{signal}"), pid]).status().unwrap().success());
    }

    /// A namespace of its own for one test.
    pub(crate) async fn namespace(&self) -> Room {
        let config = config(&self.kubeconfig).await;
        let client = kube::Client::try_from(config).unwrap();
        let name = format!("gusset-{:08x}", getrandom::u32().unwrap());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Room { client, name }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((tool, dir)) = &self.started {
            // A server that was stopped does not see that it is to end.
            let _ = Command::new(tool).args(["api", "down"]).arg(dir.path()).output();
        }
    }
}

/// A namespace and what tests do in it.
pub(crate) struct Room {
    pub(crate) client: kube::Client,
    pub(crate) name: String,
}

impl Room {
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// A pod that nobody runs: it is what its status is said to be.
    pub(crate) async fn create(&self, pod: &str, metadata: Value, spec: Value) {
        let mut object = json!({
            "metadata": {"name": pod, "labels": {"app": "myapp"}, "finalizers": [FINALIZER]},
            "spec": {"containers": [{"name": "app", "image": "none"}], "automountServiceAccountToken": false},
        });
        merge(&mut object["metadata"], metadata);
        merge(&mut object["spec"], spec);
        let object = serde_json::from_value(object).unwrap();
        self.pods().create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn run(&self, pod: &str, ip: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let conditions = json!([{"type": "Ready", "status": ready}]);
        let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions});
        self.set_status(pod, status).await;
    }

    /// Created, running and ready in one go.
    pub(crate) async fn start(&self, pod: &str, ip: &str) {
        self.create(pod, json!({}), json!({})).await;
        self.run(pod, ip, true).await;
    }

    pub(crate) async fn set_status(&self, pod: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.pods().patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn set_metadata(&self, pod: &str, metadata: Value) {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.pods().patch(pod, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Begins the end of a pod; it stays, terminating, because of its finalizer.
    pub(crate) async fn terminate(&self, pod: &str) {
        self.pods().delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// Lets a terminating pod go.
    pub(crate) async fn finish(&self, pod: &str) {
        self.set_metadata(pod, json!({"finalizers": null})).await;
    }
}

pub(crate) async fn config(kubeconfig: &Path) -> kube::Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// Writes a changed copy of a kubeconfig (as JSON, which is YAML too).
pub(crate) fn changed_kubeconfig(from: &Path, change: impl FnOnce(&mut Value)) -> tempfile::NamedTempFile {
    let mut kubeconfig = serde_json::to_value(Kubeconfig::read_from(from).unwrap()).unwrap();
    change(&mut kubeconfig);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
    file
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const FINALIZER: &str = "example.org/hold";
