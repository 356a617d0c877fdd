//! A proxy between two nodes that can let one side believe that the other still lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections to one port, and never closes by itself: when one side ends, the other hears nothing of it.
pub struct Proxy {
    port: u16,
    held: Arc<AtomicUsize>,
    cuts: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to a port of this host; `target` may be found out later.
    pub async fn start(target: impl Future<Output = u16> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        let (cuts, mut cut) = watch::channel(0);
        let task = tokio::spawn(async move {
            let target = SocketAddr::from(([127, 0, 0, 1], target.await));
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let near = tokio::select! {
                    near = listener.accept() => match near {
                        Ok((near, _)) => near,
                        Err(_) => return,
                    },
                    Ok(()) = cut.changed() => {
                        tasks.shutdown().await;
                        continue;
                    }
                };
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tasks.spawn(pump(near_in, far_out, counter.clone()));
                tasks.spawn(pump(far_in, near_out, counter.clone()));
            }
        });
        Self { port, held, cuts, task }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections to both of their sides; new ones may come.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many halves of connections are held open although their other end is gone.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies; at the end it holds on to both halves for ever.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, held: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    held.fetch_add(1, Ordering::SeqCst);
    std::future::pending().await
}
