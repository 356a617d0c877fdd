//! A cluster found through a real Kubernetes API: pods are made, get ready, terminate and go, in them "run" real BEAM
//! nodes on addresses of loopback, and the real binary joins them, keeps them and says what it sees.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod kubernetes_api;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use gusset::discovery::{Kubernetes, NameTemplate, PortRule};
use gusset::{Cookie, EpmdMode, Node};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use common::gusset::{self as binary, GussetCommand};
use common::node::until;
use common::{Beam, BeamOptions, COOKIE, Epmd, Gusset, Kube, LATER, Missing, Otp, PortLease, SOON, otp, require};
use kubernetes_api::{Passage, Room, Way};

#[tokio::test]
async fn pods_are_joined_as_they_come_and_kept_as_they_go() {
    let kube = require!(Kube::shared().await);
    let (room, otps) = (kube.namespace().await, [25, 27, 29, 27].map(otp::get));
    let pods = require!(Pods::new(&room, otps).await);
    let [first, second, stranger] = [0, 1, 2].map(|pod| pods.start(pod, COOKIE));
    let (mut first, second, stranger) = tokio::join!(first, second, stranger);
    room.start("first", &pods.ip(0)).await;
    room.create("stranger", json!({"labels": {"app": "other"}}), json!({})).await;
    room.run("stranger", &pods.ip(2), true).await;
    room.start("own", &pods.ip(3)).await;

    let command = require!(pods.gusset(3, kube.kubeconfig()));
    let mut gusset = command.env("GUSSET_LOG", "gusset::discovery=debug").spawn();
    let own = pods.name(3);
    gusset.line_with(&format!("{own} is up"), LATER).await;
    gusset.line_with(&format!("up    {}", pods.name(0)), LATER).await;
    sees(&first, &[&own]).await;

    room.start("second", &pods.ip(1)).await;
    let began = Instant::now();
    sees_also(&second, &own).await;
    let took = began.elapsed();
    println!("a pod that became ready was joined after {took:?}");
    assert!(took < JOINED_WITHIN, "joined after {took:?}");
    sees(&first, &[&own, &pods.name(1)]).await;
    assert_eq!(stranger.value("nodes(connected)").await, "[]", "a pod that the selector does not match is left alone");
    watch_downs(&first).await;
    watch_downs(&second).await;

    room.terminate("second").await;
    gusset.line_with("changed (terminating)", SOON).await;
    room.finish("second").await;
    gusset.line_with("has left; the link stays for now", SOON).await;
    // Whatever comes after it is handled after it.
    room.set_metadata("stranger", json!({"labels": {"app": "myapp"}})).await;
    sees(&stranger, &[&own, &pods.name(0), &pods.name(1)]).await;
    saw_no_down(&second).await;
    saw_no_down(&first).await;

    first.kill9().await;
    gusset.line_with(&format!("down  {}", pods.name(0)), SOON).await;
    let first = pods.start(0, COOKIE).await;
    sees_also(&first, &own).await;
    saw_no_down_but(&second, &pods.name(0)).await;
    // Afterwards some BEAM may hear of our end from another one before its own link breaks, and warn of a partition.
    stranger.assert_clean_log().await;

    let status = gusset.terminate(SOON).await;
    assert!(status.success(), "{status:?}: {}", gusset.output().text());
    stranger.wait_until(&format!("not lists:member('{own}', nodes())"), SOON).await.unwrap();
}

#[tokio::test]
async fn an_api_server_that_hangs_or_dies_costs_no_link_and_lost_nodes_are_still_found_again() {
    let Some(kube) = require!(Kube::private().await) else { return };
    let (room, otps) = (kube.namespace().await, [29, 25, 27].map(otp::get));
    let pods = require!(Pods::new(&room, otps).await);
    let (beam, mut other) = tokio::join!(pods.start(0, COOKIE), pods.start(1, COOKIE));
    room.start("beam", &pods.ip(0)).await;
    room.start("own", &pods.ip(2)).await;
    let (own, command) = (pods.name(2), require!(pods.gusset(2, kube.kubeconfig())));
    let gusset = command.spawn();
    sees(&beam, &[&own]).await;
    watch_downs(&beam).await;

    kube.signal(Signal::STOP);
    assert_eq!(beam.value(&format!("rpc:call('{own}', erlang, nodes, [])")).await, format!("[{}]", beam.atom()));
    kube.signal(Signal::CONT);
    room.start("other", &pods.ip(1)).await;
    sees(&other, &[&own, &pods.name(0)]).await;

    kube.signal(Signal::KILL);
    let warning = gusset.line_with("warn  kubernetes: no answer, links stay as they are", LATER).await;
    assert!(warning.contains("cannot be reached") && warning.contains("NetworkPolicy"), "{warning}");
    sees(&beam, &[&own, &pods.name(1)]).await;
    saw_no_down(&beam).await;

    other.kill9().await;
    gusset.line_with(&format!("down  {}", pods.name(1)), SOON).await;
    let other = pods.start(1, COOKIE).await;
    sees_also(&other, &own).await;
}

