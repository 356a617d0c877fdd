//! A presence: who is in a topic, and what is known about it.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::etf::{Atom, DecodeError, Map, Pid, Term};

/// One tracked process in a topic. Cheap to clone.
///
/// The same key may be there several times, once for each process (a user with two browser tabs).
#[derive(Clone, PartialEq)]
pub struct Presence(Arc<Parts>);

#[derive(PartialEq)]
struct Parts {
    topic: Bytes,
    key: Term,
    pid: Pid,
    meta: Term,
}

impl Presence {
    pub(super) fn new(topic: Bytes, key: Term, pid: Pid, meta: Map) -> Self {
        Self(Arc::new(Parts { topic, key, pid, meta: Term::Map(meta) }))
    }

    /// The topic.
    pub fn topic(&self) -> &Bytes {
        &self.0.topic
    }

    /// What it is known by in the topic: any term, mostly the id of a user as a binary.
    pub fn key(&self) -> &Term {
        &self.0.key
    }

    /// The process that is tracked.
    pub fn pid(&self) -> &Pid {
        &self.0.pid
    }

    /// The node that the process lives on.
    pub fn node(&self) -> &Atom {
        &self.0.pid.node
    }

    /// The metadata, a map, with `phx_ref` in it, and after an update `phx_ref_prev`.
    pub fn meta(&self) -> &Term {
        &self.0.meta
    }

    /// The metadata as a value of a Rust type.
    ///
    /// # Errors
    /// Says where the metadata differ from the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        crate::etf::from_term(&self.0.meta)
    }

    /// What tells this state of the presence from all others.
    pub fn phx_ref(&self) -> Option<&str> {
        self.0.meta.as_map()?.get_atom("phx_ref")?.as_str()
    }

    /// The `phx_ref` that an update has replaced.
    pub fn phx_ref_prev(&self) -> Option<&str> {
        self.0.meta.as_map()?.get_atom("phx_ref_prev")?.as_str()
    }

    pub(super) fn is(&self, topic: &[u8], key: &Term) -> bool {
        self.0.topic == topic && self.0.key == *key
    }
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Parts { topic, key, pid, meta } = &*self.0;
        write!(f, "Presence({key} in {:?}, {pid}, {meta})", String::from_utf8_lossy(topic))
    }
}
