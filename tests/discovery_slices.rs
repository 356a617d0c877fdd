//! Discovery by EndpointSlices against what a Kubernetes 1.36 API server was recorded to say, over real HTTPS and in
//! the order that the test wants; and what it does when that API is not there, forbids, forgets or breaks off.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod kubernetes_api;

use std::collections::BTreeSet;
use std::time::Duration;

use common::RecordedApi;
use common::recorded_api::recorded;
use gusset::discovery::{
    CandidateState, DiscoveryErrorKind, Family, Kubernetes, Lookup, NameTemplate, PortRule, SelfView,
};
use gusset::proto::NodeName;
use kubernetes_api::watched::{Watched, name};
use serde_json::{Value, json};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices?";
const NOTHING: &str = r#"{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"200"},"items":[]}"#;

fn slices(api: &RecordedApi) -> Kubernetes {
    Kubernetes::slices("demo", "app=app").basename("myapp").template(NameTemplate::ip()).kubeconfig(api.kubeconfig())
}

fn ip(last: &str) -> String {
    format!("myapp@10.244.{last}.10")
}

fn list(name: &str) -> Value {
    serde_json::from_str(&recorded(name)).unwrap()
}

/// A slice of a recorded list.
fn slice(list: &Value, number: usize) -> Value {
    let mut slice = list["items"][number].clone();
    (slice["kind"], slice["apiVersion"]) = (json!("EndpointSlice"), json!("discovery.k8s.io/v1"));
    slice
}

/// The same slice later, with these endpoints.
fn later(slice: &Value, version: u32, endpoints: &[&Value]) -> Value {
    let mut slice = slice.clone();
    (slice["metadata"]["resourceVersion"], slice["endpoints"]) = (json!(version.to_string()), json!(endpoints));
    slice
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

#[tokio::test]
async fn a_whole_recorded_stream_is_followed_event_by_event() {
    use CandidateState::{NotReady, Ready, Terminating};
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api).port(PortRule::Named("dist".to_owned())));
    api.list(&[SLICES, "labelSelector=app=app"]).await.answer(200, NOTHING);
    let watch = api.watch(&[SLICES, "labelSelector=app=app", "resourceVersion=200", "allowWatchBookmarks=true"]).await;
    watched.until("an answer", |it| it.desired.is_some() && it.healthy).await;

    let stream = recorded("endpointslices.watch.json");
    let mut lines = stream.lines();
    let mut follow = |count: usize| lines.by_ref().take(count).for_each(|line| watch.line(line));
    // (Lines to send, what is there after them.)
    let steps: [(usize, &[(&str, CandidateState)]); 16] = [
        (2, &[("0", NotReady)]),
        (1, &[("0", Ready)]),
        (1, &[("0", Ready), ("1", NotReady)]),
        (2, &[("0", Ready), ("1", Ready), ("2", NotReady)]),
        (1, &[("0", Ready), ("1", Ready), ("2", Ready)]),
        (1, &[("0", Ready), ("1", NotReady), ("2", Ready)]),
        (1, &[("0", Ready), ("1", Ready), ("2", Ready)]),
        (1, &[("0", Ready), ("1", Ready), ("2", Terminating)]),
        // Not serving any more, out of the slice: gone a moment later.
        (2, &[("0", Ready), ("1", Ready)]),
        (1, &[("0", Ready), ("1", Ready), ("3", Ready)]),
        (1, &[("0", Ready), ("1", Ready), ("3", Ready), ("4", Ready)]),
        (1, &[("0", Ready), ("1", Ready), ("3", Ready), ("4", Ready), ("5", Ready)]),
        // One pod in an IPv4 and an IPv6 slice.
        (4, &[("0", Ready), ("1", Ready), ("3", Ready), ("4", Ready), ("5", Ready), ("7", Ready)]),
        // Published before it is ready.
        (2, &[("0", Ready), ("1", Ready), ("3", Ready), ("4", Ready), ("5", Ready), ("7", Ready), ("8", NotReady)]),
        (
            1,
            &[
                ("0", Ready),
                ("1", Ready),
                ("3", Ready),
                ("4", Ready),
                ("5", Terminating),
                ("7", Ready),
                ("8", NotReady),
            ],
        ),
        // `app-5` leaves its slice, and the slice of `early` is deleted, which says nothing about its pod.
        (2, &[("0", Ready), ("1", Ready), ("3", Ready), ("4", Ready), ("7", Ready)]),
    ];
    for (number, (count, wanted)) in steps.into_iter().enumerate() {
        follow(count);
        let wanted: Vec<_> = wanted.iter().map(|(last, state)| (ip(last), *state)).collect();
        let there = |it: &Watched| {
            it.names().len() == wanted.len() && wanted.iter().all(|(name, state)| it.state(name) == Some(*state))
        };
        watched.until(&format!("step {number}: {wanted:?}"), there).await;
    }
    assert_eq!(watched.gone, BTreeSet::from([name(&ip("2")), name(&ip("5"))]));
    let all = ["0", "1", "2", "3", "4", "5", "7", "8"].map(|last| name(&ip(last)));
    assert_eq!(watched.ever, BTreeSet::from(all), "nobody under two names, and nobody twice");
    let first = watched.candidate(&ip("0"));
    assert_eq!((first.zone.as_deref(), first.target.port), (Some("zone-a"), Some(9100)));
    assert_eq!(first.origin, "pod demo/app-0");

    // Bookmarks move the place from where the next watch goes on; a server that ends one is not asked for a new list.
    follow(2);
    drop(watch);
    let next = api.watch(&[SLICES, "resourceVersion=272"]).await;
    assert_eq!(watched.error, None);
    next.event("MODIFIED", &later(&slice(&list("endpointslices.split.list.json"), 1), 273, &[]));
    watched.until("the end of app-4", |it| it.gone.contains(&name(&ip("4")))).await;
}