#[tokio::test]
async fn rights_that_are_missing_are_named_and_taken_away_cost_no_link() {
    let kube = require!(Kube::shared().await);
    let (room, otps) = (kube.namespace().await, [25, 29].map(otp::get));
    let pods = require!(Pods::new(&room, otps).await);
    let beam = pods.start(0, COOKIE).await;
    room.start("beam", &pods.ip(0)).await;
    room.start("own", &pods.ip(1)).await;
    let way = Way::to(kube.kubeconfig()).await;
    let kubeconfig = room.account(way.kubeconfig(kube.kubeconfig()).path()).await;
    let (own, command) = (pods.name(1), require!(pods.gusset(1, kubeconfig.path())));

    let gusset = command.spawn();
    let warning = gusset.line_with("warn  kubernetes: ", LATER).await;
    for part in ["403", &room.name, r#"resources: ["pods"]"#, r#"verbs: ["get", "list", "watch"]"#, "RoleBinding"] {
        assert!(warning.contains(part), "`{part}` is not in: {warning}");
    }
    assert_eq!(beam.value("nodes(connected)").await, "[]");
    room.grant(&["get", "list", "watch"]).await;
    sees(&beam, &[&own]).await;
    says_times(&gusset, "ok    kubernetes: answers again", 1).await;
    watch_downs(&beam).await;

    room.revoke().await;
    room.until_denied(kubeconfig.path()).await;
    way.set(Passage::Cut);
    way.set(Passage::Open);
    says_times(&gusset, "warn  kubernetes: no answer, links stay as they are", 2).await;
    assert_eq!(beam.value("nodes()").await, format!("['{own}']"));
    room.grant(&["get", "list", "watch"]).await;
    says_times(&gusset, "ok    kubernetes: answers again", 2).await;
    saw_no_down(&beam).await;
}

#[tokio::test]
async fn a_wrong_cookie_is_told_apart_from_a_node_that_is_not_up_and_tried_less_often() {
    let kube = require!(Kube::shared().await);
    let (room, otps) = (kube.namespace().await, [27, 29].map(otp::get));
    let pods = require!(Pods::new(&room, otps).await);
    let beam = pods.start(0, "another_cookie").await;
    room.start("beam", &pods.ip(0)).await;
    room.start("starting", "127.0.0.99").await;
    room.start("own", &pods.ip(1)).await;
    let (own, command) = (pods.name(1), require!(pods.gusset(1, kube.kubeconfig())));

    let gusset = command.spawn();
    let wrong = gusset.line_with("(wrong_cookie)", LATER).await;
    assert!(wrong.starts_with("fail  ") && wrong.contains(&pods.name(0)), "{wrong}");
    let refused = gusset.line_with("(refused)", LATER).await;
    assert!(refused.starts_with("fail  ") && refused.contains("127-0-0-99"), "{refused}");
    let (slowly, soon) = (next_try(&wrong), next_try(&refused));
    assert!(slowly > soon && slowly >= Duration::from_secs(7), "{slowly:?} and {soon:?}");
    assert_eq!(beam.value("nodes(connected)").await, "[]");

    beam.value(&format!("erlang:set_cookie(node(), {COOKIE})")).await;
    sees(&beam, &[&own]).await;
}

