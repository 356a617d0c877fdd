//! Who was heard, from where, and where to dial them. No I/O, and time as an argument.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::discovery::desired::{Candidate, Desired, SelfView};
use crate::net::DialTarget;
use crate::proto::NodeName;

#[derive(Debug)]
pub(super) struct Peers {
    own: NodeName,
    heard_own: bool,
    forget_after: Duration,
    peers: BTreeMap<NodeName, Peer>,
    /// Whose host part is to be looked up; each at most once.
    queue: VecDeque<NodeName>,
    full: bool,
}

#[derive(Debug)]
struct Peer {
    heard: Instant,
    from: IpAddr,
    /// Whether the host part of the name leads somewhere; not known before it was looked up.
    resolves: Option<bool>,
}

impl Peers {
    pub(super) fn new(own: NodeName, forget_after: Duration) -> Self {
        let (peers, queue) = Default::default();
        Self { own, heard_own: false, forget_after, peers, queue, full: false }
    }

    /// Takes in a heartbeat; true when it changes what is wanted.
    pub(super) fn heard(&mut self, name: &NodeName, from: IpAddr, now: Instant) -> bool {
        if *name == self.own {
            return !std::mem::replace(&mut self.heard_own, true);
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.heard = now;
            let moved = peer.from != from;
            peer.from = from;
            if moved && !self.queue.contains(name) {
                self.queue.push_back(name.clone());
            }
            return moved && peer.resolves == Some(false);
        }
        if self.peers.len() >= MOST_PEERS {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(limit = MOST_PEERS, "gossip names more nodes than are kept; more of them are ignored");
            }
            return false;
        }
        self.peers.insert(name.clone(), Peer { heard: now, from, resolves: None });
        self.queue.push_back(name.clone());
        // It is wanted as soon as it is known where to dial it.
        false
    }

    /// The next name whose host part is to be looked up.
    pub(super) fn next_lookup(&mut self) -> Option<NodeName> {
        self.queue.pop_front()
    }

    /// Takes in whether the host part of a name leads somewhere; true when it changes what is wanted.
    pub(super) fn looked_up(&mut self, name: &NodeName, resolves: bool) -> bool {
        let Some(peer) = self.peers.get_mut(name) else { return false };
        peer.resolves.replace(resolves) != Some(resolves)
    }

    /// Forgets who was not heard for long; true when that changes what is wanted.
    pub(super) fn forget_silent(&mut self, now: Instant) -> bool {
        let before = self.peers.len();
        self.peers.retain(|_, peer| now.saturating_duration_since(peer.heard) <= self.forget_after);
        self.queue.retain(|name| self.peers.contains_key(name));
        self.full &= self.peers.len() >= MOST_PEERS;
        self.peers.len() != before
    }

    pub(super) fn desired(&self) -> Desired {
        let candidates = self.peers.iter().filter_map(|(name, peer)| {
            let target = if peer.resolves? { name.clone().into() } else { DialTarget::at(name.clone(), peer.from) };
            Some(Candidate::new(target).with_origin(format!("heartbeat from {}", peer.from)))
        });
        let me = if self.heard_own { SelfView::Called(self.own.clone()) } else { SelfView::Unknown };
        Desired::new(candidates).with_me(me)
    }
}

/// More nodes than a mesh of BEAMs bears, and an end to what strangers can make us remember.
const MOST_PEERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn targets(peers: &Peers) -> Vec<String> {
        peers.desired().peers.values().map(|candidate| candidate.target.to_string()).collect()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn names_that_resolve_are_dialled_by_name_and_others_where_they_were_heard() {
        let mut peers = Peers::new(name("me@h"), Duration::from_secs(60));
        let now = Instant::now();
        for peer in ["a@known", "b@unknown"] {
            assert!(!peers.heard(&name(peer), HERE, now), "it is not known yet where to dial it");
            assert_eq!(peers.next_lookup(), Some(name(peer)));
        }
        assert!(peers.looked_up(&name("a@known"), true));
        assert!(peers.looked_up(&name("b@unknown"), false));
        assert_eq!(targets(&peers), ["a@known", "b@unknown=10.0.0.1"]);
        assert!(!peers.heard(&name("b@unknown"), HERE, now), "nothing new");
        assert!(peers.heard(&name("b@unknown"), THERE, now));
        assert_eq!(targets(&peers), ["a@known", "b@unknown=10.0.0.2"]);
    }

    #[test]
    fn who_is_silent_is_no_longer_dialled_and_not_gone() {
        let mut peers = Peers::new(name("me@h"), Duration::from_secs(60));
        let now = Instant::now();
        peers.heard(&name("a@h"), HERE, now);
        peers.looked_up(&name("a@h"), true);
        assert!(!peers.forget_silent(now + Duration::from_secs(60)));
        assert!(peers.forget_silent(now + Duration::from_secs(61)));
        let desired = peers.desired();
        assert!(desired.peers.is_empty() && desired.gone.is_empty());
        assert_eq!(peers.next_lookup(), None);
    }

    #[test]
    fn our_own_heartbeat_shows_only_that_the_group_carries_it() {
        let mut peers = Peers::new(name("me@h"), Duration::from_secs(60));
        assert_eq!(peers.desired().me, SelfView::Unknown);
        assert!(peers.heard(&name("me@h"), HERE, Instant::now()));
        assert!(!peers.heard(&name("me@h"), HERE, Instant::now()));
        assert_eq!(peers.desired().me, SelfView::Called(name("me@h")));
        assert!(peers.desired().peers.is_empty());
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut peers = Peers::new(name("me@h"), Duration::from_secs(60));
        for n in 0..MOST_PEERS + 10 {
            peers.heard(&name(&format!("n{n}@h")), HERE, Instant::now());
        }
        assert_eq!((peers.peers.len(), peers.queue.len()), (MOST_PEERS, MOST_PEERS));
    }
}
