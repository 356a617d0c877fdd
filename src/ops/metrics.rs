//! Metrics in the text format of Prometheus (0.0.4), written by hand: it is small, and nothing has to be kept in
//! step with the node, because every scrape is made from one snapshot. So series of peers that are gone vanish.
//!
//! What a BEAM exports about its distribution (`prometheus_vm_dist_collector` of prometheus.erl) has the same names
//! and types here, so that dashboards made for it show this node too.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime};

use super::observer::Record;
use super::status::{Connected, PeerState, Status};
use crate::discovery::Stats;

/// All metrics.
pub(super) fn render(status: &Status, stats: Option<&Stats>, record: &Record, ready: bool) -> String {
    let mut out = Text::default();
    out.family("gusset_build_info", "gauge", "The version of gusset.").sample(&[("version", &status.version)], 1);
    out.family("gusset_ready", "gauge", "1 when /readyz says so.").sample(&[], u8::from(ready));
    out.family("gusset_uptime_seconds", "gauge", "For how long the node has been running.")
        .sample(&[], status.uptime.as_secs_f64());
    out.family("gusset_processes", "gauge", "Processes of the node.").sample(&[], status.processes);
    distribution(&mut out, status);
    cluster(&mut out, status, record);
    if let Some(stats) = stats {
        discovery(&mut out, status, stats, record);
    }
    process(&mut out, status);
    out.0
}

fn distribution(out: &mut Text, status: &Status) {
    type Figure = fn(&Connected) -> u64;
    let figures: [(&str, &str, Figure); 6] = [
        ("erlang_vm_dist_recv_bytes", "Number of bytes received from the peer.", |link| link.received_bytes),
        ("erlang_vm_dist_recv_cnt", "Number of packets received from the peer, ticks included.", |link| {
            link.received_packets
        }),
        ("erlang_vm_dist_send_bytes", "Number of bytes sent to the peer.", |link| link.sent_bytes),
        ("erlang_vm_dist_send_cnt", "Number of packets sent to the peer, ticks included.", |link| link.sent_packets),
        ("erlang_vm_dist_send_pend_bytes", "Number of bytes that wait for the socket.", |link| {
            link.queued_bytes as u64
        }),
        ("erlang_vm_dist_node_queue_size_bytes", "Number of bytes in the output queue of the peer.", |link| {
            link.queued_bytes as u64
        }),
    ];
    for (name, help, figure) in figures {
        let mut family = out.family(name, "gauge", help);
        for (peer, link) in status.peers.iter().filter_map(|peer| Some((peer, peer.link.as_ref()?))) {
            family.sample(&[("peer", &peer.name)], figure(link));
        }
    }
    let mut family =
        out.family("erlang_vm_dist_node_state", "gauge", "The state of the connection: pending=1, up_pending=2, up=3.");
    for peer in &status.peers {
        match peer.state {
            PeerState::Connected => family.sample(&[("peer", &peer.name)], 3),
            PeerState::Connecting => family.sample(&[("peer", &peer.name)], 1),
            _ => {}
        }
    }
}

fn cluster(out: &mut Text, status: &Status, record: &Record) {
    let counts = &status.counts;
    let mut family = out.family("gusset_cluster_nodes", "gauge", "Other nodes by state.");
    for (state, count) in [
        ("discovered", counts.discovered),
        ("connected", counts.connected),
        ("connecting", counts.connecting),
        ("waiting", counts.waiting),
        ("failed", counts.failed),
        ("held_back", counts.held_back),
        ("draining", counts.draining),
    ] {
        family.sample(&[("state", state)], count);
    }
    let mut family = out.family("gusset_cluster_failing_nodes", "gauge", "Nodes whose last dial failed, by reason.");
    let failed = status.peers.iter().filter(|peer| peer.state == PeerState::Failed);
    for (kind, count) in counted(failed.filter_map(|peer| Some(peer.failure.as_ref()?.kind.as_str()))) {
        family.sample(&[("reason", kind)], count);
    }
    let help = "Nodes that the policy keeps from being dialled, by reason.";
    let mut family = out.family("gusset_cluster_held_back_nodes", "gauge", help);
    for (why, count) in counted(status.peers.iter().filter_map(|peer| peer.held_back.as_deref())) {
        family.sample(&[("reason", why)], count);
    }
    out.family("gusset_nodeup_total", "counter", "Connections that came up, from either side.").sample(&[], record.ups);
    out.family("gusset_nodedown_total", "counter", "Connections that went down.").sample(&[], record.downs);
    if let Some(global) = &status.global {
        let mut family =
            out.family("gusset_global_nodes", "gauge", "Nodes that global knows, and has synchronised with.");
        family.sample(&[("state", "known")], global.known.len());
        family.sample(&[("state", "synced")], global.synced.len());
    }
}

fn counted<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

