//! Readiness: is this node in its cluster, so that work may be sent to it?
//!
//! Liveness has no code: a process that answers at all is alive. It must never depend on peers, or a cluster that
//! loses its network is restarted node by node.

use std::time::Duration;

use super::status::{PeerState, Status};

/// When a node is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadyConfig {
    /// Connected to so many nodes is ready. Hidden links do not count, except on a node that is hidden itself.
    /// Zero is ready as soon as the node runs.
    pub min_connected: usize,
    /// So is a node that found nobody else (or is connected to all that it found), when that has not changed for so
    /// long: the first one of a cluster.
    pub stable_for: Duration,
}

impl Default for ReadyConfig {
    fn default() -> Self {
        Self { min_connected: 1, stable_for: STABLE_FOR }
    }
}

impl ReadyConfig {
    /// Ready with so many connections, or when stable for so long.
    pub fn new(min_connected: usize, stable_for: Duration) -> Self {
        Self { min_connected, stable_for }
    }
}

/// Ready or not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Work may be sent here.
    pub ready: bool,
    /// Each thing that was looked at: what it is, whether it is well, and a text about it.
    pub checks: Vec<(&'static str, bool, String)>,
}

impl Readiness {
    /// Why the node is not ready; why it is, when it is.
    pub fn reason(&self) -> &str {
        let decisive = self.checks.iter().find(|(_, ok, _)| !ok).or(self.checks.last());
        decisive.map_or("nothing was looked at", |(_, _, text)| text)
    }
}

/// Decides. `unchanged_for` is how long no node came, went, was found or was lost; `draining` says why the node is
/// leaving, if it is.
pub(super) fn readiness(
    status: &Status,
    unchanged_for: Duration,
    draining: Option<&str>,
    config: &ReadyConfig,
) -> Readiness {
    let leaving = match draining {
        Some(reason) => Some(format!("leaving ({reason})")),
        None => status.shutting_down.then(|| "leaving".to_owned()),
    };
    let (joined, text) = cluster(status, unchanged_for, config);
    let checks = vec![
        ("drain", leaving.is_none(), leaving.unwrap_or_else(|| "not leaving".to_owned())),
        ("cluster", joined, text),
    ];
    Readiness { ready: checks.iter().all(|(_, ok, _)| *ok), checks }
}

fn cluster(status: &Status, unchanged_for: Duration, config: &ReadyConfig) -> (bool, String) {
    let counts = &status.counts;
    let connected = if status.hidden { counts.connected } else { counts.visible };
    let min = config.min_connected;
    if connected >= min {
        return (true, format!("connected to {connected} (at least {min})"));
    }
    let so_far = format!("connected to {connected} of at least {min}");
    // Who has no answer yet does not know that it is alone.
    if let Some(topology) = status.topologies.iter().find(|topology| topology.age.is_none()) {
        let why = topology.error.as_deref().unwrap_or("it has not answered yet");
        return (false, format!("{so_far}; topology {}: {why}", topology.name));
    }
    let missing = counts.failed + counts.waiting + counts.connecting;
    if missing > 0 {
        return (false, format!("{so_far}; {missing} found and not connected{}", failing(status)));
    }
    let (need, have) = (config.stable_for, unchanged_for);
    let nobody = match counts.held_back {
        0 => "nobody else is to be found".to_owned(),
        held => format!("nobody else is to be dialled ({held} held back)"),
    };
    if have < need {
        return (false, format!("{so_far}; {nobody}, stable for {have:.1?} of {need:?}"));
    }
    (true, format!("{so_far}, but {nobody}, stable for {need:?}"))
}

/// `: 2 refused, 1 wrong_cookie`.
fn failing(status: &Status) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    let failed = status.peers.iter().filter(|peer| peer.state == PeerState::Failed);
    for kind in failed.filter_map(|peer| peer.failure.as_ref()).map(|failure| failure.kind.as_str()) {
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) }
}

