//! What can be configured, as text: the example file. (And the tables of docs/configuration.md, for the test that
//! compares them.)

use std::fmt::Write;

use serde_json::json;

use super::schema::{Form, Key, StrategyKind};
use super::sections::SECTIONS;
use super::show::as_toml;
use super::topology::STRATEGIES;

/// A `gusset.toml` with every key, all of them commented out.
pub(crate) fn example() -> String {
    let mut text = String::from(HEAD);
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.about);
        let _ = writeln!(text, "[{}]", section.name);
        for key in section.keys {
            entry(&mut text, section.name, key);
        }
    }
    text.push('\n');
    comment(&mut text, TOPOLOGIES);
    for kind in STRATEGIES {
        let _ = writeln!(text);
        comment(&mut text, kind.about);
        let _ = writeln!(text, "# [topologies.{}]\n# strategy = \"{}\"", kind.name, kind.name);
        if kind.name == AUTO {
            let shared = own_keys(kind);
            shared.for_each(|key| entry(&mut text, "topologies.auto", key));
            continue;
        }
        for key in kind.keys() {
            entry(&mut text, &format!("topologies.{}", kind.name), key);
        }
    }
    text
}

/// Those of `auto` that are neither of `kubernetes` nor of `dns`.
fn own_keys(kind: &'static StrategyKind) -> impl Iterator<Item = &'static Key> {
    let others = || STRATEGIES.iter().filter(|other| other.name == "kubernetes" || other.name == "dns");
    kind.keys().filter(move |key| !others().flat_map(StrategyKind::keys).any(|other| other.name == key.name))
}

fn entry(text: &mut String, section: &str, key: &Key) {
    text.push('\n');
    comment(text, key.help);
    for (choice, meaning) in key.choices {
        comment(text, &format!("  {choice}: {meaning}"));
    }
    let option = key.option.map(|option| format!("--{option}"));
    let variable =
        format!("GUSSET__{}__{}", section.replace('.', "__").replace('-', "_"), key.name).to_ascii_uppercase();
    let elsewhere: Vec<String> =
        option.into_iter().chain(key.variables.iter().map(|name| (*name).to_owned())).chain([variable]).collect();
    comment(text, &format!("({})", elsewhere.join(", ")));
    let _ = writeln!(text, "# {} = {}", key.name, value(key));
}

/// The default, else an example, as the file has it.
pub(super) fn value(key: &Key) -> String {
    let word = key.default.unwrap_or(key.example);
    match key.form {
        Form::List => as_toml(&json!(word.split(',').collect::<Vec<_>>())),
        Form::Text => as_toml(&json!(word)),
        Form::Number | Form::Flag => word.to_owned(),
    }
}

/// A comment in lines that are not too long. What the text begins with is the margin of all of them.
fn comment(text: &mut String, words: &str) {
    let margin = &words[..words.len() - words.trim_start().len()];
    let mut line = format!("#{margin}");
    for word in words.split_whitespace() {
        if line.len() + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = format!("#{margin}");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

const HEAD: &str = "\
# gusset.toml: every key, with its default or an example; what is not wanted can stay away.
#
# It is ./gusset.toml, else /etc/gusset/gusset.toml, or that of --config FILE (GUSSET_CONFIG). Later ones win: what is
# built in, this file, the environment, the command line. In brackets: where else a key can be set. `gusset config
# check` shows what comes out, and from where.
";
const TOPOLOGIES: &str = "Where nodes are found: any number of topologies, each with a name of your choice and a \
                          strategy. One that is named like its strategy needs no `strategy`, and is the one that \
                          options of the command line are about.";
const AUTO: &str = "auto";
const WIDTH: usize = 110;

#[cfg(test)]
pub(super) mod tables {
    use super::*;

    /// The tables of the documentation: a heading, and a row for each key.
    pub(in crate::config) fn of_all() -> Vec<(String, String)> {
        let sections = SECTIONS.iter().map(|section| (section.name.to_owned(), table(section.keys.iter())));
        let kinds = STRATEGIES.iter().map(|kind| {
            let keys: Box<dyn Iterator<Item = &'static Key>> = match kind.name {
                AUTO => Box::new(own_keys(kind)),
                _ => Box::new(kind.keys()),
            };
            (format!("topologies.NAME, strategy = \"{}\"", kind.name), table(keys))
        });
        sections.chain(kinds).collect()
    }

    fn table<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
        let mut text = String::from("| key | default | elsewhere | |\n|---|---|---|---|\n");
        for key in keys {
            let code = |word: &str| format!("`{word}`");
            let default = key.default.map(|_| code(&value(key))).unwrap_or_default();
            let option = key.option.map(|option| code(&format!("--{option}")));
            let elsewhere: Vec<String> =
                option.into_iter().chain(key.variables.iter().map(|name| code(name))).collect();
            let mut help = key.help.to_owned();
            if !key.choices.is_empty() {
                let choices: Vec<String> =
                    key.choices.iter().map(|(choice, meaning)| format!("`{choice}`: {meaning}")).collect();
                help = format!("{help} {}.", choices.join("; "));
            }
            let _ = writeln!(text, "| `{}` | {default} | {} | {help} |", key.name, elsewhere.join(", "));
        }
        text
    }
}
