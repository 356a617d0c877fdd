//! `gusset run`: options and environment, and what they make of the node.

use std::net::TcpListener;

use serde_json::Value;

use super::{Ran, finish};
use crate::common::{Beam, BeamOptions, Epmd, LATER, Missing, PortLease, SOON, gusset, otp, require, unique};

/// What the first line of a node says that is alone on a port of its own.
async fn started(env: &[(&str, &str)], args: &[&str]) -> Value {
    let port = PortLease::new();
    let port_text = port.port().to_string();
    let alone = ["run", "--json", "--epmd", "none", "--dist-port", &port_text, "--listen", "127.0.0.1"];
    let mut command = gusset::command(alone.iter().chain(args)).expect("the binary");
    for (name, value) in env {
        command = command.env(name, value);
    }
    let (mut run, line) = command.spawn_until(r#""event":"started""#).await;
    assert_eq!(run.terminate(SOON).await.code(), Some(0));
    serde_json::from_str(&line).expect("JSON")
}

async fn refused(env: &[(&str, &str)], args: &[&str]) -> Ran {
    // Were it to start after all, it would not be where others are.
    let epmd = PortLease::new();
    let mut command = gusset::command(["run"].iter().chain(args)).expect("the binary").epmd_port(epmd.port());
    for (name, value) in env {
        command = command.env(name, value);
    }
    finish(command).await
}

/// Variables, options, and the name that they make.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], String);

#[tokio::test]
async fn the_environment_of_a_release_or_a_pod_names_the_node() {
    require!(gusset::command(["run"]));
    let host = hostname::get().unwrap().into_string().unwrap();
    let short = host.split('.').next().unwrap().to_owned();
    let pod = [("POD_IP", "10.0.0.7"), ("NAMESPACE", "prod"), ("CLUSTER_DOMAIN", "my.local")];
    let cases: &[Case<'_>] = &[
        (&[], &[], format!("gusset@{short}")),
        (&[], &["--sname", "a"], format!("a@{short}")),
        (&[], &["--basename", "b"], format!("b@{short}")),
        (&[("RELEASE_NAME", "c")], &[], format!("c@{short}")),
        (&[("RELEASE_NODE", "")], &[], format!("gusset@{short}")),
        (&[("RELEASE_NODE", "d")], &[], format!("d@{short}")),
        (&[("RELEASE_NODE", "d"), ("RELEASE_DISTRIBUTION", "sname")], &[], format!("d@{short}")),
        (&[("RELEASE_NODE", "d@10.1.1.1"), ("RELEASE_DISTRIBUTION", "name")], &[], "d@10.1.1.1".to_owned()),
        (&[("RELEASE_NODE", "d@10.1.1.1"), pod[0], pod[1]], &[], "d@10.1.1.1".to_owned()),
        (&[("RELEASE_NODE", "d")], &["--name", "e@10.1.1.1"], "e@10.1.1.1".to_owned()),
        (&[("RELEASE_DISTRIBUTION", "none")], &["--sname", "f"], format!("f@{short}")),
        (&pod, &["--basename", "g"], "g@10-0-0-7.prod.pod.my.local".to_owned()),
        (&pod, &["--kubernetes-namespace", "x"], "gusset@10-0-0-7.x.pod.my.local".to_owned()),
        (&[pod[0], pod[1]], &[], "gusset@10-0-0-7.prod.pod.cluster.local".to_owned()),
        (&[pod[0]], &["--mode", "ip"], "gusset@10.0.0.7".to_owned()),
    ];
    for (env, args, name) in cases {
        assert_eq!(started(env, args).await["node"], *name, "{env:?} {args:?}");
    }
}

#[tokio::test]
async fn the_cookie_is_that_which_was_asked_for_last() {
    require!(gusset::command(["run"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cookie");
    std::fs::write(&file, "from_a_file\n").unwrap();
    let file = file.to_str().unwrap();
    let from = async |env: &[(&str, &str)], args: &[&str]| started(env, args).await["cookie_from"].clone();
    assert_eq!(from(&[], &[]).await, "~/.erlang.cookie, made now");
    assert_eq!(from(&[("RELEASE_COOKIE", "")], &[]).await, "~/.erlang.cookie, made now");
    assert_eq!(from(&[("RELEASE_COOKIE", "a")], &[]).await, "RELEASE_COOKIE");
    assert_eq!(from(&[("RELEASE_COOKIE", "a")], &["--cookie", "b"]).await, "--cookie");
    assert_eq!(from(&[("RELEASE_COOKIE", "a")], &["--cookie-file", file]).await, file);
    assert_eq!(from(&[("GUSSET_COOKIE_FILE", file)], &[]).await, file);
}

#[tokio::test]
async fn ports_come_from_a_range() {
    require!(gusset::command(["run"]));
    let lease = PortLease::new();
    let low = lease.port();
    let _taken = TcpListener::bind(("0.0.0.0", low)).expect("the leased port");
    let range = format!("{low}-{}", low + 20);
    let command = gusset::command(["run", "--json", "--sname", "ranged", "--epmd", "none"]).unwrap();
    let (_run, line) = command.env("ERL_DIST_PORT", &range).spawn_until("started").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let port = line["port"].as_u64().unwrap();
    assert!(u64::from(low) < port && port <= u64::from(low) + 20, "{port} of {range}");

    let taken = refused(&[], &["--sname", "x", "--epmd", "none", "--dist-port", &low.to_string()]).await;
    taken.failed(1, &["cannot listen for other nodes", &low.to_string(), "--dist-port"]);
}

#[tokio::test]
async fn settings_that_cannot_work_are_explained() {
    require!(gusset::command(["run"]));
    let says = async |env: &[(&str, &str)], args: &[&str], says: &[&str]| refused(env, args).await.failed(2, says);
    says(&[], &["--name", "a@1.2.3.4", "--sname", "b"], &["--name", "cannot be used with", "--sname"]).await;
    says(&[], &["--name", "a@localhost"], &["`a@localhost` is no long name", "--sname"]).await;
    says(&[], &["--sname", "a@1.2.3.4"], &["`a@1.2.3.4` is no short name", "--name"]).await;
    says(&[("RELEASE_DISTRIBUTION", "none")], &[], &["RELEASE_DISTRIBUTION=none", "--sname"]).await;
    says(&[("RELEASE_DISTRIBUTION", "maybe")], &[], &["RELEASE_DISTRIBUTION: `maybe` is none of name, sname, none"])
        .await;
    says(&[("POD_IP", "10.0.0.7")], &[], &["NAMESPACE", "fieldPath: metadata.namespace"]).await;
    says(&[("POD_IP", "10.0.0"), ("NAMESPACE", "a")], &[], &["POD_IP: `10.0.0` is no IP address"]).await;
    says(&[], &["--discover", "kubernetes"], &["--kubernetes-selector app=myapp"]).await;
    says(&[], &["--discover", "gosip"], &["--discover: `gosip`", "local-epmd", "kubernetes", "did you mean `gossip`?"])
        .await;
    says(&[], &["--epmd", "none"], &["nobody can ask for the port", "--dist-port"]).await;
    says(&[], &["--dist-port", "9-5"], &["9 is above 5"]).await;
    says(&[], &["--dist-port", "x"], &["`x` is no port"]).await;
    says(&[("ERL_EPMD_PORT", "0")], &[], &["ERL_EPMD_PORT: `0` is no port"]).await;
    says(&[], &["--connect", "nohost"], &["`nohost` is not the name of a node"]).await;
    says(&[], &["--connect", "a@b=c"], &["`c` is no address"]).await;
    says(&[], &["--listen", "everywhere"], &["--listen"]).await;
    says(&[("RELEASE_COOKIE", "Ω")], &[], &["RELEASE_COOKIE"]).await;
}

#[tokio::test]
async fn what_can_mend_is_a_warning_and_the_node_stays_up() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let name = format!("{}@127.0.0.1", unique("patient"));
    let args = ["run", "--name", &name, "--listen", "127.0.0.1", "--kubernetes-selector", "app=x"];
    let command = gusset::command(args).unwrap().epmd(&epmd).env("KUBECONFIG", "not_there").cookie_file("secret");
    let file = command.home().join(".erlang.cookie");
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (mut run, line) = command.spawn_until("warn  kubernetes").await;
    assert!(line.contains("KUBECONFIG"), "{line}");
    run.line_with("others can read the cookie", SOON).await;
    run.line_with("is up", SOON).await;
    assert_eq!(run.terminate(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn each_epmd_mode_does_what_it_says() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::reserved(&otp);
    let run = |mode: &str| {
        let name = format!("{}@127.0.0.1", unique(mode));
        let args = ["run", "--name", &name, "--listen", "127.0.0.1", "--discover", "none", "--epmd", mode];
        (name.clone(), gusset::command(args).unwrap().epmd(&epmd).env("ERL_EPMD_ADDRESS", "127.0.0.1"))
    };
    let registered = async || epmd.names().await.into_iter().map(|(name, _)| format!("{name}@127.0.0.1"));
    finish(run("external").1).await.failed(4, &["cannot connect to EPMD", "--epmd auto"]);

    let (own, embedded) = run("embedded");
    let (mut first, _) = embedded.spawn_until("is up").await;
    finish(run("embedded").1).await.failed(4, &["cannot serve EPMD", "--epmd auto"]);
    let (external, command) = run("external");
    let (mut second, _) = command.spawn_until("is up").await;
    let (auto, command) = run("auto");
    let (mut third, _) = command.spawn_until("is up").await;
    let mut expected = [own, external, auto];
    expected.sort();
    let mut names: Vec<String> = registered().await.collect();
    names.sort();
    assert_eq!(names, expected);
    for run in [&mut third, &mut second, &mut first] {
        assert_eq!(run.terminate(SOON).await.code(), Some(0));
    }
}

#[tokio::test]
async fn without_epmd_all_nodes_meet_on_one_port() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::reserved(&otp);
    let port = PortLease::new();
    let options = BeamOptions::default().address([127, 0, 0, 2].into()).fixed_port(port.port());
    let beam = Beam::start(&otp, &epmd, options).await;
    let port = port.port().to_string();
    let name = format!("{}@127.0.0.1", unique("portless"));
    let args = ["run", "--name", &name, "--listen", "127.0.0.1", "--epmd", "none", "--dist-port", &port];
    let command = gusset::command(args.iter().copied().chain(["--connect", &beam.node_name])).unwrap();
    let (run, line) = command.fixture_cookie().spawn_until(&format!("up    {}", beam.node_name)).await;
    assert!(line.ends_with("(1 connected)"), "{line}");
    assert!(run.output().text().contains(&format!("-erl_epmd_port {port} -dist_listen false")));
    beam.wait_until(&format!("nodes() =:= ['{name}']"), SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_is_dialled_at_its_address_and_again_when_it_is_lost() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::named(&format!("{}@nowhere.invalid", unique("far")))).await;
    let port = epmd.names().await.first().expect("the beam").1;
    let target = format!("{}=127.0.0.1:{port}", beam.node_name);
    let name = format!("{}@127.0.0.1", unique("hidden"));
    let args = ["run", "--hidden", "--json", "--name", &name, "--listen", "127.0.0.1", "--connect", &target];
    let command = gusset::command(args).unwrap().epmd(&epmd).fixture_cookie();
    let (run, line) = command.spawn_until("started").await;
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["hidden"], true);
    run.line_with("nodeup", LATER).await;
    beam.wait_until(&format!("nodes(hidden) =:= ['{name}']"), SOON).await.unwrap();
    assert_eq!(beam.value("nodes()").await, "[]", "hidden is hidden");
    assert_eq!(beam.value(&format!("erlang:disconnect_node('{name}')")).await, "true");
    run.line_with("nodedown", SOON).await;
    beam.wait_until(&format!("nodes(hidden) =:= ['{name}']"), LATER).await.unwrap();
}

#[tokio::test]
async fn the_unspecified_ipv6_address_takes_both_families() {
    let otp = require!(otp::get(27));
    let here = TcpListener::bind("[::1]:0");
    require!(here.map_err(|error| Missing(format!("this machine has no IPv6: {error}"))));
    let epmd = Epmd::start(&otp).await;
    let name = format!("{}@::1", unique("six"));
    let args = ["run", "--name", &name, "--listen", "::", "--discover", "none"];
    let (run, line) = gusset::command(args).unwrap().epmd(&epmd).fixture_cookie().spawn_until("is up").await;
    assert!(run.output().text().contains(r#"--erl "-proto_dist inet6_tcp""#), "{}", run.output().text());
    let port = line.split("port ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    for address in ["[::1]", "127.0.0.1"] {
        let target = format!("{name}={address}:{port}");
        let ping = super::tool(&epmd, ["ping", &target]).await;
        assert!(ping.stdout.starts_with("pong"), "{target}: {}", ping.stderr);
    }
}
