//! The settled configuration for people and for machines: every key, its value, where it came from.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::raw::Raw;
use super::reader::Values;
use super::schema::{Form, Key};
use super::sections::SECTIONS;
use super::settings::Settings;
use crate::ops::doctor::cookie_hash;
use crate::proto::Cookie;

/// A key, and what became of it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The section that it is in: `node`, `topologies.main`.
    pub(crate) section: String,
    pub(crate) key: &'static str,
    /// As it would stand in the file; a secret as a hash. `None` where there is none.
    pub(crate) value: Option<String>,
    pub(crate) json: Value,
    /// Empty where there is no value.
    pub(crate) source: String,
}

/// Every key of the sections and of the topologies in use.
pub(crate) fn shown(settings: &Settings) -> Vec<Shown> {
    let resolved = &settings.resolved;
    let mut all = Vec::new();
    for section in SECTIONS {
        let values = resolved.sections.iter().find(|(name, _)| *name == section.name);
        all.extend(values.into_iter().flat_map(|(_, values)| section.keys.iter().map(move |key| one(values, key))));
    }
    for (_, kind, values) in &resolved.topologies {
        all.push(Shown {
            section: values.path().to_owned(),
            key: "strategy",
            value: Some(format!("{:?}", kind.name)),
            json: json!(kind.name),
            source: String::new(),
        });
        all.extend(kind.keys().map(|key| one(values, key)));
    }
    all
}

fn one(values: &Values, key: &Key) -> Shown {
    let given = values.get(key.name);
    let (value, json) = match given {
        None => (None, Value::Null),
        Some(given) if key.secret => {
            let hash = hash(key, &given.raw);
            (Some(format!("\"sha256:{hash}…\"")), json!({ "sha256": hash }))
        }
        Some(given) => {
            let value = as_json(&given.raw, key.form);
            (Some(as_toml(&value)), value)
        }
    };
    let source = given.map(|given| given.source.to_string()).unwrap_or_default();
    Shown { section: values.path().to_owned(), key: key.name, value, json, source }
}

/// The first digits of a hash of a secret, to compare it with another one: of a cookie those that a doctor shows. (The
/// hash of a gossip's secret is the key that it encrypts with, so that one is hashed once more.)
fn hash(key: &Key, raw: &Raw) -> String {
    let (Raw::Word(text) | Raw::Text(text)) = raw else { return String::new() };
    if let (COOKIE, Ok(cookie)) = (key.name, Cookie::new(text)) {
        return cookie_hash(&cookie);
    }
    Sha256::digest(Sha256::digest(text.as_bytes())).iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn as_json(raw: &Raw, form: Form) -> Value {
    match (raw, form) {
        (raw, Form::List) => match raw.items(',') {
            Ok(items) => Value::Array(items.iter().map(|item| as_json(item, Form::Text)).collect()),
            Err(_) => Value::Null,
        },
        (Raw::Word(text), Form::Number) | (Raw::Number(text), _) => {
            serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or_else(|| json!(text))
        }
        (Raw::Word(text), Form::Flag) => json!(text == "true"),
        (Raw::Word(text) | Raw::Text(text), _) => json!(text),
        (Raw::Flag(flag), _) => json!(flag),
        (Raw::List(items), _) => Value::Array(items.iter().map(|item| as_json(item, Form::Text)).collect()),
        (Raw::Table(fields), _) => {
            Value::Object(fields.iter().map(|(name, raw)| (name.clone(), as_json(raw, Form::Text))).collect())
        }
        (Raw::Other(_), _) => Value::Null,
    }
}

/// Written as in the file. Texts of JSON are texts of TOML.
pub(super) fn as_toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(as_toml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} = {}", as_toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

const COOKIE: &str = "cookie";
/// As many as of a cookie.
const HASH_BYTES: usize = 4;
