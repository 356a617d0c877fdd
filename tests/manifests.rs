//! `gusset manifests`: what it prints, a real API server takes; the command line in it runs; and the account in it
//! may do what that needs, and no more.

#![cfg(all(feature = "cli", feature = "kubernetes"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod kubernetes_api;

use std::path::Path;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use common::{Beam, BeamOptions, COOKIE, Epmd, Kube, LATER, PortLease, SOON, gusset as binary, otp, require};
use kubernetes_api::{Room, changed_kubeconfig, config};

/// What it prints, as objects.
async fn printed(args: &[&str]) -> Vec<Value> {
    let command = binary::command([&["manifests"], args].concat()).expect("the binary");
    let finished = command.finish(SOON).await;
    assert!(finished.status.success(), "{args:?}: {}", finished.stderr);
    assert_eq!(finished.stderr, "");
    serde_saphyr::from_multiple(&finished.stdout).expect("YAML")
}

async fn refused(args: &[&str]) -> String {
    let finished = binary::command([&["manifests"], args].concat()).expect("the binary").finish(SOON).await;
    assert_eq!((finished.status.code(), finished.stdout.as_str()), (Some(2), ""), "{args:?}");
    finished.stderr
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

const ALL: [&str; 6] = ["ServiceAccount", "Role", "RoleBinding", "Service", "Deployment", "NetworkPolicy"];

/// Applies objects as `kubectl apply --server-side` does, which refuses fields that the API does not know.
async fn apply(room: &Room, objects: &[Value]) {
    for object in objects {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let types = object.types.clone().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).unwrap());
        let api: Api<DynamicObject> = Api::namespaced_with(room.client.clone(), &room.name, &resource);
        let name = object.metadata.name.clone().unwrap();
        let applied = api.patch(&name, &PatchParams::apply("manifests"), &Patch::Apply(&object)).await;
        applied.unwrap_or_else(|error| panic!("{} {name}: {error}", types.kind));
    }
}

/// A kubeconfig for a service account that is there.
async fn kubeconfig_of(room: &Room, account: &str, admin: &Path) -> tempfile::NamedTempFile {
    let accounts: Api<ServiceAccount> = Api::namespaced(room.client.clone(), &room.name);
    let token = accounts.create_token_request(account, &PostParams::default(), &TokenRequest::default()).await;
    let token = token.unwrap().status.unwrap().token;
    changed_kubeconfig(admin, |kubeconfig| kubeconfig["users"][0]["user"] = json!({"token": token}))
}

async fn may(kubeconfig: &Path, namespace: &str, verb: &str, group: &str, resource: &str) -> bool {
    let client = kube::Client::try_from(config(kubeconfig).await).unwrap();
    let attributes = json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource});
    let review = serde_json::from_value(json!({"spec": {"resourceAttributes": attributes}})).unwrap();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

