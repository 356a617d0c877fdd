//! `gusset.toml`, variables and options together: what `gusset config` shows of them, and nodes that run by them.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Ran, finish};
use crate::common::gusset::{self, GussetCommand};
use crate::common::{Beam, BeamOptions, COOKIE, Dnsmasq, Epmd, LATER, PortLease, SOON, otp, require, unique};

/// A command in a folder with these files.
fn with_files(args: &[&str], files: &[(&str, &str)]) -> GussetCommand {
    let command = gusset::command(args).expect("the binary");
    for (name, text) in files {
        std::fs::write(command.home().join(name), text).expect("a file");
    }
    command
}

/// `gusset config check --json` as lines.
fn lines(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What became of a key, and where it is from.
fn of(lines: &[Value], key: &str) -> (Value, String) {
    let line = lines.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    (line["value"].clone(), line["source"].as_str().expect("a source").to_owned())
}

#[tokio::test]
async fn a_check_shows_every_value_with_its_source_and_no_secret() {
    require!(gusset::command(["config"]));
    let file = "\
[node]
basename = \"filed\"
cookie = \"hush_hush\"
net_ticktime = 8
[discovery]
max_peers = 7
[topologies.main]
strategy = \"Cluster.Strategy.Gossip\"
secret = \"hush_too\"
multicast_ttl = 2
";
    let args = ["config", "check", "--json", "--net-ticktime", "9", "--hidden"];
    let command = with_files(&args, &[("gusset.toml", file)]).env("RELEASE_NAME", "released");
    let command = command.env("GUSSET__TOPOLOGIES__MAIN__PORT", "7000").env("GUSSET__DISCOVERY__MAX_DIALS", "");
    let path = command.home().join("gusset.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let ran = finish(command).await;
    assert!(!ran.stdout.contains("hush") && !ran.stderr.contains("hush"), "{}{}", ran.stdout, ran.stderr);
    let lines = lines(&ran);
    assert!(lines[0]["node"].as_str().is_some_and(|node| node.starts_with("released@")), "{}", lines[0]);
    assert_eq!(lines[0]["file"], "gusset.toml");
    for (key, value, source) in [
        ("node.basename", Value::from("released"), "RELEASE_NAME"),
        ("node.net_ticktime", 9.into(), "--net-ticktime"),
        ("node.hidden", true.into(), "--hidden"),
        ("node.mode", "dns".into(), "default"),
        ("discovery.max_peers", 7.into(), "gusset.toml:6"),
        ("discovery.max_dials", 32.into(), "default"),
        ("topologies.main.strategy", "gossip".into(), ""),
        ("topologies.main.port", 7000.into(), "GUSSET__TOPOLOGIES__MAIN__PORT"),
        ("topologies.main.multicast_ttl", 2.into(), "gusset.toml:10"),
        ("http.address", Value::Null, ""),
    ] {
        assert_eq!(of(&lines, key), (value, source.to_owned()), "{key}");
    }
    assert_eq!(of(&lines, "node.cookie").1, "gusset.toml:3");
    let warnings: Vec<&str> = lines.iter().filter_map(|line| line["warning"].as_str()).collect();
    assert!(warnings.iter().any(|it| it.contains("`Cluster.Strategy.Gossip` is `gossip` here")), "{warnings:?}");
    assert!(warnings.iter().any(|it| it.contains("others can read it") && it.contains("chmod 600")), "{warnings:?}");

    // For people: what can be copied into a file.
    let command = with_files(&["config", "check"], &[("gusset.toml", file)]);
    std::fs::set_permissions(command.home().join("gusset.toml"), std::fs::Permissions::from_mode(0o600))
        .expect("its mode");
    let ran = finish(command).await;
    assert!(ran.stdout.contains("\n[topologies.main]\nstrategy = \"gossip\"\n"), "{}", ran.stdout);
    assert!(
        ran.stdout.lines().any(|line| line.starts_with("basename = \"filed\"") && line.ends_with("# gusset.toml:2"))
    );
    assert!(!ran.stdout.contains("others can read"), "{}", ran.stdout);
}

#[tokio::test]
async fn the_hash_of_a_cookie_is_that_which_the_doctor_shows() {
    require!(gusset::command(["config"]));
    let file = [("mine.toml", "[node]\ncookie = \"hush_hush\"\n")];
    let check = finish(with_files(&["config", "check", "--json", "--config", "mine.toml"], &file)).await;
    let hash = of(&lines(&check), "node.cookie").0["sha256"].as_str().expect("a hash").to_owned();
    assert_eq!(hash.len(), 8);
    let nobody = PortLease::new();
    let doctor = with_files(&["doctor", "--sname", "x"], &file).env("GUSSET_CONFIG", "mine.toml");
    let doctor = finish(doctor.epmd_port(nobody.port())).await;
    assert!(doctor.stdout.contains(&format!("from mine.toml:2; its SHA-256 begins with {hash}")), "{}", doctor.stdout);
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once_by_every_command_that_is_configured() {
    require!(gusset::command(["config"]));
    let file = [("gusset.toml", "[node]\nhiden = true\n[listen]\nport = \"x\"\n[topologies.a]\nstrategy = \"dsn\"\n")];
    let says = [
        "gusset.toml:2: [node] has no key `hiden`; did you mean `hidden`?",
        "gusset.toml:4: listen.port: `x` is no port",
        "gusset.toml:6: topologies.a.strategy: `dsn` is none of",
        "did you mean `dns`?",
        "GUSSET__NODE__NAM: [node] has no key `nam`; did you mean `name`?",
        "--drain-delay: `soon` is no number of seconds",
    ];
    for command in [&["config", "check"][..], &["run"], &["doctor"]] {
        let args: Vec<&str> = command.iter().copied().chain(["--drain-delay", "soon"]).collect();
        let ran = finish(with_files(&args, &file).env("GUSSET__NODE__NAM", "x")).await;
        ran.failed(2, &says);
    }
    finish(with_files(&["run", "--config", "none.toml"], &[])).await.failed(2, &["--config: cannot read none.toml"]);
    let named = with_files(&["run"], &[]).env("GUSSET_CONFIG", "none.toml");
    finish(named).await.failed(2, &["GUSSET_CONFIG: cannot read none.toml"]);
    let secret = with_files(&["run"], &[("gusset.toml", "[node]\ncookie = \"fixture_cookie\n")]);
    finish(secret).await.failed(2, &["gusset.toml:2: this is no TOML"]);
}

#[tokio::test]
async fn the_example_is_a_configuration() {
    let example = finish(require!(gusset::command(["config", "example"]))).await;
    assert_eq!((example.code, example.stdout.as_str()), (0, include_str!("../../docs/gusset.toml")));
    let check = finish(with_files(&["config", "check", "--json"], &[("gusset.toml", &example.stdout)])).await;
    let lines = lines(&check);
    assert!(lines.iter().all(|line| line["source"].is_null() || line["source"] == "default" || line["source"] == ""));
}

#[tokio::test]
async fn a_node_with_two_topologies_in_a_file_joins_the_nodes_of_both() {
    let (one, two) = (require!(otp::get(25)), require!(otp::get(29)));
    let epmd = Epmd::start_on(&one, &[[127, 0, 0, 2].into()]).await;
    let listed = Beam::start(&one, &epmd, BeamOptions::default()).await;
    let base = unique("resolved");
    let options = BeamOptions::named(&format!("{base}@127.0.0.2")).address([127, 0, 0, 2].into());
    let resolved = Beam::start(&two, &epmd, options).await;
    let server = require!(Dnsmasq::start(&["127.0.0.2 cluster.test"], &[]).await);

    let own = format!("{}@127.0.0.1", unique("configured"));
    let file = format!(
        "[node]\nname = \"{own}\"\ncookie_file = \"cookie\"\n[listen]\naddresses = \"127.0.0.1\"\n\
         [topologies.listed]\nstrategy = \"file\"\npath = \"nodes.toml\"\n\
         [topologies.resolved]\nstrategy = \"dns\"\nquery = \"cluster.test.\"\nresolver = [\"{}\"]\nbasename = \"{base}\"\n",
        server.address()
    );
    let nodes = format!("nodes = [\"{}\"]\n", listed.node_name);
    // What the file names is beside it.
    let configured = |args: &[&str]| {
        let command = gusset::command(args).unwrap().epmd(&epmd);
        let folder = command.home().join("etc");
        std::fs::create_dir(&folder).expect("a folder");
        for (name, text) in [("gusset.toml", file.as_str()), ("nodes.toml", &nodes), ("cookie", COOKIE)] {
            std::fs::write(folder.join(name), text).expect("a file");
        }
        command
    };
    let (mut run, line) = configured(&["run", "--config", "etc/gusset.toml"]).spawn_until("is up").await;
    assert!(line.contains("cookie from ") && line.contains("etc/cookie"), "{line}");
    let sees = format!("lists:member('{own}', nodes())");
    listed.wait_until(&sees, LATER).await.unwrap();
    resolved.wait_until(&sees, LATER).await.unwrap();
    assert_eq!(run.terminate(SOON).await.code(), Some(0));

    // The environment chooses one of the two.
    let command = configured(&["run"]).env("GUSSET_CONFIG", "etc/gusset.toml");
    let (run, line) = command.env("GUSSET__DISCOVERY__DISCOVER", "listed").spawn_until("found ").await;
    assert!(line.contains("listed") && line.contains(&listed.node_name), "{line}");
    run.line_with(&format!("up    {}", listed.node_name), SOON).await;
    assert!(!run.output().text().contains("found resolved"), "{}", run.output().text());
}

#[tokio::test]
async fn the_options_of_a_strategy_need_no_file() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let port = PortLease::new().port().to_string();
    let start = |name: &str| {
        let args = ["run", "--discover", "gossip", "--gossip-port", &port, "--gossip-multicast-if", "127.0.0.1"];
        let rest = ["--gossip-secret-file", "secret", "--name", name, "--listen", "127.0.0.1"];
        let args: Vec<&str> = args.into_iter().chain(rest).collect();
        with_files(&args, &[("secret", "s3cret\n")]).epmd(&epmd).fixture_cookie()
    };
    let (one, two) = (format!("{}@127.0.0.1", unique("one")), format!("{}@127.0.0.1", unique("two")));
    let (first, _) = start(&one).spawn_until("is up").await;
    let (second, _) = start(&two).spawn_until("is up").await;
    first.line_with(&format!("up    {two}"), LATER).await;
    second.line_with(&format!("up    {one}"), LATER).await;

    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let nodes = format!("nodes = [\"{}\"]\n", beam.node_name);
    let own = format!("{}@127.0.0.1", unique("listed"));
    let args = ["run", "--nodes-file", "nodes.toml", "--prune", "immediate", "--name", &own, "--listen", "127.0.0.1"];
    let command = with_files(&args, &[("nodes.toml", &nodes)]).epmd(&epmd).fixture_cookie();
    let (run, _) = command.spawn_until(&format!("up    {}", beam.node_name)).await;
    // Who is taken off the list has left for certain.
    std::fs::write(run.home().join("nodes.toml"), "nodes = []\n").expect("a file");
    run.line_with(&format!("down  {}", beam.node_name), SOON).await;
    beam.wait_until(&format!("not lists:member('{own}', nodes())"), SOON).await.unwrap();
}
