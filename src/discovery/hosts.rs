//! Discovery by `.hosts.erlang`: a list of hosts, and all nodes that the EPMDs of these hosts know.
//!
//! An EPMD that does not answer, or has forgotten a node, proves nothing: what it said last stays wanted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::desired::{Candidate, Desired, SelfView};
use super::strategy::{DiscoveryError, DiscoveryErrorKind, Reporter, Strategy};
use crate::net::{DialTarget, EpmdClient, EpmdError};
use crate::proto::NodeName;

/// Finds the nodes that are registered with the EPMDs of some hosts: `NAME@HOST`, with the host as it is
/// written in the list.
///
/// This is libcluster's `ErlangHosts`, and what `net_adm:world/0` connects to. A file has one atom with a
/// dot in each line, as `file:consult/1` of OTP reads it:
///
/// ```text
/// % our hosts
/// 'one.example.com'.
/// 'two.example.com'.
/// ```
#[derive(Debug, Clone)]
pub struct Hosts {
    source: Source,
    epmd_port: u16,
    every: Duration,
    answer_within: Duration,
}

#[derive(Debug, Clone)]
enum Source {
    List(Vec<String>),
    Files(Vec<PathBuf>),
}

impl Hosts {
    /// These hosts.
    pub fn new(hosts: impl IntoIterator<Item = impl Into<String>>, epmd_port: u16) -> Self {
        Self::from_source(Source::List(hosts.into_iter().map(Into::into).collect()), epmd_port)
    }

    /// The hosts in this file, which is read each time anew.
    pub fn file(path: impl Into<PathBuf>, epmd_port: u16) -> Self {
        Self::from_source(Source::Files(vec![path.into()]), epmd_port)
    }

    /// The hosts in `.hosts.erlang` in the current folder, else in the home folder (`net_adm:host_file/0`).
    pub fn find(epmd_port: u16) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let folders = [Some(PathBuf::from(".")), home].into_iter().flatten();
        Self::from_source(Source::Files(folders.map(|folder| folder.join(FILE_NAME)).collect()), epmd_port)
    }

    fn from_source(source: Source, epmd_port: u16) -> Self {
        Self { source, epmd_port, every: POLL_EVERY, answer_within: ANSWER_WITHIN }
    }

    /// How often all hosts are asked (5 seconds if not given).
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause.max(SHORTEST_PAUSE);
        self
    }

    /// How long a host may take to be found, and its EPMD to answer (5 seconds each if not given).
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }

    async fn hosts(&self) -> Result<Vec<String>, DiscoveryError> {
        let files = match &self.source {
            Source::List(hosts) => return Ok(hosts.clone()),
            Source::Files(files) => files,
        };
        let wrong = |kind, text: String| {
            DiscoveryError::new(kind, text).with_fix("write one host in each line: 'host.example.com'.")
        };
        for file in files {
            let path = file.clone();
            // It ends by itself, or with the runtime.
            let text = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
            let text = match text {
                Ok(Ok(text)) => text,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Ok(Err(error)) => {
                    return Err(wrong(DiscoveryErrorKind::Config, format!("cannot read {}: {error}", file.display())));
                }
                Err(_ended) => {
                    return Err(wrong(DiscoveryErrorKind::Stopped, format!("cannot read {}", file.display())));
                }
            };
            let hosts = parse(&String::from_utf8_lossy(&text)).map_err(|(line, problem)| {
                wrong(DiscoveryErrorKind::Config, format!("{}, line {line}: {problem}", file.display()))
            })?;
            if hosts.is_empty() {
                return Err(wrong(DiscoveryErrorKind::Config, format!("{} names no host", file.display())));
            }
            return Ok(hosts);
        }
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        Err(wrong(DiscoveryErrorKind::NotFound, format!("there is no file of hosts ({})", names.join(", "))))
    }

    /// The nodes of one host.
    async fn ask(&self, host: &str) -> Result<Vec<Candidate>, DiscoveryError> {
        let ip = self.address(host).await?;
        let client = EpmdClient::new(ip, self.epmd_port).with_timeout(self.answer_within);
        let names = client.names().await.map_err(|error| {
            let kind = match error {
                EpmdError::Unreachable { .. } | EpmdError::Io { .. } => DiscoveryErrorKind::Unreachable,
                EpmdError::Timeout { .. } => DiscoveryErrorKind::Timeout,
                _ => DiscoveryErrorKind::Other,
            };
            DiscoveryError::new(kind, format!("host `{host}`: {error}"))
        })?;
        let candidates = names.into_iter().filter_map(|(name, port)| {
            // EPMD takes names that no node can have; nobody can dial those.
            let name = NodeName::new(format!("{name}@{host}")).ok()?;
            let target = DialTarget::at(name, ip).with_port(port);
            Some(Candidate::new(target).with_origin(format!("EPMD of {host}")))
        });
        Ok(candidates.collect())
    }

    async fn address(&self, host: &str) -> Result<IpAddr, DiscoveryError> {
        if let Ok(ip) = host.parse() {
            return Ok(ip);
        }
        let found = timeout(self.answer_within, tokio::net::lookup_host((host, self.epmd_port))).await;
        let (kind, problem) = match found {
            Ok(Ok(addresses)) => {
                let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
                // EPMD and BEAM listen on IPv4 unless they are told otherwise.
                match addresses.iter().find(|ip| ip.is_ipv4()).or(addresses.first()) {
                    Some(ip) => return Ok(*ip),
                    None => (DiscoveryErrorKind::NotFound, "it has no address".to_owned()),
                }
            }
            Ok(Err(error)) => (DiscoveryErrorKind::NotFound, error.to_string()),
            Err(_elapsed) => {
                (DiscoveryErrorKind::Timeout, format!("its address was not found within {:?}", self.answer_within))
            }
        };
        Err(DiscoveryError::new(kind, format!("host `{host}`: {problem}")))
    }
}

