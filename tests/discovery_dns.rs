//! Discovery by DNS against a real name server, and against one that fails in the ways they do.

#![cfg(feature = "dns")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{Dnsmasq, PortLease, SOON, require, within};
use gusset::discovery::{
    Desired, DiscoveryError, DiscoveryErrorKind, Dns, NameTemplate, Reporter, Reports, SelfView, Strategy,
};
use gusset::net::Family;
use gusset::proto::NodeName;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const POLL: Duration = Duration::from_millis(100);

/// A running strategy, and what it said last.
struct Watched {
    reports: Reports,
    task: JoinHandle<()>,
    desired: Option<Desired>,
    error: Option<DiscoveryError>,
}

impl Watched {
    fn start(strategy: Dns) -> Self {
        let (report, reports) = Reporter::new();
        let task = tokio::spawn(strategy.every(POLL).run(name("me@10.0.0.1"), report));
        Self { reports, task, desired: None, error: None }
    }

    /// Follows the reports until one is as wanted. No report may ever say that a node is gone.
    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let report = self.reports.next().await;
                self.error = if report.healthy { None } else { report.error.or(self.error.take()) };
                if let Some(desired) = report.desired {
                    assert!(desired.gone.is_empty(), "a name server proves nothing: {:?}", desired.gone);
                    self.desired = Some(desired);
                }
                if reached(self) {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(SOON, waiting).await;
        assert!(waited.is_ok(), "{what}: not in time; targets {:?}, error {:?}", self.targets(), self.error);
    }

