//! Dialling and accepting over loopback: against each other, against a scripted peer, and against erl_dist.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::etf::Creation;
use crate::proto::{Cookie, LocalIdentity, NodeName};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Loopback answers in microseconds; the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

/// A time limit for peers that stay silent.
const SHORT: Duration = Duration::from_millis(150);

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn ann() -> LocalIdentity {
    LocalIdentity::named(name("ann@h"), Creation(11))
}

fn bob() -> LocalIdentity {
    LocalIdentity::named(name("bob@h"), Creation(22))
}

fn cookie() -> Cookie {
    Cookie::new("oatmeal").unwrap()
}

/// What the acceptor asked the node.
#[derive(Debug, PartialEq)]
enum Asked {
    Arrival(String, bool),
    BeforeAck(String),
    Abandoned(String),
    Connected(String),
}

struct Gate {
    verdict: Verdict,
    cookie: Cookie,
    asked: mpsc::UnboundedSender<Asked>,
    attempts: Mutex<Vec<AttemptId>>,
    connected: mpsc::UnboundedSender<Established>,
    lets_go: bool,
}

impl Gatekeeper for Gate {
    fn arrival(&self, peer: &NodeName, hidden: bool, attempt: AttemptId) -> Verdict {
        self.attempts.lock().push(attempt);
        let _ = self.asked.send(Asked::Arrival(peer.to_string(), hidden));
        self.verdict.clone()
    }

    fn cookie(&self, _: &NodeName) -> Cookie {
        self.cookie.clone()
    }

    fn dynamic_name(&self, host: &str) -> Option<(NodeName, Creation)> {
        (host == "h").then(|| (name("given@h"), Creation(33)))
    }

    fn before_ack<'a>(&'a self, peer: &'a NodeName, attempt: AttemptId) -> BoxFuture<'a, Result<(), String>> {
        assert_eq!(self.attempts.lock().last(), Some(&attempt));
        let _ = self.asked.send(Asked::BeforeAck(peer.to_string()));
        let answer = if self.lets_go { Ok(()) } else { Err("superseded".to_owned()) };
        async move { answer }.boxed()
    }

    fn abandoned(&self, peer: &NodeName, attempt: AttemptId) {
        assert_eq!(self.attempts.lock().last(), Some(&attempt));
        let _ = self.asked.send(Asked::Abandoned(peer.to_string()));
    }

    fn connected(&self, established: Established) {
        assert_eq!(self.attempts.lock().last().copied(), established.attempt);
        let _ = self.asked.send(Asked::Connected(established.negotiated.peer.to_string()));
        let _ = self.connected.send(established);
    }
}

