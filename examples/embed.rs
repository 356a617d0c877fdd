//! A Rust service that is also a member of the cluster: it keeps a stock of parts, answers
//! `GenServer.call` and `:rpc.call`, and tells its peers when a part runs out.
//!
//! ```console
//! $ cargo run --example embed
//! $ iex --sname me --cookie example
//! iex> GenServer.call({:stock, :"stock@HOST"}, {:take, "bolt", 3})
//! {:ok, 7}
//! iex> :rpc.call(:"stock@HOST", Stock, :level, ["bolt"])
//! 7
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gusset::node::Exception;
use gusset::services::Envelope;
use gusset::{Cookie, EpmdMode, Node, Term, atom};
use serde::{Deserialize, Serialize};

/// What can be asked: `{:take, "bolt", 3}` or `:parts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Take(String, i64),
    Parts,
}

/// What is answered: `{:ok, 7}`, `{:parts, %{"bolt" => 7}}` or `:empty`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(i64),
    Parts(HashMap<String, i64>),
    Empty,
}

type Stock = Arc<Mutex<HashMap<String, i64>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let name = std::env::args().nth(1).unwrap_or_else(|| format!("stock@{host}"));
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    let stock: Stock = Arc::new(Mutex::new(HashMap::from([("bolt".to_owned(), 10), ("nut".to_owned(), 4)])));

    let node = Node::builder(&name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port).start().await?;

    // :rpc.call(node, Stock, :level, ["bolt"])
    let levels = stock.clone();
    node.export(atom!("Elixir.Stock"), atom!("level"), 1, move |_, args| {
        let level = args.first().and_then(Term::as_str).and_then(|part| levels.lock().ok()?.get(part).copied());
        async move { level.map(Term::from).ok_or_else(Exception::badarg) }
    });

    let mut server = node.register("stock")?;
    println!("{name} is up; ask it GenServer.call({{:stock, :\"{name}\"}}, {{:take, \"bolt\", 3}})");
    loop {
        let message = server.recv().await?;
        let Some(payload) = message.payload() else { continue };
        let Envelope::Call(from, request) = Envelope::of(payload) else { continue };
        match request.decode::<Question>() {
            Ok(question) => from.reply(&server, &answer(&stock, question)).await?,
            Err(error) => eprintln!("no such question: {error}"),
        }
    }
}

fn answer(stock: &Stock, question: Question) -> Answer {
    let Ok(mut stock) = stock.lock() else { return Answer::Empty };
    match question {
        Question::Parts => Answer::Parts(stock.clone()),
        Question::Take(part, count) => match stock.get_mut(&part) {
            Some(level) if *level >= count => {
                *level -= count;
                Answer::Ok(*level)
            }
            _ => Answer::Empty,
        },
    }
}