#[tokio::test]
async fn a_place_that_is_no_longer_kept_is_a_reason_to_list_and_none_to_let_go() {
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api));
    api.list(&[SLICES]).await.answer_recorded(200, "endpointslices.split.list.json");
    let watch = api.watch(&[SLICES, "resourceVersion=248"]).await;
    let before = sorted(["0", "1", "3", "4", "5"].map(ip));
    watched.until("five", |it| it.names() == before).await;
    watch.line(&recorded("endpointslices.watch.410.json"));
    let again = api.list(&[SLICES]).await;
    assert_eq!((watched.names().len(), &watched.error), (5, &None), "half a relist is none");
    again.answer_recorded(200, "endpointslices.list.json");
    let _watch = api.watch(&[SLICES, "resourceVersion=227"]).await;
    let after = sorted(["0", "1", "2"].map(ip));
    watched.until("three", |it| it.names() == after).await;
    assert!(watched.gone.is_empty() && watched.error.is_none(), "absence is no proof: {:?}", watched.gone);
}

#[tokio::test]
async fn an_endpoint_that_moves_between_slices_is_never_away() {
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api));
    let both = list("endpointslices.split.list.json");
    let (one, two) = (slice(&both, 0), slice(&both, 1));
    let [a, b, c, d, e] =
        [&one["endpoints"][0], &one["endpoints"][1], &one["endpoints"][2], &two["endpoints"][0], &two["endpoints"][1]];
    api.list(&[SLICES]).await.answer(200, both.to_string());
    let watch = api.watch(&[SLICES]).await;
    let all = sorted(["0", "1", "3", "4", "5"].map(ip));
    watched.until("five", |it| it.names() == all).await;

    // Out of one, into the other; then into one before it is out of the other.
    watch.event("MODIFIED", &later(&one, 300, &[a, b]));
    watch.event("MODIFIED", &later(&two, 301, &[c, d, e]));
    watch.event("MODIFIED", &later(&one, 302, &[a, b, d]));
    watch.event("MODIFIED", &later(&two, 303, &[c, e]));
    // The slice goes, and another one comes for the same endpoints.
    watch.event("DELETED", &later(&two, 304, &[c, e]));
    let mut three = later(&two, 305, &[c, e]);
    (three["metadata"]["name"], three["metadata"]["uid"]) = (json!("app-three"), json!("three"));
    watch.event("ADDED", &three);
    // And one that really goes: whatever came before it was decided before it.
    watch.event("MODIFIED", &later(&one, 306, &[a, d]));
    let absent = |it: &Watched| it.names().len() == 4;
    watched.until("four", absent).await;
    assert_eq!(watched.names(), sorted(["0", "3", "4", "5"].map(ip)));
    assert_eq!(watched.gone, BTreeSet::from([name(&ip("1"))]));
}

