//! A topic of `Phoenix.PubSub` on the terminal: what is broadcast is printed, what is typed is broadcast.
//!
//! ```console
//! $ cargo run --example pubsub_bridge -- MyApp.PubSub lobby myapp@HOST
//! hello
//! #{<<"event">> => <<"joined">>}
//! $ iex --sname myapp --cookie example -S mix phx.server
//! iex> Phoenix.PubSub.subscribe(MyApp.PubSub, "lobby")
//! iex> flush()
//! "hello"
//! iex> Phoenix.PubSub.broadcast(MyApp.PubSub, "lobby", %{"event" => "joined"})
//! ```

use std::io::BufRead;

use gusset::services::pubsub::{PubSub, RecvError, SCOPE};
use gusset::{Cookie, DialTarget, EpmdMode, Node};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(topic), Some(peer)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: pubsub_bridge PUBSUB TOPIC NODE [OWN_NAME]".into());
    };
    let peer: DialTarget = peer.parse()?;
    let own = arguments.next().unwrap_or_else(|| format!("bridge@{}", peer.name.host()));
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);

    let node = Node::builder(&own).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port).start().await?;
    let pubsub = PubSub::start(&node, name.as_str()).await?;
    let mut messages = pubsub.subscribe(&topic);

    // A moment after the connection is up the workers of the other side are known, and broadcasts reach them.
    let (_, mut changes) = node.pg(SCOPE)?.monitor(pubsub.adapter());
    node.connect(peer.clone()).await?;
    eprintln!("{own} is up, and waits for {name} on {}", peer.name);
    while !pubsub.nodes().contains(&peer.name) {
        changes.recv().await;
    }
    eprintln!("type what shall be broadcast on {topic}");

    let mut lines = typed_lines();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => println!("{}", message.term()?),
                Err(error @ RecvError::Lagged(_)) => eprintln!("{error}"),
                Err(error) => return Err(error.into()),
            },
            line = lines.recv() => match line {
                Some(line) => {
                    // From here, so that it is not printed here as well.
                    let workers = pubsub.broadcast_from(&messages, &topic, &line).await?;
                    eprintln!("broadcast to {workers} other nodes");
                }
                None => break,
            },
        }
    }
    node.shutdown().await;
    Ok(())
}

/// Reading from a terminal cannot be cancelled, so it has a thread of its own.
fn typed_lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
