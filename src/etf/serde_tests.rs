//! What serde writes and reads, as Erlang text.

use std::collections::{BTreeMap, HashMap};

use ::bytes::BytesMut;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{atom, list, tuple};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    items: Vec<Item>,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Item {
    sku: String,
    price: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Stopped,
    Renamed(String),
    Moved(i32, i32),
    Changed { from: Level, to: Level },
    Sent(Order),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Level(i8);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "ping")]
struct Ping;

fn text<T: Serialize>(value: &T) -> String {
    to_term(value).unwrap().to_string()
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    from_term(&text.parse().unwrap())
}

#[track_caller]
fn both<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, expected: &str) {
    assert_eq!(text(&value), expected);
    let blob = to_bytes(&value).unwrap();
    let owned: T = Payload::from_binary(&blob, &Limits::default()).unwrap().decode().unwrap();
    assert_eq!(owned, value);
    // The same behind a header with atoms, after another term with atoms.
    let (mut buf, mut atoms) = (BytesMut::new(), AtomRefs::default());
    let mut encoder = Encoder::with_atoms(&mut buf, &mut atoms);
    encoder.atom(&atom!("other"));
    serialize_into(&value, &mut encoder).unwrap();
    let mut reader = Reader::new(&buf, atoms.as_slice());
    reader.atom().unwrap();
    assert_eq!(deserialize_from::<T>(&mut reader).unwrap(), value);
    reader.finish().unwrap();
}

fn order() -> Order {
    let item = |sku: &str, price| Item { sku: sku.to_owned(), price };
    Order { id: 7, items: vec![item("a", 1.5), item("b", 2.0)], note: None }
}

#[test]
fn values_look_native_on_the_other_side_and_come_back() {
    both(true, "true");
    both(Some(5u8), "5");
    both(None::<u8>, "nil");
    both((), "{}");
    both(Ping, "ping");
    both((1i8, -2i16, 3u32), "{1,-2,3}");
    both([i64::MIN, i64::MAX], "{-9223372036854775808,9223372036854775807}");
    both((u64::MAX, i128::MIN), "{18446744073709551615,-170141183460469231731687303715884105728}");
    both(u128::MAX, "340282366920938463463374607431768211455");
    both(1.5f32, "1.5");
    both('π', "960");
    both("text".to_owned(), "<<\"text\">>");
    both(serde_bytes::ByteBuf::from(vec![0, 255]), "<<0,255>>");
    both(vec![1u16, 300], "[1,300]");
    both(Vec::<u16>::new(), "[]");
    both(
        order(),
        "#{id => 7,items => [#{price => 1.5,sku => <<\"a\">>},#{price => 2.0,sku => <<\"b\">>}],note => nil}",
    );
    both(Event::Stopped, "stopped");
    both(Event::Renamed("x".to_owned()), "{renamed,<<\"x\">>}");
    both(Event::Moved(1, -1), "{moved,1,-1}");
    both(Event::Changed { from: Level(1), to: Level(2) }, "{changed,#{from => 1,to => 2}}");
    both(BTreeMap::from([(1, "a".to_owned())]), "#{1 => <<\"a\">>}");
    both(HashMap::from([("k".to_owned(), vec![(1, true)])]), "#{<<\"k\">> => [{1,true}]}");
    both(Ok::<(), String>(()), "ok");
    both(Ok::<(i32, i32), String>((1, 2)), "{ok,{1,2}}");
    both(Err::<(), String>("no".to_owned()), "{error,<<\"no\">>}");
}

#[test]
fn identifiers_atoms_and_terms_travel_inside_values() {
    let pid = Pid { node: atom!("worker@host"), id: 7, serial: 0, creation: Creation(3) };
    let reference = Ref::from_three(atom!("worker@host"), Creation(3), [1, 2, 3]);
    let port = Port { node: atom!("worker@host"), id: 1 << 40, creation: Creation(3) };
    let term = tuple![atom!("a"), list![1, "b"], pid.clone()];
    both((pid, atom!("é"), term), "{#Pid<worker@host.7.0>,é,{a,[1,<<\"b\">>],#Pid<worker@host.7.0>}}");
    both((port, Some(reference)), "{#Port<worker@host.1099511627776>,#Ref<worker@host.3.2.1>}");
    let payload = to_payload(&(atom!("x"), 1)).unwrap();
    let outer = to_payload(&vec![payload.clone(), payload]).unwrap();
    assert_eq!(outer.term().unwrap().to_string(), "[{x,1},{x,1}]");
    let inner: Vec<Payload> = outer.decode().unwrap();
    assert_eq!(inner[1].decode::<(Atom, u8)>().unwrap(), (atom!("x"), 1));
}

#[test]
fn atoms_become_references_into_the_header_wherever_they_stand() {
    let (mut buf, mut atoms) = (BytesMut::new(), AtomRefs::default());
    let pid = Pid { node: atom!("worker@host"), id: 7, serial: 0, creation: Creation(3) };
    let value = (atom!("worker@host"), pid, Event::Stopped, true, Ping, Term::from(atom!("ping")));
    serialize_into(&value, &mut Encoder::with_atoms(&mut buf, &mut atoms)).unwrap();
    assert_eq!(atoms.as_slice(), [atom!("worker@host"), atom!("stopped"), atom!("true"), atom!("ping")]);
    assert!(!buf.windows(4).any(|bytes| bytes == b"work"));
}

