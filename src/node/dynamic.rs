//! Names for nodes that come without one (`NAME_ME`): made here, and kept for the next one when the
//! node has gone (`net_kernel.erl:generate_node_name`).

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use crate::etf::Creation;
use crate::proto::NodeName;

#[derive(Default)]
pub(crate) struct DynamicNames(Mutex<State>);

#[derive(Default)]
struct State {
    granted: HashSet<NodeName>,
    /// Names that were given back, by host, with the creation of the next life.
    free: HashMap<String, Vec<(NodeName, Creation)>>,
}

impl DynamicNames {
    /// A name on this host and a creation; `None` when no name can be made of the host.
    pub(crate) fn grant(&self, host: &str) -> Option<(NodeName, Creation)> {
        let mut state = self.0.lock();
        let (name, creation) = match state.free.get_mut(host).and_then(Vec::pop) {
            Some(kept) => kept,
            None => {
                let random = getrandom::u64().ok()?;
                let name = NodeName::new(format!("{}@{host}", base36(random))).ok()?;
                (name, Creation((random >> 32) as u32 | LOWEST_CREATION))
            }
        };
        state.granted.insert(name.clone());
        Some((name, creation))
    }

    /// A node has gone; if its name was made here, the next one may have it.
    pub(crate) fn give_back(&self, name: &NodeName, creation: Creation) {
        let mut state = self.0.lock();
        if !state.granted.remove(name) {
            return;
        }
        let next = Creation(creation.0.checked_add(1).unwrap_or(LOWEST_CREATION));
        let free = state.free.entry(name.host().to_owned()).or_default();
        if free.len() < MAX_FREE_NAMES {
            free.push((name.clone(), next));
        }
    }
}

/// Creations below 4 have a meaning of their own in old tags.
const LOWEST_CREATION: u32 = 4;

/// So many unused names are kept for a host; more than that are made anew.
const MAX_FREE_NAMES: usize = 64;

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = (number % 36) as u32;
        digits.extend(char::from_digit(digit, 36).map(|digit| digit.to_ascii_uppercase()));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_came_back_is_given_again_with_the_next_creation() {
        let names = DynamicNames::default();
        let (first, creation) = names.grant("h.x").unwrap();
        let (second, _) = names.grant("h.x").unwrap();
        assert_ne!(first, second);
        assert_eq!(first.host(), "h.x");
        names.give_back(&first, creation);
        assert_eq!(names.grant("h.x").unwrap(), (first.clone(), Creation(creation.0 + 1)));
        assert_ne!(names.grant("other").unwrap().0, first);
    }

    #[test]
    fn numbers_are_written_to_the_base_of_36() {
        assert_eq!(base36(0), "0");
        assert_eq!(base36(35), "Z");
        assert_eq!(base36(36 * 36 + 1), "101");
    }
}
