//! Discovery against a real Kubernetes API: pods are made, become ready, terminate and go, and the API is
//! made to fail in the ways it does.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod kubernetes_api;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use gusset::discovery::{
    CandidateState, DialFailure, Discovery, DiscoveryErrorKind, DiscoveryEvent, Family, Kubernetes, Mesh, MeshEvent,
    NameTemplate, PortRule, Prune, ReconcileConfig, SelfView,
};
use gusset::net::DialTarget;
use gusset::proto::NodeName;
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::mpsc;

use common::{Kube, require};
use kubernetes_api::watched::{Watched, name};
use kubernetes_api::{DEADLINE, Passage, Room, Way, changed_kubeconfig};

fn strategy(kubeconfig: &Path, room: &Room) -> Kubernetes {
    Kubernetes::pods(&room.name, "app=myapp").basename("myapp").template(NameTemplate::ip()).kubeconfig(kubeconfig)
}

#[tokio::test]
async fn pods_come_get_ready_terminate_and_go() {
    let cluster = require!(Kube::shared().await);
    let (room, elsewhere) = (cluster.namespace().await, cluster.namespace().await);
    elsewhere.start("elsewhere", "127.0.0.9").await;
    room.create("other", json!({"labels": {"app": "other"}}), json!({})).await;
    room.run("other", "127.0.0.8", true).await;
    room.create("web-0", json!({}), json!({})).await;

    let mut watched = Watched::start(strategy(cluster.kubeconfig(), &room).template(NameTemplate::dns()));
    watched.until("an answer", |it| it.desired.is_some()).await;
    assert!(watched.names().is_empty() && watched.healthy, "a pod without an address is none: {:?}", watched.names());

    let first = format!("myapp@127-0-0-2.{}.pod.cluster.local", room.name);
    let second = format!("myapp@127-0-0-3.{}.pod.cluster.local", room.name);
    room.run("web-0", "127.0.0.2", false).await;
    watched.until_state(&first, CandidateState::NotReady).await;
    assert_eq!(*watched.target(&first), DialTarget::at(name(&first), [127, 0, 0, 2].into()));
    room.run("web-0", "127.0.0.2", true).await;
    watched.until_state(&first, CandidateState::Ready).await;
    room.start("web-1", "127.0.0.3").await;
    watched.until_names(&[&first, &second]).await;

    room.terminate("web-0").await;
    watched.until_state(&first, CandidateState::Terminating).await;
    assert!(watched.gone.is_empty(), "terminating is not gone");
    room.finish("web-0").await;
    watched.until_names(&[&second]).await;
    assert_eq!(watched.gone, BTreeSet::from([name(&first)]));

    room.set_status("web-1", json!({"phase": "Succeeded"})).await;
    watched.until_names(&[]).await;
    assert!(watched.gone.contains(&name(&second)), "a pod that has ended is gone");
}

#[tokio::test]
async fn a_pod_that_loses_its_label_has_left_and_one_that_gets_it_has_come() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    let mut watched = Watched::start(strategy(cluster.kubeconfig(), &room));
    watched.until_names(&["myapp@127.0.0.2"]).await;
    room.set_metadata("web", json!({"labels": {"app": "quarantine"}})).await;
    watched.until_names(&[]).await;
    assert_eq!(watched.gone, BTreeSet::from([name("myapp@127.0.0.2")]));
    room.set_metadata("web", json!({"labels": {"app": "myapp"}})).await;
    watched.until_names(&["myapp@127.0.0.2"]).await;
}