/// Bob, listening.
struct Bob {
    port: u16,
    asked: mpsc::UnboundedReceiver<Asked>,
    connected: mpsc::UnboundedReceiver<Established>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Bob {
    async fn start(verdict: Verdict) -> Self {
        Self::with(verdict, cookie(), true, SOON).await
    }

    async fn with(verdict: Verdict, cookie: Cookie, lets_go: bool, limit: Duration) -> Self {
        let listener = Listener::bind(&[LOOPBACK], 0).await.unwrap();
        let port = listener.port();
        let ((asked_in, asked), (connected_in, connected)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let gate =
            Gate { verdict, cookie, asked: asked_in, attempts: Mutex::default(), connected: connected_in, lets_go };
        let stop = CancellationToken::new();
        let running = tokio::spawn(listener.run(bob(), Arc::new(gate), limit, stop.clone()));
        Self { port, asked, connected, stop, running }
    }

    async fn dial(&self, local: &LocalIdentity) -> Result<Established, ConnectError> {
        dial(&target(self.port), local, &cookie(), &options(SOON), || true).await
    }

    /// What was asked next.
    async fn next(&mut self) -> Asked {
        timeout(SOON, self.asked.recv()).await.expect("something is asked").unwrap()
    }

    /// Ends it: all that was asked and not read yet.
    async fn rest(mut self) -> Vec<Asked> {
        self.stop.cancel();
        timeout(SOON, self.running).await.expect("the listener ends").unwrap();
        let mut rest = Vec::new();
        while let Ok(asked) = self.asked.try_recv() {
            rest.push(asked);
        }
        rest
    }
}

fn target(port: u16) -> DialTarget {
    DialTarget::at(name("bob@h"), LOOPBACK).with_port(port)
}

fn options(limit: Duration) -> DialOptions {
    DialOptions { setup_timeout: limit, ..DialOptions::default() }
}

fn arrival() -> Asked {
    Asked::Arrival("ann@h".to_owned(), false)
}

fn before_ack() -> Asked {
    Asked::BeforeAck("ann@h".to_owned())
}

fn abandoned() -> Asked {
    Asked::Abandoned("ann@h".to_owned())
}

fn connected() -> Asked {
    Asked::Connected("ann@h".to_owned())
}

#[tokio::test]
async fn two_nodes_connect_and_the_node_is_asked_in_order() {
    let mut bob = Bob::start(Verdict::Ok).await;
    let mut at_ann = bob.dial(&ann()).await.unwrap();
    let mut at_bob = timeout(SOON, bob.connected.recv()).await.unwrap().unwrap();
    assert_eq!(at_ann.negotiated.peer, name("bob@h"));
    assert_eq!((at_bob.negotiated.peer, at_bob.negotiated.peer_creation), (name("ann@h"), Creation(11)));
    assert_eq!(at_ann.address.port(), bob.port);
    assert!(at_ann.attempt.is_none() && at_bob.attempt.is_some());
    assert!(at_bob.stream.nodelay().unwrap() && at_ann.stream.nodelay().unwrap());
    at_ann.stream.write_all(b"hello").await.unwrap();
    let mut hello = [0; 5];
    timeout(SOON, at_bob.stream.read_exact(&mut hello)).await.unwrap().unwrap();
    assert_eq!(&hello, b"hello");
    assert_eq!(bob.rest().await, [arrival(), before_ack(), connected()]);
}

#[tokio::test]
async fn a_hidden_dialler_is_announced_as_hidden() {
    let mut bob = Bob::start(Verdict::OkSimultaneous).await;
    assert!(bob.dial(&ann().hidden()).await.unwrap().negotiated.hidden);
    assert_eq!(bob.next().await, Asked::Arrival("ann@h".to_owned(), true));
}

#[tokio::test]
async fn a_wrong_cookie_is_told_on_both_sides_and_frees_the_attempt() {
    let bob = Bob::with(Verdict::Ok, Cookie::new("porridge").unwrap(), true, SOON).await;
    let error = bob.dial(&ann()).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongCookie { .. }), "{error}");
    assert_eq!(error.step(), Step::Reply);
    assert_eq!(bob.rest().await, [arrival(), abandoned()]);
}

#[tokio::test]
async fn refusals_come_at_once_and_leave_nothing_pending() {
    let bob = Bob::start(Verdict::Nok).await;
    let error = bob.dial(&ann()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Nok { .. }), "{error}");
    assert_eq!(bob.rest().await, [arrival()]);

    let bob = Bob::start(Verdict::NotAllowed("not on the list".to_owned())).await;
    let error = bob.dial(&ann()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAllowed { .. }), "{error}");
    assert_eq!(bob.rest().await, [arrival()]);

    let bob = Bob::start(Verdict::Close("busy".to_owned())).await;
    let error = bob.dial(&ann()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed { step: Step::Status, .. }), "{error}");
    assert_eq!(bob.rest().await, [arrival()]);
}

#[tokio::test]
async fn an_older_connection_is_replaced_only_where_that_is_still_wanted() {
    let bob = Bob::start(Verdict::Alive).await;
    bob.dial(&ann()).await.unwrap();
    assert_eq!(bob.rest().await, [arrival(), before_ack(), connected()]);

    let mut bob = Bob::start(Verdict::Alive).await;
    let error = dial(&target(bob.port), &ann(), &cookie(), &options(SOON), || false).await.unwrap_err();
    assert!(matches!(error, ConnectError::AliveKept { .. }), "{error}");
    assert_eq!(bob.next().await, arrival());
    assert_eq!(bob.next().await, abandoned());
    assert_eq!(bob.rest().await, []);
}