#[tokio::test]
async fn gussets_and_beams_that_all_look_for_one_another_become_one_mesh_by_address_and_without_epmd() {
    let kube = require!(Kube::shared().await);
    let (room, lease) = (kube.namespace().await, PortLease::new());
    let mut beams = Vec::new();
    for (release, ip) in [(25, 2), (27, 3), (29, 4)] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let address = Ipv4Addr::new(127, 0, 0, ip);
        let options = BeamOptions::named(&format!("app@{address}")).address(address).fixed_port(lease.port());
        beams.push(Beam::start(&otp, &epmd, options).await);
    }
    let names = [2, 3, 4, 5, 6].map(|ip| format!("app@127.0.0.{ip}"));
    for ip in [2, 3, 4, 5, 6] {
        room.start(&format!("app-{ip}"), &format!("127.0.0.{ip}")).await;
    }

    // As libcluster does: dial who is not there, again and again.
    let list = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
    let discover = format!(
        "spawn(fun Loop() ->
            [net_kernel:connect_node(N) || N <- [{list}] -- [node() | nodes()]], timer:sleep(20), Loop()
        end)"
    );
    for beam in &beams {
        beam.value(&discover).await;
    }
    let port = lease.port().to_string();
    let args = ["run", "--mode", "ip", "--epmd", "none", "--dist-port", &port, "--listen", "127.0.0.5"];
    let gusset = require!(run(&args, kube.kubeconfig(), &room, "127.0.0.5")).spawn();
    let address: IpAddr = [127, 0, 0, 6].into();
    let strategy = Kubernetes::pods(&room.name, "app=myapp")
        .template(NameTemplate::ip())
        .port(PortRule::Fixed(lease.port()))
        .own_address(address)
        .kubeconfig(kube.kubeconfig());
    let node = Node::builder("app@127.0.0.6")
        .cookie(Cookie::new(COOKIE).unwrap())
        .listen(vec![address], lease.port()..=lease.port())
        .epmd(EpmdMode::None, 0)
        .discovery(strategy);
    let node = node.start().await.unwrap();

    for (beam, own) in beams.iter().zip(&names) {
        let others: Vec<&str> = names.iter().filter(|name| *name != own).map(String::as_str).collect();
        sees(beam, &others).await;
    }
    until("the mesh of the library", LATER, || node.nodes().len() == 4).await;
    let asked = beams[0].value("lists:sort(rpc:call('app@127.0.0.5', erlang, nodes, []))").await;
    assert_eq!(asked, "['app@127.0.0.2','app@127.0.0.3','app@127.0.0.4','app@127.0.0.6']");
    assert_eq!(beams[1].value("global:sync()").await, "ok");
    assert!(!gusset.output().text().contains("warn  "), "{}", gusset.output().text());
    node.shutdown().await;
    beams[2].wait_until("not lists:member('app@127.0.0.6', nodes())", SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_that_its_peers_would_not_find_is_told_why() {
    let kube = require!(Kube::shared().await);
    let (room, lease) = (kube.namespace().await, PortLease::new());
    room.start("own", "127.0.0.5").await;
    room.create("bare", json!({"labels": {"app": "other"}}), json!({})).await;
    room.run("bare", "127.0.0.6", true).await;
    let port = lease.port().to_string();
    let start = |ip: &'static str, selector: &str| {
        let listen = ["run", "--epmd", "none", "--dist-port", &port, "--listen", ip, "--kubernetes-selector", selector];
        run(&listen, kube.kubeconfig(), &room, ip)
    };
    let misnamed = require!(start("127.0.0.5", "app=myapp")).env("RELEASE_NODE", "app@127.0.0.5").spawn();
    let unlabelled = require!(start("127.0.0.6", "app=myapp")).spawn();
    let nothing = require!(start("127.0.0.7", "app=mistyped")).spawn();
    for (gusset, parts) in [
        (misnamed, vec!["`app@127.0.0.5`".to_owned(), dns_name("127.0.0.5", &room), "RELEASE_NODE".to_owned()]),
        (unlabelled, vec![dns_name("127.0.0.6", &room), "the labels that the selector asks for".to_owned()]),
        (
            nothing,
            vec![
                "no pod that runs".to_owned(),
                "app=mistyped".to_owned(),
                format!("kubectl get pods -n {}", room.name),
            ],
        ),
    ] {
        let warning = gusset.line_with("warn  ", LATER).await;
        for part in parts {
            assert!(warning.contains(&part), "`{part}` is not in: {warning}");
        }
    }
}