#[tokio::test]
async fn names_and_ports_follow_the_rules_that_are_set() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    let ports = json!([{"name": "app", "image": "none", "ports": [
        {"name": "http", "containerPort": 80}, {"name": "dist", "containerPort": 9100}
    ]}]);
    let metadata = json!({"annotations": {"example.org/dist": "9200"}, "labels": {"app": "myapp", "role": "cart"}});
    room.create("v4", metadata, json!({"containers": ports, "hostname": "host-0", "subdomain": "nodes"})).await;
    room.run("v4", "127.0.0.2", true).await;
    room.start("v6", "fd00::1:2").await;

    let ns = &room.name;
    let base = strategy(cluster.kubeconfig(), &room).cluster_domain("k8s.example.org");
    for (template, port, names, first_port) in [
        ("{basename}@{ip}", PortRule::Epmd, ["myapp@127.0.0.2".to_owned(), "myapp@fd00::1:2".to_owned()], None),
        (
            "{basename}@{ip_dashed}.{namespace}.pod.{domain}",
            PortRule::Fixed(4370),
            ["127-0-0-2", "fd00--1-2"].map(|ip| format!("myapp@{ip}.{ns}.pod.k8s.example.org")),
            Some(4370),
        ),
        (
            "{basename}@{hostname}",
            PortRule::Annotation("example.org/dist".to_owned()),
            ["myapp@host-0".to_owned(), "myapp@v6".to_owned()],
            Some(9200),
        ),
        (
            "{label.app}@{hostname}",
            PortRule::Named("dist".to_owned()),
            ["myapp@host-0".to_owned(), "myapp@v6".to_owned()],
            Some(9100),
        ),
    ] {
        let mut watched = Watched::start(base.clone().template(template.parse().unwrap()).port(port));
        watched.until_names(&[&names[0], &names[1]]).await;
        assert_eq!(watched.target(&names[0]).port, first_port);
    }
    let by_role = base.clone().template("{label.role}@{hostname}.{service}.{namespace}.svc.{domain}".parse().unwrap());
    let mut watched = Watched::start(by_role);
    watched.until_names(&[&format!("cart@host-0.nodes.{ns}.svc.k8s.example.org")]).await;
}

#[tokio::test]
async fn it_says_what_others_would_call_us() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    let me = Watched::me;
    let base = strategy(cluster.kubeconfig(), &room);

    let mut watched = Watched::start(base.clone().own_address([127, 0, 0, 2].into()));
    watched.until_names(&["myapp@127.0.0.2"]).await;
    assert_eq!(me(&watched), SelfView::Called(name("myapp@127.0.0.2")));
    for strategy in [base.clone(), base.own_address([127, 0, 0, 77].into())] {
        let mut watched = Watched::start(strategy);
        watched.until_names(&["myapp@127.0.0.2"]).await;
        let SelfView::Missing(hint) = me(&watched) else { panic!("{:?}", me(&watched)) };
        assert!(hint.contains("app=myapp"), "{hint}");
    }
    room.start("me", "10.9.9.9").await;
    let mut watched = Watched::start(strategy(cluster.kubeconfig(), &room).basename("me"));
    watched.until("two", |it| it.names().len() == 2).await;
    assert_eq!(me(&watched), SelfView::Called(name("me@10.9.9.9")));
}

#[tokio::test]
async fn two_hundred_pods_at_once_are_all_found() {
    let cluster = require!(Kube::shared().await);
    let room = Arc::new(cluster.namespace().await);
    let mut watched = Watched::start(strategy(cluster.kubeconfig(), &room));
    watched.until("an answer", |it| it.desired.is_some()).await;
    let pods = futures_util::stream::iter(0..200).map(|n| {
        let room = room.clone();
        async move { room.start(&format!("web-{n}"), &format!("127.0.1.{n}")).await }
    });
    let created = pods.buffer_unordered(16).collect::<Vec<()>>();
    let (_, ()) = tokio::join!(created, watched.until("two hundred", |it| it.names().len() == 200));
}

#[tokio::test]
async fn rights_that_are_missing_are_named_and_their_loss_takes_nothing_away() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    let kubeconfig = room.account(cluster.kubeconfig()).await;

    let often = Duration::from_secs(1);
    let mut watched = Watched::start(strategy(kubeconfig.path(), &room).relist_every(often));
    let error = watched.until_error(DiscoveryErrorKind::Forbidden).await;
    assert!(watched.desired.is_none(), "no answer is not an empty one");
    for part in [r#"resources: ["pods"]"#, r#"verbs: ["get", "list", "watch"]"#, &room.name, "RoleBinding"] {
        assert!(error.fix.contains(part), "`{part}` is not in: {error}");
    }

    // To list alone is enough for an answer, and not for health.
    room.grant(&["list"]).await;
    watched.until_names(&["myapp@127.0.0.2"]).await;
    watched
        .until("an error about the watch", |it| {
            it.error.as_ref().is_some_and(|error| error.text.contains("to watch pods"))
        })
        .await;

    room.revoke().await;
    room.grant(&["get", "list", "watch"]).await;
    watched.until("health", |it| it.healthy).await;

    room.revoke().await;
    watched.until_error(DiscoveryErrorKind::Forbidden).await;
    assert_eq!(watched.names(), ["myapp@127.0.0.2"]);
    assert!(watched.gone.is_empty());

    room.start("late", "127.0.0.3").await;
    room.grant(&["get", "list", "watch"]).await;
    watched.until("health", |it| it.healthy).await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.3"]).await;
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_an_error_of_its_own() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    let kubeconfig = changed_kubeconfig(cluster.kubeconfig(), |kubeconfig| {
        kubeconfig["users"][0]["user"] = json!({"token": "forged"});
    });
    let mut watched = Watched::start(strategy(kubeconfig.path(), &room));
    let error = watched.until_error(DiscoveryErrorKind::Unauthorized).await;
    assert!(error.fix.contains("ServiceAccount"), "{error}");
    assert!(watched.desired.is_none());
}