/// A pod that starts sees the others of its set within a watch round; longer only keeps a lone node waiting.
const STABLE_FOR: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> Status {
        let mut whole = serde_json::json!({
            "node": "a@h", "creation": 4, "version": "", "hidden": false, "port": null, "shutting_down": false,
            "uptime_seconds": 1.0, "processes": 0, "process": {}, "peers": [], "topologies": [], "global": null,
            "counts": {"discovered": 0, "connected": 0, "visible": 0, "connecting": 0, "waiting": 0, "failed": 0, "draining": 0},
        });
        for (key, value) in json.as_object().unwrap() {
            match (key.as_str(), value) {
                ("counts", serde_json::Value::Object(counts)) => {
                    whole["counts"].as_object_mut().unwrap().extend(counts.clone());
                }
                _ => whole[key] = value.clone(),
            }
        }
        serde_json::from_value(whole).unwrap()
    }

    fn ready(json: serde_json::Value, unchanged: u64) -> (bool, String) {
        let config = ReadyConfig::new(1, Duration::from_secs(5));
        let readiness = readiness(&status(json), Duration::from_secs(unchanged), None, &config);
        (readiness.ready, readiness.reason().to_owned())
    }

    #[test]
    fn connected_to_enough_is_ready_and_hidden_links_do_not_count() {
        assert!(ready(serde_json::json!({"counts": {"connected": 1, "visible": 1}}), 0).0);
        assert!(!ready(serde_json::json!({"counts": {"connected": 1}}), 0).0);
        assert!(ready(serde_json::json!({"hidden": true, "counts": {"connected": 1}}), 0).0);
    }

    #[test]
    fn alone_is_ready_only_when_nothing_has_changed_for_long_enough() {
        let (is, why) = ready(serde_json::json!({}), 4);
        assert!(!is && why.contains("stable for 4.0s of 5s"), "{why}");
        assert!(ready(serde_json::json!({}), 5).0);
    }

    #[test]
    fn who_keeps_all_others_back_is_the_first_of_its_cluster_and_says_so() {
        let held = serde_json::json!({"counts": {"discovered": 3, "held_back": 3}});
        let (is, why) = ready(held.clone(), 4);
        assert!(!is && why.contains("nobody else is to be dialled (3 held back)"), "{why}");
        assert!(ready(held, 5).0);
    }

    #[test]
    fn who_fails_to_reach_others_is_not_alone() {
        let peer = |kind: &str| {
            serde_json::json!({"name": "b@h", "state": "failed", "wanted_by": ["t"], "origin": "", "target": null,
                "leaving": false, "link": null,
                "failure": {"kind": kind, "text": "", "ago_seconds": 1, "failures": 1}})
        };
        let peers = [peer("refused"), peer("wrong_cookie"), peer("refused")];
        let (is, why) = ready(serde_json::json!({"counts": {"failed": 3}, "peers": peers}), 100);
        assert!(!is && why.ends_with("3 found and not connected: 2 refused, 1 wrong_cookie"), "{why}");
    }

    #[test]
    fn a_topology_that_has_never_answered_is_told_with_its_error() {
        let topology = serde_json::json!({"name": "k8s", "kind": "kubernetes", "health": "degraded",
            "error_kind": "forbidden", "error": "403", "size": 0});
        let (is, why) = ready(serde_json::json!({"topologies": [topology]}), 100);
        assert!(!is && why.ends_with("topology k8s: 403"), "{why}");
    }

    #[test]
    fn who_leaves_is_not_ready_whoever_is_connected() {
        let status = status(serde_json::json!({"counts": {"connected": 9, "visible": 9}}));
        let readiness = readiness(&status, Duration::MAX, Some("SIGTERM"), &ReadyConfig::default());
        assert!(!readiness.ready);
        assert_eq!(readiness.reason(), "leaving (SIGTERM)");
    }
}
