//! Structs of Elixir, records, keyword lists, sets and the like, as fields of types that derive serde.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ::bytes::{Bytes, BytesMut};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::elixir::{Coefficient, DateTime, Decimal, MapSet, Range};
use super::*;
use crate::{atom, tuple};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Elixir.MyApp.Order")]
struct Order {
    items: Vec<Item>,
    #[serde(with = "mapset")]
    tags: BTreeSet<String>,
    #[serde(with = "keyword")]
    options: BTreeMap<String, Option<i64>>,
    #[serde(with = "charlist")]
    path: Option<String>,
    #[serde(with = "bigint")]
    number: BigInt,
    #[serde(with = "super::bytes")]
    data: Bytes,
    placed_at: Option<DateTime>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#item")]
struct Item {
    sku: String,
    price: Option<Decimal>,
    place: Point,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#point")]
struct Point(i32, f64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#id")]
struct Id(u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#stop")]
struct Stop;

fn order() -> Order {
    let item = Item { sku: "a".to_owned(), price: None, place: Point(1, 0.5) };
    Order {
        items: vec![item],
        tags: BTreeSet::from(["new".to_owned()]),
        options: BTreeMap::from([("wait".to_owned(), None)]),
        path: Some("lib".to_owned()),
        number: BigInt::from(2).pow(70),
        data: Bytes::from_static(&[0, 255]),
        placed_at: None,
    }
}

const ORDER: &str = "#{'__struct__' => 'Elixir.MyApp.Order',data => <<0,255>>,items => [{item,<<\"a\">>,undefined,\
    {point,1,0.5}}],number => 1180591620717411303424,options => [{wait,nil}],path => \"lib\",placed_at => nil,\
    tags => #{'__struct__' => 'Elixir.MapSet',map => #{<<\"new\">> => []}}}";

fn read<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    from_term(&text.parse().unwrap())
}

#[track_caller]
fn refused<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    read::<T>(text).unwrap_err().to_string()
}

#[track_caller]
fn both<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
    assert_eq!(to_term(value).unwrap().to_string(), expected);
    round_trip(value);
}

/// From a payload of its own, and behind a header with atoms.
#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let payload = to_payload(value).unwrap();
    assert_eq!(&payload.decode::<T>().unwrap(), value);
    assert_eq!(validate(payload.bytes(), 0, &Limits::default()).unwrap(), payload.bytes().len());
    let blob = to_bytes(value).unwrap();
    assert_eq!(&from_bytes::<T>(&blob).unwrap(), value);
    let payload = behind_a_header(value);
    assert_eq!(&payload.decode::<T>().unwrap(), value);
    assert_eq!(&deserialize_from::<T>(&mut payload.reader()).unwrap(), value);
}

fn behind_a_header<T: Serialize>(value: &T) -> Payload {
    let (mut buf, mut atoms) = (BytesMut::new(), AtomRefs::default());
    serialize_into(value, &mut Encoder::with_atoms(&mut buf, &mut atoms)).unwrap();
    Payload::new(buf.freeze(), Some(atoms.as_slice().into()))
}

