//! Node names from what is known about a pod.
//!
//! libcluster's three modes are three templates; `{label.X}` and `{annotation.X}` make more of them. The
//! host parts are those that the cluster's DNS gives to pods (a-b-c-d.NAMESPACE.pod.DOMAIN) and to the
//! pods of a headless service (HOST.SERVICE.NAMESPACE.svc.DOMAIN).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::proto::{NodeName, NodeNameError};

/// What a template can ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The part before the `@`, as configured.
    pub basename: Option<&'a str>,
    /// The address of the pod.
    pub ip: Option<IpAddr>,
    /// The host name of the pod (`spec.hostname`, else its own name; of an endpoint its `hostname`).
    pub hostname: Option<&'a str>,
    /// The namespace of the pod.
    pub namespace: Option<&'a str>,
    /// The headless service (`spec.subdomain`, or as configured).
    pub service: Option<&'a str>,
    /// The domain of the cluster; dots at its ends do not count.
    pub domain: Option<&'a str>,
    /// Labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<&'a BTreeMap<String, String>>,
}

/// A pattern for node names: `{basename}@{ip_dashed}.{namespace}.pod.{domain}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate {
    pieces: Vec<Piece>,
}

impl NameTemplate {
    /// libcluster's mode `ip`: `basename@10.0.0.7`.
    pub fn ip() -> Self {
        Self::of([Piece::Fact(Fact::Basename), Piece::text("@"), Piece::Fact(Fact::Ip)])
    }

    /// libcluster's mode `dns`: `basename@10-0-0-7.NAMESPACE.pod.DOMAIN`.
    pub fn dns() -> Self {
        Self::of([
            Piece::Fact(Fact::Basename),
            Piece::text("@"),
            Piece::Fact(Fact::IpDashed),
            Piece::text("."),
            Piece::Fact(Fact::Namespace),
            Piece::text(".pod."),
            Piece::Fact(Fact::Domain),
        ])
    }

    /// libcluster's mode `hostname`: `basename@HOST.SERVICE.NAMESPACE.svc.DOMAIN`.
    pub fn hostname() -> Self {
        Self::of([
            Piece::Fact(Fact::Basename),
            Piece::text("@"),
            Piece::Fact(Fact::Hostname),
            Piece::text("."),
            Piece::Fact(Fact::Service),
            Piece::text("."),
            Piece::Fact(Fact::Namespace),
            Piece::text(".svc."),
            Piece::Fact(Fact::Domain),
        ])
    }

    fn of(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self { pieces: pieces.into_iter().collect() }
    }

    /// Fills the template.
    ///
    /// # Errors
    /// Names the fact that is missing, or what is wrong with the name that comes out.
    pub fn render(&self, facts: &Facts<'_>) -> Result<NodeName, TemplateError> {
        let mut name = String::with_capacity(ROOM_FOR_A_NAME);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Fact(fact) => {
                    let value = fact.of(facts).filter(|value| !value.is_empty());
                    name.push_str(&value.ok_or_else(|| TemplateError::Missing(fact.to_string()))?);
                }
            }
        }
        Ok(NodeName::new(name)?)
    }

    /// The first fact that only a pod itself knows: `label.app`.
    #[cfg(feature = "kubernetes")]
    pub(super) fn asks_pod(&self) -> Option<String> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Fact(fact @ (Fact::Label(_) | Fact::Annotation(_))) => Some(fact.to_string()),
            Piece::Fact(_) | Piece::Text(_) => None,
        })
    }
}

/// Where the distribution port of a pod is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PortRule {
    /// Nowhere: the EPMD of the pod is asked.
    #[default]
    Epmd,
    /// All listen on this one, without EPMD.
    Fixed(u16),
    /// In this annotation of the pod. A pod without it is asked through EPMD.
    Annotation(String),
    /// A container port, or a port of the EndpointSlice or the Endpoints, has this name. A pod without one is asked
    /// through EPMD.
    Named(String),
}

/// A template that cannot be read, or that gives no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// `{...}` asks for something that does not exist.
    #[error(
        "`{{{0}}}` is nothing a name template knows: use basename, ip, ip_dashed, hostname, namespace, service, domain, label.X or annotation.X"
    )]
    Unknown(String),
    /// A brace without its other half.
    #[error("a brace is not closed or not opened in `{0}`")]
    Brace(String),
    /// A fact that this pod does not have.
    #[error("the name template asks for `{{{0}}}`, which is not known here")]
    Missing(String),
    /// What comes out is no node name.
    #[error(transparent)]
    Name(#[from] NodeNameError),
}

impl FromStr for NameTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let brace = || TemplateError::Brace(text.to_owned());
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (fact, behind) = after.split_once('}').ok_or_else(brace)?;
            if before.contains('}') {
                return Err(brace());
            }
            if !before.is_empty() {
                pieces.push(Piece::text(before));
            }
            pieces.push(Piece::Fact(fact.parse()?));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(brace());
        }
        if !rest.is_empty() {
            pieces.push(Piece::text(rest));
        }
        Ok(Self { pieces })
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Fact(fact) => write!(f, "{{{fact}}}"),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Fact(Fact),
}

