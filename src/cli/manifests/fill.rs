//! The files of the kustomizations, and what is put in for what they call their things.

use serde_json::{Value, json};

use super::{Labels, Lookup, ManifestsArgs, Mode, SecretKey, checks, patch};
use crate::cli::{Failure, home};
use crate::discovery::DEFAULT_CLUSTER_DOMAIN;

const RBAC: &str = include_str!("../../../interop/kubernetes/base/rbac.yaml");
const SERVICE: &str = include_str!("../../../interop/kubernetes/base/service.yaml");
const DEPLOYMENT: &str = include_str!("../../../interop/kubernetes/gusset/deployment.yaml");
const NETWORK_POLICY: &str = include_str!("../../../interop/kubernetes/gusset/networkpolicy.yaml");
const PODS_ROLE: &str = include_str!("../../../interop/kubernetes/pods/role.yaml");
const ENDPOINTS_ROLE: &str = include_str!("../../../interop/kubernetes/endpoints/role.yaml");
const HTTP_DEPLOYMENT: &str = include_str!("../../../interop/kubernetes/http/deployment.yaml");
const HTTP_NETWORK_POLICY: &str = include_str!("../../../interop/kubernetes/http/networkpolicy.yaml");

/// An object, and what its file says about it.
pub(super) struct Document {
    pub(super) comment: String,
    pub(super) object: Value,
}

impl Document {
    pub(super) fn kind(&self) -> &str {
        self.object.get("kind").and_then(Value::as_str).unwrap_or_default()
    }
}

/// What is asked for, with defaults that follow from one another.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) namespace: Option<String>,
    name: String,
    image: String,
    replicas: u16,
    basename: String,
    pub(super) labels: Labels,
    labelled: bool,
    mode: Mode,
    domain: String,
    lookup: Lookup,
    service: String,
    cookie: SecretKey,
    secret: bool,
    dist_port: u16,
    http: Option<u16>,
}

impl Facts {
    pub(super) fn of(args: &ManifestsArgs) -> Result<Self, Failure> {
        // What names of objects cannot have, names of nodes may.
        let stem = args.basename.to_ascii_lowercase().replace('_', "-");
        let derived = |option: &str, name: String| {
            checks::service(&name).map_err(|_| {
                Failure::configuration(format!("--basename {}: `{name}` is no name of an object", args.basename))
                    .advise(format!("give one with {option}"))
            })
        };
        let service = match &args.service {
            Some(service) => service.clone(),
            None => derived("--service", format!("{stem}-cluster"))?,
        };
        let cookie = match &args.cookie_secret {
            Some(cookie) => cookie.clone(),
            None => SecretKey {
                secret: derived("--cookie-secret", format!("{stem}-cookie"))?,
                key: checks::DEFAULT_KEY.to_owned(),
            },
        };
        let labels = match &args.selector {
            Some(labels) => labels.clone(),
            None => checks::labels(&format!("{LABEL}={}", args.basename)).map_err(|error| {
                Failure::configuration(format!("--basename {}: {error}", args.basename))
                    .advise("give the labels of the pods with --selector")
            })?,
        };
        let labelled = args.selector.is_none() || args.findable;
        if args.sidecar.is_none() && labelled && labels.contains_key(OWN_LABEL) {
            return Err(Failure::configuration(format!(
                "--findable: gusset's own pods have the label {OWN_LABEL} already"
            ))
            .advise("give the pods of both a label of its own, such as beam-cluster=NAME, and select by that"));
        }
        Ok(Self {
            namespace: args.namespace.clone(),
            name: args.name.clone(),
            image: args.image.clone().unwrap_or_else(|| IMAGE.to_owned()),
            replicas: args.replicas,
            basename: args.basename.clone(),
            labels,
            labelled,
            mode: args.mode,
            domain: args.cluster_domain.clone(),
            lookup: args.lookup,
            service,
            cookie,
            secret: args.secret,
            dist_port: args.dist_port,
            http: args.http,
        })
    }

