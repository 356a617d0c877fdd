//! Text as a list of characters (`~c"abc"`, in Erlang `"abc"`), as Erlang's own functions want it:
//! `#[serde(with = "gusset::etf::charlist")]` on a field, or [`Charlist`] around the text.
//!
//! Reading takes a binary as well, as without this.
//!
//! ```
//! use gusset::etf::{Charlist, to_term};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Module {
//!     #[serde(with = "gusset::etf::charlist")]
//!     path: String,
//!     flags: Vec<Charlist>,
//! }
//!
//! let module = Module { path: "/lib".to_owned(), flags: vec!["a".into(), "π".into()] };
//! assert_eq!(to_term(&module)?.to_string(), r#"#{flags => ["a","π"],path => "/lib"}"#);
//! # Ok::<(), gusset::etf::EncodeError>(())
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raw::CHARLIST_TOKEN;

/// Writes text (or `None`) as a list of characters.
///
/// # Errors
/// As [`to_bytes`](super::to_bytes).
pub fn serialize<T: Serialize + ?Sized, S: Serializer>(text: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(CHARLIST_TOKEN, text)
}

/// Reads text from a list of characters, or from a binary.
///
/// # Errors
/// As [`from_bytes`](super::from_bytes).
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

/// Text that is written as a list of characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Charlist(pub String);

impl From<&str> for Charlist {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Serialize for Charlist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Charlist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
