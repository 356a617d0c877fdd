//! Sockets: listening, dialling, EPMD, and the two tasks of a connection.

mod accept;
pub mod channel;
mod cookie_file;
mod dial;
mod epmd_client;
mod epmd_mode;
mod epmd_server;
mod error;
mod listen;
mod registration;
mod step;
mod target;
mod transport;

#[cfg(test)]
mod epmd_tests;
#[cfg(test)]
mod handshake_tests;

pub use accept::{AttemptId, Gatekeeper, Verdict, accept};
pub use cookie_file::CookieFileError;
pub use dial::{DialOptions, Established, Family, dial};
pub use epmd_client::{EPMD_TIMEOUT, EpmdClient, EpmdError};
pub use epmd_mode::{EpmdMode, EpmdOptions, EpmdPresence, EpmdStartError, TAKE_OVER_AFTER};
pub use epmd_server::{EpmdServer, EpmdServerError, MAX_ASKING, MAX_REGISTERED};
pub use error::{AcceptError, ConnectError};
pub use listen::{ListenError, Listener, MAX_HANDSHAKES};
pub use registration::{Registration, RegistrationState};
pub use step::Step;
pub use target::{DialTarget, DialTargetError};
pub use transport::DEFAULT_SETUP_TIMEOUT;
