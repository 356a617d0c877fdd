//! Structs of Elixir's own, and of the library Decimal, as fields of your types.
//!
//! They hold what is on the wire, and convert no more than to and from Unix time: for arithmetic with dates or
//! decimals, take a library for that. What comes from others is not checked (a 31st of February can be read),
//! only the constructors give `None` for such.
//!
//! ```
//! use gusset::etf::elixir::{DateTime, Decimal, MapSet};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! #[serde(rename = "Elixir.MyApp.Order")]
//! struct Order {
//!     total: Decimal,
//!     ordered_at: DateTime,
//!     tags: MapSet<Vec<String>>,
//! }
//!
//! let order = Order {
//!     total: "12.50".parse()?,
//!     ordered_at: DateTime::from_unix_micros(1_709_208_000_000_000).ok_or("a year that Elixir does not know")?,
//!     tags: MapSet(vec!["new".to_owned()]),
//! };
//! let payload = gusset::etf::to_payload(&order)?;
//! assert_eq!(payload.decode::<Order>()?.ordered_at.to_string(), "2024-02-29T12:00:00.000000Z");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calendar;
mod decimal;

pub use calendar::{Date, DateTime, Iso, NaiveDateTime, Time};
pub use decimal::{Coefficient, Decimal, ParseDecimalError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::mapset;

/// A set that is a `MapSet` in Elixir, around the collection that holds it: `MapSet<HashSet<String>>`, `MapSet<Vec<Term>>`.
/// The forms that are read and written are those of [`mapset`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapSet<T>(pub T);

impl<T: Serialize> Serialize for MapSet<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        mapset::serialize(&self.0, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for MapSet<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        mapset::deserialize(deserializer).map(Self)
    }
}

/// `first..last//step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename = "Elixir.Range")]
pub struct Range {
    /// The first element.
    pub first: i64,
    /// The last element, if the steps meet it.
    pub last: i64,
    /// The distance of one element to the next; the ranges of old releases (1.10 is one) have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
}

impl Range {
    /// `first..last`, as newer releases have it: up by one, or down by one where `last` is less.
    pub fn new(first: i64, last: i64) -> Self {
        Self { first, last, step: Some(if first <= last { 1 } else { -1 }) }
    }
}
