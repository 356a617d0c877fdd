//! The HTTP server for probes, metrics and status: a port of its own, read-only, one request per connection.
//!
//! Whoever can reach the port can ask; so everything is bounded: connections, the time each may take, the size of a
//! request. Nothing here can change the node, and nothing shows a cookie.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::observer::Observer;

/// The port that tools look at when none is given.
pub const DEFAULT_HTTP_PORT: u16 = 9569;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves `/livez`, `/readyz`, `/metrics` and `/status` at an address. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn bind(address: SocketAddr, observer: Observer) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, observer, stop.clone()));
        tracing::info!(%address, "HTTP server for health and metrics is up");
        Ok(Self { address, stop: stop.drop_guard(), task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops it; requests that are being answered still are, within their time limit.
    pub async fn stop(self) {
        drop(self.stop);
        // It only fails when the task panicked or the runtime is going down; it has stopped either way.
        let _ = self.task.await;
    }
}

async fn serve(listener: TcpListener, observer: Observer, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Those above the limit wait in the queue of the listening socket.
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let observer = observer.clone();
                connections.spawn(async move {
                    connection(stream, observer).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: a pause, not a tight loop.
                tracing::warn!(%error, "HTTP server cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, observer: Observer) {
    let service = service_fn(move |request| {
        let response = respond(&request, &observer);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection ended"),
        Err(_) => tracing::debug!(limit = ?CONNECTION_LIMIT, "HTTP connection took too long"),
    }
}

fn respond(request: &Request<Incoming>, observer: &Observer) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let text = format!("{} is not taken here: only GET and HEAD\n", request.method());
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if !request.body().is_end_stream() {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body\n".to_owned());
    }
    let verbose = request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    match request.uri().path() {
        "/livez" => livez(observer, verbose),
        "/readyz" => readyz(observer, verbose),
        "/metrics" => with_type(StatusCode::OK, METRICS_TYPE, observer.metrics()),
        "/status" => status(observer),
        "/" => plain(StatusCode::OK, format!("gusset {}\n{PATHS}", env!("CARGO_PKG_VERSION"))),
        path => {
            let path: String = path.chars().take(MAX_ECHO).collect();
            plain(StatusCode::NOT_FOUND, format!("there is no {path} here, but\n{PATHS}"))
        }
    }
}

/// That this runs is the answer. It must not depend on peers.
fn livez(observer: &Observer, verbose: bool) -> Response<Full<Bytes>> {
    if !verbose {
        return plain(StatusCode::OK, "ok\n".to_owned());
    }
    let status = observer.status();
    plain(
        StatusCode::OK,
        format!("[+]process ok: {} is up for {:.0?}\nlivez check passed\n", status.node, status.uptime),
    )
}

fn readyz(observer: &Observer, verbose: bool) -> Response<Full<Bytes>> {
    let readiness = observer.readiness();
    let code = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !verbose {
        let text = if readiness.ready { "ok\n".to_owned() } else { format!("not ready: {}\n", readiness.reason()) };
        return plain(code, text);
    }
    let mut text = String::new();
    for (name, ok, why) in &readiness.checks {
        let (sign, word) = if *ok { ('+', "ok") } else { ('-', "failed") };
        text.push_str(&format!("[{sign}]{name} {word}: {why}\n"));
    }
    text.push_str(if readiness.ready { "readyz check passed\n" } else { "readyz check failed\n" });
    plain(code, text)
}

fn status(observer: &Observer) -> Response<Full<Bytes>> {
    match serde_json::to_string(&observer.status()) {
        Ok(mut json) => {
            json.push('\n');
            with_type(StatusCode::OK, "application/json", json)
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("the status cannot be written: {error}\n")),
    }
}

fn plain(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    with_type(code, "text/plain; charset=utf-8", text)
}

fn with_type(code: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const PATHS: &str = "\
\x20 /livez    is the process alive?
  /readyz   is it in its cluster? (?verbose)
  /metrics  for Prometheus
  /status   everything, as JSON
";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Probes and scrapers are a handful; each connection is one request.
const MAX_CONNECTIONS: usize = 64;
/// A request that has not come by then is none. Well above the time limits of probes (1 s by default).
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection with a slow reader is ended then; a scrape has a limit of 10 s by default.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15);
/// The least that hyper allows, and far more than a probe sends.
const MAX_HEADER_BYTES: usize = 8192;
/// A browser sends some 20.
const MAX_HEADERS: usize = 64;
/// How much of a wrong path is repeated.
const MAX_ECHO: usize = 100;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
