//! Types of ours and values of real Elixir (1.10 on OTP 23, 1.14 on 25, 1.18 on 27, 1.20 on 29), both ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too

mod common;

use std::collections::{BTreeSet, HashSet};
use std::process::Command;

use bytes::Bytes;
use common::node::{self, connect};
use common::{Beam, BeamOptions, Epmd, LATER, Otp, otp, within};
use gusset::etf::elixir::{Coefficient, Date, DateTime, Decimal, MapSet, NaiveDateTime, Range, Time};
use gusset::etf::{BigInt, Charlist, Fun, Keyword};
use gusset::{Atom, Node, Payload, Pid, Process, Ref, Term, atom};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Elixir.MyApp.Order")]
struct Order {
    id: u64,
    items: Vec<Item>,
    total: Decimal,
    tags: MapSet<BTreeSet<String>>,
    #[serde(with = "gusset::etf::mapset::versioned")]
    old_tags: HashSet<(Atom, u8)>,
    placed_at: DateTime,
    day: Date,
    local: NaiveDateTime,
    time: Time,
    range: Range,
    #[serde(with = "gusset::etf::keyword")]
    options: Options,
    #[serde(with = "gusset::etf::charlist")]
    path: String,
    wide: Charlist,
    #[serde(with = "gusset::etf::bigint")]
    big: BigInt,
    note: Option<String>,
    #[serde(with = "gusset::etf::bytes")]
    data: Bytes,
    owner: Pid,
    reference: Ref,
    function: Fun,
    closure: Term,
    nested: Vec<Nested>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#item")]
struct Item {
    sku: String,
    price: f64,
    discount: Option<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Options {
    timeout: u32,
    name: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Elixir.MyApp.Nested")]
struct Nested {
    level: i8,
}

const MODULES: &str = r#"
defmodule MyApp.Nested do
  defstruct [:level]
end
defmodule MyApp.Order do
  defstruct [:id, :items, :total, :tags, :old_tags, :placed_at, :day, :local, :time, :range, :options, :path, :wide,
             :big, :note, :data, :owner, :reference, :function, :closure, :nested]
end
defmodule Decimal do
  defstruct sign: 1, coef: 0, exp: 0
end
"#;

/// What a process of Elixir sends, and what it then says of what it gets back.
const EXCHANGE: &str = r#"
order = %MyApp.Order{
  id: 7,
  items: [{:item, "a", 1.5, :undefined}, {:item, "b", 2.0, 10}],
  total: %Decimal{sign: -1, coef: 1250, exp: -2},
  tags: MapSet.new(["new", "päid"]),
  old_tags: MapSet.new([{:a, 1}, {:b, 2}]),
  placed_at: ~U[2024-02-29 12:00:00.120Z],
  day: ~D[2024-02-29],
  local: ~N[2024-02-29 23:59:59],
  time: ~T[12:00:00.500000],
  range: 1..10,
  options: [timeout: 5000, name: nil],
  path: String.to_charlist("lib/é"),
  wide: String.to_charlist("aπ"),
  big: -:erlang.bsl(1, 200),
  note: nil,
  data: :binary.copy("x", 5000),
  owner: self(),
  reference: make_ref(),
  function: &String.length/1,
  closure: (fn x -> {x, node()} end),
  nested: [%MyApp.Nested{level: -1}]
}
send({:typed, TARGET}, {self(), order})
receive do
  {:back, back} ->
    sets = [:tags, :old_tags]
    %{
      others: Enum.filter(Map.keys(order), &(&1 not in sets and Map.get(back, &1) !== Map.get(order, &1))),
      tags: back.tags === order.tags,
      old_tags: back.old_tags === order.old_tags,
      equal: Enum.all?(sets, &MapSet.equal?(Map.get(back, &1), Map.get(order, &1))),
      member: MapSet.member?(back.tags, "new") and MapSet.member?(back.old_tags, {:b, 2}),
      union: Enum.all?(sets, &MapSet.equal?(MapSet.union(Map.get(back, &1), MapSet.new([1])), MapSet.put(Map.get(order, &1), 1))),
      size: Enum.count(back.tags),
      struct: back.__struct__ === MyApp.Order and is_struct(back) and map_size(back) === map_size(order),
      iso: DateTime.to_iso8601(back.placed_at),
      next: Date.add(back.day, 1) === ~D[2024-03-01],
      late: NaiveDateTime.compare(back.local, order.local),
      noon: Time.diff(back.time, ~T[12:00:00]),
      count: Enum.count(back.range),
      call: back.closure.(1) === {1, node()} and back.function.("abc") === 3
    }
after
  30_000 -> :nothing_came_back
end
"#;

/// What is made on this side.
#[derive(Serialize)]
struct Made {
    moment: DateTime,
    total: Decimal,
    nothing: Decimal,
    range: Range,
    down: Range,
    tags: MapSet<Vec<Atom>>,
    options: Keyword<Vec<(Atom, Charlist)>>,
}

const CHECK: &str = r#"
send({:typed, TARGET}, {self(), :ready})
receive do
  {:back, made} ->
    %{
      moment: made.moment === DateTime.from_unix!(1_709_208_000_000_001, :microsecond),
      total: made.total === %Decimal{sign: 1, coef: 1250, exp: -2},
      nothing: made.nothing === %Decimal{sign: 1, coef: :NaN, exp: 0},
      range: Enum.to_list(made.range),
      down: Enum.to_list(made.down),
      tags: MapSet.equal?(made.tags, MapSet.new([:a, :b])),
      options: Keyword.fetch!(made.options, :path)
    }
after
  30_000 -> :nothing_came_back
end
"#;

/// The folder with Elixir's own code.
fn elixir_code(otp: &Otp) -> String {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(otp.program("elixir"));
    command.args(["-e", "IO.write(:code.lib_dir(:elixir))"]).env("HOME", home.path());
    for name in common::NOT_INHERITED {
        command.env_remove(name);
    }
    let output = command.output().expect("elixir runs");
    assert!(output.status.success(), "elixir{}: {output:?}", otp.release);
    format!("{}/ebin", String::from_utf8(output.stdout).unwrap())
}

/// The value of Elixir code, as Erlang prints it.
async fn elixir(beam: &Beam, code: &str) -> String {
    let source = format!("{{V, _}} = 'Elixir.Code':eval_string(<<{code:?}/utf8>>), V");
    beam.eval_within(&source, LATER).await.unwrap()
}

async fn start(otp: &Otp, epmd: &Epmd) -> (Beam, Node, Process) {
    let code = elixir_code(otp);
    let beam = Beam::start(otp, epmd, BeamOptions::default().args(["-pa", &code])).await;
    assert_eq!(beam.eval_within("{ok, _} = application:ensure_all_started(elixir), ok", LATER).await.unwrap(), "ok");
    elixir(&beam, MODULES).await;
    let node = node::start(epmd).await;
    let typed = node.register("typed").unwrap();
    connect(&node, &beam).await;
    (beam, node, typed)
}

fn aimed(code: &str, node: &Node) -> String {
    code.replace("TARGET", &format!(":{:?}", node.name().to_string()))
}

/// The pairs of a printed map, in their order by name.
fn said(map: &str) -> Vec<(String, String)> {
    let term: Term = map.parse().unwrap_or_else(|error| panic!("{map}: {error}"));
    let map = term.as_map().unwrap_or_else(|| panic!("{term}"));
    let mut pairs: Vec<_> = map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    pairs.sort();
    pairs
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    pairs.sort();
    pairs
}

#[tokio::test]
async fn what_elixir_sends_is_read_into_types_and_comes_back_equal() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let (beam, node, mut typed) = start(&otp, &epmd).await;
        let code = aimed(EXCHANGE, &node);
        let (answer, ()) = tokio::join!(elixir(&beam, &code), async {
            let message = within(LATER, "the order", typed.recv()).await.unwrap();
            let (from, order): (Pid, Order) = message.decode().unwrap_or_else(|error| panic!("{error}: {message:?}"));
            check(&order, &from, otp.release);
            typed.send(&from, &(atom!("back"), order)).await.unwrap();
            drop(message);
        });
        let has_version = if otp.release <= 25 { ("false", "true") } else { ("true", "false") };
        let expected = [
            ("others", "[]"),
            ("tags", has_version.0),
            ("old_tags", has_version.1),
            ("equal", "true"),
            ("member", "true"),
            ("union", "true"),
            ("size", "2"),
            ("struct", "true"),
            ("iso", "<<\"2024-02-29T12:00:00.120Z\">>"),
            ("next", "true"),
            ("late", "eq"),
            ("noon", "0"),
            ("count", "10"),
            ("call", "true"),
        ];
        assert_eq!(said(&answer), pairs(expected), "OTP {}", otp.release);
        node.shutdown().await;
    }
}

fn check(order: &Order, from: &Pid, release: u32) {
    let item = |sku: &str, price, discount| Item { sku: sku.to_owned(), price, discount };
    assert_eq!(order.items, [item("a", 1.5, None), item("b", 2.0, Some(10))]);
    assert_eq!(order.total, "-12.50".parse().unwrap());
    assert_eq!(order.tags.0, BTreeSet::from(["new".to_owned(), "päid".to_owned()]));
    assert_eq!(order.old_tags, HashSet::from([(atom!("a"), 1), (atom!("b"), 2)]));
    assert_eq!(order.placed_at.to_string(), "2024-02-29T12:00:00.120Z");
    assert_eq!(order.placed_at.unix_micros(), Some(1_709_208_000_120_000));
    assert_eq!(Some(order.day), Date::new(2024, 2, 29));
    assert_eq!(order.local.to_string(), "2024-02-29T23:59:59");
    assert_eq!(order.time.to_string(), "12:00:00.500000");
    assert_eq!((order.range.first, order.range.last), (1, 10));
    assert_eq!(order.range.step, (release >= 25).then_some(1), "OTP {release}");
    assert_eq!(order.options, Options { timeout: 5000, name: None });
    assert_eq!((order.path.as_str(), order.wide.0.as_str()), ("lib/é", "aπ"));
    assert_eq!(order.big, -BigInt::from(2).pow(200));
    assert_eq!(order.data, "x".repeat(5000));
    assert_eq!(&order.owner, from);
    assert!(matches!(&order.function, Fun::Export { arity: 1, .. }), "{:?}", order.function);
    assert_eq!(order.nested, [Nested { level: -1 }]);
}

#[tokio::test]
async fn what_is_made_here_is_what_elixir_makes_itself() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let (beam, node, mut typed) = start(&otp, &epmd).await;
        let code = aimed(CHECK, &node);
        let (answer, ()) = tokio::join!(elixir(&beam, &code), async {
            let message = within(LATER, "the question", typed.recv()).await.unwrap();
            let (from, _): (Pid, Payload) = message.decode().unwrap();
            let made = Made {
                moment: DateTime::from_unix_micros(1_709_208_000_000_001).unwrap(),
                total: "12.50".parse().unwrap(),
                nothing: Decimal { coef: Coefficient::NaN, ..Decimal::from(0) },
                range: Range::new(1, 3),
                down: Range::new(2, 1),
                tags: MapSet(vec![atom!("a"), atom!("b")]),
                options: Keyword(vec![(atom!("path"), Charlist::from("abc"))]),
            };
            typed.send(&from, &(atom!("back"), made)).await.unwrap();
        });
        let expected = [
            ("moment", "true"),
            ("total", "true"),
            ("nothing", "true"),
            ("range", "[1,2,3]"),
            ("down", "[2,1]"),
            ("tags", "true"),
            ("options", "\"abc\""),
        ];
        assert_eq!(said(&answer), pairs(expected), "OTP {}", otp.release);
        node.shutdown().await;
    }
}

#[tokio::test]
async fn another_struct_of_elixir_is_an_error_that_names_both() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let (beam, node, mut typed) = start(&otp, &epmd).await;
        let code = "send({:typed, TARGET}, {self(), [%Decimal{}, %{id: 1}]}); :sent";
        assert_eq!(elixir(&beam, &aimed(code, &node)).await, "sent");
        let message = within(LATER, "the structs", typed.recv()).await.unwrap();
        let (_, [decimal, map]): (Pid, [Payload; 2]) = message.decode().unwrap();
        assert_eq!(decimal.decode::<Decimal>().unwrap(), Decimal::from(0));
        let error = decimal.decode::<Order>().unwrap_err().to_string();
        assert!(error.starts_with("expected %MyApp.Order{}, found %Decimal{} (at byte "), "{error}");
        let error = map.decode::<Order>().unwrap_err().to_string();
        assert_eq!(error, "expected %MyApp.Order{}, found a map without __struct__ (at byte 0)");
        node.shutdown().await;
    }
}