#[tokio::test]
async fn the_configuration_of_libcluster_joins_the_pods_that_libcluster_would_join() {
    let kube = require!(Kube::shared().await);
    let (room, otps) = (kube.namespace().await, [27, 25].map(otp::get));
    let pods = require!(Pods::new(&room, otps).await);
    let beam = pods.start(0, COOKIE).await;
    room.start("beam", &pods.ip(0)).await;
    room.start("own", &pods.ip(1)).await;
    let file = format!(
        "[listen]\naddresses = [\"{ip}\"]\nepmd = \"external\"\n\
         [topologies.main]\nstrategy = \"Elixir.Cluster.Strategy.Kubernetes\"\n\
         [topologies.main.config]\nmode = \":dns\"\nkubernetes_node_basename = \"app\"\n\
         kubernetes_selector = \"app=myapp\"\nkubernetes_namespace = \"{room}\"\n\
         kubernetes_ip_lookup_mode = \":pods\"\npolling_interval = 10_000\n",
        ip = pods.ip(1),
        room = room.name,
    );
    let command = require!(binary::command(["run"])).fixture_cookie().epmd(&pods.pods[1].1);
    std::fs::write(command.home().join("gusset.toml"), file).unwrap();
    let gusset = command.env("KUBECONFIG", kube.kubeconfig()).env("POD_IP", pods.ip(1)).spawn();
    gusset.line_with(&format!("{} is up", pods.name(1)), LATER).await;
    gusset.line_with(&format!("up    {}", pods.name(0)), LATER).await;
    sees(&beam, &[&pods.name(1)]).await;
}

#[tokio::test]
async fn what_a_deployment_has_forgotten_is_said_with_the_lines_that_mend_it() {
    let run = |args: &[&str]| binary::command([&["run", "--discover", "kubernetes"], args].concat());
    let selected = ["--kubernetes-selector", "app=myapp"];
    for (command, parts) in [
        (require!(run(&[])), ["which pods", "--kubernetes-selector app=myapp"]),
        (require!(run(&selected)), ["fieldPath: status.podIP", "--name"]),
        (require!(run(&selected)).env("POD_IP", "ten"), ["`ten`", "status.podIP"]),
        (require!(run(&selected)).env("POD_IP", "127.0.0.5"), ["fieldPath: metadata.namespace", "NAMESPACE"]),
    ] {
        let finished = command.finish(LATER).await;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        for part in parts {
            assert!(finished.stderr.contains(part), "`{part}` is not in: {}", finished.stderr);
        }
    }
    let lease = PortLease::new();
    let port = lease.port().to_string();
    let listen = ["--epmd", "none", "--dist-port", &port, "--listen", "127.0.0.5"];
    let command = require!(run(&[&selected[..], &listen].concat()));
    let command = command.env("POD_IP", "127.0.0.5").env("NAMESPACE", "default").env("KUBECONFIG", "/nowhere/config");
    let gusset = command.spawn();
    let warning = gusset.line_with("warn  this node has made a cookie", LATER).await;
    assert!(warning.contains("RELEASE_COOKIE"), "{warning}");
    let warning = gusset.line_with("warn  kubernetes: ", LATER).await;
    assert!(warning.contains("/nowhere/config") && warning.contains("unset it"), "{warning}");
}

/// Addresses of loopback that are what pods have: each with an EPMD of its own, all on what their nodes take for one
/// port. (An epmd always listens on 127.0.0.1 too, so in truth each has a port of its own, and where another node
/// looks for it at the port that it knows, a forwarder leads there.)
struct Pods {
    room: String,
    pods: Vec<(Otp, Epmd)>,
    _forwarders: JoinSet<()>,
}

impl Pods {
    async fn new<const N: usize>(room: &Room, otps: [Result<Otp, Missing>; N]) -> Result<Self, Missing> {
        let mut pods = Vec::new();
        for otp in otps {
            let otp = otp?;
            let epmd = Epmd::start_on(&otp, &[address(pods.len())]).await;
            pods.push((otp, epmd));
        }
        let mut forwarders = JoinSet::new();
        for (there, (_, epmd)) in pods.iter().enumerate() {
            for (_, (_, asked)) in pods.iter().enumerate().filter(|(here, _)| *here != there) {
                let listener = TcpListener::bind((address(there), asked.port())).await.expect("a port that we lease");
                forwarders.spawn(forward(listener, epmd.port()));
            }
        }
        Ok(Self { room: room.name.clone(), pods, _forwarders: forwarders })
    }

    fn ip(&self, pod: usize) -> String {
        address(pod).to_string()
    }

    /// In mode `dns`.
    fn name(&self, pod: usize) -> String {
        format!("app@{}.{}.pod.cluster.local", self.ip(pod).replace('.', "-"), self.room)
    }

