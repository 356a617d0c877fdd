//! `gusset doctor` and `gusset nodes` against real BEAM nodes: each kind of trouble is found at its step, with the
//! exit code of its kind.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{
    Beam, BeamOptions, COOKIE, Epmd, Finished, Gusset, LATER, PortLease, gusset as binary, otp, require, unique,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// The hash of the cookie of the fixtures, as `sha256sum` has it.
const COOKIE_HASH: &str = "7bf4ea64";

struct Examined {
    code: i32,
    checks: Vec<Value>,
    all: String,
}

impl Examined {
    fn verdict(&self, check: &str) -> &str {
        self.check(check)["verdict"].as_str().unwrap()
    }

    fn check(&self, check: &str) -> &Value {
        let all = &self.all;
        self.checks.iter().rev().find(|found| found["check"] == check).unwrap_or_else(|| panic!("no {check} in {all}"))
    }

    fn says(&self, check: &str, text: &str) {
        let found = self.check(check).to_string();
        assert!(found.contains(text), "{text:?} is not in {found}");
    }

    /// The checks behind those of this host.
    fn way(&self) -> Vec<(&str, &str)> {
        let word = |check: &'_ Value, key: &str| check[key].as_str().unwrap().to_owned();
        let start = self.checks.iter().position(|check| word(check, "check") == "host").unwrap();
        self.checks[start..]
            .iter()
            .map(|check| (check["check"].as_str().unwrap(), check["verdict"].as_str().unwrap()))
            .collect()
    }
}

async fn doctor(epmd: &Epmd, args: &[&str]) -> Examined {
    let args = [&["doctor", "--json", "--timeout", "2", "--name", "me@127.0.0.1"], args].concat();
    let command = binary::command(args).unwrap_or_else(|missing| panic!("{missing}"));
    let Finished { status, stdout, stderr } = command.epmd(epmd).fixture_cookie().finish(LATER).await;
    let all = format!("{stdout}{stderr}");
    assert!(!all.contains(COOKIE), "the cookie is told: {all}");
    let checks = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Examined { code: status.code().unwrap(), checks, all }
}

#[tokio::test]
async fn a_node_that_is_well_passes_every_step_on_every_release() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let found = doctor(&epmd, &[&beam.node_name]).await;
        let steps = ["host", "EPMD", "TCP", "status", "challenge", "flags", "cookie", "answer", "cluster"];
        assert_eq!(found.way(), steps.map(|step| (step, "ok")), "{}", found.all);
        assert_eq!(found.code, 0, "{}", found.all);
        found.says(
            "cluster",
            &format!("OTP {}, connected with 0 other nodes; `me@127.0.0.1` is not among", otp.release),
        );
        found.says("cookie", COOKIE_HASH);
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn a_wrong_cookie_is_found_at_its_step_and_shown_as_a_hash_only() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default().cookie("another_cookie")).await;
    let found = doctor(&epmd, &[&beam.node_name]).await;
    let steps =
        [("host", "ok"), ("EPMD", "ok"), ("TCP", "ok"), ("status", "ok"), ("challenge", "ok"), ("cookie", "fail")];
    assert_eq!((found.way(), found.code), (steps.to_vec(), 7), "{}", found.all);
    found.says("cookie", COOKIE_HASH);
    // What it tells people to type gives the digits that it shows.
    let digest =
        "lists:sublist(binary_to_list(binary:encode_hex(crypto:hash(sha256, atom_to_list(erlang:get_cookie())))), 8)";
    let theirs = beam.value(digest).await.to_ascii_lowercase();
    assert_ne!(theirs, format!("\"{COOKIE_HASH}\""));
    let other =
        binary::command(["doctor", "--name", "me@127.0.0.1"]).unwrap().epmd(&epmd).cookie_file("another_cookie");
    let other = other.finish(LATER).await;
    assert!(other.stdout.contains(theirs.trim_matches('"')), "{theirs}: {}", other.stdout);
    assert!(other.status.success() && other.stdout.starts_with("ok    name"), "{}", other.stdout);
}

