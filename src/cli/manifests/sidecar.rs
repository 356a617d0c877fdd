//! A gusset beside each node, put into the pods of the user's own Deployment.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::fill::{self, Document, Facts, broken};
use super::patch;
use crate::cli::Failure;

const CONTAINER: &str = include_str!("../../../interop/kubernetes/sidecar/container.yaml");

/// The objects of the file, its workloads with a sidecar, and what that needs.
pub(super) fn documents(facts: &Facts, file: &Path) -> Result<Vec<Document>, Failure> {
    let mut theirs = read(file)?;
    let mut facts = facts.clone();
    if facts.namespace.is_none() {
        let namespaces = theirs.iter().filter(|object| is_workload(object));
        let mut namespaces = namespaces.filter_map(|object| object.pointer("/metadata/namespace")?.as_str());
        facts.namespace = namespaces.next().map(str::to_owned);
    }
    let facts = &facts;
    let mut sidecar = Document { comment: String::new(), object: fill::value(CONTAINER).ok_or_else(broken)? };
    let container = sidecar.object.pointer_mut("/spec/template/spec/containers/0").ok_or_else(broken)?;
    facts.add_options(container).ok_or_else(broken)?;
    facts.finish(&mut sidecar);
    let mut accounts = Vec::new();
    for object in theirs.iter_mut().filter(|object| is_workload(object)) {
        accounts.push(put_in(facts, &sidecar.object, object)?);
    }
    let Some(account) = accounts.first() else {
        return Err(Failure::configuration(format!(
            "{}: there is no Deployment, StatefulSet or DaemonSet",
            shown(file)
        ))
        .advise("give the file that makes the pods of your nodes"));
    };
    if accounts.iter().any(|other| other != account) {
        return Err(Failure::configuration(format!("{}: the pods have different service accounts", shown(file)))
            .advise("do one workload at a time"));
    }
    let mut documents = fill::common(facts)?;
    documents.iter_mut().for_each(|document| facts.finish(document));
    if let Some(account) = account {
        documents.retain(|document| document.kind() != "ServiceAccount");
        for document in documents.iter_mut().filter(|document| document.kind() == "RoleBinding") {
            document.object["subjects"][0]["name"] = json!(account);
        }
    }
    documents.extend(theirs.into_iter().map(|object| Document { comment: String::new(), object }));
    Ok(documents)
}

/// Puts the container in; gives the service account that the pods have already.
fn put_in(facts: &Facts, sidecar: &Value, object: &mut Value) -> Result<Option<String>, Failure> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("(without a name)").to_owned();
    let wrong = |what: &str| Failure::configuration(format!("{name}: {what}"));
    let first = object.pointer("/spec/template/spec/containers/0/name").and_then(Value::as_str);
    let first = first.ok_or_else(|| wrong("its pods have no container"))?.to_owned();
    let account = object.pointer("/spec/template/spec/serviceAccountName").and_then(Value::as_str).map(str::to_owned);
    let mut patch = sidecar.get("spec").cloned().ok_or_else(broken)?;
    let default = "kubectl.kubernetes.io/default-container";
    patch["template"]["metadata"]["annotations"][default] = json!(first);
    patch["template"]["metadata"]["labels"] = json!(facts.labels);
    if let Some(account) = &account {
        patch["template"]["spec"]["serviceAccountName"] = json!(account);
    }
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        if facts.labels.get(key).is_some_and(|wanted| Some(wanted.as_str()) != value.as_str()) {
            return Err(wrong(&format!("its pods have {key}: {value}, and --selector asks for another value")));
        }
    }
    if let Some(annotations) = object.pointer("/spec/template/metadata/annotations")
        && annotations.get(default).is_some()
    {
        patch["template"]["metadata"]["annotations"] = json!({});
    }
    let spec = object.get_mut("spec").ok_or_else(|| wrong("it has no spec"))?;
    patch::merge(spec, patch);
    if let Some(namespace) = &facts.namespace {
        patch::merge(object, json!({"metadata": {"namespace": namespace}}));
    }
    Ok(account)
}

fn is_workload(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str).is_some_and(|kind| WORKLOADS.contains(&kind))
}

fn read(file: &Path) -> Result<Vec<Value>, Failure> {
    let unreadable = |error: std::io::Error| Failure::configuration(format!("{} cannot be read: {error}", shown(file)));
    let source: Box<dyn Read> = if is_stdin(file) {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(unreadable)?)
    };
    let mut text = String::new();
    source.take(MOST_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 == MOST_BYTES {
        return Err(Failure::configuration(format!("{} is longer than {MOST_BYTES} bytes", shown(file))));
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| Failure::configuration(format!("{} is no YAML: {error}", shown(file))))?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn shown(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

const WORKLOADS: &[&str] = &["Deployment", "StatefulSet", "DaemonSet"];
/// More than etcd takes of one object; no deployment is near that.
const MOST_BYTES: u64 = 4 << 20;
