//! Which name the node gets.

use super::Failure;
use crate::config::{Distribution, NameSettings};
use crate::discovery;
use crate::proto::NodeName;

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

/// The name that is configured: given, that of a release, made for a pod, or by the host.
pub(crate) fn own_name(settings: &NameSettings) -> Result<NodeName, Failure> {
    if let Some(name) = &settings.name {
        return resolve(&Wish::Long(name.clone()));
    }
    if let Some(name) = &settings.sname {
        return resolve(&Wish::Short(name.clone()));
    }
    if let Some((Distribution::None, source)) = &settings.distribution {
        return Err(Failure::configuration(format!("{source}=none asks for a node that nobody can reach"))
            .advise("set it to name or sname, or name the node with --name or --sname"));
    }
    if let Some(name) = &settings.release_node {
        return resolve(&wish(settings, name));
    }
    if settings.pod_ip.is_none() && !settings.among_pods {
        return name_of_host(settings);
    }
    let naming = &settings.naming;
    let look_up = |variable: &str| match variable {
        "POD_IP" => settings.pod_ip.map(|ip| ip.to_string()),
        "NAMESPACE" => naming.namespace.clone().or_else(service_account_namespace),
        "POD_NAME" => settings.hostname.clone(),
        "SERVICE_NAME" => naming.service.clone(),
        "CLUSTER_DOMAIN" => Some(naming.domain.clone()),
        _ => None,
    };
    let own = discovery::own_name(&naming.template, Some(&naming.basename), look_up).map_err(|error| {
        Failure::configuration(error.to_string())
            .advise("outside of a pod, give a name by which pods can reach this node: --name myapp@10.0.0.7")
    })?;
    Ok(own.name)
}

/// The name that a node gets which has no other: by the host.
pub(crate) fn name_of_host(settings: &NameSettings) -> Result<NodeName, Failure> {
    resolve(&wish(settings, &settings.naming.basename))
}

fn wish(settings: &NameSettings, name: &str) -> Wish {
    match settings.distribution {
        Some((Distribution::Name, _)) => Wish::Long(name.to_owned()),
        Some((Distribution::Sname, _)) => Wish::Short(name.to_owned()),
        _ => Wish::Default(name.to_owned()),
    }
}

/// The namespace of the pod, as Kubernetes mounts it with the token.
fn service_account_namespace() -> Option<String> {
    std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()
}

/// The full name.
fn resolve(wish: &Wish) -> Result<NodeName, Failure> {
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
