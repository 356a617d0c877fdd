//! What a scope knows: its own members, the scopes of other nodes and theirs, and the table made of both.

use std::collections::HashMap;
use std::sync::Arc;

use super::events::{GroupEvents, Monitors};
use super::groups::{Groups, Side, take_out};
use super::messages::{self, MOST_GROUPS, MOST_MEMBERS, MOST_NAME_BYTES, Name};
use crate::etf::{Atom, EncodeError, Payload, Pid, Ref, Term};
use crate::proto::NodeName;

/// A node has one scope of a name, and for a moment two while one follows another. More are nobody's honest need.
const MOST_SCOPES_OF_A_NODE: usize = 4;

/// What a scope knows. Only its process changes it; everybody reads it.
#[derive(Default)]
pub(super) struct State {
    groups: Groups,
    monitors: Monitors,
    /// The members that live here.
    local: HashMap<Pid, Local>,
    /// The scopes of other nodes.
    peers: HashMap<Pid, Peer>,
}

struct Local {
    watch: Ref,
    /// One entry for each time it has joined.
    joined: Vec<Arc<Term>>,
}

struct Peer {
    watch: Ref,
    groups: HashMap<Arc<Term>, PeerGroup>,
    members: usize,
    name_bytes: usize,
    /// So that a limit that is reached is logged once.
    is_full: bool,
}

struct PeerGroup {
    pids: Vec<Pid>,
    bytes: usize,
}

/// A process of this node that is gone: what it was a member of.
pub(super) struct Left {
    pub(super) pid: Pid,
    pub(super) groups: Vec<Arc<Term>>,
}

impl State {
    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn monitor(&mut self, group: Option<Term>) -> GroupEvents {
        self.monitors.add(group)
    }

    /// The nodes of all known scopes, in order.
    pub(super) fn nodes(&self) -> Vec<NodeName> {
        let mut nodes: Vec<_> = self.peers.keys().filter_map(|pid| NodeName::try_from(&pid.node).ok()).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// The scopes of other nodes.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Pid> {
        self.peers.keys()
    }

    pub(super) fn knows(&self, peer: &Pid) -> bool {
        self.peers.contains_key(peer)
    }

    /// All members of this node, as other scopes are told.
    pub(super) fn sync(&self, scope: &Pid) -> Result<Payload, EncodeError> {
        messages::sync(scope, self.groups.local())
    }

    /// Processes of this node join; `watch` is called for each that is new.
    pub(super) fn join_here(&mut self, group: &Term, pids: &[Pid], mut watch: impl FnMut(&Pid) -> Ref) {
        let group = Arc::new(group.clone());
        for pid in pids {
            let local = match self.local.get_mut(pid) {
                Some(local) => local,
                None => self.local.entry(pid.clone()).or_insert(Local { watch: watch(pid), joined: Vec::new() }),
            };
            local.joined.push(group.clone());
        }
        self.groups.add(&group, Side::Here, pids);
        self.monitors.joined(&group, pids);
    }

    /// Processes of this node leave; those that were members, and the watches that are needed no more.
    pub(super) fn leave_here(&mut self, group: &Term, pids: &[Pid]) -> (Vec<Pid>, Vec<Ref>) {
        let (mut gone, mut watches) = (Vec::new(), Vec::new());
        for pid in pids {
            let Some(local) = self.local.get_mut(pid) else { continue };
            let Some(at) = local.joined.iter().position(|known| **known == *group) else { continue };
            local.joined.swap_remove(at);
            if local.joined.is_empty()
                && let Some(local) = self.local.remove(pid)
            {
                watches.push(local.watch);
            }
            gone.push(pid.clone());
        }
        self.groups.remove(group, Side::Here, &gone);
        self.monitors.left(group, &gone);
        (gone, watches)
    }

    /// A process of this node that was watched has ended.
    pub(super) fn ended_here(&mut self, pid: &Pid, watch: &Ref) -> Option<Left> {
        if self.local.get(pid)?.watch != *watch {
            return None;
        }
        let groups = self.local.remove(pid)?.joined;
        for group in &groups {
            let pids = std::slice::from_ref(pid);
            self.groups.remove(group, Side::Here, pids);
            self.monitors.left(group, pids);
        }
        Some(Left { pid: pid.clone(), groups })
    }

