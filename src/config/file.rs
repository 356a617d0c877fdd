//! `gusset.toml`: which one, and what it says in which line.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::Entry;
use super::problem::Problems;
use super::raw::Raw;
use super::schema::Section;
use super::sections::SECTIONS;
use super::source::Source;
use super::suggest::nearest;

/// A configuration file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) path: Arc<Path>,
    pub(super) entries: Vec<Entry>,
}

/// Reads the file: the one that was given, and where that was said, or the first one in the usual places, if there is
/// one. Files are not merged with each other.
pub(super) fn read(given: Option<(PathBuf, Source)>, problems: &Problems) -> Option<ConfigFile> {
    let (path, said) = match given {
        Some((path, source)) => (path, format!("{source}: ")),
        None => (USUAL.iter().map(PathBuf::from).find(|path| path.exists())?, String::new()),
    };
    match text(&path) {
        Ok(text) => {
            let path: Arc<Path> = path.into();
            Some(ConfigFile { entries: parse(&text, &path, problems), path })
        }
        Err(error) => {
            problems.add(format!("{said}cannot read {}: {error}", path.display()));
            None
        }
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {LARGEST} bytes")));
    }
    Ok(text)
}

/// What the text says. All that is wrong with it as TOML is a problem, with its line; the line itself is not shown,
/// for it may hold a secret.
pub(super) fn parse(text: &str, path: &Arc<Path>, problems: &Problems) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let at = |offset: usize| Source::File { path: path.clone(), line: line(text, offset) };
    for error in &errors {
        let source = at(error.span().map_or(0, |span| span.start));
        problems.add(format!("{source}: this is no TOML: {}", error.message()));
    }
    let mut reading = Reading { at: &at, entries: Vec::new(), problems };
    if errors.is_empty() {
        reading.top(table.get_ref());
    }
    reading.entries
}

struct Reading<'a, F> {
    at: &'a F,
    entries: Vec<Entry>,
    problems: &'a Problems,
}

impl<F: Fn(usize) -> Source> Reading<'_, F> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let source = (self.at)(name.span().start);
            let known = SECTIONS.iter().find(|section| section.name == name.get_ref());
            match (value.get_ref(), known) {
                (DeValue::Table(section), Some(_)) => self.leaves(&[name.get_ref()], section),
                (DeValue::Table(topologies), None) if name.get_ref() == TOPOLOGIES => self.topologies(topologies),
                _ => self.problems.add(format!("{source}: {}", no_section(name.get_ref(), known, value.get_ref()))),
            }
        }
    }

    fn topologies(&mut self, topologies: &DeTable<'_>) {
        for (name, value) in topologies {
            let path = [TOPOLOGIES, name.get_ref()];
            let DeValue::Table(topology) = value.get_ref() else {
                let source = (self.at)(name.span().start);
                let text = format!("`{name}` is a topology: write [topologies.{name}]", name = name.get_ref());
                self.problems.add(format!("{source}: {text}"));
                continue;
            };
            // A topology that says nothing but its name is one all the same.
            let source = (self.at)(name.span().start);
            self.entries.push(Entry { path: owned(&path, &[]), raw: Raw::Table(Vec::new()), source });
            self.leaves(&path, topology);
        }
    }

    fn leaves(&mut self, path: &[&str], table: &DeTable<'_>) {
        for (key, value) in table {
            match value.get_ref() {
                // As libcluster has it: what concerns the strategy is one level deeper.
                DeValue::Table(config) if path.len() == 2 && key.get_ref() == CONFIG => {
                    for (key, value) in config {
                        self.leaf(path, key, value);
                    }
                }
                _ => self.leaf(path, key, value),
            }
        }
    }

    fn leaf(&mut self, path: &[&str], key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let source = (self.at)(key.span().start);
        let path = owned(path, &[key.get_ref()]);
        self.entries.push(Entry { path, raw: Raw::of_toml(value.get_ref()), source });
    }
}

fn no_section(name: &str, known: Option<&Section>, value: &DeValue<'_>) -> String {
    if known.is_some() || name == TOPOLOGIES {
        return format!("`{name}` is a section: write [{name}]");
    }
    let home = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name));
    match (home, value) {
        (Some(section), value) if !value.is_table() => format!("`{name}` belongs into the section [{}]", section.name),
        _ => unknown_section(name),
    }
}

pub(super) fn unknown_section(name: &str) -> String {
    let names = SECTIONS.iter().map(|section| section.name).chain([TOPOLOGIES]);
    format!("there is no section `{name}`{}", nearest(name, names))
}

fn owned(path: &[&str], rest: &[&str]) -> Vec<String> {
    path.iter().chain(rest).map(|part| (*part).to_owned()).collect()
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The section of topologies, and where libcluster has the settings of one.
pub(super) const TOPOLOGIES: &str = "topologies";
pub(super) const CONFIG: &str = "config";
/// Where a file is looked for.
const USUAL: &[&str] = &["gusset.toml", "/etc/gusset/gusset.toml"];
/// Many times what anybody writes, and an end to what a wrong path can cost.
const LARGEST: u64 = 1 << 20;
