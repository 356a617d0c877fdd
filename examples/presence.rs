//! Is present in a topic of a `Phoenix.Presence`, and prints who comes and goes:
//! `cargo run --example presence -- MyApp.PubSub MyAppWeb.Presence room:lobby KEY NODE[=IP[:PORT]]…`.

use std::time::{SystemTime, UNIX_EPOCH};

use gusset::discovery::Static;
use gusset::services::pubsub::PubSub;
use gusset::services::tracker::{PresenceEvent, Tracker};
use gusset::{Cookie, DialTarget, EpmdMode, Node};
use serde::Serialize;

#[derive(Serialize)]
struct Meta {
    online_at: u64,
    language: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: presence PUBSUB TRACKER TOPIC KEY NODE…");
    let (pubsub, tracker, topic, key) = (next()?, next()?, next()?, next()?);
    let targets = arguments.map(|text| text.parse()).collect::<Result<Vec<DialTarget>, _>>()?;
    let long = targets.first().is_some_and(|target| target.name.is_long());
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let name = format!("presence-{}@{}", std::process::id(), if long { "127.0.0.1" } else { &host });
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    let builder = Node::builder(name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port);
    let node = builder.discovery(Static::new(targets)).start().await?;

    let pubsub = PubSub::start(&node, pubsub.as_str()).await?;
    let tracker = Tracker::start(&node, &pubsub, tracker.as_str())?;
    let (_, mut events) = tracker.monitor(&topic);
    let online_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let process = node.process();
    tracker.track(process.pid(), &topic, key.as_str(), &Meta { online_at, language: "Rust" })?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(PresenceEvent::Diff { joins, leaves, .. }) => {
                    leaves.iter().for_each(|presence| println!("- {} {}", presence.key(), presence.meta()));
                    joins.iter().for_each(|presence| println!("+ {} {}", presence.key(), presence.meta()));
                }
                _ => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    // Others see at once that this one has left.
    node.shutdown().await;
    Ok(())
}
