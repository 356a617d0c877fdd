//! The Kubernetes API with DNS behind it: a real API server whose Role comes and goes, and a real name server.

#![cfg(all(feature = "kubernetes", feature = "dns"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Dnsmasq, Kube, LATER, require, unique, within};
use gusset::discovery::{Auto, DiscoveryErrorKind, Dns, Kubernetes, NameTemplate, Report, Reporter, Reports, Strategy};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of the API")
}

async fn until(reports: &Reports, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
    within(LATER, what, async {
        loop {
            let report = reports.next().await;
            if let Some(desired) = &report.desired {
                assert!(desired.gone.is_empty(), "a switch is no proof that anybody left: {:?}", desired.gone);
            }
            if wanted(&report) {
                return report;
            }
        }
    })
    .await
}

fn names(report: &Report) -> Vec<&str> {
    report.desired.iter().flat_map(|desired| desired.peers.keys()).map(|name| name.as_str()).collect()
}

#[tokio::test]
async fn dns_stands_in_while_the_role_is_missing_and_the_api_is_used_as_soon_as_it_is_allowed() {
    let kube = require!(Kube::start().await);
    // The record that the API does not have shows who is asked.
    let dns = require!(Dnsmasq::start(&["10.0.0.1 web.test", "10.0.0.2 web.test"], &[]).await);
    let admin = Kubeconfig::read_from(kube.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(admin.clone(), &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let (space, create) = (unique("auto").replace('_', "-"), PostParams::default());
    let namespace: Namespace = object(json!({"metadata": {"name": space}}));
    Api::all(client.clone()).create(&create, &namespace).await.unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), &space);
    let pod = object(json!({
        "metadata": {"name": "web", "labels": {"app": "myapp"}},
        "spec": {"containers": [{"name": "app", "image": "none"}], "automountServiceAccountToken": false},
    }));
    pods.create(&create, &pod).await.unwrap();
    let running = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}]});
    pods.patch_status("web", &PatchParams::default(), &Patch::Merge(json!({"status": running}))).await.unwrap();

    // Somebody who may nothing yet.
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &space);
    accounts.create(&create, &object(json!({"metadata": {"name": "node"}}))).await.unwrap();
    let request = TokenRequest::default();
    let token = accounts.create_token_request("node", &create, &request).await.unwrap().status.unwrap().token;
    let mut kubeconfig = serde_json::to_value(admin).unwrap();
    kubeconfig["users"][0]["user"] = json!({"token": token});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "pods"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
        "subjects": [{"kind": "ServiceAccount", "name": "node", "namespace": space}],
    }));
    Api::namespaced(client.clone(), &space).create(&create, &binding).await.unwrap();
    let roles = Api::<Role>::namespaced(client.clone(), &space);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
    let role: Role = object(json!({"metadata": {"name": "pods"}, "rules": rules}));

    let watch = Kubernetes::pods(&space, "app=myapp").kubeconfig(file.path()).basename("app");
    let watch = watch.template(NameTemplate::ip()).relist_every(Duration::from_secs(1));
    let poll = Dns::addresses("web.test").basename("app").name_servers([dns.address()]);
    let auto = Auto::new(watch, poll.every(Duration::from_millis(200)));
    let in_use = auto.in_use();
    let (report, reports) = Reporter::new();
    let running = tokio::spawn(auto.run("me@10.0.0.9".parse().unwrap(), report));

    for _ in 0..2 {
        let by_dns = |report: &Report| names(report) == ["app@10.0.0.1", "app@10.0.0.2"] && report.healthy;
        until(&reports, "an answer of the DNS", by_dns).await;
        assert_eq!(in_use.kind(), Some("dns"));
        let reason = in_use.reason().expect("a reason");
        assert_eq!(reason.kind, DiscoveryErrorKind::Forbidden);
        assert!(reason.fix.contains("Role"), "{reason}");

        roles.create(&create, &role).await.unwrap();
        let by_api = |report: &Report| names(report) == ["app@10.0.0.1"] && report.healthy;
        until(&reports, "an answer of the API", by_api).await;
        assert_eq!((in_use.kind(), in_use.reason()), (Some("kubernetes"), None));

        roles.delete("pods", &DeleteParams::default()).await.unwrap();
    }
    running.abort();
    // Anybody else's cluster is left as it was.
    Api::<Namespace>::all(client).delete(&space, &DeleteParams::default()).await.unwrap();
}
