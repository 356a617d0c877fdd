//! Ports of loopback that no other test takes, even while nobody listens on them.

use std::{
    collections::hash_map::RandomState,
    fs::{File, OpenOptions},
    hash::BuildHasher,
    net::{Ipv4Addr, TcpListener},
};

/// Below the range from which Linux takes the source ports of connections (32768 on), so that no connection of some
/// other program sits on a port between two starts of a listener; above the ports of well-known services.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
const TRIES: u16 = 2_000;

/// A port that is ours until this is dropped. A file lock keeps other test programs away from it, also in the time
/// between the end of one listener and the start of the next.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join("gusset-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for port locks");
        let span = LAST - FIRST;
        let start = u16::try_from(RandomState::new().hash_one(0) % u64::from(span)).unwrap_or(0);
        for step in 0..TRIES {
            let port = FIRST + (start + step) % span;
            let path = folder.join(port.to_string());
            let Ok(lock) = OpenOptions::new().create(true).append(true).open(path) else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
                return Self { port, _lock: lock };
            }
        }
        panic!("no free port from {FIRST} to {LAST} in {TRIES} tries");
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}