#[tokio::test]
async fn families_are_chosen_and_a_pod_with_two_addresses_is_one_node() {
    let mut api = RecordedApi::start().await;
    let (v4, v6) = (ip("7"), "myapp@fd00:10:244:7::10".to_owned());
    let host = "myapp@dual-0.dual.demo.svc.cluster.local".to_owned();
    let base = slices(&api);
    for (strategy, wanted, address) in [
        (base.clone(), &v4, "10.244.7.10"),
        (base.clone().own_address("fd00::1".parse().unwrap()), &v6, "fd00:10:244:7::10"),
        (base.clone().family(Family::V4), &v4, "10.244.7.10"),
        (base.clone().family(Family::V6), &v6, "fd00:10:244:7::10"),
        (base.clone().family(Family::PreferV6), &v6, "fd00:10:244:7::10"),
        (base.clone().family(Family::PreferV6).template(NameTemplate::hostname()), &host, "fd00:10:244:7::10"),
        (base.clone().family(Family::PreferV4).template(NameTemplate::hostname()), &host, "10.244.7.10"),
    ] {
        let mut watched = Watched::start(strategy);
        api.list(&[SLICES]).await.answer_recorded(200, "endpointslices.dual.list.json");
        watched.until_names(&[wanted]).await;
        assert_eq!(watched.target(wanted).ip, Some(address.parse().unwrap()));
    }
    let mut watched = Watched::start(base.family(Family::V6));
    api.list(&[SLICES]).await.answer_recorded(200, "endpointslices.list.json");
    watched.until("an answer", |it| it.desired.is_some()).await;
    let SelfView::Missing(hint) = watched.me() else { panic!("{:?}", watched.me()) };
    assert!(hint.contains("none of the 3 found") && hint.contains("IPv6 address"), "{hint}");
}

#[tokio::test]
async fn a_service_alone_says_which_slices_and_hostnames_name_a_stateful_set() {
    let mut api = RecordedApi::start().await;
    let strategy = Kubernetes::slices_here("").service("app").basename("myapp").template(NameTemplate::hostname());
    let mut watched = Watched::start(strategy.kubeconfig(api.kubeconfig()).own_address([10, 244, 1, 10].into()));
    let asked = api.list(&[SLICES, "labelSelector=kubernetes.io/service-name=app"]).await;
    asked.answer_recorded(200, "endpointslices.list.json");
    let names = ["0", "1", "2"].map(|n| format!("myapp@app-{n}.app.demo.svc.cluster.local"));
    watched.until_names(&names.each_ref().map(String::as_str)).await;
    assert_eq!(watched.me(), SelfView::Called(name(&names[1])));
}

#[tokio::test]
async fn a_right_that_is_missing_and_an_api_that_is_not_there_are_told_with_what_mends_them() {
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api));
    api.list(&[SLICES]).await.answer_recorded(403, "endpointslices.list.403.json");
    let error = watched.until_error(DiscoveryErrorKind::Forbidden).await;
    for part in [r#"apiGroups: ["discovery.k8s.io"]"#, r#"resources: ["endpointslices"]"#, "Role in namespace `demo`"] {
        assert!(error.fix.contains(part), "`{part}` is not in: {error}");
    }
    api.list(&[SLICES]).await.answer_recorded(404, "resource.404.json");
    let error = watched.until_error(DiscoveryErrorKind::NotFound).await;
    for part in ["1.21", "`endpoints`", "`pods`"] {
        assert!(error.fix.contains(part), "`{part}` is not in: {error}");
    }
    api.list(&[SLICES]).await.answer_recorded(401, "401.json");
    watched.until_error(DiscoveryErrorKind::Unauthorized).await;
    assert!(watched.desired.is_none(), "no answer is not an empty one");

    api.list(&[SLICES]).await.answer_recorded(200, "endpointslices.list.json");
    watched.until("three", |it| it.names().len() == 3).await;
    let watch = api.watch(&[SLICES]).await;
    watched.until("health, once the watch holds", |it| it.healthy).await;
    // Cut: routine, it goes on where it was. Refused then: an error, and nobody is let go.
    watch.cut();
    let again = api.any().await;
    assert!(again.is_watch() && again.line.contains("resourceVersion=227"), "{again:?}");
    again.answer_recorded(403, "endpointslices.list.403.json");
    watched.until_error(DiscoveryErrorKind::Forbidden).await;
    assert_eq!((watched.names().len(), watched.gone.len()), (3, 0));
}

