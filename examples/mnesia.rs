//! A table of Mnesia that lives on a BEAM node, used from Rust: rows are read and written as types.
//!
//! ```console
//! $ iex --sname shop --cookie example
//! iex> :mnesia.start()
//! iex> :mnesia.create_table(:item, attributes: [:sku, :price, :stock])
//! $ cargo run --example mnesia shop@HOST
//! ```

use gusset::services::MnesiaError;
use gusset::{Cookie, EpmdMode, Node, NodeName, atom, tuple};
use serde::{Deserialize, Serialize};

/// A row: `{item, Sku, Price, Stock}`, the fields in the order of the table's attributes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "#item")]
struct Item {
    sku: String,
    price: f64,
    stock: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop: NodeName = std::env::args().nth(1).ok_or("usage: mnesia NODE")?.parse()?;
    let host = hostname::get()?.to_string_lossy().split('.').next().unwrap_or("localhost").to_owned();
    let name = format!("mnesia-{}@{}", std::process::id(), if shop.is_long() { "127.0.0.1" } else { &host });
    let cookie = std::env::var("RELEASE_COOKIE").unwrap_or_else(|_| "example".to_owned());
    let port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(4369);
    // Who only asks need not be seen by all others.
    let node = Node::builder(name).cookie(Cookie::new(cookie)?).epmd(EpmdMode::Auto, port).hidden().start().await?;

    let tables = node.mnesia(shop);
    for (sku, price, stock) in [("bolt", 0.5, 7), ("nut", 0.25, 0), ("pin", 0.1, 0)] {
        tables.write("item", &Item { sku: sku.to_owned(), price, stock }).await?;
    }
    for item in tables.read::<Item>("item", "bolt").await? {
        println!("{}: {} at {}", item.sku, item.stock, item.price);
    }
    // `'_'` stands for anything.
    let sold_out = tuple![atom!("item"), atom!("_"), atom!("_"), 0];
    let mut sold_out = tables.match_object::<Item>("item", &sold_out).await?;
    sold_out.sort_by(|a, b| a.sku.cmp(&b.sku));
    println!("sold out: {}", sold_out.iter().map(|item| item.sku.as_str()).collect::<Vec<_>>().join(", "));

    tables.delete("item", "pin").await?;
    // Any function of that node can be a transaction: one of Mnesia's, or, for several steps, one of yours.
    let mut keys: Vec<String> = tables.transaction("mnesia", "all_keys", (atom!("item"),)).await?;
    keys.sort();
    println!("left: {}", keys.join(", "));

    match tables.read::<Item>("order", "bolt").await {
        Err(MnesiaError::NoSuchTable(table)) => println!("there is no table {table}"),
        other => println!("{other:?}"),
    }
    node.shutdown().await;
    Ok(())
}
