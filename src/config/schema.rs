//! What can be configured, as data: sections, strategies, and their keys.

use super::sections::SECTIONS;
use super::topology::STRATEGIES;

/// A key: its name in the file, where else it can be set, and what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// What stands for the value in a help text.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    pub(crate) default: Option<&'static str>,
    /// A value for the example file where there is no default.
    pub(crate) example: &'static str,
    /// Variables that people know, the first that is set counts; `GUSSET__SECTION__KEY` is there always.
    pub(crate) variables: &'static [&'static str],
    /// The option of the command line, without its dashes.
    pub(crate) option: Option<&'static str>,
    /// Where no topology is asked for, the option (which a strategy cannot do without) asks for one.
    pub(super) brings: bool,
    /// Names that libcluster has for it, and what is put behind a value that is given so.
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// The words that it can be, with their meaning; none where there are more.
    pub(crate) choices: &'static [(&'static str, &'static str)],
    /// Keys that say the same in another way: one of them counts.
    pub(super) rivals: &'static [&'static str],
    /// Never shown.
    pub(super) secret: bool,
}

/// How a value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Number,
    Flag,
    List,
}

/// A section of the file with a fixed name.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// The heading of its options.
    pub(super) heading: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
}

/// What a `[topologies.NAME]` can be.
#[derive(Debug)]
pub(super) struct StrategyKind {
    /// The word in `strategy = "…"` and `--discover …`.
    pub(super) name: &'static str,
    pub(super) heading: &'static str,
    pub(super) about: &'static str,
    /// Groups of keys, some of which several strategies share.
    pub(super) keys: &'static [&'static [Key]],
    /// Other names for it, and the defaults that come with them.
    pub(super) names: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    /// Keys of libcluster that have no meaning here.
    pub(super) foreign: &'static [(&'static str, Fate)],
}

/// What becomes of a key that has no meaning here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It does no harm: taken with a note.
    Ignored(&'static str),
    /// Whoever gives it wants something else than what would happen.
    Refused(&'static str),
}

impl Key {
    const fn new(name: &'static str, form: Form, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            form,
            value,
            help,
            default: None,
            example: "",
            variables: &[],
            option: None,
            brings: false,
            aliases: &[],
            choices: &[],
            rivals: &[],
            secret: false,
        }
    }

    pub(super) const fn text(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self::new(name, Form::Text, value, help)
    }

    pub(super) const fn number(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self::new(name, Form::Number, value, help)
    }

    pub(super) const fn flag(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Form::Flag, "true|false", help).default("false")
    }

    pub(super) const fn list(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self::new(name, Form::List, value, help)
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = value;
        self
    }

    pub(super) const fn variables(mut self, names: &'static [&'static str]) -> Self {
        self.variables = names;
        self
    }

    pub(super) const fn option(mut self, name: &'static str) -> Self {
        self.option = Some(name);
        self
    }

    pub(super) const fn brings(mut self) -> Self {
        self.brings = true;
        self
    }

    pub(super) const fn aliases(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.aliases = names;
        self
    }

    pub(super) const fn choices(mut self, choices: &'static [(&'static str, &'static str)]) -> Self {
        self.choices = choices;
        self
    }

    pub(super) const fn rivals(mut self, names: &'static [&'static str]) -> Self {
        self.rivals = names;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// What this name of it adds to a value; `None` if it is no name of it.
    pub(super) fn answers_to(&self, name: &str) -> Option<&'static str> {
        if self.name == name {
            return Some("");
        }
        self.aliases.iter().find(|(alias, _)| *alias == name).map(|(_, suffix)| *suffix)
    }
}

impl StrategyKind {
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().flat_map(|group| group.iter())
    }

    /// The strategy with this name, and the defaults that the name brings: ours, or one of libcluster's, with or
    /// without its `Elixir.` and `Cluster.Strategy.`.
    pub(super) fn named(name: &str) -> Option<(&'static Self, Option<Preset>)> {
        if let Some(kind) = STRATEGIES.iter().find(|kind| kind.name == name) {
            return Some((kind, None));
        }
        let rest = name.strip_prefix("Elixir.").unwrap_or(name);
        let rest = rest.strip_prefix("Cluster.Strategy.").unwrap_or(rest);
        let presets = |kind: &'static Self| {
            kind.names.iter().find(|(name, _)| *name == rest).map(|(name, values)| Preset { name, values })
        };
        STRATEGIES.iter().find_map(|kind| presets(kind).map(|preset| (kind, Some(preset))))
    }
}

/// The defaults of libcluster for one of its strategies, where they are not ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) values: &'static [(&'static str, &'static str)],
}

/// Every option of the command line once, with the heading that it stands under.
pub(crate) fn options() -> Vec<(&'static str, &'static Key)> {
    let sections = SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section.heading, key)));
    let kinds = STRATEGIES.iter().flat_map(|kind| kind.keys().map(move |key| (kind.heading, key)));
    let mut options: Vec<(&'static str, &'static Key)> = Vec::new();
    for (heading, key) in sections.chain(kinds) {
        if key.option.is_some() && !options.iter().any(|(_, known)| known.option == key.option) {
            options.push((heading, key));
        }
    }
    options
}
