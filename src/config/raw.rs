//! A value as it was given, before anybody knows what it is to be.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// A value of the file with its type, or a word of the environment or the command line, which has none.
#[derive(Clone, PartialEq)]
pub(crate) enum Raw {
    /// From a variable or an option: it may be meant as anything.
    Word(String),
    Text(String),
    /// As it is written.
    Number(String),
    Flag(bool),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
    /// A date, or something nested deeper than any key wants: its name.
    Other(&'static str),
}

impl Raw {
    pub(super) fn of_toml(value: &DeValue<'_>) -> Self {
        Self::nested(value, DEEPEST)
    }

    fn nested(value: &DeValue<'_>, left: usize) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Self::Number(number.to_string()),
                Err(_) => Self::Other("a number that is too large"),
            },
            DeValue::Float(number) => Self::Number(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Array(_) | DeValue::Table(_) if left == 0 => Self::Other("something nested"),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::nested(item.get_ref(), left - 1)).collect())
            }
            DeValue::Table(table) => Self::Table(entries(table, left - 1)),
        }
    }

    /// The items of a list: an array, one item alone, or a word with commas (or an array of TOML) in it.
    pub(super) fn items(&self, separator: char) -> Result<Vec<Raw>, String> {
        match self {
            Self::List(items) => {
                let mut all = Vec::new();
                for item in items {
                    match item {
                        Self::Word(_) => all.extend(item.items(separator)?),
                        item => all.push(item.clone()),
                    }
                }
                Ok(all)
            }
            Self::Word(text) if text.trim_start().starts_with('[') => {
                let value = DeValue::parse(text.trim()).map_err(|error| error.message().to_owned())?;
                match Self::of_toml(value.get_ref()) {
                    Self::List(items) => Ok(items),
                    other => Err(format!("a list is wanted, not {}", other.kind())),
                }
            }
            Self::Word(text) => {
                let items = text.split(separator).map(str::trim).filter(|item| !item.is_empty());
                Ok(items.map(|item| Self::Word(item.to_owned())).collect())
            }
            Self::Text(_) | Self::Number(_) | Self::Table(_) => Ok(vec![self.clone()]),
            Self::Flag(_) | Self::Other(_) => Err(format!("a list is wanted, not {}", self.kind())),
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Word(_) | Self::Text(_) => "text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

fn entries(table: &DeTable<'_>, left: usize) -> Vec<(String, Raw)> {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), Raw::nested(value.get_ref(), left))).collect()
}

/// It may be a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// A list of tables of texts is the most that any key wants.
const DEEPEST: usize = 3;