    /// Notes the scope of another node; false when that node has so many that this one is not believed.
    pub(super) fn meet(&mut self, peer: &Pid, watch: impl FnOnce() -> Ref) -> bool {
        if self.peers.keys().filter(|known| known.node == peer.node).count() >= MOST_SCOPES_OF_A_NODE {
            return false;
        }
        let new = Peer { watch: watch(), groups: HashMap::new(), members: 0, name_bytes: 0, is_full: false };
        self.peers.insert(peer.clone(), new);
        true
    }

    /// The scope of another node is gone, and its members with it.
    pub(super) fn lose(&mut self, peer: &Pid, watch: &Ref) -> bool {
        if self.peers.get(peer).is_none_or(|known| known.watch != *watch) {
            return false;
        }
        if let Some(lost) = self.peers.remove(peer) {
            for (group, of_peer) in lost.groups {
                self.groups.remove(&group, Side::Elsewhere, &of_peer.pids);
                self.monitors.left(&group, &of_peer.pids);
            }
        }
        true
    }

    /// Members of another node join; nothing comes of it when its scope is not known.
    pub(super) fn join_there(&mut self, peer: &Pid, name: &Name, mut pids: Vec<Pid>) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        pids.retain(|pid| pid.node == peer.node);
        if pids.is_empty() || !known.has_room(&peer.node, name, pids.len()) {
            return;
        }
        known.members += pids.len();
        let group = match known.groups.get_mut(&name.term) {
            Some(group) => group,
            None => {
                known.name_bytes += name.bytes;
                known.groups.entry(name.term.clone()).or_insert(PeerGroup { pids: Vec::new(), bytes: name.bytes })
            }
        };
        group.pids.extend_from_slice(&pids);
        self.groups.add(&name.term, Side::Elsewhere, &pids);
        self.monitors.joined(&name.term, &pids);
    }

    /// Members of another node leave groups, each group as often as it is listed.
    pub(super) fn leave_there(&mut self, peer: &Pid, pids: &[Pid], groups: &[Name]) {
        let mut times: HashMap<&Arc<Term>, usize> = HashMap::new();
        for group in groups {
            *times.entry(&group.term).or_default() += 1;
        }
        for (group, times) in times {
            self.leave_one(peer, group, pids, times);
        }
    }

    fn leave_one(&mut self, peer: &Pid, group: &Term, pids: &[Pid], times: usize) {
        let Some(known) = self.peers.get_mut(peer) else { return };
        let Some(of_peer) = known.groups.get_mut(group) else { return };
        let gone = take_out(&mut of_peer.pids, pids, times);
        known.members -= gone.len();
        if of_peer.pids.is_empty()
            && let Some(empty) = known.groups.remove(group)
        {
            known.name_bytes -= empty.bytes;
        }
        self.groups.remove(group, Side::Elsewhere, &gone);
        self.monitors.left(group, &gone);
    }

    /// Some join and some leave (OTP 29).
    pub(super) fn update_there(&mut self, peer: &Pid, changes: Vec<(Name, Vec<Pid>, Vec<Pid>)>) {
        for (name, joined, left) in changes {
            self.leave_one(peer, &name.term, &left, 1);
            self.join_there(peer, &name, joined);
        }
    }

    /// All members of another node: who is not among them has left, who was not known has joined.
    pub(super) fn sync_there(&mut self, peer: &Pid, groups: Vec<(Name, Vec<Pid>)>) {
        let Some(known) = self.peers.get(peer) else { return };
        let mut before: HashMap<Arc<Term>, Vec<Pid>> =
            known.groups.iter().map(|(name, group)| (name.clone(), group.pids.clone())).collect();
        let mut joins = Vec::new();
        for (name, mut pids) in groups {
            if let Some(old) = before.get_mut(&name.term) {
                // What is in both stays, without anybody hearing of it.
                let stay = take_out(&mut pids, old, 1);
                take_out(old, &stay, 1);
            }
            joins.push((name, pids));
        }
        for (group, gone) in before {
            self.leave_one(peer, &group, &gone, 1);
        }
        for (name, pids) in joins {
            self.join_there(peer, &name, pids);
        }
    }

    /// The scope has ended: nobody is in it, and all streams end.
    pub(super) fn close(&mut self) {
        self.groups.clear();
        self.local.clear();
        self.peers.clear();
        self.monitors.close();
    }
}

