use std::time::Duration;

use k8s_openapi::api::core::v1::{Endpoints, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::*;
use crate::discovery::desired::SelfView;
use crate::discovery::kubernetes::lookup::{Family, Lookup, Place};
use crate::discovery::strategy::DiscoveryErrorKind;
use crate::discovery::template::{NameTemplate, PortRule};

/// A union and a clock.
struct Bench {
    union: Union,
    now: Instant,
}

impl Bench {
    fn new(lookup: Lookup, change: impl FnOnce(&mut Rules)) -> Self {
        Self::of(lookup, 1, change)
    }

    fn of(lookup: Lookup, sources: usize, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules {
            basename: "app".to_owned(),
            template: NameTemplate::ip(),
            service: None,
            domain: "cluster.local".to_owned(),
            port: PortRule::Epmd,
            family: Family::First,
            release_label: None,
            own: NodeName::new("app@10.0.0.1").unwrap(),
            own_address: None,
        };
        change(&mut rules);
        let place = |n| Place { namespace: Some("ns".to_owned()), selector: format!("app={n}") };
        let sources = (0..sources).map(|n| Source::new(lookup, &place(n), None)).collect();
        Self { union: Union::new(rules, sources), now: Instant::now() }
    }

    fn list<K: Shows>(&mut self, objects: impl IntoIterator<Item = K>) -> Desired {
        self.list_of(0, objects)
    }

    fn list_of<K: Shows>(&mut self, source: usize, objects: impl IntoIterator<Item = K>) -> Desired {
        assert!(!self.union.take_in::<K>(source, Event::Init, self.now));
        for object in objects {
            let complete = self.union.take_in(source, Event::InitApply(object), self.now);
            assert!(!complete, "nothing is reported before a list is complete");
        }
        assert!(self.union.take_in::<K>(source, Event::InitDone, self.now));
        self.union.desired()
    }

    fn apply<K: Shows>(&mut self, event: Event<K>) -> Desired {
        self.apply_to(0, event)
    }

    fn apply_to<K: Shows>(&mut self, source: usize, event: Event<K>) -> Desired {
        assert!(self.union.take_in(source, event, self.now));
        self.union.desired()
    }

    /// Time passes until something is decided.
    fn settle(&mut self) -> Desired {
        self.now = self.union.settles_at().expect("something to decide");
        assert!(self.union.settle(self.now));
        self.union.desired()
    }
}

fn names(desired: &Desired) -> Vec<&str> {
    desired.peers.keys().map(NodeName::as_str).collect()
}

fn gone(desired: &Desired) -> Vec<&str> {
    desired.gone.iter().map(NodeName::as_str).collect()
}

fn nobody() -> Vec<&'static str> {
    Vec::new()
}

fn pod(uid: &str, ip: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {"name": uid, "namespace": "ns", "uid": uid},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn running(uid: &str, ip: &str) -> Pod {
    pod(uid, ip, |_| {})
}

fn terminating(uid: &str, ip: &str) -> Pod {
    pod(uid, ip, |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))
}

fn pods(change: impl FnOnce(&mut Rules)) -> Bench {
    Bench::new(Lookup::Pods, change)
}

#[test]
fn a_new_list_replaces_the_old_one_in_one_step_and_proves_nothing_about_the_missing() {
    let mut bench = pods(|_| {});
    bench.list([running("a", "10.0.0.2"), running("b", "10.0.0.3")]);
    bench.union.take_in::<Pod>(0, Event::Init, bench.now);
    bench.union.take_in(0, Event::InitApply(running("b", "10.0.0.3")), bench.now);
    assert_eq!(names(&bench.union.desired()), ["app@10.0.0.2", "app@10.0.0.3"], "half a list is none");
    let desired = bench.list([running("b", "10.0.0.3")]);
    assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.3"], nobody()));
}

