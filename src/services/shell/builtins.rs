//! The commands that every shell has.

use std::time::Duration;

use super::command::{CommandError, Commands, Invocation};
use super::line::{self, Call};
use super::text::{show, table};
use crate::atom;
use crate::etf::Term;
use crate::node::{Class, Exception, Node, Process, Target};
use crate::proto::NodeName;
use crate::services::RPC_TIMEOUT;
use crate::services::functions::{Arity, apply};
use crate::services::system_info::version_text;

/// Commands that end the session, which sees to it itself.
pub(super) const LEAVING: [&str; 3] = ["exit", "q", "quit"];

pub(super) fn add(commands: &mut Commands) {
    commands.add("help", "help: this", |invocation| async move { Ok(help(&invocation)) });
    commands.add(
        "info",
        "info: this node, and what it is connected to",
        |invocation| async move { Ok(info(&invocation)) },
    );
    commands.add(
        "nodes",
        "nodes: the nodes that are connected",
        |invocation| async move { Ok(nodes(&invocation.node())) },
    );
    commands.add("processes", "processes: the processes of this node", |invocation| async move {
        Ok(processes(&invocation.node()))
    });
    commands.add("registered", "registered: the names of processes of this node", |invocation| async move {
        let names: Vec<_> = invocation.node().registered().iter().map(|name| [name.to_string()]).collect();
        Ok(table(None, &names))
    });
    commands.add("functions", "functions [MODULE]: what can be called here", |invocation| async move {
        Ok(functions(&invocation))
    });
    commands.add("whereis", "whereis NAME: the process that has a name, here or in global", |invocation| async move {
        whereis(&invocation)
    });
    commands.add("global", "global: the names and nodes that global knows", |invocation| async move {
        Ok(global(&invocation.node()))
    });
    commands.add("call", "call [NODE] M:F(A, …): runs a function here or on a node", call);
    commands.add("send", "send NAME TERM: sends a message to a process of this node", send);
    // These are the session's own business: see there.
    commands.add("flush", "flush: shows the messages that were sent to this shell", |_| async { Ok("") });
    for name in LEAVING {
        commands.add(name, &format!("{name}: leaves; this node goes on"), |_| async { Ok("") });
    }
}

fn help(invocation: &Invocation) -> String {
    let rows: Vec<_> = invocation
        .commands
        .all()
        .map(|(_, command)| {
            let (usage, meaning) = command.help.split_once(": ").unwrap_or((command.help.as_str(), ""));
            [usage.to_owned(), meaning.to_owned()]
        })
        .collect();
    format!("{}\n{MORE_HELP}", table(None, &rows))
}

const MORE_HELP: &str = "\
Module:function(Args…) is a call without the word. A term in Erlang syntax stands for itself. There are no
variables, funs or operators here. One line is one command; a full stop behind it does no harm.";

fn info(invocation: &Invocation) -> String {
    let node = invocation.node();
    let kind = if node.config().hidden { "hidden" } else { "visible" };
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    row("node", format!("{} ({kind})", node.name()));
    row("version", version_text().trim_end().to_owned());
    row("up for", time(node.uptime()));
    row("os pid", std::process::id().to_string());
    row("port", node.port().map_or("none: nobody can connect".to_owned(), |port| port.to_string()));
    row("processes", format!("{}, {} of them with a name", node.process_count(), node.registered().len()));
    for (name, tell) in &invocation.commands.facts {
        row(name, tell());
    }
    let connected = match node.peers().len() {
        0 => "no node is connected".to_owned(),
        _ => nodes(&node),
    };
    format!("{}\n\n{connected}", table(None, &rows))
}

fn nodes(node: &Node) -> String {
    let peers = node.peers();
    let row = |peer: &crate::node::PeerInfo| {
        let kind = if peer.hidden { "hidden" } else { "visible" };
        let stats = &peer.stats;
        [
            peer.name.to_string(),
            kind.to_owned(),
            time(peer.age),
            stats.received_bytes.to_string(),
            stats.sent_bytes.to_string(),
            stats.queued_bytes.to_string(),
        ]
    };
    match peers.is_empty() {
        true => "no node is connected".to_owned(),
        false => {
            let head = ["node", "", "up for", "bytes in", "bytes out", "queued"];
            table(Some(head), &peers.iter().map(row).collect::<Vec<_>>())
        }
    }
}

fn processes(node: &Node) -> String {
    let rows: Vec<_> = node
        .processes()
        .into_iter()
        .map(|process| {
            let names: Vec<_> = process.names.iter().map(ToString::to_string).collect();
            [
                process.pid.to_string(),
                names.join(" "),
                process.label,
                process.queued.to_string(),
                process.links.to_string(),
            ]
        })
        .collect();
    table(Some(["pid", "name", "what", "messages", "links"]), &rows)
}

