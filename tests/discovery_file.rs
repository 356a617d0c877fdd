//! Discovery by a file that changes under the strategy in the ways that files do, and by the EPMDs of hosts.

#![cfg(feature = "file")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, within};
use gusset::discovery::{DiscoveryErrorKind, File, Hosts, Report, Reporter, Reports, SelfView, Strategy};
use gusset::proto::NodeName;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// So long that only what inotify says can be the reason for a report within the time of a test.
const NEVER: Duration = Duration::from_secs(3600);

fn start(strategy: impl Strategy, own: &str) -> (Reports, JoinHandle<()>) {
    let (report, reports) = Reporter::new();
    (reports, tokio::spawn(strategy.run(own.parse().unwrap(), report)))
}

async fn until(reports: &Reports, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
    within(SOON, what, async {
        loop {
            let report = reports.next().await;
            if wanted(&report) {
                return report;
            }
        }
    })
    .await
}

fn targets(report: &Report) -> Vec<String> {
    let peers = report.desired.iter().flat_map(|desired| desired.peers.values());
    peers.map(|candidate| candidate.target.to_string()).collect()
}

fn gone(report: &Report) -> BTreeSet<&str> {
    report.desired.iter().flat_map(|desired| &desired.gone).map(NodeName::as_str).collect()
}

#[tokio::test]
async fn a_change_is_seen_at_once_and_what_is_taken_off_the_list_is_gone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nodes.toml");
    fs::write(&path, "nodes = [\"a@10.0.0.1\", \"b@h=10.0.0.2:4370\"]").unwrap();
    let (reports, task) = start(File::new(&path).every(NEVER), "a@10.0.0.1");
    let report = until(&reports, "the list", |report| report.desired.is_some()).await;
    assert_eq!(targets(&report), ["a@10.0.0.1", "b@h=10.0.0.2:4370"]);
    assert!(report.healthy && gone(&report).is_empty());
    assert_eq!(report.desired.unwrap().me, SelfView::Called("a@10.0.0.1".parse().unwrap()));

    fs::write(&path, "nodes = [\"a@10.0.0.1\", \"c@h\"]").unwrap();
    let report = until(&reports, "the new list", |report| targets(report) == ["a@10.0.0.1", "c@h"]).await;
    assert_eq!(gone(&report), BTreeSet::from(["b@h"]));

    // A file that replaces it as a whole, as editors do it.
    fs::write(folder.path().join("new"), "nodes = [\"c@h\"]").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    let report = until(&reports, "the file in its place", |report| targets(report) == ["c@h"]).await;
    assert_eq!(gone(&report), BTreeSet::from(["a@10.0.0.1"]));

    fs::write(&path, "nodes = []").unwrap();
    let report = until(&reports, "nobody", |report| report.desired.is_some()).await;
    assert_eq!((targets(&report).len(), gone(&report)), (0, BTreeSet::from(["c@h"])));
    task.abort();
}

#[tokio::test]
async fn a_broken_or_missing_file_is_an_error_that_says_where_and_takes_nothing_away() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nodes.json");
    let (reports, task) = start(File::new(&path).every(NEVER), "me@h");
    let error = until(&reports, "an error", |report| report.error.is_some()).await.error.unwrap();
    assert_eq!(error.kind, DiscoveryErrorKind::NotFound);
    assert!(error.text.contains("nodes.json"), "{error}");

    fs::write(&path, "[\"a@h\"]").unwrap();
    until(&reports, "the list", |report| targets(report) == ["a@h"] && report.healthy).await;
    for (broken, place) in [("", "line 1"), ("[\"a@h\",\n  \"nobody\"]", "line 2, column"), ("[\"a@h\"", "line 1")] {
        fs::write(&path, broken).unwrap();
        let report = until(&reports, place, |report| report.error.is_some()).await;
        let error = report.error.unwrap();
        assert_eq!((error.kind, &report.desired), (DiscoveryErrorKind::Config, &None), "{error}");
        assert!(error.text.contains(place), "{error}");
        // So that each is a change of its own.
        fs::write(&path, "[\"a@h\"]").unwrap();
        let report = until(&reports, "health", |report| report.healthy).await;
        assert_eq!(report.desired, None, "nothing has changed in the end");
    }
    fs::remove_file(&path).unwrap();
    let report = until(&reports, "an error", |report| report.error.is_some()).await;
    assert_eq!((report.error.unwrap().kind, report.desired), (DiscoveryErrorKind::NotFound, None));
    task.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_mounted_config_map_is_followed_when_its_folder_is_swapped() {
    let folder = TempDir::new().unwrap();
    let put = |version: &str, list: &str| {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("nodes.toml"), list).unwrap();
        std::os::unix::fs::symlink(version, folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    put("..1", "nodes = [\"a@h\"]");
    std::os::unix::fs::symlink("..data/nodes.toml", folder.path().join("nodes.toml")).unwrap();
    let (reports, task) = start(File::new(folder.path().join("nodes.toml")).every(NEVER), "me@h");
    until(&reports, "the first", |report| targets(report) == ["a@h"]).await;
    put("..2", "nodes = [\"b@h\"]");
    let report = until(&reports, "the second", |report| targets(report) == ["b@h"]).await;
    assert_eq!(gone(&report), BTreeSet::from(["a@h"]));
    task.abort();
}

#[tokio::test]
async fn where_nothing_tells_of_a_change_the_file_is_looked_at_now_and_then() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (path, real) = (folder.path().join("nodes.toml"), elsewhere.path().join("real.toml"));
    fs::write(&real, "nodes = [\"a@h\"]").unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let (reports, task) = start(File::new(&path).every(Duration::from_millis(100)), "me@h");
    until(&reports, "the first", |report| targets(report) == ["a@h"]).await;
    fs::write(&real, "nodes = [\"b@h\"]").unwrap();
    until(&reports, "the second", |report| targets(report) == ["b@h"]).await;
    task.abort();
}

#[tokio::test]
async fn the_nodes_of_all_hosts_in_a_file_are_found_and_a_host_that_is_down_takes_none_of_its_away() {
    let otp = require!(otp::get(27));
    let mut epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let (short, _) = beam.node_name.split_once('@').unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".hosts.erlang");
    fs::write(&path, "'127.0.0.1'.\n% down\n'127.0.0.77'.\n").unwrap();
    let strategy = Hosts::file(&path, epmd.port()).every(Duration::from_millis(100));
    let (reports, task) = start(strategy, "me@127.0.0.1");
    let wanted = format!("{short}@127.0.0.1=127.0.0.1:");
    let found = |report: &Report| targets(report).iter().any(|target| target.starts_with(&wanted));
    let report = within(LATER, "the node", until(&reports, "the node", found)).await;
    let error = report.error.expect("one host is down");
    assert!(error.text.contains("127.0.0.77"), "{error}");
    let me = report.desired.unwrap().me;
    assert!(matches!(&me, SelfView::Missing(text) if text.contains("does not know `me`")), "{me:?}");

    epmd.kill().await;
    let all_down = |report: &Report| report.error.as_ref().is_some_and(|error| error.text.contains("of 2 hosts"));
    let report = until(&reports, "an error", all_down).await;
    assert!(report.desired.is_none_or(|desired| desired.gone.is_empty() && desired.peers.len() == 1));

    fs::write(&path, "no host at all\n").unwrap();
    let wrong = |report: &Report| report.error.as_ref().is_some_and(|error| error.kind == DiscoveryErrorKind::Config);
    let error = until(&reports, "an error", wrong).await.error.unwrap();
    assert!(error.text.contains("line 1"), "{error}");
    task.abort();
}