#[test]
fn an_address_that_is_used_again_belongs_to_who_has_it_now() {
    let mut bench = pods(|_| {});
    let desired = bench.list([terminating("old", "10.0.0.2"), running("new", "10.0.0.2")]);
    let candidate = desired.peers.values().next().unwrap();
    assert_eq!((candidate.state, candidate.origin.as_str()), (CandidateState::Ready, "pod ns/new"));
    let desired = bench.apply(Event::Delete(terminating("old", "10.0.0.2")));
    assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.2"], nobody()));
}

#[test]
fn a_pod_that_gets_another_address_has_left_the_old_name() {
    let mut bench = pods(|_| {});
    bench.list([running("a", "10.0.0.2")]);
    let desired = bench.apply(Event::Apply(running("a", "10.0.0.9")));
    assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.9"], vec!["app@10.0.0.2"]));
    assert_eq!(gone(&bench.union.desired()), nobody(), "said once");
}

#[test]
fn a_pod_whose_machine_is_silent_is_not_forgotten() {
    let mut bench = pods(|_| {});
    let unknown = pod("a", "10.0.0.2", |pod| pod["status"]["phase"] = json!("Unknown"));
    assert!(names(&bench.list([unknown.clone()])).is_empty());
    bench.list([running("a", "10.0.0.2")]);
    assert_eq!(names(&bench.apply(Event::Apply(unknown))), ["app@10.0.0.2"]);
}

