//! What the README promises on its first screen, and the programs in `examples/`, against real nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::{Beam, BeamOptions, COOKIE, Epmd, Iex, LATER, NOT_INHERITED, Program, SOON, gusset, otp, require, unique};
use tokio::process::Command;

#[tokio::test]
async fn the_first_screen_of_the_readme_is_what_a_newcomer_sees() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let (run, line) = require!(gusset::command(["run"])).epmd(&epmd).fixture_cookie().spawn_until(" is up ").await;
    run.line_with(":gusset, :info", SOON).await;
    let node = line.split(' ').next().expect("a name").to_owned();
    let port = line.split("port ").nth(1).and_then(|rest| rest.split(',').next()).expect("a port");
    let here = run.output().text();
    let here = here.replace(&node, "gusset@myhost").replace(port, "40123");
    // With the EPMD of everybody there is no need to name its port.
    let here = here.replace(&format!("ERL_EPMD_PORT={} ", epmd.port()), "");
    let shown = include_str!("../README.md").split("```console\n").nth(1).expect("a block of commands");
    let shown =
        shown.split("```").next().and_then(|block| block.split_once('\n')).expect("a command and what it prints");
    assert_eq!(shown.0, "$ cargo run --release -- run");
    let first: Vec<&str> = here.lines().take(shown.1.lines().count()).collect();
    assert_eq!(first, shown.1.lines().collect::<Vec<_>>());

    // The node of iex has this host's name, so that it is found by itself, as the README says.
    let host = node.split('@').nth(1).expect("a host");
    let options =
        BeamOptions::named(&format!("{}@{host}", unique("me"))).short().kernel("inet_dist_use_interface", "{0,0,0,0}");
    let mut iex = Iex::start(&otp, &epmd, options).await;
    let me = iex.node_name.clone();
    run.line_with(&format!("up    {me}"), LATER).await;
    iex.ask("Node.list()", &format!("[:{node}]"), SOON).await;
}

#[tokio::test]
async fn the_example_echo_sends_back_what_it_is_sent() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = format!("{}@127.0.0.1", unique("echo"));
    let echo = example("echo", &[&node], &epmd).await;
    echo.output().line_with(&format!("{node} is up"), LATER).await.unwrap();
    let ask = format!("{{echo, '{node}'}} ! {{self(), <<\"hello\">>}}, receive M -> M after 5000 -> none end");
    assert_eq!(beam.value(&ask).await, r#"<<"hello">>"#);
    beam.value(&format!("{{echo, '{node}'}} ! nonsense")).await;
    echo.output().line_with("not {pid, anything}", SOON).await.unwrap();
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn the_example_embed_answers_calls_of_both_kinds() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let node = format!("{}@127.0.0.1", unique("stock"));
    let embed = example("embed", &[&node], &epmd).await;
    embed.output().line_with(&format!("{node} is up"), LATER).await.unwrap();
    let call = async |request: &str| beam.value(&format!("gen_server:call({{stock, '{node}'}}, {request})")).await;
    let level = async |part: &str| {
        beam.eval(&format!("rpc:call('{node}', 'Elixir.Stock', level, [<<\"{part}\">>])")).await.expect("an answer")
    };
    assert_eq!(call("{take, <<\"bolt\">>, 3}").await, "{ok,7}");
    assert_eq!(level("bolt").await, "7");
    assert_eq!(call("{take, <<\"bolt\">>, 8}").await, "empty");
    assert_eq!(call("{take, <<\"moon\">>, 1}").await, "empty");
    assert_eq!(call("parts").await, "{parts,#{<<\"bolt\">> => 7,<<\"nut\">> => 4}}");
    let unknown = level("moon").await;
    assert!(unknown.starts_with("{badrpc,{'EXIT',{badarg,"), "{unknown}");
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn the_example_gen_server_is_a_server_of_elixirs() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let (node, other) = (format!("{}@127.0.0.1", unique("stock")), format!("{}@127.0.0.1", unique("other")));
    let stock = example("gen_server", &[&node], &epmd).await;
    stock.output().line_with(&format!("{node} is up"), LATER).await.unwrap();
    let mut iex = Iex::start(&otp, &epmd, BeamOptions::default()).await;
    iex.ask(&format!("stock = {{:stock, :\"{node}\"}}"), "{:stock", SOON).await;
    iex.ask("GenServer.call(stock, {:take, \"bolt\", 3})", "{:ok, 7}", SOON).await;
    iex.ask("GenServer.call(stock, {:take, \"bolt\", 30})", "{:error, :empty}", SOON).await;
    iex.ask("GenServer.cast(stock, {:deliver, \"bolt\", 30})", ":ok", SOON).await;
    iex.ask("task = Task.async(fn -> GenServer.call(stock, {:await, \"nut\", 9}) end)", "%Task{", SOON).await;
    iex.ask("Task.yield(task, 100)", "nil", SOON).await;
    iex.ask("GenServer.cast(stock, {:deliver, \"nut\", 6})", ":ok", SOON).await;
    iex.ask("Task.await(task)", "{:ok, 1}", SOON).await;
    iex.ask(":sys.get_state(stock)", "%{\"bolt\" => 37, \"nut\" => 1}", SOON).await;
    iex.ask("GenServer.call(stock, {:tke, \"bolt\"})", "unknown variant `tke`, expected one of `take`", SOON).await;
    let which = format!("Supervisor.which_children({{:gusset_sup, :\"{node}\"}}) |> List.last()");
    iex.ask(&which, "{:stock, #PID<", SOON).await;
    let second = example("gen_server", &[&other, &node], &epmd).await;
    second.output().line_with(&format!("{node} has {{\"bolt\": 37, \"nut\": 1}}"), LATER).await.unwrap();
    // The example leaves the cluster as soon as its server has ended; iex hears of the end all the same.
    iex.ask("GenServer.stop(stock)", ":ok", SOON).await;
    stock.output().line_with("the stock closes: normal", SOON).await.unwrap();
    stock.output().line_with("the stock has ended: normal", SOON).await.unwrap();
}