#[tokio::test]
async fn an_attempt_that_was_superseded_gets_no_last_message() {
    let bob = Bob::with(Verdict::Ok, cookie(), false, SOON).await;
    bob.dial(&ann()).await.unwrap_err();
    assert_eq!(bob.rest().await, [arrival(), before_ack(), abandoned()]);
}

#[tokio::test]
async fn a_node_without_name_is_given_one() {
    let mut bob = Bob::start(Verdict::Ok).await;
    let at_us = bob.dial(&LocalIdentity::unnamed("h")).await.unwrap();
    assert_eq!((at_us.negotiated.local_name, at_us.negotiated.local_creation), (name("given@h"), Creation(33)));
    assert_eq!(bob.next().await, Asked::Arrival("given@h".to_owned(), true));
    let error = bob.dial(&LocalIdentity::unnamed("elsewhere")).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAllowed { .. }), "{error}");
}

#[tokio::test]
async fn a_silent_caller_runs_into_the_time_limit_and_so_does_one_that_stops_half_way() {
    let mut bob = Bob::with(Verdict::Ok, cookie(), true, SHORT).await;
    let mut silent = TcpStream::connect((LOOPBACK, bob.port)).await.unwrap();
    assert_eq!(timeout(SOON, silent.read(&mut [0])).await.unwrap().unwrap(), 0, "it is closed");

    let mut half_way = TcpStream::connect((LOOPBACK, bob.port)).await.unwrap();
    let hello = b"\0\x14N\0\0\0\x0d\x07\xdf\x7f\xbd\x64\0\0\x01\0\x05ann@h";
    half_way.write_all(hello).await.unwrap();
    assert_eq!(bob.next().await, arrival());
    assert_eq!(bob.next().await, abandoned());
}

#[tokio::test]
async fn a_listener_that_ends_breaks_handshakes_off_and_frees_their_attempts() {
    let mut bob = Bob::start(Verdict::Ok).await;
    let mut caller = TcpStream::connect((LOOPBACK, bob.port)).await.unwrap();
    caller.write_all(b"\0\x14N\0\0\0\x0d\x07\xdf\x7f\xbd\x64\0\0\x01\0\x05ann@h").await.unwrap();
    assert_eq!(bob.next().await, arrival());
    assert_eq!(bob.rest().await, [abandoned()]);
}

/// A peer that says what it is told to, whatever it hears.
async fn scripted(answers: &'static [&'static [u8]]) -> u16 {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let len = stream.read_u16().await.unwrap();
            stream.read_exact(&mut vec![0; usize::from(len)]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
        // Silent until the other side goes.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    port
}

const OK_AND_CHALLENGE: &[u8] = b"\0\x03sok\0\x18N\0\0\0\x0d\x07\xdf\x7f\xbd\0\0\0\x01\x64\0\0\x01\0\x05bob@h";

async fn dial_scripted(answers: &'static [&'static [u8]]) -> ConnectError {
    let port = scripted(answers).await;
    dial(&target(port), &ann(), &cookie(), &options(SHORT), || true).await.unwrap_err()
}

#[tokio::test]
async fn a_silent_acceptor_is_given_up_after_the_time_limit_at_every_step() {
    let error = dial_scripted(&[]).await;
    assert!(matches!(error, ConnectError::Timeout { step: Step::Status, after: SHORT, .. }), "{error}");
    let error = dial_scripted(&[b"\0\x03sok"]).await;
    assert!(matches!(error, ConnectError::Timeout { step: Step::Challenge, .. }), "{error}");
    let error = dial_scripted(&[b"\0\x06salive", b""]).await;
    assert!(matches!(error, ConnectError::OldConnectionAlive { .. }), "{error}");
}

#[tokio::test]
async fn what_a_strange_peer_says_is_named() {
    let error = dial_scripted(&[b"HTTP/1.1 400 Bad Request\r\n"]).await;
    assert!(error.to_string().contains("is this a distribution port"), "{error}");
    let error = dial_scripted(&[b"\0\x05shuh?"]).await;
    assert!(error.to_string().contains("unknown status `huh?`"), "{error}");
    let error = dial_scripted(&[b"\0\x03sok\0\x18N\0\0\0\x0d\x07\xdf\x7f\xbd\0\0\0\x01\x64\0\0\x01\0\x05eve@h"]).await;
    assert!(matches!(error, ConnectError::OtherName { .. }), "{error}");
}

