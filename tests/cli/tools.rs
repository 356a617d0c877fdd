//! The tools when all is well: ping, call, send, names, epmd.

use serde_json::Value;

use super::{Ran, finish, tool};
use crate::common::{Beam, BeamOptions, Epmd, Otp, SOON, gusset, otp, require};

#[tokio::test]
async fn ping_and_call_reach_every_release_and_end_at_once() {
    let every = otp::available();
    futures_util::future::join_all(every.iter().map(ping_and_call)).await;
}

async fn ping_and_call(otp: &Otp) {
    let epmd = Epmd::start(otp).await;
    let beam = Beam::start(otp, &epmd, BeamOptions::default()).await;
    let node = beam.node_name.as_str();

    let ping = tool(&epmd, ["ping", node]).await;
    assert!(ping.stdout.starts_with(&format!("pong from {node} (connected in ")), "{}{}", ping.stdout, ping.stderr);
    no_waiting(&ping);
    let json: Value = serde_json::from_str(&tool(&epmd, ["ping", node, "--json"]).await.stdout).expect("JSON");
    assert_eq!((&json["node"], &json["pong"]), (&node.into(), &true.into()));

    let call = tool(&epmd, ["call", node, "erlang:node"]).await;
    call.printed(&beam.atom());
    no_waiting(&call);
    tool(&epmd, ["call", node, "lists:sum", "[1,2,3]"]).await.printed("6");
    tool(&epmd, ["call", node, "erlang:float", "-3"]).await.printed("-3.0");
    tool(&epmd, ["call", node, "lists:reverse", r#""abc""#]).await.printed(r#""cba""#);
    tool(&epmd, ["call", node, "maps:get", "key", r#"#{key => {<<"v">>,'An atom'}}"#])
        .await
        .printed(r#"{<<"v">>,'An atom'}"#);
    beam.assert_clean_log().await;
}

/// No time-out of any kind is run into on the way out.
#[track_caller]
fn no_waiting(ran: &Ran) {
    assert!(ran.took.as_secs() < 4, "it took {:?}", ran.took);
}

#[tokio::test]
async fn a_message_is_in_the_mailbox_when_send_has_ended() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.value("gusset_fixture:collect(inbox)").await;
    let node = beam.node_name.clone();
    let sent = tool(&epmd, ["send", &node, "inbox", r#"{hello, <<"world">>, "list", #{1 => 2.5}}"#]).await;
    sent.printed(&format!("sent to inbox on {node}"));
    no_waiting(&sent);
    let text = tool(&epmd, ["send", &node, "inbox", "-1", "--json"]).await.stdout;
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["name"], &json["sent"]), (&"inbox".into(), &true.into()));
    assert_eq!(beam.value("gusset_fixture:collected(inbox)").await, r#"[{hello,<<"world">>,"list",#{1 => 2.5}},-1]"#);
    // The tool's own node is hidden, and gone.
    assert_eq!(beam.value("nodes()").await, "[]");
    beam.wait_until("nodes(connected) =:= []", SOON).await.unwrap();
}

#[tokio::test]
async fn nodes_register_with_our_epmd_and_find_each_other_through_it() {
    let (old, new) = (require!(otp::get(25)), require!(otp::get(29)));
    let epmd = Epmd::reserved(&old);
    let command = require!(gusset::command(["epmd", "--listen", "127.0.0.1"])).epmd(&epmd);
    let (mut server, line) = command.spawn_until("EPMD listens on").await;
    assert_eq!(line, format!("EPMD listens on 127.0.0.1:{}", epmd.port()));

    let (a, b) = tokio::join!(
        Beam::start(&old, &epmd, BeamOptions::default()),
        Beam::start(&new, &epmd, BeamOptions::default())
    );
    assert_eq!(a.value(&format!("net_adm:ping({})", b.atom())).await, "pong");
    let name = |beam: &Beam| beam.node_name.split('@').next().unwrap().to_owned();
    let mut expected = [name(&a), name(&b)];
    expected.sort();
    let mut listed: Vec<String> = epmd.names().await.into_iter().map(|(name, _)| name).collect();
    listed.sort();
    assert_eq!(listed, expected);
    let names = finish(gusset::command(["names", "--json"]).unwrap().epmd(&epmd)).await;
    let mut told: Vec<String> = names
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["name"].as_str().unwrap().to_owned())
        .collect();
    told.sort();
    assert_eq!(told, expected);

    assert_eq!(server.terminate(SOON).await.code(), Some(0));
    // They stay connected without it.
    assert_eq!(a.value("nodes()").await, format!("[{}]", b.atom()));
}

#[tokio::test]
async fn names_are_listed_as_epmd_lists_them() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    finish(require!(gusset::command(["names"])).epmd(&epmd)).await.printed("");
    let run = gusset::command(["run", "--name", "listed@127.0.0.1", "--listen", "127.0.0.1", "--discover", "none"]);
    let (_run, line) = run.unwrap().epmd(&epmd).spawn_until("is up").await;
    let port = line.split("port ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    finish(gusset::command(["names", "localhost"]).unwrap().epmd(&epmd))
        .await
        .printed(&format!("listed at port {port}"));
}
