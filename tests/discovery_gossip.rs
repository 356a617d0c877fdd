//! Gossip with real Elixir nodes on loopback: both directions, by multicast and broadcast, with and without a secret.

#![cfg(feature = "gossip")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::node::{self, until};
use common::{COOKIE, Epmd, LATER, NOT_INHERITED, Otp, PortLease, Program, otp, unique, within};
use gusset::discovery::{Desired, Gossip, Reporter, Reports, SelfView, Strategy};
use gusset::proto::NodeName;
use tempfile::TempDir;
use tokio::process::Command;

/// The pauses between heartbeats are up to this instead of five seconds.
const PAUSE: Duration = Duration::from_millis(200);

/// An Elixir node that runs `interop/elixir/gossip.exs`.
struct Elixir {
    name: String,
    program: Program,
    _home: TempDir,
}

impl Elixir {
    async fn start(otp: &Otp, epmd: &Epmd, port: u16, how: &str, dial: &str, secret: Option<&str>) -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let name = format!("{}@127.0.0.1", unique("elixir"));
        let mut command = Command::new(otp.program("elixir"));
        for variable in NOT_INHERITED {
            command.env_remove(variable);
        }
        command
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("LC_ALL", "C.UTF-8")
            .env("ERL_EPMD_PORT", epmd.port().to_string())
            .args(["--name", &name, "--cookie", COOKIE])
            .args(["--erl", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/elixir/gossip.exs"))
            .args([&port.to_string(), how, dial, &PAUSE.as_millis().to_string()])
            .args(secret);
        let program = Program::start("elixir", command).expect("elixir starts");
        let elixir = Self { name, program, _home: home };
        elixir.says(&format!("ready {}", elixir.name)).await;
        elixir
    }

    async fn says(&self, line: &str) {
        let said = |text: &str| text.lines().any(|said| said.trim_end() == line).then_some(());
        let said = self.program.output().until(line, LATER, said).await;
        said.unwrap_or_else(|error| panic!("{error}"));
    }

    fn never_said(&self, word: &str) -> bool {
        !self.program.output().text().lines().any(|line| line.starts_with(word))
    }
}

fn gossip(port: u16) -> Gossip {
    Gossip::new().port(port).group_interface([127, 0, 0, 1].into()).longest_pause(PAUSE)
}

fn broadcast(port: u16) -> Gossip {
    Gossip::new().port(port).group([127, 255, 255, 255].into()).broadcast_only().longest_pause(PAUSE)
}

/// Waits for an answer as wanted.
async fn answer(reports: &Reports, what: &str, wanted: impl Fn(&Desired) -> bool) -> Desired {
    within(LATER, what, async {
        loop {
            let report = reports.next().await;
            assert_eq!(report.error, None);
            if let Some(desired) = report.desired.filter(|desired| wanted(desired)) {
                return desired;
            }
        }
    })
    .await
}

#[tokio::test]
async fn elixir_nodes_are_found_and_hear_us_by_multicast_with_and_without_a_secret() {
    for (release, secret) in [(25, None), (27, Some("a secret"))] {
        let otp = common::require!(otp::get(release));
        let (epmd, port) = (Epmd::start(&otp).await, PortLease::new());
        let elixir = Elixir::start(&otp, &epmd, port.port(), "multicast", "listen", secret).await;
        let strategy = secret.iter().fold(gossip(port.port()), |strategy, secret| strategy.secret(*secret));
        let counters = strategy.counters();
        let builder = node::builder(&epmd, &unique("gusset")).topology("gossip", Arc::new(strategy));
        let node = builder.start().await.expect("the node starts");
        elixir.says(&format!("heard {}", node.name())).await;
        elixir.says(&format!("nodeup {}", node.name())).await;
        assert!(counters.heard() >= 1);
        assert_eq!((counters.malformed(), counters.unencrypted(), counters.undecipherable()), (0, 0, 0));
        assert!(elixir.never_said("dropped"), "{}", elixir.program.output().text());
        node.shutdown().await;
    }
}

#[tokio::test]
async fn elixir_nodes_that_hear_us_dial_us_by_broadcast_with_and_without_a_secret() {
    for (release, secret) in [(27, None), (25, Some("a secret"))] {
        let otp = common::require!(otp::get(release));
        let (epmd, port) = (Epmd::start(&otp).await, PortLease::new());
        let node = node::start(&epmd).await;
        let elixir = Elixir::start(&otp, &epmd, port.port(), "broadcast", "dial", secret).await;
        let strategy = secret.iter().fold(broadcast(port.port()), |strategy, secret| strategy.secret(*secret));
        let (report, reports) = Reporter::new();
        // It announces us, and nobody here acts on what it finds.
        let running = tokio::spawn(strategy.run(node.name().clone(), report));
        elixir.says(&format!("nodeup {}", node.name())).await;
        let peer: NodeName = elixir.name.parse().unwrap();
        let desired = answer(&reports, "the elixir node", |desired| desired.peers.contains_key(&peer)).await;
        assert_eq!(desired.peers[&peer].target.to_string(), elixir.name, "its host part leads somewhere");
        assert!(desired.gone.is_empty());
        running.abort();
        node.shutdown().await;
    }
}

#[tokio::test]
async fn who_has_another_secret_or_none_is_not_heard_and_counted() {
    let otp = common::require!(otp::get(27));
    let (epmd, port) = (Epmd::start(&otp).await, PortLease::new());
    let plain = Elixir::start(&otp, &epmd, port.port(), "multicast", "listen", None).await;
    let strategy = gossip(port.port()).secret("ours");
    let counters = strategy.counters();
    let (report, reports) = Reporter::new();
    let running = tokio::spawn(strategy.run("me@127.0.0.1".parse().unwrap(), report));
    until("an unencrypted packet", LATER, || counters.unencrypted() >= 2).await;
    plain.says("dropped unknown").await;
    let other = Elixir::start(&otp, &epmd, port.port(), "multicast", "listen", Some("theirs")).await;
    until("an undecipherable packet", LATER, || counters.undecipherable() >= 2).await;
    other.says("dropped undecipherable").await;
    assert_eq!(counters.heard(), 0);
    assert!(reports.take().and_then(|report| report.desired).is_none_or(|desired| desired.peers.is_empty()));
    assert!(plain.never_said("heard") && other.never_said("heard"));
    running.abort();
}

#[tokio::test]
async fn two_of_us_find_each_other_and_a_name_that_leads_nowhere_is_dialled_where_it_was_heard() {
    let port = PortLease::new();
    let (one, other) = ("one@does-not-exist.invalid", "other@127.0.0.1");
    let (report, others) = Reporter::new();
    let first = tokio::spawn(gossip(port.port()).run(one.parse().unwrap(), Reporter::new().0));
    let second = tokio::spawn(gossip(port.port()).run(other.parse().unwrap(), report));
    let heard = |desired: &Desired| desired.peers.len() == 1 && desired.me == SelfView::Called(other.parse().unwrap());
    let desired = answer(&others, "the other one", heard).await;
    let target = &desired.peers.values().next().unwrap().target;
    assert_eq!(target.to_string(), format!("{one}=127.0.0.1"));
    first.abort();
    second.abort();
}
