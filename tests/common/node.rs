//! A gusset node inside the test process, in the cluster of a private epmd.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use gusset::{Cookie, EpmdMode, Message, Node, NodeBuilder, NodeEvent, NodeName, Process};

use super::{Beam, COOKIE, Epmd, LATER, SOON, unique, within};

/// A builder for a visible node on 127.0.0.1 with the cookie of the fixtures.
pub fn builder(epmd: &Epmd, name: &str) -> NodeBuilder {
    builder_at(epmd.port(), name)
}

/// The same for an EPMD that is known by its port alone.
pub fn builder_at(epmd_port: u16, name: &str) -> NodeBuilder {
    Node::builder(format!("{name}@127.0.0.1"))
        .cookie(Cookie::new(COOKIE).expect("a cookie"))
        .listen(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 0..=0)
        .epmd(EpmdMode::External, epmd_port)
}

/// A visible node with a name that no other test has.
pub async fn start(epmd: &Epmd) -> Node {
    builder(epmd, &unique("gusset")).start().await.expect("the node starts")
}

/// A hidden one.
pub async fn start_hidden(epmd: &Epmd) -> Node {
    builder(epmd, &unique("hidden")).hidden().start().await.expect("the node starts")
}

/// The name of a BEAM node.
pub fn name_of(beam: &Beam) -> NodeName {
    beam.node_name.parse().expect("the name of a node")
}

/// The name of a gusset node as Erlang writes the atom.
pub fn atom(node: &Node) -> String {
    format!("'{}'", node.name())
}

/// Connects from this side.
pub async fn connect(node: &Node, beam: &Beam) {
    within(SOON, "connect", node.connect(name_of(beam))).await.expect("connects");
}

/// The next message of a process, as Erlang prints it.
pub async fn next(process: &mut Process) -> String {
    let message = within(SOON, "a message", process.recv()).await.expect("alive");
    message.term().expect("readable").to_string()
}

/// Waits until the node has an event that `wanted` takes.
pub async fn event<T>(
    events: &mut gusset::node::NodeEvents,
    what: &str,
    mut wanted: impl FnMut(&NodeEvent) -> Option<T>,
) -> T {
    within(LATER, what, async {
        loop {
            let event = events.recv().await.expect("the node runs");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    })
    .await
}

/// Waits until a condition on this side holds.
pub async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    within(limit, what, async {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            pause.tick().await;
        }
    })
    .await
}

/// The reason of a trapped exit, or of a `DOWN`, as Erlang prints it.
pub fn reason_of(message: &Message) -> Option<String> {
    match message {
        Message::Exit { reason, .. } | Message::Down { reason, .. } => Some(reason.to_string()),
        _ => None,
    }
}

/// A gusset and a BEAM of every release, connected; `check` runs for each pair.
pub async fn with_each<F: Future<Output = ()>>(check: impl Fn(Node, Beam) -> F) {
    for otp in super::otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, super::BeamOptions::default()).await;
        let node = start(&epmd).await;
        connect(&node, &beam).await;
        check(node.clone(), beam).await;
        node.shutdown().await;
    }
}
