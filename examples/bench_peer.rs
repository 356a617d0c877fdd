//! The peer that the benchmark of nodes drives: one process called `bench` that echoes, counts, floods
//! and answers calls, read and written without a tree.
//!
//! Configured by the environment: `BENCH_NODE`, `BENCH_COOKIE`, `BENCH_DRIVER`, `BENCH_MODE` (`listen` or
//! `dial`), `ERL_EPMD_PORT`. See `docs/performance.md`.

use std::error::Error;

use bytes::Bytes;
use gusset::etf::{DecodeError, Reader};
use gusset::node::Target;
use gusset::services::Envelope;
use gusset::{Atom, Cookie, EpmdMode, Message, Node, Payload, Pid, Process, atom};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let port = variable("ERL_EPMD_PORT", "4369").parse()?;
    let node = Node::builder(variable("BENCH_NODE", "peer@127.0.0.1"))
        .cookie(Cookie::new(variable("BENCH_COOKIE", "bench"))?)
        .listen(vec![[127, 0, 0, 1].into()], 0..=0)
        .epmd(EpmdMode::External, port)
        .start()
        .await?;
    let bench = node.register("bench")?;
    if variable("BENCH_MODE", "listen") == "dial" {
        node.connect(variable("BENCH_DRIVER", "driver@127.0.0.1").parse::<gusset::DialTarget>()?).await?;
    }
    tokio::spawn(serve(bench)).await??;
    node.shutdown().await;
    Ok(())
}

/// What the process counts.
#[derive(Default)]
struct Counters {
    messages: i64,
    bytes: i64,
}

enum Task {
    Echo { to: Pid, tag: Payload, payload: Bytes },
    Count(usize),
    Report { to: Pid, tag: Payload },
    Flood { to: Pid, tag: Payload, count: i64, size: usize },
    Call,
    Quit,
    Other,
}

async fn serve(mut bench: Process) -> Result<(), Failure> {
    let mut counters = Counters::default();
    loop {
        let Message::Sent(message) = bench.recv().await? else { continue };
        match read(&message).unwrap_or(Task::Other) {
            Task::Echo { to, tag, payload } => tell(&bench, to, &(&tag, Binary(&payload))).await,
            Task::Count(bytes) => {
                counters.messages += 1;
                counters.bytes += bytes as i64;
            }
            Task::Report { to, tag } => tell(&bench, to, &(&tag, counters.messages, counters.bytes)).await,
            Task::Flood { to, tag, count, size } => {
                let payload = vec![b'x'; size];
                for number in 1..=count {
                    tell(&bench, to.clone(), &(atom!("m"), number, Binary(&payload))).await;
                }
                tell(&bench, to, &(&tag, atom!("done"), count)).await;
            }
            Task::Call => answer(&bench, &message).await,
            Task::Quit => return Ok(()),
            Task::Other => {}
        }
    }
}

/// A binary, for serde.
struct Binary<'a>(&'a [u8]);

impl serde::Serialize for Binary<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A peer that has gone meanwhile is no reason to end.
async fn tell<T: serde::Serialize>(bench: &Process, to: Pid, message: &T) {
    let _ = bench.send(Target::Pid(to), message).await;
}

async fn answer(bench: &Process, message: &Payload) {
    let Envelope::Call(from, request) = Envelope::of(message) else { return };
    if let Ok((_, number)) = request.decode::<(Atom, i64)>() {
        let _ = from.reply(bench, &(atom!("pong"), number)).await;
    }
}

/// One look at the message: no tree, no copy of the payload.
fn read(message: &Payload) -> Result<Task, DecodeError> {
    let mut reader = message.reader();
    let arity = reader.tuple()?;
    let start = reader.clone();
    let Ok(word) = reader.atom_text() else {
        reader = start;
        let to = reader.pid()?;
        let tag = next(message, &mut reader)?;
        return Ok(Task::Echo { to, tag, payload: reader.bytes()? });
    };
    Ok(match (&*word, arity) {
        ("n", 2) => Task::Count(reader.binary()?.len()),
        ("$gen_call", 3) => Task::Call,
        ("report", 3) => Task::Report { to: reader.pid()?, tag: next(message, &mut reader)? },
        ("flood", 5) => Task::Flood {
            to: reader.pid()?,
            tag: next(message, &mut reader)?,
            count: reader.i64()?,
            size: usize::try_from(reader.u64()?).unwrap_or_default(),
        },
        ("quit", 1) => Task::Quit,
        _ => Task::Other,
    })
}

/// The next term, as it is encoded.
fn next(message: &Payload, reader: &mut Reader<'_>) -> Result<Payload, DecodeError> {
    let start = reader.offset();
    reader.skip()?;
    Ok(message.part(start..reader.offset()))
}
