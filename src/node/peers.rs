//! The peers: who is connected, who is about to be, and who wins when both sides dial at once.
//!
//! This is the state that `net_kernel` keeps for each peer: nothing, pending, up, or up with a new
//! attempt pending (a node that came back before its old connection was seen to be dead). The
//! decisions are those of `net_kernel.erl:accept_pending` and stand in the handshake notes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::ConnectFailed;
use crate::etf::Atom;
use crate::net::{AttemptId, Verdict};
use crate::proto::NodeName;

#[derive(Default)]
pub(crate) struct Peers {
    /// For sending: connections that are up, by the name of the node.
    up: DashMap<Atom, Arc<Connection>, RandomState>,
    states: Mutex<HashMap<NodeName, Peer>>,
    next: AtomicU64,
}

struct Peer {
    state: PeerState,
    /// Those who wait for the connection to be up.
    waiting: Vec<oneshot::Sender<Result<(), ConnectFailed>>>,
}

enum PeerState {
    Pending(Pending),
    Up(Arc<Connection>),
    UpPending(Arc<Connection>, Pending),
}

#[derive(Clone)]
struct Pending {
    attempt: AttemptId,
    outgoing: bool,
    /// Cancelled when another attempt takes the place of this one.
    replaced: CancellationToken,
}

/// What a caller who wants a connection has to do.
pub(crate) enum Wanted {
    /// It is up.
    Up(Arc<Connection>),
    /// Somebody is at it.
    Wait(oneshot::Receiver<Result<(), ConnectFailed>>),
    /// Dial, as this attempt, until the token is cancelled.
    Dial(AttemptId, CancellationToken, oneshot::Receiver<Result<(), ConnectFailed>>),
}

impl Peers {
    /// The connection to a node, where it is up.
    pub(crate) fn get(&self, node: &Atom) -> Option<Arc<Connection>> {
        self.up.get(node).map(|connection| connection.clone())
    }