impl Peer {
    fn has_room(&mut self, node: &Atom, name: &Name, members: usize) -> bool {
        let new = !self.groups.contains_key(&name.term);
        let fits = self.members + members <= MOST_MEMBERS
            && (!new || self.groups.len() < MOST_GROUPS && self.name_bytes + name.bytes <= MOST_NAME_BYTES);
        if !fits && !self.is_full {
            self.is_full = true;
            tracing::error!(
                peer = %node, groups = self.groups.len(), members = self.members, name_bytes = self.name_bytes,
                "pg: a node has more groups or members than are kept for one; others of it are not known here"
            );
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;
    use crate::etf::Creation;
    use crate::services::pg::GroupEvent;

    fn pid(node: &'static str, id: u32) -> Pid {
        Pid { node: Atom::from_static(node), id, serial: 0, creation: Creation(7) }
    }

    fn there(ids: &[u32]) -> Vec<Pid> {
        ids.iter().map(|id| pid("b@h", *id)).collect()
    }

    fn name(text: &str) -> Name {
        Name { term: Arc::new(Term::from(text)), bytes: text.len() + 5 }
    }

    fn watch(last: u32) -> Ref {
        Ref::from_three(atom!("a@h"), Creation(7), [1, 2, last])
    }

    fn met() -> (State, Pid) {
        let mut state = State::default();
        let peer = pid("b@h", 100);
        assert!(state.meet(&peer, || watch(0)));
        (state, peer)
    }

    fn next(events: &mut GroupEvents) -> Option<GroupEvent> {
        futures_util::FutureExt::now_or_never(events.recv()).flatten()
    }

    #[test]
    fn a_process_is_a_member_until_it_has_left_as_often_as_it_joined() {
        let mut state = State::default();
        let (group, member) = (Term::from("g"), pid("a@h", 1));
        let mut watched = 0;
        let mut join = |state: &mut State, times| {
            state.join_here(&group, &vec![member.clone(); times], |_| {
                watched += 1;
                watch(watched)
            });
        };
        join(&mut state, 2);
        join(&mut state, 1);
        assert_eq!(watched, 1);
        let leave = |state: &mut State, times| state.leave_here(&group, &vec![member.clone(); times]);
        assert_eq!(leave(&mut state, 1), (vec![member.clone()], vec![]));
        assert_eq!(leave(&mut state, 5), (vec![member.clone(); 2], vec![watch(1)]));
        assert_eq!(leave(&mut state, 1), (vec![], vec![]));
        assert!(state.groups().names(|_| true).is_empty());
    }

    #[test]
    fn the_end_of_a_process_takes_it_out_of_all_its_groups() {
        let mut state = State::default();
        let member = pid("a@h", 1);
        for group in ["g", "g", "h"] {
            state.join_here(&Term::from(group), std::slice::from_ref(&member), |_| watch(1));
        }
        assert!(state.ended_here(&member, &watch(9)).is_none());
        let left = state.ended_here(&member, &watch(1)).unwrap();
        assert_eq!((left.pid, left.groups.len()), (member, 3));
        assert!(state.groups().names(|_| true).is_empty());
    }

    #[test]
    fn a_sync_replaces_what_was_known_and_only_differences_are_told() {
        let (mut state, peer) = met();
        state.join_there(&peer, &name("kept"), there(&[1, 1, 2]));
        state.join_there(&peer, &name("gone"), there(&[3]));
        let mut events = state.monitor(None);
        state.sync_there(&peer, vec![(name("kept"), there(&[1, 2, 4])), (name("new"), there(&[5]))]);
        assert_eq!(state.groups().names(|_| true), vec![Term::from("kept"), Term::from("new")]);
        let mut kept = state.groups().remote(&Term::from("kept")).to_vec();
        kept.sort();
        assert_eq!(kept, there(&[1, 2, 4]));
        let mut told: Vec<String> =
            std::iter::from_fn(|| next(&mut events)).map(|event| format!("{event:?}")).collect();
        told.sort();
        let of = |kind, group: &str, ids: &[u32]| {
            let (group, members) = (Term::from(group), there(ids));
            format!(
                "{:?}",
                if kind { GroupEvent::Join { group, members } } else { GroupEvent::Leave { group, members } }
            )
        };
        let mut expected =
            vec![of(true, "kept", &[4]), of(true, "new", &[5]), of(false, "gone", &[3]), of(false, "kept", &[1])];
        expected.sort();
        assert_eq!(told, expected);
    }

    #[test]
    fn only_known_scopes_are_listened_to_and_only_about_processes_of_their_node() {
        let (mut state, peer) = met();
        state.join_there(&pid("c@h", 100), &name("g"), vec![pid("c@h", 1)]);
        state.join_there(&peer, &name("g"), vec![pid("c@h", 1), pid("a@h", 1)]);
        assert!(state.groups().names(|_| true).is_empty());
        state.join_there(&peer, &name("g"), there(&[1, 2]));
        state.leave_there(&pid("c@h", 100), &there(&[1]), &[name("g")]);
        assert_eq!(*state.groups().remote(&Term::from("g")), there(&[1, 2]));
        assert!(!state.lose(&peer, &watch(9)) && state.lose(&peer, &watch(0)));
        assert!(state.groups().names(|_| true).is_empty() && state.nodes().is_empty());
    }

    #[test]
    fn groups_are_left_as_often_as_they_are_listed() {
        let (mut state, peer) = met();
        state.join_there(&peer, &name("g"), there(&[1, 1, 1, 2]));
        state.leave_there(&peer, &there(&[1]), &[name("g"), name("other"), name("g")]);
        assert_eq!(*state.groups().remote(&Term::from("g")), there(&[1, 2]));
        state.update_there(&peer, vec![(name("g"), there(&[7]), there(&[2]))]);
        assert_eq!(*state.groups().remote(&Term::from("g")), there(&[1, 7]));
    }

    #[test]
    fn a_node_cannot_have_scopes_or_members_without_end() {
        let (mut state, peer) = met();
        for id in 1..MOST_SCOPES_OF_A_NODE as u32 {
            assert!(state.meet(&pid("b@h", 100 + id), || watch(id)));
        }
        assert!(!state.meet(&pid("b@h", 200), || watch(200)));
        assert!(state.meet(&pid("c@h", 200), || watch(200)));

        let all = vec![pid("b@h", 1); MOST_MEMBERS];
        state.join_there(&peer, &name("g"), all);
        state.join_there(&peer, &name("g"), there(&[2]));
        assert_eq!(state.groups().remote(&Term::from("g")).len(), MOST_MEMBERS);
        state.leave_there(&peer, &there(&[1]), &[name("g")]);
        state.join_there(&peer, &name("h"), there(&[2]));
        assert_eq!(*state.groups().remote(&Term::from("h")), there(&[2]));
    }

    #[test]
    fn a_monitor_that_does_not_read_is_told_that_it_lags() {
        let (mut state, peer) = met();
        let mut events = state.monitor(Some(Term::from("g")));
        state.join_there(&peer, &name("other"), there(&[1]));
        for _ in 0..=GroupEvents::CAPACITY {
            state.join_there(&peer, &name("g"), there(&[1]));
        }
        let told: Vec<_> = std::iter::from_fn(|| next(&mut events)).collect();
        assert_eq!(told.len(), GroupEvents::CAPACITY + 1);
        assert_eq!(told.last(), Some(&GroupEvent::Lagged));
    }
}
