//! Where a value came from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from, as a person would look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody gave it.
    Default,
    /// The strategy was given by the name that libcluster has for it, and this is libcluster's default.
    Preset(&'static str),
    /// A line of the configuration file.
    File { path: Arc<Path>, line: usize },
    /// An environment variable.
    Variable(String),
    /// An option of the command line, without its dashes.
    Option(&'static str),
}

impl Source {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(strategy) => write!(f, "default of libcluster's {strategy}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Option(name) => write!(f, "--{name}"),
        }
    }
}
