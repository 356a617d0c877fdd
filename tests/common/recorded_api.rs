//! An HTTPS server in the place of a Kubernetes API: what it answers is what a real one was recorded to, when is up to
//! the test, request by request and line by line of a watch. For what the API server of the tests is too old for.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{LATER, within};

/// What was recorded under this name (`tests/kubernetes_api/recorded`).
pub fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes_api/recorded").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The server. Its clients wait until the test answers.
pub struct RecordedApi {
    folder: TempDir,
    asked: mpsc::UnboundedReceiver<Asked>,
    /// Asked, and not yet looked for.
    waiting: Vec<Asked>,
    serving: JoinHandle<()>,
}

impl RecordedApi {
    /// On a port of loopback, with a certificate of its own.
    pub async fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = tokio_rustls::rustls::crypto::ring::default_provider();
        let config = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let config =
            config.expect("TLS").with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a certificate that fits its key")));

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let folder = TempDir::new().expect("a temporary folder");
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, certified.cert.pem()).expect("a file");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "recorded",
            "clusters": [{"name": "recorded", "cluster": {
                "server": format!("https://{address}"), "certificate-authority": ca,
            }}],
            "users": [{"name": "recorded", "user": {"token": "recorded"}}],
            "contexts": [{"name": "recorded", "context": {
                "cluster": "recorded", "user": "recorded", "namespace": "demo",
            }}],
        });
        // JSON is YAML, too.
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).expect("a file");

        let (tell, asked) = mpsc::unbounded_channel();
        let serving = tokio::spawn(serve(listener, acceptor, tell));
        Self { folder, asked, waiting: Vec::new(), serving }
    }

    /// The file to give to a client. Its namespace is that of the recordings, `demo`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Waits until a list is asked for, of a resource and with parameters that all these are part of.
    pub async fn list(&mut self, parts: &[&str]) -> Asked {
        self.request("a list", |asked| !asked.is_watch() && asked.has(parts), parts).await
    }

    /// Waits until a watch is asked for, and starts it.
    pub async fn watch(&mut self, parts: &[&str]) -> Stream {
        self.request("a watch", |asked| asked.is_watch() && asked.has(parts), parts).await.stream()
    }

    /// Waits for any request.
    pub async fn any(&mut self) -> Asked {
        self.request("a request", |_| true, &[]).await
    }

    async fn request(&mut self, what: &str, wanted: impl Fn(&Asked) -> bool, parts: &[&str]) -> Asked {
        if let Some(found) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(found);
        }
        let (asked, waiting) = (&mut self.asked, &mut self.waiting);
        let next = async {
            loop {
                let request = asked.recv().await.expect("the server runs");
                if wanted(&request) {
                    return request;
                }
                waiting.push(request);
            }
        };
        within(LATER, &format!("{what} with {parts:?} is asked for"), next).await
    }
}

impl Drop for RecordedApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A request that waits for its answer. Its connection breaks if it is dropped.
pub struct Asked {
    /// The path with its parameters, decoded.
    pub line: String,
    /// What came with it.
    pub body: Bytes,
    reply: oneshot::Sender<Reply>,
}

impl Asked {
    pub fn is_watch(&self) -> bool {
        self.line.contains("watch=true")
    }

    fn has(&self, parts: &[&str]) -> bool {
        parts.iter().all(|part| self.line.contains(part))
    }

    /// Answers with a body.
    pub fn answer(self, status: u16, body: impl Into<Bytes>) {
        // A client that has given up is none of the test's business.
        let _ = self.reply.send((status, Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()));
    }

    /// Answers with what was recorded under this name.
    pub fn answer_recorded(self, status: u16, name: &str) {
        self.answer(status, recorded(name));
    }

    /// Begins an answer that goes on.
    pub fn stream(self) -> Stream {
        let (lines, sent) = mpsc::unbounded_channel();
        let next = |mut sent: mpsc::UnboundedReceiver<_>| async { sent.recv().await.map(|item| (item, sent)) };
        let body = StreamBody::new(futures_util::stream::unfold(sent, next)).boxed_unsync();
        let line = self.line.clone();
        let _ = self.reply.send((200, body));
        Stream { line, lines }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("line", &self.line).finish_non_exhaustive()
    }
}

/// A watch that runs. It ends as a server ends it when this is dropped.
pub struct Stream {
    /// What was asked for.
    pub line: String,
    lines: mpsc::UnboundedSender<io::Result<Frame<Bytes>>>,
}

impl Stream {
    /// Sends a line as it was recorded.
    pub fn line(&self, line: &str) {
        let _ = self.lines.send(Ok(Frame::data(Bytes::from(format!("{}\n", line.trim_end())))));
    }

    /// Sends an event about an object.
    pub fn event(&self, kind: &str, object: &Value) {
        self.line(&json!({"type": kind, "object": object}).to_string());
    }

    /// Breaks the connection.
    pub fn cut(self) {
        let _ = self.lines.send(Err(io::ErrorKind::ConnectionReset.into()));
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Reply = (u16, Body);

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, tell: mpsc::UnboundedSender<Asked>) {
    // They end with the server.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        connections.spawn(async move {
            let Ok(socket) = acceptor.accept(socket).await else { return };
            let service = service_fn(|request| answer(request, tell.clone()));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, tell: mpsc::UnboundedSender<Asked>) -> io::Result<Response<Body>> {
    let line = decoded(&request.uri().to_string());
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let (reply, replied) = oneshot::channel();
    tell.send(Asked { line, body, reply }).map_err(io::Error::other)?;
    let (status, body) = replied.await.map_err(io::Error::other)?;
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(body).map_err(io::Error::other)
}

/// Without percent signs, for people who write tests.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                bytes.extend(high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
