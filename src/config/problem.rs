//! What is wrong with the configuration, all of it; and what is only worth a note.

use std::cell::RefCell;

use super::source::Source;

/// Collects what is wrong while the configuration is read, so that it can be told all at once.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    wrong: RefCell<Vec<String>>,
    notes: RefCell<Vec<String>>,
}

impl Problems {
    /// Something at a place: `gusset.toml:7: topologies.main.mode: …`. What comes from an option or a variable that
    /// people know is told by that name alone.
    pub(crate) fn at(&self, source: &Source, key: &str, text: &str) {
        self.add(match source {
            Source::Default => format!("{key}: {text}"),
            Source::Variable(name) if !name.starts_with(super::environment::PREFIX) => format!("{source}: {text}"),
            Source::Option(_) => format!("{source}: {text}"),
            _ => format!("{source}: {key}: {text}"),
        });
    }

    /// Something as a whole.
    pub(crate) fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut wrong = self.wrong.borrow_mut();
        if !wrong.contains(&text) {
            wrong.push(text);
        }
    }

    /// Something that works, and is worth a word.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wrong.borrow().is_empty()
    }

    /// What is wrong, in the order in which it was found, and the notes.
    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.wrong.into_inner(), self.notes.into_inner())
    }
}
