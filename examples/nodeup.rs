//! Prints nodes as they come and go: `cargo run --example nodeup -- [NODE[=IP[:PORT]]…]`.
//!
//! Without arguments it finds the nodes of this host through EPMD.

use std::time::Duration;

use gusset::discovery::{LocalEpmd, Static};
use gusset::{Cookie, DialTarget, EpmdMode, Node, NodeEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    let targets = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<DialTarget>, _>>()?;
    // Short and long names do not mix: be called as those are that we shall meet.
    let long = targets.first().is_some_and(|target| target.name.is_long());
    let name = if long { "nodeup@127.0.0.1".to_owned() } else { format!("nodeup@{host}") };

    let builder = Node::builder(name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port);
    let builder = if targets.is_empty() {
        builder.discovery(LocalEpmd::new(port).every(Duration::from_secs(1)))
    } else {
        builder.discovery(Static::new(targets))
    };
    let node = builder.start().await?;
    println!("{} is up", node.name());
    let mut events = node.monitor_nodes();
    while let Some(event) = events.recv().await {
        match event {
            NodeEvent::Up { name, creation, hidden, .. } => println!("up   {name} creation={creation} hidden={hidden}"),
            NodeEvent::Down { name, reason, .. } => println!("down {name}: {reason}"),
            _ => {}
        }
    }
    Ok(())
}
