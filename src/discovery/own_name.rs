//! What a node that runs in a pod is called: from the variables that mix releases and Kubernetes
//! deployments set.

use super::template::{Facts, NameTemplate, TemplateError};
use crate::proto::{NodeName, NodeNameError};

/// A name and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnName {
    /// The name.
    pub name: NodeName,
    /// The variables that made it, for people.
    pub source: String,
}

/// Finds out what this node is called.
///
/// `RELEASE_NODE` wins when it is a full name. Else `template` is filled from `basename` (or `RELEASE_NAME`,
/// or a `RELEASE_NODE` without a host) and the variables of the Downward API; the first name of each list
/// is the usual one. `variable` looks one up; it is `std::env::var` outside of tests.
///
/// # Errors
/// Says which variable to set, and how.
pub fn own_name(
    template: &NameTemplate,
    basename: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<OwnName, OwnNameError> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some((*name, value))
        })
    };
    let release_node = first(&[RELEASE_NODE]).map(|(_, value)| value);
    if let Some(node) = release_node.as_deref().filter(|node| node.contains('@')) {
        let name = NodeName::new(node).map_err(OwnNameError::ReleaseNode)?;
        return Ok(OwnName { name, source: RELEASE_NODE.to_owned() });
    }

    let mut sources = Vec::new();
    let mut fact = |names: &[&'static str]| {
        first(names).map(|(name, value)| {
            sources.push(name);
            value
        })
    };
    let basename = match basename {
        Some(basename) => Some(basename.to_owned()),
        None => fact(BASENAME).or(release_node),
    };
    let ip = match fact(POD_IP) {
        Some(ip) => Some(ip.parse().map_err(|_| OwnNameError::Address(ip))?),
        None => None,
    };
    let namespace = fact(NAMESPACE);
    let hostname = fact(HOSTNAME);
    let service = fact(SERVICE);
    let domain = fact(DOMAIN).unwrap_or_else(|| DEFAULT_CLUSTER_DOMAIN.to_owned());
    let facts = Facts {
        basename: basename.as_deref(),
        ip,
        hostname: hostname.as_deref(),
        namespace: namespace.as_deref(),
        service: service.as_deref(),
        domain: Some(&domain),
        ..Facts::default()
    };
    match template.render(&facts) {
        Ok(name) => Ok(OwnName { name, source: sources.join(", ") }),
        Err(TemplateError::Missing(fact)) => {
            let template = template.to_string();
            Err(OwnNameError::Missing { fix: fix(&fact).to_owned(), fact, template })
        }
        Err(error) => Err(OwnNameError::Template(error)),
    }
}

/// No name could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnNameError {
    /// `RELEASE_NODE` is set to something that is no name.
    #[error("RELEASE_NODE: {0}")]
    ReleaseNode(#[source] NodeNameError),
    /// The address of the pod is none.
    #[error("POD_IP is `{0}`, which is no IP address: set it from the field status.podIP of the pod")]
    Address(String),
    /// A part of the name is not known.
    #[error("this node's own name `{template}` needs `{fact}`: {fix}; or set RELEASE_NODE to the full name")]
    Missing {
        /// The template.
        template: String,
        /// The part that is missing.
        fact: String,
        /// What to set.
        fix: String,
    },
    /// What came out is no name.
    #[error(transparent)]
    Template(TemplateError),
}

fn fix(fact: &str) -> &'static str {
    match fact {
        "basename" => "give a basename (the part before the `@`), or set RELEASE_NAME",
        "ip" | "ip_dashed" => "set POD_IP in the pod's env (valueFrom: {fieldRef: {fieldPath: status.podIP}})",
        "namespace" => "set NAMESPACE in the pod's env (valueFrom: {fieldRef: {fieldPath: metadata.namespace}})",
        "hostname" => "set POD_NAME in the pod's env (valueFrom: {fieldRef: {fieldPath: metadata.name}})",
        "service" => "set SERVICE_NAME to the name of the headless service",
        _ => "it is only known for other pods",
    }
}

/// The domain of a cluster that nobody renamed.
pub const DEFAULT_CLUSTER_DOMAIN: &str = "cluster.local";

const RELEASE_NODE: &str = "RELEASE_NODE";
const BASENAME: &[&str] = &["RELEASE_NAME"];
const POD_IP: &[&str] = &["POD_IP", "MY_POD_IP"];
const NAMESPACE: &[&str] = &["NAMESPACE", "POD_NAMESPACE", "MY_POD_NAMESPACE", "KUBERNETES_NAMESPACE"];
const HOSTNAME: &[&str] = &["POD_NAME", "MY_POD_NAME", "HOSTNAME"];
const SERVICE: &[&str] = &["SERVICE_NAME", "HEADLESS_SERVICE"];
const DOMAIN: &[&str] = &["CLUSTER_DOMAIN"];

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: NameTemplate, basename: Option<&str>, env: &[(&str, &str)]) -> Result<String, String> {
        own_name(&template, basename, |key| {
            env.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        })
        .map(|own| own.name.to_string())
        .map_err(|error| error.to_string())
    }

    #[test]
    fn release_node_wins_over_everything() {
        let env = [("RELEASE_NODE", "a@b.c"), ("POD_IP", "10.0.0.7"), ("NAMESPACE", "prod")];
        assert_eq!(named(NameTemplate::dns(), Some("x"), &env).unwrap(), "a@b.c");
        let error = named(NameTemplate::dns(), Some("x"), &[("RELEASE_NODE", "a@")]).unwrap_err();
        assert!(error.contains("RELEASE_NODE"), "{error}");
    }

    #[test]
    fn a_pod_is_named_from_its_address_and_namespace() {
        let mut env = vec![("POD_IP", "10.0.0.7"), ("NAMESPACE", "prod")];
        assert_eq!(named(NameTemplate::dns(), Some("x"), &env).unwrap(), "x@10-0-0-7.prod.pod.cluster.local");
        env.push(("CLUSTER_DOMAIN", "k8s.example.org."));
        assert_eq!(named(NameTemplate::dns(), Some("x"), &env).unwrap(), "x@10-0-0-7.prod.pod.k8s.example.org");
        assert_eq!(named(NameTemplate::ip(), Some("x"), &env).unwrap(), "x@10.0.0.7");
    }

    #[test]
    fn the_other_names_of_the_variables_count_too() {
        let env = [("MY_POD_IP", "fd00::1"), ("POD_NAMESPACE", "n"), ("RELEASE_NAME", "rel"), ("POD_NAME", "w-0")];
        assert_eq!(named(NameTemplate::dns(), None, &env).unwrap(), "rel@fd00--1.n.pod.cluster.local");
        let error = named(NameTemplate::hostname(), None, &env).unwrap_err();
        assert!(error.contains("SERVICE_NAME"), "{error}");
        let env = [("RELEASE_NODE", "short"), ("POD_IP", "10.0.0.7")];
        assert_eq!(named(NameTemplate::ip(), None, &env).unwrap(), "short@10.0.0.7");
    }

    #[test]
    fn what_is_missing_is_said_with_the_lines_to_set_it() {
        for (env, says) in [
            (&[][..], "basename"),
            (&[("RELEASE_NAME", "x")], "status.podIP"),
            (&[("RELEASE_NAME", "x"), ("POD_IP", "10.0.0.7"), ("NAMESPACE", " ")], "metadata.namespace"),
            (&[("RELEASE_NAME", "x"), ("POD_IP", "ten")], "no IP address"),
        ] {
            let error = named(NameTemplate::dns(), None, env).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
