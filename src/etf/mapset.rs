//! A set as Elixir's `MapSet`: `#[serde(with = "gusset::etf::mapset")]` on a field of type `HashSet`, `BTreeSet` or `Vec`,
//! or [`elixir::MapSet`](super::elixir::MapSet) around it.
//!
//! Elixir up to 1.14 has a key `version` in it, newer ones have not (seen in 1.10 and 1.14, not in 1.18 and
//! 1.20). Both are read. Written is the newer form, which the functions of the older `MapSet` take, and compare by
//! `MapSet.equal?/2`; where older nodes compare by `==`, use [`versioned`].
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Post {
//!     #[serde(with = "gusset::etf::mapset")]
//!     tags: BTreeSet<String>,
//! }
//!
//! let term = gusset::etf::to_term(&Post { tags: BTreeSet::from(["a".to_owned()]) })?;
//! assert_eq!(term.to_string(), "#{tags => #{'__struct__' => 'Elixir.MapSet',map => #{<<\"a\">> => []}}}");
//! # Ok::<(), gusset::etf::EncodeError>(())
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::raw::SET_TOKEN;

const NAME: &str = "Elixir.MapSet";
const MAP: &str = "map";

/// Writes a set.
///
/// # Errors
/// As [`to_bytes`](super::to_bytes), for an element that comes twice, and for what is no sequence.
pub fn serialize<T: Serialize, S: Serializer>(set: &T, serializer: S) -> Result<S::Ok, S::Error> {
    write(set, serializer, false)
}

/// Reads a set.
///
/// # Errors
/// As [`from_bytes`](super::from_bytes).
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_struct(NAME, &[MAP], MapSetVisitor { set: PhantomData })
}

/// The same in the form of Elixir up to 1.14, with `version: 2`.
pub mod versioned {
    use serde::ser::{Serialize, Serializer};

    pub use super::deserialize;

    /// Writes a set.
    ///
    /// # Errors
    /// As [`serialize`](super::serialize).
    pub fn serialize<T: Serialize, S: Serializer>(set: &T, serializer: S) -> Result<S::Ok, S::Error> {
        super::write(set, serializer, true)
    }
}

fn write<T: Serialize, S: Serializer>(set: &T, serializer: S, has_version: bool) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return set.serialize(serializer);
    }
    let mut mapset = serializer.serialize_struct(NAME, 1 + usize::from(has_version))?;
    mapset.serialize_field(MAP, &Keys(set))?;
    if has_version {
        mapset.serialize_field("version", &2)?;
    }
    mapset.end()
}

/// The elements, as keys.
struct Keys<'a, T>(&'a T);

impl<T: Serialize> Serialize for Keys<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(SET_TOKEN, self.0)
    }
}

struct MapSetVisitor<T> {
    set: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for MapSetVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MapSet")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<T, A::Error> {
        let mut set = None;
        while let Some(is_map) = fields.next_key_seed(IsMap)? {
            if is_map {
                set = Some(fields.next_value_seed(KeysVisitor { set: self.set })?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        set.ok_or_else(|| de::Error::missing_field(MAP))
    }

    /// What formats for humans have.
    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<T, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(elements))
    }
}

/// Whether a key is that of the elements.
struct IsMap;

impl<'de> DeserializeSeed<'de> for IsMap {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for IsMap {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == MAP)
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<bool, E> {
        Ok(false)
    }
}

/// The keys of a map, as the elements of a sequence.
struct KeysVisitor<T> {
    set: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for KeysVisitor<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for KeysVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the elements of a MapSet")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(KeysOf { map }))
    }
}

struct KeysOf<A> {
    map: A,
}

impl<'de, A: MapAccess<'de>> SeqAccess<'de> for KeysOf<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let element = self.map.next_key_seed(seed)?;
        if element.is_some() {
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}
