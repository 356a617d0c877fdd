//! The locker: takes the `global` lock in its own partition and in that of a node that has been
//! connected, so that the two can become one. One process per node, as lockers name each other by pid.
//!
//! Facts: `global.erl`, "The locker". What keeps it from deadlocks: both lockers of a connection lock
//! under the same id, and whoever begins also locks the node on the other side.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use super::calls::{Caller, Lock, boss};
use super::server::Input;
use super::state::{Peer, ToLocker};
use super::terms::{ACK_VERSION, LOCK_SET_VIA_SERVER, cast, global_resource, locker_requester, node_term, server_on};
use crate::atom;
use crate::etf::{Pid, Term};
use crate::node::{Ended, Message, Reason, Target};
use crate::proto::NodeName;
use crate::tuple;

/// The locker of this node.
pub(super) struct Locker {
    caller: Caller,
    commands: UnboundedReceiver<ToLocker>,
    /// Commands that came while something else was waited for.
    kept: VecDeque<ToLocker>,
    server: UnboundedSender<Input>,
    peers: Vec<Peer>,
    just_synced: bool,
}

impl Locker {
    pub(super) fn new(caller: Caller, commands: UnboundedReceiver<ToLocker>, server: UnboundedSender<Input>) -> Self {
        Self { caller, commands, kept: VecDeque::new(), server, peers: Vec::new(), just_synced: false }
    }

