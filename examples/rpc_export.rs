//! Rust functions that Elixir calls as its own, and a call the other way round.
//!
//! ```console
//! $ cargo run --example rpc_export
//! $ iex --sname me --cookie example
//! iex> :rpc.call(:"math@HOST", MyRust, :add, [20, 22])
//! 42
//! iex> :erpc.call(:"math@HOST", MyRust, :divide, [1, 0])
//! ** (ErlangError) Erlang error: {:exception, :badarith, []}
//! iex> :rpc.call(:"math@HOST", MyRust, :everywhere, [])  # asks all nodes how many processes they have
//! iex> Node.spawn(:"math@HOST", MyRust, :print, ["hello"])
//! hello
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use gusset::node::Exception;
use gusset::services::put_chars;
use gusset::{CallError, Cookie, EpmdMode, Node, Term, atom};

const MODULE: &str = "Elixir.MyRust";
/// How long one node may take to say how many processes it has.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let name = std::env::args().nth(1).unwrap_or_else(|| format!("math@{host}"));
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    let node = Node::builder(&name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port).start().await?;

    // Arguments and results are what serde makes of them.
    node.export_fn(MODULE, "add", |a: i64, b: i64| a + b)?;
    // An `Exception` is raised in the caller; any other `Err` would be `{:error, _}`.
    node.export_fn(MODULE, "divide", |a: i64, b: i64| {
        a.checked_div(b).ok_or_else(|| Exception::error(Term::Atom(atom!("badarith"))))
    })?;
    // A function may wait, and ask others: `%{node => processes}` or `%{node => text}`.
    let asker = node.clone();
    node.export_fn(MODULE, "everywhere", move || {
        let node = asker.clone();
        async move {
            let what = (atom!("process_count"),);
            let answers = node.rpc_multicall::<i64>(&node.nodes(), "erlang", "system_info", what, PATIENCE).await;
            let say =
                |answer: Result<i64, CallError>| answer.map_or_else(|error| Term::from(error.to_string()), Term::from);
            answers.into_iter().map(|(name, answer)| (name.as_atom().clone(), say(answer))).collect::<BTreeMap<_, _>>()
        }
    })?;
    // With the process that the call runs in: what it prints appears at the caller's.
    node.export(atom!("Elixir.MyRust"), atom!("print"), 1, |mut context, args| async move {
        let text = args.first().and_then(Term::as_str).ok_or_else(Exception::badarg)?;
        let _ = put_chars(context.process(), &format!("{text}\n")).await;
        Ok(Term::Atom(atom!("ok")))
    });

    println!("{name} is up; call :rpc.call(:\"{name}\", MyRust, :add, [20, 22])");
    tokio::signal::ctrl_c().await?;
    node.shutdown().await;
    Ok(())
}
