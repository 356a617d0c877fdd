//! Which reports of lost connections have been seen (prevention of overlapping partitions): every
//! node passes a report on, so each comes as often as there are nodes, and counts once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::etf::Term;
use crate::proto::NodeName;

/// The reports that have been seen.
#[derive(Debug, Default)]
pub(crate) struct Reports(HashMap<(NodeName, NodeName), Seen>);

#[derive(Debug)]
struct Seen {
    /// Which life of the reporting node; a number of 64 bits that is only compared.
    creation: Term,
    /// Grows with every report of that life.
    number: Term,
    at: Instant,
}

impl Reports {
    /// Takes note of a report of one node about another; true when it is new.
    pub(crate) fn is_new(
        &mut self,
        (reporter, lost): (&NodeName, &NodeName),
        creation: &Term,
        number: &Term,
        now: Instant,
    ) -> bool {
        let key = (reporter.clone(), lost.clone());
        if let Some(seen) = self.0.get(&key)
            && seen.creation == *creation
            && *number <= seen.number
        {
            return false;
        }
        if self.0.len() >= CLEAN_FROM {
            self.0.retain(|_, seen| now.saturating_duration_since(seen.at) < KEPT);
        }
        self.0.insert(key, Seen { creation: creation.clone(), number: number.clone(), at: now });
        true
    }
}

/// How long a report is remembered; repetitions come within seconds.
const KEPT: Duration = Duration::from_secs(3600);
/// From how many reports on old ones are looked for: a few hundred nodes that all leave.
const CLEAN_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_once_and_a_later_one_again() {
        let name = |text: &str| NodeName::new(text).unwrap();
        let (a, b) = (name("a@h"), name("b@h"));
        let now = Instant::now();
        let mut reports = Reports::default();
        let mut is_new = |from: &NodeName, about: &NodeName, creation: i64, number: i64| {
            reports.is_new((from, about), &Term::from(creation), &Term::from(number), now)
        };
        assert!(is_new(&a, &b, 7, -3));
        assert!(!is_new(&a, &b, 7, -3));
        assert!(!is_new(&a, &b, 7, -4));
        assert!(is_new(&a, &b, 7, -2));
        assert!(is_new(&a, &b, 8, -9));
        assert!(is_new(&b, &a, 8, -9));
    }
}
