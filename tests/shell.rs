//! The shell of a gusset node in `erl -remsh` and `iex --remsh` of every release, each in a terminal.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use common::node::{self, until};
use common::remsh::{self, Client};
use common::{BeamOptions, Epmd, LATER, Otp, SOON, Terminal, gusset as binary, otp, require, unique};
use gusset::services::Shell;
use gusset::{Exception, Node, Term, atom as a};

/// The control keys of a terminal.
const CONTROL_G: &str = "\x07";
const TAB: &str = "\t";

/// A node with the shell, and a few things to look at.
async fn serve(epmd: &Epmd) -> Node {
    let shell = Shell::new()
        .fact("colour", || "green".to_owned())
        .command("queue", "queue [LIMIT]: what waits", |invocation| async move {
            let limit = invocation.words().next().map_or(Ok(10), str::parse::<usize>)?;
            Ok(format!("{limit} of 0 jobs"))
        })
        .command("slow", "slow: never ends", |mut invocation| async move {
            invocation.print("it begins\n").await;
            std::future::pending::<()>().await;
            Ok("it ended")
        })
        .command("crash", "crash: panics", |_| async move { if true { panic!("as asked") } else { Ok("") } });
    let node = node::builder(epmd, &unique("gusset")).shell(shell).start().await.unwrap();
    node.export(a!("m"), a!("twice"), 1, |_, args| async move {
        let number = args.first().and_then(Term::as_i64).ok_or_else(Exception::badarg)?;
        Ok(Term::from(number * 2))
    });
    node.export(a!("m"), a!("huge"), 0, |_, _| async move { Ok(Term::from(vec![Term::from(123_456); 200_000])) });
    node
}

/// A client of this release, at its first prompt; and the name it has.
async fn open(client: Client, otp: &Otp, epmd: &Epmd, node: &Node) -> (Terminal, String) {
    let name = format!("{}@127.0.0.1", unique("client"));
    let mut terminal = remsh::open(client, otp, epmd, &BeamOptions::named(&name), node.name().as_str());
    terminal.expect("with a small shell of its own", LATER).await;
    terminal.expect(&prompt(node, 1), SOON).await;
    (terminal, name)
}

fn prompt(node: &Node, number: u32) -> String {
    format!("gusset({}){number}> ", node.name())
}

fn sessions(node: &Node) -> usize {
    node.processes().iter().filter(|process| process.label.starts_with("shell")).count()
}

async fn all_ended(node: &Node) {
    until("the sessions and their commands end", LATER, || sessions(node) == 0).await;
}

#[tokio::test]
async fn every_client_gets_a_shell() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let node = serve(&epmd).await;
        for client in [Client::Erl, Client::Iex] {
            println!("{client:?} of OTP {}", otp.release);
            let mut inbox = node.register("inbox").unwrap();
            let (mut shell, name) = open(client, &otp, &epmd, &node).await;
            shell.ask("nodes", &format!("{name}  "), SOON).await;
            shell.ask("nodes().", &name, SOON).await;
            shell.ask("{a, [1], <<\"grün\"/utf8>>}.", "\n{a,[1],<<\"grün\"/utf8>>}", SOON).await;
            shell.ask("m:twice(21);", "\n42", SOON).await;
            shell.ask(":m.twice(22)", "\n44", SOON).await;
            shell.ask("call m:twice(23)", "\n46", SOON).await;
            shell.ask("node()", &format!("\n'{}'", node.name()), SOON).await;
            shell.ask(&format!("call {name} erlang:node()"), &format!("\n'{name}'"), SOON).await;
            shell.ask(&format!("call {name} io:format(\"~p~n\", [{{x, 1}}])"), "\n{x,1}", SOON).await;
            shell.ask("m:twice(x)", "\n** exception error: badarg", SOON).await;
            shell.ask("m:none(1)", "\n** m:none/1 is not there", SOON).await;
            shell.ask("What = 7", "\n** variables have no value here", SOON).await;
            shell.expect("`help` lists the commands", SOON).await;
            shell.ask("whereis inbox", &format!("\n{}", inbox.pid()), SOON).await;
            shell.ask("send inbox {hello, 7}.", "\n{hello,7}", SOON).await;
            assert_eq!(node::next(&mut inbox).await, "{hello,7}");
            shell.ask("send nobody 1", "\n** no process is registered as nobody", SOON).await;
            shell.ask("registered", "\ninbox", SOON).await;
            shell.ask("processes", "shell: command", SOON).await;
            shell.ask("global", "no names", SOON).await;
            shell.ask("info", "green", SOON).await;
            shell.ask("queue 3", "\n3 of 0 jobs", SOON).await;
            shell.ask("queue x", "\n** invalid digit", SOON).await;
            shell.ask("crash", "\n** the command was ended", SOON).await;
            shell.ask("functions m", "\nm:twice", SOON).await;
            shell.ask("help", "what waits", SOON).await;
            shell.ask("m:huge()", "(only the first 20000 characters are shown)", SOON).await;
            shell.ask("flush", "\nnothing has come", SOON).await;
            shell.ask("q().", "\nThe session ends.", SOON).await;
            shell.expect("Shell process terminated!", SOON).await;
            all_ended(&node).await;
        }
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_client_without_a_name_gets_one_and_a_shell() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let name = format!("{}@localhost", unique("gusset"));
        let node = Node::builder(&name)
            .cookie(gusset::Cookie::new(common::COOKIE).unwrap())
            .listen(vec![std::net::Ipv4Addr::LOCALHOST.into()], 0..=0)
            .epmd(gusset::EpmdMode::External, epmd.port())
            .shell(Shell::new())
            .start()
            .await
            .unwrap();
        println!("OTP {}", otp.release);
        let options = BeamOptions::named("undefined").short();
        let mut shell = remsh::open(Client::Erl, &otp, &epmd, &options, &name);
        shell.expect(&prompt(&node, 1), LATER).await;
        shell.ask("nodes", "hidden", SOON).await;
        assert_eq!(node.hidden_nodes().len(), 1, "{}", shell.screen());
        node.shutdown().await;
    }
}

