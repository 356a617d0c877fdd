//! The external term format: bytes to values and back.
//!
//! No I/O and no runtime in here. What comes from the network is walked once by [`validate()`], and
//! is then read without a tree ([`Reader`]), into a [`Term`], or through serde into a type of the
//! user's. Facts: "External Term Format" of the ERTS user's guide, `external.c` of OTP 23 to 29.

mod atom;
mod encode;
mod error;
mod ids;
mod limits;
mod payload;
mod read;
pub(crate) mod tag;

pub use atom::{Atom, AtomTooLong, MAX_ATOM_CHARACTERS};
pub use encode::{AtomRefs, CHAIN_FROM, Encoder};
pub use error::{DecodeError, DecodeErrorKind};
pub use ids::{Creation, MAX_REF_WORDS, Pid, Port, Ref};
pub use limits::Limits;
pub use payload::Payload;
pub use read::Reader;