#[tokio::test]
async fn everything_is_listed_anew_from_time_to_time_and_what_is_missing_then_keeps_its_link() {
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api).relist_every(Duration::from_secs(1)));
    api.list(&[SLICES]).await.answer_recorded(200, "endpointslices.split.list.json");
    let _watch = api.watch(&[SLICES]).await;
    watched.until("five", |it| it.names().len() == 5).await;
    api.list(&[SLICES]).await.answer_recorded(200, "endpointslices.list.json");
    let wanted = sorted(["0", "1", "2"].map(ip));
    watched.until("three", |it| it.names() == wanted).await;
    assert!(watched.gone.is_empty());
}

#[tokio::test]
async fn one_selector_that_fails_is_named_and_the_others_go_on() {
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api).also("other", "app=dual").also_here("app=app"));
    let other = "/namespaces/other/endpointslices?";
    // The third is the first once more; each has a list and a watch of its own.
    for _ in 0..2 {
        api.list(&[SLICES, "app=app"]).await.answer_recorded(200, "endpointslices.list.json");
    }
    let watches = [api.watch(&[SLICES]).await, api.watch(&[SLICES]).await];
    watched.until("three", |it| it.names().len() == 3).await;
    assert!(!watched.healthy && watched.error.is_none(), "one has not spoken yet");
    assert_eq!(watched.me(), SelfView::Unknown);
    api.list(&[other, "app=dual"]).await.answer_recorded(403, "endpointslices.list.403.json");
    let error = watched.until_error(DiscoveryErrorKind::Forbidden).await;
    assert!(error.text.starts_with("`app=dual` in namespace `other`: "), "{error}");
    assert!(error.fix.contains("Role in namespace `other`"), "{error}");

    // While it fails the others are followed; who is gone for one and not for the other is there.
    let slice = slice(&list("endpointslices.list.json"), 0);
    let [a, b, c] = [&slice["endpoints"][0], &slice["endpoints"][1], &slice["endpoints"][2]];
    watches[0].event("MODIFIED", &later(&slice, 300, &[a]));
    watches[1].event("MODIFIED", &later(&slice, 300, &[a, b]));
    watched.until("two", |it| it.names().len() == 2).await;
    assert_eq!((watched.gone.clone(), watched.healthy), (BTreeSet::from([name(&ip("2"))]), false));
    assert_eq!(c["targetRef"]["name"], "app-2");

    api.list(&[other]).await.answer_recorded(200, "endpointslices.dual.list.json");
    let _watch = api.watch(&[other]).await;
    watched.until("health", |it| it.healthy && it.names().len() == 3).await;
}

#[tokio::test]
async fn a_page_that_is_no_longer_kept_is_a_reason_to_begin_anew() {
    let mut api = RecordedApi::start().await;
    let mut watched = Watched::start(slices(&api).lookup(Lookup::Pods).release_label("tier"));
    let pods = "/api/v1/namespaces/demo/pods?";
    api.list(&[pods, "limit="]).await.answer_recorded(200, "pods.list.page.json");
    api.list(&[pods, "continue=eyJ2"]).await.answer_recorded(410, "pods.list.410.json");
    let anew = api.list(&[pods]).await;
    assert!(!anew.line.contains("continue="), "{}", anew.line);
    assert!(watched.desired.is_none() && watched.error.is_none(), "half a list is none, and no error");
    anew.answer_recorded(200, "pods.list.json");
    let watch = api.watch(&[pods, "resourceVersion=270"]).await;
    // Not who has ended, nor who has no address.
    let wanted = sorted(["0", "1", "3", "4", "7", "8"].map(ip));
    watched.until("six", |it| it.names() == wanted).await;
    let first = watched.candidate(&ip("0"));
    assert_eq!((first.zone.as_deref(), first.release.as_deref()), (Some("zone-a"), Some("backend")));
    // The stream of the pods from its beginning ends with the same set; those that it saw leave have gone.
    recorded("pods.watch.json").lines().for_each(|line| watch.line(line));
    watched.until("the end of the stream", |it| it.gone.contains(&name(&ip("5")))).await;
    assert_eq!(watched.names(), wanted);
    let gone: BTreeSet<NodeName> = ["2", "5", "9"].map(|last| name(&ip(last))).into();
    assert_eq!(watched.gone, gone);
}

