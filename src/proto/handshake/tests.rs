//! Both sides of the handshake joined in memory.

use bytes::BytesMut;

use super::super::{Cookie, Flags, NodeName};
use super::*;

const BOB_CREATION: Creation = Creation(0x6500_0002);
const ANN_CREATION: Creation = Creation(0x6400_0001);

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn ann() -> LocalIdentity {
    LocalIdentity::named(name("ann@h"), ANN_CREATION)
}

fn bob() -> LocalIdentity {
    LocalIdentity::named(name("bob@h"), BOB_CREATION)
}

fn cookie() -> Cookie {
    Cookie::new("oatmeal").unwrap()
}

/// Carries messages over a stream that hands out one byte at a time.
struct Wire(Framing);

impl Wire {
    fn carry(&self, messages: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut stream = Vec::new();
        for message in messages {
            self.0.put(message, &mut stream);
        }
        let (mut received, mut carried) = (BytesMut::new(), Vec::new());
        for byte in stream {
            received.extend_from_slice(&[byte]);
            while let Some(message) = self.0.cut(&mut received).unwrap() {
                carried.push(message.to_vec());
            }
        }
        assert!(received.is_empty());
        carried
    }
}

fn start(local: &LocalIdentity, peer: &str) -> (AwaitStatus, Vec<u8>) {
    Initiator::start(local, &name(peer), &cookie()).unwrap()
}

fn greet(local: &LocalIdentity, message: &[u8]) -> Greeting {
    match AwaitName::new(local).unwrap().on_message(message).unwrap() {
        Arrival::Named(greeting) => greeting,
        other => panic!("{other:?}"),
    }
}

fn proceed(state: AwaitStatus, status: &[u8]) -> AwaitChallenge {
    match state.on_message(status).unwrap() {
        StatusOutcome::Continue(state) => state,
        other => panic!("{other:?}"),
    }
}

fn reply_state(challenged: Challenged) -> AwaitReply {
    match challenged {
        Challenged::Reply(state) => state,
        other => panic!("{other:?}"),
    }
}

/// The whole handshake: what both sides make of it, or the first error and whose it is.
fn shake(
    wire: &Wire,
    caller: &LocalIdentity,
    called: &LocalIdentity,
    cookies: (&Cookie, &Cookie),
) -> Result<(Negotiated, Negotiated), (&'static str, HandshakeError)> {
    let caller_fails = |error| ("caller", error);
    let called_fails = |error| ("called", error);
    let (state, message) = Initiator::start(caller, called.name.as_ref().unwrap(), cookies.0).map_err(caller_fails)?;
    let message = wire.carry(&[&message]);
    let greeting = greet(called, &message[0]);
    let (challenged, [status, challenge]) = greeting.welcome(Welcome::Ok, 0).map_err(called_fails)?;
    let messages = wire.carry(&[&status, &challenge]);
    let state = proceed(state, &messages[0]);
    let (state, reply) = state.on_message(&messages[1], u32::MAX).map_err(caller_fails)?;
    let reply = wire.carry(&[&reply]);
    let Accepted { negotiated, ack } =
        reply_state(challenged).on_message(&reply[0], cookies.1).map_err(called_fails)?;
    let ack = wire.carry(&[&ack]);
    Ok((state.on_message(&ack[0]).map_err(caller_fails)?, negotiated))
}

#[test]
fn both_sides_agree_over_a_stream_that_is_split_at_every_byte() {
    for width in [PrefixWidth::Two, PrefixWidth::Four] {
        let (at_ann, at_bob) = shake(&Wire(Framing(width)), &ann(), &bob(), (&cookie(), &cookie())).unwrap();
        assert_eq!((at_ann.peer, at_ann.peer_creation), (name("bob@h"), BOB_CREATION));
        assert_eq!((at_bob.peer, at_bob.peer_creation), (name("ann@h"), ANN_CREATION));
        assert_eq!((at_ann.local_name, at_ann.local_creation), (name("ann@h"), ANN_CREATION));
        assert_eq!((at_bob.local_name, at_bob.local_creation), (name("bob@h"), BOB_CREATION));
        assert_eq!(at_ann.flags, Flags::OFFERED | Flags::PUBLISHED);
        assert_eq!(at_bob.flags, at_ann.flags);
        assert!(!at_ann.hidden && !at_bob.hidden);
    }
}

