//! What tests do in a Kubernetes API (the fixture `Kube`): namespaces of their own, pods that nobody runs, accounts
//! with few rights, and a way to the server that can be cut.
#![allow(dead_code, unreachable_pub)]

pub(crate) mod watched;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::common::Kube;

impl Kube {
    /// A namespace of its own for one test.
    pub(crate) async fn namespace(&self) -> Room {
        let config = config(self.kubeconfig()).await;
        let client = kube::Client::try_from(config).unwrap();
        let name = format!("gusset-{:08x}", getrandom::u32().unwrap());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Room { client, name }
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

    /// A kubeconfig for the service account `node`, made now, which may do nothing yet.
    pub(crate) async fn account(&self, kubeconfig: &Path) -> tempfile::NamedTempFile {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.name);
        accounts.create(&PostParams::default(), &object(json!({"metadata": {"name": "node"}}))).await.unwrap();
        let request = TokenRequest::default();
        let token = accounts.create_token_request("node", &PostParams::default(), &request).await.unwrap();
        let token = token.status.unwrap().token;
        changed_kubeconfig(kubeconfig, |kubeconfig| kubeconfig["users"][0]["user"] = json!({"token": token}))
    }

    /// A token of the account `node` (which is made if need be) that is worth nothing once the secret of this name is
    /// deleted.
    pub(crate) async fn token_of_secret(&self, secret: &str) -> String {
        let create = PostParams::default();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.name);
        if accounts.get_opt("node").await.unwrap().is_none() {
            accounts.create(&create, &object(json!({"metadata": {"name": "node"}}))).await.unwrap();
        }
        let bound = self.secrets().create(&create, &object(json!({"metadata": {"name": secret}}))).await.unwrap();
        let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": bound.metadata.uid});
        let request: TokenRequest = object(json!({"spec": {"audiences": [], "boundObjectRef": bound}}));
        accounts.create_token_request("node", &create, &request).await.unwrap().status.unwrap().token
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes these Endpoints, or changes them: no controller does.
    pub(crate) async fn set_endpoints(&self, name: &str, subsets: Value) {
        let metadata = json!({"name": name, "labels": {"service": name, "app": "myapp"}});
        let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets});
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &self.name);
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&endpoints)).await.unwrap();
    }

    pub(crate) async fn delete_endpoints(&self, name: &str) {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &self.name);
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Gives the account `node` these rights on pods.
    pub(crate) async fn grant(&self, verbs: &[&str]) {
        self.grant_to(&self.name, "pods", verbs).await;
    }

    /// Gives the account `node` of that namespace these rights here.
    pub(crate) async fn grant_to(&self, namespace: &str, resource: &str, verbs: &[&str]) {
        let rules = json!([{"apiGroups": [""], "resources": [resource], "verbs": verbs}]);
        let role = object(json!({"metadata": {"name": "pods"}, "rules": rules}));
        Api::<Role>::namespaced(self.client.clone(), &self.name).create(&PostParams::default(), &role).await.unwrap();
        let bindings = Api::<RoleBinding>::namespaced(self.client.clone(), &self.name);
        if bindings.get_opt("pods").await.unwrap().is_none() {
            let binding = object(json!({
                "metadata": {"name": "pods"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
                "subjects": [{"kind": "ServiceAccount", "name": "node", "namespace": namespace}],
            }));
            bindings.create(&PostParams::default(), &binding).await.unwrap();
        }
    }

    /// Takes them away.
    pub(crate) async fn revoke(&self) {
        let roles = Api::<Role>::namespaced(self.client.clone(), &self.name);
        roles.delete("pods", &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the API refuses this account to list pods: it learns of changed rights a little later.
    pub(crate) async fn until_denied(&self, kubeconfig: &Path) {
        let client = kube::Client::try_from(config(kubeconfig).await).unwrap();
        let pods: Api<Pod> = Api::namespaced(client, &self.name);
        let denied = async {
            while pods.list(&kube::api::ListParams::default()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, denied).await.expect("a right that is taken away is gone");
    }
}

/// A way to the API server that can be cut.
pub(crate) struct Way {
    port: u16,
    host: String,
    passage: watch::Sender<Passage>,
    held: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Passage {
    Open,
    Cut,
}

impl Way {
    pub(crate) async fn to(kubeconfig: &Path) -> Self {
        let server = config(kubeconfig).await.cluster_url;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = server.host().unwrap().to_owned();
        let behind = (host.clone(), server.port_u16().unwrap_or(443));
        let (passage, state) = watch::channel(Passage::Open);
        let (held, holding) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (behind, mut state, holding, stop) = (behind.clone(), state.clone(), holding.clone(), stop.clone());
                if *state.borrow_and_update() == Passage::Cut {
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(behind).await.unwrap();
                    let ((mut from_near, mut to_near), (from_far, mut to_far)) = (near.split(), far.split());
                    let answers = async { pass(from_far, &mut to_near, holding, stop).await.and(Ok(0)) };
                    tokio::select! {
                        _ = async { tokio::try_join!(copy(&mut from_near, &mut to_far), answers) } => {}
                        _ = state.changed() => {}
                    }
                });
            }
        });
        Self { port, host, passage, held, stopped }
    }

    /// While it is held, a connection carries the beginning of an answer, and no more of it.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send(held).unwrap();
    }

    /// Waits until a connection has been stopped so.
    pub(crate) async fn until_held(&self) {
        let mut stopped = self.stopped.clone();
        let held = stopped.wait_for(|stopped| *stopped);
        tokio::time::timeout(DEADLINE, held).await.expect("an answer is held").unwrap();
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.passage.send(passage).unwrap();
    }

    pub(crate) fn kubeconfig(&self, from: &Path) -> tempfile::NamedTempFile {
        changed_kubeconfig(from, |kubeconfig| {
            let cluster = &mut kubeconfig["clusters"][0]["cluster"];
            cluster["server"] = json!(format!("https://127.0.0.1:{}", self.port));
            cluster["tls-server-name"] = json!(self.host);
        })
    }
}

/// Passes on what comes; when held, no more than [`BEGINNING`].
async fn pass(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    mut holding: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
) -> std::io::Result<()> {
    let (mut passed, mut buffer) = (0, vec![0; 16 * 1024]);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        passed += read;
        if passed > BEGINNING && *holding.borrow() {
            stop.send_replace(true);
            let _ = holding.wait_for(|held| !held).await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
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
/// More than the handshake of TLS, less than a page of a list.
const BEGINNING: usize = 64 * 1024;
const FINALIZER: &str = "example.org/hold";
