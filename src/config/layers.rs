//! The layers, and how they become one: later ones win, key by key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::environment::Environment;
use super::file::{self, CONFIG, TOPOLOGIES, unknown_section};
use super::problem::Problems;
use super::raw::Raw;
use super::reader::{Given, Values};
use super::schema::{Fate, Key, Preset, StrategyKind};
use super::sections::SECTIONS;
use super::source::Source;
use super::suggest::nearest;
use super::topology::STRATEGIES;

/// What the command line says: options without their dashes, and the file to read.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) file: Option<(PathBuf, Source)>,
    pub(crate) values: Vec<(&'static str, Raw)>,
}

/// A value at a place in the tree of sections: `topologies`, `main`, `mode`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<String>,
    pub(super) raw: Raw,
    pub(super) source: Source,
}

/// All layers in one, and each value with its source.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) file: Option<Arc<std::path::Path>>,
    pub(super) sections: Vec<(&'static str, Values)>,
    /// Those that are in use, by name.
    pub(super) topologies: Vec<(String, &'static StrategyKind, Values)>,
}

/// Two layers between what is built in and the command line.
struct Between {
    file: Vec<Entry>,
    environment: Vec<Entry>,
}

pub(super) fn resolve(options: Options, environment: &Environment, problems: &Problems) -> Resolved {
    let file = file::read(options.file, problems);
    let path = file.as_ref().map(|file| file.path.clone());
    let file = file.map(|file| file.entries).unwrap_or_default();
    let mut variables = environment.entries(problems);
    variables.retain(|entry| leads_somewhere(entry, problems));
    let between = Between { file, environment: variables };

    let mut sections = Vec::new();
    for section in SECTIONS {
        let mut values = Values::new(section.name.to_owned(), section.keys.iter());
        let of = |entry: &&Entry| entry.path.len() == 2 && entry.path[0] == section.name;
        let target = Target { keys: section.keys.iter().collect(), foreign: &[], what: format!("[{}]", section.name) };
        values.add(target.layer(between.file.iter().filter(of), problems), problems);
        let known = section.keys.iter().filter_map(|key| Some((key.name, environment.known(key, problems)?)));
        values.add_quietly(known.map(|(name, (raw, source))| (name, Given { raw, source })).collect());
        values.add(target.layer(between.environment.iter().filter(of), problems), problems);
        values.add(of_options(section.keys.iter(), &options.values), problems);
        sections.push((section.name, values));
    }

    let wanted = sections.iter().find(|(name, _)| *name == "discovery").map(|(_, values)| values);
    let wanted = wanted.and_then(|values| values.list("discover", problems));
    let topologies = topologies(wanted, between, &options.values, problems);
    Resolved { file: path, sections, topologies }
}

/// Whether a variable can mean a key. (In the file that is seen while it is read.)
fn leads_somewhere(entry: &Entry, problems: &Problems) -> bool {
    let parts: Vec<&str> = entry.path.iter().map(String::as_str).collect();
    let is_section = |name: &str| SECTIONS.iter().any(|section| section.name == name);
    let text = match parts[..] {
        [TOPOLOGIES, _, _] | [TOPOLOGIES, _, CONFIG, _] => return true,
        [TOPOLOGIES, ..] => "a variable for a topology is GUSSET__TOPOLOGIES__NAME__KEY".to_owned(),
        [section, _] if is_section(section) => return true,
        [section, ..] if is_section(section) => {
            format!("a variable for this section is GUSSET__{}__KEY", section.to_ascii_uppercase())
        }
        [section, ..] => unknown_section(section),
        [] => return false,
    };
    problems.add(format!("{}: {text}", entry.source));
    false
}

/// What a section or a topology takes.
struct Target {
    keys: Vec<&'static Key>,
    foreign: &'static [(&'static str, Fate)],
    /// As it is called in an error.
    what: String,
}

type Layer = BTreeMap<&'static str, Given>;