    fn selector(&self) -> String {
        self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    /// What is put in for a text of the files.
    fn text(&self, text: &str) -> Option<String> {
        Some(match text {
            "gusset" => self.name.clone(),
            IMAGE => self.image.clone(),
            "myapp-cluster" => self.service.clone(),
            "myapp-cookie" => self.cookie.secret.clone(),
            "--basename=myapp" => format!("--basename={}", self.basename),
            "--kubernetes-service=myapp-cluster" => match self.lookup {
                Lookup::Pods => format!("--kubernetes-selector={}", self.selector()),
                Lookup::Slices | Lookup::Endpoints => format!("--kubernetes-service={}", self.service),
            },
            "9100" => self.dist_port.to_string(),
            "9101" => self.sidecar_port().to_string(),
            ":9569" => format!(":{}", self.http?),
            _ => return None,
        })
    }

    fn number(&self, number: u64) -> Option<u16> {
        match number {
            9100 => Some(self.dist_port),
            9101 => Some(self.sidecar_port()),
            9569 => self.http,
            _ => None,
        }
    }

    fn sidecar_port(&self) -> u16 {
        self.dist_port.saturating_add(1)
    }

    /// Puts in everything, however deep it is.
    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(filled) = self.text(text) {
                    *text = filled;
                }
            }
            Value::Number(number) => {
                if let Some(filled) = number.as_u64().and_then(|number| self.number(number)) {
                    *value = filled.into();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Object(map) => {
                let labelled = map.remove(LABEL).is_some();
                map.iter_mut().for_each(|(_, item)| self.fill(item));
                if let Some(reference) = map.get_mut("secretKeyRef") {
                    reference["key"] = json!(self.cookie.key);
                }
                if labelled {
                    map.extend(self.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Puts in everything, and the namespace.
    pub(super) fn finish(&self, document: &mut Document) {
        self.fill(&mut document.object);
        let Some(namespace) = &self.namespace else { return };
        document.object["metadata"]["namespace"] = json!(namespace);
        if let Some(subjects) = document.object.get_mut("subjects").and_then(Value::as_array_mut) {
            subjects.iter_mut().for_each(|subject| subject["namespace"] = json!(namespace));
        }
    }

    /// What the command line has and the files have not.
    pub(super) fn add_options(&self, container: &mut Value) -> Option<()> {
        let args = container.get_mut("args")?.as_array_mut()?;
        match self.lookup {
            Lookup::Slices => {}
            Lookup::Pods => args.push(json!("--kubernetes-lookup=pods")),
            Lookup::Endpoints => args.push(json!("--kubernetes-lookup=endpoints")),
        }
        if self.mode == Mode::Ip {
            args.push(json!("--mode=ip"));
        }
        if self.domain != DEFAULT_CLUSTER_DOMAIN {
            let variable = json!({"name": "CLUSTER_DOMAIN", "value": self.domain});
            container.get_mut("env")?.as_array_mut()?.push(variable);
        }
        Some(())
    }

    fn cookie_secret(&self) -> Result<Document, Failure> {
        let comment = "# A new cookie, made now. It is the key to run any code on all nodes: keep it to yourself. It cannot \
                       be\n# changed while nodes run, so the Secret does not let it be.\n";
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.cookie.secret},
            "immutable": true,
            "stringData": {&self.cookie.key: home::new_cookie()?},
        });
        Ok(Document { comment: comment.to_owned(), object })
    }
}

/// What both kinds of deployment need: rights, the Service, and the Secret where it is asked for. Not filled in yet.
pub(super) fn common(facts: &Facts) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    if facts.secret {
        documents.push(facts.cookie_secret()?);
    }
    for file in [RBAC, SERVICE] {
        documents.extend(read(file)?);
    }
    let role = match facts.lookup {
        Lookup::Slices => return Ok(documents),
        Lookup::Pods => value(PODS_ROLE),
        Lookup::Endpoints => value(ENDPOINTS_ROLE),
    };
    let role = role.ok_or_else(broken)?;
    for document in documents.iter_mut().filter(|document| document.kind() == "Role") {
        patch::apply(&mut document.object, &role).ok_or_else(broken)?;
    }
    Ok(documents)
}

/// gusset in pods of its own.
pub(super) fn deployment(facts: &Facts) -> Result<Vec<Document>, Failure> {
    let mut documents = common(facts)?;
    for file in [DEPLOYMENT, NETWORK_POLICY] {
        documents.extend(read(file)?);
    }
    for document in &mut documents {
        adapt(facts, document).ok_or_else(broken)?;
        facts.finish(document);
    }
    Ok(documents)
}

fn adapt(facts: &Facts, document: &mut Document) -> Option<()> {
    let kind = document.kind().to_owned();
    let object = &mut document.object;
    match kind.as_str() {
        "Deployment" => {
            if facts.http.is_some() {
                patch::merge(object, value(HTTP_DEPLOYMENT)?);
            }
            object["spec"]["replicas"] = json!(facts.replicas);
            facts.add_options(object.pointer_mut("/spec/template/spec/containers/0")?)?;
            if !facts.labelled {
                object.pointer_mut("/spec/template/metadata/labels")?.as_object_mut()?.remove(LABEL)?;
            }
        }
        "NetworkPolicy" => {
            if facts.http.is_some() {
                patch::apply(object, &value(HTTP_NETWORK_POLICY)?)?;
            }
            if !facts.labelled {
                // Several gussets are nodes of one cluster, and meet through the others.
                let own = json!({"podSelector": object.pointer("/spec/podSelector")?});
                for list in ["/spec/ingress/0/from", "/spec/egress/0/to"] {
                    object.pointer_mut(list)?.as_array_mut()?.push(own.clone());
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// The documents of a file of the binary, each with the comment before it.
fn read(file: &str) -> Result<Vec<Document>, Failure> {
    let document = |text: &str| {
        let comment = text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        Some(Document { comment, object: value(text)? })
    };
    file.split("---\n").map(document).collect::<Option<_>>().ok_or_else(broken)
}

pub(super) fn value(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

pub(super) fn broken() -> Failure {
    Failure::other("the manifests in this binary are broken; please report it")
}

/// The label by which nodes are found where the user has no other.
const LABEL: &str = "beam-cluster";
/// The label of gusset's own pods.
const OWN_LABEL: &str = "app.kubernetes.io/name";
const IMAGE: &str = concat!("gusset:", env!("CARGO_PKG_VERSION"));