#[test]
fn each_shape_is_written_and_comes_back() {
    both(&order(), ORDER);
    both(&Id(7), "{id,7}");
    both(&Stop, "{stop}");
    both(&Point(1, 2.0), "{point,1,2.0}");
    both(&MapSet(vec![1, 2]), "#{'__struct__' => 'Elixir.MapSet',map => #{1 => [],2 => []}}");
    both(&MapSet(HashSet::<u8>::new()), "#{'__struct__' => 'Elixir.MapSet',map => #{}}");
    both(&Keyword(Vec::from([(atom!("a"), 1)])), "[{a,1}]");
    both(&Keyword(BTreeMap::<Atom, u8>::new()), "[]");
    both(&Charlist("é".to_owned()), "\"é\"");
    both(&vec![Charlist(String::new()), Charlist("aπ".to_owned())], "[[],\"aπ\"]");
    both(&Some(Binary::from(vec![1])), "<<1>>");
    both(&Range::new(3, 1), "#{'__struct__' => 'Elixir.Range',first => 3,last => 1,step => -1}");
    both(&Range { step: None, ..Range::new(1, 3) }, "#{'__struct__' => 'Elixir.Range',first => 1,last => 3}");
    let decimal = Decimal { coef: Coefficient::NaN, ..Decimal::from(-1) };
    both(&decimal, "#{'__struct__' => 'Elixir.Decimal',coef => 'NaN',exp => 0,sign => -1}");
    both(
        &vec!["x".repeat(70_000)].into_iter().map(Charlist).collect::<Vec<_>>(),
        &format!("[\"{}\"]", "x".repeat(70_000)),
    );
}

#[test]
fn the_other_shapes_of_others_are_read() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        #[serde(with = "mapset::versioned")]
        set: HashSet<u8>,
    }
    let old = "#{set => #{'__struct__' => 'Elixir.MapSet',map => #{1 => []},version => 2}}";
    both(&Old { set: HashSet::from([1]) }, old);
    assert_eq!(read::<Old>("#{set => #{'__struct__' => 'Elixir.MapSet',map => #{1 => []}}}").unwrap().set.len(), 1);
    // The module may stand behind the fields, and be written in any tag.
    let mut buf = BytesMut::new();
    let mut encoder = Encoder::new(&mut buf);
    encoder.map_header(2);
    encoder.atom(&atom!("map"));
    encoder.map_header(0);
    encoder.buffer().extend_from_slice(b"s\x0a__struct__d\x00\x0dElixir.MapSet");
    assert_eq!(Payload::new(buf.freeze(), None).decode::<MapSet<Vec<u8>>>().unwrap(), MapSet(vec![]));

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename = "#item")]
    struct Newer {
        sku: String,
        #[serde(default)]
        count: u8,
    }
    assert_eq!(read::<Newer>("{item,\"a\"}").unwrap(), Newer { sku: "a".to_owned(), count: 0 });
    assert_eq!(read::<Item>("{item,\"a\",nil,{point,1,2}}").unwrap().price, None);
    assert_eq!(read::<Charlist>("<<\"a\">>").unwrap(), Charlist("a".to_owned()));
    assert_eq!(read::<Binary>("[1,2]").unwrap(), Binary::from(vec![1, 2]));
    assert_eq!(read::<Keyword<BTreeMap<Atom, u8>>>("#{a => 1}").unwrap().0, BTreeMap::from([(atom!("a"), 1)]));
}

#[test]
fn one_enum_takes_several_structs_of_elixir() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "__struct__")]
    enum Event {
        #[serde(rename = "Elixir.MyApp.Placed")]
        Placed { id: u64 },
        #[serde(rename = "Elixir.MyApp.Cancelled")]
        Cancelled { id: u64, why: String },
    }
    both(&Event::Placed { id: 1 }, "#{'__struct__' => 'Elixir.MyApp.Placed',id => 1}");
    let cancelled = Event::Cancelled { id: 1, why: "x".to_owned() };
    both(&cancelled, "#{'__struct__' => 'Elixir.MyApp.Cancelled',id => 1,why => <<\"x\">>}");
    assert!(
        refused::<Event>("#{'__struct__' => 'Elixir.MyApp.Lost',id => 1}")
            .contains("unknown variant `Elixir.MyApp.Lost`")
    );
}

