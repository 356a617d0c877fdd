//! `gusset nodes`: who is connected, who is wanted and why not, as a running gusset sees it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stop::Stop;
use super::{Failure, http, tools};
use crate::ops::{Peer, PeerState, Status};

pub(super) const EXAMPLES: &str = "\
Examples:
  gusset nodes
  gusset nodes --watch
  gusset nodes --url http://10.0.0.7:9569 --json

It asks a gusset that runs with --http; in its container GUSSET_HTTP says where.";

#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Where a gusset serves its status. By default the port of GUSSET_HTTP, else 9569, of this host.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Show it again and again, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// With --watch: how often.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = tools::seconds, allow_negative_numbers = true)]
    every: Duration,
    /// Print JSON, an object for each look, as /status gives it.
    #[arg(long)]
    json: bool,
}

pub(super) async fn nodes(args: NodesArgs) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let url = Url::parse(&args.url.clone().unwrap_or_else(http::default_url))?;
    if !args.watch {
        show(&args, &fetch(&url).await?, Screen::Plain)?;
        return Ok(());
    }
    let screen = if std::io::stdout().is_terminal() && !args.json { Screen::Redrawn } else { Screen::Plain };
    if screen == Screen::Redrawn {
        print!("\x1b[2J");
    }
    let mut every = tokio::time::interval(args.every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = stop.wait() => return Ok(()),
        }
        match fetch(&url).await {
            Ok(body) => {
                if !show(&args, &body, screen)? {
                    return Ok(());
                }
            }
            // It may come back: who watches wants to see that.
            Err(failure) => eprintln!("gusset: {failure}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    Plain,
    Redrawn,
}

/// Prints a status; false when nobody reads it any more.
fn show(args: &NodesArgs, body: &str, screen: Screen) -> Result<bool, Failure> {
    let wrong = |error: serde_json::Error| {
        Failure::other(format!("the answer is no status of a gusset: {error}")).advise("is it the right port?")
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let value: serde_json::Value = serde_json::from_str(body).map_err(wrong)?;
        return Ok(writeln!(out, "{value}").and_then(|()| out.flush()).is_ok());
    }
    let status: Status = serde_json::from_str(body).map_err(wrong)?;
    let mut text = table(&status);
    if screen == Screen::Redrawn {
        // Home, the text with the rest of each line erased, and everything below it: no flicker.
        text = format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
    } else if args.watch {
        text.push('\n');
    }
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok())
}

/// The table for people.
fn table(status: &Status) -> String {
    let counts = &status.counts;
    let mut text = format!(
        "{}{} up {}: {} connected, {} found, {} connecting, {} failed{}{}\n",
        clean(&status.node),
        if status.hidden { " (hidden)" } else { "" },
        age(status.uptime),
        counts.connected,
        counts.discovered,
        counts.connecting,
        counts.failed,
        if counts.held_back > 0 { format!(", {} held back", counts.held_back) } else { String::new() },
        if status.shutting_down { ", leaving" } else { "" },
    );
    for topology in &status.topologies {
        let answered = topology.age.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", age(ago)));
        let error = topology.error.as_ref().map(|error| format!(": {}", clean(error))).unwrap_or_default();
        let past = topology.last_error.as_ref().filter(|_| topology.error.is_none()).map(|error| {
            let times: u64 = topology.errors.values().sum();
            format!(", last error {} ago ({}; {times} in all)", age(error.ago), clean(&error.kind))
        });
        let error = past.unwrap_or(error);
        let (name, health) = (clean(&topology.name), clean(&topology.health));
        text.push_str(&format!("{name}: {health}, {} nodes, last answer {answered}{error}\n", topology.size));
    }
    let width = status.peers.iter().map(|peer| peer.name.chars().count()).max().unwrap_or(0).clamp(4, MOST_WIDTH);
    text.push_str(&format!("\n{:<width$}  {:<10}  {:>7}  WHY\n", "NODE", "STATE", "SINCE"));
    for peer in &status.peers {
        let since = peer.since.map(age).unwrap_or_default();
        text.push_str(&format!(
            "{:<width$}  {:<10}  {since:>7}  {}\n",
            clean(&peer.name),
            peer.state.as_str(),
            why(peer)
        ));
    }
    text
}

