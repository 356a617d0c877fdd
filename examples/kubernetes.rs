//! A Rust service in a pod that joins the nodes of the pods around it, and prints who comes and goes.
//!
//! ```console
//! $ cargo run --example kubernetes -- app=myapp
//! ```
//!
//! In the pod it needs POD_IP and NAMESPACE (Downward API), RELEASE_NAME and RELEASE_COOKIE as the other pods have
//! them, and a service account that may get, list and watch pods; `docs/discovery.md` has the whole deployment.

use std::net::IpAddr;

use gusset::discovery::{DiscoveryEvent, Kubernetes, NameTemplate, own_name};
use gusset::{Cookie, EpmdMode, Node, NodeEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |key: &str| std::env::var(key).ok();
    let selector = std::env::args().nth(1).ok_or("which pods? give a label selector: app=myapp")?;
    let cookie = Cookie::new(variable("RELEASE_COOKIE").ok_or("RELEASE_COOKIE is not set")?)?;
    let epmd_port = variable("ERL_EPMD_PORT").and_then(|port| port.parse().ok()).unwrap_or(4369);

    // libcluster's mode `:dns`; `NameTemplate::ip()` is its mode `:ip`.
    let template = NameTemplate::dns();
    let own = own_name(&template, None, variable)?;
    let pods = match variable("NAMESPACE") {
        Some(namespace) => Kubernetes::pods(namespace, selector),
        None => Kubernetes::pods_here(selector),
    };
    let mut pods = pods.template(template);
    if let Some(address) = variable("POD_IP").and_then(|ip| ip.parse::<IpAddr>().ok()) {
        pods = pods.own_address(address);
    }

    let builder = Node::builder(own.name.as_str()).cookie(cookie).epmd(EpmdMode::Auto, epmd_port).discovery(pods);
    let (node, discovery) = builder.start_with_discovery().await?;
    println!("{} is up, named by {}", node.name(), own.source);
    let Some(discovery) = discovery else { return Ok(()) };
    let (mut nodes, mut news) = (node.monitor_nodes(), discovery.events());
    loop {
        tokio::select! {
            event = nodes.recv() => match event {
                Some(NodeEvent::Up { name, .. }) => println!("up   {name}"),
                Some(NodeEvent::Down { name, reason, .. }) => println!("down {name}: {reason}"),
                Some(_) => {}
                None => break,
            },
            Ok(event) = news.recv() => match event {
                DiscoveryEvent::Degraded { .. } | DiscoveryEvent::NotFindable { .. } => println!("warn {event}"),
                _ => {}
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    discovery.stop().await;
    node.shutdown().await;
    Ok(())
}
