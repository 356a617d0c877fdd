//! The Erlang distribution protocol as bytes in, events out.
//!
//! No I/O in here, no clock of its own (time is an argument), no runtime: everything can be tested by
//! joining two ends in memory. Facts: "Distribution Protocol" of the ERTS user's guide, `dist.c`,
//! `dist_util.erl` and `erl_epmd.erl` of OTP 23 to 29.

mod control;
mod cookie;
pub mod epmd;
mod flags;
mod frame;
pub mod handshake;
mod name;
mod outbox;
mod walk;

pub use control::{Control, ControlError, ExitTarget, Incoming, ProcRef, SpawnOptions};
pub use cookie::{Cookie, CookieError, DIGEST_LEN, MAX_COOKIE_LEN};
pub use flags::Flags;
pub use frame::ProtocolViolation;
pub use handshake::{HandshakeError, LocalIdentity, Negotiated};
pub use name::{NodeName, NodeNameError};
pub use outbox::Outgoing;
