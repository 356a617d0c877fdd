//! A stranger at the door, and a stranger behind the door that we knock at: every state, fed from the input. Nobody
//! without the cookie gets through.
#![no_main]

use bytes::{Bytes, BytesMut};
use gusset::{
    etf::Creation,
    proto::{
        Cookie, LocalIdentity, NodeName,
        handshake::{Arrival, AwaitName, Challenged, Framing, Initiator, PrefixWidth, StatusOutcome, Welcome},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [role, stream @ ..] = input else { return };
    let width = if role & 1 == 0 { PrefixWidth::Two } else { PrefixWidth::Four };
    let mut messages = Messages { framing: Framing(width), received: BytesMut::from(stream) };
    let _ = if role & 2 == 0 { accept(*role, &mut messages) } else { dial(*role, &mut messages) };
});

struct Messages {
    framing: Framing,
    received: BytesMut,
}

impl Messages {
    fn next(&mut self) -> Option<Bytes> {
        self.framing.cut(&mut self.received).ok().flatten()
    }
}

/// `None` at the first message that is missing or refused.
fn accept(role: u8, messages: &mut Messages) -> Option<()> {
    let state = AwaitName::new(&identity()).expect("a named node accepts");
    let arrival = match state.on_message(&messages.next()?).ok()? {
        Arrival::Unnamed(request) => {
            let name = NodeName::new(format!("given@{}", request.host())).ok()?;
            request.grant(name, Creation(7))
        }
        other => other,
    };
    let Arrival::Named(greeting) = arrival else { return None };
    let challenged = if role & 4 == 0 {
        greeting.welcome(Welcome::Ok, CHALLENGE).ok()?.0
    } else {
        let (state, _) = greeting.alive();
        state.on_message(&messages.next()?, CHALLENGE).ok()?.0
    };
    let state = match challenged {
        Challenged::Complement(state) => state.on_message(&messages.next()?).ok()?,
        Challenged::Reply(state) => state,
    };
    let outcome = state.on_message(&messages.next()?, &cookie());
    assert!(outcome.is_err(), "nobody here knows the cookie: {outcome:?}");
    None
}

fn dial(role: u8, messages: &mut Messages) -> Option<()> {
    let identity = if role & 4 == 0 { identity() } else { LocalIdentity::unnamed("host") };
    let peer = NodeName::new("peer@host").expect("a name");
    let (state, _) = Initiator::start(&identity, &peer, &cookie()).expect("a name of ours fits");
    let state = match state.on_message(&messages.next()?).ok()? {
        StatusOutcome::Continue(state) => state,
        StatusOutcome::Alive(question) => question.replace().0,
    };
    let (state, _) = state.on_message(&messages.next()?, CHALLENGE).ok()?;
    let outcome = state.on_message(&messages.next()?);
    assert!(outcome.is_err(), "nobody here knows the cookie: {outcome:?}");
    None
}

fn identity() -> LocalIdentity {
    LocalIdentity::named(NodeName::new("us@host").expect("a name"), Creation(3))
}

/// Sixteen bytes of digest cannot be found by chance.
fn cookie() -> Cookie {
    Cookie::new("a_cookie_that_no_input_knows").expect("a cookie")
}

const CHALLENGE: u32 = 0x1234_5678;