#[tokio::test]
async fn an_acceptor_with_no_proof_is_found_out() {
    let error = dial_scripted(&[OK_AND_CHALLENGE, b"\0\x11a0123456789abcdef"]).await;
    assert!(matches!(error, ConnectError::WrongAck { .. }), "{error}");
}

#[tokio::test]
async fn traffic_in_the_segment_of_the_ack_is_not_lost() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let len = stream.read_u16().await.unwrap();
        stream.read_exact(&mut vec![0; usize::from(len)]).await.unwrap();
        stream.write_all(OK_AND_CHALLENGE).await.unwrap();
        let mut reply = [0; 23];
        stream.read_exact(&mut reply).await.unwrap();
        let challenge = u32::from_be_bytes([reply[3], reply[4], reply[5], reply[6]]);
        let ack = [b"\0\x11a".as_slice(), &cookie().digest(challenge), b"\0\0\0\0\0\0\0\x05pxyz!"].concat();
        stream.write_all(&ack).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let mut at_ann = dial(&target(port), &ann(), &cookie(), &options(SOON), || true).await.unwrap();
    while at_ann.leftover.len() < 13 {
        assert_ne!(timeout(SOON, at_ann.stream.read_buf(&mut at_ann.leftover)).await.unwrap().unwrap(), 0);
    }
    assert_eq!(&at_ann.leftover[..], b"\0\0\0\0\0\0\0\x05pxyz!");
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_apart() {
    let closed = TcpListener::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap().port();
    let go = async |target: DialTarget, options: DialOptions| {
        dial(&target, &ann(), &cookie(), &options, || true).await.unwrap_err()
    };
    let error = go(target(closed), options(SOON)).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.step() == Step::Connect, "{error}");

    let no_epmd = DialOptions { epmd_port: closed, ..options(SOON) };
    let error = go(DialTarget::at(name("bob@h"), LOOPBACK), no_epmd).await;
    assert!(matches!(error, ConnectError::EpmdUnreachable { .. }) && error.step() == Step::EpmdConnect, "{error}");

    let epmd = EpmdServer::bind(&[LOOPBACK], 0).await.unwrap();
    let with_epmd = DialOptions { epmd_port: epmd.local_addr().unwrap().port(), ..options(SOON) };
    let error = go(DialTarget::at(name("bob@h"), LOOPBACK), with_epmd).await;
    assert!(matches!(error, ConnectError::UnknownToEpmd { .. }), "{error}");
    assert!(error.to_string().contains("knows no node `bob`"), "{error}");

    let error = go(DialTarget::from(name("bob@no-such-host.invalid")), options(SOON)).await;
    assert!(matches!(error, ConnectError::UnknownHost { .. }) && error.step() == Step::NameLookup, "{error}");

    let v6_only = DialOptions { family: Family::V6, fixed_port: Some(closed), ..options(SOON) };
    let error = go(DialTarget::at(name("bob@h"), LOOPBACK), v6_only).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "a given address is used whatever its family: {error}");
}

#[tokio::test]
async fn a_listener_takes_ports_of_a_range_and_both_families_on_the_same_port() {
    let first = Listener::bind(&[LOOPBACK], 0).await.unwrap();
    let taken = first.port();
    let error = Listener::bind(&[LOOPBACK], taken).await.unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{taken}")), "{error}");
    let second = Listener::bind_range(&[LOOPBACK], taken..=taken.saturating_add(50)).await.unwrap();
    assert!(second.port() > taken);

    let v6 = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    if TcpListener::bind((v6, 0)).await.is_ok() {
        let both = Listener::bind(&[LOOPBACK, v6], 0).await.unwrap();
        let ports: Vec<u16> = both.local_addrs().iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [both.port(), both.port()]);
        let unspecified = Listener::bind(&[IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)], 0).await.unwrap();
        for ip in [LOOPBACK, v6] {
            TcpStream::connect((ip, unspecified.port())).await.unwrap();
        }
    }
    assert!(Listener::bind(&[], 0).await.is_err());
}