#[tokio::test]
async fn what_only_pods_can_tell_is_refused_at_the_start() {
    let base = || Kubernetes::slices("demo", "app=app").kubeconfig("/nowhere");
    for (strategy, part) in [
        (base().release_label("release"), "the label `release`"),
        (base().template("{label.app}@{ip}".parse().unwrap()), "`{label.app}`"),
        (base().template("a@{annotation.x}".parse().unwrap()).lookup(Lookup::Endpoints), "`{annotation.x}`"),
        (base().port(PortRule::Annotation("port".to_owned())), "the annotation `port`"),
    ] {
        let error = Watched::start(strategy).until_error(DiscoveryErrorKind::Config).await;
        assert!(error.text.contains(part) && error.fix.contains("lookup `pods`"), "{error}");
    }
}

#[cfg(feature = "ops")]
mod doctor {
    use std::sync::{Arc, Mutex};

    use gusset::ops::doctor::{Check, KubernetesOptions, Report, Verdict, kubernetes};

    use super::*;

    /// What the doctor finds where these resources may be looked at, and slices are listed so.
    async fn look(allowed: &'static [&'static str], listed: &'static str) -> Vec<Check> {
        let mut api = RecordedApi::start().await;
        let strategy = slices(&api).own_address([10, 244, 1, 10].into());
        let answering = tokio::spawn(async move {
            let mut watches = Vec::new();
            loop {
                let asked = api.any().await;
                if asked.line.contains("/selfsubjectaccessreviews") {
                    let mut review: Value = serde_json::from_slice(&asked.body).unwrap();
                    let resource = review["spec"]["resourceAttributes"]["resource"].as_str().unwrap().to_owned();
                    review["status"] = json!({"allowed": allowed.contains(&resource.as_str())});
                    asked.answer(201, review.to_string());
                } else if asked.line.starts_with("/version") {
                    asked.answer(200, VERSION);
                } else if asked.is_watch() {
                    watches.push(asked.stream());
                } else {
                    asked.answer_recorded(if listed.contains("404") { 404 } else { 200 }, listed);
                }
            }
        });
        let mut options = KubernetesOptions::new(name("myapp@10.244.1.10"));
        (options.strategy, options.selector) = (Some(strategy), "app=app".to_owned());
        let checks = Arc::new(Mutex::new(Vec::new()));
        let told = checks.clone();
        let mut report = Report::new(move |check: &Check| told.lock().unwrap().push(check.clone()));
        kubernetes(&mut report, &options).await;
        answering.abort();
        let checks = checks.lock().unwrap();
        checks.clone()
    }

    fn told(checks: &[Check], check: &str) -> (Verdict, String) {
        let check = checks.iter().find(|it| it.check == check).unwrap_or_else(|| panic!("no {check} in {checks:?}"));
        (check.verdict, format!("{} -> {}", check.text, check.fix.as_deref().unwrap_or_default()))
    }

    #[tokio::test]
    async fn it_counts_slices_and_their_endpoints_and_asks_for_the_rights_that_are_needed() {
        let checks = look(&["endpointslices"], "endpointslices.split.list.json").await;
        let (verdict, text) = told(&checks, "endpointslices");
        assert_eq!(verdict, Verdict::Ok);
        assert!(text.contains("`app=app` matches 2 endpointslices of `demo` with 5 endpoints"), "{text}");
        let (verdict, text) = told(&checks, "rights");
        assert!(verdict == Verdict::Ok && text.contains("get, list, watch endpointslices"), "{text}");
        assert!(told(&checks, "pods").1.contains("5 ready"), "{checks:?}");
        assert_eq!(told(&checks, "own pod").0, Verdict::Ok, "{checks:?}");

        let checks = look(&["pods"], "endpointslices.split.list.json").await;
        let (verdict, text) = told(&checks, "rights");
        assert_eq!(verdict, Verdict::Fail);
        for part in
            [r#"apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"]"#, "lookup `pods`, which is allowed"]
        {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }

        let checks = look(&["endpointslices"], "resource.404.json").await;
        let (verdict, text) = told(&checks, "endpointslices");
        assert!(verdict == Verdict::Fail && text.contains("Kubernetes 1.21"), "{text}");
    }

    const VERSION: &str = r#"{"major":"1","minor":"36","gitVersion":"v1.36.0","gitCommit":"","gitTreeState":"",
        "buildDate":"","goVersion":"","compiler":"","platform":""}"#;
}
