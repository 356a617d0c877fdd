//! The tools: each is a short-lived hidden node that does one thing and says how it went.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::home::{self, IfMissing};
use super::output::Output;
use super::stop::Stop;
use super::{CookieArgs, EpmdPortArgs, Failure, identity};
use crate::etf::{Atom, Term};
use crate::net::{DialTarget, EpmdClient, EpmdMode, EpmdOptions, EpmdServer};
use crate::node::{CallError, Class, Exception, Node, NodeConfig, Target};
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

Real nodes register with it: `erl -sname app -start_epmd false`, with the same ERL_EPMD_PORT.
Stop it with Ctrl-C or SIGTERM: the nodes go on, and register again with the next EPMD at that port.";

/// What every tool that talks to a node needs.
#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// Give up after so many seconds, connecting included.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds, allow_negative_numbers = true)]
    timeout: Duration,
    /// Print a JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) cookie: CookieArgs,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    let limit = Duration::try_from_secs_f64(seconds).ok();
    limit
        .filter(|limit| !limit.is_zero() && *limit <= LONGEST_TIMEOUT)
        .ok_or_else(|| format!("it has to be more than 0 and at most {}", LONGEST_TIMEOUT.as_secs()))
}

/// A year. Far from where adding it to a clock fails, and nobody waits longer.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// The node, with its address where the name alone does not lead there.
    #[arg(value_name = "NODE[=IP[:PORT]]")]
    node: String,
    #[command(flatten)]
    pub(super) peer: PeerArgs,
}

pub(super) async fn ping(args: PingArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let peer = Peer::connect(&args.node, &args.peer).await?;
    let connected = started.elapsed();
    let asked = Instant::now();
    let answer = peer.is_auth().await?;
    if answer != "yes" {
        return Err(Failure::other(format!("pang: {} answers `{answer}`", peer.name())));
    }
    let answered = asked.elapsed();
    Output::new(args.peer.json).line(
        || format!("pong from {} (connected in {connected:.1?}, answer after {answered:.1?})", peer.name()),
        || {
            json!({"node": peer.name().as_str(), "pong": true, "connect_us": connected.as_micros(),
                   "answer_us": answered.as_micros()})
        },
    );
    peer.close().await;
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
    #[arg(value_name = "TERM", allow_negative_numbers = true)]
    args: Vec<String>,
    #[command(flatten)]
    pub(super) peer: PeerArgs,
}

pub(super) async fn call(args: CallArgs) -> Result<(), Failure> {
    let (module, function) = module_function(&args.function)?;
    let mut terms = Vec::with_capacity(args.args.len());
    for text in &args.args {
        terms.push(term(text)?);
    }
    let arity = terms.len();
    let peer = Peer::connect(&args.node, &args.peer).await?;
    let answer = peer.node.rpc_payload(peer.name(), module, function, terms, peer.left()).await;
    let answer = answer.map_err(|error| match error {
        CallError::Exception(exception) => raised(&exception, &args.function, arity, peer.name()),
        error => peer.failed(error),
    })?;
    let result = answer.term().map_err(|error| Failure::other(format!("the answer cannot be printed: {error}")))?;
    Output::new(args.peer.json)
        .line(|| result.to_string(), || json!({"node": peer.name().as_str(), "result": result.to_string()}));
    peer.close().await;
    Ok(())
}

/// What a function ended with, and where.
fn raised(exception: &Exception, function: &str, arity: usize, node: &NodeName) -> Failure {
    let how = match exception.class {
        Class::Error => "raised error",
        Class::Exit => "exited with",
        Class::Throw => "threw",
    };
    let mut text = format!("{function}/{arity} on {node} {how}: {}", exception.reason);
    for frame in exception.stack.iter().take(STACK_FRAMES) {
        text.push_str(&format!("\n    in {frame}"));
    }
    let failure = Failure::exception(text);
    if exception.reason != Term::Atom(crate::atom!("undef")) {
        return failure;
    }
    match function.chars().next() {
        Some(first) if first.is_uppercase() && !function.starts_with("Elixir.") => {
            failure.advise(format!("modules of Elixir have their full name here: Elixir.{function}"))
        }
        _ => {
            failure.advise("there is no such function there, or not with so many arguments; each TERM is one argument")
        }
    }
}

/// Of the stack the top is what helps.
const STACK_FRAMES: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The node, with its address where the name alone does not lead there.
    #[arg(value_name = "NODE[=IP[:PORT]]")]
    node: String,
    /// The registered name of the process.
    #[arg(value_name = "NAME")]
    name: String,
    /// The message, in Erlang syntax.
    #[arg(value_name = "TERM", allow_negative_numbers = true)]
    message: String,
    #[command(flatten)]
    pub(super) peer: PeerArgs,
}

pub(super) async fn send(args: SendArgs) -> Result<(), Failure> {
    let name = Atom::new(&args.name).map_err(|error| Failure::configuration(error.to_string()))?;
    let message = term(&args.message)?;
    let peer = Peer::connect(&args.node, &args.peer).await?;
    let process = peer.node.process();
    let to = Target::NameOn(name.clone(), peer.name().clone());
    // The monitor tells whether anybody is there: its answer comes before the connection ends, and a
    // message for nobody would vanish without a word.
    let watch = process.monitor(&to).await?;
    process.send(&to, &message).await?;
    // Whatever net_kernel says, it says it after the message has been delivered.
    peer.is_auth().await?;
    if !process.demonitor(&watch) {
        return Err(Failure::no_process(format!("{} has no process `{name}`", peer.name()))
            .advise("see which there are: gusset call NODE erlang:registered"));
    }
    Output::new(args.peer.json).line(
        || format!("sent to {name} on {}", peer.name()),
        || json!({"node": peer.name().as_str(), "name": name.as_str(), "sent": true}),
    );
    peer.close().await;
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// The host whose EPMD is asked.
    #[arg(default_value = "127.0.0.1")]
    host: String,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
}