#[tokio::test]
async fn an_interrupt_stops_the_command_and_not_the_session() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let node = serve(&epmd).await;
        for client in [Client::Erl, Client::Iex] {
            println!("{client:?} of OTP {}", otp.release);
            let (mut shell, _) = open(client, &otp, &epmd, &node).await;
            shell.ask("slow", "\nit begins", SOON).await;
            assert_eq!(sessions(&node), 2);
            shell.send_keys(CONTROL_G);
            shell.expect("--> ", SOON).await;
            shell.send_line("i");
            shell.expect("--> ", SOON).await;
            shell.send_line("c");
            shell.expect("** interrupted", SOON).await;
            assert_eq!(sessions(&node), 1);
            shell.ask("m:twice(21)", "\n42", SOON).await;
            shell.send_line("exit");
            all_ended(&node).await;
        }
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_session_ends_with_its_client_whatever_it_does() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let node = serve(&epmd).await;
        for (client, command) in [(Client::Erl, ""), (Client::Erl, "slow"), (Client::Iex, "slow")] {
            println!("{client:?} of OTP {}, {command}", otp.release);
            let (mut shell, _) = open(client, &otp, &epmd, &node).await;
            if !command.is_empty() {
                shell.ask(command, "\nit begins", SOON).await;
            }
            shell.kill9().await;
            all_ended(&node).await;
            let (mut shell, _) = open(client, &otp, &epmd, &node).await;
            if !command.is_empty() {
                shell.ask(command, "\nit begins", SOON).await;
            }
            shell.send_keys(CONTROL_G);
            shell.expect("--> ", SOON).await;
            shell.send_line("q");
            all_ended(&node).await;
        }
        // The node goes while somebody is at the prompt: the client is told, and does not hang.
        let (mut shell, _) = open(Client::Erl, &otp, &epmd, &node).await;
        node.shutdown().await;
        shell.expect("Shell process terminated!", LATER).await;
    }
}

#[tokio::test]
async fn what_is_typed_is_completed_by_the_tab_key() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let node = serve(&epmd).await;
        let _inbox = node.register("my_own_inbox").unwrap();
        // An iex of OTP 25 and before asks itself and nobody else.
        let clients: &[Client] = if otp.release > 25 { &[Client::Erl, Client::Iex] } else { &[Client::Erl] };
        for client in clients {
            println!("{client:?} of OTP {}", otp.release);
            let (mut shell, _) = open(*client, &otp, &epmd, &node).await;
            shell.send_keys(&format!("que{TAB}"));
            shell.expect("queue", SOON).await;
            shell.send_line("");
            shell.expect("\n10 of 0 jobs", SOON).await;
            shell.expect(&prompt(&node, 2), SOON).await;
            shell.send_keys(&format!("whereis my_{TAB}"));
            shell.expect("whereis my_own_inbox", SOON).await;
            shell.send_line("");
            shell.expect("\n#Pid<", SOON).await;
            shell.expect(&prompt(&node, 3), SOON).await;
            shell.send_keys(&format!("q{TAB}{TAB}"));
            shell.expect("queue", SOON).await;
            shell.expect("quit", SOON).await;
        }
        node.shutdown().await;
    }
}