impl Target {
    /// The values of one layer under their own names.
    fn layer<'a>(&self, entries: impl Iterator<Item = &'a Entry>, problems: &Problems) -> Layer {
        let mut layer: BTreeMap<&'static str, (Given, &str)> = BTreeMap::new();
        for entry in entries {
            let Some(name) = entry.path.last() else { continue };
            let Some((key, suffix)) = self.keys.iter().find_map(|key| Some((*key, key.answers_to(name)?))) else {
                self.unknown(name, entry, problems);
                continue;
            };
            if key.name != name {
                problems.note(format!("{}: `{name}` is libcluster's word; here it is `{}`", entry.source, key.name));
            }
            let raw = match &entry.raw {
                Raw::Word(text) | Raw::Text(text) if !suffix.is_empty() => Raw::Text(format!("{text}{suffix}")),
                raw => raw.clone(),
            };
            let given = Given { raw, source: entry.source.clone() };
            if let Some((_, before)) = layer.insert(key.name, (given, name)) {
                let text = format!("`{before}` and `{name}` are the same; one of them is enough");
                problems.add(format!("{}: {}: {text}", entry.source, self.what));
            }
        }
        layer.into_iter().map(|(name, (given, _))| (name, given)).collect()
    }

    fn unknown(&self, name: &str, entry: &Entry, problems: &Problems) {
        match self.foreign.iter().chain(FOREIGN).find(|(known, _)| *known == name) {
            Some((_, Fate::Ignored(why))) => problems.note(format!("{}: `{name}` has no effect: {why}", entry.source)),
            Some((_, Fate::Refused(why))) => problems.add(format!("{}: `{name}` cannot be given: {why}", entry.source)),
            None => {
                let names = self
                    .keys
                    .iter()
                    .flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().map(|(alias, _)| *alias)));
                let hint = nearest(name, names);
                problems.add(format!("{}: {} has no key `{name}`{hint}", entry.source, self.what));
            }
        }
    }
}

/// What libcluster has for every topology.
const FOREIGN: &[(&str, Fate)] = &[
    ("connect", Fate::Refused(FUNCTIONS)),
    ("disconnect", Fate::Refused(FUNCTIONS)),
    ("list_nodes", Fate::Refused(FUNCTIONS)),
];
const FUNCTIONS: &str = "it names a function of Elixir; this node connects by itself, and `discovery.prune` says when \
                         it lets go";

/// What the command line says about these keys.
fn of_options(keys: impl Iterator<Item = &'static Key>, options: &[(&'static str, Raw)]) -> Layer {
    let mut layer = Layer::new();
    for key in keys {
        let Some(option) = key.option else { continue };
        if let Some((_, raw)) = options.iter().find(|(name, _)| *name == option) {
            layer.insert(key.name, Given { raw: raw.clone(), source: Source::Option(option) });
        }
    }
    layer
}

