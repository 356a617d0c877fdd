//! Channels over streams in memory, under a clock that tokio moves on by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::atom;
use crate::etf::{Atom, Creation, Payload, Pid};
use crate::proto::{Control, Recipient};

const FLAGS: Flags = Flags::OFFERED;

/// Every wait of these tests ends after this (of the clock that tokio moves on when all are idle).
const DEADLINE: Duration = Duration::from_secs(600);

enum Event {
    Message(Came),
    Closed(CloseReason),
}

/// What came with a message or signal.
struct Came {
    payload: Option<Payload>,
}

/// Passes on what comes; refuses messages to the name `refused`.
struct Collect(mpsc::UnboundedSender<Event>);

impl Receiver for Collect {
    fn deliver(&mut self, message: Sent) -> Result<(), ProtocolViolation> {
        if matches!(&*message.to, Recipient::Name(to) if *to == "refused") {
            return Err(ProtocolViolation::Other("refused by the test".into()));
        }
        self.0.send(Event::Message(Came { payload: Some(message.payload) })).unwrap();
        Ok(())
    }

    fn signal(&mut self, signal: Incoming) -> Result<(), ProtocolViolation> {
        self.0.send(Event::Message(Came { payload: signal.payload })).unwrap();
        Ok(())
    }

    fn closed(self, reason: CloseReason) {
        self.0.send(Event::Closed(reason)).unwrap();
    }
}

struct Side {
    channel: Channel,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Side {
    fn start(stream: DuplexStream, config: ChannelConfig) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let channel = start(stream, BytesMut::new(), FLAGS, HiddenPeer::No, config, Collect(sender));
        Self { channel, events }
    }

    async fn event(&mut self) -> Option<Event> {
        timeout(DEADLINE, self.events.recv()).await.unwrap()
    }

    async fn message(&mut self) -> Came {
        match self.event().await {
            Some(Event::Message(message)) => message,
            Some(Event::Closed(reason)) => panic!("closed: {reason}"),
            None => panic!("the receiver is gone"),
        }
    }

    /// The reason of the end, after which nothing more may come.
    async fn closed(&mut self) -> CloseReason {
        loop {
            if let Event::Closed(reason) = self.event().await.expect("the receiver went without a word") {
                assert!(self.event().await.is_none(), "nothing comes after the end");
                assert!(self.channel.is_closed());
                timeout(DEADLINE, self.channel.wait_closed()).await.unwrap();
                return reason;
            }
        }
    }
}

fn pid(id: u32) -> Pid {
    Pid { node: atom!("a@h"), id, serial: 0, creation: Creation(7) }
}

fn message_to(name: &str, payload: &[u8]) -> Outgoing {
    let control = Control::RegSend { from: pid(1), to: Atom::new(name).unwrap() };
    Outgoing::with_payload(&control, FLAGS, |enc| {
        enc.bytes(&Bytes::copy_from_slice(payload));
        Ok::<_, ()>(())
    })
    .unwrap()
}

fn message(payload: &[u8]) -> Outgoing {
    message_to("x", payload)
}

fn signal() -> Outgoing {
    Outgoing::signal(&Control::Link { from: pid(1), to: pid(2) }, FLAGS)
}

fn config(change: impl FnOnce(&mut ChannelConfig)) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    change(&mut config);
    config
}

#[tokio::test(start_paused = true)]
async fn messages_pass_both_ways_and_a_disconnect_writes_out_what_is_queued() {
    let (a, b) = duplex(1000);
    let (mut a, mut b) = (Side::start(a, ChannelConfig::default()), Side::start(b, ChannelConfig::default()));
    b.channel.send(message(b"hello")).await.unwrap();
    assert!(a.message().await.payload.is_some());
    for number in 0..500_u32 {
        a.channel.push(message(&number.to_be_bytes()));
    }
    a.channel.push(message(&[1; 300_000]));
    a.channel.close(CloseReason::disconnect("enough"));
    assert!(matches!(a.channel.try_send(signal()), Err(SendRefused::Closed(Closed))));
    assert_eq!(a.channel.send(signal()).await, Err(Closed));
    a.channel.push(signal());
    for number in 0..500_u32 {
        let bytes = b.message().await.payload.unwrap();
        assert_eq!(bytes.reader().binary().unwrap(), number.to_be_bytes());
    }
    assert_eq!(b.message().await.payload.unwrap().reader().binary().unwrap().len(), 300_000);
    assert!(matches!(b.closed().await.why, CloseCause::PeerClosed));
    let reason = a.closed().await;
    assert_eq!((reason.who, reason.to_string()), (CloseParty::Local, "disconnected here: enough".into()));
    assert_eq!(a.channel.stats().queued_bytes, 0);
    assert_eq!(a.channel.stats().sent_bytes, b.channel.stats().received_bytes);
    assert_eq!(a.channel.stats().sent_packets, b.channel.stats().received_packets);
}

