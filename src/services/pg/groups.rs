//! The table of groups that everybody on this node reads: members here and elsewhere, with repetitions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::etf::{Pid, Term};

/// Where members live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Here,
    Elsewhere,
}

/// All groups that have members.
#[derive(Default)]
pub(super) struct Groups(HashMap<Arc<Term>, Members>);

/// The members of a group. Shared with whoever is about to send to them, and copied only if they change meanwhile.
#[derive(Default)]
pub(super) struct Members {
    here: Arc<Vec<Pid>>,
    elsewhere: Arc<Vec<Pid>>,
}

impl Members {
    pub(super) fn has_local(&self) -> bool {
        !self.here.is_empty()
    }

    fn side(&mut self, side: Side) -> &mut Vec<Pid> {
        Arc::make_mut(match side {
            Side::Here => &mut self.here,
            Side::Elsewhere => &mut self.elsewhere,
        })
    }
}

impl Groups {
    pub(super) fn add(&mut self, group: &Arc<Term>, side: Side, pids: &[Pid]) {
        if !pids.is_empty() {
            self.0.entry(group.clone()).or_default().side(side).extend_from_slice(pids);
        }
    }

    /// Takes members out, each as often as it is listed.
    pub(super) fn remove(&mut self, group: &Term, side: Side, pids: &[Pid]) {
        let Some(members) = self.0.get_mut(group) else { return };
        take_out(members.side(side), pids, 1);
        if members.here.is_empty() && members.elsewhere.is_empty() {
            self.0.remove(group);
        }
    }

    /// The members here, and those elsewhere.
    pub(super) fn both(&self, group: &Term) -> (&[Pid], &[Pid]) {
        self.0.get(group).map_or((&[], &[]), |members| (&members.here, &members.elsewhere))
    }

    pub(super) fn remote(&self, group: &Term) -> Arc<Vec<Pid>> {
        self.0.get(group).map(|members| members.elsewhere.clone()).unwrap_or_default()
    }

    pub(super) fn names(&self, wanted: impl Fn(&Members) -> bool) -> Vec<Term> {
        let mut names: Vec<Term> =
            self.0.iter().filter(|(_, members)| wanted(members)).map(|(name, _)| (**name).clone()).collect();
        names.sort();
        names
    }

    pub(super) fn all(&self) -> Vec<(Term, Vec<Pid>)> {
        let of = |members: &Members| members.here.iter().chain(&*members.elsewhere).cloned().collect();
        self.0.iter().map(|(name, members)| ((**name).clone(), of(members))).collect()
    }

    pub(super) fn local(&self) -> impl Iterator<Item = (&Term, &[Pid])> {
        self.0.iter().filter(|(_, members)| members.has_local()).map(|(name, members)| (&**name, &members.here[..]))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Takes each of `gone` out of `pids`, `times` as often as it is listed; those that were there to be taken. One
/// pass, whatever somebody lists.
pub(super) fn take_out(pids: &mut Vec<Pid>, gone: &[Pid], times: usize) -> Vec<Pid> {
    if let ([pid], 1) = (gone, times) {
        return pids.iter().position(|known| known == pid).map(|at| pids.remove(at)).into_iter().collect();
    }
    let mut counts: HashMap<&Pid, usize> = HashMap::with_capacity(gone.len());
    for pid in gone {
        *counts.entry(pid).or_default() += times;
    }
    let gone = |pid: &mut Pid| match counts.get_mut(pid) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    pids.extract_if(.., gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom;
    use crate::etf::Creation;

    fn pid(id: u32) -> Pid {
        Pid { node: atom!("a@h"), id, serial: 0, creation: Creation(7) }
    }

    fn pids(ids: &[u32]) -> Vec<Pid> {
        ids.iter().copied().map(pid).collect()
    }

    #[test]
    fn members_are_taken_out_as_often_as_they_are_listed() {
        let mut members = pids(&[1, 2, 1, 3, 1]);
        assert_eq!(take_out(&mut members, &pids(&[1, 9]), 2), pids(&[1, 1]));
        assert_eq!(members, pids(&[2, 3, 1]));
        assert_eq!(take_out(&mut members, &pids(&[2]), 1), pids(&[2]));
        assert_eq!(take_out(&mut members, &pids(&[2]), 1), pids(&[]));
        assert_eq!(members, pids(&[3, 1]));
    }

    #[test]
    fn a_group_is_there_as_long_as_it_has_members_and_a_snapshot_stays_as_it_was() {
        let mut groups = Groups::default();
        let name = Arc::new(Term::from("group"));
        groups.add(&name, Side::Here, &pids(&[1]));
        groups.add(&name, Side::Elsewhere, &pids(&[2, 2]));
        let snapshot = groups.remote(&name);
        groups.remove(&name, Side::Elsewhere, &pids(&[2]));
        assert_eq!(*snapshot, pids(&[2, 2]));
        assert_eq!(groups.both(&name), (&pids(&[1])[..], &pids(&[2])[..]));
        groups.remove(&name, Side::Here, &pids(&[1]));
        assert_eq!(groups.names(|members| members.has_local()), Vec::<Term>::new());
        assert_eq!(groups.names(|_| true), vec![(*name).clone()]);
        groups.remove(&name, Side::Elsewhere, &pids(&[2]));
        assert_eq!(groups.names(|_| true), Vec::<Term>::new());
    }
}
