//! An integer of any size: `#[serde(with = "gusset::etf::bigint")]` on a field of type [`BigInt`].
//!
//! Without it `i128` and `u128` are the largest integers, and a [`Term`](super::Term) takes any.
//! [`Limits::integer_bytes`](super::Limits::integer_bytes) bounds what is read.
//!
//! ```
//! use gusset::etf::{BigInt, to_term};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Key {
//!     #[serde(with = "gusset::etf::bigint")]
//!     modulus: BigInt,
//! }
//!
//! let key = Key { modulus: BigInt::from(2).pow(200) };
//! let text = "#{modulus => 1606938044258990275541962092341162602522202993782792835301376}";
//! assert_eq!(to_term(&key)?.to_string(), text);
//! # Ok::<(), gusset::etf::EncodeError>(())
//! ```

use num_bigint::BigInt;
use serde::{Deserializer, Serializer};

use super::raw;

/// Writes an integer.
///
/// # Errors
/// What the serializer says; none here.
pub fn serialize<S: Serializer>(value: &BigInt, serializer: S) -> Result<S::Ok, S::Error> {
    raw::serialize(serializer, value, |encoder| {
        encoder.big(value);
        Ok(())
    })
}

/// Reads an integer.
///
/// # Errors
/// As [`from_bytes`](super::from_bytes).
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BigInt, D::Error> {
    raw::deserialize(deserializer, "an integer")
}
