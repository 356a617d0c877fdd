//! Control messages through their bytes and back.

use bytes::BytesMut;

use super::*;
use crate::atom;
use crate::etf::{Encoder, Limits};
use crate::proto::Flags;
use crate::proto::samples::{every_control, pid, reference};

const NEW: Flags = Flags::OFFERED;
/// A C node of old: what OTP 23 requires, and monitors.
const OLD: Flags = Flags::REQUIRED_BY_23.with(Flags::DIST_MONITOR).with(Flags::DIST_MONITOR_NAME);

fn parse(bytes: &[u8]) -> Result<Parsed, ControlError> {
    Control::parse(bytes, &[], &Limits::default())
}

fn encoded(write: impl FnOnce(&mut Encoder<'_>)) -> BytesMut {
    let mut bytes = BytesMut::new();
    write(&mut Encoder::new(&mut bytes));
    bytes
}

/// A control tuple of these pieces.
fn tuple(op: u64, elements: &[&dyn Fn(&mut Encoder<'_>)]) -> BytesMut {
    encoded(|enc| {
        enc.tuple_header(elements.len() as u32 + 1);
        enc.u64(op);
        elements.iter().for_each(|element| element(enc));
    })
}

fn a(enc: &mut Encoder<'_>) {
    enc.pid(&pid("a@h", 1));
}

fn b(enc: &mut Encoder<'_>) {
    enc.pid(&pid("b@h", 2));
}

fn r(enc: &mut Encoder<'_>) {
    enc.reference(&reference("a@h"));
}

fn name(enc: &mut Encoder<'_>) {
    enc.atom(&atom!("rex"));
}

fn reason(enc: &mut Encoder<'_>) {
    enc.tuple_header(1);
    enc.atom(&atom!("boom"));
}

fn token(enc: &mut Encoder<'_>) {
    enc.tuple_header(5);
    enc.i64(1);
    enc.atom(&atom!("label"));
    enc.i64(0);
    a(enc);
    enc.i64(0);
}

fn flags(bits: i64) -> impl Fn(&mut Encoder<'_>) {
    move |enc| enc.i64(bits)
}

#[test]
fn every_message_comes_back_from_the_form_for_peers_old_and_new() {
    for flags in [NEW, OLD] {
        for control in every_control() {
            if !control.is_expressible(flags) {
                continue;
            }
            let has_reason = control.has_payload() && !control.payload_is_separate(flags);
            let bytes = encoded(|enc| {
                control.encode(flags, enc);
                if has_reason {
                    reason(enc);
                }
            });
            let parsed = parse(&bytes).unwrap();
            assert_eq!(parsed.len, bytes.len());
            assert_eq!(parsed.reason.map(|range| bytes[range] == encoded(reason)[..]), has_reason.then_some(true));
            let expected = match control {
                Control::Send { to, .. } if flags == OLD => Control::Send { from: None, to },
                Control::Unlink { from, to, .. } if flags == OLD => Control::Unlink { id: None, from, to },
                other => other,
            };
            assert_eq!(parsed.control, expected);
        }
    }
}

#[test]
fn what_a_peer_does_not_know_is_not_expressible() {
    let count = |flags| every_control().iter().filter(|control| control.is_expressible(flags)).count();
    let all = every_control().len();
    // Against a peer that offers everything: all but an unlink without an id.
    assert_eq!(count(NEW), all - 1);
    assert_eq!(count(NEW - Flags::ALTACT_SIG), all - 3, "exits to a name and to an alias");
    assert_eq!(count(NEW - Flags::SPAWN), all - 5);
    assert_eq!(count(NEW - Flags::DIST_MONITOR_NAME), all - 3);
    assert!(count(OLD) < all - 5);
}

#[test]
fn the_operation_is_the_one_a_beam_would_choose() {
    let op = |control: &Control, flags| {
        let bytes = encoded(|enc| control.encode(flags, enc));
        (bytes[1], bytes[3])
    };
    let (from, to) = (pid("a@h", 1), pid("b@h", 2));
    let send = Control::Send { from: Some(from.clone()), to: to.clone() };
    assert_eq!(op(&send, NEW), (3, 22));
    assert_eq!(op(&send, OLD), (3, 2));
    let alias = Control::AliasSend { from: from.clone(), to: reference("b@h") };
    assert_eq!(op(&alias, NEW), (4, 37));
    assert_eq!(op(&alias, NEW - Flags::ALTACT_SIG), (3, 33));
    let unlink = Control::Unlink { id: Some(1), from: from.clone(), to: to.clone() };
    assert_eq!(op(&unlink, NEW), (4, 35));
    assert_eq!(op(&unlink, OLD), (3, 4));
    let exit = Control::Exit { from: from.clone(), to: to.clone() };
    assert_eq!(op(&exit, NEW), (3, 24));
    assert_eq!(op(&exit, OLD), (4, 3));
    let exit2 = Control::Exit2 { from, to: ExitTarget::Pid(to) };
    assert_eq!(op(&exit2, NEW), (3, 26));
    assert_eq!(op(&exit2, OLD), (4, 8));
}

#[test]
fn trace_tokens_are_passed_over() {
    let (from, to) = (pid("a@h", 1), pid("b@h", 2));
    let cases: [(BytesMut, Control, bool); 10] = [
        (tuple(12, &[&name, &b, &token]), Control::Send { from: None, to: to.clone() }, false),
        (tuple(13, &[&a, &b, &token, &reason]), Control::Exit { from: from.clone(), to: to.clone() }, true),
        (tuple(16, &[&a, &name, &name, &token]), Control::RegSend { from: from.clone(), to: atom!("rex") }, false),
        (
            tuple(18, &[&a, &b, &token, &reason]),
            Control::Exit2 { from: from.clone(), to: ExitTarget::Pid(to.clone()) },
            true,
        ),
        (tuple(23, &[&a, &b, &token]), Control::Send { from: Some(from.clone()), to: to.clone() }, false),
        (tuple(25, &[&a, &b, &token]), Control::Exit { from: from.clone(), to: to.clone() }, false),
        (tuple(27, &[&a, &b, &token]), Control::Exit2 { from: from.clone(), to: ExitTarget::Pid(to.clone()) }, false),
        (tuple(34, &[&a, &r, &token]), Control::AliasSend { from: from.clone(), to: reference("a@h") }, false),
        (
            tuple(32, &[&r, &a, &flags(3), &b, &token]),
            Control::SpawnReply {
                reference: reference("a@h"),
                to: from.clone(),
                link: true,
                monitor: true,
                result: Ok(to.clone()),
            },
            false,
        ),
        (tuple(37, &[&flags(2), &a, &b, &token]), Control::Send { from: Some(from), to }, false),
    ];
    for (bytes, expected, has_reason) in cases {
        let parsed = parse(&bytes).unwrap();
        assert_eq!(parsed.control, expected);
        assert_eq!(parsed.len, bytes.len());
        let found = parsed.reason.map(|range| bytes[range].to_vec());
        assert_eq!(found, has_reason.then(|| encoded(reason).to_vec()));
    }
    let cut = tuple(23, &[&a, &b, &|enc: &mut Encoder<'_>| enc.tuple_header(5)]);
    assert!(parse(&cut).is_err(), "a token that is no term");
}

#[test]
fn signals_of_operation_37_mean_what_their_flags_say() {
    let from = pid("a@h", 1);
    let ok = |bytes: BytesMut| parse(&bytes).unwrap().control;
    let rex = atom!("rex");
    assert_eq!(ok(tuple(37, &[&flags(1), &a, &b])), Control::Send { from: Some(from.clone()), to: pid("b@h", 2) });
    assert_eq!(ok(tuple(37, &[&flags(9), &a, &name])), Control::RegSend { from: from.clone(), to: rex.clone() });
    assert_eq!(ok(tuple(37, &[&flags(4), &a, &r])), Control::AliasSend { from: from.clone(), to: reference("a@h") });
    let exit = |to| Control::Exit2 { from: from.clone(), to };
    assert_eq!(ok(tuple(37, &[&flags(17), &a, &b])), exit(ExitTarget::Pid(pid("b@h", 2))));
    assert_eq!(ok(tuple(37, &[&flags(24), &a, &name])), exit(ExitTarget::Name(rex.clone())));
    assert_eq!(ok(tuple(37, &[&flags(20), &a, &r])), exit(ExitTarget::Alias(reference("a@h"))));

    // What later releases may add: higher flags, even beyond 64 bits, and more elements.
    let huge = |enc: &mut Encoder<'_>| enc.buffer().extend_from_slice(&[110, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let large = |enc: &mut Encoder<'_>| enc.buffer().extend_from_slice(&[111, 0, 0, 0, 2, 0, 8, 1]);
    let reg_send = Control::RegSend { from: from.clone(), to: rex };
    assert_eq!(ok(tuple(37, &[&huge, &a, &name, &token, &token])), reg_send);
    assert_eq!(ok(tuple(37, &[&large, &a, &name])), reg_send);

    let negative = |enc: &mut Encoder<'_>| enc.buffer().extend_from_slice(&[110, 1, 1, 8]);
    for bad in [
        tuple(37, &[&flags(-1), &a, &name]),
        tuple(37, &[&negative, &a, &name]),
        tuple(37, &[&name, &a, &name]),
        tuple(37, &[&flags(12), &a, &name]),
        tuple(37, &[&flags(0), &a, &name]),
        tuple(37, &[&flags(8), &a, &b]),
        tuple(37, &[&flags(2), &a, &b]),
        tuple(37, &[&flags(0), &a]),
    ] {
        assert!(parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn unknown_operations_wrong_arity_and_unlink_id_zero_are_errors() {
    for op in [0, 5, 9, 10, 11, 14, 15, 17, 38, 255, 1 << 40] {
        let error = parse(&tuple(op, &[&a, &b])).unwrap_err();
        assert!(matches!(error, ControlError::UnknownOperation { code, arity: 3 } if code == op), "{error}");
    }
    assert!(matches!(parse(&tuple(5, &[])), Err(ControlError::UnknownOperation { code: 5, arity: 1 })));
    for (op, _, arity) in op::ALL.into_iter().filter(|(op, _, _)| *op != 37) {
        for wrong in [arity - 1, arity + 1] {
            let pieces: Vec<&dyn Fn(&mut Encoder<'_>)> = (1..wrong).map(|_| &a as _).collect();
            let error = parse(&tuple(op, &pieces)).unwrap_err();
            assert!(matches!(error, ControlError::Arity { found, .. } if found == wrong), "{op}: {error}");
        }
    }
    assert!(parse(&tuple(35, &[&flags(0), &a, &b])).is_err());
    assert!(parse(&tuple(36, &[&flags(0), &a, &b])).is_err());
    let most = tuple(35, &[&|enc: &mut Encoder<'_>| enc.u64(u64::MAX), &a, &b]);
    assert!(matches!(parse(&most).unwrap().control, Control::Unlink { id: Some(u64::MAX), .. }));
    assert!(parse(&[97, 1]).is_err(), "no tuple");
    assert!(parse(&encoded(|enc| enc.tuple_header(0))).is_err(), "an empty tuple");
    assert!(parse(&tuple(1, &[&a, &name])).is_err(), "a name where a pid belongs");
}

#[test]
fn spawn_options_are_read_as_a_beam_reads_them() {
    let mfa = |enc: &mut Encoder<'_>| {
        enc.tuple_header(3);
        enc.atom(&atom!("erlang"));
        enc.atom(&atom!("apply"));
        enc.i64(2);
    };
    let options = |list: &dyn Fn(&mut Encoder<'_>)| {
        let bytes = tuple(29, &[&r, &a, &b, &mfa, list]);
        match parse(&bytes).unwrap() {
            Parsed { control: Control::SpawnRequest { options, arity: 2, .. }, len, .. } => {
                assert_eq!(len, bytes.len());
                options
            }
            other => panic!("{other:?}"),
        }
    };
    let pair = |enc: &mut Encoder<'_>, name: &'static str| {
        enc.tuple_header(2);
        enc.atom(&Atom::new(name).unwrap());
        enc.i64(100);
    };
    assert_eq!(options(&|enc| enc.nil()), SpawnOptions::default());
    let all = options(&|enc| {
        enc.list_header(4);
        enc.atom(&atom!("monitor"));
        pair(enc, "priority");
        enc.atom(&atom!("link"));
        pair(enc, "async_dist");
        enc.nil();
    });
    assert_eq!(all, SpawnOptions { link: true, monitor: true, bad: None });
    let with_list = options(&|enc| {
        enc.list_header(1);
        enc.tuple_header(2);
        enc.atom(&atom!("monitor"));
        enc.nil();
        enc.nil();
    });
    assert_eq!(with_list, SpawnOptions { link: false, monitor: true, bad: None });
    let unknown = options(&|enc| {
        enc.list_header(2);
        pair(enc, "frobnicate");
        enc.atom(&atom!("link"));
        enc.nil();
    });
    assert_eq!(unknown, SpawnOptions { link: true, monitor: false, bad: Some(atom!("frobnicate")) });
    let bad = Some(atom!("badopt"));
    assert_eq!(options(&|enc| enc.byte_list(b"ab")).bad, bad);
    assert_eq!(options(&|enc| enc.i64(1)).bad, bad);
    let improper = options(&|enc| {
        enc.list_header(1);
        enc.atom(&atom!("link"));
        enc.atom(&atom!("x"));
    });
    assert_eq!((improper.link, improper.bad), (true, bad));
}

#[test]
fn only_the_peer_may_speak_for_its_processes() {
    let check = |control: &Control| control.check(&atom!("peer@h"), &atom!("me@h"), Creation(7));
    let (theirs, ours) = (pid("peer@h", 1), pid("me@h", 2));
    assert_eq!(ours.creation, Creation(7));
    let fine = Control::Link { from: theirs.clone(), to: ours.clone() };
    assert_eq!(check(&fine), Ok(()));
    let foreign = Control::Link { from: pid("other@h", 1), to: ours.clone() };
    assert!(matches!(check(&foreign), Err(ControlError::ForeignSender { operation: "LINK", .. })));
    let down = |from| Control::MonitorExit { from, to: ours.clone(), reference: reference("me@h") };
    assert_eq!(check(&down(ProcRef::Pid(theirs.clone()))), Ok(()));
    assert_eq!(check(&down(ProcRef::Name(atom!("x")))), Ok(()));
    assert!(check(&down(ProcRef::Pid(ours.clone()))).is_err());
    let old_life = Pid { creation: Creation(6), ..ours.clone() };
    assert_eq!(check(&down(ProcRef::Pid(old_life))), Ok(()));
    for control in every_control() {
        if let Control::SpawnRequest { options, module, function, .. } = control {
            let mut request = Control::SpawnRequest {
                reference: reference("peer@h"),
                parent: theirs.clone(),
                group_leader: theirs.clone(),
                module,
                function,
                arity: 0,
                options,
            };
            assert_eq!(check(&request), Ok(()));
            if let Control::SpawnRequest { parent, .. } = &mut request {
                *parent = ours.clone();
            }
            assert!(check(&request).is_err());
        }
    }
}