#[test]
fn only_pods_that_run_and_have_an_address_count() {
    let mut bench = pods(|_| {});
    for change in [json!({"phase": "Pending"}), json!({"podIP": ""}), json!({"podIP": "x"}), json!({"phase": "Failed"})]
    {
        let pod = pod("a", "10.0.0.2", |pod| {
            pod["status"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        });
        assert!(names(&bench.list([pod])).is_empty(), "{change}");
    }
}

#[test]
fn a_restart_within_the_pod_is_another_generation() {
    let restarts = |count: i32| {
        pod("a", "10.0.0.2", |pod| {
            pod["status"]["containerStatuses"] =
                json!([{"name": "app", "image": "", "imageID": "", "ready": true, "restartCount": count}]);
        })
    };
    let mut bench = pods(|_| {});
    let mut generation = |pod| bench.list([pod]).peers.into_values().next().unwrap().generation;
    assert_eq!(generation(restarts(0)), generation(restarts(0)));
    assert_ne!(generation(restarts(0)), generation(restarts(1)));
}

#[test]
fn a_pod_that_gives_no_name_is_left_out_and_remembered_once() {
    let mut bench = pods(|rules| rules.template = "{label.name}@{ip}".parse().unwrap());
    let named = pod("b", "10.0.0.3", |pod| pod["metadata"]["labels"] = json!({"name": "cart"}));
    assert_eq!(names(&bench.list([running("a", "10.0.0.2"), named])), ["cart@10.0.0.3"]);
    assert_eq!(bench.union.nameless.len(), 1);
    bench.apply(Event::Delete(running("a", "10.0.0.2")));
    assert!(bench.union.nameless.is_empty());
}

#[test]
fn the_address_of_a_pod_is_of_the_family_that_is_asked_for() {
    let dual = |uid: &str, first: &str, second: &str| {
        pod(uid, first, |pod| pod["status"]["podIPs"] = json!([{"ip": first}, {"ip": second}]))
    };
    for (family, wanted) in [
        (Family::First, vec!["app@10.0.0.2", "app@10.0.0.4", "app@fd00::3"]),
        (Family::V4, vec!["app@10.0.0.2", "app@10.0.0.3", "app@10.0.0.4"]),
        (Family::V6, vec!["app@fd00::2", "app@fd00::3"]),
        (Family::PreferV4, vec!["app@10.0.0.2", "app@10.0.0.3", "app@10.0.0.4"]),
        (Family::PreferV6, vec!["app@10.0.0.4", "app@fd00::2", "app@fd00::3"]),
    ] {
        // Our own family says nothing about pods, which say themselves what is first.
        let mut bench = pods(|rules| {
            (rules.family, rules.own_address) = (family, Some("fd00::1".parse().unwrap()));
        });
        let all =
            [dual("two", "10.0.0.2", "fd00::2"), dual("three", "fd00::3", "10.0.0.3"), running("four", "10.0.0.4")];
        assert_eq!(names(&bench.list(all)), wanted, "{family:?}");
    }
    let mut bench = pods(|rules| rules.family = Family::V6);
    let SelfView::Missing(hint) = bench.list([running("four", "10.0.0.4")]).me else { panic!("it is not there") };
    assert!(hint.contains("has an IPv6 address"), "{hint}");
}

#[test]
fn a_pod_may_tell_its_zone_and_its_release() {
    let mut bench = pods(|rules| rules.release_label = Some("release".to_owned()));
    let labelled = pod("a", "10.0.0.2", |pod| {
        pod["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "zone-a", "release": "v2"});
    });
    let desired = bench.list([labelled, running("b", "10.0.0.3")]);
    let told: Vec<_> = desired.peers.values().map(|it| (it.zone.as_deref(), it.release.as_deref())).collect();
    assert_eq!(told, [(Some("zone-a"), Some("v2")), (None, None)]);
}

#[test]
fn who_is_found_by_two_selectors_is_one_node_and_gone_when_both_have_seen_it_go() {
    let mut bench = Bench::of(Lookup::Pods, 2, |_| {});
    let both = running("both", "10.0.0.2");
    let early = running("early", "10.0.0.9");
    bench.list_of(0, [both.clone(), early.clone()]);
    let desired = bench.apply_to(0, Event::Delete(early));
    assert_eq!(
        (gone(&desired), desired.me.clone()),
        (nobody(), SelfView::Unknown),
        "the other source has not spoken yet"
    );
    assert!(!bench.union.is_well());
    let desired = bench.list_of(1, [both.clone(), running("second", "10.0.0.3")]);
    assert!(bench.union.is_well());
    assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.2", "app@10.0.0.3"], vec!["app@10.0.0.9"]));

    let desired = bench.apply_to(0, Event::Delete(both.clone()));
    assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.2", "app@10.0.0.3"], nobody()));
    let desired = bench.apply_to(1, Event::Delete(both));
    assert_eq!((names(&desired), gone(&desired)), (vec!["app@10.0.0.3"], vec!["app@10.0.0.2"]));
}

#[test]
fn a_source_that_fails_is_named_and_what_it_said_counts_on() {
    let mut bench = Bench::of(Lookup::Pods, 2, |_| {});
    bench.list_of(0, [running("a", "10.0.0.2")]);
    bench.list_of(1, [running("b", "10.0.0.3")]);
    let error = || DiscoveryError::new(DiscoveryErrorKind::Forbidden, "no").with_fix("a Role");
    assert!(!bench.union.failed(1, error()));
    let trouble = bench.union.trouble().unwrap();
    assert_eq!((trouble.text.as_str(), trouble.fix.as_str()), ("`app=1` in namespace `ns`: no", "a Role"));
    let desired = bench.apply(Event::Apply(running("c", "10.0.0.4")));
    assert_eq!(names(&desired).len(), 3);
    bench.union.failed(0, error());
    let trouble = bench.union.trouble().unwrap();
    assert_eq!(trouble.text, "`app=0` in namespace `ns`: no; `app=1` in namespace `ns`: no");
    assert_eq!(trouble.fix, "a Role", "said once");
    assert!(bench.union.mended(0) && bench.union.mended(1) && bench.union.is_well());
}

fn endpoint(pod: &str, ip: &str) -> Value {
    json!({"addresses": [ip], "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": "ns", "name": pod, "uid": pod}, "zone": "zone-a"})
}

fn with_conditions(pod: &str, ip: &str, conditions: Value) -> Value {
    let mut endpoint = endpoint(pod, ip);
    endpoint["conditions"] = conditions;
    endpoint
}

fn slice(name: &str, endpoints: impl IntoIterator<Item = Value>) -> EndpointSlice {
    slice_of("IPv4", "web", name, endpoints)
}

fn slice_of(kind: &str, service: &str, name: &str, endpoints: impl IntoIterator<Item = Value>) -> EndpointSlice {
    let endpoints: Vec<_> = endpoints.into_iter().collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": kind, "endpoints": endpoints, "ports": [{"name": "dist", "port": 9100}, {"name": "none"}],
    }))
    .unwrap()
}