fn functions(invocation: &Invocation) -> String {
    let module = invocation.text();
    let rows: Vec<_> = invocation
        .node()
        .exports()
        .into_iter()
        .filter(|(name, _, _)| module.is_empty() || *name == module)
        .map(|(module, function, arity)| {
            let arity = match arity {
                Arity::Exactly(arity) => arity.to_string(),
                Arity::Any => "any number".to_owned(),
            };
            [format!("{}:{}", Term::Atom(module), Term::Atom(function)), arity]
        })
        .collect();
    if rows.is_empty() { "none".to_owned() } else { table(Some(["function", "arguments"]), &rows) }
}

fn whereis(invocation: &Invocation) -> Result<String, CommandError> {
    let node = invocation.node();
    let text = invocation.text();
    if text.is_empty() {
        return Err("whereis NAME: which name?".into());
    }
    let name: Term = text.parse().or_else(|error| Term::atom(text).map_err(|_| error))?;
    let here = name.as_atom().and_then(|name| node.whereis(name.as_str()));
    let global = node.global().and_then(|global| global.whereis(&name));
    Ok(match (here, global) {
        (Some(pid), None) => pid.to_string(),
        (None, Some(pid)) => format!("{pid} (global)"),
        (Some(pid), Some(global)) => format!("{pid}\n{global} (global)"),
        (None, None) => "undefined".to_owned(),
    })
}

fn global(node: &Node) -> String {
    let Some(global) = node.global() else { return "this node takes no part in global: it is hidden".to_owned() };
    let rows: Vec<_> = global
        .names()
        .iter()
        .map(|name| {
            let pid = global.whereis(name).map_or("(ended)".to_owned(), |pid| pid.to_string());
            [show(name), pid]
        })
        .collect();
    let names = if rows.is_empty() { "no names".to_owned() } else { table(Some(["name", "pid"]), &rows) };
    let nodes: Vec<_> = global.known().iter().map(ToString::to_string).collect();
    format!("{names}\n\nnodes: {}", if nodes.is_empty() { "none".to_owned() } else { nodes.join(" ") })
}

async fn call(invocation: Invocation) -> Result<String, CommandError> {
    let text = invocation.text().to_owned();
    if let Some(call) = line::call(&text)? {
        return run(invocation.into_process(), None, call).await;
    }
    let usage =
        || -> CommandError { "call [NODE] M:F(A, …): `call lists:seq(1, 3)`, `call a@host erlang:node()`".into() };
    let (node, text) = text.split_once(char::is_whitespace).ok_or_else(usage)?;
    let node = node.trim_matches([':', '\'', '"', ',']);
    let call = line::call(text.trim())?.ok_or_else(usage)?;
    run(invocation.into_process(), Some(NodeName::new(node)?), call).await
}

/// Runs a function of this node, or of another, and shows what it gives.
pub(super) async fn run(process: Process, node: Option<NodeName>, call: Call) -> Result<String, CommandError> {
    let Call { module, function, args } = call;
    let module = module.unwrap_or(atom!("erlang"));
    let what = format!("{}:{}/{}", Term::Atom(module.clone()), Term::Atom(function.clone()), args.len());
    let outcome = match node {
        Some(node) if node != *process.node().name() => {
            let here = process.node();
            let leader = process.group_leader();
            let answer = here.rpc_payload_led_by(leader, &node, module, function, args, RPC_TIMEOUT).await;
            match answer {
                Ok(value) => Ok(value.term()?),
                Err(crate::node::CallError::Exception(exception)) => Err(exception),
                Err(error) => return Err(format!("{what} on {node}: {error}").into()),
            }
        }
        _ => apply(process, &module, &function, args).await,
    };
    outcome.map(|value| show(&value)).map_err(|exception| raised(&what, &exception).into())
}

fn raised(what: &str, exception: &Exception) -> String {
    if exception.class == Class::Error && exception.reason.is_atom("undef") {
        return format!("{what} is not there; `functions` lists what is");
    }
    let mut text = format!("exception {}: {}", exception.class, show(&exception.reason));
    for frame in exception.stack.iter().take(STACK_FRAMES) {
        text.push_str(&format!("\n     in {}", show(frame)));
    }
    text
}

/// Of the stack the top is what helps.
const STACK_FRAMES: usize = 8;

async fn send(mut invocation: Invocation) -> Result<String, CommandError> {
    let text = invocation.text().to_owned();
    let Some((name, rest)) = line::name(text.trim_start_matches(':')) else {
        return Err("send NAME TERM: `send inbox {hello, <<\"world\">>}`".into());
    };
    let rest = rest.trim_start().trim_start_matches(',');
    let message: Term = rest.parse()?;
    let name = Term::atom(&name)?;
    let to = name.as_atom().filter(|name| invocation.node().whereis(name.as_str()).is_some());
    let Some(to) = to else { return Err(format!("no process is registered as {name}").into()) };
    invocation.process().send(Target::Name(to.clone()), &message).await?;
    Ok(show(&message))
}

/// A time, in its two largest units.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let of = |seconds| time(Duration::from_secs(seconds));
        assert_eq!([of(0), of(59), of(61)], ["0 s", "59 s", "1 min 1 s"]);
        assert_eq!([of(3600), of(90_061)], ["1 h 0 min", "1 d 1 h"]);
    }
}
