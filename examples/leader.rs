//! Work that runs on one node of the cluster only, and moves when that node is lost. Start it twice, end one.
//!
//! ```console
//! $ cargo run --example leader -- one@HOST
//! $ cargo run --example leader -- two@HOST one@HOST
//! $ iex --sname me --cookie example
//! iex> Node.connect(:"one@HOST")
//! iex> GenServer.call({:global, :leader}, :who)
//! :"one@HOST"
//! iex> Process.exit(:global.whereis_name(:leader), :kill)
//! ```
//!
//! The first argument is the own name, the others are nodes to connect to. A GenServer that Elixir starts with
//! `name: {:global, :leader}` takes part as well.

use futures_util::StreamExt;
use gusset::services::{Answer, GenServer, Leadership, Next, ReplyTo};
use gusset::{Atom, Cookie, DialTarget, EpmdMode, Node, Process, Reason, atom};

/// The work: here, to say who does it.
struct Leader;

impl GenServer for Leader {
    type Call = Atom;
    type Cast = Atom;
    type Reply = Atom;

    async fn init(&mut self, process: &mut Process) -> Next {
        println!("work begins in {}", process.pid());
        Next::Continue
    }

    async fn handle_call(&mut self, _who: Atom, _: ReplyTo, process: &mut Process) -> Answer<Atom> {
        Answer::Reply(process.node().name().as_atom().clone())
    }

    async fn terminate(&mut self, reason: &Reason, _: &mut Process) {
        println!("work ends: {reason}");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| format!("one@{host}"));
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    let node = Node::builder(&name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port).start().await?;
    for other in args {
        node.connect(other.parse::<DialTarget>()?).await?;
    }
    println!("{name} is up");

    let global = node.global().ok_or("a hidden node has no part in global")?;
    let leader = global.singleton_server(atom!("leader"), || Leader);
    let mut states = leader.states();
    loop {
        tokio::select! {
            state = states.next() => match state {
                Some(Leadership::Leading(_)) => println!("{name} leads"),
                Some(Leadership::Standby(Some(pid))) => println!("{name} stands by for {}", pid.node),
                Some(Leadership::Standby(None)) => println!("{name} stands by; nobody leads"),
                _ => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    // Gives the lead away before the connections close.
    leader.stop().await;
    node.shutdown().await;
    Ok(())
}
