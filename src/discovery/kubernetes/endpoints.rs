//! Endpoints to candidates.
//!
//! A pod that begins to terminate is taken out of the Endpoints at once, while it still works, for as long as its
//! grace period is. So nothing that leaves them proves that a node has gone: it is not dialled any more, and a link to
//! it stays until it breaks.

use std::time::Duration;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};

use super::rules::{Endpoint, Found, Look, Rules, Shows};
use crate::discovery::desired::CandidateState;

impl Shows for Endpoints {
    const MOVES_WITHIN: Duration = Duration::ZERO;
    const DELETED_IS_GONE: bool = false;

    fn look(&self, rules: &Rules, before: &[Found]) -> Look {
        let mut look = Look::default();
        for subset in self.subsets.iter().flatten() {
            let port = port(subset, rules);
            let ready = subset.addresses.iter().flatten().map(|address| (address, CandidateState::Ready));
            let others = subset.not_ready_addresses.iter().flatten().map(|address| (address, CandidateState::NotReady));
            for (address, state) in ready.chain(others) {
                match node(self, address, state, port, rules) {
                    Some(found) => look.found.push(found),
                    None => look.unsuited += 1,
                }
            }
        }
        if before.is_empty() && is_truncated(self) {
            let endpoints = self.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(endpoints, "Endpoints leave out what is beyond 1000 addresses: look up EndpointSlices");
        }
        look
    }
}

fn node(
    endpoints: &Endpoints,
    address: &EndpointAddress,
    state: CandidateState,
    port: Option<u16>,
    rules: &Rules,
) -> Option<Found> {
    let ip = address.ip.parse().ok().filter(|ip| rules.rank(*ip).is_some())?;
    Some(rules.endpoint(Endpoint {
        ip,
        hostname: address.hostname.as_deref(),
        // Endpoints have the name of their Service.
        service: endpoints.metadata.name.as_deref(),
        metadata: &endpoints.metadata,
        target: address.target_ref.as_ref(),
        port,
        state,
        zone: None,
        told_by_absence: false,
    }))
}

fn port(subset: &EndpointSubset, rules: &Rules) -> Option<u16> {
    rules.listed_port(subset.ports.iter().flatten().map(|port| (port.name.as_deref(), port.port)))
}

fn is_truncated(endpoints: &Endpoints) -> bool {
    let annotations = endpoints.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY))
}

/// The controller's note on Endpoints that would have more addresses than it writes.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
