//! The nodes that are registered with the EPMD of this host.
//!
//! EPMD knows names and ports only, so the host part is taken from our own name. A name that vanishes is no
//! proof that the node is gone: an EPMD that was started again has forgotten everybody.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};

use super::desired::{Candidate, Desired, SelfView};
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter, Strategy};
use crate::net::{DialTarget, EpmdClient, EpmdError};
use crate::proto::NodeName;

/// Asks the EPMD of this host again and again.
#[derive(Debug, Clone)]
pub struct LocalEpmd {
    client: EpmdClient,
    every: Duration,
}

impl LocalEpmd {
    /// The EPMD on 127.0.0.1 at this port (4369, or `ERL_EPMD_PORT`).
    pub fn new(port: u16) -> Self {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }

    /// The EPMD at an address; the nodes are dialled there too.
    pub fn at(ip: IpAddr, port: u16) -> Self {
        Self { client: EpmdClient::new(ip, port), every: POLL_EVERY }
    }

    /// How often it is asked (2 seconds if not given).
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause.max(SHORTEST_PAUSE);
        self
    }

    fn desired(&self, own: &NodeName, names: Vec<(String, u16)>) -> Desired {
        let ip = self.client.address().ip();
        let candidates = names.into_iter().filter_map(|(name, port)| {
            // EPMD takes names that no node can have; nobody can dial those.
            let name = NodeName::new(format!("{name}@{}", own.host())).ok()?;
            Some(Candidate::new(DialTarget::at(name, ip).with_port(port)).with_origin("EPMD of this host"))
        });
        let desired = Desired::new(candidates);
        let me = if desired.peers.contains_key(own) {
            SelfView::Called(own.clone())
        } else {
            SelfView::Missing(format!("the EPMD at {} does not know `{}`", self.client.address(), own.name()))
        };
        desired.with_me(me)
    }

    fn explain(&self, error: &EpmdError) -> DiscoveryError {
        let kind = match error {
            EpmdError::Unreachable { .. } | EpmdError::Io { .. } => DiscoveryErrorKind::Unreachable,
            EpmdError::Timeout { .. } => DiscoveryErrorKind::Timeout,
            _ => DiscoveryErrorKind::Other,
        };
        DiscoveryError::new(kind, error.to_string())
            .with_fix("start a BEAM node or `epmd -daemon` on this host, or check ERL_EPMD_PORT")
    }
}

impl Strategy for LocalEpmd {
    fn kind(&self) -> &'static str {
        "local-epmd"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            let mut polls = interval(this.every);
            polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                polls.tick().await;
                match this.client.names().await {
                    Ok(names) => report.desired(this.desired(&own, names)),
                    Err(error) => report.degraded(this.explain(&error)),
                }
            }
        })
    }
}

/// Quick for someone who starts a node beside us, and nothing for an EPMD to answer.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Each question is a connection.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    async fn within<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), work).await.expect("a report within ten seconds")
    }

    /// An EPMD that knows these, for one question.
    async fn answer(listener: &TcpListener, names: &str) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 3];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(request, [0, 1, b'n']);
        stream.write_all(&[&4369u32.to_be_bytes()[..], names.as_bytes()].concat()).await.unwrap();
    }

    #[tokio::test]
    async fn registered_names_become_nodes_of_this_host_and_an_epmd_that_dies_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let strategy = LocalEpmd::new(port).every(Duration::ZERO);
        let (report, reports) = Reporter::new();
        let running = tokio::spawn(strategy.run(name("me@vm.local"), report));

        within(answer(&listener, "name a at port 4001\nname me at port 4000\n")).await;
        let desired = within(reports.next()).await.desired.unwrap();
        let targets: Vec<String> = desired.peers.values().map(|candidate| candidate.target.to_string()).collect();
        assert_eq!(targets, ["a@vm.local=127.0.0.1:4001", "me@vm.local=127.0.0.1:4000"]);
        assert_eq!(desired.me, SelfView::Called(name("me@vm.local")));

        within(answer(&listener, "")).await;
        let desired = within(reports.next()).await.desired.unwrap();
        assert!(desired.peers.is_empty() && desired.gone.is_empty(), "an empty answer proves nothing");
        assert!(matches!(desired.me, SelfView::Missing(_)));

        drop(listener);
        let error = within(async {
            loop {
                if let Some(error) = reports.next().await.error {
                    return error;
                }
            }
        });
        assert_eq!(error.await.kind, DiscoveryErrorKind::Unreachable);
        running.abort();
    }
}