#[tokio::test]
async fn a_token_that_was_replaced_in_its_file_is_used_when_the_old_one_is_no_longer_taken() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    room.grant(&["get", "list", "watch"]).await;
    let first = room.token_of_secret("first").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &first).unwrap();
    let with = |user| changed_kubeconfig(cluster.kubeconfig(), |kubeconfig| kubeconfig["users"][0]["user"] = user);
    let kubeconfig = with(json!({"tokenFile": file.path()}));
    let mut watched = Watched::start(strategy(kubeconfig.path(), &room).relist_every(Duration::from_secs(1)));
    watched.until_names(&["myapp@127.0.0.2"]).await;

    std::fs::write(file.path(), room.token_of_secret("second").await).unwrap();
    room.secrets().delete("first", &kube::api::DeleteParams::default()).await.unwrap();
    room.until_denied(with(json!({"token": first})).path()).await;
    // The watch that runs still holds; the next list needs the new one.
    let asked_before = watched.answers;
    watched.until("a few more lists", |it| it.answers > asked_before + 3 && it.healthy).await;
    room.start("late", "127.0.0.3").await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.3"]).await;
    watched.until("health", |it| it.healthy && it.error.is_none()).await;
    assert!(watched.gone.is_empty());
}

#[tokio::test]
async fn two_namespaces_with_two_selectors_are_one_topology_and_one_that_fails_is_named() {
    let cluster = require!(Kube::shared().await);
    let (room, other) = (cluster.namespace().await, cluster.namespace().await);
    room.start("web", "127.0.0.2").await;
    other.create("worker", json!({"labels": {"tier": "batch"}}), json!({})).await;
    other.run("worker", "127.0.0.3", true).await;
    other.start("unlike", "127.0.0.4").await;
    let kubeconfig = room.account(cluster.kubeconfig()).await;
    room.grant(&["get", "list", "watch"]).await;

    let mut watched = Watched::start(strategy(kubeconfig.path(), &room).also(&other.name, "tier=batch"));
    let error = watched.until_error(DiscoveryErrorKind::Forbidden).await;
    let named = format!("`tier=batch` in namespace `{}`: ", other.name);
    assert!(error.text.starts_with(&named) && error.fix.contains(&other.name), "{error}");
    watched.until_names(&["myapp@127.0.0.2"]).await;

    other.grant_to(&room.name, "pods", &["get", "list", "watch"]).await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.3"]).await;
    watched.until("health", |it| it.healthy && it.error.is_none()).await;
    other.terminate("worker").await;
    other.finish("worker").await;
    watched.until_names(&["myapp@127.0.0.2"]).await;
    assert_eq!(watched.gone, BTreeSet::from([name("myapp@127.0.0.3")]));

    // Who is found by both is one node; who loses one of two labels is still there.
    let mut watched = Watched::start(strategy(cluster.kubeconfig(), &room).also(&room.name, "role=both"));
    watched.until_names(&["myapp@127.0.0.2"]).await;
    room.create("both", json!({"labels": {"app": "myapp", "role": "both"}}), json!({})).await;
    room.run("both", "127.0.0.5", true).await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.5"]).await;
    room.set_metadata("both", json!({"labels": {"app": null}})).await;
    room.start("after", "127.0.0.6").await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.5", "myapp@127.0.0.6"]).await;
    assert!(watched.gone.is_empty(), "{:?}", watched.gone);
    room.set_metadata("both", json!({"labels": {"role": null}})).await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.6"]).await;
    assert_eq!(watched.gone, BTreeSet::from([name("myapp@127.0.0.5")]));
}

