//! The values of a section or a topology, and how they are read as what they are to be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::problem::Problems;
use super::raw::Raw;
use super::schema::{Key, Preset};
use super::source::Source;
use super::value::Setting;

/// A value, and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) source: Source,
}

/// What is given for the keys of one place of the file.
#[derive(Debug)]
pub(super) struct Values {
    path: String,
    keys: BTreeMap<&'static str, &'static Key>,
    given: BTreeMap<&'static str, Given>,
}

impl Values {
    /// The defaults.
    pub(super) fn new(path: String, keys: impl Iterator<Item = &'static Key>) -> Self {
        let keys: BTreeMap<_, _> = keys.map(|key| (key.name, key)).collect();
        let word = |text: &str| Given { raw: Raw::Word(text.to_owned()), source: Source::Default };
        let given = keys.iter().filter_map(|(name, key)| Some((*name, word(key.default?)))).collect();
        Self { path, keys, given }
    }

    /// The defaults that come with a name of libcluster for the strategy.
    pub(super) fn preset(&mut self, preset: Option<Preset>) {
        let Some(preset) = preset else { return };
        let source = Source::Preset(preset.name);
        let given = |text: &str| Given { raw: Raw::Word(text.to_owned()), source: source.clone() };
        self.add_quietly(preset.values.iter().map(|(key, text)| (*key, given(text))).collect());
    }

    /// A layer on top. Of keys that say the same in different ways one may be in it.
    pub(super) fn add(&mut self, layer: BTreeMap<&'static str, Given>, problems: &Problems) {
        for (name, given) in &layer {
            let rivals = self.keys.get(name).map(|key| key.rivals).unwrap_or_default();
            for rival in rivals.iter().filter(|rival| *rival > name) {
                let Some(other) = layer.get(rival) else { continue };
                let called = |name: &str, source: &Source| match source {
                    Source::Option(_) => source.to_string(),
                    _ => format!("`{name}`"),
                };
                let (one, two) = (called(name, &given.source), called(rival, &other.source));
                let text = format!("{one} cannot be used with {two}");
                match &given.source {
                    Source::Option(_) => problems.add(text),
                    source => problems.add(format!("{source}: {}: {text} ({})", self.path, other.source)),
                }
            }
        }
        self.add_quietly(layer);
    }

    /// The same, where variables that a deployment happens to have set say the same in different ways: the key that
    /// comes first counts.
    pub(super) fn add_quietly(&mut self, layer: BTreeMap<&'static str, Given>) {
        let beaten: Vec<&str> =
            layer.keys().filter_map(|name| self.keys.get(name)).flat_map(|key| key.rivals).copied().collect();
        self.given.retain(|name, _| !beaten.contains(name));
        for (name, given) in layer {
            let rivals = self.keys.get(name).map(|key| key.rivals).unwrap_or_default();
            if !rivals.iter().any(|rival| self.given.contains_key(rival)) {
                self.given.insert(name, given);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// True when somebody gave it, or the name of a strategy brought it.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.get(name).is_some_and(|given| !given.source.is_default())
    }

    /// Where a value came from, and the name of its key: for what is found wrong later.
    pub(super) fn place(&self, name: &str) -> (Source, String) {
        let source = self.given.get(name).map_or(Source::Default, |given| given.source.clone());
        (source, format!("{}.{name}", self.path))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reads a value; what is wrong with it is a problem, and then there is none.
    pub(super) fn read<T: Setting>(&self, name: &str, problems: &Problems) -> Option<T> {
        let key = self.keys.get(name);
        debug_assert!(key.is_some(), "{}.{name} is not in the schema", self.path);
        let given = self.given.get(name)?;
        match T::read(&given.raw) {
            Ok(value) => Some(value),
            Err(error) => {
                problems.at(&given.source, &format!("{}.{name}", self.path), &error);
                None
            }
        }
    }

    /// Reads a value that somebody gave.
    pub(super) fn given<T: Setting>(&self, name: &str, problems: &Problems) -> Option<T> {
        if self.is_given(name) { self.read(name, problems) } else { None }
    }

    /// Reads a value that has a default; `instead` stands in for one that is wrong, when a problem was told.
    pub(super) fn or<T: Setting>(&self, name: &str, instead: T, problems: &Problems) -> T {
        self.read(name, problems).unwrap_or(instead)
    }

    /// Reads a list of words that somebody gave, with its source.
    pub(super) fn list(&self, name: &str, problems: &Problems) -> Option<(Vec<String>, Source)> {
        let words = self.given(name, problems)?;
        Some((words, self.place(name).0))
    }

    /// Reads a path. One in the file is meant from the folder that the file is in.
    pub(super) fn file(&self, name: &str, problems: &Problems) -> Option<PathBuf> {
        let path: PathBuf = self.read(name, problems)?;
        match &self.given.get(name)?.source {
            Source::File { path: file, .. } => Some(file.parent().map_or(path.clone(), |folder| folder.join(&path))),
            _ => Some(path),
        }
    }
}