#[test]
fn what_others_write_in_other_ways_is_read() {
    assert_eq!(read::<String>("\"list é\"").unwrap(), "list é");
    assert_eq!(read::<String>("[960]").unwrap(), "π");
    assert_eq!(read::<String>("[]").unwrap(), "");
    assert_eq!(read::<Option<u8>>("undefined").unwrap(), None);
    for unit in ["ok", "nil", "undefined", "{}"] {
        read::<()>(unit).unwrap();
    }
    assert_eq!(read::<f64>("3").unwrap(), 3.0);
    assert_eq!(read::<char>("<<\"x\">>").unwrap(), 'x');
    assert_eq!(read::<serde_bytes::ByteBuf>("[1,2]").unwrap().as_slice(), [1, 2]);
    assert_eq!(read::<HashMap<String, u8>>("#{a => 1}").unwrap(), HashMap::from([("a".to_owned(), 1)]));
    assert_eq!(read::<(String, u8)>("[<<\"a\">>, 1]").unwrap(), ("a".to_owned(), 1));
    assert_eq!(read::<[u8; 2]>("[1, 2]").unwrap(), [1, 2]);
    assert_eq!(read::<Level>("5").unwrap(), Level(5));
    let item = Item { sku: "a".to_owned(), price: 2.0 };
    assert_eq!(read::<Item>("[{sku, \"a\"}, {price, 2}]").unwrap(), item);
    assert_eq!(read::<Item>("#{<<\"sku\">> => <<\"a\">>, price => 2, 0 => x, {other} => #{}}").unwrap(), item);
    assert_eq!(read::<Vec<Term>>("\"ab\"").unwrap(), [97.into(), 98.into()]);
    assert_eq!(read::<Result<(), Atom>>("{error, noproc}").unwrap(), Err(atom!("noproc")));
}

#[test]
fn text_and_binaries_are_borrowed_from_the_bytes() {
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        text: &'a str,
        #[serde(with = "serde_bytes")]
        raw: &'a [u8],
    }
    let blob = to_bytes(&BTreeMap::from([("text", "abc"), ("raw", "def")])).unwrap();
    let value: Borrowed<'_> = from_bytes(&blob).unwrap();
    assert_eq!((value.text, value.raw), ("abc", &b"def"[..]));
    assert!(blob.as_ptr_range().contains(&value.text.as_ptr()));
}

#[test]
fn errors_say_where_in_the_value_and_where_in_the_bytes() {
    let fails = |text: &str| read::<Event>(text).unwrap_err();
    let error =
        fails("{sent, #{id => 1, note => nil, items => [#{sku => <<>>, price => 1}, #{sku => <<>>, price => x}]}}");
    assert_eq!(error.path, "sent.items[1].price");
    assert!(error.to_string().starts_with("sent.items[1].price: expected a float, found an atom (at byte "), "{error}");
    let error = fails("{sent, #{id => 1, note => nil, items => [#{sku => <<>>}]}}");
    assert_eq!((error.path.as_str(), error.kind.to_string()), ("sent.items[0]", "missing field `price`".to_owned()));
    assert!(
        fails("{moved, 1}").to_string().contains("expected a tuple of 3 that starts with moved, found a tuple of 2")
    );
    assert_eq!(fails("{moved, 1, 3000000000}").path, "moved[1]");
    assert!(fails("unheard").to_string().contains("unknown variant `unheard`, expected one of `stopped`"));
    assert!(fails("{stopped, 1}").to_string().contains("expected the atom stopped alone, found a tuple of 2"));
    assert_eq!(read::<HashMap<String, u8>>("#{<<\"a b\">> => 1000}").unwrap_err().path, "[\"a b\"]");
    assert!(read::<Vec<u8>>("<<1>>").unwrap_err().to_string().contains("serde_bytes"));
    assert!(read::<Vec<u8>>("[1|x]").unwrap_err().to_string().contains("the end of a proper list"));
    assert!(
        read::<(u8, Pid)>("{1, 2}")
            .unwrap_err()
            .to_string()
            .contains("[1]: expected a pid, found an integer (at byte 4)")
    );
    assert!(
        read::<(u8, u8)>("{1, 2, 3}").unwrap_err().to_string().contains("expected a tuple of 2, found a tuple of 3")
    );
    assert!(read::<(u8, u8)>("[1, 2, 3]").is_err());
    assert!(read::<bool>("maybe_not").unwrap_err().to_string().contains("expected true or false, found an atom"));
}

