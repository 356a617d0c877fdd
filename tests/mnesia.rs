//! Mnesia on BEAM nodes of every release: its tables used from here, and its peace with a node that has none.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use common::node::{self, atom, connect, name_of, next};
use common::{Beam, LATER, SOON, within};
use gusset::services::{Mnesia, MnesiaError};
use gusset::{Node, Process, atom as a, tuple};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#item")]
struct Item {
    sku: String,
    price: f64,
    stock: i64,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "#tag")]
struct Tag {
    sku: String,
    name: String,
}

fn item(sku: &str, stock: i64) -> Item {
    Item { sku: sku.to_owned(), price: 0.5, stock, note: None }
}

/// A shop of every release, connected; `check` runs for each.
async fn with_each_shop<F: Future<Output = ()>>(check: impl Fn(Node, Beam, Mnesia) -> F) {
    node::with_each(async |node, beam| {
        assert_eq!(beam.value("gusset_shop:start()").await, "ok");
        let tables = node.mnesia(name_of(&beam));
        check(node, beam, tables).await;
    })
    .await;
}

#[tokio::test]
async fn rows_are_written_read_matched_and_deleted_as_types() {
    with_each_shop(|_node, beam, tables| async move {
        let bolt = Item { note: Some("zinc".to_owned()), ..item("bolt", 7) };
        for row in [&bolt, &item("nut", 0), &item("pin", 0)] {
            tables.write("item", row).await.unwrap();
        }
        let there =
            beam.value("{atomic, Rows} = mnesia:transaction(fun() -> mnesia:read(item, <<\"bolt\">>) end), Rows");
        assert_eq!(there.await, "[{item,<<\"bolt\">>,0.5,7,<<\"zinc\">>}]");
        assert_eq!(tables.read::<Item>("item", "bolt").await.unwrap(), [bolt]);
        // A field that Erlang has left unset.
        beam.value("mnesia:dirty_write({item, <<\"cog\">>, 2.0, 1, undefined})").await;
        assert_eq!(tables.read::<Item>("item", "cog").await.unwrap(), [Item { price: 2.0, ..item("cog", 1) }]);
        assert_eq!(tables.read::<Item>("item", "moon").await.unwrap(), []);

        let sold_out = tuple![a!("item"), a!("_"), a!("_"), 0, a!("_")];
        let mut sold_out = tables.match_object::<Item>("item", &sold_out).await.unwrap();
        sold_out.sort_by(|a, b| a.sku.cmp(&b.sku));
        assert_eq!(sold_out, [item("nut", 0), item("pin", 0)]);

        tables.delete("item", "nut").await.unwrap();
        tables.delete("item", "nut").await.unwrap();
        assert_eq!(
            beam.value("lists:sort(mnesia:dirty_all_keys(item))").await,
            "[<<\"bolt\">>,<<\"cog\">>,<<\"pin\">>]"
        );

        // A bag has several rows for a key.
        for name in ["small", "steel"] {
            tables.write("tag", &Tag { sku: "bolt".to_owned(), name: name.to_owned() }).await.unwrap();
        }
        let mut tags = tables.read::<Tag>("tag", "bolt").await.unwrap();
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>(), ["small", "steel"]);
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn a_function_there_runs_as_a_transaction_or_not_at_all() {
    with_each_shop(|_node, beam, tables| async move {
        tables.write("item", &item("bolt", 7)).await.unwrap();
        let take = async |sku: &str, count: i64| tables.transaction::<i64>("gusset_shop", "take", (sku, count)).await;
        assert_eq!(take("bolt", 3).await.unwrap(), 4);
        assert_eq!(tables.read::<Item>("item", "bolt").await.unwrap(), [item("bolt", 4)]);

        // Nothing of what it had written stays.
        let aborted = take("bolt", 5).await.unwrap_err();
        assert!(matches!(&aborted, MnesiaError::Aborted(why) if *why == tuple![a!("out_of_stock"), 4]), "{aborted:?}");
        assert_eq!(aborted.to_string(), "aborted: {out_of_stock,4}");
        assert_eq!(tables.read::<Item>("item", "bolt").await.unwrap(), [item("bolt", 4)]);
        assert_eq!(tables.read::<Item>("item", "trace").await.unwrap(), []);

        let raised = take("moon", 1).await.unwrap_err().to_string();
        assert!(raised.starts_with("aborted: {{unknown,<<\"moon\">>},[{gusset_shop,take,2"), "{raised}");
        let missing = tables.transaction::<i64>("gusset_shop", "nothing", ()).await.unwrap_err().to_string();
        assert!(missing.starts_with("aborted: {undef,[{gusset_shop,nothing,[]"), "{missing}");

        // Two at once wait for each other's locks, and none is lost.
        tables.write("item", &item("many", 40)).await.unwrap();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let tables = tables.clone();
            all.spawn(async move { tables.transaction::<i64>("gusset_shop", "take", ("many", 2)).await.unwrap() });
        }
        let mut left = within(LATER, "twenty transactions", all.join_all()).await;
        left.sort_unstable();
        assert_eq!(left, (0..20).map(|n| n * 2).collect::<Vec<i64>>());
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_has_a_name() {
    with_each_shop(|_node, beam, tables| async move {
        let no_table = tables.read::<Item>("nope", "bolt").await.unwrap_err();
        assert!(matches!(&no_table, MnesiaError::NoSuchTable(what) if what.is_atom("nope")), "{no_table:?}");
        let no_record = tables.write("item", &("bolt", 7)).await.unwrap_err();
        assert!(matches!(&no_record, MnesiaError::BadType(what) if *what == tuple!["bolt", 7]), "{no_record:?}");
        let of_another = tables.write("item", &Tag { sku: "a".to_owned(), name: "b".to_owned() }).await.unwrap_err();
        assert!(matches!(&of_another, MnesiaError::BadType(_)), "{of_another:?}");

        let pattern = tables.match_object::<Item>("item", &tuple![a!("item"), a!("_")]).await.unwrap_err();
        assert!(matches!(&pattern, MnesiaError::BadType(_)), "{pattern:?}");

        beam.value("mnesia:dirty_write({item, <<\"odd\">>, free, 1, undefined})").await;
        let unreadable = tables.read::<Item>("item", "odd").await.unwrap_err().to_string();
        assert!(unreadable.contains("price: expected a float"), "{unreadable}");

        assert_eq!(beam.value("mnesia:stop()").await, "stopped");
        let stopped = tables.read::<Item>("item", "bolt").await.unwrap_err();
        assert!(matches!(&stopped, MnesiaError::NotRunning(node) if node.as_str() == beam.node_name), "{stopped:?}");
        // As in a release that does not have it.
        beam.value("[code:purge(M) || M <- [mnesia], code:delete(M)], code:del_path(mnesia)").await;
        let Err(MnesiaError::Call(absent)) = tables.read::<Item>("item", "bolt").await else { panic!("no Mnesia") };
        assert!(absent.is_undef(), "{absent}");
        beam.assert_clean_log().await;
    })
    .await;
}

/// The servers of Mnesia that those of other nodes send to.
const SERVERS: [&str; 6] =
    ["mnesia_controller", "mnesia_locker", "mnesia_monitor", "mnesia_recover", "mnesia_subscr", "mnesia_tm"];

#[tokio::test]
async fn mnesia_takes_a_gusset_for_a_node_without_it() {
    node::with_each(async |node, beam| {
        let us = atom(&node);
        assert_eq!(beam.value("gusset_shop:start()").await, "ok");
        // A node that comes and goes is sent nothing: whatever came to such a server would be seen.
        let mut servers: Vec<Process> = SERVERS.iter().map(|name| node.register(name).unwrap()).collect();
        assert_eq!(beam.value(&format!("erlang:disconnect_node({us})")).await, "true");
        node::until("the end of the connection", SOON, || node.nodes().is_empty()).await;
        connect(&node, &beam).await;
        let write = "mnesia:transaction(fun() -> mnesia:write({tag, <<\"a\">>, b}) end)";
        assert_eq!(beam.value(write).await, "{atomic,ok}");
        for (server, name) in servers.iter_mut().zip(SERVERS) {
            beam.value(&format!("{{{name}, {us}}} ! nothing_before")).await;
            assert_eq!(next(server).await, "nothing_before", "{name}, OTP {}", beam.otp.release);
        }
        drop(servers);

        let running = beam.value(&format!("rpc:call({us}, mnesia, system_info, [is_running])")).await;
        assert_eq!(running, "{badrpc,{'EXIT',{undef,[{mnesia,system_info,[is_running],[]}]}}}");
        // Asked to be one of its nodes, which an operator may try: it is left out, or the reason is given.
        assert_eq!(beam.value(&format!("mnesia:change_config(extra_db_nodes, [{us}])")).await, "{ok,[]}");
        // A copy is only planned, as for a node that is down; the table goes on without it.
        assert_eq!(beam.value(&format!("mnesia:add_table_copy(item, {us}, ram_copies)")).await, "{atomic,ok}");
        assert_eq!(beam.value("mnesia:table_info(item, where_to_write)").await, format!("[{}]", beam.atom()));
        assert_eq!(beam.value(write).await, "{atomic,ok}");
        node.mnesia(name_of(&beam)).write("item", &item("bolt", 7)).await.unwrap();
        assert_eq!(beam.value(&format!("mnesia:del_table_copy(item, {us})")).await, "{atomic,ok}");
        assert_eq!(beam.value("mnesia:stop()").await, "stopped");
        let schema = beam.value(&format!("mnesia:create_schema([node(), {us}])")).await;
        assert!(schema.starts_with("{error,") && schema.contains("undef"), "{schema}");
        assert_eq!(beam.value(&format!("application:set_env(mnesia, extra_db_nodes, [{us}])")).await, "ok");
        assert_eq!(beam.value("gusset_shop:start()").await, "ok");
        for which in ["db_nodes", "running_db_nodes"] {
            assert_eq!(beam.value(&format!("mnesia:system_info({which})")).await, format!("[{}]", beam.atom()));
        }

        node.shutdown().await;
        beam.wait_until("nodes() =:= []", SOON).await.unwrap();
        assert_eq!(beam.value("mnesia:system_info(is_running)").await, "yes");
        beam.assert_clean_log().await;
    })
    .await;
}