    async fn until_targets(&mut self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|&target| target.to_owned()).collect();
        self.until(&format!("{wanted:?}"), |now| now.error.is_none() && now.targets() == wanted).await;
    }

    async fn until_error(&mut self, kind: DiscoveryErrorKind) -> String {
        self.until(kind.as_str(), |now| now.error.is_some()).await;
        let error = self.error.clone().unwrap();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.fix.is_empty());
        error.text
    }

    fn targets(&self) -> BTreeSet<String> {
        let peers = self.desired.iter().flat_map(|desired| desired.peers.values());
        peers.map(|candidate| candidate.target.to_string()).collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn addresses(query: &str, server: SocketAddr) -> Dns {
    Dns::addresses(query).basename("app").name_servers([server])
}

#[tokio::test]
async fn addresses_of_one_family_become_names_and_the_other_is_asked_only_where_there_is_none() {
    let hosts = ["10.0.0.1 web.test", "10.0.0.2 web.test", "fd00::1 web.test", "fd00::6 six.test"];
    let server = require!(Dnsmasq::start(&hosts, &[]).await);
    let start = |query: &str, family| Watched::start(addresses(query, server.address()).family(family));

    let mut v4 = start("web.test", Family::V4First);
    v4.until_targets(&["app@10.0.0.1=10.0.0.1", "app@10.0.0.2=10.0.0.2"]).await;
    start("web.test", Family::V6First).until_targets(&["app@fd00::1=fd00::1"]).await;
    start("six.test", Family::V4First).until_targets(&["app@fd00::6=fd00::6"]).await;
    start("web.test", Family::V6).until_targets(&["app@fd00::1=fd00::1"]).await;
    let mut only_v4 = start("six.test", Family::V4);
    let text = only_v4.until_error(DiscoveryErrorKind::NotFound).await;
    assert!(text.contains("has no A record"), "{text}");
    assert_eq!(only_v4.desired, None, "an error is no empty set");

    let me = v4.desired.clone().unwrap().me;
    assert!(matches!(&me, SelfView::Missing(text) if text.contains("publishNotReadyAddresses")), "{me:?}");
    let own = addresses("web.test", server.address()).own_address("10.0.0.1".parse().unwrap());
    let mut own = Watched::start(own);
    own.until("an answer", |now| now.desired.is_some()).await;
    assert_eq!(own.desired.clone().unwrap().me, SelfView::Called(name("app@10.0.0.1")));
}

#[tokio::test]
async fn a_template_gives_addresses_the_names_that_pods_have_in_the_dns_of_a_cluster() {
    let server = require!(Dnsmasq::start(&["10.0.0.7 web.test"], &[]).await);
    let strategy = addresses("web.test", server.address()).template(NameTemplate::dns()).namespace("prod");
    let mut watched = Watched::start(strategy);
    watched.until_targets(&["app@10-0-0-7.prod.pod.cluster.local=10.0.0.7"]).await;
}

#[tokio::test]
async fn srv_targets_keep_their_names_and_are_dialled_at_their_addresses_and_ports() {
    let hosts = ["10.0.0.1 web-0.web.test", "10.0.0.2 web-1.web.test"];
    let records = [
        "--srv-host=_dist._tcp.web.test,web-0.web.test,4370",
        "--srv-host=_dist._tcp.web.test,web-1.web.test,4371",
        // It has no address at this name server.
        "--srv-host=_dist._tcp.web.test,web-2.web.test,4372",
    ];
    let server = require!(Dnsmasq::start(&hosts, &records).await);
    let services = Dns::services("_dist._tcp.web.test").basename("app").name_servers([server.address()]);
    let mut watched = Watched::start(services.clone());
    let by_epmd = ["app@web-0.web.test=10.0.0.1", "app@web-1.web.test=10.0.0.2", "app@web-2.web.test"];
    watched.until_targets(&by_epmd).await;
    let mut watched = Watched::start(services.use_srv_ports());
    let by_port = ["app@web-0.web.test=10.0.0.1:4370", "app@web-1.web.test=10.0.0.2:4371", "app@web-2.web.test=:4372"];
    watched.until_targets(&by_port).await;

    let none = Dns::services("nothing.test").name_servers([server.address()]);
    Watched::start(none).until_error(DiscoveryErrorKind::NotFound).await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_in_a_datagram_is_asked_for_again_over_tcp() {
    let hosts: Vec<String> = (0..600).map(|n| format!("10.1.{}.{} many.test", n / 200, n % 200 + 1)).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let server = require!(Dnsmasq::start(&hosts, &[]).await);
    let mut watched = Watched::start(addresses("many.test", server.address()));
    watched.until("all 600", |now| now.targets().len() == 600).await;
    assert_eq!(watched.desired.clone().unwrap().peers.len(), 600);
}

#[tokio::test]
async fn answers_that_show_parts_in_turn_add_up_and_drop_nobody() {
    let mut server = require!(Dnsmasq::start(&["10.0.0.1 web.test", "10.0.0.2 web.test"], &[]).await);
    let mut watched = Watched::start(addresses("web.test", server.address()));
    watched.until_targets(&["app@10.0.0.1=10.0.0.1", "app@10.0.0.2=10.0.0.2"]).await;
    server.set_hosts(&["10.0.0.3 web.test"]).await;
    let all = ["app@10.0.0.1=10.0.0.1", "app@10.0.0.2=10.0.0.2", "app@10.0.0.3=10.0.0.3"];
    watched.until_targets(&all).await;
    server.set_hosts(&["10.0.0.1 web.test"]).await;
    // After one more answer: still all of them.
    watched.until("an answer", |now| now.desired.is_some()).await;
    watched.until_targets(&all).await;

    // A strategy that remembers for a moment only stops dialling what answers lack; nobody is gone for that either.
    let forgetful = addresses("web.test", server.address()).remember(Duration::from_millis(300));
    let mut forgetful = Watched::start(forgetful);
    forgetful.until_targets(&["app@10.0.0.1=10.0.0.1"]).await;
    server.set_hosts(&["10.0.0.4 web.test"]).await;
    forgetful.until_targets(&["app@10.0.0.4=10.0.0.4"]).await;
}

#[tokio::test]
async fn a_name_that_vanishes_is_an_error_and_what_was_found_stays() {
    let mut server = require!(Dnsmasq::start(&["10.0.0.1 web.test"], &[]).await);
    let mut watched = Watched::start(addresses("web.test", server.address()));
    watched.until_targets(&["app@10.0.0.1=10.0.0.1"]).await;
    server.set_hosts(&[]).await;
    let text = watched.until_error(DiscoveryErrorKind::NotFound).await;
    assert!(text.contains("NXDOMAIN"), "{text}");
    assert_eq!(watched.targets().len(), 1, "no report took it away");
    server.set_hosts(&["10.0.0.1 web.test", "10.0.0.2 web.test"]).await;
    watched.until_targets(&["app@10.0.0.1=10.0.0.1", "app@10.0.0.2=10.0.0.2"]).await;
}

#[tokio::test]
async fn a_server_that_fails_refuses_is_silent_or_is_not_there_is_an_error_of_its_kind() {
    for (code, kind) in [(2, DiscoveryErrorKind::Other), (5, DiscoveryErrorKind::Forbidden)] {
        let port = PortLease::new();
        let (address, _server) = fails_with(code, port.port()).await;
        let mut watched = Watched::start(addresses("web.test", address).answer_within(SOON / 2));
        let text = watched.until_error(kind).await;
        assert!(text.contains("web.test"), "{text}");
        assert_eq!(watched.desired, None);
    }

    // A socket that nobody reads.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let strategy = addresses("web.test", silent.local_addr().unwrap()).answer_within(Duration::from_millis(600));
    let mut watched = Watched::start(strategy);
    watched.until("an error", |now| now.error.is_some()).await;
    let kind = watched.error.clone().unwrap().kind;
    assert!(matches!(kind, DiscoveryErrorKind::Timeout | DiscoveryErrorKind::Unreachable), "{:?}", watched.error);

    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut watched = Watched::start(addresses("web.test", nobody).answer_within(Duration::from_secs(2)));
    within(SOON, "an error", watched.until("an error", |now| now.error.is_some())).await;
}

#[tokio::test]
async fn a_server_that_recovers_is_believed_again() {
    let port = PortLease::new();
    let (address, server) = fails_with(2, port.port()).await;
    let mut watched = Watched::start(addresses("web.test", address).answer_within(Duration::from_secs(1)));
    watched.until_error(DiscoveryErrorKind::Other).await;
    server.abort();
    let _ = server.await;
    let _server = require!(Dnsmasq::start_on(port, &["10.0.0.1 web.test"], &[]).await);
    watched.until_targets(&["app@10.0.0.1=10.0.0.1"]).await;
}

/// A name server over UDP that answers every question with this response code.
async fn fails_with(code: u8, port: u16) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut packet).await {
            // An answer with the question in it, and with no records: neither additional ones (EDNS).
            packet[2] |= 0x80;
            packet[3] = 0x80 | code;
            packet[10..12].fill(0);
            let end = 12 + packet[12..len].iter().position(|&byte| byte == 0).unwrap() + 5;
            let _ = socket.send_to(&packet[..end], from).await;
        }
    });
    (address, task)
}
