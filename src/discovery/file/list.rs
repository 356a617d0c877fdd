//! The two ways to write a list of nodes. No I/O.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::net::DialTarget;

/// What is wrong, and where: lines and columns (characters) are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListError {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

pub(super) fn of_toml(text: &str) -> Result<Vec<DialTarget>, ListError> {
    let list: List = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = place(text, at);
        ListError { line, column, text: error.message().to_owned() }
    })?;
    Ok(list.targets())
}

pub(super) fn of_json(text: &str) -> Result<Vec<DialTarget>, ListError> {
    let parsed = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map(|nodes| List { nodes }),
        false => serde_json::from_str(text),
    };
    let list = parsed.map_err(|error| {
        let said = error.to_string();
        // It says the place at the end as well.
        let said = said.split_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        ListError { line: error.line().max(1), column: error.column().max(1), text: said.to_owned() }
    })?;
    Ok(list.targets())
}

/// `nodes` has to be there: an empty file is more likely one that is being written than a wish.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    nodes: Vec<Entry>,
}

impl List {
    fn targets(self) -> Vec<DialTarget> {
        self.nodes.into_iter().map(|Entry(target)| target).collect()
    }
}

struct Entry(DialTarget);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node as NODE, NODE=IP, NODE=IP:PORT or NODE=:PORT")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                text.trim().parse().map(Entry).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(targets: &[DialTarget]) -> Vec<String> {
        targets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_ways_to_write_a_list_are_read() {
        let wanted = ["a@10.0.0.1", "b@h=10.0.0.2:4370"];
        let toml = "# ours\nnodes = [\n  \"a@10.0.0.1\", # one\n  \"b@h=10.0.0.2:4370\",\n]\n";
        assert_eq!(texts(&of_toml(toml).unwrap()), wanted);
        for json in [r#"{"nodes": ["a@10.0.0.1", "b@h=10.0.0.2:4370"]}"#, r#" ["a@10.0.0.1", "b@h=10.0.0.2:4370"]"#] {
            assert_eq!(texts(&of_json(json).unwrap()), wanted);
        }
        assert_eq!(of_toml("nodes = []"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_found_in_its_line_and_column() {
        let error = of_toml("nodes = [\n  \"a@h\",\n  \"ä\", \"nobody\",\n]").unwrap_err();
        assert_eq!((error.line, error.column), (3, 3));
        assert!(error.text.contains("no `@`"), "{error:?}");
        let error = of_toml("nodes = [\n\"a@h\"").unwrap_err();
        assert_eq!(error.line, 2);
        let error = of_toml("nodes = []\npeers = []\n").unwrap_err();
        assert_eq!((error.line, error.column), (2, 1));
        assert!(error.text.contains("peers"), "{error:?}");
        assert!(of_toml("").unwrap_err().text.contains("nodes"));
        assert_eq!(of_toml("nodes = [1]").unwrap_err().line, 1);

        let error = of_json("{\"nodes\": [\n  \"a@h\",\n  \"nobody\"\n]}").unwrap_err();
        assert_eq!(error.line, 3);
        assert!(error.text.contains("no `@`") && !error.text.contains("at line"), "{error:?}");
        assert_eq!(of_json("{\"nodes\": [").unwrap_err().line, 1);
        assert!(of_json("").is_err());
        assert!(of_json("{}").unwrap_err().text.contains("nodes"));
    }
}
