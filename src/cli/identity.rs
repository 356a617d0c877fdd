//! Which name the node gets.

use crate::proto::NodeName;

use super::Failure;

/// How a name given by the user is to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// `-name`: the host part has a dot, or is an address.
    Long(String),
    /// `-sname`: the host part has none.
    Short(String),
    /// None given.
    Default(String),
}

/// The full name.
pub(crate) fn resolve(wish: &Wish) -> Result<NodeName, Failure> {
    let host = host_name()?;
    complete(wish, &host)
}

/// The host name without its domain, as BEAM nodes with short names use it.
pub(crate) fn short_host() -> Result<String, Failure> {
    let host = host_name()?;
    Ok(host.split('.').next().unwrap_or(&host).to_owned())
}

fn host_name() -> Result<String, Failure> {
    let host = hostname::get().map_err(|error| Failure::configuration(format!("this host has no name: {error}")))?;
    host.into_string().map_err(|_| Failure::configuration("the name of this host is not text"))
}

fn complete(wish: &Wish, host: &str) -> Result<NodeName, Failure> {
    let short = host.split('.').next().unwrap_or(host);
    let (name, host_part) = match wish {
        Wish::Long(name) if name.contains('@') => (name.clone(), None),
        Wish::Long(name) if host.contains('.') => (name.clone(), Some(host)),
        Wish::Long(name) => {
            return Err(Failure::configuration(format!(
                "`{name}` cannot be a long name: the host name `{host}` has no dot"
            ))
            .advise(format!("give the host part too ({name}@127.0.0.1), or use a short name (--sname {name})")));
        }
        Wish::Short(name) | Wish::Default(name) if name.contains('@') => (name.clone(), None),
        Wish::Short(name) | Wish::Default(name) => (name.clone(), Some(short)),
    };
    let full = match host_part {
        Some(host) => format!("{name}@{host}"),
        None => name,
    };
    let full = NodeName::new(full).map_err(|error| Failure::configuration(error.to_string()))?;
    match wish {
        Wish::Long(_) if !full.is_long() => Err(Failure::configuration(format!(
            "`{full}` is no long name: the host part of a long name has a dot or is an address"
        ))
        .advise("use --sname for short names; nodes with long and with short names cannot form a cluster")),
        Wish::Short(_) if full.is_long() => {
            Err(Failure::configuration(format!("`{full}` is no short name: the host part of a short name has no dot"))
                .advise("use --name for long names; nodes with long and with short names cannot form a cluster"))
        }
        _ => Ok(full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_erl_completes_them() {
        let name = |wish, host| complete(&wish, host).map(|name| name.to_string()).map_err(|error| error.to_string());
        assert_eq!(name(Wish::Short("a".into()), "h.dom.x").unwrap(), "a@h");
        assert_eq!(name(Wish::Long("a".into()), "h.dom.x").unwrap(), "a@h.dom.x");
        assert_eq!(name(Wish::Long("a@127.0.0.1".into()), "h").unwrap(), "a@127.0.0.1");
        assert_eq!(name(Wish::Default("gusset".into()), "h.dom.x").unwrap(), "gusset@h");
        assert!(name(Wish::Long("a".into()), "h").unwrap_err().contains("no dot"));
        assert!(name(Wish::Long("a@h".into()), "h").is_err());
        assert!(name(Wish::Short("a@h.x".into()), "h").is_err());
    }
}
