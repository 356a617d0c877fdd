//! Would others who use the same rules find this node? And if not, what to look at.

use std::collections::BTreeMap;

use super::lookup::{Lookup, Source};
use super::rules::Rules;
use crate::discovery::desired::{Candidate, SelfView};
use crate::proto::NodeName;

/// What came of a source.
pub(super) struct Seen<'a> {
    pub(super) source: &'a Source,
    /// Objects that it matches.
    pub(super) objects: usize,
    /// Nodes in them, with a name or without.
    pub(super) found: usize,
    /// Nodes without an address of the family that is wanted.
    pub(super) unsuited: usize,
}

/// `mine` is the name of who has our address.
pub(super) fn view(
    rules: &Rules,
    seen: &[Seen<'_>],
    peers: &BTreeMap<NodeName, Candidate>,
    mine: Option<&NodeName>,
    is_waiting: bool,
) -> SelfView {
    if peers.contains_key(&rules.own) {
        return SelfView::Called(rules.own.clone());
    }
    if let Some(name) = mine {
        return SelfView::Called(name.clone());
    }
    if is_waiting {
        return SelfView::Unknown;
    }
    let Some(first) = seen.first() else { return SelfView::Unknown };
    let lookup = first.source.lookup;
    let note = lookup.selector_note().map(|note| format!("; {note}")).unwrap_or_default();
    if peers.is_empty() {
        let told: Vec<_> = seen.iter().map(|seen| nothing(seen, rules)).collect();
        let mut commands: Vec<_> = seen.iter().map(|seen| format!("`{}`", seen.source.kubectl())).collect();
        commands.dedup();
        return SelfView::Missing(format!("{}: check both with {}{note}", told.join("; "), commands.join(", ")));
    }
    let places: Vec<_> = seen.iter().map(|seen| place(seen.source)).collect();
    let places = places.join(" or of ");
    let Some(address) = rules.own_address else {
        let example = peers.keys().next().map(|name| format!(" (they are called like `{name}`)")).unwrap_or_default();
        return SelfView::Missing(format!(
            "none of the {} {} of {places} has this name{example}: set POD_IP and NAMESPACE in the pod's env so that it is \
             named as its peers are (links are still made from this side)",
            peers.len(),
            if lookup == Lookup::Pods { "pods" } else { "endpoints" },
        ));
    };
    let what = if lookup == Lookup::Pods { "running pod" } else { "endpoint" };
    let whose = if lookup == Lookup::Pods { "the selector asks" } else { "the selector of the Service asks" };
    SelfView::Missing(format!(
        "no {what} of {places} has this node's address {address}: give this pod the labels that {whose} for (links are \
         still made from this side){note}"
    ))
}

fn place(source: &Source) -> String {
    let (namespace, wanted) = (source.namespace(), &source.wanted);
    match source.lookup {
        Lookup::Pods => format!("namespace `{namespace}` that matches {wanted}"),
        Lookup::EndpointSlices => format!("the EndpointSlices in namespace `{namespace}` that match {wanted}"),
        Lookup::Endpoints => format!("the Endpoints in namespace `{namespace}` that match {wanted}"),
    }
}

/// Why there is nobody.
fn nothing(seen: &Seen<'_>, rules: &Rules) -> String {
    let (namespace, wanted, lookup) = (seen.source.namespace(), &seen.source.wanted, seen.source.lookup);
    let here = format!("in namespace `{namespace}`");
    if seen.found > 0 {
        let (found, template) = (seen.found, &rules.template);
        return format!("none of the {found} found {here} by {wanted} gives a node name by `{template}`");
    }
    if let (Some(family), 1..) = (rules.family.only(), seen.unsuited) {
        return format!("none of the {} found {here} by {wanted} has an {family} address", seen.unsuited);
    }
    match (lookup, seen.objects) {
        (Lookup::Pods, _) => format!("no pod that runs {here} matches {wanted}, not even this one"),
        (_, 0) => format!("no {} {here} matches {wanted}", lookup.noun()),
        (_, objects) => format!(
            "{objects} {lookup} {here} match {wanted}, and there is no endpoint in them: the selector of the Service \
             matches no pod that has an address"
        ),
    }
}
