//! The external term format: bytes to values and back.
//!
//! No I/O and no runtime in here. What comes from the network is walked once by [`validate()`], and
//! is then read without a tree ([`Reader`]), into a [`Term`], or through serde into a type of the
//! user's. Facts: "External Term Format" of the ERTS user's guide, `external.c` of OTP 23 to 29.

mod access;
mod atom;
pub mod bigint;
mod blob;
pub mod bytes;
pub mod charlist;
#[cfg(feature = "eetf")]
mod compat;
mod convert;
mod copy;
mod de;
mod decode;
pub mod elixir;
mod encode;
mod error;
mod handed;
mod held;
mod ids;
pub mod keyword;
mod limits;
mod list;
mod map;
pub mod mapset;
mod named;
mod order;
mod parse;
mod payload;
mod phash2;
mod print;
mod raw;
mod read;
mod scratch;
mod ser;
#[cfg(test)]
mod serde_tests;
pub(crate) mod tag;
mod term;
mod twice;
#[cfg(test)]
mod typed_tests;
mod validate;
mod write;

pub use atom::{Atom, AtomTooLong, MAX_ATOM_CHARACTERS};
pub use blob::open_blob;
pub use bytes::Binary;
pub use charlist::Charlist;
#[cfg(feature = "eetf")]
pub use compat::CompatError;
pub use de::{deserialize_from, from_bytes, from_term};
pub use encode::{AtomRefs, CHAIN_FROM, Encoder};
pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use ids::{Creation, MAX_REF_WORDS, Pid, Port, Ref};
pub use keyword::Keyword;
pub use limits::Limits;
pub use list::List;
pub use map::Map;
pub use num_bigint::BigInt;
pub use parse::ParseError;
pub use payload::Payload;
pub use phash2::{PHASH2_RANGE, phash2, phash2_term};
pub use read::Reader;
pub use ser::{serialize_into, to_bytes, to_payload, to_term};
pub use term::{BitString, Fun, OpaqueFun, Record, Term};
pub use validate::validate;
