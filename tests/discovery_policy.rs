//! Whom a node dials of those that discovery found, and how soon again: against real BEAMs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::node::{atom, builder, name_of, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use futures_util::future::BoxFuture;
use gusset::discovery::{
    Candidate, Desired, DiscoveryEvent, DiscoveryHandle, HeldBack, LinkStatus, ReconcileConfig, Reporter, Static,
    Strategy,
};
use gusset::ops::{Observer, PeerState, ReadyConfig};
use gusset::{Node, NodeName};
use tokio::sync::watch;

/// A strategy that reports what the test says.
struct Told(watch::Receiver<Vec<Candidate>>);

impl Strategy for Told {
    fn kind(&self) -> &'static str {
        "told"
    }

    fn run(&self, _own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        let mut told = self.0.clone();
        Box::pin(async move {
            loop {
                report.desired(Desired::new(told.borrow_and_update().iter().cloned()));
                if told.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

fn candidate(beam: &Beam) -> Candidate {
    Candidate::new(name_of(beam).into())
}

/// A hidden node: `global` leaves it alone, so that its links are those that discovery makes.
async fn start(
    epmd: &Epmd,
    candidates: watch::Receiver<Vec<Candidate>>,
    change: impl FnOnce(&mut ReconcileConfig),
) -> (Node, DiscoveryHandle) {
    let mut config = ReconcileConfig::default();
    change(&mut config);
    let builder = builder(epmd, &unique("chooser")).hidden().reconcile(config);
    let (node, discovery) = builder.topology("told", Arc::new(Told(candidates))).start_with_discovery().await.unwrap();
    (node, discovery.unwrap())
}

fn links(discovery: &DiscoveryHandle, wanted: LinkStatus) -> Vec<String> {
    let peers = discovery.snapshot().peers.into_iter();
    peers.filter(|peer| peer.link == wanted).map(|peer| peer.name.to_string()).collect()
}

#[tokio::test]
async fn no_more_links_are_made_than_the_limit_and_the_next_one_follows_a_lost_one() {
    let mut beams = Vec::new();
    let epmd = Epmd::start(&require!(otp::get(27))).await;
    for release in [25, 27, 29] {
        beams.push(Beam::start(&require!(otp::get(release)), &epmd, BeamOptions::default().hidden()).await);
    }
    let (_told, candidates) = watch::channel(beams.iter().map(candidate).collect::<Vec<_>>());
    let (node, discovery) = start(&epmd, candidates, |config| config.policy.max_peers = NonZeroUsize::new(2)).await;
    until("two links", LATER, || node.connected_nodes().len() == 2).await;
    let observer = Observer::start(&node, Some(&discovery), ReadyConfig::new(2, Duration::ZERO));
    let held = LinkStatus::HeldBack(HeldBack::LimitReached);
    until("the third is held back", SOON, || links(&discovery, held).len() == 1).await;
    let third = links(&discovery, held).remove(0);
    let status = observer.status();
    let shown = status.peers.iter().find(|peer| peer.name == third).unwrap();
    assert_eq!((shown.state, shown.held_back.as_deref()), (PeerState::HeldBack, Some("limit_reached")));
    assert_eq!((status.counts.held_back, status.counts.connected), (1, 2));
    let metrics = observer.metrics();
    for line in [
        "gusset_cluster_nodes{state=\"held_back\"} 1\n",
        "gusset_cluster_held_back_nodes{reason=\"limit_reached\"} 1\n",
        "gusset_discovery_updates_total{topology=\"told\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }

    // Who comes from the other side comes in, and nobody has to go for that.
    let at = beams.iter().position(|beam| beam.node_name == third).unwrap();
    assert_eq!(beams[at].value(&format!("net_kernel:connect_node({})", atom(&node))).await, "true");
    until("all three", SOON, || node.connected_nodes().len() == 3).await;
    beams[at].value(&format!("erlang:disconnect_node({})", atom(&node))).await;
    until("two again", SOON, || node.connected_nodes().len() == 2).await;
    assert_eq!(links(&discovery, held), std::slice::from_ref(&third));

    // And when one of the two dies, the third is dialled.
    let dies = beams.iter_mut().find(|beam| beam.node_name != third).unwrap();
    dies.kill9().await;
    let third: NodeName = third.parse().unwrap();
    until("the third is connected", LATER, || node.is_connected(&third)).await;
    assert_eq!(node.connected_nodes().len(), 2);
    node.shutdown().await;
}

#[tokio::test]
async fn nodes_of_another_release_are_not_dialled_and_links_to_them_stay() {
    let epmd = Epmd::start(&require!(otp::get(27))).await;
    let old = Beam::start(&require!(otp::get(25)), &epmd, BeamOptions::default().hidden()).await;
    let new = Beam::start(&require!(otp::get(29)), &epmd, BeamOptions::default().hidden()).await;
    let found = |own: Option<NodeName>| {
        let mut all = vec![candidate(&old).with_release(Some("v1")), candidate(&new).with_release(Some("v2"))];
        all.extend(own.map(|own| Candidate::new(own.into()).with_release(Some("v2"))));
        all
    };
    let (tell, candidates) = watch::channel(found(None));
    let (node, discovery) = start(&epmd, candidates, |config| config.policy.release_gate = true).await;
    let mut events = discovery.events();
    // Nobody can say which release is ours, and after a while that is told.
    let unknown = within(LATER, "a word about the unknown release", async {
        loop {
            if let event @ DiscoveryEvent::ReleaseUnknown { .. } = events.recv().await.unwrap() {
                return event.to_string();
            }
        }
    });
    assert!(unknown.await.contains("2 nodes that have one are not dialled"));
    assert_eq!(links(&discovery, LinkStatus::HeldBack(HeldBack::OwnReleaseUnknown)).len(), 2);
    assert!(node.connected_nodes().is_empty());

    tell.send(found(Some(node.name().clone()))).unwrap();
    until("our release", LATER, || node.connected_nodes() == [name_of(&new)]).await;
    let held = LinkStatus::HeldBack(HeldBack::OtherRelease);
    assert_eq!(links(&discovery, held), std::slice::from_ref(&old.node_name));
    assert_eq!(old.value("nodes(connected)").await, "[]");

    assert_eq!(old.value(&format!("net_kernel:connect_node({})", atom(&node))).await, "true");
    until("both", SOON, || node.connected_nodes().len() == 2).await;
    // More answers, one without us: the link stays.
    for own in [Some(node.name().clone()), None, Some(node.name().clone())] {
        let answers = discovery.snapshot().topologies[0].answers;
        tell.send(found(own)).unwrap();
        until("the answer is read", SOON, || discovery.snapshot().topologies[0].answers > answers).await;
    }
    assert_eq!(old.value("nodes(connected)").await, format!("[{}]", atom(&node)));
    assert!(node.is_connected(&name_of(&old)));
    node.shutdown().await;
}

#[tokio::test]
async fn a_beam_that_is_found_before_it_is_up_is_met_as_soon_as_it_is() {
    for release in [25, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let name = unique("booting");
        let target: NodeName = format!("{name}@127.0.0.1").parse().unwrap();
        let list = Arc::new(Static::new([target.clone().into()]));
        let (node, discovery) =
            builder(&epmd, &unique("early")).topology("list", list).start_with_discovery().await.unwrap();
        let discovery = discovery.unwrap();
        let in_vain = || discovery.snapshot().peers.first().is_some_and(|peer| peer.failures >= 2);
        until("it was dialled in vain", SOON, in_vain).await;
        let registered = async {
            while !epmd.names().await.iter().any(|(known, _)| *known == name) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Instant::now()
        };
        let connected = async {
            until("it is met", LATER, || node.is_connected(&target)).await;
            Instant::now()
        };
        let (_beam, up, met) = tokio::join!(Beam::start(&otp, &epmd, BeamOptions::named(&name)), registered, connected);
        let took = met.saturating_duration_since(up);
        println!("OTP {release}: met {took:?} after it had registered");
        assert!(took < Duration::from_secs(1), "OTP {release}: {took:?}");
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_that_was_named_by_hand_is_met_again_soon_after_a_long_absence() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let name = unique("named");
    let mut beam = Beam::start(&otp, &epmd, BeamOptions::named(&name)).await;
    let target = name_of(&beam);
    let list = Arc::new(Static::new([target.clone().into()]));
    let mut config = ReconcileConfig::default();
    // The time in which it counts as starting is over, and pauses have grown.
    config.boot_window = Duration::ZERO;
    let builder = builder(&epmd, &unique("loyal")).reconcile(config).topology("list", list);
    let (node, discovery) = builder.start_with_discovery().await.unwrap();
    let discovery = discovery.unwrap();
    until("it is connected", LATER, || node.is_connected(&target)).await;
    beam.kill9().await;
    // 1, 2, 4 and then 5 seconds, each a fifth more or less.
    within(LATER, "a pause that no longer grows", async {
        while discovery.snapshot().peers[0].failures < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let pause = match discovery.snapshot().peers[0].link {
        LinkStatus::Waiting { retry_in } => retry_in,
        link => panic!("{link:?}"),
    };
    assert!(pause <= Duration::from_secs(6), "{pause:?}");
    let _again = Beam::start(&otp, &epmd, BeamOptions::named(&name)).await;
    let back = Instant::now();
    until("it is connected again", LATER, || node.is_connected(&target)).await;
    assert!(back.elapsed() < Duration::from_millis(6500), "{:?}", back.elapsed());
    node.shutdown().await;
}
