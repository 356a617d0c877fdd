//! Whom to connect to.
