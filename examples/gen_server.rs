//! A server that Elixir calls as any GenServer, and that calls one of theirs.
//!
//! ```console
//! $ cargo run --example gen_server
//! $ iex --sname me --cookie example
//! iex> stock = {:stock, :"stock@HOST"}
//! iex> GenServer.call(stock, {:take, "bolt", 3})
//! {:ok, 7}
//! iex> GenServer.call(stock, {:take, "bolt", 30})
//! {:error, :empty}
//! iex> GenServer.cast(stock, {:deliver, "bolt", 30})
//! iex> GenServer.call(stock, {:await, "nut", 9})          # answers when somebody delivers so many
//! iex> :sys.get_state(stock)
//! iex> Supervisor.which_children({:gusset_sup, :"stock@HOST"})
//! ```
//!
//! With the name of a node as argument it asks that node's `:stock` what is left before it starts its own.

use std::collections::BTreeMap;

use gusset::etf::to_term;
use gusset::services::{Answer, GenServer, Next, ReplyTo};
use gusset::{Atom, Cookie, EpmdMode, Node, NodeName, Process, Reason, Term, atom};
use serde::{Deserialize, Serialize};

/// What can be asked: `{:take, "bolt", 3}`, `{:await, "nut", 9}` or `:level`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Take(String, i64),
    Await(String, i64),
    Level,
}

/// What can be told: `{:deliver, "bolt", 30}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Delivery {
    Deliver(String, i64),
}

/// What is answered: `{:ok, 7}`, `{:error, :empty}` or `%{"bolt" => 7}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Reply {
    Taken(Result<i64, Atom>),
    Level(BTreeMap<String, i64>),
}

#[derive(Default)]
struct Stock {
    level: BTreeMap<String, i64>,
    /// Those who wait until there is enough.
    waiting: Vec<(String, i64, ReplyTo)>,
}

impl GenServer for Stock {
    type Call = Question;
    type Cast = Delivery;
    type Reply = Reply;

    async fn handle_call(&mut self, question: Question, from: ReplyTo, _: &mut Process) -> Answer<Reply> {
        match question {
            Question::Take(part, count) => Answer::Reply(Reply::Taken(self.take(&part, count))),
            Question::Level => Answer::Reply(Reply::Level(self.level.clone())),
            Question::Await(part, count) => match self.take(&part, count) {
                Ok(left) => Answer::Reply(Reply::Taken(Ok(left))),
                Err(_) => {
                    self.waiting.push((part, count, from));
                    Answer::Later
                }
            },
        }
    }

    async fn handle_cast(&mut self, Delivery::Deliver(part, count): Delivery, process: &mut Process) -> Next {
        *self.level.entry(part).or_default() += count;
        for (part, count, from) in std::mem::take(&mut self.waiting) {
            match self.take(&part, count) {
                Ok(left) => {
                    if let Err(error) = from.reply(process, &Reply::Taken(Ok(left))).await {
                        println!("{} is gone: {error}", from.pid());
                    }
                }
                Err(_) => self.waiting.push((part, count, from)),
            }
        }
        Next::Continue
    }

    async fn terminate(&mut self, reason: &Reason, _: &mut Process) {
        println!("the stock closes: {reason}");
    }

    fn state(&self) -> Term {
        to_term(&self.level).unwrap_or(Term::NIL)
    }

    fn module(&self) -> Atom {
        atom!("Elixir.Stock")
    }
}

impl Stock {
    fn take(&mut self, part: &str, count: i64) -> Result<i64, Atom> {
        match self.level.get_mut(part) {
            Some(level) if *level >= count => {
                *level -= count;
                Ok(*level)
            }
            _ => Err(atom!("empty")),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| format!("stock@{host}"));
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    let node = Node::builder(&name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port).start().await?;

    let mut level = BTreeMap::from([("bolt".to_owned(), 10), ("nut".to_owned(), 4)]);
    if let Some(other) = args.next() {
        let other: NodeName = other.parse()?;
        // GenServer.call({:stock, other}, :level)
        level = node.call(("stock", &other), &atom!("level")).await?;
        println!("{other} has {level:?}");
    }
    let stock = node.start_server("stock", Stock { level, ..Stock::default() })?;
    println!("{name} is up; ask it GenServer.call({{:stock, :\"{name}\"}}, {{:take, \"bolt\", 3}})");
    tokio::select! {
        reason = stock.ended() => println!("the stock has ended: {reason}"),
        _ = tokio::signal::ctrl_c() => {}
    }
    node.shutdown().await;
    Ok(())
}
