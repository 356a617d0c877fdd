//! The tools: each is a short-lived hidden node that does one thing and says how it went.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{CookieArgs, EpmdPortArgs, Failure, home, identity};
use crate::etf::{Atom, Term};
use crate::net::{DialTarget, EpmdClient, EpmdServer};
use crate::node::{Node, Target};
use crate::proto::NodeName;

pub(super) const PING_EXAMPLES: &str = "\
Examples:
  gusset ping app@myhost
  gusset ping app@10-0-0-7.default.pod.cluster.local=10.0.0.7
  gusset ping app@myhost=127.0.0.1:9100       through a port-forward, without EPMD";

pub(super) const NAMES_EXAMPLES: &str = "\
Examples:
  gusset names
  gusset names 10.0.0.7 --json";

pub(super) const CALL_EXAMPLES: &str = "\
Examples:
  gusset call app@myhost erlang:node
  gusset call app@myhost Elixir.Enum:sum '[1,2,3]'
  gusset call app@myhost lists:seq 1 10
  gusset call app@myhost Elixir.String:upcase '<<\"text\">>'

Arguments are terms in Erlang syntax; Elixir modules have their full name (Elixir.Enum).";

pub(super) const SEND_EXAMPLES: &str = "\
Examples:
  gusset send app@myhost logger '{hello, <<\"world\">>}'

The message is a term in Erlang syntax. It fails when the node has no process of that name.";

pub(super) const EPMD_EXAMPLES: &str = "\
Examples:
  gusset epmd                      on port 4369 of all addresses
  ERL_EPMD_PORT=5000 gusset epmd --listen 127.0.0.1

Real nodes register with it: start them with the same ERL_EPMD_PORT, and -start_epmd false.";

