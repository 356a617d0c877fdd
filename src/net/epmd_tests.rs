//! EPMD over loopback: our client and our server, each also against raw bytes, and the server against
//! erl_dist's client.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::proto::epmd::{EpmdEntry, EpmdRequest, NodeType};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Loopback answers in microseconds, registering again takes a few pauses; the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

async fn serve() -> (EpmdServer, EpmdClient) {
    let server = EpmdServer::bind(&[LOOPBACK], 0).await.unwrap();
    let client = EpmdClient::new(LOOPBACK, server.local_addr().unwrap().port());
    (server, client)
}

/// Sends bytes as they are, and reads until the server closes.
async fn raw(client: &EpmdClient, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(client.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    // A reset is an end too: the server may close with bytes unread.
    let _ = timeout(SOON, stream.read_to_end(&mut reply)).await.expect("the server closes");
    reply
}

/// Registers with raw bytes: the reply, and the connection.
async fn raw_register(client: &EpmdClient, entry: &EpmdEntry, reply_len: usize) -> (Vec<u8>, TcpStream) {
    let mut stream = TcpStream::connect(client.address()).await.unwrap();
    stream.write_all(&EpmdRequest::Register(entry.clone()).encode().unwrap()).await.unwrap();
    let mut reply = vec![0; reply_len];
    timeout(SOON, stream.read_exact(&mut reply)).await.unwrap().unwrap();
    (reply, stream)
}

async fn until_names(client: &EpmdClient, expected: &[&str]) {
    let deadline = Instant::now() + SOON;
    loop {
        let names = client.names().await.unwrap();
        if names.iter().map(|(name, _)| name.as_str()).eq(expected.iter().copied()) {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?} never became {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_state(states: &mut watch::Receiver<RegistrationState>, wanted: impl FnMut(&RegistrationState) -> bool) {
    timeout(SOON, states.wait_for(wanted)).await.expect("the state comes").unwrap();
}

#[tokio::test]
async fn a_registered_node_is_found_until_its_registration_is_dropped() {
    let (server, client) = serve().await;
    assert_eq!(client.port_of("a").await.unwrap(), None);
    let registration = client.register(EpmdEntry::new("a", 4711)).await.unwrap();
    let entry = client.port_of("a").await.unwrap().unwrap();
    assert_eq!(
        (entry.port, entry.node_type, entry.highest_version, entry.lowest_version),
        (4711, NodeType::VISIBLE, 6, 5)
    );
    assert_eq!(client.names().await.unwrap(), [("a".to_owned(), 4711)]);
    assert_eq!(server.names().len(), 1);
    assert!(client.dump().await.unwrap().contains("active name     <a> at port 4711, fd = "));
    assert_eq!(*registration.state().borrow(), RegistrationState::Registered);
    drop(registration);
    until_names(&client, &[]).await;
    assert!(client.dump().await.unwrap().contains("old/unused name <a>, port = 4711, fd = "));
}

#[tokio::test]
async fn a_name_that_comes_back_has_the_next_creation_and_a_taken_one_is_refused() {
    let (_server, client) = serve().await;
    let first = client.register(EpmdEntry::new("a", 1)).await.unwrap();
    let error = client.register(EpmdEntry::new("a", 2)).await.unwrap_err();
    assert!(matches!(error, EpmdError::NameTaken { .. }), "{error}");
    let creation = first.creation();
    assert!(creation.0 > 1_600_000_000, "the time of day: {creation}");
    drop(first);
    until_names(&client, &[]).await;
    let second = client.register(EpmdEntry::new("a", 3)).await.unwrap();
    assert_eq!(second.creation().0, creation.0 + 1);
}

#[tokio::test]
async fn the_bytes_are_those_of_a_real_epmd() {
    let (_server, client) = serve().await;
    let port = u32::from(client.address().port()).to_be_bytes();
    let (reply, _kept) = raw_register(&client, &EpmdEntry::new("abc", 0x1234), 6).await;
    assert_eq!(&reply[..2], [118, 0]);
    let old = EpmdEntry { highest_version: 5, ..EpmdEntry::new("old", 1) };
    let (reply, _kept_too) = raw_register(&client, &old, 4).await;
    assert!(reply[..3] == [121, 0, 0] && (1..=3).contains(&reply[3]), "{reply:?}");

    assert_eq!(raw(&client, b"\0\x04zabc").await, b"w\0\x12\x34\x4d\0\0\x06\0\x05\0\x03abc\0\0");
    assert_eq!(raw(&client, b"\0\x05zabc\0").await.len(), 17, "a NUL behind the name is tolerated");
    assert_eq!(raw(&client, b"\0\x02zx").await, b"w\x01");
    let names = [port.as_slice(), b"name abc at port 4660\nname old at port 1\n"].concat();
    assert_eq!(raw(&client, b"\0\x01n").await, names);
    assert_eq!(raw(&client, b"\0\x01k").await, b"NO");
    assert_eq!(raw(&client, b"\0\x04sabc").await, b"", "not without -relaxed_command_check");
    until_names(&client, &["abc", "old"]).await;
}

#[tokio::test]
async fn a_refused_registration_keeps_its_socket_and_gets_the_dummy_creation() {
    let (_server, client) = serve().await;
    let (_, _kept) = raw_register(&client, &EpmdEntry::new("a", 1), 6).await;
    let (reply, mut refused) = raw_register(&client, &EpmdEntry::new("a", 2), 6).await;
    assert_eq!(reply, [118, 1, 0, 0, 0, 99]);
    let closed = timeout(Duration::from_millis(50), refused.read(&mut [0])).await;
    assert!(closed.is_err(), "the socket stays open, as with a real epmd");
}

#[tokio::test]
async fn nonsense_is_closed_without_a_reply_and_does_no_harm() {
    let (_server, client) = serve().await;
    let longest = [&[0x0b, 0xf3, b'z'][..], &[b'a'; 3058]].concat();
    for bad in [&b"\0\0"[..], b"\0\x01?", b"\xff\xff", b"\0\x01x", b"\0\x03z\xff\xff", &longest, b"\0\x01z"] {
        assert_eq!(raw(&client, bad).await, b"", "{:?}", bad.escape_ascii().to_string());
    }
    // An empty name is closed without a reply, a name of NULs is refused.
    let request = |name: &[u8]| {
        let body = [&[120, 0, 1, 77, 0, 0, 6, 0, 5, 0, name.len() as u8], name, &[0, 0]].concat();
        [&(body.len() as u16).to_be_bytes()[..], &body].concat()
    };
    assert_eq!(raw(&client, &request(b"")).await, b"");
    until_names(&client, &[]).await;
}

#[tokio::test]
async fn a_byte_on_the_registered_socket_costs_the_name() {
    let (_server, client) = serve().await;
    let (_, mut kept) = raw_register(&client, &EpmdEntry::new("a", 1), 6).await;
    until_names(&client, &["a"]).await;
    kept.write_all(b"!").await.unwrap();
    assert_eq!(timeout(SOON, kept.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    until_names(&client, &[]).await;
}

#[tokio::test]
async fn a_kill_is_obeyed_only_while_nobody_is_registered() {
    let (server, client) = serve().await;
    let registration = client.register(EpmdEntry::new("a", 1)).await.unwrap();
    assert!(matches!(client.kill().await, Err(EpmdError::Refused { .. })));
    assert!(matches!(client.stop("a").await, Err(EpmdError::Refused { .. })));
    drop(registration);
    until_names(&client, &[]).await;
    client.kill().await.unwrap();
    timeout(SOON, server.ended()).await.unwrap();
    server.shutdown().await;
    assert!(matches!(client.names().await, Err(EpmdError::Unreachable { .. })));
}

#[tokio::test]
async fn a_node_registers_again_when_epmd_comes_back_and_keeps_its_creation() {
    let (server, client) = serve().await;
    let registration = client.register(EpmdEntry::new("a", 4711)).await.unwrap();
    let (creation, mut states) = (registration.creation(), registration.state());
    server.shutdown().await;
    until_state(&mut states, |state| *state != RegistrationState::Registered).await;
    until_state(&mut states, |state| matches!(state, RegistrationState::Retrying { .. })).await;
    let _server = EpmdServer::bind(&[LOOPBACK], client.address().port()).await.unwrap();
    until_state(&mut states, |state| *state == RegistrationState::Registered).await;
    assert_eq!(client.names().await.unwrap(), [("a".to_owned(), 4711)]);
    assert_eq!(registration.creation(), creation);
}

/// A port on which nobody listens.
async fn free_port() -> u16 {
    TcpListener::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap().port()
}

fn mode(mode: EpmdMode, port: u16) -> EpmdOptions {
    EpmdOptions { mode, port, addresses: vec![LOOPBACK], ..EpmdOptions::default() }
}

#[tokio::test]
async fn each_mode_finds_its_epmd_or_says_why_not() {
    let port = free_port().await;
    let client = EpmdClient::new(LOOPBACK, port);
    let error = EpmdPresence::start(&mode(EpmdMode::External, port), EpmdEntry::new("x", 1)).await.unwrap_err();
    assert!(matches!(error, EpmdStartError::Client(EpmdError::Unreachable { .. })), "{error}");

    let first = EpmdPresence::start(&mode(EpmdMode::Auto, port), EpmdEntry::new("a", 1)).await.unwrap();
    let second = EpmdPresence::start(&mode(EpmdMode::Auto, port), EpmdEntry::new("b", 2)).await.unwrap();
    assert!(first.is_serving() && !second.is_serving());
    let third = EpmdPresence::start(&mode(EpmdMode::External, port), EpmdEntry::new("c", 3)).await.unwrap();
    until_names(&client, &["a", "b", "c"]).await;
    let error = EpmdPresence::start(&mode(EpmdMode::Embedded, port), EpmdEntry::new("d", 4)).await.unwrap_err();
    assert!(error.to_string().contains("does one run already"), "{error}");
    let error = EpmdPresence::start(&mode(EpmdMode::Auto, port), EpmdEntry::new("a", 4)).await.unwrap_err();
    assert!(matches!(error, EpmdStartError::Client(EpmdError::NameTaken { .. })), "{error}");

    let none = EpmdPresence::start(&mode(EpmdMode::None, port), EpmdEntry::new("e", 5)).await.unwrap();
    assert!(none.registration().is_none() && none.creation().0 >= 4);
    drop((second, third));
    until_names(&client, &["a"]).await;
}

#[tokio::test]
async fn two_nodes_that_start_at_once_agree_on_one_epmd() {
    let port = free_port().await;
    let (auto, names) = (mode(EpmdMode::Auto, port), ["a", "b", "c", "d"]);
    let started = names.map(|name| EpmdPresence::start(&auto, EpmdEntry::new(name, 1)));
    let started = futures_util::future::join_all(started).await;
    let nodes: Vec<EpmdPresence> = started.into_iter().map(Result::unwrap).collect();
    assert_eq!(nodes.iter().filter(|node| node.is_serving()).count(), 1);
    until_names(&EpmdClient::new(LOOPBACK, port), &names).await;
}

#[tokio::test]
async fn auto_serves_in_the_place_of_an_epmd_that_stays_away() {
    let (server, client) = serve().await;
    let port = client.address().port();
    let options = EpmdOptions { take_over_after: Duration::ZERO, ..mode(EpmdMode::Auto, port) };
    let node = EpmdPresence::start(&options, EpmdEntry::new("a", 1)).await.unwrap();
    assert!(!node.is_serving());
    let mut states = node.registration().unwrap().state();
    server.shutdown().await;
    until_state(&mut states, |state| *state != RegistrationState::Registered).await;
    until_state(&mut states, |state| *state == RegistrationState::Registered).await;
    assert!(node.is_serving());
    assert_eq!(client.names().await.unwrap(), [("a".to_owned(), 1)]);
}

#[tokio::test]
async fn something_else_on_the_port_of_epmd_is_no_epmd() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let client =
        EpmdClient::new(LOOPBACK, listener.local_addr().unwrap().port()).with_timeout(Duration::from_millis(200));
    let answering = tokio::spawn(async move {
        let mut answers: Vec<Vec<u8>> = vec![vec![b'w'; 1 << 16], b"HTTP/1.1 400\r\n".to_vec(), b"w".to_vec()];
        while let Some(answer) = answers.pop() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(&answer).await;
        }
        let _silent = listener.accept().await.unwrap();
        std::future::pending::<()>().await;
    });
    assert!(matches!(client.port_of("a").await, Err(EpmdError::Codec { .. })));
    assert!(matches!(client.port_of("a").await, Err(EpmdError::Codec { .. })));
    let too_long = client.port_of("a").await.unwrap_err();
    assert!(matches!(too_long, EpmdError::TooLong { .. }), "{too_long}");
    assert!(matches!(client.port_of("a").await, Err(EpmdError::Timeout { .. })));
    answering.abort();
}

#[tokio::test]
async fn erl_dist_registers_with_our_server_and_asks_it() {
    let (_server, client) = serve().await;
    let connect = async || {
        let stream = TcpStream::connect(client.address()).await.unwrap();
        erl_dist::epmd::EpmdClient::new(stream.compat())
    };
    let node = erl_dist::epmd::NodeEntry::new("eve", 4711);
    let (_kept, creation) = connect().await.register(node.clone()).await.unwrap();
    assert!(creation.get() > 1_600_000_000);
    assert_eq!(connect().await.get_names().await.unwrap(), [("eve".to_owned(), 4711)]);
    assert_eq!(connect().await.get_node("eve").await.unwrap(), Some(node));
    assert_eq!(connect().await.get_node("bob").await.unwrap(), None);
    assert_eq!(connect().await.kill().await.unwrap(), "NO");
    assert_eq!(client.port_of("eve").await.unwrap().unwrap().port, 4711);
}
