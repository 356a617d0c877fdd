//! What services say to other nodes before the node closes its connections.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;

use super::Node;

/// Kept with the node, so there is no handle of the node in it.
#[derive(Default)]
struct Farewells(Mutex<Vec<Farewell>>);

type Farewell = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

impl Node {
    /// Has something done first when the node shuts down, while everything still runs. It must not hold a handle of the
    /// node, which would keep the node.
    pub(crate) fn before_shutdown(&self, farewell: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.extension::<Farewells>().0.lock().push(Box::new(farewell));
    }

    pub(super) async fn say_farewell(&self) {
        let farewells = std::mem::take(&mut *self.extension::<Farewells>().0.lock());
        let all = join_all(farewells.into_iter().map(|farewell| farewell()));
        if tokio::time::timeout(FAREWELL_TIMEOUT, all).await.is_err() {
            tracing::warn!(timeout = ?FAREWELL_TIMEOUT, "not everybody was told that this node shuts down");
        }
    }
}

/// So long a node that reads slowly may hold up the end.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
