//! `gusset doctor --kubernetes` against a real API server: rights that are there and that are not, pods that match.

#![cfg(all(feature = "cli", feature = "kubernetes"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;

use common::{Kube, LATER, gusset as binary, require, within};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

struct Room {
    client: kube::Client,
    name: String,
}

impl Room {
    async fn new(kubeconfig: &Path) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let name = format!("doctor-{:08x}", getrandom::u32().unwrap());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, name }
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object = serde_json::from_value(object).unwrap();
        Api::<K>::namespaced(self.client.clone(), &self.name).create(&PostParams::default(), &object).await.unwrap();
    }

    /// A pod that nobody runs.
    async fn pod(&self, pod: &str, ip: &str, ready: &str) {
        self.create::<Pod>(json!({
            "metadata": {"name": pod, "labels": {"app": "myapp"}},
            "spec": {"containers": [{"name": "app", "image": "none"}], "automountServiceAccountToken": false},
        }))
        .await;
        let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": ready}]});
        let patch = Patch::Merge(json!({"status": status}));
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.name);
        pods.patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A kubeconfig of an account that may do nothing.
    async fn nobody(&self, kubeconfig: &Path) -> tempfile::NamedTempFile {
        self.create::<ServiceAccount>(json!({"metadata": {"name": "node"}})).await;
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.name);
        let request = accounts.create_token_request("node", &PostParams::default(), &TokenRequest::default()).await;
        let token = request.unwrap().status.unwrap().token;
        with_token(kubeconfig, &token)
    }

    async fn allow(&self, verbs: &[&str]) {
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]);
        self.create::<Role>(json!({"metadata": {"name": "pods"}, "rules": rules})).await;
        self.create::<RoleBinding>(json!({
            "metadata": {"name": "pods"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
            "subjects": [{"kind": "ServiceAccount", "name": "node", "namespace": self.name}],
        }))
        .await;
    }
}

/// A copy of a kubeconfig for who has this token (as JSON, which is YAML too).
fn with_token(kubeconfig: &Path, token: &str) -> tempfile::NamedTempFile {
    let mut changed = serde_json::to_value(Kubeconfig::read_from(kubeconfig).unwrap()).unwrap();
    changed["users"][0]["user"] = json!({"token": token});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), changed.to_string()).unwrap();
    file
}

async fn doctor(room: &Room, kubeconfig: &Path, pod_ip: &str) -> (i32, Vec<Value>) {
    let args = ["doctor", "--json", "--kubernetes", "--kubernetes-selector", "app=myapp", "--basename", "myapp"];
    let pods = ["--kubernetes-namespace", &room.name, "--kubernetes-lookup", "pods", "--mode", "ip"];
    let command = binary::command(args.into_iter().chain(pods));
    let command = command.unwrap().fixture_cookie().env("KUBECONFIG", kubeconfig).env("POD_IP", pod_ip);
    // No EPMD of this machine has a part in this.
    let finished = command.epmd_port(1).finish(LATER).await;
    let checks = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (finished.status.code().unwrap(), checks)
}

fn verdicts(checks: &[Value], of: &str) -> Vec<String> {
    let found = checks.iter().filter(|check| check["check"] == of);
    found.map(|check| check["verdict"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rights_pods_and_the_own_pod_are_looked_at_one_by_one() {
    let kube = require!(Kube::start().await);
    let room = Room::new(kube.kubeconfig()).await;
    room.pod("web-0", "10.9.9.1", "True").await;
    room.pod("web-1", "10.9.9.2", "False").await;

    let (code, checks) = doctor(&room, kube.kubeconfig(), "10.9.9.1").await;
    let text = json!(checks).to_string();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("matches 2 running pods") && text.contains("1 ready"), "{text}");
    assert!(text.contains("peers with mode=ip call this node `myapp@10.9.9.1`"), "{text}");
    for check in ["kubernetes", "API server", "token", "pods", "own pod", "called"] {
        assert_eq!(verdicts(&checks, check), ["ok"], "{check}: {text}");
    }
    let (_, checks) = doctor(&room, kube.kubeconfig(), "10.9.9.9").await;
    assert_eq!(verdicts(&checks, "own pod"), ["warn"], "{checks:?}");

    let account = room.nobody(kube.kubeconfig()).await;
    let (code, checks) = doctor(&room, account.path(), "10.9.9.1").await;
    let text = json!(checks).to_string();
    assert_eq!((code, verdicts(&checks, "rights")), (1, vec!["fail".to_owned()]), "{text}");
    assert!(text.contains("may not get, list, watch pods") && text.contains("Role in `"), "{text}");
    assert!(verdicts(&checks, "pods").is_empty(), "{text}");

    room.allow(&["get", "list", "watch"]).await;
    // The API server learns of new rights a little later.
    let checks = within(LATER, "the rights are seen", async {
        loop {
            let (code, checks) = doctor(&room, account.path(), "10.9.9.1").await;
            if code == 0 {
                return checks;
            }
        }
    })
    .await;
    assert_eq!(verdicts(&checks, "rights"), ["ok"], "{checks:?}");

    let wrong = with_token(kube.kubeconfig(), "wrong");
    let (code, checks) = doctor(&room, wrong.path(), "10.9.9.1").await;
    assert_eq!((code, verdicts(&checks, "token")), (1, vec!["fail".to_owned()]), "{checks:?}");

    let missing = kube.kubeconfig().with_file_name("no-such-kubeconfig");
    let (code, checks) = doctor(&room, &missing, "10.9.9.1").await;
    assert_eq!((code, verdicts(&checks, "kubernetes")), (2, vec!["fail".to_owned()]), "{checks:?}");
}