#[tokio::test]
async fn the_example_rpc_export_is_called_as_its_first_lines_say() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let node = format!("{}@127.0.0.1", unique("math"));
    let math = example("rpc_export", &[&node], &epmd).await;
    math.output().line_with(&format!("{node} is up"), LATER).await.unwrap();
    let mut iex = Iex::start(&otp, &epmd, BeamOptions::default()).await;
    iex.ask(&format!("n = :\"{node}\""), &node, SOON).await;
    iex.ask(":rpc.call(n, MyRust, :add, [20, 22])", "42", SOON).await;
    let raised = "** (ErlangError) Erlang error: {:exception, :badarith, []}";
    iex.ask(":erpc.call(n, MyRust, :divide, [1, 0])", raised, SOON).await;
    let me = format!("\"{}\": ", iex.node_name);
    iex.ask(":rpc.call(n, MyRust, :everywhere, [])", &me, SOON).await;
    iex.ask("Node.spawn(n, MyRust, :print, [\"hel\" <> \"lo\"])", "hello", SOON).await;
}

#[tokio::test]
async fn the_example_leader_moves_when_its_node_is_lost() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let (one, two) = (format!("{}@127.0.0.1", unique("one")), format!("{}@127.0.0.1", unique("two")));
    let first = example("leader", &[&one], &epmd).await;
    first.output().line_with(&format!("{one} leads"), LATER).await.unwrap();
    let second = example("leader", &[&two, &one], &epmd).await;
    second.output().line_with(&format!("{two} stands by for {one}"), LATER).await.unwrap();
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    assert_eq!(beam.value(&format!("net_kernel:connect_node('{one}')")).await, "true");
    let who = async |node: &str| {
        let asked = format!("(catch gen_server:call({{global, leader}}, who)) =:= '{node}'");
        beam.wait_until(&asked, LATER).await.unwrap();
    };
    who(&one).await;
    // Dropping a program kills it.
    drop(first);
    second.output().line_with(&format!("{two} leads"), LATER).await.unwrap();
    who(&two).await;
}

#[tokio::test]
async fn the_example_nodeup_prints_nodes_as_they_come_and_go() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let mut beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let nodeup = example("nodeup", &[&beam.node_name], &epmd).await;
    let up = nodeup.output().line_with(&format!("up   {}", beam.node_name), LATER).await.unwrap();
    let creation = beam.value("erlang:system_info(creation)").await;
    assert!(up.ends_with(&format!("creation={creation} hidden=false")), "{up}");
    beam.stop().await;
    nodeup.output().line_with(&format!("down {}: ", beam.node_name), SOON).await.unwrap();
}

