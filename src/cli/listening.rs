//! What `gusset run` takes part in because it was told to, and prints: topics of `Phoenix.PubSub`, scopes of `pg`.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::task::JoinSet;

use super::Failure;
use super::output::Output;
use crate::config::Topic;
use crate::etf::{Pid, Term};
use crate::node::Node;
use crate::services::pg::{GroupEvent, Scope};
use crate::services::pubsub::{PubSub, PubSubOptions, RecvError, Subscription};

/// Subscribes, joins and prints until it is dropped.
pub(super) struct Listening(#[expect(dead_code, reason = "what it holds ends with it")] JoinSet<()>);

impl Listening {
    /// Starts what was asked for.
    pub(super) async fn start(
        node: &Node,
        topics: &[Topic],
        scopes: &[String],
        output: Output,
    ) -> Result<Self, Failure> {
        let mut tasks = JoinSet::new();
        let mut pubsubs = BTreeMap::new();
        for topic in topics {
            let Topic { pubsub: name, pool_size, topic } = topic;
            if !pubsubs.contains_key(name) {
                let options = PubSubOptions::named(name).pool_size(*pool_size);
                let started = PubSub::start(node, options).await;
                let started = started.map_err(|error| Failure::other(format!("--subscribe {name}: {error}")))?;
                pubsubs.insert(name, started);
            }
            if let Some(pubsub) = pubsubs.get(name) {
                tasks.spawn(print_topic(pubsub.clone(), name.clone(), pubsub.subscribe(topic), output));
            }
        }
        for name in scopes {
            let scope = node.pg(name).map_err(|error| Failure::other(format!("--pg {name}: {error}")))?;
            tasks.spawn(print_scope(scope, output));
        }
        Ok(Self(tasks))
    }
}

/// Keeps the PubSub, and prints what comes.
async fn print_topic(_pubsub: PubSub, pubsub: String, mut subscription: Subscription, output: Output) {
    let topic = subscription.topic().to_owned();
    loop {
        match subscription.recv().await {
            Ok(broadcast) => match broadcast.term() {
                Ok(term) => {
                    let term = term.to_string();
                    output.line(
                        || format!("cast  {pubsub} {topic}: {term}"),
                        || json!({"event": "broadcast", "pubsub": pubsub, "topic": topic, "term": term}),
                    );
                }
                Err(error) => {
                    tracing::warn!(pubsub, topic, %error, "a broadcast that cannot be shown")
                }
            },
            Err(RecvError::Closed) => return,
            Err(lagged) => tracing::warn!(pubsub, topic, %lagged, "broadcasts came faster than they were printed"),
        }
    }
}

async fn print_scope(scope: Scope, output: Output) {
    // Whoever is too slow for the events begins again with what is there.
    loop {
        let (groups, mut events) = scope.monitor_scope();
        for (group, members) in groups {
            print_members(&scope, "join", &group, &members, output);
        }
        loop {
            match events.recv().await {
                Some(GroupEvent::Join { group, members }) => print_members(&scope, "join", &group, &members, output),
                Some(GroupEvent::Leave { group, members }) => print_members(&scope, "leave", &group, &members, output),
                Some(GroupEvent::Lagged) => break,
                None => return,
            }
        }
    }
}

fn print_members(scope: &Scope, kind: &'static str, group: &Term, members: &[Pid], output: Output) {
    let members: Vec<_> = members.iter().map(|pid| format!("{pid} on {}", pid.node)).collect();
    output.line(
        || format!("{kind:<5} {} {group}: {}", scope.name(), members.join(", ")),
        || {
            json!({"event": "group", "kind": kind, "scope": scope.name().as_str(), "group": group.to_string(),
                   "members": members})
        },
    );
}
