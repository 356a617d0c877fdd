//! `gusset run` from its first line to its last, alone, with BEAM nodes, and with a person at iex.

use std::os::unix::fs::PermissionsExt;
use std::process::Command as StdCommand;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use super::{finish, tool};
use crate::common::{
    Beam, BeamOptions, Epmd, Gusset, Iex, LATER, NOT_INHERITED, Otp, Program, SOON, gusset, otp, require, unique,
};

#[tokio::test]
async fn no_configuration_is_needed() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::reserved(&otp);
    let (mut run, line) = require!(gusset::command(["run"])).epmd(&epmd).spawn_until(" is up ").await;
    let name = line.split(' ').next().unwrap().to_owned();
    assert!(name.starts_with("gusset@"), "{line}");

    let file = run.home().join(".erlang.cookie");
    let cookie = std::fs::read_to_string(&file).expect("a cookie was made");
    assert!(cookie.len() == 20 && cookie.bytes().all(|byte| byte.is_ascii_uppercase()), "not as OTP makes it");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(epmd.names().await.len(), 1, "it serves EPMD, where it is itself");

    // A BEAM of the same user takes the cookie from there, registers with us, is found and joined.
    let beam = beam_of_the_same_user(&otp, &epmd, &run);
    let up = run.line_with("up    friend@", LATER).await;
    assert!(up.ends_with("(1 connected)"), "{up}");
    let seen = beam.output().line_with("sees", LATER).await.unwrap();
    assert!(seen.contains(&format!("sees ['{name}']")) || seen.contains(&format!("sees [{name}]")), "{seen}");
    assert!(!run.output().text().contains(&cookie), "the cookie was printed");

    let stopping = Instant::now();
    assert_eq!(run.terminate(SOON).await.code(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(3), "it took {:?}", stopping.elapsed());
    run.line_with("stopping (SIGTERM)", SOON).await;
    run.line_with("stopped", SOON).await;
    let names = finish(gusset::command(["names"]).unwrap().epmd(&epmd)).await;
    names.failed(4, &["cannot connect to EPMD"]);
}

/// Prints whom it sees as soon as it sees somebody, and then stays for as long as the test.
fn beam_of_the_same_user(otp: &Otp, epmd: &Epmd, run: &Gusset) -> Program {
    let wait = "W = fun(W) -> case nodes() of [] -> timer:sleep(10), W(W); N -> N end end, \
                io:format(\"sees ~p~n\", [W(W)]).";
    let mut command = Command::new(otp.program("erl"));
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command.env("HOME", run.home()).env("ERL_EPMD_PORT", epmd.port().to_string()).args([
        "-noinput",
        "-sname",
        "friend",
        "-start_epmd",
        "false",
        "-eval",
        wait,
    ]);
    Program::start("erl", command).expect("erl starts")
}

