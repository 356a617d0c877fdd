//! The one message of PubSub, `{forward_to_local, Topic, Message, Dispatcher}`, and the names it is sent to.

use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::BytesMut;
use serde::Serialize;

use crate::atom;
use crate::etf::{self, Atom, AtomTooLong, DecodeError, DecodeErrorKind, EncodeError, Encoder, Payload};

/// The name of the adapter (`Module.concat(name, "Adapter")`).
pub(super) fn adapter(name: &str) -> Result<Atom, AtomTooLong> {
    Atom::new(format!("Elixir.{}.Adapter", name.strip_prefix("Elixir.").unwrap_or(name)))
}

/// The groups of a pool, which are the names of its workers too: that of the adapter, then numbered from 2 on.
pub(super) fn groups(name: &str, pool_size: NonZeroUsize) -> Result<Vec<Atom>, AtomTooLong> {
    let first = adapter(name)?;
    let numbered = (2..=pool_size.get()).map(|number| Atom::new(format!("{first}_{number}")));
    std::iter::once(Ok(first.clone())).chain(numbered).collect()
}

/// A message that is encoded for everybody.
pub(super) struct Forward {
    payload: Payload,
    message: Range<usize>,
}

impl Forward {
    pub(super) fn new<T: Serialize + ?Sized>(topic: &str, message: &T, dispatcher: &Atom) -> Result<Self, EncodeError> {
        let mut buf = BytesMut::new();
        let mut encoder = Encoder::new(&mut buf);
        encoder.tuple_header(4);
        encoder.atom(&atom!("forward_to_local"));
        encoder.binary(topic.as_bytes());
        let start = encoder.buffer().len();
        etf::serialize_into(message, &mut encoder)?;
        let end = encoder.buffer().len();
        encoder.atom(dispatcher);
        Ok(Self { payload: Payload::new(buf.freeze(), None), message: start..end })
    }

    pub(super) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// What subscribers get of it.
    pub(super) fn message(&self) -> Payload {
        self.payload.part(self.message.clone())
    }
}

/// What another node sent, with its message not looked at.
pub(super) struct Received<'a> {
    payload: &'a Payload,
    pub(super) topic: &'a [u8],
    start: usize,
}

impl<'a> Received<'a> {
    pub(super) fn read(payload: &'a Payload) -> Result<Self, DecodeError> {
        let mut reader = payload.reader();
        reader.tuple_of(4)?;
        if reader.atom_text()? != "forward_to_local" {
            return Err(reader.error(DecodeErrorKind::Invalid("only `forward_to_local` is known")));
        }
        let topic = reader.binary()?;
        Ok(Self { payload, topic, start: reader.offset() })
    }

    /// The message, and the module that the sender wants it to be dispatched by.
    pub(super) fn message(&self) -> Result<(Payload, Atom), DecodeError> {
        let mut reader = self.payload.reader();
        reader.take(self.start)?;
        reader.skip()?;
        let end = reader.offset();
        Ok((self.payload.part(self.start..end), reader.atom()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::Term;
    use crate::tuple;

    #[test]
    fn workers_have_the_names_that_the_adapter_gives_them() {
        let names = |name, size| -> Vec<String> {
            let groups = groups(name, NonZeroUsize::new(size).unwrap()).unwrap();
            groups.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("MyApp.PubSub", 1), ["Elixir.MyApp.PubSub.Adapter"]);
        let three = ["Elixir.MyApp.PubSub.Adapter", "Elixir.MyApp.PubSub.Adapter_2", "Elixir.MyApp.PubSub.Adapter_3"];
        assert_eq!(names("Elixir.MyApp.PubSub", 3), three);
        assert!(adapter(&"x".repeat(300)).is_err());
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let forward = Forward::new("room:1", &(1, "two"), &atom!("Elixir.Phoenix.PubSub")).unwrap();
        let term = tuple![atom!("forward_to_local"), "room:1", tuple![1, "two"], atom!("Elixir.Phoenix.PubSub")];
        assert_eq!(forward.payload().term().unwrap(), term);
        assert_eq!(forward.message().term().unwrap(), tuple![1, "two"]);
        let received = Received::read(forward.payload()).unwrap();
        assert_eq!(received.topic, b"room:1");
        let (message, dispatcher) = received.message().unwrap();
        assert_eq!((message.term().unwrap(), dispatcher), (tuple![1, "two"], atom!("Elixir.Phoenix.PubSub")));
    }

    #[test]
    fn what_is_no_broadcast_is_an_error() {
        for odd in [
            Term::from(7),
            tuple![atom!("forward_to_local"), "t", 1],
            tuple![atom!("other"), "t", 1, atom!("d")],
            tuple![atom!("forward_to_local"), atom!("t"), 1, atom!("d")],
        ] {
            assert!(Received::read(&Payload::from_term(&odd).unwrap()).is_err(), "{odd}");
        }
        let no_module = Payload::from_term(&tuple![atom!("forward_to_local"), "t", 1, 2]).unwrap();
        assert!(Received::read(&no_module).unwrap().message().is_err());
    }
}
