//! What the tab key completes: commands, registered names, functions.

use super::command::Commands;
use crate::etf::Term;
use crate::node::Node;
use crate::services::format::characters;
use crate::{atom, tuple};

/// `edlin_expand:expand/1,2` and `IEx.Autocomplete.expand/1,2`: from what stands before the cursor, last
/// character first, to `{yes, Rest, []}`, or to `{no | yes, Rest, Matches}` where there are several.
pub(super) fn expand(node: &Node, commands: &Commands, reversed: Option<&Term>) -> Term {
    let line: String = reversed.and_then(|line| characters(line, false)).unwrap_or_default().chars().rev().collect();
    let (word, candidates) = candidates(node, commands, &line);
    answer(&word, candidates)
}

/// The word that is being typed, and all that might be meant.
fn candidates(node: &Node, commands: &Commands, line: &str) -> (String, Vec<String>) {
    let start = line.rfind(|end: char| end.is_whitespace() || "(,".contains(end)).map_or(0, |at| at + 1);
    let (before, word) = line.split_at_checked(start).unwrap_or(("", line));
    let names = || node.registered().iter().map(|name| Term::Atom(name.clone()).to_string()).collect();
    let functions = || {
        let exports = node.exports().into_iter();
        exports.map(|(module, function, _)| format!("{}:{}(", Term::Atom(module), Term::Atom(function))).collect()
    };
    let all: Vec<String> = match before.trim().trim_end_matches('(') {
        "" => {
            let commands = commands.all().map(|(name, _)| name.to_owned());
            if word.contains(':') { functions() } else { commands.collect() }
        }
        "whereis" | "send" => names(),
        "call" => functions(),
        _ => Vec::new(),
    };
    (word.to_owned(), all)
}

fn answer(word: &str, all: Vec<String>) -> Term {
    let mut matches: Vec<String> = all.into_iter().filter(|name| name.starts_with(word)).collect();
    matches.sort();
    matches.dedup();
    let common = matches.iter().skip(1).fold(matches.first().cloned().unwrap_or_default(), |common, next| {
        common.chars().zip(next.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    let rest = common.strip_prefix(word).unwrap_or_default();
    let found = if rest.is_empty() { atom!("no") } else { atom!("yes") };
    let shown: Vec<String> = match matches.len() {
        0 | 1 => Vec::new(),
        // What is common to all is typed first; a second press shows what is left.
        _ if !rest.is_empty() => Vec::new(),
        _ => matches,
    };
    let shown = shown.iter().take(MOST_SHOWN).map(|name| Term::charlist(name));
    tuple![found, Term::charlist(rest), Term::list(shown)]
}

/// More are of no use on a screen.
const MOST_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_typed_and_what_is_left_is_shown() {
        let of = |word: &str| {
            answer(word, ["nodes", "node", "processes", "registered"].map(str::to_owned).to_vec()).to_string()
        };
        assert_eq!(of("pr"), "{yes,\"ocesses\",[]}");
        assert_eq!(of("n"), "{yes,\"ode\",[]}");
        assert_eq!(of("node"), "{no,[],[\"node\",\"nodes\"]}");
        assert_eq!(of("x"), "{no,[],[]}");
        assert_eq!(of("processes"), "{no,[],[]}");
    }
}
