//! How many allocations a message costs, between processes of one node and of two: the same on every machine, however
//! busy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};

use allocation_counter::measure;
use common::PortLease;
use gusset::{Cookie, EpmdMode, Message, Node, Process, atom};
use serde_bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

mod common;

/// Of one round.
const MESSAGES: u64 = 5_000;

/// One thread, so that all that a message costs is counted.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn node(name: &str, epmd: u16) -> Node {
    let builder = Node::builder(format!("{name}@127.0.0.1")).cookie(Cookie::new("counted").unwrap());
    let builder = builder.listen(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 0..=0).epmd(EpmdMode::Auto, epmd);
    builder.start().await.unwrap()
}

/// Allocations for each message, of a second round.
fn for_each(runtime: &Runtime, mut round: impl AsyncFnMut()) -> f64 {
    runtime.block_on(round());
    measure(|| runtime.block_on(round())).count_total as f64 / MESSAGES as f64
}

async fn receive(process: &mut Process) {
    for _ in 0..MESSAGES {
        let Message::Sent(payload) = process.recv().await.unwrap() else { panic!("only messages come") };
        assert_eq!(payload.reader().tuple().unwrap(), 2);
    }
}

#[test]
fn a_small_message_on_one_node_allocates_nothing_and_others_their_payload() {
    let runtime = runtime();
    let epmd = PortLease::new();
    let node = runtime.block_on(node("one", epmd.port()));
    let (mut receiver, sender) = (node.process(), node.process());
    let to = receiver.pid().clone();
    // A larger one is copied by a call when it is awaited.
    let future = size_of_val(&sender.send(&to, &1));
    assert!(future <= 80, "a send is a future of {future} bytes");
    for (size, expected) in [(16, 0.0..0.1), (64, 1.0..1.1)] {
        let payload = vec![7; size];
        let cost = for_each(&runtime, async || {
            let send = async {
                for _ in 0..MESSAGES {
                    sender.send(&to, &(atom!("n"), Bytes::new(&payload))).await.unwrap();
                }
            };
            tokio::join!(send, receive(&mut receiver));
        });
        assert!(expected.contains(&cost), "{size} bytes: {cost}");
    }
    let payload = gusset::etf::to_payload(&(atom!("n"), 7)).unwrap();
    let cost = for_each(&runtime, async || {
        let forward = async {
            for _ in 0..MESSAGES {
                sender.forward(&to, &payload).await.unwrap();
            }
        };
        tokio::join!(forward, receive(&mut receiver));
    });
    assert!(cost < 0.1, "one that is encoded already: {cost}");
}

#[test]
fn a_message_to_another_node_allocates_nothing_of_its_own() {
    let runtime = runtime();
    let epmd = PortLease::new();
    let (from, to) = runtime.block_on(async { (node("one", epmd.port()).await, node("two", epmd.port()).await) });
    runtime.block_on(from.connect(to.name().clone())).unwrap();
    let (mut receiver, sender) = (to.process(), from.process());
    receiver.register("counter").unwrap();
    let by_name = gusset::node::Target::NameOn(atom!("counter"), to.name().clone());
    for target in [gusset::node::Target::Pid(receiver.pid().clone()), by_name] {
        let cost = for_each(&runtime, async || {
            let send = async {
                for _ in 0..MESSAGES {
                    sender.send(&target, &(atom!("n"), Bytes::new(&[7; 16]))).await.unwrap();
                }
            };
            tokio::join!(send, receive(&mut receiver));
        });
        // Buffers, for many messages each.
        assert!(cost < 0.25, "to {target:?}: {cost}");
    }
}

#[test]
fn a_flood_is_read_into_the_same_buffers_again_and_again() {
    let (receiving, sending, epmd) = (runtime(), runtime(), PortLease::new());
    let to = receiving.block_on(node("two", epmd.port()));
    let mut receiver = to.process();
    let (name, target) = (to.name().clone(), receiver.pid().clone());
    let (done, all_came) = tokio::sync::oneshot::channel();
    // The sender has a thread of its own, so what it allocates is not counted.
    let sender = std::thread::spawn(move || {
        sending.block_on(async {
            let from = node("one", epmd.port()).await;
            from.connect(name).await.unwrap();
            let sender = from.process();
            for _ in 0..2 * MESSAGES {
                sender.send(&target, &(atom!("n"), Bytes::new(&[7; 1000]))).await.unwrap();
            }
            all_came.await.unwrap();
        });
    });
    receiving.block_on(receive(&mut receiver));
    let bytes = measure(|| receiving.block_on(receive(&mut receiver))).bytes_total / MESSAGES;
    done.send(()).unwrap();
    sender.join().unwrap();
    assert!(bytes < 200, "{bytes} bytes of new memory for a message of 1000");
}