impl Strategy for Hosts {
    fn kind(&self) -> &'static str {
        "hosts"
    }

    fn run(&self, own: NodeName, report: Reporter) -> BoxFuture<'static, ()> {
        Box::pin(poll(self.clone(), own, report))
    }
}

async fn poll(settings: Hosts, own: NodeName, report: Reporter) {
    let mut known: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    let mut polls = interval(settings.every);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        polls.tick().await;
        let hosts = match settings.hosts().await {
            Ok(hosts) => hosts,
            Err(error) => {
                report.degraded(error);
                continue;
            }
        };
        known.retain(|host, _| hosts.contains(host));
        let settings = &settings;
        let answers: Vec<_> = stream::iter(hosts)
            .map(|host| async move { (settings.ask(&host).await, host) })
            .buffer_unordered(HOSTS_AT_ONCE)
            .collect()
            .await;
        let asked = answers.len();
        let mut errors = Vec::new();
        for (answer, host) in answers {
            match answer {
                Ok(candidates) => drop(known.insert(host, candidates)),
                Err(error) => errors.push(error),
            }
        }
        if errors.len() < asked {
            let desired = desired(&known, &own);
            if errors.is_empty() { report.desired(desired) } else { report.desired_while_degraded(desired) }
        }
        if let Some(first) = errors.first() {
            let text = match errors.len() {
                1 => first.text.clone(),
                failed => format!("{} (and {} of {asked} hosts more)", first.text, failed - 1),
            };
            let fix = format!(
                "check that the host is up and that its EPMD (port {}) can be reached from here",
                settings.epmd_port
            );
            report.degraded(DiscoveryError::new(first.kind, text).with_fix(fix));
        }
    }
}

fn desired(known: &BTreeMap<String, Vec<Candidate>>, own: &NodeName) -> Desired {
    let desired = Desired::new(known.values().flatten().cloned());
    let me = if desired.peers.contains_key(own) {
        SelfView::Called(own.clone())
    } else if known.contains_key(own.host()) {
        SelfView::Missing(format!("the EPMD of `{}` does not know `{}`", own.host(), own.name()))
    } else {
        SelfView::Missing(format!("`{}` is not among the hosts; add the line '{}'.", own.host(), own.host()))
    };
    desired.with_me(me)
}

/// The atoms of a file of Erlang terms that has nothing but atoms: or the line, and what is wrong in it.
fn parse(text: &str) -> Result<Vec<String>, (usize, String)> {
    let mut hosts = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut rest = line.trim();
        while !rest.is_empty() && !rest.starts_with('%') {
            let (host, behind) =
                atom(rest).ok_or_else(|| (number, format!("`{rest}` is no atom with a dot behind it")))?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
            rest = behind.trim_start();
        }
    }
    Ok(hosts)
}

/// An atom and its dot off the beginning of a line.
fn atom(text: &str) -> Option<(String, &str)> {
    let (host, behind) = match text.strip_prefix('\'') {
        Some(quoted) => quoted.split_once('\'')?,
        // In an atom without quotes a dot is an end, so such a host has a name of one part.
        None => {
            text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '@')).unwrap_or(text.len()))
        }
    };
    let behind = behind.trim_start().strip_prefix('.')?;
    let is_host = !host.is_empty() && !host.contains(|c: char| c == '\\' || c == '@' || c.is_whitespace());
    let ends = behind.is_empty() || behind.starts_with(|c: char| c.is_whitespace() || c == '%');
    (is_host && ends && (text.starts_with('\'') || text.starts_with(char::is_lowercase)))
        .then(|| (host.to_owned(), behind))
}

const FILE_NAME: &str = ".hosts.erlang";
/// As often as other polls of clusters.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Each question is a connection to every host.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// An EPMD answers within milliseconds; a host that is down is not waited for much longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Quick for a long list, and few sockets.
const HOSTS_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_hosts_are_read_as_erlang_terms() {
        let text = "% hosts\n'one.example.com'.\n\n  'two' . % two\nthree. 'one.example.com'.\n'10.0.0.1'.";
        assert_eq!(parse(text).unwrap(), ["one.example.com", "two", "three", "10.0.0.1"]);
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_host_is_found_in_its_line() {
        for wrong in ["'one.example.com'", "one.example.com.", "''.", "\"one\".", "One.", "'a\\'b'.", "[a].", "'a@b'."]
        {
            let text = format!("'good'.\n{wrong}\n");
            assert_eq!(parse(&text).unwrap_err().0, 2, "{wrong}");
        }
    }
}