#[test]
fn a_connection_is_visible_only_when_both_sides_are_and_uses_what_both_offer() {
    let wire = Wire(Framing::default());
    for (caller, called, hidden) in
        [(ann(), bob(), false), (ann().hidden(), bob(), true), (ann(), bob().hidden(), true)]
    {
        let (at_ann, at_bob) = shake(&wire, &caller, &called, (&cookie(), &cookie())).unwrap();
        assert_eq!((at_ann.hidden, at_bob.hidden), (hidden, hidden));
    }
    let mut old = bob();
    old.flags = Flags::from_wire(0x1_01DF_7FBD);
    let (at_ann, at_bob) = shake(&wire, &ann(), &old, (&cookie(), &cookie())).unwrap();
    assert_eq!(at_ann.flags, old.flags);
    assert_eq!((at_ann.peer_flags, at_bob.peer_flags), (old.flags, Flags::OFFERED | Flags::PUBLISHED));
}

#[test]
fn the_acceptor_finds_a_wrong_cookie_first_and_the_initiator_checks_too() {
    let wrong = Cookie::new("porridge").unwrap();
    let (whose, error) = shake(&Wire(Framing::default()), &ann(), &bob(), (&cookie(), &wrong)).unwrap_err();
    assert_eq!((whose, error), ("called", HandshakeError::WrongCookie { peer: name("ann@h") }));

    // An acceptor that takes any cookie is found out by its own proof.
    let (state, _) = start(&ann(), "bob@h");
    let (challenged, [status, challenge]) = greet(&bob(), &start(&ann(), "bob@h").1).welcome(Welcome::Ok, 1).unwrap();
    drop(challenged);
    let (state, _) = proceed(state, &status).on_message(&challenge, 77).unwrap();
    let ack = message::write_ack(&wrong.digest(77));
    assert_eq!(state.on_message(&ack).unwrap_err(), HandshakeError::WrongCookie { peer: name("bob@h") });
}

#[test]
fn our_messages_have_the_bytes_that_beam_expects() {
    let (_, message) = start(&LocalIdentity { flags: Flags::from_wire(0xD_07DF_7FBD), ..ann() }, "bob@h");
    assert_eq!(message, b"N\0\0\0\x0d\x07\xdf\x7f\xbd\x64\0\0\x01\0\x05ann@h");
    let (_, [status, challenge]) = greet(&bob(), &message).welcome(Welcome::OkSimultaneous, 0x0102_0304).unwrap();
    assert_eq!(status, b"sok_simultaneous");
    assert_eq!(challenge, b"N\0\0\0\x6d\x07\xdf\x7f\xbd\x01\x02\x03\x04\x65\0\0\x02\0\x05bob@h");
}

#[test]
fn what_follows_the_ack_in_the_same_segment_is_left_for_the_connection() {
    let framing = Framing::default();
    let mut stream = Vec::new();
    framing.put(&message::write_ack(&cookie().digest(9)), &mut stream);
    stream.extend_from_slice(b"\0\0\0\0\0\0\0\x03\x83pq");
    for split in 0..=stream.len() {
        let mut received = BytesMut::from(&stream[..split]);
        let ack = match framing.cut(&mut received).unwrap() {
            Some(ack) => ack,
            None => {
                received.extend_from_slice(&stream[split..]);
                framing.cut(&mut received).unwrap().unwrap()
            }
        };
        assert_eq!(ack.len(), 17);
        assert!(b"\0\0\0\0\0\0\0\x03\x83pq".starts_with(&received[..]), "split at {split}");
    }
}