#[tokio::test]
async fn each_trouble_on_the_way_has_its_step_its_exit_code_and_a_fix() {
    let otp = require!(otp::get(27));
    let mut epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let free = PortLease::new();

    let found = doctor(&epmd, &["a@no-such-host.invalid"]).await;
    assert_eq!((found.verdict("host"), found.code), ("fail", 3), "{}", found.all);
    let found = doctor(&epmd, &["a@10-0-0-7.ns.pod.cluster.invalid"]).await;
    found.says("host", "a@10-0-0-7.ns.pod.cluster.invalid=10.0.0.7");

    let absent = format!("{}@127.0.0.1", unique("absent"));
    let found = doctor(&epmd, &[&absent]).await;
    assert_eq!((found.verdict("EPMD"), found.code), ("fail", 4), "{}", found.all);
    found.says("EPMD", beam.node_name.split('@').next().unwrap());

    let found = doctor(&epmd, &[&format!("a@127.0.0.1=127.0.0.1:{}", free.port())]).await;
    assert_eq!((found.verdict("TCP"), found.code), ("fail", 5), "{}", found.all);

    let found = doctor(&epmd, &[&format!("a@127.0.0.1=127.0.0.1:{silent_port}")]).await;
    assert_eq!((found.verdict("status"), found.code), ("fail", 8), "{}", found.all);

    let port = epmd.names().await[0].1;
    let found = doctor(&epmd, &[&format!("other@127.0.0.1=127.0.0.1:{port}")]).await;
    assert_eq!((found.verdict("challenge"), found.code), ("fail", 6), "{}", found.all);

    let found = doctor(&epmd, &["a@shorthost=127.0.0.1:1"]).await;
    assert!(found.checks.iter().any(|check| check["check"] == "name" && check["verdict"] == "warn"), "{}", found.all);

    epmd.kill().await;
    let found = doctor(&epmd, &[&beam.node_name]).await;
    assert_eq!((found.verdict("EPMD"), found.verdict("own EPMD"), found.code), ("fail", "ok", 4), "{}", found.all);
    for check in found.checks.iter().filter(|check| check["verdict"] == "fail") {
        assert!(check["fix"].is_string(), "{check}");
    }
}

#[tokio::test]
async fn nodes_shows_who_is_connected_and_why_others_are_not() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let friend = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let stranger = Beam::start(&otp, &epmd, BeamOptions::default().cookie("another_cookie")).await;
    let name = format!("{}@127.0.0.1", unique("gusset"));
    let command = require!(binary::command(["run", "--name", &name, "--http", "127.0.0.1:0"]));
    let (gusset, line): (Gusset, String) = command.epmd(&epmd).fixture_cookie().spawn_until("status at http://").await;
    let url = format!("http://{}", line.rsplit('/').next().unwrap().trim());
    gusset.line_with(&format!("up    {}", friend.node_name), LATER).await;
    gusset.line_with("wrong_cookie", LATER).await;

    let finished = binary::command(["nodes", "--url", &url]).unwrap().finish(LATER).await;
    assert!(finished.status.success(), "{finished:?}");
    let row = |name: &str| finished.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row(&friend.node_name).contains("connected"), "{}", finished.stdout);
    let row = row(&stranger.node_name);
    assert!(row.contains("failed") && row.contains("wrong_cookie") && row.contains("next try in"), "{row}");
    assert!(finished.stdout.contains("local-epmd: healthy"), "{}", finished.stdout);

    // Where it is may be in the environment, as in its container.
    let address = url.trim_start_matches("http://").to_owned();
    let command = binary::command(["nodes", "--json"]).unwrap().env("GUSSET_HTTP", address);
    let status: Value = serde_json::from_str(&command.finish(LATER).await.stdout).unwrap();
    assert_eq!(status["counts"]["connected"], 1);

    let mut watching = binary::command(["nodes", "--watch", "--every", "0.05", "--url", &url]).unwrap().spawn();
    watching.line_with("1 connected", LATER).await;
    drop(friend);
    watching.line_with("0 connected", LATER).await;
    assert!(watching.terminate(LATER).await.success());

    drop(gusset);
    let finished = binary::command(["nodes", "--url", &url]).unwrap().finish(LATER).await;
    assert_eq!(finished.status.code(), Some(5), "{finished:?}");
}