/// erl_dist's half of a handshake, as a peer that shares no code with ours.
mod with_erl_dist {
    use erl_dist::handshake::{ClientSideHandshake, HandshakeStatus, ServerSideHandshake};
    use erl_dist::node::LocalNode;

    use super::*;

    fn their_node(name: &str) -> LocalNode {
        LocalNode::new(name.parse().unwrap(), erl_dist::node::Creation::new(44))
    }

    #[tokio::test]
    async fn its_client_connects_to_our_acceptor() {
        let mut bob = Bob::start(Verdict::Ok).await;
        let stream = TcpStream::connect((LOOPBACK, bob.port)).await.unwrap().compat();
        let mut handshake = ClientSideHandshake::new(stream, their_node("eve@h"), "oatmeal");
        let status = handshake.execute_send_name(erl_dist::LOWEST_DISTRIBUTION_PROTOCOL_VERSION).await.unwrap();
        assert_eq!(status, HandshakeStatus::Ok);
        let (_stream, peer) = handshake.execute_rest(true).await.unwrap();
        assert_eq!(
            (peer.name.to_string(), peer.creation),
            ("bob@h".to_owned(), Some(erl_dist::node::Creation::new(22)))
        );
        let at_bob = timeout(SOON, bob.connected.recv()).await.unwrap().unwrap();
        assert_eq!((at_bob.negotiated.peer, at_bob.negotiated.peer_creation), (name("eve@h"), Creation(44)));
        assert!(at_bob.negotiated.hidden, "it does not offer PUBLISHED");
    }

    #[tokio::test]
    async fn its_client_finds_our_cookie_wrong_and_we_its() {
        let bob = Bob::start(Verdict::Ok).await;
        let stream = TcpStream::connect((LOOPBACK, bob.port)).await.unwrap().compat();
        let mut handshake = ClientSideHandshake::new(stream, their_node("eve@h"), "porridge");
        handshake.execute_send_name(erl_dist::LOWEST_DISTRIBUTION_PROTOCOL_VERSION).await.unwrap();
        assert!(handshake.execute_rest(true).await.is_err());
        let asked = bob.rest().await;
        assert_eq!(asked.last(), Some(&Asked::Abandoned("eve@h".to_owned())), "{asked:?}");
    }

    async fn their_server(status: HandshakeStatus, cookie: &'static str) -> u16 {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut handshake = ServerSideHandshake::new(stream.compat(), their_node("bob@h"), cookie);
            handshake.execute_recv_name().await.unwrap();
            if let Ok((mut stream, _)) = handshake.execute_rest(status).await {
                let _ = stream.get_mut().read_to_end(&mut Vec::new()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn our_dialler_connects_to_its_server() {
        for status in [HandshakeStatus::Ok, HandshakeStatus::OkSimultaneous] {
            let port = their_server(status, "oatmeal").await;
            let at_ann = dial(&target(port), &ann(), &cookie(), &options(SOON), || true).await.unwrap();
            assert_eq!((at_ann.negotiated.peer, at_ann.negotiated.peer_creation), (name("bob@h"), Creation(44)));
        }
        let named = HandshakeStatus::Named { name: "given".to_owned(), creation: erl_dist::node::Creation::new(7) };
        let port = their_server(named, "oatmeal").await;
        let local = LocalIdentity::unnamed("h");
        let at_us = dial(&target(port), &local, &cookie(), &options(SOON), || true).await.unwrap();
        assert_eq!((at_us.negotiated.local_name, at_us.negotiated.local_creation), (name("given@h"), Creation(7)));
    }

    #[tokio::test]
    async fn our_dialler_is_refused_by_its_server() {
        let port = their_server(HandshakeStatus::Nok, "oatmeal").await;
        let error = dial(&target(port), &ann(), &cookie(), &options(SOON), || true).await.unwrap_err();
        assert!(matches!(error, ConnectError::Nok { .. }), "{error}");
        let port = their_server(HandshakeStatus::Ok, "porridge").await;
        let error = dial(&target(port), &ann(), &cookie(), &options(SOON), || true).await.unwrap_err();
        assert!(matches!(error, ConnectError::WrongCookie { .. } | ConnectError::WrongAck { .. }), "{error}");
    }
}
