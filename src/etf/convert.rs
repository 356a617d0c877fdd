//! Values that are terms without further ado, and the macros [`tuple!`](crate::tuple) and
//! [`list!`](crate::list).

use bytes::Bytes;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::atom::Atom;
use super::ids::{Pid, Port, Ref};
use super::map::Map;
use super::term::{BitString, Fun, Record, Term};
use crate::atom;

/// A tuple term of whatever converts into terms: `tuple![atom!("reply"), 1, "text"]`.
#[macro_export]
macro_rules! tuple {
    ($($element:expr),* $(,)?) => {
        $crate::etf::Term::Tuple(::std::vec![$($crate::etf::Term::from($element)),*])
    };
}

/// A list term of whatever converts into terms: `list![1, 2, atom!("three")]`; a tail stands behind
/// a semicolon: `list![atom!("alias"); reference]`.
#[macro_export]
macro_rules! list {
    ($($element:expr),+ ; $tail:expr) => {
        $crate::etf::Term::list_with_tail(
            ::std::vec![$($crate::etf::Term::from($element)),*],
            $crate::etf::Term::from($tail),
        )
    };
    ($($element:expr),* $(,)?) => {
        $crate::etf::Term::List(::std::vec![$($crate::etf::Term::from($element)),*].into())
    };
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {
        $(impl From<$type> for Term {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

from! {
    i8 => Integer, i16 => Integer, i32 => Integer, i64 => Integer,
    u8 => Integer, u16 => Integer, u32 => Integer,
    f32 => Float, f64 => Float,
    Atom => Atom, Pid => Pid, Port => Port, Ref => Ref,
    Map => Map, BitString => BitString, Bytes => Binary,
    Fun => Fun, Record => Record,
}

impl From<BigInt> for Term {
    fn from(value: BigInt) -> Self {
        match value.to_i64() {
            Some(value) => Self::Integer(value),
            None => Self::BigInteger(value),
        }
    }
}

macro_rules! from_wide {
    ($($type:ty),*) => {
        $(impl From<$type> for Term {
            fn from(value: $type) -> Self {
                match i64::try_from(value) {
                    Ok(value) => Self::Integer(value),
                    Err(_) => Self::BigInteger(value.into()),
                }
            }
        })*
    };
}

from_wide!(u64, usize, isize, i128, u128);

impl From<bool> for Term {
    fn from(value: bool) -> Self {
        Self::Atom(if value { atom!("true") } else { atom!("false") })
    }
}

impl From<&str> for Term {
    /// A binary, as Elixir's strings are; Erlang's are made by [`Term::charlist`].
    fn from(text: &str) -> Self {
        Self::Binary(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Term {
    /// A binary, as Elixir's strings are; Erlang's are made by [`Term::charlist`].
    fn from(text: String) -> Self {
        Self::Binary(text.into())
    }
}

impl From<&[u8]> for Term {
    /// A binary.
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Vec<u8>> for Term {
    /// A binary.
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<Vec<Term>> for Term {
    /// A proper list.
    fn from(elements: Vec<Term>) -> Self {
        Self::List(elements.into())
    }
}

macro_rules! from_reference {
    ($($type:ty),*) => {
        $(impl From<&$type> for Term {
            fn from(value: &$type) -> Self {
                value.clone().into()
            }
        })*
    };
}

from_reference!(Atom, Pid, Port, Ref);

macro_rules! from_tuple {
    ($($name:ident)*) => {
        impl<$($name: Into<Term>),*> From<($($name,)*)> for Term {
            #[allow(non_snake_case)]
            fn from(($($name,)*): ($($name,)*)) -> Self {
                Self::Tuple(vec![$($name.into()),*])
            }
        }
    };
}

from_tuple!();
from_tuple!(A);
from_tuple!(A B);
from_tuple!(A B C);
from_tuple!(A B C D);
from_tuple!(A B C D E);
from_tuple!(A B C D E F);
from_tuple!(A B C D E F G);
from_tuple!(A B C D E F G H);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_the_terms_one_expects() {
        assert_eq!(tuple![atom!("ok"), 1, "text"].to_string(), "{ok,1,<<\"text\">>}");
        assert_eq!(list![atom!("alias"); 7].to_string(), "[alias|7]");
        assert_eq!(list![1; list![2]], list![1, 2]);
        assert_eq!(Term::from((true, u64::MAX, 1.5)).to_string(), "{true,18446744073709551615,1.5}");
        assert_eq!(Term::from(()), tuple![]);
    }
}