fn slices(change: impl FnOnce(&mut Rules)) -> Bench {
    Bench::new(Lookup::EndpointSlices, change)
}

const A: &str = "app@10.0.0.2";
const B: &str = "app@10.0.0.3";

fn a() -> Value {
    endpoint("a", "10.0.0.2")
}

fn b() -> Value {
    endpoint("b", "10.0.0.3")
}

#[test]
fn conditions_of_an_endpoint_say_how_far_it_is() {
    let mut bench = slices(|rules| rules.port = PortRule::Named("dist".to_owned()));
    for (conditions, state) in [
        (json!({}), CandidateState::Ready),
        (Value::Null, CandidateState::Ready),
        (json!({"ready": false}), CandidateState::NotReady),
        (json!({"ready": true, "serving": false, "terminating": false}), CandidateState::NotReady),
        (json!({"ready": false, "serving": true, "terminating": true}), CandidateState::Terminating),
        (json!({"ready": true, "serving": true, "terminating": true}), CandidateState::Terminating),
    ] {
        let desired = bench.list([slice("one", [with_conditions("a", "10.0.0.2", conditions.clone())])]);
        let candidate = desired.peers.values().next().unwrap();
        assert_eq!((candidate.state, candidate.target.port), (state, Some(9100)), "{conditions}");
        assert_eq!((candidate.zone.as_deref(), candidate.origin.as_str()), (Some("zone-a"), "pod ns/a"));
    }
}

#[test]
fn an_endpoint_that_leaves_its_slice_has_gone_when_it_shows_up_nowhere_else() {
    let mut bench = slices(|_| {});
    bench.list([slice("one", [a(), b()])]);
    let desired = bench.apply(Event::Apply(slice("one", [b()])));
    assert_eq!((names(&desired), gone(&desired)), (vec![A, B], nobody()), "it may be on its way to another slice");
    let desired = bench.settle();
    assert_eq!((names(&desired), gone(&desired)), (vec![B], vec![A]));
    assert_eq!(bench.union.settles_at(), None);
}

#[test]
fn an_endpoint_that_moves_between_slices_is_never_away() {
    let moves: [fn() -> Vec<Event<EndpointSlice>>; 3] = [
        || vec![Event::Apply(slice("two", [b(), a()])), Event::Apply(slice("one", []))],
        || vec![Event::Apply(slice("one", [])), Event::Apply(slice("two", [b(), a()]))],
        || vec![Event::Delete(slice("one", [a()])), Event::Apply(slice("three", [a()]))],
    ];
    for (number, events) in moves.iter().enumerate() {
        let mut bench = slices(|_| {});
        bench.list([slice("one", [a()]), slice("two", [b()])]);
        for event in events() {
            let desired = bench.apply(event);
            assert_eq!((names(&desired), gone(&desired)), (vec![A, B], nobody()), "order {number}");
        }
        assert_eq!(bench.union.settles_at(), None, "order {number}");
    }
    // A list that is made in the middle of it.
    let mut bench = slices(|_| {});
    bench.list([slice("one", [a()]), slice("two", [b()])]);
    let desired = bench.list([slice("one", []), slice("two", [b()])]);
    assert_eq!((names(&desired), gone(&desired)), (vec![A, B], nobody()));
    bench.apply(Event::Apply(slice("two", [b(), a()])));
    assert_eq!(bench.union.settles_at(), None);
}

