//! Discovery by Endpoints against a real Kubernetes API. There is no controller: the tests write what one would.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod kubernetes_api;

use std::time::Duration;

use common::{Kube, require};
use gusset::discovery::{CandidateState, DiscoveryErrorKind, Kubernetes, Lookup, NameTemplate, PortRule, SelfView};
use kubernetes_api::Room;
use kubernetes_api::watched::Watched;
use serde_json::{Value, json};

fn strategy(cluster: &Kube, room: &Room) -> Kubernetes {
    let strategy = Kubernetes::endpoints(&room.name, "app=myapp").basename("myapp").template(NameTemplate::ip());
    strategy.kubeconfig(cluster.kubeconfig())
}

fn address(room: &Room, pod: &str, last: u8) -> Value {
    let target = json!({"kind": "Pod", "namespace": room.name, "name": pod, "uid": pod});
    json!({"ip": format!("10.9.8.{last}"), "hostname": pod, "targetRef": target})
}

fn ports(dist: u16) -> Value {
    json!([{"name": "epmd", "port": 4369}, {"name": "dist", "port": dist}])
}

#[tokio::test]
async fn endpoints_are_found_ready_or_not_and_who_leaves_them_is_not_known_to_be_gone() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    let [first, second] = [address(&room, "web-0", 2), address(&room, "web-1", 3)];
    let named = PortRule::Named("dist".to_owned());
    let mut watched = Watched::start(strategy(&cluster, &room).port(named));
    watched.until("an answer", |it| it.desired.is_some()).await;
    let SelfView::Missing(hint) = watched.me() else { panic!("{:?}", watched.me()) };
    assert!(hint.contains("not with those of the pods") && hint.contains("kubectl get endpoints -n "), "{hint}");

    room.set_endpoints("web", json!([{"notReadyAddresses": [first], "ports": ports(9100)}])).await;
    watched.until_state("myapp@10.9.8.2", CandidateState::NotReady).await;
    room.set_endpoints("web", json!([{"addresses": [first], "notReadyAddresses": [second], "ports": ports(9100)}]))
        .await;
    watched.until_state("myapp@10.9.8.2", CandidateState::Ready).await;
    watched.until_state("myapp@10.9.8.3", CandidateState::NotReady).await;
    assert_eq!(watched.target("myapp@10.9.8.2").port, Some(9100));
    assert_eq!(watched.candidate("myapp@10.9.8.2").origin, format!("pod {}/web-0", room.name));
    room.set_endpoints("web", json!([{"notReadyAddresses": [first, second], "ports": ports(9200)}])).await;
    watched.until_state("myapp@10.9.8.2", CandidateState::NotReady).await;
    assert_eq!(watched.target("myapp@10.9.8.2").port, Some(9200));

    // A pod that begins to terminate leaves at once, and works on; and a Service may go without its pods.
    room.set_endpoints("web", json!([{"addresses": [second], "ports": ports(9200)}])).await;
    watched.until_names(&["myapp@10.9.8.3"]).await;
    room.delete_endpoints("web").await;
    watched.until_names(&[]).await;
    assert!(watched.gone.is_empty(), "{:?}", watched.gone);

    // A pod that comes back at another address has left the old one.
    room.set_endpoints("web", json!([{"addresses": [first]}])).await;
    watched.until_names(&["myapp@10.9.8.2"]).await;
    room.set_endpoints("web", json!([{"addresses": [address(&room, "web-0", 9)]}])).await;
    watched.until_names(&["myapp@10.9.8.9"]).await;
    assert_eq!(watched.gone.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["myapp@10.9.8.2"]);
}

#[tokio::test]
async fn a_service_alone_says_which_and_names_its_pods() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    let [first, second] = [address(&room, "web-0", 2), address(&room, "web-1", 3)];
    room.set_endpoints("web", json!([{"addresses": [first, second], "ports": ports(9100)}])).await;
    room.set_endpoints("other", json!([{"addresses": [address(&room, "other-0", 4)], "ports": ports(9100)}])).await;
    // The same pods behind another service, without host names.
    let balanced: Vec<_> = [first, second]
        .into_iter()
        .map(|mut address| {
            address.as_object_mut().unwrap().remove("hostname");
            address
        })
        .collect();
    room.set_endpoints("balanced", json!([{"addresses": balanced, "ports": [{"name": "http", "port": 80}]}])).await;

    let here =
        Kubernetes::endpoints(&room.name, "").service("web").basename("myapp").template(NameTemplate::hostname());
    let here = here.kubeconfig(cluster.kubeconfig()).own_address([10, 9, 8, 3].into());
    let host = |host: &str, service: &str| format!("myapp@{host}.{service}.{}.svc.cluster.local", room.name);
    let names = [host("web-0", "web"), host("web-1", "web")];
    let mut watched = Watched::start(here);
    watched.until_names(&names.each_ref().map(String::as_str)).await;
    assert_eq!(watched.me(), SelfView::Called(names[1].parse().unwrap()));

    // By labels: each pod once, under the name that one of its services gives; by address once, too.
    let all = strategy(&cluster, &room).port(PortRule::Named("dist".to_owned()));
    let mut watched = Watched::start(all.clone().template(NameTemplate::hostname()));
    watched.until_names(&[&host("other-0", "other"), &names[0], &names[1]]).await;
    let mut watched = Watched::start(all);
    watched.until_names(&["myapp@10.9.8.2", "myapp@10.9.8.3", "myapp@10.9.8.4"]).await;
    assert_eq!(watched.target("myapp@10.9.8.2").port, Some(9100), "of the service that has it");
}

#[tokio::test]
async fn the_rights_that_are_missing_are_those_on_what_is_looked_up() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.set_endpoints("web", json!([{"addresses": [address(&room, "web-0", 2)]}])).await;
    let account = room.account(cluster.kubeconfig()).await;
    let often = strategy(&cluster, &room).kubeconfig(account.path()).relist_every(Duration::from_secs(1));
    for (lookup, rule) in [
        (Lookup::Endpoints, r#"{apiGroups: [""], resources: ["endpoints"], verbs: ["get", "list", "watch"]}"#),
        (Lookup::Pods, r#"{apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"]}"#),
    ] {
        let error = Watched::start(often.clone().lookup(lookup)).until_error(DiscoveryErrorKind::Forbidden).await;
        assert!(error.fix.contains(rule) && error.text.contains(&format!("list {lookup} in")), "{error}");
    }
    let mut watched = Watched::start(often);
    watched.until_error(DiscoveryErrorKind::Forbidden).await;
    room.grant_to(&room.name, "endpoints", &["get", "list", "watch"]).await;
    watched.until_names(&["myapp@10.9.8.2"]).await;
    watched.until("health", |it| it.healthy).await;
}

#[tokio::test]
async fn a_server_that_has_no_slices_of_this_version_says_so() {
    let cluster = require!(Kube::shared().await);
    if is_new(&cluster).await {
        eprintln!("left out: this server has discovery.k8s.io/v1");
        return;
    }
    let room = cluster.namespace().await;
    let mut watched = Watched::start(strategy(&cluster, &room).lookup(Lookup::EndpointSlices));
    let error = watched.until_error(DiscoveryErrorKind::NotFound).await;
    assert!(error.fix.contains("Kubernetes 1.21") && error.fix.contains("`endpoints` or `pods`"), "{error}");
}

async fn is_new(cluster: &Kube) -> bool {
    let client = kube::Client::try_from(kubernetes_api::config(cluster.kubeconfig()).await).unwrap();
    client.list_api_group_resources("discovery.k8s.io/v1").await.is_ok()
}