fn discovery(out: &mut Text, status: &Status, stats: &Stats, record: &Record) {
    let mut family = out.family("gusset_connect_attempts_total", "counter", "Dials that have ended, by how they did.");
    let failed: u64 = stats.failed.values().sum();
    let running = status.counts.connecting as u64;
    family.sample(&[("result", "ok")], stats.dials.saturating_sub(failed).saturating_sub(running));
    for (kind, count) in &stats.failed {
        family.sample(&[("result", "failed"), ("reason", kind.as_str())], *count);
    }
    let mut family =
        out.family("gusset_connect_duration_seconds", "histogram", "How long dials took, by how they ended.");
    family.histogram("ok", &record.dials_ok);
    family.histogram("failed", &record.dials_failed);
    out.family("gusset_links_lost_total", "counter", "Links to wanted nodes that were lost.").sample(&[], stats.lost);
    out.family("gusset_links_pruned_total", "counter", "Links dropped because discovery knew that the node had left.")
        .sample(&[], stats.pruned);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    let topologies = &status.topologies;
    let mut family = out.family("gusset_discovery_updates_total", "counter", "Answers of a topology.");
    for topology in topologies {
        family.sample(&[("topology", &topology.name)], topology.answers);
    }
    let mut family = out.family("gusset_discovery_errors_total", "counter", "Errors of a topology, by kind.");
    for topology in topologies {
        for (kind, count) in &topology.errors {
            family.sample(&[("topology", &topology.name), ("kind", kind)], *count);
        }
    }
    let name = "gusset_discovery_last_error_timestamp_seconds";
    let help = "When a topology last had an error, in seconds since 1970, and its kind.";
    let mut family = out.family(name, "gauge", help);
    for (topology, error) in topologies.iter().filter_map(|topology| Some((topology, topology.last_error.as_ref()?))) {
        let labels = [("topology", topology.name.as_str()), ("kind", &error.kind)];
        family.sample(&labels, now - error.ago.as_secs_f64());
    }
    let mut family = out.family("gusset_discovery_age_seconds", "gauge", "How long ago a topology last had an answer.");
    for (topology, age) in topologies.iter().filter_map(|topology| Some((topology, topology.age?))) {
        family.sample(&[("topology", &topology.name)], age.as_secs_f64());
    }
    let name = "gusset_discovery_last_success_timestamp_seconds";
    let mut family = out.family(name, "gauge", "When a topology last had an answer, in seconds since 1970.");
    for (topology, age) in topologies.iter().filter_map(|topology| Some((topology, topology.age?))) {
        family.sample(&[("topology", &topology.name)], now - age.as_secs_f64());
    }
    let mut family = out.family("gusset_discovery_healthy", "gauge", "1 when the last answer of a topology is good.");
    for topology in topologies {
        let labels = [("topology", topology.name.as_str()), ("kind", topology.kind.as_str())];
        family.sample(&labels, u8::from(topology.health == "healthy"));
    }
    let mut family = out.family("gusset_discovery_nodes", "gauge", "Nodes in the last answer of a topology.");
    for topology in topologies {
        family.sample(&[("topology", &topology.name)], topology.size);
    }
}

/// The names that Prometheus clients of all languages use.
fn process(out: &mut Text, status: &Status) {
    let figures = &status.process;
    let whole = |figure: Option<u64>| figure.map(|figure| figure as f64);
    for (name, kind, help, value) in [
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", whole(figures.resident_bytes)),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", whole(figures.virtual_bytes)),
        ("process_cpu_seconds_total", "counter", "User and system CPU time spent in seconds.", figures.cpu_seconds),
        ("process_open_fds", "gauge", "Number of open file descriptors.", whole(figures.open_fds)),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", whole(figures.max_fds)),
        ("process_threads", "gauge", "Number of threads.", whole(figures.threads)),
        ("process_start_time_seconds", "gauge", "Start time in seconds since 1970.", figures.started_at),
    ] {
        if let Some(value) = value {
            out.family(name, kind, help).sample(&[], value);
        }
    }
}

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One per bound, not cumulated, and one for what is longer.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += seconds;
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    #[cfg(test)]
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }
}

/// The text that is being written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name }
    }
}

struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    fn histogram(&mut self, result: &str, histogram: &Histogram) {
        let mut so_far = 0;
        for (bound, count) in BOUNDS.iter().zip(histogram.counts) {
            so_far += count;
            self.line("_bucket", &[("result", result), ("le", &bound.to_string())], so_far);
        }
        let all = histogram.count();
        self.line("_bucket", &[("result", result), ("le", "+Inf")], all);
        self.line("_sum", &[("result", result)], histogram.sum);
        self.line("_count", &[("result", result)], all);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{}{suffix}", self.name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, Escaped(value));
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// A label value: node names may have anything in them.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                _ => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// From a handshake on one host (2 ms) to all time limits of one in a row (`net_setuptime` is 7 s).
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 7.0, 30.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_values_stand_behind_them() {
        let mut out = Text::default();
        out.family("m", "gauge", "Help.").sample(&[("peer", "a\"b\\c\nd@h"), ("x", "y")], 1.5);
        assert_eq!(out.0, "# HELP m Help.\n# TYPE m gauge\nm{peer=\"a\\\"b\\\\c\\nd@h\",x=\"y\"} 1.5\n");
    }

    #[test]
    fn a_histogram_is_cumulative_and_a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for ms in [1, 10, 40_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut out = Text::default();
        out.family("h", "histogram", "Help.").histogram("ok", &histogram);
        let value = |line: &str| out.0.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' ')).unwrap();
        assert_eq!(value("h_bucket{result=\"ok\",le=\"0.001\"}"), "1");
        assert_eq!(value("h_bucket{result=\"ok\",le=\"0.005\"}"), "1");
        assert_eq!(value("h_bucket{result=\"ok\",le=\"0.01\"}"), "2");
        assert_eq!(value("h_bucket{result=\"ok\",le=\"30\"}"), "2");
        assert_eq!(value("h_bucket{result=\"ok\",le=\"+Inf\"}"), "3");
        assert_eq!(value("h_count{result=\"ok\"}"), "3");
        assert!((value("h_sum{result=\"ok\"}").parse::<f64>().unwrap() - 40.011).abs() < 1e-6);
    }
}