/// Which topologies there are, of what kind, and what is said about them.
fn topologies(
    wanted: Option<(Vec<String>, Source)>,
    mut between: Between,
    options: &[(&'static str, Raw)],
    problems: &Problems,
) -> Vec<(String, &'static StrategyKind, Values)> {
    let mut names: Vec<String> = Vec::new();
    for entry in between.file.iter().filter(|entry| entry.path[0] == TOPOLOGIES) {
        if !names.contains(&entry.path[1]) {
            names.push(entry.path[1].clone());
        }
    }
    for entry in between.environment.iter_mut().filter(|entry| entry.path[0] == TOPOLOGIES && entry.path.len() > 2) {
        // A variable cannot have capital and small letters or a dash in its name.
        let folded = |name: &str| name.to_ascii_lowercase().replace('-', "_");
        let kinds = STRATEGIES.iter().map(|kind| kind.name);
        let known = names.iter().map(String::as_str).chain(kinds).find(|name| folded(name) == entry.path[1]);
        entry.path[1] = known.map_or_else(|| entry.path[1].clone(), str::to_owned);
        if !names.contains(&entry.path[1]) {
            names.push(entry.path[1].clone());
        }
    }
    let wanted = selected(&mut names, wanted, options, problems);

    let mut found = Vec::new();
    for name in names {
        let of = |entry: &&Entry| entry.path[0] == TOPOLOGIES && entry.path[1] == name && entry.path.len() > 2;
        let file = || between.file.iter().filter(of);
        let environment = || between.environment.iter().filter(of);
        let is_strategy = |entry: &&Entry| entry.path.last().is_some_and(|key| key == STRATEGY);
        let given = environment().find(is_strategy).or_else(|| file().find(is_strategy));
        let Some((kind, preset)) = strategy(&name, given, &between.file, problems) else { continue };
        let target = Target {
            keys: kind.keys().collect(),
            foreign: kind.foreign,
            what: format!("a topology with strategy `{}`", kind.name),
        };
        let mut values = Values::new(format!("{TOPOLOGIES}.{name}"), kind.keys());
        values.preset(preset);
        values.add(target.layer(file().filter(|entry| !is_strategy(entry)), problems), problems);
        values.add(target.layer(environment().filter(|entry| !is_strategy(entry)), problems), problems);
        if name == kind.name {
            values.add(of_options(kind.keys(), options), problems);
        }
        if wanted.contains(&name) {
            found.push((name, kind, values));
        }
    }
    complain_of_idle_options(&found, options, problems);
    found
}

/// Which of the topologies are in use. Strategies that are asked for by their own name become topologies of that name.
fn selected(
    names: &mut Vec<String>,
    wanted: Option<(Vec<String>, Source)>,
    options: &[(&'static str, Raw)],
    problems: &Problems,
) -> Vec<String> {
    let Some((wanted, source)) = wanted else {
        if names.is_empty() {
            names.extend(brought(options));
        }
        return names.clone();
    };
    let mut selected = Vec::new();
    for name in wanted.into_iter().filter(|name| name != NOBODY) {
        // `static` is what a list of nodes is called elsewhere in here.
        let name = StrategyKind::named(&name)
            .filter(|_| !names.contains(&name))
            .map_or(name, |(kind, _)| kind.name.to_owned());
        let known = names.contains(&name);
        if !known && StrategyKind::named(&name).is_none() {
            let kinds = STRATEGIES.iter().map(|kind| kind.name).chain([NOBODY]);
            let all: Vec<&str> = kinds.chain(names.iter().map(String::as_str)).collect();
            let hint = nearest(&name, all.iter().copied());
            problems.at(&source, "discovery.discover", &format!("`{name}` is none of {}{hint}", all.join(", ")));
            continue;
        }
        if !known {
            names.push(name.clone());
        }
        if !selected.contains(&name) {
            selected.push(name);
        }
    }
    selected
}

/// The strategies that options ask for by being there.
fn brought(options: &[(&'static str, Raw)]) -> Vec<String> {
    let given = |key: &Key| key.brings && options.iter().any(|(name, _)| key.option == Some(name));
    let mut brought: Vec<&'static StrategyKind> = Vec::new();
    for (option, _) in options {
        let asks = |kind: &&StrategyKind| kind.keys().any(|key| key.option == Some(option) && given(key));
        if let Some(kind) = STRATEGIES.iter().find(asks)
            && !brought.iter().any(|known| known.name == kind.name)
        {
            brought.push(kind);
        }
    }
    brought.into_iter().map(|kind| kind.name.to_owned()).collect()
}

fn strategy(
    name: &str,
    given: Option<&Entry>,
    file: &[Entry],
    problems: &Problems,
) -> Option<(&'static StrategyKind, Option<Preset>)> {
    let kinds = || STRATEGIES.iter().map(|kind| kind.name);
    let Some(entry) = given else {
        let named = StrategyKind::named(name);
        if named.is_none() {
            let header = file.iter().find(|entry| entry.path.len() == 2 && entry.path[1] == name);
            let place = header.map(|entry| format!("{}: ", entry.source)).unwrap_or_default();
            let all = kinds().collect::<Vec<_>>().join(", ");
            problems.add(format!("{place}topologies.{name} has no `strategy`: give it one of {all}"));
        }
        return named;
    };
    let (Raw::Word(text) | Raw::Text(text)) = &entry.raw else {
        problems.at(&entry.source, &format!("topologies.{name}.strategy"), "text is wanted");
        return None;
    };
    let named = StrategyKind::named(text);
    if named.is_none() {
        let why = if text.ends_with("Rancher") {
            "the metadata service of Rancher is not there any more; use `kubernetes` or `dns`".to_owned()
        } else {
            let hint = nearest(text, kinds());
            format!(
                "`{text}` is none of {}, nor a strategy of libcluster{hint}",
                kinds().collect::<Vec<_>>().join(", ")
            )
        };
        problems.at(&entry.source, &format!("topologies.{name}.strategy"), &why);
    }
    if let Some((kind, Some(_))) = &named {
        problems.note(format!("{}: `{text}` is `{}` here", entry.source, kind.name));
    }
    named
}

/// An option that nobody listens to was meant for somebody.
fn complain_of_idle_options(
    found: &[(String, &'static StrategyKind, Values)],
    options: &[(&'static str, Raw)],
    problems: &Problems,
) {
    for (option, _) in options {
        let takes = |key: &Key| key.option == Some(option);
        let general = SECTIONS.iter().any(|section| section.keys.iter().any(takes));
        let heard = found.iter().any(|(name, kind, _)| name == kind.name && kind.keys().any(takes));
        if general || heard {
            continue;
        }
        let kinds: Vec<&str> = STRATEGIES.iter().filter(|kind| kind.keys().any(takes)).map(|kind| kind.name).collect();
        let text = format!(
            "it is for a topology of the name {}, and there is none: add --discover {}, or set the key in the file",
            kinds.join(" or "),
            kinds.first().copied().unwrap_or_default(),
        );
        problems.add(format!("--{option}: {text}"));
    }
}

const STRATEGY: &str = "strategy";
/// Among the strategies that are asked for: none.
const NOBODY: &str = "none";