#[test]
fn every_status_leads_where_it_should() {
    let outcome = |status: &[u8]| start(&ann(), "bob@h").0.on_message(status);
    assert!(matches!(outcome(b"sok"), Ok(StatusOutcome::Continue(_))));
    assert!(matches!(outcome(b"sok_simultaneous"), Ok(StatusOutcome::Continue(_))));
    assert!(matches!(outcome(b"salive"), Ok(StatusOutcome::Alive(_))));
    assert_eq!(outcome(b"snok").unwrap_err(), HandshakeError::Nok { peer: name("bob@h") });
    assert!(matches!(outcome(b"snot_allowed").unwrap_err(), HandshakeError::NotAllowed { .. }));
    assert_eq!(outcome(b"sbye\n").unwrap_err(), HandshakeError::UnknownStatus { status: "bye\\n".to_owned() });
    assert!(matches!(outcome(b"snamed:\0\x03x@h\0\0\0\x09").unwrap_err(), HandshakeError::Renamed { .. }));
    assert!(matches!(outcome(b"N").unwrap_err(), HandshakeError::Unexpected { .. }));
    assert!(matches!(outcome(b"").unwrap_err(), HandshakeError::Unexpected { found: Found(None), .. }));
}

#[test]
fn a_refusal_names_the_flags_that_newer_releases_ask_for() {
    let poor = LocalIdentity { flags: Flags::OFFERED - Flags::V4_NC, ..ann() };
    let error = start(&poor, "bob@h").0.on_message(b"snot_allowed").unwrap_err().to_string();
    assert!(error.contains("V4_NC (OTP 26 and later ask for it)"), "{error}");
    let error = start(&ann(), "bob@h").0.on_message(b"snot_allowed").unwrap_err().to_string();
    assert!(error.contains("net_kernel:allow"), "{error}");
}

#[test]
fn the_question_whether_to_replace_is_answered_both_ways() {
    let (state, message) = start(&ann(), "bob@h");
    let (asking, question) = greet(&bob(), &message).alive();
    let StatusOutcome::Alive(answer) = state.on_message(&question).unwrap() else { panic!("not asked") };
    let (state, yes) = answer.replace();
    assert_eq!(yes, b"strue");
    let (challenged, challenge) = asking.on_message(&yes, 5).unwrap();
    let (state, reply) = state.on_message(&challenge, 6).unwrap();
    let accepted = reply_state(challenged).on_message(&reply, &cookie()).unwrap();
    assert_eq!(state.on_message(&accepted.ack).unwrap().peer, name("bob@h"));

    let (state, message) = start(&ann(), "bob@h");
    let (asking, question) = greet(&bob(), &message).alive();
    let StatusOutcome::Alive(answer) = state.on_message(&question).unwrap() else { panic!("not asked") };
    let no = answer.keep();
    assert_eq!(no, b"sfalse");
    assert_eq!(asking.on_message(&no, 5).unwrap_err(), HandshakeError::AliveKept);
    let (asking, _) = greet(&bob(), &message).alive();
    assert!(matches!(asking.on_message(b"smaybe", 5), Err(HandshakeError::Unexpected { .. })));
}

#[test]
fn refusals_are_those_of_beam() {
    let (_, message) = start(&ann(), "bob@h");
    let greeting = greet(&bob(), &message);
    assert_eq!(greeting.refuse(Refusal::Nok), b"snok");
    assert_eq!(greeting.refuse(Refusal::NotAllowed), b"snot_allowed");
}

#[test]
fn a_name_that_no_node_has_is_refused_without_an_answer() {
    for bad in ["noat", "@h", "a@", "a@b@c", ""] {
        let mut message = b"N\0\0\0\x0d\x07\xdf\x7f\xbd\x64\0\0\x01".to_vec();
        message.extend_from_slice(&(bad.len() as u16).to_be_bytes());
        message.extend_from_slice(bad.as_bytes());
        let error = AwaitName::new(&bob()).unwrap().on_message(&message).unwrap_err();
        assert!(matches!(error, HandshakeError::PeerName(_)), "{bad}: {error}");
    }
}

#[test]
fn an_initiator_that_lacks_flags_is_told_so_and_the_flags_are_named() {
    let refused = |flags: u64| {
        let mut message = b"N".to_vec();
        message.extend_from_slice(&flags.to_be_bytes());
        message.extend_from_slice(b"\0\0\0\x07\0\x05ann@h");
        match AwaitName::new(&bob()).unwrap().on_message(&message).unwrap() {
            Arrival::Refused(refused) => Some(refused),
            Arrival::Named(_) => None,
            other => panic!("{other:?}"),
        }
    };
    let Refused { reply, error } = refused(0xD_07DF_7FBC & !0x2_0000 & !(1 << 26)).unwrap();
    assert_eq!(reply, b"snot_allowed");
    assert_eq!(error.to_string(), "ann@h lacks what this connection needs: MAP_TAG (OTP 25 and later ask for it)");
    assert!(refused(0x400_0000).is_none(), "the digest bit stands for all of them");
    assert!(refused(0x1_01DF_7FBC).is_none(), "OTP 23 has all we need");
    assert!(refused(0).is_some());
}