#[test]
fn another_struct_or_record_is_named() {
    type Set = MapSet<Vec<u8>>;
    assert_eq!(
        refused::<Set>("#{'__struct__' => 'Elixir.Range',map => x}"),
        "expected %MapSet{}, found %Range{} (at byte 17)"
    );
    assert_eq!(refused::<Set>("#{map => #{}}"), "expected %MapSet{}, found a map without __struct__ (at byte 0)");
    assert_eq!(
        refused::<Set>("#{'__struct__' => 1}"),
        "expected %MapSet{}, found an integer as __struct__ (at byte 17)"
    );
    assert_eq!(refused::<Set>("[{map,#{}}]"), "expected %MapSet{}, found a list (at byte 0)");
    assert_eq!(
        refused::<(Order,)>("{#{'__struct__' => 'Elixir.Range',first => 1}}"),
        "[0]: expected %MyApp.Order{}, found %Range{} (at byte 19)"
    );
    assert_eq!(refused::<Id>("{order,1}"), "expected a record #id{}, found a tuple that starts with order (at byte 0)");
    assert_eq!(refused::<Id>("{id,1,2}"), "expected a tuple of 2 that starts with id, found a tuple of 3 (at byte 0)");
    assert_eq!(refused::<Id>("{}"), "expected a record #id{}, found a tuple (at byte 0)");
    assert_eq!(refused::<Id>("7"), "expected a record #id{}, found an integer (at byte 0)");
    assert_eq!(refused::<Item>("{item,\"a\"}"), "invalid length 1, expected struct Item with 3 elements (at byte 0)");
    assert!(refused::<Item>("{item,1,2,3,4}").contains("a tuple of 4 that starts with item, found a tuple of 5"));
    let date = "#{'__struct__' => 'Elixir.Date',calendar => 'Elixir.Other',year => 1,month => 1,day => 1}";
    assert!(
        refused::<elixir::Date>(date).starts_with("calendar: expected the atom Elixir.Calendar.ISO, found an atom")
    );
    let twice = b"t\0\0\0\x02w\x0a__struct__w\x0dElixir.MapSetw\x0a__struct__w\x0dElixir.MapSet";
    let error = Payload::new(Bytes::from_static(twice), None).decode::<Set>().unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Invalid("a map has a key twice"));
}

#[test]
fn errors_have_the_path_through_every_shape_when_reading() {
    let path = |from: &str, to: &str| {
        assert!(ORDER.contains(from));
        read::<Order>(&ORDER.replace(from, to)).unwrap_err().path
    };
    assert_eq!(path("<<\"a\">>,undefined", "1,undefined"), "items[0].sku");
    assert_eq!(path("{point,1,0.5}", "{point,1,x}"), "items[0].place[1]");
    assert_eq!(path("undefined", "#{'__struct__' => 'Elixir.Decimal',coef => -1}"), "items[0].price.coef");
    assert_eq!(path("{wait,nil}", "{wait,x}"), "options.wait");
    assert_eq!(path("<<\"new\">>", "{1}"), "tags.map[{1}]");
    assert_eq!(path("1180591620717411303424", "x"), "number");
    assert_eq!(path("\"lib\"", "x"), "path");
    assert_eq!(path("<<0,255>>", "x"), "data");
    assert_eq!(
        path("placed_at => nil", "placed_at => #{'__struct__' => 'Elixir.DateTime',year => x}"),
        "placed_at.year"
    );
    let error = read::<MapSet<Vec<u8>>>("#{'__struct__' => 'Elixir.MapSet',map => #{<<1:1>> => []}}").unwrap_err();
    assert_eq!(error.path, "map[<<1:1>>]");
}

