//! A byte of a compact list.

use serde::de::{self, IgnoredAny, Visitor};

use super::{Deserializer, Fault};

/// Reads a small integer that stands alone, as [`Deserializer`] does. It is a type of its own so that a type is read from
/// the `Deserializer` of a list in one place, which then becomes part of the loop over that list; and so that nothing is
/// made again that cannot come of an integer.
pub(in super::super) struct Byte<'d, 'de, 'l>(pub(in super::super) &'d mut Deserializer<'de, 'l>);

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.0.$method(visitor)
        })*
    };
}

macro_rules! others {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* _: V) -> Result<V::Value, Fault> {
            refused(self.0.$method($($name,)* IgnoredAny))
        })*
    };
}

#[cold]
fn refused<T>(found: Result<IgnoredAny, Fault>) -> Result<T, Fault> {
    Err(found.map_or_else(|fault| fault, |IgnoredAny| de::Error::custom("a byte of a list is an integer")))
}

impl<'de> de::Deserializer<'de> for Byte<'_, 'de, '_> {
    type Error = Fault;

    numbers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char
        deserialize_any deserialize_ignored_any deserialize_identifier);

    others! {
        deserialize_bool();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_newtype_struct(name, visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
