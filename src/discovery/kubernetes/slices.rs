//! EndpointSlices to candidates.
//!
//! The controller of the slices keeps the endpoint of a pod until the pod is deleted or has ended: an unready pod is
//! there with `ready: false`, one on its way out with `terminating: true`. So an endpoint that leaves a slice which
//! lives on is a pod that has gone, unless it has only moved to another slice. The end of a whole slice says nothing:
//! slices go with their Service, pods do not.

use std::time::Duration;

use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};

use super::lookup::SERVICE_NAME;
use super::rules::{Endpoint, Found, Look, Rules, Shows};
use crate::discovery::desired::CandidateState;

impl Shows for EndpointSlice {
    const MOVES_WITHIN: Duration = Duration::from_secs(5);
    const DELETED_IS_GONE: bool = false;

    fn look(&self, rules: &Rules, _before: &[Found]) -> Look {
        let metadata = &self.metadata;
        let mut look = Look { others_are_gone: true, ..Look::default() };
        if !matches!(self.address_type.as_str(), "IPv4" | "IPv6") {
            let slice = metadata.name.as_deref().unwrap_or_default();
            tracing::debug!(slice, address_type = %self.address_type, "slice has no addresses, it is left out");
            return look;
        }
        let service = metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)).map(String::as_str);
        let ports = || self.ports.iter().flatten().filter_map(|port| Some((port.name.as_deref(), port.port?)));
        let port = rules.listed_port(ports());
        for endpoint in &self.endpoints {
            // The API says: further addresses of an endpoint are others for the same.
            let Some(ip) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else { continue };
            if rules.rank(ip).is_none() {
                look.unsuited += 1;
                continue;
            }
            let conditions = endpoint.conditions.as_ref();
            look.found.push(rules.endpoint(Endpoint {
                ip,
                hostname: endpoint.hostname.as_deref(),
                service,
                metadata,
                target: endpoint.target_ref.as_ref(),
                port,
                state: conditions.map_or(CandidateState::Ready, state),
                zone: endpoint.zone.as_deref(),
                // A server that knows no such condition takes a pod out when it begins to terminate.
                told_by_absence: conditions.is_some_and(|conditions| conditions.terminating.is_some()),
            }));
        }
        look
    }
}

/// `ready` is true of all pods where the Service publishes those that are not ready; then `serving` tells the truth.
fn state(conditions: &EndpointConditions) -> CandidateState {
    if conditions.terminating == Some(true) {
        CandidateState::Terminating
    } else if conditions.ready.unwrap_or(true) && conditions.serving.unwrap_or(true) {
        CandidateState::Ready
    } else {
        CandidateState::NotReady
    }
}