#[test]
fn keys_that_come_twice_are_refused_both_ways() {
    #[derive(Serialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        more: HashMap<Atom, u8>,
    }
    let more = |key: Atom| Flat { a: 1, more: HashMap::from([(key, 2)]) };
    to_bytes(&more(atom!("b"))).unwrap();
    assert_eq!(to_bytes(&more(atom!("a"))).unwrap_err().to_string(), "the key a comes twice in one map");
    let twice = [116, 0, 0, 0, 2, 97, 1, 97, 2, 97, 1, 97, 3];
    let payload = Payload::new(twice.to_vec().into(), None);
    for error in [payload.term().unwrap_err(), payload.decode::<HashMap<u8, u8>>().unwrap_err()] {
        assert_eq!(error.kind, DecodeErrorKind::Invalid("a map has a key twice"));
    }
}

#[test]
fn what_erlang_cannot_say_is_an_error_with_its_path() {
    let mut bad = order();
    bad.items[1].price = f64::NAN;
    let error = to_bytes(&Event::Sent(bad)).unwrap_err();
    assert_eq!(error.path, "sent.items[1].price");
    assert!(to_payload(&f64::INFINITY).is_err());
    assert!(Payload::from_term(&tuple![f64::NAN]).is_err());
}

#[test]
fn untagged_and_flattened_types_work_where_the_term_says_enough() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Any {
        Number(i64),
        Text(String),
        Who(Pid),
        Pair(bool, Atom),
        Many(Vec<Any>),
    }
    let pid = Pid { node: atom!("n@h"), id: 1, serial: 0, creation: Creation(1) };
    both(
        Any::Many(vec![Any::Number(1), Any::Text("x".to_owned()), Any::Who(pid), Any::Pair(true, atom!("ok"))]),
        "[1,<<\"x\">>,#Pid<n@h.1.0>,{true,ok}]",
    );
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        a: u8,
        #[serde(flatten)]
        inner: Item,
    }
    both(Outer { a: 1, inner: Item { sku: "s".to_owned(), price: 0.5 } }, "#{a => 1,price => 0.5,sku => <<\"s\">>}");
}

#[test]
fn deep_values_end_at_the_limit() {
    #[derive(Debug, Deserialize)]
    struct Deep(#[allow(dead_code)] Vec<Deep>);
    let bytes = [108, 0, 0, 0, 1].repeat(100_000);
    let error = Payload::new(bytes.into(), None).decode::<Deep>().unwrap_err();
    assert!(matches!(error.kind, DecodeErrorKind::Limit { setting: "serde_depth", limit: 64, .. }), "{error}");
    // What is not asked for is passed over without recursion.
    let mut bytes = [104, 1].repeat(100_000);
    bytes.push(106);
    Payload::new(bytes.into(), None).decode::<serde::de::IgnoredAny>().unwrap();
}

#[test]
fn json_shows_terms_as_text() {
    let value = (atom!("ok"), tuple![atom!("a"), 1]);
    let json = serde_json::to_string(&value).unwrap();
    assert_eq!(json, r#"["ok","{a,1}"]"#);
    assert_eq!(serde_json::from_str::<(Atom, Term)>(&json).unwrap(), value);
}

/// `[1, 2]` is sent as two bytes; whatever is read from small integers is read from them.
#[test]
fn bytes_of_a_compact_list_are_read_as_integers_are() {
    fn same<T: for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(expected: &[T]) {
        let [compact, long] = [&[131, 107, 0, 2, 1, 2][..], &[131, 108, 0, 0, 0, 2, 97, 1, 97, 2, 106]];
        for list in [compact, long, &[131, 108, 0, 0, 0, 1, 97, 1, 107, 0, 1, 2]] {
            assert_eq!(from_bytes::<Vec<T>>(list).unwrap(), expected, "{list:?}");
        }
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Option<u16>);
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i8),
    }
    same::<u8>(&[1, 2]);
    same::<i128>(&[1, 2]);
    same::<f64>(&[1.0, 2.0]);
    same::<char>(&['\u{1}', '\u{2}']);
    same::<Option<u32>>(&[Some(1), Some(2)]);
    same::<Wrapped>(&[Wrapped(Some(1)), Wrapped(Some(2))]);
    same::<Either>(&[Either::Number(1), Either::Number(2)]);
    same::<Term>(&[Term::from(1), Term::from(2)]);
    same::<serde::de::IgnoredAny>(&[serde::de::IgnoredAny, serde::de::IgnoredAny]);
    fn refused<T: for<'de> Deserialize<'de> + std::fmt::Debug>() -> [String; 2] {
        let compact = from_bytes::<(u8, Vec<T>)>(&[131, 104, 2, 97, 0, 107, 0, 1, 2]).unwrap_err();
        let long = from_bytes::<(u8, Vec<T>)>(&[131, 104, 2, 97, 0, 108, 0, 0, 0, 1, 97, 2, 106]).unwrap_err();
        assert_eq!((compact.offset, long.offset), (8, 10), "{compact}, {long}");
        [compact, long].map(|error| format!("{}: {:?}", error.path, error.kind))
    }
    for [compact, long] in [
        refused::<String>(),
        refused::<bool>(),
        refused::<Vec<u8>>(),
        refused::<(u8, u8)>(),
        refused::<Atom>(),
        refused::<BTreeMap<u8, u8>>(),
        refused::<std::net::IpAddr>(),
        refused::<()>(),
    ] {
        assert_eq!(compact, long);
        assert!(!compact.is_empty());
    }
}
