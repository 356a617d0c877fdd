//! The tables of `docs/terms.md`: every row is run, and every check has its row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Debug;

use gusset::etf::elixir::{Date, Decimal, MapSet, Range, Time};
use gusset::etf::{Binary, Charlist, Keyword, Limits, from_term, to_term};
use gusset::{Atom, Term, atom, list, tuple};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Stopped,
    Renamed(String),
    Moved(i32, i32),
    Changed { from: i8, to: i8 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    sku: String,
    price: f64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "ping")]
struct Ping;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Elixir.MyApp.Order")]
struct Order {
    id: u64,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#row")]
struct Row {
    id: u64,
    note: Option<String>,
}

/// The rows of the table with this first line, as the texts of their cells.
fn rows(head: &str) -> Vec<Vec<String>> {
    let page = include_str!("../docs/terms.md");
    let table = page.split_once(&format!("{head}\n")).unwrap_or_else(|| panic!("no table starts with {head}")).1;
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    lines.map(|line| cells(line).collect()).collect()
}

fn cells(line: &str) -> impl Iterator<Item = String> {
    line.trim_matches('|').split(" | ").map(|cell| {
        let cell = cell.trim();
        let cell = cell.strip_prefix("``").and_then(|cell| cell.strip_suffix("``")).unwrap_or(cell.trim_matches('`'));
        cell.replace("\\|", "|")
    })
}

fn written_and_read<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> String {
    let term = to_term(value).unwrap();
    assert_eq!(&from_term::<T>(&term).unwrap(), value);
    term.to_string()
}

fn read<T: DeserializeOwned + PartialEq + Debug>(text: &str, expected: &T) {
    assert_eq!(&from_term::<T>(&text.parse().unwrap()).unwrap(), expected, "{text}");
}

fn refused<T: DeserializeOwned + Debug>(text: &str) -> String {
    from_term::<T>(&text.parse().unwrap()).unwrap_err().to_string()
}

#[test]
fn values_become_what_the_page_says() {
    let mut rows = rows("| Rust | Erlang | Elixir |").into_iter();
    macro_rules! rows_of {
        ($($value:expr;)*) => {
            $({
                let row = rows.next().unwrap_or_else(|| panic!("no row is left for {}", stringify!($value)));
                let squeeze = |text: &str| text.replace(char::is_whitespace, "");
                assert_eq!(squeeze(&row[0]), squeeze(stringify!($value)));
                assert_eq!(written_and_read(&$value), row[1], "{}", stringify!($value));
            })*
        };
    }
    rows_of! {
        true;
        -7i8;
        u64::MAX;
        i128::MIN;
        1.5f32;
        'π';
        "text".to_owned();
        ByteBuf::from(vec![0, 255]);
        vec![0u8, 255];
        vec![(1, true)];
        (1, "a".to_owned());
        [1, 2, 3];
        ();
        None::<i64>;
        Some(5);
        Ok::<i64, String>(5);
        Ok::<(), String>(());
        Err::<i64, Atom>(atom!("noproc"));
        atom!("logger");
        atom!("Elixir.Enum");
        Ping;
        Meters(2.0);
        Event::Stopped;
        Event::Renamed("x".to_owned());
        Event::Moved(1, -1);
        Event::Changed { from: 1, to: 2 };
        Item { sku: "a".to_owned(), price: 1.5 };
        BTreeMap::from([("k".to_owned(), 1)]);
        BTreeMap::from([(atom!("k"), 1)]);
        vec![(atom!("port"), 4000)];
        Order { id: 7, note: None };
        Row { id: 7, note: None };
        Keyword(Item { sku: "a".to_owned(), price: 1.5 });
        Keyword(BTreeMap::from([("port".to_owned(), 4000)]));
        Charlist::from("abc");
        Binary::from(vec![0, 255]);
        MapSet(vec![1, 2]);
        Range::new(1, 3);
        Date::new(2024, 2, 29).unwrap();
        Time::new(12, 30, 0).unwrap();
        "12.50".parse::<Decimal>().unwrap();
        tuple![atom!("a"), list![1; 2]];
        Term::charlist("abc");
        Term::export(atom!("lists"), atom!("map"), 2);
    }
    assert_eq!(rows.next(), None, "a row without a check");
}

#[test]
fn the_page_says_what_else_is_read() {
    let mut rows = rows("| Erlang | Rust |").into_iter();
    macro_rules! rows_of {
        ($($value:expr;)*) => {
            $({
                let row = rows.next().unwrap_or_else(|| panic!("no row is left for {}", stringify!($value)));
                let squeeze = |text: &str| text.replace(char::is_whitespace, "");
                assert_eq!(squeeze(&row[1]), squeeze(stringify!($value)));
                read(&row[0], &$value);
            })*
        };
    }
    rows_of! {
        None::<i64>;
        ();
        ();
        "list".to_owned();
        "π".to_owned();
        'x';
        3.0;
        ByteBuf::from(vec![1, 2]);
        Binary::from(vec![1, 2]);
        Charlist::from("abc");
        Row { id: 7, note: None };
        MapSet(vec![1]);
        Range { first: 1, last: 3, step: None };
        Item { sku: "a".to_owned(), price: 2.0 };
        Keyword(BTreeMap::from([("port".to_owned(), 4000)]));
        ("a".to_owned(), 1);
        Item { sku: "a".to_owned(), price: 2.0 };
        Item { sku: "a".to_owned(), price: 2.0 };
        BTreeMap::from([("port".to_owned(), 4000)]);
        BTreeMap::from([("port".to_owned(), 4000)]);
    }
    assert_eq!(rows.next(), None, "a row without a check");
}

#[test]
fn errors_say_what_the_page_says() {
    for row in rows("| Erlang | read as | error |") {
        let [text, kind, expected] = &row[..] else { panic!("three cells: {row:?}") };
        let said = match kind.as_str() {
            "i64" => refused::<i64>(text),
            "Vec<u8>" => refused::<Vec<u8>>(text),
            "String" => refused::<String>(text),
            "Event" => refused::<Event>(text),
            "Vec<Item>" => refused::<Vec<Item>>(text),
            "BTreeMap<String, u8>" => refused::<BTreeMap<String, u8>>(text),
            "BTreeMap<u8, u8>" => refused::<BTreeMap<u8, u8>>(text),
            "Order" => refused::<Order>(text),
            "Row" => refused::<Row>(text),
            "MapSet<Vec<u8>>" => refused::<MapSet<Vec<u8>>>(text),
            "(u8, u8)" => refused::<(u8, u8)>(text),
            other => panic!("{other} is no type of this test"),
        };
        assert_eq!(&said, expected, "{text} as {kind}");
    }
    #[derive(Serialize)]
    struct Items {
        items: Vec<Item>,
    }
    let item = |price| Item { sku: String::new(), price };
    let error = to_term(&Items { items: vec![item(1.0), item(f64::NAN)] }).unwrap_err().to_string();
    assert!(include_str!("../docs/terms.md").contains(&format!("`{error}`")), "{error}");
}

#[test]
fn an_elixir_struct_is_written_and_read() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Struct {
        #[serde(rename = "__struct__")]
        module: Atom,
        price: f64,
    }
    let value = Struct { module: atom!("Elixir.MyApp.Item"), price: 1.5 };
    assert_eq!(written_and_read(&value), "#{'__struct__' => 'Elixir.MyApp.Item',price => 1.5}");
    read(
        "#{'__struct__' => 'Elixir.MyApp.Item',price => 1.5, sku => <<\"a\">>}",
        &Item { sku: "a".to_owned(), price: 1.5 },
    );
}

#[test]
fn the_limits_are_those_of_the_page() {
    let limits = Limits::default();
    let value = |field: &str| match field {
        "depth" => limits.depth,
        "tree_depth" => limits.tree_depth,
        "serde_depth" => limits.serde_depth,
        "integer_bytes" => limits.integer_bytes,
        "inflated_bytes" => limits.inflated_bytes,
        "items" => limits.items,
        other => panic!("{other} is no field of Limits"),
    };
    let rows = rows("| field | default | what it bounds |");
    assert_eq!(rows.len(), 6);
    for row in rows {
        let (number, unit) = row[1].split_once(' ').unwrap_or((&row[1], ""));
        let number: usize = number.replace(',', "").parse().unwrap();
        let unit = if unit.starts_with("Mi") { 1 << 20 } else { 1 };
        assert_eq!(value(&row[0]), number * unit, "{}", row[0]);
    }
}