#[tokio::test]
async fn without_the_shell_clients_are_refused_and_do_not_hang() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let node = node::start(&epmd).await;
        for client in [Client::Erl, Client::Iex] {
            let options = BeamOptions::default();
            let mut shell = remsh::open(client, &otp, &epmd, &options, node.name().as_str());
            let said = match (client, otp.release) {
                (Client::Erl, ..=25) => "There is no shell here",
                (Client::Iex, ..=25) => "Could not find IEx on remote node",
                _ => "(nofile)",
            };
            println!("{client:?} of OTP {}", otp.release);
            shell.expect(said, LATER).await;
            match (client, otp.release) {
                (Client::Erl, ..=25) => drop(shell.expect("Shell process terminated!", SOON).await),
                _ => drop(shell.ended().await),
            }
        }
        node.shutdown().await;
    }
}

#[tokio::test]
async fn where_nothing_can_be_typed_a_session_ends_at_once() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let node = serve(&epmd).await;
    // Its group leader is a log.
    let other = node::start(&epmd).await;
    let pid: gusset::Pid = other.rpc(node.name(), "shell", "start", ()).await.unwrap();
    let mut process = other.process();
    process.monitor(&pid).await.unwrap();
    let why = node::reason_of(&common::within(SOON, "the end", process.recv()).await.unwrap()).unwrap();
    assert!(["normal", "noproc"].contains(&why.as_str()), "{why}");
}

#[tokio::test]
async fn the_owner_switches_the_shell_off_and_on() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let node = serve(&epmd).await;
    let (mut shell, _) = open(Client::Erl, &otp, &epmd, &node).await;
    shell.ask("slow", "\nit begins", SOON).await;
    // A session that is killed takes its command with it.
    let session = node.processes().into_iter().find(|process| process.label == "shell").unwrap().pid;
    assert!(node.exit(&session, &gusset::Reason::kill()));
    all_ended(&node).await;
    let (mut shell, _) = open(Client::Erl, &otp, &epmd, &node).await;
    let service = node.whereis("gusset_shell").unwrap();
    assert!(node.exit(&service, &gusset::Reason::shutdown()));
    shell.expect("Shell process terminated!", SOON).await;
    all_ended(&node).await;
    let beam = common::Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let us = node::atom(&node);
    let loaded = format!("rpc:call({us}, code, ensure_loaded, [shell])");
    assert_eq!(beam.value(&loaded).await, "{error,nofile}");
    node.install(Shell::new()).unwrap();
    assert_eq!(beam.value(&loaded).await, "{module,shell}");
    let (mut shell, _) = open(Client::Erl, &otp, &epmd, &node).await;
    shell.ask("q", "\nThe session ends.", SOON).await;
    assert!(matches!(node.install(Shell::new()), Err(gusset::RegisterError::Taken(_))));
}

#[tokio::test]
async fn a_terminal_that_stands_still_holds_up_its_own_session_only() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let node = serve(&epmd).await;
        let (mut slow, _) = open(Client::Erl, &otp, &epmd, &node).await;
        slow.signal(rustix::process::Signal::STOP);
        for _ in 0..50 {
            slow.send_line("m:huge()");
        }
        let (mut quick, _) = open(Client::Erl, &otp, &epmd, &node).await;
        quick.ask("m:twice(21)", "\n42", SOON).await;
        // One answer is under way at most, however much is asked for.
        let queued: usize = node.peers().iter().map(|peer| peer.stats.queued_bytes).sum();
        assert!(queued < 200_000, "{queued}");
        slow.signal(rustix::process::Signal::CONT);
        slow.expect(&prompt(&node, 51), LATER).await;
        node.shutdown().await;
    }
}

#[tokio::test]
async fn the_binary_has_a_shell_unless_it_shall_not() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    for allowed in [true, false] {
        let name = format!("{}@127.0.0.1", unique("gusset"));
        let mut args = vec!["run", "--name", &name, "--listen", "127.0.0.1", "--connect", "nobody@127.0.0.1"];
        args.extend((!allowed).then_some("--shell=false"));
        let command = require!(binary::command(args)).epmd(&epmd).fixture_cookie();
        let (_gusset, _) = command.spawn_until("is up").await;
        let mut shell = remsh::open(Client::Erl, &otp, &epmd, &BeamOptions::default(), &name);
        if allowed {
            shell.expect(&format!("gusset({name})1> "), LATER).await;
            shell.ask("info", "static: 1 nodes wanted", SOON).await;
        } else {
            shell.expect("nofile", LATER).await;
        }
    }
}