#[test]
fn a_slice_that_is_deleted_or_missing_from_a_list_proves_nothing() {
    let mut bench = slices(|_| {});
    bench.list([slice("one", [a()]), slice("two", [b()])]);
    bench.apply(Event::Delete(slice("one", [a()])));
    let desired = bench.settle();
    assert_eq!((names(&desired), gone(&desired)), (vec![B], nobody()));
    bench.list::<EndpointSlice>([]);
    let desired = bench.settle();
    assert_eq!((names(&desired), gone(&desired)), (nobody(), nobody()));
}

#[test]
fn an_endpoint_proves_nothing_by_its_absence_if_it_is_no_pod_or_the_server_takes_out_who_terminates() {
    let mut address = a();
    address.as_object_mut().unwrap().remove("targetRef");
    let old = with_conditions("b", "10.0.0.3", json!({"ready": true}));
    let mut bench = slices(|_| {});
    bench.list([slice("one", [address, old])]);
    bench.apply(Event::Apply(slice("one", [])));
    let desired = bench.settle();
    assert_eq!((names(&desired), gone(&desired)), (nobody(), nobody()));
}

#[test]
fn two_slices_of_a_dual_stack_service_are_one_node_for_each_pod() {
    let (v4, v6) = (endpoint("a", "10.0.0.2"), endpoint("a", "fd00::2"));
    let own = |text: &str| Some(text.parse().unwrap());
    for (family, own, wanted) in [
        (Family::First, None, vec![A]),
        (Family::First, own("10.0.0.1"), vec![A]),
        (Family::First, own("fd00::1"), vec!["app@fd00::2"]),
        (Family::PreferV4, own("fd00::1"), vec![A]),
        (Family::PreferV6, None, vec!["app@fd00::2"]),
        (Family::V4, None, vec![A]),
        (Family::V6, None, vec!["app@fd00::2"]),
    ] {
        let mut bench = slices(|rules| (rules.family, rules.own_address) = (family, own));
        let both = || [slice("one", [v4.clone()]), slice_of("IPv6", "web", "two", [v6.clone()])];
        assert_eq!(names(&bench.list(both())), wanted, "{family:?}");
        // Whichever slice is told first: it goes as one.
        for order in [["one", "two"], ["two", "one"]] {
            bench.list(both());
            for name in order {
                let kind = if name == "one" { "IPv4" } else { "IPv6" };
                let desired = bench.apply(Event::Apply(slice_of(kind, "web", name, [])));
                assert_eq!((names(&desired), gone(&desired)), (wanted.clone(), nobody()), "{family:?} {order:?}");
            }
            let desired = bench.settle();
            assert!(
                desired.peers.is_empty() && gone(&desired).contains(&wanted[0]),
                "{family:?} {order:?}: {desired:?}"
            );
        }
    }
    // A service that gives up a family: the pod goes by its other name, and nobody has gone.
    let mut bench = slices(|rules| rules.family = Family::PreferV6);
    bench.list([slice("one", [v4]), slice_of("IPv6", "web", "two", [v6])]);
    bench.apply(Event::Apply(slice_of("IPv6", "web", "two", [])));
    let desired = bench.settle();
    assert_eq!((names(&desired), gone(&desired)), (vec![A], nobody()));
}

#[test]
fn a_name_by_hostname_takes_the_service_that_gives_one() {
    let mut bench = slices(|rules| rules.template = NameTemplate::hostname());
    let mut named = a();
    named["hostname"] = json!("web-0");
    let both = [slice_of("IPv4", "web", "one", [named]), slice_of("IPv4", "balanced", "two", [a()])];
    assert_eq!(names(&bench.list(both)), ["app@web-0.web.ns.svc.cluster.local"]);
    assert!(bench.union.nameless.is_empty(), "it has a name");
    bench.list([slice_of("IPv4", "balanced", "two", [a()])]);
    bench.settle();
    assert_eq!(bench.union.nameless.len(), 1);
}

