//! Messages between processes: of one node, and of two nodes over one connection on loopback.
//!
//! `cargo bench --bench node [FILTER]`. An item is a message that its receiver has taken out of its mailbox.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use divan::Bencher;
use divan::counter::ItemsCount;
use gusset::{Cookie, EpmdMode, Message, Node, Pid, Process, atom};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Of one round.
const MESSAGES: usize = 200_000;

fn main() {
    divan::main();
}

/// A sender and a receiver of one node, each a task of its own.
#[divan::bench(sample_count = 20)]
fn local(bencher: Bencher<'_, '_>) {
    let runtime = Runtime::new().unwrap();
    let (node, _) = runtime.block_on(nodes());
    run(bencher, &runtime, &node, &node);
}

/// The same on one thread: no message goes from the memory of one processor to that of another.
#[divan::bench(sample_count = 20)]
fn local_one_thread(bencher: Bencher<'_, '_>) {
    let runtime = one_thread();
    let (node, _) = runtime.block_on(nodes());
    run(bencher, &runtime, &node, &node);
}

/// As [`local`] with a payload that is encoded already, as [`Process::forward`] sends it, and not looked at.
#[divan::bench(sample_count = 20)]
fn local_forward(bencher: Bencher<'_, '_>) {
    forward(bencher, &Runtime::new().unwrap());
}

/// The same on one thread.
#[divan::bench(sample_count = 20)]
fn local_forward_one_thread(bencher: Bencher<'_, '_>) {
    forward(bencher, &one_thread());
}

fn forward(bencher: Bencher<'_, '_>, runtime: &Runtime) {
    let (node, _) = runtime.block_on(nodes());
    let payload = gusset::etf::to_payload(&(atom!("n"), serde_bytes::Bytes::new(&[7; 16]))).unwrap();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        runtime.block_on(async {
            let (mut receiver, sender, payload) = (node.process(), node.process(), payload.clone());
            let to = receiver.pid().clone();
            let receiving = tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    let Message::Sent(payload) = receiver.recv().await.unwrap() else { panic!("only messages come") };
                    assert_eq!(payload.bytes().len(), 26);
                }
            });
            let sending = tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    sender.forward(&to, &payload).await.unwrap();
                }
            });
            receiving.await.unwrap();
            sending.await.unwrap();
        });
    });
}

/// What a channel of tokio does with as many, for comparison: 48 bytes each, no names, no encoding.
#[divan::bench(sample_count = 20)]
fn channel(bencher: Bencher<'_, '_>) {
    let runtime = Runtime::new().unwrap();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        runtime.block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            let receiving = tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    let bytes: [u64; 6] = receiver.recv().await.unwrap();
                    assert_eq!(bytes, [7; 6]);
                }
            });
            let sending = tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    tokio::task::coop::consume_budget().await;
                    sender.send([7; 6]).unwrap();
                }
            });
            receiving.await.unwrap();
            sending.await.unwrap();
        });
    });
}

/// A sender and a receiver on two nodes of this process.
#[divan::bench(sample_count = 20)]
fn loopback(bencher: Bencher<'_, '_>) {
    let runtime = Runtime::new().unwrap();
    let (from, to) = runtime.block_on(async {
        let (from, to) = nodes().await;
        from.connect(to.name().clone()).await.unwrap();
        (from, to)
    });
    run(bencher, &runtime, &from, &to);
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn run(bencher: Bencher<'_, '_>, runtime: &Runtime, from: &Node, to: &Node) {
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        runtime.block_on(async {
            let receiver = to.process();
            let sender = send(from.process(), receiver.pid().clone());
            receive(receiver).await.unwrap();
            sender.await.unwrap();
        });
    });
}

/// The payload of the usual benchmarks: `{n, <<16 bytes>>}`.
fn send(process: Process, to: Pid) -> JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..MESSAGES {
            process.send(&to, &(atom!("n"), serde_bytes::Bytes::new(&[7; 16]))).await.unwrap();
        }
    })
}

fn receive(mut process: Process) -> JoinHandle<()> {
    tokio::spawn(async move {
        for _ in 0..MESSAGES {
            let Message::Sent(payload) = process.recv().await.unwrap() else { panic!("only messages come") };
            let mut reader = payload.reader();
            assert_eq!((reader.tuple().unwrap(), &*reader.atom_text().unwrap()), (2, "n"));
            assert_eq!(reader.binary().unwrap().len(), 16);
        }
    })
}

/// Two nodes with an EPMD of their own.
async fn nodes() -> (Node, Node) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let start = |name: &str| {
        Node::builder(format!("{name}@127.0.0.1"))
            .cookie(Cookie::new("bench").unwrap())
            .listen(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 0..=0)
            .epmd(EpmdMode::Auto, port)
            .start()
    };
    (start("one").await.unwrap(), start("two").await.unwrap())
}