fn why(peer: &Peer) -> String {
    let mut parts = Vec::new();
    if let Some(link) = &peer.link {
        if link.hidden {
            parts.push("hidden".to_owned());
        }
        if peer.wanted_by.is_empty() {
            parts.push("not wanted by discovery".to_owned());
        }
    }
    if peer.leaving {
        parts.push("leaving".to_owned());
    }
    if let Some(why) = &peer.held_back {
        let release = peer.release.as_ref().filter(|_| why.contains("release"));
        let release = release.map(|release| format!(" ({})", clean(release))).unwrap_or_default();
        parts.push(format!("{}{release}", clean(why).replace('_', " ")));
    }
    if let (None, Some(failure)) = (&peer.link, &peer.failure) {
        let again = failure.retry_in.map(|pause| format!(", next try in {}", age(pause))).unwrap_or_default();
        // The name stands at the beginning of the line already.
        let text = failure.text.strip_prefix(&format!("{}: ", peer.name)).unwrap_or(&failure.text);
        parts.push(format!("{}: {} ({} times{again})", clean(&failure.kind), clean(text), failure.failures));
    }
    if parts.is_empty() && peer.state != PeerState::Connected {
        parts.push(clean(&peer.origin));
    }
    parts.join(", ")
}

/// What another process says goes to a terminal: without whatever would command it.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// `3.2s`, `5m10s`, `2h05m`, `3d04h`.
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Host, port and path of an `http://` URL.
struct Url {
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong =
            |why: &str| Failure::configuration(format!("--url {text}: {why}")).advise("like http://10.0.0.7:9569");
        let uri: Uri = text.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(&error.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("it does not begin with http://"));
        }
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = match uri.path() {
            "/" | "" => "/status".to_owned(),
            path => path.to_owned(),
        };
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), path })
    }
}

async fn fetch(url: &Url) -> Result<String, Failure> {
    match timeout(LIMIT, ask(url)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::timeout(format!("no status from {}:{} within {LIMIT:?}", url.host, url.port))),
    }
}

async fn ask(url: &Url) -> Result<String, Failure> {
    let (host, port) = (&url.host, url.port);
    let broken = |error: &dyn std::fmt::Display| Failure::other(format!("{host}:{port} gives no status: {error}"));
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| {
        Failure::tcp(format!("cannot connect to {host}:{port}: {error}"))
            .advise("is a gusset running there with --http? Another address: --url")
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let request = Request::get(&url.path)
        .header(hyper::header::HOST, format!("{host}:{port}"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let code = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(|error| broken(&error))?;
        if !code.is_success() {
            return Err(broken(&format!("it answers {code}")));
        }
        String::from_utf8(body.to_bytes().to_vec()).map_err(|error| broken(&error))
    };
    // The connection does the work of the exchange, and ends by itself when there is no more.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

/// Longer names are not cut, only out of line.
const MOST_WIDTH: usize = 60;
const LIMIT: Duration = Duration::from_secs(10);
/// Some 10,000 peers.
const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_stay_short() {
        let text = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(
            [text(3), text(59), text(310), text(7500), text(270_000)],
            ["3.0s", "59s", "5m10s", "2h05m", "3d03h"]
        );
    }

    #[test]
    fn who_is_held_back_is_shown_with_the_reason() {
        let held = |json: serde_json::Value| {
            let mut peer = serde_json::json!({"name": "b@h", "state": "held_back", "wanted_by": ["pods"], "target": null,
                "origin": "pod default/b", "leaving": false, "link": null, "failure": null});
            peer.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
            why(&serde_json::from_value(peer).unwrap())
        };
        assert_eq!(held(serde_json::json!({"held_back": "limit_reached", "release": "v1"})), "limit reached");
        assert_eq!(held(serde_json::json!({"held_back": "other_release", "release": "v1"})), "other release (v1)");
        assert_eq!(held(serde_json::json!({"held_back": "no_release"})), "no release");
    }

    #[test]
    fn a_url_is_http_with_a_host() {
        let url = Url::parse("http://[::1]:9").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 9, "/status"));
        for bad in ["https://h", "h:9", "ftp://h", "http://"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_from_the_other_side_commands_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