#[tokio::test]
async fn the_life_of_a_node_is_told_in_json() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let own = unique("teller");
    let name = format!("{own}@127.0.0.1");
    let args = ["run", "--json", "--name", &name, "--listen", "127.0.0.1"];
    let command = || gusset::command(args).unwrap().epmd(&epmd).fixture_cookie();
    let (run, _) = command().spawn_until("started").await;
    assert!(epmd.names().await.iter().any(|(name, _)| *name == own), "the EPMD that runs is used");

    finish(command()).await.failed(4, &[&format!("does not register `{own}`"), "--sname"]);

    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    run.line_with("nodeup", LATER).await;
    beam.wait_until(&format!("nodes() =:= ['{name}']"), SOON).await.unwrap();
    beam.kill9().await;
    run.line_with("nodedown", SOON).await;
    let pid = Pid::from_raw(i32::try_from(run.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).expect("it runs");
    run.line_with("stopped", SOON).await;
    assert_eq!(epmd.names().await, [], "the name is free again");

    let events: Vec<Value> = run.output().text().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().expect("event")).collect();
    let wanted = ["started", "discovery", "nodeup", "nodedown", "stopping", "stopped"];
    let mut rest = kinds.iter();
    assert!(wanted.iter().all(|wanted| rest.any(|kind| kind == wanted)), "{kinds:?} has not, in order, {wanted:?}");
    for event in &events {
        super::documentation::fields_are_documented(event);
    }
    let of = |kind: &str| events.iter().find(|event| event["event"] == kind).expect(kind);
    assert_eq!((&of("nodeup")["node"], &of("nodeup")["connected"]), (&beam.node_name.as_str().into(), &1.into()));
    assert_eq!(of("nodedown")["creation"], of("nodeup")["creation"]);
    assert_eq!(of("nodedown")["connected"], 0);
    assert!(of("nodedown")["reason"].as_str().is_some_and(|reason| reason.len() > 3));
    assert_eq!(of("stopping")["signal"], "SIGINT");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_and_two_at_once_are_one() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let command = require!(gusset::command(["run", "--name", "twice@127.0.0.1", "--listen", "127.0.0.1"]));
    let (mut run, _) = command.epmd(&epmd).spawn_until("is up").await;
    let pid = Pid::from_raw(i32::try_from(run.pid()).unwrap()).unwrap();
    // As `timeout`, npm and others do that pass on what the whole group gets.
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(run.terminate(SOON).await.code(), Some(0), "{}", run.output().text());
}

#[tokio::test]
async fn a_person_at_iex_talks_to_it() {
    let releases: Vec<Otp> = otp::available().into_iter().filter(|otp| otp.release >= 25).collect();
    futures_util::future::join_all(releases.iter().map(at_iex)).await;
}

async fn at_iex(otp: &Otp) {
    let epmd = Epmd::start(otp).await;
    let node = format!("{}@127.0.0.1", unique("rust"));
    let args = ["run", "--name", &node, "--listen", "127.0.0.1", "--discover", "none"];
    let (run, _) = gusset::command(args).unwrap().epmd(&epmd).fixture_cookie().spawn_until("is up").await;
    let mut iex = Iex::start(otp, &epmd, BeamOptions::named(&unique("me"))).await;
    let me = iex.node_name.clone();
    let atom = format!(":\"{node}\"");

    iex.ask(&format!("Node.connect({atom})"), "true", SOON).await;
    let up = run.line_with(&format!("up    {me}"), SOON).await;
    assert_eq!(up, format!("up    {me} (1 connected)"));
    iex.ask("Node.list", &format!("[{atom}]"), SOON).await;
    iex.ask(&format!(":rpc.call({atom}, :erlang, :node, [])"), &format!("\n{atom}"), SOON).await;
    iex.ask(&format!(":rpc.call({atom}, :gusset, :info, []) |> Map.keys"), ":uptime_ms", SOON).await;
    iex.ask(&format!("GenServer.call({{:net_kernel, {atom}}}, {{:is_auth, node()}})"), "\n:yes", SOON).await;
    iex.ask(&format!(":rpc.call({atom}, :lists, :seq, [1, 2])"), ":undef", SOON).await;

    // Elixir's own functions, called from here.
    tool(&epmd, ["call", &me, "Elixir.Enum:sum", "[1,2,3]"]).await.printed("6");
    tool(&epmd, ["call", &me, "Elixir.String:upcase", r#"<<"text">>"#]).await.printed(r#"<<"TEXT">>"#);
    let raised = tool(&epmd, ["call", &me, "Elixir.String:to_existing_atom", r#"<<"no such atom here">>"#]).await;
    raised.failed(9, &["raised error: badarg"]);

    iex.ask(&format!("Node.disconnect({atom})"), "true", SOON).await;
    let down = run.line_with(&format!("down  {me}: "), SOON).await;
    assert!(down.ends_with("(0 connected)"), "{down}");
    iex.ask("Node.list", "\n[]", SOON).await;
}

#[test]
fn the_version_is_that_of_the_crate() {
    let Some(path) = option_env!("CARGO_BIN_EXE_gusset") else { return };
    let output = StdCommand::new(path).arg("--version").output().expect("gusset runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("gusset {}\n", env!("CARGO_PKG_VERSION")));
}