#[test]
fn an_acceptor_that_lacks_flags_or_has_another_name_is_left() {
    let challenge = |creation, name: &NodeName, flags| message::write_challenge(name, creation, flags, 1).unwrap();
    let answer = |message: &[u8]| proceed(start(&ann(), "bob@h").0, b"sok").on_message(message, 2).unwrap_err();
    // Without the digest bit, which would stand for it.
    let poor = Flags::OFFERED - Flags::BIG_CREATION - Flags::MANDATORY_25_DIGEST;
    let error = answer(&challenge(BOB_CREATION, &name("bob@h"), poor)).to_string();
    assert!(error.starts_with("bob@h lacks") && error.contains("BIG_CREATION (OTP 23"), "{error}");
    let error = answer(&challenge(BOB_CREATION, &name("eve@h"), Flags::OFFERED));
    assert_eq!(error, HandshakeError::OtherName { asked: name("bob@h"), answered: name("eve@h") });
    // The challenge of OTP 22.
    let error = answer(b"n\0\x05\0\x07\xff\xbd\0\0\0\x01bob@h").to_string();
    assert!(error.contains("HANDSHAKE_23"), "{error}");
}

#[test]
fn the_old_name_message_is_taken_with_its_complement() {
    let old = b"n\0\x05\x01\xdf\x7f\xbdann@h";
    let (challenged, [status, challenge]) = greet(&bob(), old).welcome(Welcome::Ok, 3).unwrap();
    assert_eq!(status, b"sok");
    assert_eq!(challenge.first(), Some(&b'N'), "the new challenge, as OTP 23 asks with HANDSHAKE_23");
    let Challenged::Complement(state) = challenged else { panic!("no complement is waited for") };
    let state = state.on_message(b"c\0\0\0\x01\x64\0\0\x01").unwrap();
    let reply = message::write_reply(4, &cookie().digest(3));
    let negotiated = state.on_message(&reply, &cookie()).unwrap().negotiated;
    assert_eq!((negotiated.peer, negotiated.peer_creation), (name("ann@h"), ANN_CREATION));
    assert_eq!(negotiated.peer_flags, Flags::from_wire(0x1_01DF_7FBD));

    // What is asked for beyond the low half counts when the complement is there.
    let strict = LocalIdentity { required: Flags::REQUIRED | Flags::SPAWN, ..bob() };
    let Challenged::Complement(state) = greet(&strict, old).welcome(Welcome::Ok, 3).unwrap().0 else { panic!() };
    let error = state.on_message(b"c\0\0\0\0\x64\0\0\x01").unwrap_err().to_string();
    assert!(error.contains("SPAWN"), "{error}");
    // A node of OTP 22 lacks the handshake itself.
    let arrival = AwaitName::new(&bob()).unwrap().on_message(b"n\0\x05\0\xdf\x7f\xbdann@h").unwrap();
    assert!(matches!(arrival, Arrival::Refused(_)));
}

