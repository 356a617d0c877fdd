//! What all sources together know: one set of nodes, and the proof that some have gone. Pure; time is an argument.
//!
//! A node is what runs somewhere (the uid of a pod), not a line in an object: the two slices of a dual-stack service,
//! two services with the same pods, or two selectors that both match show it once. It has gone when an object that
//! would keep it as long as it lives no longer shows it, and nothing else does: not now, and not a moment later, for
//! what moves from one slice to another may be in none for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kube::runtime::watcher::Event;

use super::lookup::Source;
use super::own::{self, Seen};
use super::rules::{Found, Rules, Shows};
use crate::discovery::desired::{Candidate, CandidateState, Desired};
use crate::discovery::strategy::DiscoveryError;
use crate::discovery::template::TemplateError;
use crate::proto::NodeName;

#[derive(Debug)]
pub(super) struct Union {
    rules: Rules,
    sources: Vec<Known>,
    /// Nodes that no object shows any more, while they may be on their way to another one.
    held: Vec<Held>,
    /// Names that were seen to leave since the last report.
    gone: BTreeSet<NodeName>,
    /// Nodes without a name, and the reason, so that it is told once.
    nameless: BTreeMap<Arc<str>, TemplateError>,
}

/// What one source has said.
#[derive(Debug)]
struct Known {
    source: Source,
    objects: Objects,
    /// The list that is being read; it replaces `objects` when it is complete.
    listing: Option<Objects>,
    listed: bool,
    trouble: Option<DiscoveryError>,
}

/// By uid.
type Objects = BTreeMap<String, Object>;

#[derive(Debug, Default)]
struct Object {
    found: Vec<Found>,
    unsuited: usize,
}

#[derive(Debug)]
struct Held {
    found: Found,
    until: Instant,
    proof: Proof,
}

/// What it means that an object no longer shows a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Nothing.
    None,
    /// It has gone, unless something else still shows it.
    UnlessElsewhere,
    /// It goes by another name now.
    Renamed,
}

impl Union {
    pub(super) fn new(rules: Rules, sources: Vec<Source>) -> Self {
        let known = |source| Known { source, objects: Objects::new(), listing: None, listed: false, trouble: None };
        let sources = sources.into_iter().map(known).collect();
        Self { rules, sources, held: Vec::new(), gone: BTreeSet::new(), nameless: BTreeMap::new() }
    }

    /// Takes in an event of a source; true when there may be something new to report.
    pub(super) fn take_in<K: Shows>(&mut self, source: usize, event: Event<K>, now: Instant) -> bool {
        let Some(known) = self.sources.get_mut(source) else { return false };
        match event {
            Event::Init => {
                known.listing = Some(Objects::new());
                return false;
            }
            Event::InitApply(object) => {
                if let (Some(key), Some(listing)) = (key(&object), &mut known.listing) {
                    let before = known.objects.get(&key).map(|before| before.found.as_slice()).unwrap_or_default();
                    let look = object.look(&self.rules, before);
                    listing.insert(key, Object { found: look.found, unsuited: look.unsuited });
                }
                return false;
            }
            Event::InitDone => {
                known.listed = true;
                let Some(listing) = known.listing.take() else { return true };
                self.held
                    .retain(|held| !listing.values().flat_map(|object| &object.found).any(|it| it.is(&held.found)));
                // What is missing from the list is no longer dialled. That it is gone was not seen.
                let before = std::mem::replace(&mut known.objects, listing);
                let missing = before.into_values().flat_map(|object| object.found);
                self.hold::<K>(missing.map(|found| (found, Proof::None)).collect(), now);
            }
            Event::Apply(object) => {
                let Some(key) = key(&object) else { return false };
                let before = known.objects.remove(&key).unwrap_or_default().found;
                let look = object.look(&self.rules, &before);
                self.held.retain(|held| !look.found.iter().any(|it| it.is(&held.found)));
                let missing = before.into_iter().filter(|was| !look.found.iter().any(|it| it.is(was))).map(|was| {
                    let proof = if look.found.iter().any(|it| was.is_renamed(it)) {
                        Proof::Renamed
                    } else if look.others_are_gone && was.told_by_absence {
                        Proof::UnlessElsewhere
                    } else {
                        Proof::None
                    };
                    (was, proof)
                });
                let missing: Vec<_> = missing.collect();
                known.objects.insert(key, Object { found: look.found, unsuited: look.unsuited });
                self.hold::<K>(missing, now);
            }
            Event::Delete(object) => {
                let before = key(&object).and_then(|key| known.objects.remove(&key)).unwrap_or_default().found;
                let proof = if K::DELETED_IS_GONE { Proof::UnlessElsewhere } else { Proof::None };
                if before.is_empty() {
                    self.gone.extend(object.last_name(&self.rules));
                }
                self.hold::<K>(before.into_iter().map(|found| (found, proof)).collect(), now);
            }
        }
        self.settle(now);
        true
    }

