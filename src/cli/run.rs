//! `gusset run`: join the cluster, stay in it, and say who comes and goes.

use std::sync::{Arc, OnceLock};

use clap::Args;
use serde_json::json;

use super::Failure;
use super::home::{self, IfMissing, Origin};
use super::http::Web;
use super::identity;
use super::news::{self, Connected};
use super::options::SettingsArgs;
use super::output::Output;
use super::stop::Stop;
use crate::config::Settings;
use crate::discovery::{DiscoveryEvent, DiscoveryHandle, DiscoveryView};
use crate::node::Node;
use crate::services::Shell;

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset run                                       join the nodes of this machine
  gusset run --sname rust --connect iex@myhost     join one node, and through it its cluster
  gusset run --name rust@10.0.0.7 --dist-port 9100 --epmd none
  gusset run --discover kubernetes --basename myapp --kubernetes-selector app=myapp
  gusset run --config gusset.toml                  what `gusset config example` prints, filled in

The name is that of --name or --sname; else RELEASE_NODE, completed as RELEASE_DISTRIBUTION says;
else made from basename and POD_IP (and NAMESPACE with --mode dns); else basename@HOST.
An option counts before its variable, a variable before the file, and a variable that is empty is
as good as not set. `gusset config check` shows what comes out.
Stop it with Ctrl-C or SIGTERM; a second one ends it at once. With --http it is not ready first.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Print JSON objects, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

pub(super) async fn run(args: &RunArgs, settings: Settings) -> Result<(), Failure> {
    let output = Output::new(args.json);
    let mut stop = Stop::new()?;
    let name = identity::own_name(&settings.name)?;
    let found = home::cookie(settings.cookie.as_ref(), IfMissing::Make)?;
    if let Some(path) = settings.file() {
        tracing::info!(path = %path.display(), "configured by a file");
    }
    let builder = Node::builder(name.as_str()).config(settings.node_config(found.cookie.clone()));
    let builder =
        settings.topologies.iter().fold(builder.reconcile(settings.reconcile.clone()), |builder, topology| {
            builder.topology(topology.name.as_str(), topology.strategy.clone())
        });
    let found_nodes = Arc::new(OnceLock::new());
    let builder = if settings.shell { builder.shell(shell(&found_nodes)) } else { builder };
    let (node, discovery) = tokio::select! {
        started = builder.start_with_discovery() => started?,
        signal = stop.wait() => return Err(Failure::other(format!("stopped by {signal} before it was up"))),
    };
    if let Some(discovery) = &discovery {
        // Set once, right here.
        let _ = found_nodes.set(discovery.view());
    }
    let web = match Web::start(settings.http, &node, discovery.as_ref()).await {
        Ok(web) => web,
        Err(failure) => {
            node.shutdown().await;
            return Err(failure);
        }
    };
    let mut nodes = node.monitor_nodes();
    let mut news = discovery.as_ref().map(DiscoveryHandle::events);
    news::hello(output, &node, &found);
    if matches!(found.origin, Origin::HomeMade(_)) && settings.name.among_pods {
        let text =
            "this node has made a cookie of its own, which no pod has: set RELEASE_COOKIE, or give --cookie-file";
        output.line(
            || format!("warn  {text}"),
            || json!({"event": "discovery", "kind": "warn", "node": null, "text": text}),
        );
    }
    if let Some(address) = web.address() {
        output.line(
            || format!("health, metrics and status at http://{address}"),
            || json!({"event": "http", "address": address.to_string()}),
        );
    }
    let mut connected = Connected::default();
    // Whoever was faster than the stream of events; for the others their event says so.
    for peer in node.peers() {
        connected.up(output, &peer.name, peer.connection, peer.creation, peer.hidden);
    }
    let signal = loop {
        tokio::select! {
            event = nodes.recv() => match event {
                Some(event) => connected.tell(output, &event),
                None => break None,
            },
            event = next_news(&mut news) => match event {
                Some(event) => news::tell_discovery(output, &event),
                None => news = None,
            },
            signal = stop.wait() => {
                output.line(|| format!("stopping ({signal})"), || json!({"event": "stopping", "signal": signal}));
                break Some(signal);
            }
        }
    };
    let goodbye = async {
        web.drain(signal.unwrap_or("the node stopped"));
        if let Some(discovery) = discovery {
            discovery.stop().await;
        }
        web.let_them_see(signal).await;
        node.shutdown().await;
        web.stop().await;
    };
    tokio::select! {
        () = goodbye => {}
        signal = stop.wait_for_another() => return Err(Failure::other(format!("{signal} again: ended without saying goodbye"))),
    }
    output.line(|| "stopped".to_owned(), || json!({"event": "stopped"}));
    Ok(())
}

/// The shell of this node, which knows about discovery as soon as there is any.
fn shell(discovery: &Arc<OnceLock<DiscoveryView>>) -> Shell {
    let discovery = discovery.clone();
    Shell::new().fact("discovery", move || {
        let Some(view) = discovery.get() else { return "none".to_owned() };
        let snapshot = view.snapshot();
        let wanted = snapshot.peers.iter().filter(|peer| peer.state.is_some());
        let failing = wanted.clone().filter(|peer| peer.failing_for.is_some()).count();
        let topologies: Vec<_> = snapshot.topologies.iter().map(|topology| topology.name.to_string()).collect();
        let failing = if failing == 0 { String::new() } else { format!(", {failing} cannot be reached") };
        format!("{}: {} nodes wanted{failing}", topologies.join(", "), wanted.count())
    })
}

async fn next_news(news: &mut Option<tokio::sync::broadcast::Receiver<DiscoveryEvent>>) -> Option<DiscoveryEvent> {
    use tokio::sync::broadcast::error::RecvError;
    let Some(receiver) = news else { return std::future::pending().await };
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "events of discovery came faster than they were printed")
            }
            Err(RecvError::Closed) => return None,
        }
    }
}
