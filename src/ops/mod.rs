//! What an operator looks at: how the node stands ([`Status`]), health and readiness, metrics, the HTTP server
//! that shows them, and the doctor that says why a node cannot be reached.
//!
//! [`Status::of`] is there for every user of the library. [`Observer`] adds what needs a memory (readiness, which
//! asks for how long nothing has changed, and histograms). The HTTP server and the doctor come with the feature
//! `ops`.

#[cfg(feature = "ops")]
pub mod doctor;
mod figures;
mod health;
#[cfg(feature = "ops")]
mod http;
mod metrics;
mod observer;
mod seconds;
mod status;

pub use figures::Figures;
pub use health::{Readiness, ReadyConfig};
#[cfg(feature = "ops")]
pub use http::{DEFAULT_HTTP_PORT, HttpServer};
pub use observer::Observer;
pub use status::{Connected, Counts, GlobalView, LastError, LastFailure, Peer, PeerState, Status, Topology};
