//! `gusset doctor`: why can a node not be reached, or not be found?

use clap::Args;
use serde_json::json;

use super::home::{self, IfMissing};
use super::options::SettingsArgs;
use super::output::Output;
use super::{Failure, identity, tools};
use crate::config::Settings;
use crate::ops::doctor::{self, Check, LocalOptions, PeerOptions, Report, Trouble};

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset doctor                                     this node: name, cookie, EPMD
  gusset doctor app@myhost                          and the way to another one
  gusset doctor app@10-0-0-7.default.pod.cluster.local=10.0.0.7
  gusset doctor --kubernetes --kubernetes-selector app=myapp

Give it the options and the environment that `gusset run` gets. It connects as a hidden guest and
changes nothing. The exit code tells the kind of the first check that failed.";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The node, with its address where the name alone does not lead there.
    #[arg(value_name = "NODE[=IP[:PORT]]")]
    node: Option<String>,
    /// Look at the Kubernetes API: access, rights, pods.
    #[arg(long)]
    kubernetes: bool,
    /// Give up a step after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "7", value_parser = tools::seconds, allow_negative_numbers = true)]
    timeout: std::time::Duration,
    /// Print a JSON object for each check.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

pub(super) async fn doctor(args: &DoctorArgs, settings: Settings) -> Result<(), Failure> {
    let target = args.node.as_deref().map(tools::target).transpose()?;
    let own = identity::own_name(&settings.name).or_else(|failure| {
        // Looking at a cluster from outside of it is what a doctor is for; it needs no name that pods can reach.
        match settings.name.pod_ip {
            None => identity::name_of_host(&settings.name).map_err(|_| failure),
            Some(_) => Err(failure),
        }
    })?;
    let found = home::cookie(settings.cookie.as_ref(), IfMissing::Fail)?;
    let output = Output::new(args.json);
    let mut report = Report::new(move |check| tell(output, check));
    let (epmd_port, limit) = (settings.epmd_port, args.timeout);

    let mut options = LocalOptions::new(own.clone(), found.cookie.clone(), found.origin.to_string());
    (options.epmd_port, options.limit) = (epmd_port, limit);
    options.address = settings.name.pod_ip;
    options.namespace.clone_from(&settings.name.naming.namespace);
    options.domain.clone_from(&settings.name.naming.domain);
    doctor::local(&mut report, &options).await;
    if args.kubernetes {
        kubernetes(&mut report, &settings, &own).await?;
    }
    if let Some(target) = target {
        let mut options = PeerOptions::new(target, found.cookie);
        (options.epmd_port, options.limit) = (epmd_port, limit);
        options.own = Some(own);
        doctor::peer(&mut report, &options).await;
    }
    match report.first_failure() {
        None => Ok(()),
        Some(check) => Err(failure(check)),
    }
}

#[cfg(feature = "kubernetes")]
async fn kubernetes(report: &mut Report<'_>, settings: &Settings, own: &crate::NodeName) -> Result<(), Failure> {
    let mut options = doctor::KubernetesOptions::new(own.clone());
    options.namespace.clone_from(&settings.name.naming.namespace);
    options.lookup = crate::discovery::Lookup::EndpointSlices;
    let topologies: Vec<_> = settings.topologies.iter().filter_map(|topology| topology.kubernetes.clone()).collect();
    if topologies.is_empty() {
        doctor::kubernetes(report, &options).await;
    }
    for topology in topologies {
        options.namespace = topology.namespace;
        options.selector = topology.selector;
        options.strategy = Some(topology.strategy);
        doctor::kubernetes(report, &options).await;
    }
    Ok(())
}

#[cfg(not(feature = "kubernetes"))]
async fn kubernetes(_: &mut Report<'_>, _: &Settings, _: &crate::NodeName) -> Result<(), Failure> {
    Err(Failure::configuration("--kubernetes: this binary was built without the feature `kubernetes`"))
}

fn tell(output: Output, check: &Check) {
    output.line(
        || {
            let line = format!("{:<4}  {:<10}  {}", check.verdict, check.check, check.text);
            match &check.fix {
                Some(fix) => format!("{line}\n                  -> {fix}"),
                None => line,
            }
        },
        || json!(check),
    );
}

fn failure(check: &Check) -> Failure {
    let text = format!("{}: {}", check.check, check.text);
    match check.trouble {
        Some(Trouble::Configuration) => Failure::configuration(text),
        Some(Trouble::Lookup) => Failure::lookup(text),
        Some(Trouble::Epmd) => Failure::epmd(text),
        Some(Trouble::Tcp) => Failure::tcp(text),
        Some(Trouble::Handshake) => Failure::handshake(text),
        Some(Trouble::Cookie) => Failure::cookie(text),
        Some(Trouble::Timeout) => Failure::timeout(text),
        _ => Failure::other(text),
    }
}