#[test]
fn errors_have_the_path_through_every_shape_when_writing() {
    #[derive(Serialize)]
    #[serde(rename = "Elixir.Outer")]
    struct Outer {
        fields: Vec<Variant>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Variant {
        Tuple(u8, f64),
        Struct { x: f64 },
        Record(Point),
        Map(BTreeMap<String, f64>),
        Keyword(Keyword<BTreeMap<Atom, f64>>),
        Set(MapSet<Vec<(f64,)>>),
    }
    let path = |variant| to_payload(&Outer { fields: vec![variant] }).unwrap_err().path;
    assert_eq!(path(Variant::Tuple(1, f64::NAN)), "fields[0].tuple[1]");
    assert_eq!(path(Variant::Struct { x: f64::NAN }), "fields[0].struct.x");
    assert_eq!(path(Variant::Record(Point(1, f64::NAN))), "fields[0].record[1]");
    assert_eq!(path(Variant::Map(BTreeMap::from([("a b".to_owned(), f64::NAN)]))), "fields[0].map[\"a b\"]");
    assert_eq!(path(Variant::Keyword(Keyword(BTreeMap::from([(atom!("k"), f64::NAN)])))), "fields[0].keyword.k");
    assert_eq!(path(Variant::Set(MapSet(vec![(1.0,), (f64::NAN,)]))), "fields[0].set.map[1][0]");
    // Keys that are references into a header have their names too.
    let (mut buf, mut atoms) = (BytesMut::new(), AtomRefs::default());
    let value = BTreeMap::from([(atom!("k"), f64::NAN)]);
    let error = serialize_into(&value, &mut Encoder::with_atoms(&mut buf, &mut atoms)).unwrap_err();
    assert_eq!(error.path, "k");
}

#[test]
fn what_would_be_no_such_shape_is_refused() {
    #[derive(Serialize)]
    #[serde(rename = "#short")]
    struct Short {
        id: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<u8>,
    }
    assert_eq!(to_term(&Short { id: 1, note: Some(2) }).unwrap(), tuple![atom!("short"), 1, 2]);
    let error = to_term(&Short { id: 1, note: None }).unwrap_err().to_string();
    assert_eq!(error, "note: a field of a record has its place and cannot be left out");
    #[derive(Serialize)]
    #[serde(rename = "Elixir.Twice")]
    struct Twice {
        __struct__: Atom,
    }
    let error = to_term(&Twice { __struct__: atom!("Elixir.Twice") }).unwrap_err().to_string();
    assert_eq!(error, "__struct__: the key '__struct__' comes twice in one map");
    let error = to_term(&MapSet(vec![1, 2, 1])).unwrap_err().to_string();
    assert_eq!(error, "map: the key 1 comes twice in one map");
    for error in [
        to_term(&MapSet(1)).unwrap_err(),
        to_term(&MapSet([1, 2])).unwrap_err(),
        to_term(&MapSet(BTreeMap::from([(1, 2)]))).unwrap_err(),
        to_term(&MapSet(order())).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "map: only a sequence can be a MapSet");
    }
}

#[test]
fn parts_of_a_message_stay_slices_of_it() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Parts {
        #[serde(with = "super::bytes")]
        data: Bytes,
        more: Vec<Option<Binary>>,
        term: Payload,
        pid: Pid,
    }
    let pid = Pid { node: atom!("worker@host"), id: 7, serial: 0, creation: Creation(3) };
    let text = "a text that does not stand in place, as a small payload does".to_owned();
    let term = to_payload(&(atom!("worker@host"), &text)).unwrap();
    let parts = Parts { data: vec![1; 9].into(), more: vec![None, Some(vec![2; 9].into())], term, pid };
    for payload in [to_payload(&parts).unwrap(), behind_a_header(&parts)] {
        let read: Parts = payload.decode().unwrap();
        let range = payload.bytes().as_ptr_range();
        assert!(range.contains(&read.data.as_ptr()) && range.contains(&read.term.bytes().as_ptr()));
        assert!(read.more[0].is_none() && range.contains(&read.more[1].as_ref().unwrap().as_ptr()));
        assert_eq!((&read.data, &read.pid), (&parts.data, &parts.pid));
        assert_eq!(read.term.decode::<(Atom, String)>().unwrap(), (atom!("worker@host"), text.clone()));
        // What left as a slice is written again for whatever header there is.
        assert_eq!(to_term(&read).unwrap(), to_term(&parts).unwrap());
        // From a reader alone it is copied.
        let copied: Parts = deserialize_from(&mut payload.reader()).unwrap();
        assert!(!range.contains(&copied.data.as_ptr()) && copied.data == parts.data);
    }
}