#[test]
fn a_name_is_asked_for_and_given() {
    let unnamed = LocalIdentity::unnamed("h");
    let (state, message) = start(&unnamed, "bob@h");
    assert_eq!(&message[message.len() - 7..], b"\0\0\0\0\0\x01h", "no creation, and only the host");
    let Arrival::Unnamed(request) = AwaitName::new(&bob()).unwrap().on_message(&message).unwrap() else {
        panic!("no request for a name")
    };
    assert_eq!(request.host(), "h");
    let greeting = request.grant(name("1X2Y@h"), Creation(9)).unwrap();
    assert!(greeting.hidden());
    let (challenged, [status, challenge]) = greeting.welcome(Welcome::Ok, 1).unwrap();
    assert_eq!(status, b"snamed:\0\x061X2Y@h\0\0\0\x09");
    let (state, reply) = proceed(state, &status).on_message(&challenge, 2).unwrap();
    let accepted = reply_state(challenged).on_message(&reply, &cookie()).unwrap();
    let negotiated = state.on_message(&accepted.ack).unwrap();
    assert_eq!((negotiated.local_name, negotiated.local_creation), (name("1X2Y@h"), Creation(9)));
    assert_eq!((accepted.negotiated.peer, accepted.negotiated.peer_creation), (name("1X2Y@h"), Creation(9)));
    assert!(negotiated.hidden && accepted.negotiated.hidden);
    assert!(!negotiated.flags.contains(Flags::NAME_ME), "a request is no capability");
    assert!(negotiated.peer_flags.contains(Flags::NAME_ME), "BEAM has it in its challenge too");
}

#[test]
fn a_name_on_another_host_or_none_at_all_ends_the_request() {
    let answer = |status: &[u8]| start(&LocalIdentity::unnamed("h"), "bob@h").0.on_message(status).unwrap_err();
    assert!(matches!(answer(b"snamed:\0\x03x@g\0\0\0\x09"), HandshakeError::Renamed { .. }));
    assert_eq!(answer(b"sok"), HandshakeError::NotNamed { peer: name("bob@h") });
    let short = HandshakeError::Short { message: "the status message" };
    assert_eq!(answer(b"snamed:\0\x03x@h\0\0\0"), short);
    assert!(AwaitName::new(&LocalIdentity::unnamed("h")).is_err(), "nobody can connect to a node without name");
}

#[test]
fn names_travel_as_latin_1() {
    let local = LocalIdentity::named(name("zoë@h"), Creation(9));
    let (_, message) = start(&local, "bob@h");
    assert!(message.ends_with(b"\0\x05zo\xeb@h"));
    assert_eq!(greet(&bob(), &message).peer(), &name("zoë@h"));
    let local = LocalIdentity::named(name("日本@h"), Creation(9));
    let error = Initiator::start(&local, &name("bob@h"), &cookie()).unwrap_err();
    assert!(matches!(error, HandshakeError::LocalName { .. }));
}

#[test]
fn bytes_behind_a_message_are_ignored_and_missing_ones_are_an_error() {
    let (_, hello) = start(&ann(), "bob@h");
    let (_, [_, challenge]) = greet(&bob(), &hello).welcome(Welcome::Ok, 1).unwrap();
    let mut longer = hello.clone();
    longer.extend_from_slice(b"later");
    assert_eq!(greet(&bob(), &longer).peer(), &name("ann@h"));
    let mut longer = challenge.clone();
    longer.extend_from_slice(b"later");
    assert!(proceed(start(&ann(), "bob@h").0, b"sok").on_message(&longer, 2).is_ok());

    for len in 0..hello.len() {
        assert!(AwaitName::new(&bob()).unwrap().on_message(&hello[..len]).is_err(), "name cut at {len}");
    }
    for len in 0..challenge.len() {
        let state = proceed(start(&ann(), "bob@h").0, b"sok");
        assert!(state.on_message(&challenge[..len], 2).is_err(), "challenge cut at {len}");
    }
    let reply = message::write_reply(4, &cookie().digest(1));
    for len in 0..reply.len() {
        let state = reply_state(greet(&bob(), &hello).welcome(Welcome::Ok, 1).unwrap().0);
        assert!(state.on_message(&reply[..len], &cookie()).is_err(), "reply cut at {len}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_state_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64), tag in "[Nnscra]?") {
        let message = [tag.as_bytes(), &bytes].concat();
        let _ = AwaitName::new(&bob()).unwrap().on_message(&message);
        let _ = start(&ann(), "bob@h").0.on_message(&message);
        let _ = proceed(start(&ann(), "bob@h").0, b"sok").on_message(&message, 1);
        let (_, hello) = start(&ann(), "bob@h");
        let _ = greet(&bob(), &hello).alive().0.on_message(&message, 1);
        let _ = reply_state(greet(&bob(), &hello).welcome(Welcome::Ok, 1).unwrap().0).on_message(&message, &cookie());
    }
}