pub(super) async fn names(args: NamesArgs) -> Result<(), Failure> {
    let port = args.epmd_port.epmd_port;
    let addresses = tokio::net::lookup_host((args.host.as_str(), port)).await.map_err(|error| {
        Failure::lookup(format!("the host {} cannot be looked up: {error}", args.host))
            .advise("give its address instead of its name")
    })?;
    // A host may have several addresses, and its EPMD may listen on one of them only.
    let mut failed = Failure::lookup(format!("the host {} has no address", args.host));
    for address in addresses {
        match EpmdClient::new(address.ip(), port).names().await {
            Ok(names) => {
                let output = Output::new(args.json);
                for (name, port) in names {
                    output.line(|| format!("{name} at port {port}"), || json!({"name": name, "port": port}));
                }
                return Ok(());
            }
            Err(error) => {
                failed = Failure::epmd(error.to_string())
                    .advise("no node runs there, or its EPMD has another port (ERL_EPMD_PORT)");
            }
        }
    }
    Err(failed)
}

#[derive(Debug, Args)]
pub(crate) struct EpmdArgs {
    /// The addresses to listen on, besides loopback; all by default.
    #[arg(long, value_name = "IP", value_delimiter = ',', env = "ERL_EPMD_ADDRESS")]
    listen: Vec<IpAddr>,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    epmd_port: EpmdPortArgs,
}

pub(super) async fn epmd(args: EpmdArgs) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let options =
        EpmdOptions { port: args.epmd_port.epmd_port, addresses: args.listen.clone(), ..EpmdOptions::default() };
    let server = EpmdServer::serve(&options)
        .await
        .map_err(|error| Failure::epmd(error.to_string()).advise("see which nodes it knows with `gusset names`"))?;
    let addresses: Vec<String> = server.local_addrs().iter().map(SocketAddr::to_string).collect();
    let output = Output::new(args.json);
    output.line(
        || format!("EPMD listens on {}", addresses.join(", ")),
        || json!({"event": "started", "addresses": addresses}),
    );
    let signal = stop.wait().await;
    output.line(|| format!("stopping ({signal})"), || json!({"event": "stopping", "signal": signal}));
    server.shutdown().await;
    Ok(())
}

/// A hidden node that is connected to the one that is asked.
struct Peer {
    node: Node,
    target: DialTarget,
    limit: Duration,
    deadline: Instant,
}

impl Peer {
    async fn connect(text: &str, args: &PeerArgs) -> Result<Self, Failure> {
        let (target, limit) = (target(text)?, args.timeout);
        let deadline = Instant::now() + limit;
        let found = home::cookie(args.cookie.given()?.as_ref(), IfMissing::Fail)?;
        let number = getrandom::u32().map_err(|error| Failure::other(format!("no random numbers: {error}")))?;
        // The peer never dials back, but the style of the name has to be its own: short or long.
        let host = if target.name.is_long() { "127.0.0.1".to_owned() } else { identity::short_host()? };
        let name = format!("gusset-{}-{number:x}@{host}", std::process::id());
        let mut config = NodeConfig::new(found.cookie);
        // A step that hangs says which one it is; the limit for the whole comes after it.
        config.net_setuptime = limit;
        let node = Node::builder(name)
            .config(config)
            .hidden()
            .no_listener()
            .epmd(EpmdMode::External, args.epmd_port.epmd_port)
            .start()
            .await?;
        match tokio::time::timeout(limit + STEP_FIRST, node.connect(target.clone())).await {
            Ok(Ok(())) => Ok(Self { node, target, limit, deadline }),
            Ok(Err(failed)) => Err(failed.into()),
            Err(_) => Err(Failure::timeout(format!("no connection to {} within {limit:?}", target.name))),
        }
    }

    fn name(&self) -> &NodeName {
        &self.target.name
    }

    /// The time that is left for an answer.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// `net_adm:ping/1` asks this.
    async fn is_auth(&self) -> Result<Atom, Failure> {
        let kernel = Target::NameOn(crate::atom!("net_kernel"), self.name().clone());
        let request = (crate::atom!("is_auth"), self.node.name().as_atom().clone());
        self.node.call_timeout(kernel, &request, self.left()).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: CallError) -> Failure {
        match error {
            CallError::Timeout(_) => {
                Failure::timeout(format!("no answer from {} within {:?}", self.name(), self.limit))
                    .advise("--timeout gives it more time; what was asked for goes on there")
            }
            error => error.into(),
        }
    }

    async fn close(self) {
        self.node.shutdown().await;
    }
}

/// How long after the limit a step may still say that it was the one that took too long.
const STEP_FIRST: Duration = Duration::from_millis(250);

/// A node as the user writes it; without a host part it is one of this host.
pub(super) fn target(text: &str) -> Result<DialTarget, Failure> {
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
