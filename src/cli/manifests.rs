//! `gusset manifests`: what Kubernetes needs to run gusset, filled in.
//!
//! The kustomizations of `interop/kubernetes` are the source: their files are part of the binary, and what is printed is
//! those files with the names, labels and ports that were asked for ([`fill`]). `interop/cluster-test` compares it
//! with what `kubectl kustomize` makes of them.

mod checks;
#[cfg(feature = "kubernetes")]
mod fill;
#[cfg(feature = "kubernetes")]
mod patch;
#[cfg(feature = "kubernetes")]
mod sidecar;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use crate::discovery::DEFAULT_CLUSTER_DOMAIN;

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset manifests | kubectl apply -f -
  gusset manifests --namespace web --basename shop --selector app=shop --replicas 2 > gusset.yaml
  gusset manifests --basename shop --sidecar shop.yaml | kubectl apply -f -

Without options it fits the release of docs/with-elixir.md: pods with the label beam-cluster=myapp,
nodes myapp@…, and the cookie in the Secret myapp-cookie, which has to be there (or --secret).
It talks to nobody: look at what it prints before you apply it.";

#[derive(Debug, Args)]
pub(crate) struct ManifestsArgs {
    /// The namespace of everything; without it nothing names one, and kubectl's own counts.
    #[arg(long, value_name = "NAMESPACE", value_parser = checks::label_name)]
    namespace: Option<String>,
    /// What the Deployment, the ServiceAccount, the Role and the NetworkPolicy are called.
    #[arg(long, value_name = "NAME", default_value = "gusset", value_parser = checks::label_name)]
    name: String,
    /// The image, with its tag; by default gusset: and the version of this binary.
    #[arg(long, value_name = "IMAGE", value_parser = checks::image)]
    image: Option<String>,
    /// How many gussets. One is enough for a cluster to form; with two, one can be away.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "sidecar")]
    replicas: u16,
    /// Put a gusset into each pod of the Deployment, StatefulSet or DaemonSet in this file (`-`: standard input)
    /// instead of one of its own; what is in the file is printed, too.
    #[arg(long, value_name = "FILE")]
    sidecar: Option<PathBuf>,
    /// The part of node names before the `@`, of gusset and of the pods.
    #[arg(long, value_name = "NAME", default_value = "myapp", value_parser = checks::basename)]
    basename: String,
    /// The labels of the pods that are nodes; by default beam-cluster=BASENAME, which gusset's own pods get, too.
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = checks::labels)]
    selector: Option<Labels>,
    /// Give gusset's own pods the labels of --selector, so that others find them. Not where a Service of the
    /// application selects by these labels: it would send requests to gusset.
    #[arg(long, requires = "selector")]
    findable: bool,
    /// How pods are called.
    #[arg(long, value_enum, default_value_t = Mode::Dns, value_name = "MODE")]
    mode: Mode,
    /// The domain of the Kubernetes cluster.
    #[arg(long, default_value = DEFAULT_CLUSTER_DOMAIN, value_name = "DOMAIN", value_parser = checks::domain)]
    cluster_domain: String,
    /// What gusset looks up in the API: with `pods` by --selector, else by --service.
    #[arg(long, value_enum, default_value_t = Lookup::Slices, value_name = "LOOKUP")]
    lookup: Lookup,
    /// The headless Service for all nodes of the cluster; by default BASENAME-cluster.
    #[arg(long, value_name = "NAME", value_parser = checks::service)]
    service: Option<String>,
    /// The Secret with the cookie, and the key under which it is there; by default BASENAME-cookie:cookie.
    #[arg(long, value_name = "NAME[:KEY]", value_parser = checks::secret)]
    cookie_secret: Option<SecretKey>,
    /// Print that Secret, too, with a new cookie: for a cluster that does not run yet.
    #[arg(long)]
    secret: bool,
    /// The fixed port of the distribution, here and at the pods; a sidecar takes the one after it.
    #[arg(long, value_name = "PORT", default_value_t = 9100, value_parser = clap::value_parser!(u16).range(1024..65535))]
    dist_port: u16,
    /// Serve health, metrics and status at this port, and let the probes ask there.
    #[arg(long, value_name = "PORT", conflicts_with = "sidecar", value_parser = clap::value_parser!(u16).range(1024..))]
    http: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// basename@a-b-c-d.NAMESPACE.pod.DOMAIN
    Dns,
    /// basename@IP
    Ip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lookup {
    /// The EndpointSlices of the Service (Kubernetes 1.21 and later)
    Slices,
    /// Pods, without any Service
    Pods,
    /// The Endpoints of the Service
    Endpoints,
}

/// Labels that a pod has to have, all of them.
type Labels = BTreeMap<String, String>;

/// A Secret, and a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SecretKey {
    secret: String,
    key: String,
}

#[cfg(feature = "kubernetes")]
pub(super) fn manifests(args: &ManifestsArgs) -> Result<(), Failure> {
    use std::io::Write;
    let text = print(args)?;
    let mut out = std::io::stdout().lock();
    // A reader that has gone is no error.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

#[cfg(not(feature = "kubernetes"))]
pub(super) fn manifests(_: &ManifestsArgs) -> Result<(), Failure> {
    Err(Failure::configuration("gusset manifests: this binary was built without the feature `kubernetes`"))
}

#[cfg(feature = "kubernetes")]
fn print(args: &ManifestsArgs) -> Result<String, Failure> {
    let facts = fill::Facts::of(args)?;
    let documents = match &args.sidecar {
        None => fill::deployment(&facts)?,
        Some(file) => sidecar::documents(&facts, file)?,
    };
    let mut text = format!("# {} (gusset {})\n", command_line(std::env::args().skip(1)), env!("CARGO_PKG_VERSION"));
    for document in documents {
        let object = serde_saphyr::to_string(&document.object)
            .map_err(|error| Failure::other(format!("the manifests cannot be printed: {error}")))?;
        text.push_str("---\n");
        text.push_str(&document.comment);
        text.push_str(&object);
    }
    Ok(text)
}

/// How to get the same again.
#[cfg(feature = "kubernetes")]
fn command_line(args: impl Iterator<Item = String>) -> String {
    let plain = |text: &str| text.chars().all(|char| char.is_ascii_alphanumeric() || "-_=./:,@".contains(char));
    args.fold("gusset".to_owned(), |line, arg| {
        let arg: String = arg.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        if plain(&arg) { format!("{line} {arg}") } else { format!("{line} '{}'", arg.replace('\'', r"'\''")) }
    })
}
