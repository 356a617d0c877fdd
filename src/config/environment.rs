//! The environment: `GUSSET__SECTION__KEY`, and the variables that people know.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::layers::Entry;
use super::problem::Problems;
use super::raw::Raw;
use super::schema::Key;
use super::source::Source;

/// The variables, as they were at one moment. One that is empty is as good as not set.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(variables.filter(|(_, value)| !value.is_empty()).collect())
    }

    #[cfg(test)]
    pub(super) fn of(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().filter(|(_, value)| !value.is_empty());
        Self(variables.map(|(name, value)| ((*name).to_owned(), (*value).into())).collect())
    }

    /// What `GUSSET__…` variables say. Names of sections and keys are in capital letters there.
    pub(super) fn entries(&self, problems: &Problems) -> Vec<Entry> {
        let ours = self.0.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
        ours.filter_map(|(name, rest, value)| {
            let path = rest.split("__").map(str::to_ascii_lowercase).collect();
            let raw = word(name, value, problems)?;
            Some(Entry { path, raw, source: Source::Variable(name.clone()) })
        })
        .collect()
    }

    /// What the variables that people know say about a key: the first of them that is set.
    pub(super) fn known(&self, key: &Key, problems: &Problems) -> Option<(Raw, Source)> {
        key.variables.iter().find_map(|name| {
            let raw = word(name, self.0.get(*name)?, problems)?;
            Some((raw, Source::Variable((*name).to_owned())))
        })
    }
}

fn word(name: &str, value: &OsString, problems: &Problems) -> Option<Raw> {
    match value.to_str() {
        Some(text) => Some(Raw::Word(text.to_owned())),
        None => {
            problems.add(format!("{name}: it is not text in UTF-8"));
            None
        }
    }
}

/// What the names of all variables begin with that stand for a key.
pub(super) const PREFIX: &str = "GUSSET__";