impl Piece {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    Basename,
    Ip,
    IpDashed,
    Hostname,
    Namespace,
    Service,
    Domain,
    Label(String),
    Annotation(String),
}

impl Fact {
    fn of(&self, facts: &Facts<'_>) -> Option<String> {
        let owned = |value: Option<&str>| value.map(str::to_owned);
        match self {
            Self::Basename => owned(facts.basename),
            Self::Ip => facts.ip.map(|ip| ip.to_string()),
            Self::IpDashed => facts.ip.map(|ip| ip.to_string().replace(['.', ':'], "-")),
            Self::Hostname => owned(facts.hostname),
            Self::Namespace => owned(facts.namespace),
            Self::Service => owned(facts.service),
            Self::Domain => owned(facts.domain.map(|domain| domain.trim_matches('.'))),
            Self::Label(key) => facts.labels.and_then(|labels| labels.get(key)).cloned(),
            Self::Annotation(key) => facts.annotations.and_then(|annotations| annotations.get(key)).cloned(),
        }
    }
}

impl FromStr for Fact {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Ok(match text {
            "basename" => Self::Basename,
            "ip" => Self::Ip,
            "ip_dashed" => Self::IpDashed,
            "hostname" => Self::Hostname,
            "namespace" => Self::Namespace,
            "service" => Self::Service,
            "domain" => Self::Domain,
            _ => match text.split_once('.') {
                Some(("label", key)) if !key.is_empty() => Self::Label(key.to_owned()),
                Some(("annotation", key)) if !key.is_empty() => Self::Annotation(key.to_owned()),
                _ => return Err(TemplateError::Unknown(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basename => f.write_str("basename"),
            Self::Ip => f.write_str("ip"),
            Self::IpDashed => f.write_str("ip_dashed"),
            Self::Hostname => f.write_str("hostname"),
            Self::Namespace => f.write_str("namespace"),
            Self::Service => f.write_str("service"),
            Self::Domain => f.write_str("domain"),
            Self::Label(key) => write!(f, "label.{key}"),
            Self::Annotation(key) => write!(f, "annotation.{key}"),
        }
    }
}

/// Most names of pods fit.
const ROOM_FOR_A_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            basename: Some("myapp"),
            ip: Some(IpAddr::from([10, 0, 0, 7])),
            hostname: Some("web-0"),
            namespace: Some("prod"),
            service: Some("web"),
            domain: Some("cluster.local."),
            ..Facts::default()
        }
    }

    #[test]
    fn the_three_modes_name_pods_as_the_dns_of_a_cluster_does() {
        let name = |template: NameTemplate| template.render(&facts()).unwrap().to_string();
        assert_eq!(name(NameTemplate::ip()), "myapp@10.0.0.7");
        assert_eq!(name(NameTemplate::dns()), "myapp@10-0-0-7.prod.pod.cluster.local");
        assert_eq!(name(NameTemplate::hostname()), "myapp@web-0.web.prod.svc.cluster.local");
    }

    #[test]
    fn ipv6_addresses_are_dashed_too() {
        let facts = Facts { ip: Some("fd00:10::1:2".parse().unwrap()), ..facts() };
        let name = NameTemplate::dns().render(&facts).unwrap();
        assert_eq!(name.as_str(), "myapp@fd00-10--1-2.prod.pod.cluster.local");
        assert_eq!(NameTemplate::ip().render(&facts).unwrap().as_str(), "myapp@fd00:10::1:2");
    }

    #[test]
    fn templates_are_read_as_they_are_printed() {
        for text in [
            "{basename}@{ip}",
            "{basename}@{ip_dashed}.{namespace}.pod.{domain}",
            "{label.app.kubernetes.io/name}-{annotation.a/b}@{hostname}.{service}.x",
            "fixed@name",
        ] {
            assert_eq!(text.parse::<NameTemplate>().unwrap().to_string(), text);
        }
        assert_eq!("{basename}@{ip}".parse::<NameTemplate>().unwrap(), NameTemplate::ip());
        for text in ["{basename", "basename}", "{nope}@x", "{label.}@x", "a}{ip}"] {
            assert!(text.parse::<NameTemplate>().is_err(), "{text}");
        }
    }

    #[test]
    fn labels_become_names_and_what_is_missing_is_named() {
        let template: NameTemplate = "{label.app}@{ip}".parse().unwrap();
        let labels = BTreeMap::from([("app".to_owned(), "cart".to_owned())]);
        let known = Facts { labels: Some(&labels), ..facts() };
        assert_eq!(template.render(&known).unwrap().as_str(), "cart@10.0.0.7");
        assert_eq!(template.render(&facts()), Err(TemplateError::Missing("label.app".to_owned())));
    }
}
