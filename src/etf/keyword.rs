//! A map or a plain struct as a keyword list (`[timeout: 5000]`), as options are in Elixir and Erlang:
//! `#[serde(with = "gusset::etf::keyword")]` on a field, or [`Keyword`] around the value.
//!
//! The keys become atoms, text keys too. Reading takes a map as well, as without this. Of a key that
//! comes twice Elixir takes the first; this is an error instead: where it has to be kept, use
//! `Vec<(Atom, T)>`, which is a keyword list by itself.
//!
//! ```
//! use gusset::etf::{Keyword, to_term};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Options {
//!     name: String,
//!     timeout: u32,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Start {
//!     #[serde(with = "gusset::etf::keyword")]
//!     options: Options,
//! }
//!
//! let options = || Options { name: "a".to_owned(), timeout: 5000 };
//! assert_eq!(to_term(&Start { options: options() })?.to_string(), "#{options => [{name,<<\"a\">>},{timeout,5000}]}");
//! assert_eq!(to_term(&Keyword(options()))?.to_string(), "[{name,<<\"a\">>},{timeout,5000}]");
//! # Ok::<(), gusset::etf::EncodeError>(())
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::KEYWORD_TOKEN;

/// Writes a map or a struct as a keyword list.
///
/// # Errors
/// As [`to_bytes`](super::to_bytes).
pub fn serialize<T: Serialize + ?Sized, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(KEYWORD_TOKEN, value)
}

/// Reads a map or a struct from a keyword list, or from a map.
///
/// # Errors
/// As [`from_bytes`](super::from_bytes).
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

/// A map or a struct that is written as a keyword list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keyword<T>(pub T);

impl<T: Serialize> Serialize for Keyword<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyword<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}