#[tokio::test]
async fn the_example_pubsub_bridge_prints_a_topic_and_broadcasts_what_is_typed() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    beam.value("gusset_pubsub:start('Elixir.MyApp.PubSub', 1)").await;
    let subscribe = "gusset_pubsub:subscribe('Elixir.MyApp.PubSub', <<\"lobby\">>)";
    beam.value(&format!("gusset_fixture:collect(inbox, fun() -> {subscribe} end)")).await;
    let own = format!("{}@127.0.0.1", unique("bridge"));
    // Somebody who types a line, and then no more.
    let typing = "(echo hello; exec tail -f /dev/null) | exec \"$0\" \"$@\"";
    let path = built("pubsub_bridge").await;
    let mut command = Command::new("sh");
    command.args(["-c", typing]).arg(path).args(["MyApp.PubSub", "lobby", &beam.node_name, &own]);
    let bridge = Program::start("pubsub_bridge", in_cluster(command, &epmd)).expect("the example starts");
    bridge.output().line_with("broadcast to 1 other nodes", LATER).await.unwrap();
    assert_eq!(beam.value("gusset_fixture:collected(inbox, 1, 5000)").await, r#"[<<"hello">>]"#);
    let event = "#{<<\"event\">> => <<\"joined\">>}";
    beam.value(&format!("gusset_pubsub:broadcast('Elixir.MyApp.PubSub', <<\"lobby\">>, {event})")).await;
    bridge.output().line_with(event, SOON).await.unwrap();
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn the_example_presence_is_in_a_topic_and_prints_who_else_is() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let elixir = otp.elixir_code();
    let beam = Beam::start(&otp, &epmd, BeamOptions::default().args(["-pa", elixir.to_str().expect("a path")])).await;
    beam.value("gusset_pubsub:start('Elixir.MyApp.PubSub', 1)").await;
    beam.value("gusset_tracker:start('Elixir.MyApp.Presence', 'Elixir.MyApp.PubSub', #{broadcast_period => 100})")
        .await;
    let track = "gusset_tracker:track('Elixir.MyApp.Presence', whereis(init), {<<\"lobby\">>, <<\"bob\">>}, #{})";
    assert!(beam.value(track).await.starts_with("{ok,"));
    let presence =
        example("presence", &["MyApp.PubSub", "MyApp.Presence", "lobby", "rusty", &beam.node_name], &epmd).await;
    presence.output().line_with("+ <<\"rusty\">>", LATER).await.unwrap();
    presence.output().line_with("+ <<\"bob\">>", LATER).await.unwrap();
    let rusty = "[M || {<<\"rusty\">>, M} <- gusset_tracker:list('Elixir.MyApp.Presence', <<\"lobby\">>)]";
    let there = format!("case {rusty} of [#{{language := <<\"Rust\">>}}] -> true; Other -> Other end");
    beam.wait_until(&there, LATER).await.unwrap();
    beam.assert_clean_log().await;
}

#[tokio::test]
async fn the_example_mnesia_uses_the_table_of_its_first_lines() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let mut iex = Iex::start(&otp, &epmd, BeamOptions::default()).await;
    iex.ask(":mnesia.start()", ":ok", SOON).await;
    iex.ask(":mnesia.create_table(:item, attributes: [:sku, :price, :stock])", "{:atomic, :ok}", SOON).await;
    let mut mnesia = example("mnesia", &[&iex.node_name], &epmd).await;
    for line in ["bolt: 7 at 0.5", "sold out: nut, pin", "left: bolt, nut", "there is no table order"] {
        mnesia.output().line_with(line, LATER).await.unwrap();
    }
    assert!(mnesia.wait(SOON).await.success());
    iex.ask(":mnesia.dirty_read(:item, \"bolt\")", "[{:item, \"bolt\", 0.5, 7}]", SOON).await;
}

/// Starts an example with the cookie of the fixtures, as its first lines say.
async fn example(name: &str, args: &[&str], epmd: &Epmd) -> Program {
    let mut command = Command::new(built(name).await);
    command.args(args);
    Program::start(name, in_cluster(command, epmd)).expect("the example starts")
}

fn in_cluster(mut command: Command, epmd: &Epmd) -> Command {
    for variable in NOT_INHERITED {
        command.env_remove(variable);
    }
    command.env("RELEASE_COOKIE", COOKIE).env("ERL_EPMD_PORT", epmd.port().to_string());
    command
}

/// The program of an example. A run of all tests has built it; a run of this file alone may have not.
async fn built(name: &str) -> PathBuf {
    // The tests are in target/PROFILE/deps, the examples in target/PROFILE/examples.
    let test = std::env::current_exe().expect("this program");
    let profile = test.parent().and_then(Path::parent).expect("the folder of the profile");
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().await.expect("cargo runs");
        assert!(status.success(), "the example {name} is not built");
    }
    path
}