#[test]
fn an_integer_that_is_too_large_is_refused_by_the_limit() {
    #[derive(Debug, Deserialize)]
    struct Large(
        #[serde(with = "bigint")]
        #[allow(dead_code)]
        BigInt,
    );
    let mut bytes = vec![tag::LARGE_BIG, 0, 0x10, 0, 1, 0];
    bytes.resize(bytes.len() + (1 << 20) + 1, 1);
    let payload = Payload::new(bytes.into(), Some([atom!("a")].into()));
    let from_reader = deserialize_from::<Large>(&mut payload.reader());
    for error in [payload.decode::<Large>().unwrap_err(), from_reader.unwrap_err()] {
        assert!(error.to_string().contains("integer_bytes"), "{error}");
    }
}

#[test]
fn funs_and_records_of_otp_29_are_values_too() {
    let fun = Fun::Export { module: atom!("lists"), function: atom!("map"), arity: 2 };
    let record = Record { flags: 1, module: atom!("m"), name: atom!("r"), fields: vec![(atom!("x"), 1.into())] };
    let bits = BitString::new(Bytes::from_static(&[0xa0]), 3).unwrap();
    let term = to_term(&(fun, record, bits)).unwrap();
    let (fun, record, bits): (Fun, Record, BitString) = from_term(&term).unwrap();
    assert_eq!(Term::from((fun.into(), record.into(), bits.into()) as (Term, Term, Term)), term);
    assert_eq!(refused::<(Fun,)>("{1}"), "[0]: expected a fun, found an integer (at byte 2)");
}

#[test]
fn json_has_the_same_values_in_its_own_shapes() {
    let json = serde_json::to_string(&order()).unwrap();
    assert!(
        json.contains(r#""tags":["new"],"options":{"wait":null},"path":"lib","number":"1180591620717411303424""#),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order());
}

fn decimals() -> impl Strategy<Value = Decimal> {
    let coef = prop_oneof![
        any::<i128>().prop_map(|digits| Coefficient::Digits(BigInt::from(digits.unsigned_abs()))),
        Just(Coefficient::Infinity)
    ];
    (coef, any::<i64>(), any::<bool>()).prop_map(|(coef, exp, minus)| Decimal {
        sign: if minus { -1 } else { 1 },
        coef,
        exp,
    })
}

fn items() -> impl Strategy<Value = Item> {
    let place = (any::<i32>(), -1e300..1e300).prop_map(|(x, y)| Point(x, y));
    (any::<String>(), option::of(decimals()), place).prop_map(|(sku, price, place)| Item { sku, price, place })
}

prop_compose! {
    fn orders()(
        items in vec(items(), 0..3),
        tags in btree_set(any::<String>(), 0..4),
        options in btree_map("[a-zé]{0,5}", option::of(any::<i64>()), 0..4),
        path in option::of(any::<String>()),
        number in vec(any::<u8>(), 0..300),
        data in vec(any::<u8>(), 0..20),
        placed_at in option::of(-60_000_000_000_000_000i64..250_000_000_000_000_000),
    ) -> Order {
        let placed_at = placed_at.and_then(DateTime::from_unix_micros);
        Order { items, tags, options, path, number: BigInt::from_signed_bytes_le(&number), data: data.into(), placed_at }
    }
}

proptest! {
    #[test]
    fn any_order_comes_back(order in orders()) {
        round_trip(&order);
        round_trip(&MapSet(vec![order]));
    }

    #[test]
    fn any_damage_is_an_error_or_another_order(order in orders(), at: prop::sample::Index, byte: u8) {
        let mut bytes = to_payload(&order).unwrap().bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Payload::new(bytes.into(), None).decode::<Order>();
    }
}
