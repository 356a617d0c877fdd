//! The Erlang distribution protocol as bytes in, events out.
//!
//! No I/O in here, no clock of its own (time is an argument), no runtime: everything can be tested by
//! joining two ends in memory. Facts: "Distribution Protocol" of the ERTS user's guide, `dist.c`,
//! `dist_util.erl` and `erl_epmd.erl` of OTP 23 to 29.

mod atom_cache;
mod control;
mod cookie;
pub mod epmd;
mod flags;
mod fragment;
mod frame;
pub mod handshake;
mod large;
mod liveness;
mod name;
mod outbox;
mod outgoing;
mod routes;
mod spares;
mod violation;

#[cfg(test)]
mod buffer_tests;
#[cfg(test)]
mod fragment_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod wire_tests;

pub(crate) use control::Address;
pub use control::{Control, ControlError, ExitTarget, Incoming, ProcRef, Recipient, Sent, SpawnOptions};
pub use cookie::{Cookie, CookieError, DIGEST_LEN, MAX_COOKIE_LEN};
pub use flags::Flags;
pub use fragment::FragmentError;
pub use frame::{Frame, FrameLimits, FrameReader};
pub use handshake::{HandshakeError, LocalIdentity, Negotiated};
pub use liveness::{Liveness, Progress, Verdict};
pub use name::{NodeName, NodeNameError};
pub use outbox::{Outbox, TooLarge};
pub use outgoing::Outgoing;
pub use violation::ProtocolViolation;