#[tokio::test]
async fn family_release_and_zone_are_those_of_the_pod() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    let labels = json!({"app": "myapp", "release": "v2", "topology.kubernetes.io/zone": "zone-a"});
    room.create("dual", json!({"labels": labels}), json!({})).await;
    let addresses = json!([{"ip": "127.0.0.2"}, {"ip": "fd00::2"}]);
    room.set_status("dual", json!({"phase": "Running", "podIP": "127.0.0.2", "podIPs": addresses})).await;
    let base = strategy(cluster.kubeconfig(), &room).release_label("release");
    for (family, wanted) in [
        (Family::First, "myapp@127.0.0.2"),
        (Family::V6, "myapp@fd00::2"),
        (Family::PreferV4, "myapp@127.0.0.2"),
        (Family::PreferV6, "myapp@fd00::2"),
    ] {
        let mut watched = Watched::start(base.clone().family(family));
        watched.until_names(&[wanted]).await;
        let found = watched.candidate(wanted);
        assert_eq!((found.release.as_deref(), found.zone.as_deref()), (Some("v2"), Some("zone-a")));
    }
}

#[tokio::test]
async fn history_that_is_forgotten_while_a_long_list_is_read_or_a_watch_runs_costs_nothing() {
    let Some(cluster) = require!(Kube::private().await) else { return };
    let room = Arc::new(cluster.namespace().await);
    let pods = futures_util::stream::iter(0..PODS_OF_TWO_PAGES).map(|n| {
        let room = room.clone();
        async move { room.create(&format!("idle-{n}"), json!({"finalizers": null}), json!({})).await }
    });
    pods.buffer_unordered(16).collect::<Vec<()>>().await;
    room.start("web", "127.0.0.2").await;

    let way = Way::to(cluster.kubeconfig()).await;
    way.hold(true);
    let kubeconfig = way.kubeconfig(cluster.kubeconfig());
    let mut watched = Watched::start(strategy(kubeconfig.path(), &room));
    way.until_held().await;
    // What the server does with the second page is seen by a list of our own, begun before.
    let limit = kube::api::ListParams::default().labels("app=myapp").limit(500);
    let page = room.pods().list(&limit).await.unwrap();
    room.start("late", "127.0.0.3").await;
    cluster.compact().await;
    let rest = limit.continue_token(&page.metadata.continue_.unwrap());
    let refused = room.pods().list(&rest).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 410), "{refused}");
    way.hold(false);
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.3"]).await;
    assert_eq!(watched.error, None, "a list that has to begin anew is routine");

    room.set_metadata("web", json!({"annotations": {"changed": "since"}})).await;
    cluster.compact().await;
    room.start("later", "127.0.0.4").await;
    watched.until_names(&["myapp@127.0.0.2", "myapp@127.0.0.3", "myapp@127.0.0.4"]).await;
    assert_eq!((watched.error.clone(), watched.gone.len()), (None, 0));
}

#[tokio::test]
async fn settings_that_cannot_work_are_told_as_such() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    let selector = Kubernetes::pods(&room.name, "app in (").kubeconfig(cluster.kubeconfig());
    let error = Watched::start(selector).until_error(DiscoveryErrorKind::Config).await;
    assert!(error.fix.contains("app in ("), "{error}");
    let error =
        Watched::start(Kubernetes::pods_here("").kubeconfig("/nowhere")).until_error(DiscoveryErrorKind::Config).await;
    assert!(error.fix.contains("KUBECONFIG"), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_nothing_and_an_api_out_of_reach_takes_nothing_away() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    let way = Way::to(cluster.kubeconfig()).await;
    let kubeconfig = way.kubeconfig(cluster.kubeconfig());
    let mut watched = Watched::start(strategy(kubeconfig.path(), &room));
    watched.until_names(&["myapp@127.0.0.2"]).await;

    way.set(Passage::Cut);
    way.set(Passage::Open);
    room.start("late", "127.0.0.3").await;
    watched.until("both", |it| it.error.is_some() || it.names() == ["myapp@127.0.0.2", "myapp@127.0.0.3"]).await;
    assert_eq!(watched.error, None, "a cut connection is routine");

    way.set(Passage::Cut);
    let error = watched.until_error(DiscoveryErrorKind::Unreachable).await;
    assert!(error.fix.contains("NetworkPolicy"), "{error}");
    assert_eq!(watched.names(), ["myapp@127.0.0.2", "myapp@127.0.0.3"]);
    assert!(watched.gone.is_empty());

    // What happened meanwhile is seen afterwards, and a pod that nobody saw leave is no proof.
    room.terminate("web").await;
    room.finish("web").await;
    room.start("later", "127.0.0.4").await;
    way.set(Passage::Open);
    watched.until_names(&["myapp@127.0.0.3", "myapp@127.0.0.4"]).await;
    watched.until("health", |it| it.healthy && it.error.is_none()).await;
    assert!(watched.gone.is_empty());
}

