//! Each exit code, provoked: the text says the step that failed and what to do, and it is said at once.

use std::net::TcpListener;
use std::time::Duration;

use super::{finish, tool};
use crate::common::{Beam, BeamOptions, Epmd, PortLease, gusset, otp, require};

#[tokio::test]
async fn what_cannot_be_reached_says_how_far_it_came() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = beam.node_name.as_str();

    // A name that no resolver is asked for.
    let lookup = tool(&epmd, ["ping", "a@no..such..host"]).await;
    lookup.failed(3, &["looking up the host failed", "no..such..host", "NODE=IP"]);
    let names = finish(gusset::command(["names", "no..such..host"]).unwrap()).await;
    names.failed(3, &["the host no..such..host cannot be looked up"]);

    let nobody = PortLease::new();
    let port = nobody.port().to_string();
    let no_epmd = tool(&epmd, ["ping", node, "--epmd-port", &port]).await;
    no_epmd.failed(4, &["connecting to EPMD failed", &port, "NODE=IP:PORT"]);
    let names = finish(gusset::command(["names", "127.0.0.1", "--epmd-port", &port]).unwrap()).await;
    names.failed(4, &["cannot connect to EPMD", &port, "ERL_EPMD_PORT"]);
    let unknown = tool(&epmd, ["call", "nobody@127.0.0.1", "erlang:node"]).await;
    unknown.failed(4, &["asking EPMD for the port failed", "knows no node `nobody`", "gusset names"]);

    let refused = tool(&epmd, ["ping", &format!("{node}=127.0.0.1:{port}")]).await;
    refused.failed(5, &["connecting to the node failed", &port, "firewall"]);

    let other = epmd.names().await.first().expect("the beam").1;
    let another = tool(&epmd, ["ping", &format!("other@127.0.0.1=127.0.0.1:{other}")]).await;
    another.failed(6, &["other@127.0.0.1", node]);

    let short = node.split('@').next().expect("a name");
    let style = tool(&epmd, ["ping", &format!("{short}@host=127.0.0.1:{other}")]).await;
    style.failed(6, &["one name is long and one is short"]);

    let cookie = finish(gusset::command(["ping", node, "--cookie", "wrong"]).unwrap().epmd(&epmd)).await;
    cookie.failed(7, &["the cookie is probably not the same", "erlang.get_cookie", "RELEASE_COOKIE"]);
    for ran in [lookup, no_epmd, unknown, refused, another, cookie] {
        assert!(ran.took < AT_ONCE, "it took {:?}: {}", ran.took, ran.stderr);
    }
}

#[tokio::test]
async fn a_node_that_lets_only_some_in_refuses_the_handshake() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.value("net_kernel:allow(['friend@127.0.0.1'])").await;
    let refused = tool(&epmd, ["ping", &beam.node_name]).await;
    refused.failed(6, &[&beam.node_name, "net_kernel"]);
    assert!(refused.took < AT_ONCE, "it took {:?}", refused.took);
}

#[tokio::test]
async fn a_node_that_is_frozen_is_given_up_after_the_time_limit() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = beam.node_name.clone();

    let slow = tool(&epmd, ["call", &node, "timer:sleep", "60000", "--timeout", "0.5"]).await;
    slow.failed(8, &[&format!("no answer from {node} within 500ms"), "--timeout gives it more time"]);
    beam.sigstop();
    let frozen = tool(&epmd, ["ping", &node, "--timeout", "0.5"]).await;
    frozen.failed(8, &[&node, "failed: ", "500ms", "--timeout gives it more time"]);
    beam.sigcont();
    for ran in [slow, frozen] {
        assert!(ran.took > Duration::from_millis(500) && ran.took < AT_ONCE, "it took {:?}", ran.took);
    }
    // An EPMD that accepts and is silent.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port().to_string();
    let mute = tool(&epmd, ["ping", &node, "--timeout", "0.5", "--epmd-port", &port]).await;
    mute.failed(4, &["asking EPMD for the port failed", "did not answer within 500ms"]);
    assert!(mute.took < AT_ONCE, "it took {:?}", mute.took);
}

#[tokio::test]
async fn what_a_function_raises_is_told_with_its_class() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = beam.node_name.as_str();
    let error = tool(&epmd, ["call", node, "lists:sum", "[1,a]"]).await;
    error.failed(9, &[&format!("lists:sum/1 on {node} raised error: badarith"), "in {erlang,'+',"]);
    tool(&epmd, ["call", node, "erlang:throw", "{ball,1}"]).await.failed(9, &["threw: {ball,1}"]);
    tool(&epmd, ["call", node, "erlang:exit", "reason"]).await.failed(9, &["exited with: reason"]);
    tool(&epmd, ["call", node, "lists:no_such", "1"]).await.failed(9, &["lists:no_such/1", "undef", "each TERM"]);
    tool(&epmd, ["call", node, "Enum:sum", "[1]"]).await.failed(9, &["undef", "Elixir.Enum:sum"]);

    tool(&epmd, ["send", node, "nobody", "hello"])
        .await
        .failed(10, &[&format!("{node} has no process `nobody`"), "erlang:registered"]);
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_explained() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::reserved(&otp);
    tool(&epmd, []).await.failed(2, &["Usage: gusset"]);
    tool(&epmd, ["pong"]).await.failed(2, &["unrecognized subcommand 'pong'"]);
    tool(&epmd, ["ping", "a@b@c"]).await.failed(2, &["`a@b@c` is not the name of a node"]);
    tool(&epmd, ["ping", "a@b=c"]).await.failed(2, &["`c` is no address"]);
    tool(&epmd, ["ping", "a@b", "--timeout", "-1"]).await.failed(2, &["--timeout", "more than 0"]);
    tool(&epmd, ["ping", "a@b", "--timeout", "NaN"]).await.failed(2, &["--timeout", "more than 0"]);
    tool(&epmd, ["call", "a@b", "lists"]).await.failed(2, &["not MODULE:FUNCTION", "lists:seq"]);
    tool(&epmd, ["call", "a@b", "lists:sum", "[1,"]).await.failed(2, &["`[1,` is no Erlang term", "quotes"]);
    tool(&epmd, ["send", "a@b", "name", "}"]).await.failed(2, &["`}` is no Erlang term"]);
    tool(&epmd, ["ping", "a@b", "--log", "x=y=z"]).await.failed(2, &["--log"]);

    // A cookie that was made now can be that of no node.
    let command = gusset::command(["ping", "a@127.0.0.1"]).unwrap();
    let made = command.home().join(".erlang.cookie");
    finish(command).await.failed(2, &["there is no ~/.erlang.cookie", "--cookie-file"]);
    assert!(!made.exists());
    let file = gusset::command(["ping", "a@127.0.0.1", "--cookie-file", "not_there"]).unwrap();
    finish(file).await.failed(2, &["cannot read the cookie file not_there"]);
}

/// Where no time-out is waited for; generous, because the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(4);