    /// Runs until the process is ended.
    pub(super) async fn run(mut self) -> Reason {
        loop {
            if let Err(Ended { reason }) = self.step().await {
                return reason;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Ended> {
        let pause = self.pause();
        self.just_synced = false;
        let command = match self.kept.pop_front() {
            Some(command) => Some(command),
            None => self.next(pause.map(|pause| Instant::now() + pause)).await?,
        };
        match command {
            Some(ToLocker::Peer(peer)) => self.peers.push(peer),
            Some(ToLocker::Cancel { node, tag }) => self.remove(&node, tag),
            Some(ToLocker::LockSet { set: false, .. }) => {}
            Some(ToLocker::LockSet { locker, tag, .. }) => self.follow(&locker, tag).await?,
            None if self.caller.state.lock().locks().global_is_set() => {}
            None => self.lead().await?,
        }
        Ok(())
    }

    /// How long others get to begin. Longer than nothing, or nobody in the partition that has just
    /// lost a race would ever win one.
    fn pause(&self) -> Option<Duration> {
        if self.peers.is_empty() {
            return None;
        }
        if self.just_synced {
            return Some(Duration::ZERO);
        }
        let known = self.caller.state.lock().known().len();
        Some(match u32::try_from(known) {
            Ok(0) => PAUSE_ALONE,
            Ok(known) => (PAUSE + PAUSE_PER_NODE.saturating_mul(known)).min(LONGEST_PAUSE),
            Err(_) => LONGEST_PAUSE,
        })
    }

    /// Begins with one of the nodes that wait.
    async fn lead(&mut self) -> Result<(), Ended> {
        let known = self.caller.known();
        self.peers.retain(|peer| !known.contains(&peer.node));
        let random = usize::try_from(getrandom::u64().unwrap_or(0) >> 1).unwrap_or(0);
        let Some(peer) = random.checked_rem(self.peers.len()).and_then(|at| self.peers.get(at)).cloned() else {
            return Ok(());
        };
        let lock = self.lock_with(&peer.locker);
        let Some(locked) = self.lock_partition(&lock, Some(&peer.node)).await? else { return Ok(()) };
        self.tell(&peer, true);
        let answer = self
            .wait_for(|command| match command {
                ToLocker::LockSet { locker, set, tag }
                    if locker.node == *peer.node.as_atom() && tag.is_none_or(|tag| tag == peer.my_tag) =>
                {
                    Some(if *set { Answer::Locked } else { Answer::NotLocked })
                }
                ToLocker::Cancel { node, tag } if *node == peer.node && *tag == peer.my_tag => Some(Answer::Cancelled),
                _ => None,
            })
            .await?;
        match answer {
            Some(Answer::Locked) => self.hold(&peer, lock, &locked).await,
            Some(Answer::Cancelled) => {
                self.remove(&peer.node, peer.my_tag);
                self.caller.del_lock_boss_last(&lock, &locked).await
            }
            Some(Answer::NotLocked) => self.caller.del_lock_boss_last(&lock, &locked).await,
            None => {
                tracing::warn!(peer = %peer.node, timeout = ?OTHER_SIDE_TIMEOUT, "global: no word from a locker");
                self.caller.del_lock_boss_last(&lock, &locked).await
            }
        }
    }

    /// The other side has begun.
    async fn follow(&mut self, locker: &Pid, tag: Option<i64>) -> Result<(), Ended> {
        let theirs = |peer: &&Peer| peer.locker == *locker && tag.is_none_or(|tag| tag == peer.my_tag);
        let Some(peer) = self.peers.iter().find(theirs).cloned() else {
            // Whatever its version is, a locker takes this.
            self.caller.post.send(Target::Pid(locker.clone()), self.lock_set(false, None));
            return Ok(());
        };
        let lock = self.lock_with(&peer.locker);
        let locked = self.lock_partition(&lock, None).await?;
        self.tell(&peer, locked.is_some());
        match locked {
            Some(locked) => self.hold(&peer, lock, &locked).await,
            None => Ok(()),
        }
    }

    /// Both partitions are locked, until the server says that it is done.
    async fn hold(&mut self, peer: &Peer, lock: Lock, locked: &[NodeName]) -> Result<(), Ended> {
        let requester = lock.requester.clone();
        let _ = self.server.send(Input::LockIsSet { node: peer.node.clone(), tag: peer.my_tag, requester });
        let done = self
            .wait_for(|command| match command {
                ToLocker::Cancel { node, tag } if *node == peer.node && *tag == peer.my_tag => Some(()),
                _ => None,
            })
            .await?;
        if done.is_none() {
            let _ = self.server.send(Input::Stuck { node: peer.node.clone(), tag: peer.my_tag });
        }
        self.caller.del_lock_boss_last(&lock, locked).await?;
        self.remove(&peer.node, peer.my_tag);
        self.just_synced = true;
        Ok(())
    }

    /// Locks the own partition, and the node on the other side for the one that begins. Gives the
    /// nodes that are locked.
    async fn lock_partition(&mut self, lock: &Lock, other: Option<&NodeName>) -> Result<Option<Vec<NodeName>>, Ended> {
        let me = self.caller.me().clone();
        let mut all = self.caller.known();
        all.push(me.clone());
        let first: Vec<_> = boss(&all).into_iter().collect();
        // To lock the own node now could stop somebody who has the boss already.
        if first != [me.clone()] && !self.caller.can_set(lock) {
            return Ok(None);
        }
        if !self.caller.set_lock(lock, &first).await? {
            return Ok(None);
        }
        let mut locked = first;
        let second =
            std::iter::once(me).chain(other.cloned()).filter(|node| !locked.contains(node)).collect::<Vec<_>>();
        if !self.caller.set_lock(lock, &second).await? {
            self.caller.del_lock(lock, &locked).await?;
            return Ok(None);
        }
        locked.extend(second);
        let third: Vec<_> = self.caller.known().into_iter().filter(|node| !locked.contains(node)).collect();
        if !self.caller.set_lock(lock, &third).await? {
            self.caller.del_lock(lock, &locked).await?;
            return Ok(None);
        }
        locked.extend(third);
        Ok(Some(locked))
    }

    fn lock_with(&self, locker: &Pid) -> Lock {
        let requester = locker_requester(self.caller.process.pid(), locker);
        Lock { resource: global_resource(), requester }
    }

    fn tell(&self, peer: &Peer, set: bool) {
        let tag = (peer.version >= ACK_VERSION).then(|| peer.their_tag.clone());
        let message = self.lock_set(set, tag);
        if peer.version < LOCK_SET_VIA_SERVER {
            self.caller.post.send(Target::Pid(peer.locker.clone()), message);
        } else {
            self.caller.post.send(server_on(&peer.node), cast(message));
        }
    }

    fn lock_set(&self, set: bool, tag: Option<Term>) -> Term {
        let known = Term::list(self.caller.known().iter().map(node_term));
        let me = self.caller.process.pid().clone();
        match tag {
            Some(tag) => tuple![atom!("lock_set"), me, set, known, tag],
            None => tuple![atom!("lock_set"), me, set, known],
        }
    }

    fn remove(&mut self, node: &NodeName, tag: i64) {
        self.peers.retain(|peer| peer.node != *node || peer.my_tag != tag);
    }

    /// Waits for one command, and keeps the others; `None` when it takes too long.
    async fn wait_for<T>(&mut self, select: impl Fn(&ToLocker) -> Option<T>) -> Result<Option<T>, Ended> {
        let found = self.kept.iter().enumerate().find_map(|(at, command)| Some((at, select(command)?)));
        if let Some((at, value)) = found {
            self.kept.remove(at);
            return Ok(Some(value));
        }
        let deadline = Instant::now() + OTHER_SIDE_TIMEOUT;
        while let Some(command) = self.next(Some(deadline)).await? {
            match select(&command) {
                Some(value) => return Ok(Some(value)),
                None => self.kept.push_back(command),
            }
        }
        Ok(None)
    }

    /// The next command, from the own server or from an older locker; `None` when there is none in time.
    async fn next(&mut self, deadline: Option<Instant>) -> Result<Option<ToLocker>, Ended> {
        loop {
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = self.caller.process.recv() => {
                    if let Some(command) = lock_set_from(&message?) {
                        return Ok(Some(command));
                    }
                }
                Some(command) = self.commands.recv() => return Ok(Some(command)),
                () = late => return Ok(None),
            }
        }
    }
}

enum Answer {
    Locked,
    NotLocked,
    Cancelled,
}

/// `{lock_set, Locker, Set, Known}`, as a locker of an older release sends it, or with a tag. Anything
/// else is an answer that nobody waits for any more.
fn lock_set_from(message: &Message) -> Option<ToLocker> {
    let term = message.payload()?.term().ok()?;
    let (kind, rest) = term.as_tuple()?.split_first()?;
    let ([Term::Pid(locker), set, _known], true) = (rest, kind.is_atom("lock_set")) else { return None };
    Some(ToLocker::LockSet { locker: locker.clone(), set: set.as_bool()?, tag: None })
}

/// How long others get to begin when this node is alone: just to get started.
const PAUSE_ALONE: Duration = Duration::from_millis(200);
/// How long others get to begin, with the next two as `global.erl` has them, so that no node of a
/// cluster is at an advantage.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_PER_NODE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long a partition stays locked for a side that says nothing. BEAM waits for ever; a session
/// takes about a second, and a conflict is settled by a call that may take some.
const OTHER_SIDE_TIMEOUT: Duration = Duration::from_secs(60);