#[tokio::test(start_paused = true)]
async fn above_the_budget_messages_wait_or_are_refused_and_signals_pass() {
    let (stream, mut peer) = duplex(64);
    let side = Side::start(stream, config(|config| config.busy_limit = 10_000));
    // Nobody reads: the first message goes over the budget.
    side.channel.try_send(message(&[0; 20_000])).unwrap();
    assert!(side.channel.stats().queued_bytes > 10_000);
    let Err(SendRefused::Busy(refused)) = side.channel.try_send(message(b"late")) else {
        panic!("the budget is used up");
    };
    let before = side.channel.stats().queued_bytes;
    side.channel.push(signal());
    assert!(side.channel.stats().queued_bytes > before);
    let waiting = tokio::spawn({
        let channel = side.channel.clone();
        async move { channel.send(refused).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let mut drained = vec![0; 9_000];
    peer.read_exact(&mut drained).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!waiting.is_finished(), "still {} bytes", side.channel.stats().queued_bytes);
    peer.read_exact(&mut drained).await.unwrap();
    timeout(DEADLINE, waiting).await.unwrap().unwrap().unwrap();
    assert!(side.channel.stats().queued_bytes < 10_000);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_learn_of_the_end() {
    let (stream, peer) = duplex(64);
    let side = Side::start(stream, config(|config| config.busy_limit = 1));
    side.channel.push(message(&[0; 1000]));
    let waiting = tokio::spawn({
        let channel = side.channel.clone();
        async move { channel.send(signal()).await }
    });
    tokio::task::yield_now().await;
    drop(peer);
    assert_eq!(timeout(DEADLINE, waiting).await.unwrap().unwrap(), Err(Closed));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives_on_ticks_and_a_silent_peer_is_given_up_after_the_tick_time() {
    let ticktime = |seconds| config(|config| config.net_ticktime = Duration::from_secs(seconds));
    let (a, b) = duplex(1000);
    // Tick times differ a lot, and both sides live with it.
    let (a, mut b) = (Side::start(a, ticktime(4)), Side::start(b, ticktime(60)));
    tokio::time::sleep(DEADLINE).await;
    assert!(!a.channel.is_closed() && !b.channel.is_closed());
    let stats = a.channel.stats();
    assert!((500..=1300).contains(&stats.sent_packets), "{stats:?}");
    drop(a);
    assert!(matches!(b.closed().await.why, CloseCause::PeerClosed));

    let (stream, mut peer) = duplex(1 << 20);
    let started = Instant::now();
    let mut side = Side::start(stream, ticktime(4));
    let reason = side.closed().await;
    assert!(matches!(reason.why, CloseCause::TickTimeout { .. }), "{reason}");
    assert_eq!(reason.who, CloseParty::Network);
    let silence = started.elapsed().as_secs();
    assert!((4..=5).contains(&silence), "{silence}");
    let mut ticks = Vec::new();
    peer.read_to_end(&mut ticks).await.unwrap();
    assert_eq!(ticks, [0; 12], "one tick for each interval before the last");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_and_says_nothing_is_given_up_while_the_writer_is_stuck() {
    let (stream, _peer) = duplex(16);
    let mut side = Side::start(stream, config(|config| config.net_ticktime = Duration::from_secs(4)));
    side.channel.push(message(&[0; 1 << 20]));
    assert!(matches!(side.closed().await.why, CloseCause::TickTimeout { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_graceful_end_waits_for_a_stuck_peer_only_so_long() {
    let (stream, _peer) = duplex(16);
    let mut side = Side::start(stream, ChannelConfig::default());
    side.channel.push(message(&[0; 1000]));
    let started = Instant::now();
    side.channel.close(CloseReason::disconnect("shutdown"));
    side.closed().await;
    assert_eq!(started.elapsed().as_secs(), ChannelConfig::default().flush_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_due_while_the_line_is_stuck_goes_out_between_fragments() {
    let (stream, mut peer) = duplex(64 << 10);
    let side = Side::start(stream, config(|config| config.net_ticktime = Duration::from_secs(4)));
    side.channel.push(message(&[7; 4 << 20]));
    // The peer says that it lives, and takes nothing for some intervals.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.write_all(&[0; 4]).await.unwrap();
    }
    let mut frames = crate::proto::FrameReader::new(FLAGS, FrameLimits::default(), BytesMut::new());
    let mut seen = Vec::new();
    loop {
        timeout(DEADLINE, peer.read_buf(&mut frames.room())).await.unwrap().unwrap();
        while let Some(frame) = frames.next().unwrap() {
            seen.push(frame);
        }
        if let Some(crate::proto::Frame::Sent(message)) = seen.last() {
            assert_eq!(message.payload.bytes().len(), 5 + (4 << 20));
            break;
        }
    }
    let tick = seen.iter().position(|frame| matches!(frame, crate::proto::Frame::Tick)).unwrap();
    assert!(tick < 10 && seen.len() == 66, "the tick is packet {tick} of {}", seen.len());
    assert!(!side.channel.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_broken_protocol_ends_the_connection_with_the_reason() {
    for (bytes, text) in [
        (vec![0x7f, 0, 0, 0], "max_frame"),
        (vec![0, 0, 0, 2, 131, 99], "131 99"),
        (vec![0, 0, 0, 9, 131, 68, 0, 104, 2, 97, 250, 106, 0], "operation 250"),
    ] {
        let (stream, mut peer) = duplex(1000);
        let mut side = Side::start(stream, ChannelConfig::default());
        peer.write_all(&bytes).await.unwrap();
        let reason = side.closed().await;
        assert_eq!(reason.who, CloseParty::Peer);
        assert!(reason.to_string().contains(text), "{reason}");
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0, "the socket is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_receiver_refuses_ends_the_connection_and_nothing_more_is_delivered() {
    let (a, b) = duplex(1 << 20);
    let (a, mut b) = (Side::start(a, ChannelConfig::default()), Side::start(b, ChannelConfig::default()));
    a.channel.push(message(b"fine"));
    a.channel.push(message_to("refused", b""));
    a.channel.push(message(b"too late"));
    b.message().await;
    let reason = b.closed().await;
    assert!(reason.to_string().contains("refused by the test"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_behind_the_handshake_comes_first() {
    let mut outbox = crate::proto::Outbox::new(FLAGS);
    for number in 0..1000_u32 {
        outbox.push(message(&number.to_be_bytes())).unwrap();
    }
    outbox.fill(usize::MAX);
    let mut slices = [std::io::IoSlice::new(&[]); 64];
    let count = outbox.slices(&mut slices);
    let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
    let (leftover, rest) = bytes.split_at(bytes.len() / 2 + 1);

    let (stream, mut peer) = duplex(1 << 20);
    let (sender, events) = mpsc::unbounded_channel();
    let mut start_with = BytesMut::new();
    start_with.put_slice(leftover);
    let channel = start(stream, start_with, FLAGS, HiddenPeer::Yes, ChannelConfig::default(), Collect(sender));
    let mut side = Side { channel, events };
    for (at, bytes) in rest.chunks(777).enumerate() {
        peer.write_all(bytes).await.unwrap();
        if at % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for number in 0..1000_u32 {
        let payload = side.message().await.payload.unwrap();
        assert_eq!(payload.reader().binary().unwrap(), number.to_be_bytes());
    }
    assert_eq!(side.channel.stats().received_packets, 1000);
    assert_eq!(side.channel.stats().received_bytes, bytes.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn the_first_reason_counts_and_the_last_handle_ends_the_connection() {
    let (stream, peer) = duplex(1000);
    let mut side = Side::start(stream, ChannelConfig::default());
    side.channel.close(CloseReason::replaced());
    side.channel.close(CloseReason::disconnect("later"));
    assert!(matches!(side.closed().await.why, CloseCause::Replaced));
    drop(peer);

    let (stream, mut peer) = duplex(1000);
    let Side { channel, mut events } = Side::start(stream, ChannelConfig::default());
    channel.push(signal());
    drop(channel);
    let mut last_words = Vec::new();
    peer.read_to_end(&mut last_words).await.unwrap();
    assert!(!last_words.is_empty(), "what was queued is written");
    drop(peer);
    match timeout(DEADLINE, events.recv()).await.unwrap() {
        Some(Event::Closed(reason)) => assert!(matches!(reason.why, CloseCause::Abandoned)),
        _ => panic!("the end was not told"),
    }
}

#[tokio::test]
async fn a_receiver_that_panics_still_ends_the_connection() {
    struct Panics;
    impl Receiver for Panics {
        fn deliver(&mut self, _: Sent) -> Result<(), ProtocolViolation> {
            panic!("on purpose")
        }
        fn signal(&mut self, _: Incoming) -> Result<(), ProtocolViolation> {
            panic!("on purpose")
        }
        fn closed(self, _: CloseReason) {}
    }
    let (a, b) = duplex(1000);
    let a = Side::start(a, ChannelConfig::default());
    let b = start(b, BytesMut::new(), FLAGS, HiddenPeer::No, ChannelConfig::default(), Panics);
    a.channel.push(signal());
    timeout(Duration::from_secs(20), b.wait_closed()).await.unwrap();
    assert!(b.is_closed());
    assert!(matches!(b.try_send(signal()), Err(SendRefused::Closed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_over_a_real_socket_lose_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let small = config(|config| config.busy_limit = 50_000);
    let counts = Arc::new(Mutex::new(vec![0_u32; 8]));
    struct Count(Arc<Mutex<Vec<u32>>>, mpsc::UnboundedSender<CloseReason>);
    impl Receiver for Count {
        fn signal(&mut self, signal: Incoming) -> Result<(), ProtocolViolation> {
            panic!("nobody sent {signal:?}")
        }
        fn deliver(&mut self, message: Sent) -> Result<(), ProtocolViolation> {
            let from = message.from.unwrap().0 as usize;
            let number = u32::from_be_bytes(message.payload.reader().binary().unwrap()[..4].try_into().unwrap());
            let mut counts = self.0.lock();
            assert_eq!(counts[from], number, "in order for each sender");
            counts[from] += 1;
            Ok(())
        }
        fn closed(self, reason: CloseReason) {
            self.1.send(reason).unwrap();
        }
    }
    let (sender, mut ended) = mpsc::unbounded_channel();
    let receiver = Count(counts.clone(), sender.clone());
    let (flags, leftover) = (FLAGS, BytesMut::new());
    let _to = start_split(dialled.into_split(), leftover.clone(), flags, HiddenPeer::No, small.clone(), receiver);
    let receiver = Count(Arc::default(), sender);
    let from = start_split(accepted.into_split(), leftover, flags, HiddenPeer::No, small, receiver);
    let senders: Vec<_> = (0..8_u32)
        .map(|id| {
            let from = from.clone();
            tokio::spawn(async move {
                for number in 0..500_u32 {
                    let mut bytes = number.to_be_bytes().to_vec();
                    bytes.resize(if number % 50 == 49 { 150_000 } else { 60 }, 0);
                    let control = Control::Send { from: Some(pid(id)), to: pid(99) };
                    let message = Outgoing::with_payload(&control, FLAGS, |enc| {
                        enc.binary(&bytes);
                        Ok::<_, ()>(())
                    });
                    from.send(message.unwrap()).await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        timeout(Duration::from_secs(60), sender).await.unwrap().unwrap();
    }
    from.close(CloseReason::disconnect("done"));
    for _ in 0..2 {
        let reason = timeout(Duration::from_secs(20), ended.recv()).await.unwrap().unwrap();
        assert!(!matches!(reason.why, CloseCause::Io(_) | CloseCause::Protocol(_)), "{reason}");
    }
    assert_eq!(*counts.lock(), [500; 8]);
}