#[tokio::test]
async fn what_is_printed_the_api_takes_and_its_command_line_and_account_are_enough_to_join() {
    let (kube, otp) = (require!(Kube::shared().await), require!(otp::get(27)));
    let (room, lease) = (kube.namespace().await, PortLease::new());
    let port = lease.port().to_string();
    let epmd = Epmd::start(&otp).await;
    let options = BeamOptions::named("shop@127.0.0.2").address([127, 0, 0, 2].into()).fixed_port(lease.port());
    let beam = Beam::start(&otp, &epmd, options).await;

    // This server has no EndpointSlices of version v1.
    let args = ["--lookup=pods", "--namespace", &room.name, "--name=web-gusset", "--basename=shop", "--mode=ip"];
    let more = ["--selector", "app=shop,tier=web", "--dist-port", &port, "--http", "9570", "--secret"];
    let objects = printed(&[&args[..], &more].concat()).await;
    assert_eq!(kinds(&objects), [&["Secret"][..], &ALL].concat());
    apply(&room, &objects).await;

    room.create("beam", json!({"labels": {"app": "shop", "tier": "web"}}), json!({})).await;
    room.run("beam", "127.0.0.2", true).await;
    let deployment = of_kind(&objects, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut line: Vec<&str> = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    line.extend(["--listen", "127.0.0.3", "--epmd", "none"]);
    let account = pod["serviceAccountName"].as_str().unwrap();
    let kubeconfig = kubeconfig_of(&room, account, kube.kubeconfig()).await;
    let mut command = require!(binary::command(&line)).env("KUBECONFIG", kubeconfig.path());
    for variable in container["env"].as_array().unwrap() {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("status.podIP") => "127.0.0.3",
            Some("metadata.namespace") => &room.name,
            Some(other) => panic!("{other}"),
            // Of the two in the cluster the BEAM has been started with the cookie of the fixtures.
            None if !variable["valueFrom"]["secretKeyRef"].is_null() => COOKIE,
            None => variable["value"].as_str().unwrap(),
        };
        let value = if value == ":9570" { "127.0.0.1:0" } else { value };
        command = command.env(variable["name"].as_str().unwrap(), value);
    }
    let gusset = command.spawn();
    gusset.line_with("up    shop@127.0.0.2", LATER).await;
    beam.wait_until("nodes() =:= ['shop@127.0.0.3']", SOON).await.unwrap();
    assert!(!gusset.output().text().contains("may not"), "{}", gusset.output().text());

    for verb in ["get", "list", "watch"] {
        assert!(may(kubeconfig.path(), &room.name, verb, "", "pods").await, "{verb} pods");
    }
    let (slices, group) = ("endpointslices", "discovery.k8s.io");
    assert!(!may(kubeconfig.path(), &room.name, "list", group, slices).await, "what is not looked up");
    for (verb, resource) in [("delete", "pods"), ("get", "secrets"), ("list", "secrets"), ("create", "pods")] {
        assert!(!may(kubeconfig.path(), &room.name, verb, "", resource).await, "{verb} {resource}");
    }
    assert!(!may(kubeconfig.path(), "default", "list", "", "pods").await, "pods of another namespace");
}

#[tokio::test]
async fn the_role_is_that_of_what_is_looked_up_and_the_server_agrees() {
    let kube = require!(Kube::shared().await);
    for (lookup, group, resource, argument) in [
        ("slices", "discovery.k8s.io", "endpointslices", "--kubernetes-service=myapp-cluster"),
        ("endpoints", "", "endpoints", "--kubernetes-service=myapp-cluster"),
        ("pods", "", "pods", "--kubernetes-selector=beam-cluster=myapp"),
    ] {
        let room = kube.namespace().await;
        let objects = printed(&["--lookup", lookup, "--namespace", &room.name]).await;
        apply(&room, &objects).await;
        let args = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"];
        let args: Vec<&str> = args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
        assert!(args.contains(&argument), "{args:?}");
        let kubeconfig = kubeconfig_of(&room, "gusset", kube.kubeconfig()).await;
        for (other, other_group) in [("endpointslices", "discovery.k8s.io"), ("endpoints", ""), ("pods", "")] {
            let allowed = may(kubeconfig.path(), &room.name, "watch", other_group, other).await;
            assert_eq!(allowed, other == resource, "--lookup {lookup}: {other} of `{group}`");
        }
    }
}