/// What every tool that talks to a node needs.
#[derive(Debug, Args)]
struct PeerArgs {
    #[command(flatten)]
    cookie: CookieArgs,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    timeout: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl PeerArgs {
    fn timeout(&self) -> Result<Duration, Failure> {
        Duration::try_from_secs_f64(self.timeout).map_err(|error| Failure::configuration(format!("--timeout: {error}")))
    }
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// The node, with its address where the name alone does not lead there.
    #[arg(value_name = "NODE[=IP[:PORT]]")]
    node: String,
    #[command(flatten)]
    peer: PeerArgs,
}

pub(super) async fn ping(args: PingArgs) -> Result<(), Failure> {
    let target = target(&args.node)?;
    let started = Instant::now();
    let node = connect(&target, &args.peer).await?;
    let connected = started.elapsed();
    let asked = Instant::now();
    let kernel = Target::NameOn(crate::atom!("net_kernel"), target.name.clone());
    let request = (crate::atom!("is_auth"), node.name().as_atom().clone());
    let answer: Atom = node.call_timeout(kernel, &request, args.peer.timeout()?).await?;
    if answer != "yes" {
        return Err(Failure::other(format!("pang: {} answers `{answer}`", target.name)));
    }
    let answered = asked.elapsed();
    Output::new(args.peer.json).line(
        || format!("pong from {} (connected in {connected:.1?}, answer after {answered:.1?})", target.name),
        || {
            json!({"node": target.name.as_str(), "pong": true, "connect_us": connected.as_micros(),
                   "answer_us": answered.as_micros()})
        },
    );
    node.shutdown().await;
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The node, with its address where the name alone does not lead there.
    #[arg(value_name = "NODE[=IP[:PORT]]")]
    node: String,
    /// Module and function, `lists:seq`, `Elixir.Enum:sum`.
    #[arg(value_name = "MODULE:FUNCTION")]
    function: String,
    /// Arguments, in Erlang syntax.
    #[arg(value_name = "TERM", allow_hyphen_values = true)]
    args: Vec<String>,
    #[command(flatten)]
    peer: PeerArgs,
}

pub(super) async fn call(args: CallArgs) -> Result<(), Failure> {
    let target = target(&args.node)?;
    let (module, function) = module_function(&args.function)?;
    let mut terms = Vec::with_capacity(args.args.len());
    for text in &args.args {
        terms.push(term(text)?);
    }
    let node = connect(&target, &args.peer).await?;
    let answer = node.rpc_payload(&target.name, module, function, terms, args.peer.timeout()?).await?;
    let result = answer.term().map_err(|error| Failure::other(format!("the answer cannot be printed: {error}")))?;
    Output::new(args.peer.json).line(|| result.to_string(), || json!({"result": result.to_string()}));
    node.shutdown().await;
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The node, with its address where the name alone does not lead there.
    #[arg(value_name = "NODE[=IP[:PORT]]")]
    node: String,
    /// The registered name of the process.
    #[arg(value_name = "NAME")]
    name: String,
    /// The message, in Erlang syntax.
    #[arg(value_name = "TERM", allow_hyphen_values = true)]
    message: String,
    #[command(flatten)]
    peer: PeerArgs,
}

pub(super) async fn send(args: SendArgs) -> Result<(), Failure> {
    let target = target(&args.node)?;
    let name = Atom::new(&args.name).map_err(|error| Failure::configuration(error.to_string()))?;
    let message = term(&args.message)?;
    let node = connect(&target, &args.peer).await?;
    let process = node.process();
    let to = Target::NameOn(name.clone(), target.name.clone());
    // The monitor tells whether anybody is there: its answer comes before the connection ends, and a
    // message for nobody would vanish without a word.
    let watch = process.monitor(&to).await?;
    process.send(&to, &message).await?;
    let kernel = Target::NameOn(crate::atom!("net_kernel"), target.name.clone());
    let request = (crate::atom!("is_auth"), node.name().as_atom().clone());
    // Whatever net_kernel says, it says it after the message has been delivered.
    let _: Term = node.call_timeout(kernel, &request, args.peer.timeout()?).await?;
    if !process.demonitor(&watch) {
        return Err(Failure::no_process(format!("{} has no process `{name}`", target.name)));
    }
    Output::new(args.peer.json).line(
        || format!("sent to {name} on {}", target.name),
        || json!({"node": target.name.as_str(), "name": name.as_str(), "sent": true}),
    );
    node.shutdown().await;
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// The host whose EPMD is asked.
    #[arg(default_value = "127.0.0.1")]
    host: String,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn names(args: NamesArgs) -> Result<(), Failure> {
    let port = args.epmd_port.epmd_port;
    let mut addresses = tokio::net::lookup_host((args.host.as_str(), port))
        .await
        .map_err(|error| Failure::lookup(format!("the host {} cannot be looked up: {error}", args.host)))?;
    let Some(address) = addresses.next() else {
        return Err(Failure::lookup(format!("the host {} has no address", args.host)));
    };
    let names = EpmdClient::new(address.ip(), port).names().await.map_err(|error| {
        Failure::epmd(format!("EPMD at {address}: {error}"))
            .advise("no node runs there, or its EPMD has another port (ERL_EPMD_PORT)")
    })?;
    let output = Output::new(args.json);
    for (name, port) in names {
        output.line(|| format!("{name} at port {port}"), || json!({"name": name, "port": port}));
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct EpmdArgs {
    /// The addresses to listen on.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0", value_delimiter = ',', env = "ERL_EPMD_ADDRESS")]
    listen: Vec<IpAddr>,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn epmd(args: EpmdArgs) -> Result<(), Failure> {
    let port = args.epmd_port.epmd_port;
    let server = EpmdServer::bind(&args.listen, port)
        .await
        .map_err(|error| Failure::epmd(error.to_string()).advise("an EPMD runs already? see `gusset names`"))?;
    let addresses: Vec<String> = server.local_addrs().iter().map(SocketAddr::to_string).collect();
    Output::new(args.json).line(
        || format!("EPMD listens on {}", addresses.join(", ")),
        || json!({"event": "started", "addresses": addresses}),
    );
    let signal = super::run::stop_signal().await?;
    tracing::info!(signal, "stopping");
    server.shutdown().await;
    Ok(())
}

/// A hidden node that is connected to the target.
async fn connect(target: &DialTarget, args: &PeerArgs) -> Result<Node, Failure> {
    let found = home::cookie(&args.cookie)?;
    let number = getrandom::u32().map_err(|error| Failure::other(format!("no random numbers: {error}")))?;
    // The peer never dials back, but the style of the name has to be its own: short or long.
    let host = if target.name.is_long() { "127.0.0.1".to_owned() } else { identity::short_host()? };
    let name = format!("gusset-{}-{number:x}@{host}", std::process::id());
    let node = Node::builder(name)
        .cookie(found.cookie)
        .hidden()
        .no_listener()
        .epmd(crate::net::EpmdMode::External, args.epmd_port.epmd_port)
        .start()
        .await?;
    let limit = args.timeout()?;
    match tokio::time::timeout(limit, node.connect(target.clone())).await {
        Ok(Ok(())) => Ok(node),
        Ok(Err(failed)) => Err(failed.into()),
        Err(_) => Err(Failure::timeout(format!("no connection to {} within {limit:?}", target.name))),
    }
}

/// A node as the user writes it; without a host part it is one of this host.
fn target(text: &str) -> Result<DialTarget, Failure> {
    let (name, address) = match text.split_once('=') {
        Some((name, address)) => (name, Some(address)),
        None => (text, None),
    };
    let name = if name.contains('@') { name.to_owned() } else { format!("{name}@{}", identity::short_host()?) };
    NodeName::new(&name).map_err(|error| Failure::configuration(error.to_string()))?;
    let full = match address {
        Some(address) => format!("{name}={address}"),
        None => name,
    };
    full.parse().map_err(|error: crate::net::DialTargetError| Failure::configuration(error.to_string()))
}

fn term(text: &str) -> Result<Term, Failure> {
    text.parse().map_err(|error| {
        Failure::configuration(format!("`{text}` is no Erlang term: {error}")).advise(
            "strings are <<\"text\">> (binary, as Elixir has them) or \"text\" (list); mind the quotes of the shell",
        )
    })
}

fn module_function(text: &str) -> Result<(Atom, Atom), Failure> {
    let wrong =
        || Failure::configuration(format!("`{text}` is not MODULE:FUNCTION, like lists:seq or Elixir.Enum:sum"));
    let (module, function) = text.rsplit_once(':').ok_or_else(wrong)?;
    if module.is_empty() || function.is_empty() {
        return Err(wrong());
    }
    let atom = |text| Atom::new(text).map_err(|error| Failure::configuration(error.to_string()));
    Ok((atom(module)?, atom(function)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_with_their_module() {
        let read = |text| module_function(text).map(|(m, f)| (m.to_string(), f.to_string())).ok();
        assert_eq!(read("Elixir.Enum:sum"), Some(("Elixir.Enum".into(), "sum".into())));
        assert_eq!(read("lists:seq"), Some(("lists".into(), "seq".into())));
        for bad in ["lists", ":seq", "lists:"] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_node_without_host_is_one_of_this_host() {
        let host = identity::short_host().unwrap();
        assert_eq!(target("app").unwrap().name.as_str(), format!("app@{host}"));
        assert_eq!(target("a@b=127.0.0.1:9").unwrap().to_string(), "a@b=127.0.0.1:9");
        assert!(target("a@b=x").is_err());
    }
}