    /// All connections that are up.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.up.iter().map(|connection| connection.value().clone()).collect()
    }

    /// A number that no other connection has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What to do to get a connection.
    pub(crate) fn want(&self, name: &NodeName) -> Wanted {
        let mut states = self.states.lock();
        let (sender, receiver) = oneshot::channel();
        if let Some(peer) = states.get_mut(name) {
            if let PeerState::Up(connection) | PeerState::UpPending(connection, _) = &peer.state {
                return Wanted::Up(connection.clone());
            }
            peer.waiting.push(sender);
            return Wanted::Wait(receiver);
        }
        let pending = Pending { attempt: AttemptId::next(), outgoing: true, replaced: CancellationToken::new() };
        let wanted = Wanted::Dial(pending.attempt, pending.replaced.clone(), receiver);
        states.insert(name.clone(), Peer { state: PeerState::Pending(pending), waiting: vec![sender] });
        wanted
    }

    /// Decides about somebody who calls: our answer to his name.
    pub(crate) fn arrival(&self, own: &NodeName, name: &NodeName, attempt: AttemptId) -> Verdict {
        let mut states = self.states.lock();
        let pending = Pending { attempt, outgoing: false, replaced: CancellationToken::new() };
        let Some(peer) = states.get_mut(name) else {
            states.insert(name.clone(), Peer { state: PeerState::Pending(pending), waiting: Vec::new() });
            return Verdict::Ok;
        };
        match &peer.state {
            PeerState::Pending(_) if own > name => Verdict::Nok,
            PeerState::Pending(other) => {
                other.replaced.cancel();
                let both_dialled = other.outgoing;
                peer.state = PeerState::Pending(pending);
                if both_dialled { Verdict::OkSimultaneous } else { Verdict::Ok }
            }
            PeerState::Up(connection) => {
                peer.state = PeerState::UpPending(connection.clone(), pending);
                Verdict::Alive
            }
            PeerState::UpPending(..) => {
                Verdict::Close("an earlier attempt of the same node is being decided".to_owned())
            }
        }
    }

    /// True while an attempt has not been replaced or given up.
    pub(crate) fn is_pending(&self, name: &NodeName, attempt: AttemptId) -> bool {
        self.states.lock().get(name).is_some_and(|peer| match &peer.state {
            PeerState::Pending(pending) | PeerState::UpPending(_, pending) => pending.attempt == attempt,
            PeerState::Up(_) => false,
        })
    }

    /// The connection that a returning node left behind, to be closed before the new one is up.
    pub(crate) fn left_behind(&self, name: &NodeName, attempt: AttemptId) -> Option<Arc<Connection>> {
        self.states.lock().get(name).and_then(|peer| match &peer.state {
            PeerState::UpPending(connection, pending) if pending.attempt == attempt => Some(connection.clone()),
            _ => None,
        })
    }

    /// Makes an attempt the connection; false when it has been replaced meanwhile. `announce` runs
    /// when the connection can be found, and before its peer can connect anew.
    pub(crate) fn up(
        &self,
        name: &NodeName,
        attempt: AttemptId,
        connection: &Arc<Connection>,
        announce: impl FnOnce(),
    ) -> bool {
        let mut states = self.states.lock();
        let Some(peer) = states.get_mut(name) else { return false };
        if !matches!(&peer.state, PeerState::Pending(pending) if pending.attempt == attempt) {
            return false;
        }
        peer.state = PeerState::Up(connection.clone());
        // First found, then announced: who hears of a node can send to it.
        self.up.insert(name.as_atom().clone(), connection.clone());
        announce();
        for waiting in peer.waiting.drain(..) {
            let _ = waiting.send(Ok(()));
        }
        true
    }

    /// Ends an attempt that came to nothing.
    pub(crate) fn abandon(&self, name: &NodeName, attempt: AttemptId, failure: &ConnectFailed) {
        let mut states = self.states.lock();
        let Some(peer) = states.get_mut(name) else { return };
        match &peer.state {
            PeerState::Pending(pending) if pending.attempt == attempt => {
                if let Some(peer) = states.remove(name) {
                    for waiting in peer.waiting {
                        let _ = waiting.send(Err(failure.clone()));
                    }
                }
            }
            PeerState::UpPending(connection, pending) if pending.attempt == attempt => {
                peer.state = PeerState::Up(connection.clone());
            }
            _ => {}
        }
    }

    /// A connection is gone: nobody finds it any more. `announce` runs before the next connection to
    /// this node can be up.
    pub(crate) fn down(&self, connection: &Connection, announce: impl FnOnce()) {
        let mut states = self.states.lock();
        self.up.remove_if(connection.name.as_atom(), |_, up| up.id == connection.id);
        announce();
        let Some(peer) = states.get_mut(&connection.name) else { return };
        match &peer.state {
            PeerState::Up(up) if up.id == connection.id => {
                states.remove(&connection.name);
            }
            PeerState::UpPending(up, pending) if up.id == connection.id => {
                peer.state = PeerState::Pending(pending.clone());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    #[test]
    fn the_attempt_of_the_greater_name_survives() {
        let (a, b) = (name("a@h"), name("b@h"));
        let peers = Peers::default();
        let Wanted::Dial(attempt, replaced, _) = peers.want(&b) else { panic!() };
        let call = AttemptId::next();
        // b calls a while a dials: b is greater, so its attempt takes the place of ours.
        assert_eq!(peers.arrival(&a, &b, call), Verdict::OkSimultaneous);
        assert!(replaced.is_cancelled());
        assert!(!peers.is_pending(&b, attempt) && peers.is_pending(&b, call));

        let peers = Peers::default();
        let Wanted::Dial(attempt, replaced, _) = peers.want(&a) else { panic!() };
        assert_eq!(peers.arrival(&b, &a, AttemptId::next()), Verdict::Nok);
        assert!(!replaced.is_cancelled());
        assert!(peers.is_pending(&a, attempt));
    }

    #[tokio::test]
    async fn those_who_wait_learn_of_a_failure() {
        let peers = Peers::default();
        let b = name("b@h");
        let Wanted::Dial(attempt, _, first) = peers.want(&b) else { panic!() };
        let Wanted::Wait(second) = peers.want(&b) else { panic!() };
        peers.abandon(&b, attempt, &ConnectFailed::shutdown(&b));
        assert!(first.await.unwrap().is_err() && second.await.unwrap().is_err());
        assert!(matches!(peers.want(&b), Wanted::Dial(..)));
    }
}