#[test]
fn slices_of_domain_names_are_left_out_and_empty_ones_are_no_trouble() {
    let mut bench = slices(|_| {});
    let named = slice_of("FQDN", "web", "two", [endpoint("a", "example.org")]);
    let empty = serde_json::from_value(json!({
        "metadata": {"name": "three", "uid": "three"}, "addressType": "IPv4", "endpoints": null, "ports": null,
    }));
    assert_eq!(names(&bench.list([named, empty.unwrap(), slice("one", [b()])])), [B]);
}

#[test]
fn a_hint_says_what_the_selector_is_compared_with() {
    let mut bench = slices(|_| {});
    let hint = |desired: Desired| match desired.me {
        SelfView::Missing(hint) => hint,
        other => panic!("{other:?}"),
    };
    let text = hint(bench.list::<EndpointSlice>([]));
    for part in
        ["no EndpointSlice in namespace `ns`", "`app=0`", "not with those of the pods", "kubectl get endpointslices"]
    {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let text = hint(bench.list([slice("one", [])]));
    assert!(text.contains("there is no endpoint in them"), "{text}");
    let mut bench = slices(|rules| rules.own_address = Some([10, 0, 0, 9].into()));
    let text = hint(bench.list([slice("one", [a()])]));
    assert!(text.contains("the selector of the Service asks for"), "{text}");
    let mut bench = slices(|rules| rules.own_address = Some([10, 0, 0, 2].into()));
    assert_eq!(bench.list([slice("one", [a()])]).me, SelfView::Called(NodeName::new(A).unwrap()));
}

fn endpoints(subsets: Value) -> Endpoints {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns", "uid": "web"}, "subsets": subsets}))
        .unwrap()
}

#[test]
fn addresses_that_are_not_ready_are_there_and_one_that_leaves_endpoints_is_not_known_to_be_gone() {
    let target = |pod: &str| json!({"kind": "Pod", "namespace": "ns", "name": pod, "uid": pod});
    let (a, b) = (
        json!({"ip": "10.0.0.2", "hostname": "web-0", "targetRef": target("a")}),
        json!({"ip": "10.0.0.3", "hostname": "web-1", "targetRef": target("b")}),
    );
    let ports = json!([{"name": "dist", "port": 9100}]);
    let mut bench = Bench::new(Lookup::Endpoints, |rules| {
        rules.template = NameTemplate::hostname();
        rules.port = PortRule::Named("dist".to_owned());
    });
    let desired = bench.list([endpoints(json!([{"addresses": [a], "notReadyAddresses": [b], "ports": ports}]))]);
    let told: Vec<_> = desired.peers.iter().map(|(name, it)| (name.as_str(), it.state, it.target.port)).collect();
    let name = |host: &str| format!("app@{host}.web.ns.svc.cluster.local");
    let wanted =
        [(name("web-0"), CandidateState::Ready), (name("web-1"), CandidateState::NotReady)].map(|it| (it.0, it.1));
    assert_eq!(told, wanted.each_ref().map(|(name, state)| (name.as_str(), *state, Some(9100))));

    let desired = bench.apply(Event::Apply(endpoints(json!([{"notReadyAddresses": [a], "ports": ports}]))));
    assert_eq!((names(&desired), gone(&desired)), (vec![wanted[0].0.as_str()], nobody()));
    let desired = bench.apply(Event::Apply(endpoints(Value::Null)));
    assert_eq!((names(&desired), gone(&desired)), (nobody(), nobody()));
}

#[test]
fn what_is_held_is_decided_in_time() {
    let mut bench = slices(|_| {});
    bench.list([slice("one", [a()])]);
    bench.apply(Event::Apply(slice("one", [])));
    let at = bench.union.settles_at().unwrap();
    assert!(!bench.union.settle(at - Duration::from_millis(1)));
    assert!(bench.union.settle(at));
}
