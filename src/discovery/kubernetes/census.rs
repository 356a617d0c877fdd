//! How much a source matches, for people who ask why nobody is found.

use k8s_openapi::api::core::v1::{Endpoints, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;

use super::Kubernetes;
use super::error::request_error;
use super::lookup::{Lookup, Source, Wanted};
use super::rules::Shows;
use crate::discovery::strategy::DiscoveryError;

/// What one selector matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Census {
    /// What was counted, with the namespace that it was counted in.
    pub(crate) source: Source,
    /// Pods, slices, or Endpoints.
    pub(crate) objects: usize,
    /// What is in them: addresses with a node behind them, whether they are dialled or not.
    pub(crate) endpoints: usize,
}

/// Counts what each selector matches.
pub(crate) async fn matches(
    strategy: &Kubernetes,
    client: &kube::Client,
    own_namespace: &str,
) -> Result<Vec<Census>, DiscoveryError> {
    let mut counted = Vec::new();
    for mut source in strategy.sources() {
        source.namespace.get_or_insert_with(|| own_namespace.to_owned());
        let (objects, endpoints) = match source.lookup {
            Lookup::Pods => count::<Pod>(client, &source, |_| 1).await,
            Lookup::EndpointSlices => count::<EndpointSlice>(client, &source, |slice| slice.endpoints.len()).await,
            Lookup::Endpoints => count::<Endpoints>(client, &source, addresses).await,
        }?;
        counted.push(Census { source, objects, endpoints });
    }
    Ok(counted)
}

async fn count<K: Shows>(
    client: &kube::Client,
    source: &Source,
    endpoints: fn(&K) -> usize,
) -> Result<(usize, usize), DiscoveryError> {
    let api: Api<K> = Api::namespaced(client.clone(), source.namespace());
    let params = match &source.wanted {
        Wanted::Labels(selector) => ListParams::default().labels(selector),
        Wanted::Named(name) => ListParams::default().fields(&format!("metadata.name={name}")),
    };
    let list = api.list(&params).await.map_err(|error| request_error(&error, "list", source))?;
    Ok((list.items.len(), list.items.iter().map(endpoints).sum()))
}

fn addresses(endpoints: &Endpoints) -> usize {
    let count = |addresses: &Option<Vec<_>>| addresses.as_ref().map_or(0, Vec::len);
    let subsets = endpoints.subsets.iter().flatten();
    subsets.map(|subset| count(&subset.addresses) + count(&subset.not_ready_addresses)).sum()
}
