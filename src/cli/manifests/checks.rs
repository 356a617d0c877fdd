//! What may stand in a manifest: names, labels, images, as the API server would take them.

use super::{Labels, SecretKey};
use crate::proto::NodeName;

/// A name that can be a part of a host name (RFC 1123): of a namespace, a Deployment.
pub(super) fn label_name(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte != b'-');
    let good = text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().last());
    if good && text.len() <= LONGEST_LABEL {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "it has to be of a-z, 0-9 and -, begin and end with none of the last, and have at most {LONGEST_LABEL}"
        ))
    }
}

/// The name of a Service begins with a letter (RFC 1035).
pub(super) fn service(text: &str) -> Result<String, String> {
    match text.bytes().next() {
        Some(first) if first.is_ascii_digit() => Err("it has to begin with a letter".to_owned()),
        _ => label_name(text),
    }
}

/// Such names with dots between.
pub(super) fn domain(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_DOMAIN {
        return Err(format!("it has to have at most {LONGEST_DOMAIN} characters"));
    }
    text.split('.').try_for_each(|part| label_name(part).map(drop))?;
    Ok(text.to_owned())
}

/// What stands before the `@` of a node's name.
pub(super) fn basename(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("it is the part of the names before the `@`".to_owned());
    }
    NodeName::new(format!("{text}@host.domain")).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

pub(super) fn image(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err("it has to be of printable characters, without spaces".to_owned()) }
}

/// `NAME` or `NAME:KEY`.
pub(super) fn secret(text: &str) -> Result<SecretKey, String> {
    let (name, key) = text.split_once(':').unwrap_or((text, DEFAULT_KEY));
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if key.is_empty() || key.len() > LONGEST_DOMAIN || !key.bytes().all(known) {
        return Err(format!("the key `{key}` has to be of letters, digits, -, _ and ."));
    }
    Ok(SecretKey { secret: domain(name)?, key: key.to_owned() })
}

/// `KEY=VALUE,…`: what a Service can select by, and what a pod can have.
pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .filter(|(key, _)| !key.ends_with('!'))
            .ok_or_else(|| format!("`{part}` is not KEY=VALUE; a Service selects by nothing else"))?;
        let (key, value) = (key.trim(), value.trim_start_matches('=').trim());
        let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
        if let Some(prefix) = prefix {
            domain(prefix).map_err(|error| format!("`{prefix}` of `{key}`: {error}"))?;
        }
        if name.is_empty() || !label_text(name) {
            return Err(format!("`{key}` is no name of a label"));
        }
        if !label_text(value) {
            return Err(format!("`{value}` is no value of a label"));
        }
        if labels.insert(key.to_owned(), value.to_owned()).is_some_and(|other| other != value) {
            return Err(format!("no pod has two values of `{key}`"));
        }
    }
    Ok(labels)
}

/// Letters and digits, and between them `-`, `_` and `.`; may be empty.
fn label_text(text: &str) -> bool {
    let outer = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= LONGEST_LABEL && text.bytes().all(inner) && outer(text.bytes().next()) && outer(text.bytes().last())
}

pub(super) const DEFAULT_KEY: &str = "cookie";
/// RFC 1035, and Kubernetes for labels.
const LONGEST_LABEL: usize = 63;
/// Kubernetes for names that are domains, and for keys of Secrets.
const LONGEST_DOMAIN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_would_refuse_is_refused_here() {
        for bad in ["", "Web", "-web", "web-", "we_b", "web.x", &"x".repeat(64)] {
            assert!(label_name(bad).is_err(), "{bad}");
        }
        for bad in ["", "a..b", "a.b.", "A.b"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
        for bad in ["", "app", "app!=web", "app in (a,b)", "a=b,a=c", "=b", "a=b c", "a=-b", "UP/a=b", "a=b,"] {
            assert!(labels(bad).is_err(), "{bad}");
        }
        for bad in ["", ":key", "name:", "name:a b", "Name"] {
            assert!(secret(bad).is_err(), "{bad}");
        }
        for bad in ["", "a@b", "a b"] {
            assert!(basename(bad).is_err(), "{bad}");
        }
        assert!(service("1st").is_err() && label_name("1st").is_ok() && image("a b").is_err());
    }

    #[test]
    fn labels_are_read_as_kubectl_reads_them() {
        let both = labels("app.kubernetes.io/name=shop,tier==web").unwrap();
        let both: Vec<_> = both.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(both, [("app.kubernetes.io/name", "shop"), ("tier", "web")]);
        assert_eq!(labels("app=").unwrap()["app"], "");
    }
}