#[tokio::test]
async fn every_name_label_and_port_is_put_in_everywhere() {
    let ours =
        printed(&["--name=other", "--basename=shop", "--image=hub/x:2", "--dist-port=9200", "--http=9570"]).await;
    let text = json!(ours).to_string();
    for left in ["myapp", "9100", "9569", "gusset:", "\"gusset\""] {
        assert!(!text.contains(left), "{left} is still in {text}");
    }
    let deployment = of_kind(&ours, "Deployment");
    let labels = json!({"app.kubernetes.io/name": "other", "beam-cluster": "shop"});
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"], labels);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "hub/x:2");
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2})
    );
    let secret = json!({"name": "shop-cookie", "key": "cookie"});
    assert_eq!(
        container["env"].as_array().unwrap().iter().find(|v| v["name"] == "RELEASE_COOKIE").unwrap()["valueFrom"]["secretKeyRef"],
        secret
    );
    assert_eq!(of_kind(&ours, "Service")["metadata"]["name"], "shop-cluster");
    assert_eq!(of_kind(&ours, "Service")["spec"]["selector"], json!({"beam-cluster": "shop"}));

    // The labels of an application are not given to gusset's pods unasked: its Service may select by them.
    let theirs =
        ["--selector=app.kubernetes.io/name=shop", "--cluster-domain=k8s.test", "--cookie-secret=s:k", "--replicas=2"];
    let theirs = printed(&theirs).await;
    let deployment = of_kind(&theirs, "Deployment");
    assert_eq!(deployment["spec"]["template"]["metadata"]["labels"], json!({"app.kubernetes.io/name": "gusset"}));
    assert_eq!(deployment["spec"]["replicas"], 2);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert!(container["env"].as_array().unwrap().contains(&json!({"name": "CLUSTER_DOMAIN", "value": "k8s.test"})));
    assert!(container.to_string().contains(r#"{"key":"k","name":"s"}"#));
    let peers = [json!({"app.kubernetes.io/name": "shop"}), json!({"app.kubernetes.io/name": "gusset"})];
    let peers = peers.map(|labels| json!({"podSelector": {"matchLabels": labels}}));
    assert_eq!(of_kind(&theirs, "NetworkPolicy")["spec"]["ingress"][0]["from"], json!(peers));
    let findable = printed(&["--selector=app=shop", "--findable"]).await;
    let labels = &of_kind(&findable, "Deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(*labels, json!({"app.kubernetes.io/name": "gusset", "app": "shop"}));
}

const SHOP: &str = "\
# A comment.
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shop, namespace: NAMESPACE}
spec:
  serviceName: shop
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      serviceAccountName: shop
      containers:
        - {name: shop, image: 'shop:1', env: [{name: A, value: \"1\"}]}
";

#[tokio::test]
async fn a_sidecar_goes_into_the_pods_of_a_file_and_leaves_all_else_alone() {
    let kube = require!(Kube::shared().await);
    let room = kube.namespace().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SHOP.replace("NAMESPACE", &room.name)).unwrap();
    let path = file.path().to_str().unwrap();
    let objects = printed(&["--basename=shop", "--sidecar", path]).await;
    assert_eq!(kinds(&objects), ["Role", "RoleBinding", "Service", "ConfigMap", "StatefulSet"]);
    apply(&room, &objects).await;
    assert_eq!(of_kind(&objects, "RoleBinding")["subjects"][0]["name"], "shop");
    let set = of_kind(&objects, "StatefulSet");
    assert_eq!(set["spec"]["selector"]["matchLabels"], json!({"app": "shop"}));
    let template = &set["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({"app": "shop", "beam-cluster": "shop"}));
    let containers = template["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers[1], json!({"name": "shop", "image": "shop:1", "env": [{"name": "A", "value": "1"}]}));
    assert_eq!((containers[0]["name"].as_str(), containers.len()), (Some("gusset"), 2));
    assert_eq!(template["spec"]["serviceAccountName"], "shop");

    std::fs::write(
        file.path(),
        SHOP.replace("      serviceAccountName: shop\n", "")
            .replace("{app: shop}}\n    spec", "{app: shop, beam-cluster: x}}\n    spec"),
    )
    .unwrap();
    let error = refused(&["--basename=shop", "--sidecar", path]).await;
    assert!(error.contains("shop: its pods have beam-cluster: \"x\""), "{error}");
    let objects = printed(&["--namespace=other", "--basename=x", "--sidecar", path]).await;
    assert_eq!(of_kind(&objects, "ServiceAccount")["metadata"]["namespace"], "other");
    assert_eq!(of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"]["serviceAccountName"], "gusset");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_to_do() {
    let nowhere = refused(&["--sidecar", "/nowhere"]).await;
    assert!(nowhere.contains("/nowhere cannot be read"), "{nowhere}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (content, says) in [
        ("", "there is no Deployment"),
        ("a: [", "is no YAML"),
        ("- 1", "there is no Deployment"),
        ("kind: Deployment\nmetadata: x", "its pods have no container"),
    ] {
        std::fs::write(file.path(), content).unwrap();
        let error = refused(&["--sidecar", path]).await;
        assert!(error.contains(says), "{error}");
    }
    for (args, says) in [
        (&["--selector=app!=shop"][..], "a Service selects by nothing else"),
        (&["--findable"], "--selector"),
        (&["--selector=app.kubernetes.io/name=x", "--findable"], "a label of its own"),
        (&["--basename=9"], "give one with --service"),
        (&["--basename=a@b"], "before the `@`"),
        (&["--namespace=Web"], "a-z, 0-9 and -"),
        (&["--sidecar=x", "--http=9000"], "cannot be used with"),
    ] {
        let error = refused(args).await;
        assert!(error.contains(says), "{args:?}: {error}");
    }
}
