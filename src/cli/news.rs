//! What `gusset run` prints: a line when it is up, and one for everything that changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::json;

use super::home::FoundCookie;
use super::output::Output;
use crate::discovery::DiscoveryEvent;
use crate::etf::Creation;
use crate::net::EpmdMode;
use crate::node::{Node, NodeEvent};
use crate::proto::NodeName;
use crate::proto::epmd::DEFAULT_EPMD_PORT;

pub(super) fn hello(output: Output, node: &Node, found: &FoundCookie) {
    let is_hidden = node.config().hidden;
    let kind = if is_hidden { "hidden" } else { "visible" };
    let port = node.port().unwrap_or_default();
    let (name, creation) = (node.name().as_str(), node.creation().0);
    output.line(
        || {
            format!(
                "{name} is up ({kind}, port {port}, cookie from {origin})\n\
                 Try it from Elixir with the same cookie:\n\
                 \x20 {iex}\n\
                 \x20 iex> Node.connect(:\"{name}\")\n\
                 \x20 iex> :rpc.call(:\"{name}\", :gusset, :info, [])",
                origin = found.origin,
                iex = iex(node, found),
            )
        },
        || {
            json!({"event": "started", "node": name, "creation": creation, "port": port, "hidden": is_hidden,
                   "cookie_from": found.origin.to_string()})
        },
    );
}

/// The command line of an iex on this host that can connect to us.
fn iex(node: &Node, found: &FoundCookie) -> String {
    let host = node.name().host();
    let name = match (node.name().is_long(), host.parse::<IpAddr>()) {
        (false, _) => "--sname me".to_owned(),
        (true, Ok(IpAddr::V4(_))) => "--name me@127.0.0.1".to_owned(),
        (true, _) => format!("--name me@{host}"),
    };
    let mut flags = if host.contains(':') { vec!["-proto_dist inet6_tcp".to_owned()] } else { Vec::new() };
    let cookie = found.origin.iex_option();
    let epmd = &node.config().epmd;
    let variable = match epmd.mode {
        EpmdMode::None => {
            // It would listen on the same port of the same host, so it has to do without listening.
            let port = node.port().unwrap_or_default();
            flags.push(format!("-start_epmd false -erl_epmd_port {port} -dist_listen false"));
            String::new()
        }
        _ if epmd.port == DEFAULT_EPMD_PORT => String::new(),
        _ => format!("ERL_EPMD_PORT={} ", epmd.port),
    };
    let flags = if flags.is_empty() { String::new() } else { format!(" --erl \"{}\"", flags.join(" ")) };
    format!("{variable}iex {name}{cookie}{flags}")
}

/// Who is connected according to what was printed, so that each line is right for its own moment.
#[derive(Default)]
pub(super) struct Connected(BTreeMap<NodeName, u64>);

impl Connected {
    /// One line for a node that came or went.
    pub(super) fn tell(&mut self, output: Output, event: &NodeEvent) {
        match event {
            NodeEvent::Up { name, creation, hidden, connection } => {
                self.up(output, name, *connection, *creation, *hidden);
            }
            NodeEvent::Down { name, creation, hidden, connection, reason } => {
                if self.0.get(name) == Some(connection) {
                    self.0.remove(name);
                }
                let connected = self.0.len();
                output.line(
                    || format!("down  {name}: {reason} ({connected} connected)"),
                    || {
                        json!({"event": "nodedown", "node": name.as_str(), "creation": creation.0, "hidden": hidden,
                               "reason": reason, "connected": connected})
                    },
                );
            }
        }
    }

    pub(super) fn up(&mut self, output: Output, name: &NodeName, connection: u64, creation: Creation, hidden: bool) {
        if self.0.insert(name.clone(), connection) == Some(connection) {
            return;
        }
        let connected = self.0.len();
        output.line(
            || format!("up    {name}{} ({connected} connected)", if hidden { " (hidden)" } else { "" }),
            || {
                json!({"event": "nodeup", "node": name.as_str(), "creation": creation.0, "hidden": hidden,
                       "connected": connected})
            },
        );
    }
}

/// What discovery has to say beyond what node events tell.
pub(super) fn tell_discovery(output: Output, event: &DiscoveryEvent) {
    let (word, node) = match event {
        DiscoveryEvent::Discovered { target, .. } => ("found", Some(&target.name)),
        DiscoveryEvent::Removed { name, .. } => ("gone", Some(name)),
        DiscoveryEvent::ConnectFailed { name, tell: true, .. } => ("fail", Some(name)),
        DiscoveryEvent::Degraded { .. }
        | DiscoveryEvent::NotFindable { .. }
        | DiscoveryEvent::ReleaseUnknown { .. } => ("warn", None),
        DiscoveryEvent::Recovered { .. } => ("ok", None),
        _ => return,
    };
    output.line(
        || format!("{word:<5} {event}"),
        || json!({"event": "discovery", "kind": word, "node": node.map(NodeName::as_str), "text": event.to_string()}),
    );
}