#[tokio::test]
async fn an_api_server_that_hangs_or_dies_takes_nothing_away() {
    let Some(cluster) = require!(Kube::private().await) else { return };
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    let mut watched = Watched::start(
        strategy(cluster.kubeconfig(), &room)
            .relist_every(Duration::from_secs(1))
            .answer_within(Duration::from_secs(2)),
    );
    watched.until_names(&["myapp@127.0.0.2"]).await;

    cluster.signal(Signal::STOP);
    watched.until_error(DiscoveryErrorKind::Timeout).await;
    assert_eq!(watched.names(), ["myapp@127.0.0.2"]);
    cluster.signal(Signal::CONT);
    watched.until("health", |it| it.healthy && it.error.is_none()).await;
    assert_eq!(watched.names(), ["myapp@127.0.0.2"]);

    cluster.signal(Signal::KILL);
    watched.until_error(DiscoveryErrorKind::Unreachable).await;
    assert_eq!(watched.names(), ["myapp@127.0.0.2"]);
    assert!(watched.gone.is_empty());
}

#[tokio::test]
async fn pods_are_connected_kept_while_they_terminate_and_let_go_when_they_are_gone() {
    let cluster = require!(Kube::shared().await);
    let room = cluster.namespace().await;
    room.start("web", "127.0.0.2").await;
    let (mesh, mut calls) = Recorder::new();
    let mut settings = ReconcileConfig::default();
    settings.prune = Prune::Immediate;
    let discovery =
        Discovery::new(settings).topology("pods", strategy(cluster.kubeconfig(), &room)).start(mesh.clone());
    let mut events = discovery.events();

    let web = name("myapp@127.0.0.2");
    assert_eq!(call(&mut calls).await, Call::Connect(DialTarget::at(web.clone(), [127, 0, 0, 2].into())));
    room.terminate("web").await;
    let terminating =
        |event: &DiscoveryEvent| matches!(event, DiscoveryEvent::Changed { state: CandidateState::Terminating, .. });
    let seen = async { while !terminating(&events.recv().await.unwrap()) {} };
    tokio::time::timeout(DEADLINE, seen).await.expect("it is seen to terminate");
    assert!(calls.try_recv().is_err() && mesh.connected() == [web.clone()]);

    room.finish("web").await;
    assert_eq!(call(&mut calls).await, Call::Disconnect(web));
    let began = Instant::now();
    room.start("next", "127.0.0.3").await;
    assert!(matches!(call(&mut calls).await, Call::Connect(_)));
    println!("created, running and dialled in {:?}", began.elapsed());
    discovery.stop().await;
    assert!(calls.try_recv().is_err());
}

/// A page holds 500.
const PODS_OF_TWO_PAGES: usize = 520;

/// A mesh that connects whatever it is told to and says what it was told.
struct Recorder {
    connected: Arc<Mutex<BTreeSet<NodeName>>>,
    calls: mpsc::UnboundedSender<Call>,
}

#[derive(Debug, PartialEq)]
enum Call {
    Connect(DialTarget),
    Disconnect(NodeName),
}

impl Recorder {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Call>) {
        let (calls, told) = mpsc::unbounded_channel();
        (Arc::new(Self { connected: Arc::default(), calls }), told)
    }
}

async fn call(calls: &mut mpsc::UnboundedReceiver<Call>) -> Call {
    tokio::time::timeout(DEADLINE, calls.recv()).await.expect("something is done").unwrap()
}

impl Mesh for Recorder {
    fn name(&self) -> NodeName {
        name("me@10.9.9.9")
    }

    fn connected(&self) -> Vec<NodeName> {
        self.connected.lock().iter().cloned().collect()
    }

    fn connect(&self, target: DialTarget) -> BoxFuture<'static, Result<(), DialFailure>> {
        self.connected.lock().insert(target.name.clone());
        self.calls.send(Call::Connect(target)).unwrap();
        Box::pin(std::future::ready(Ok(())))
    }

    fn disconnect(&self, name: &NodeName, _reason: &str) {
        self.connected.lock().remove(name);
        self.calls.send(Call::Disconnect(name.clone())).unwrap();
    }

    fn events(&self) -> BoxStream<'static, MeshEvent> {
        futures_util::stream::pending().boxed()
    }
}