    /// The BEAM node of a pod.
    async fn start(&self, pod: usize, cookie: &str) -> Beam {
        let (otp, epmd) = &self.pods[pod];
        let mut options = BeamOptions::named(&self.name(pod)).address(address(pod)).cookie(cookie);
        for other in 0..self.pods.len() {
            let name = self.name(other);
            let (_, host) = name.split_once('@').expect("a full name");
            options = options.host(address(other), host);
        }
        Beam::start(otp, epmd, options).await
    }

    /// `gusset run` in a pod.
    fn gusset(&self, pod: usize, kubeconfig: &Path) -> Result<GussetCommand, Missing> {
        let ip = self.ip(pod);
        let args = ["run", "--listen", &ip, "--epmd", "external"];
        Ok(run_in(&args, kubeconfig, &self.room, &ip)?.epmd(&self.pods[pod].1))
    }
}

fn address(pod: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(pod).expect("few pods") + 2)
}

fn dns_name(ip: &str, room: &Room) -> String {
    format!("app@{}.{}.pod.cluster.local", ip.replace('.', "-"), room.name)
}

async fn forward(listener: TcpListener, port: u16) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

fn run(args: &[&str], kubeconfig: &Path, room: &Room, ip: &str) -> Result<GussetCommand, Missing> {
    run_in(args, kubeconfig, &room.name, ip)
}

/// With the environment that the Downward API gives.
fn run_in(args: &[&str], kubeconfig: &Path, namespace: &str, ip: &str) -> Result<GussetCommand, Missing> {
    let mut args = args.to_vec();
    args.extend(["--discover", "kubernetes", "--kubernetes-lookup", "pods", "--basename", "app"]);
    if !args.contains(&"--kubernetes-selector") {
        args.extend(["--kubernetes-selector", "app=myapp"]);
    }
    let command = binary::command(args)?.fixture_cookie();
    Ok(command.env("KUBECONFIG", kubeconfig).env("NAMESPACE", namespace).env("POD_IP", ip))
}

/// Waits until these nodes and no others are in `nodes()`.
async fn sees(beam: &Beam, names: &[&str]) {
    let list = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
    holds(beam, &format!("nodes() -- [{list}] =:= [] andalso [{list}] -- nodes() =:= []")).await;
}

async fn sees_also(beam: &Beam, name: &str) {
    holds(beam, &format!("lists:member('{name}', nodes())")).await;
}

async fn holds(beam: &Beam, condition: &str) {
    if let Err(error) = beam.wait_until(condition, LATER).await {
        panic!("{error}; {} sees {}", beam.node_name, beam.value("nodes(connected)").await);
    }
}

/// Collects `nodedown` from now on.
async fn watch_downs(beam: &Beam) {
    beam.value("gusset_fixture:collect(downs, fun() -> net_kernel:monitor_nodes(true) end)").await;
}

async fn saw_no_down(beam: &Beam) {
    saw_no_down_but(beam, "").await;
}

async fn saw_no_down_but(beam: &Beam, name: &str) {
    let downs = format!("[Node || {{nodedown, Node}} <- gusset_fixture:collected(downs), Node =/= '{name}']");
    assert_eq!(beam.value(&downs).await, "[]", "{} lost a link", beam.node_name);
}

async fn says_times(gusset: &Gusset, text: &str, times: usize) {
    let what = format!("{text:?} {times} times");
    let count = |output: &str| (output.matches(text).count() >= times).then_some(());
    gusset.output().until(&what, LATER, count).await.unwrap_or_else(|error| panic!("{error}"));
}

/// The pause in `next try in 9.8s`.
fn next_try(line: &str) -> Duration {
    let (_, pause) = line.split_once("next try in ").unwrap_or_else(|| panic!("no next try in: {line}"));
    let (number, unit) = pause.split_at(pause.find(|c: char| c != '.' && !c.is_ascii_digit()).expect("a unit"));
    let number: f64 = number.parse().expect("a number");
    match unit.trim() {
        "s" => Duration::from_secs_f64(number),
        "ms" => Duration::from_secs_f64(number / 1000.0),
        unit => panic!("{unit:?} in: {line}"),
    }
}

/// From a pod's status in the API to `Node.list()` in its BEAM; much less where the machine is not busy.
const JOINED_WITHIN: Duration = Duration::from_secs(5);