    /// Decides about what has been nowhere for long enough; true when something has changed.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let (over, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held).into_iter().partition(|it| it.until <= now);
        self.held = held;
        for Held { found, proof, .. } in &over {
            let gone = match proof {
                Proof::None => false,
                Proof::UnlessElsewhere => !self.shown().any(|it| it.who == found.who),
                Proof::Renamed => true,
            };
            self.gone.extend(found.name().filter(|_| gone).cloned());
        }
        !over.is_empty()
    }

    /// When there is something to decide.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.until).min()
    }

    /// A source has no answer. What it said before counts on. True when this was the last one that was waited for.
    pub(super) fn failed(&mut self, source: usize, error: DiscoveryError) -> bool {
        let waited = self.is_waiting();
        if let Some(known) = self.sources.get_mut(source) {
            known.trouble = Some(error);
        }
        waited && !self.is_waiting()
    }

    /// A source works; true when there was something to mend.
    pub(super) fn mended(&mut self, source: usize) -> bool {
        self.sources.get_mut(source).is_some_and(|known| known.trouble.take().is_some())
    }

    /// A source has found out which namespace is its own.
    pub(super) fn is_in(&mut self, source: usize, namespace: &str) {
        if let Some(known) = self.sources.get_mut(source) {
            known.source.namespace = Some(namespace.to_owned());
        }
    }

    /// There is something to report.
    pub(super) fn has_listed(&self) -> bool {
        self.sources.iter().any(|known| known.listed)
    }

    /// Every source has given its list and none is in trouble.
    pub(super) fn is_well(&self) -> bool {
        self.sources.iter().all(|known| known.listed && known.trouble.is_none())
    }

    /// What is wrong, of all sources together.
    pub(super) fn trouble(&self) -> Option<DiscoveryError> {
        let mut troubles = self.sources.iter().filter_map(|known| Some((&known.source, known.trouble.as_ref()?)));
        let (first, error) = troubles.next()?;
        if self.sources.len() == 1 {
            return Some(error.clone());
        }
        let told =
            |source: &Source, text: &str| format!("{} in namespace `{}`: {text}", source.wanted, source.namespace());
        let (mut text, mut fixes) = (told(first, &error.text), vec![error.fix.as_str()]);
        for (source, error) in troubles {
            text.push_str("; ");
            text.push_str(&told(source, &error.text));
            if !fixes.contains(&error.fix.as_str()) {
                fixes.push(&error.fix);
            }
        }
        fixes.retain(|fix| !fix.is_empty());
        Some(DiscoveryError::new(error.kind, text).with_fix(fixes.join("; ")))
    }

    /// The whole set, and who left since this was last asked.
    pub(super) fn desired(&mut self) -> Desired {
        let nodes = self.nodes();
        let mut peers: BTreeMap<NodeName, Candidate> = BTreeMap::new();
        for (_, candidate) in nodes.values() {
            match peers.get(&candidate.target.name) {
                // Two pods by one name (an address used again, a stateful pod and its successor).
                Some(other) if other.state <= candidate.state => {}
                _ => {
                    peers.insert(candidate.target.name.clone(), candidate.clone());
                }
            }
        }
        let own_address = self.rules.own_address;
        let mine = own_address.and_then(|own| {
            let here = self.all().find(|found| found.ip == own && nodes.contains_key(&found.who))?;
            nodes.get(&here.who).map(|(_, candidate)| &candidate.target.name)
        });
        let seen: Vec<Seen<'_>> = self.sources.iter().map(Known::seen).collect();
        let me = own::view(&self.rules, &seen, &peers, mine, self.is_waiting());
        let nameless = self.without_name(&nodes);
        self.tell_nameless(nameless);
        let mut desired = Desired::default().with_me(me);
        self.gone.retain(|name| !peers.contains_key(name));
        // A source that has not spoken yet may have them.
        if !self.is_waiting() {
            desired.gone = std::mem::take(&mut self.gone);
        }
        desired.peers = peers;
        desired
    }

    /// Some source has neither given a list nor failed to.
    fn is_waiting(&self) -> bool {
        self.sources.iter().any(|known| !known.listed && known.trouble.is_none())
    }

    /// What objects show.
    fn shown(&self) -> impl Iterator<Item = &Found> {
        self.sources.iter().flat_map(|known| known.objects.values()).flat_map(|object| &object.found)
    }

    /// What counts: also what may be on its way from one object to another.
    fn all(&self) -> impl Iterator<Item = &Found> {
        self.shown().chain(self.held.iter().map(|held| &held.found))
    }

    /// Each thing that runs, as what it is dialled: by the address of the family that is wanted.
    fn nodes(&self) -> BTreeMap<Arc<str>, (u8, Candidate)> {
        let mut nodes: BTreeMap<Arc<str>, (u8, Candidate)> = BTreeMap::new();
        for found in self.all() {
            let Ok(candidate) = &found.candidate else { continue };
            let rank = self.rules.rank(found.ip).unwrap_or(u8::MAX);
            match nodes.get_mut(&found.who) {
                None => {
                    nodes.insert(found.who.clone(), (rank, candidate.clone()));
                }
                Some((best, known)) => {
                    let (state, port) = (state_of_both(known.state, candidate.state), known.target.port);
                    if (rank, &candidate.target.name) < (*best, &known.target.name) {
                        (*best, *known) = (rank, candidate.clone());
                    }
                    known.state = state;
                    if known.target.port.is_none() {
                        known.target.port = candidate.target.port.or(port);
                    }
                }
            }
        }
        nodes
    }

    fn hold<K: Shows>(&mut self, missing: Vec<(Found, Proof)>, now: Instant) {
        for (found, proof) in missing {
            if found.name().is_some() && !self.shown().any(|it| it.is(&found)) {
                self.held.push(Held { found, until: now + K::MOVES_WITHIN, proof });
            }
        }
    }

    /// Those that have no name wherever they are shown.
    fn without_name(&self, nodes: &BTreeMap<Arc<str>, (u8, Candidate)>) -> Vec<(Arc<str>, String, TemplateError)> {
        let nameless = self.shown().filter(|found| !nodes.contains_key(&found.who));
        let told = nameless.filter_map(|found| {
            Some((found.who.clone(), found.origin.clone(), found.candidate.as_ref().err()?.clone()))
        });
        told.take(MOST_NAMELESS).collect()
    }

    fn tell_nameless(&mut self, nameless: Vec<(Arc<str>, String, TemplateError)>) {
        let mut told = BTreeMap::new();
        for (who, node, error) in nameless {
            if self.nameless.get(&who) != Some(&error) && !told.contains_key(&who) {
                tracing::warn!(node, %error, "this gives no node name, it is left out");
            }
            told.insert(who, error);
        }
        self.nameless = told;
    }
}

impl Known {
    fn seen(&self) -> Seen<'_> {
        let objects = self.objects.values();
        Seen {
            source: &self.source,
            objects: self.objects.len(),
            found: objects.clone().map(|object| object.found.len()).sum(),
            unsuited: objects.map(|object| object.unsuited).sum(),
        }
    }
}

/// Of one thing that is shown twice: what has begun to terminate does not stop to.
fn state_of_both(one: CandidateState, other: CandidateState) -> CandidateState {
    match (one, other) {
        (CandidateState::Terminating, _) | (_, CandidateState::Terminating) => CandidateState::Terminating,
        (one, other) => one.min(other),
    }
}

fn key<K: Shows>(object: &K) -> Option<String> {
    let metadata = object.meta();
    metadata.uid.clone().or_else(|| metadata.name.clone())
}

/// Nodes without a name are looked at up to here, to tell each once.
const MOST_NAMELESS: usize = 1000;

#[cfg(test)]
mod tests;
