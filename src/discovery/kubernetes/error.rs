//! What the Kubernetes API and its client say when they fail, and what to do about it.

use std::error::Error;

use kube::runtime::watcher;

use super::lookup::{Lookup, Source, Wanted};
use crate::discovery::strategy::{DiscoveryError, DiscoveryErrorKind};

/// Explains why a source cannot be listed or watched.
pub(super) fn watch_error(error: &watcher::Error, source: &Source) -> DiscoveryError {
    match error {
        watcher::Error::InitialListFailed(error) => request_error(error, "list", source),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            request_error(error, "watch", source)
        }
        watcher::Error::WatchError(status) => status_error(status, "watch", source),
        watcher::Error::NoResourceVersion => {
            DiscoveryError::new(DiscoveryErrorKind::Other, "the Kubernetes API gave a list without a resource version")
        }
    }
}

/// True when the place in the history from which to watch is no longer kept (HTTP 410): no trouble, only
/// a reason to list anew.
pub(super) fn has_expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == GONE,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == GONE,
        _ => false,
    }
}

/// True when the rest of a long list is no longer kept: routine, unless it goes on.
pub(super) fn is_lost_page(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == GONE)
}

/// Explains why no client can be made.
pub(super) fn access_error(error: &(dyn Error + 'static)) -> DiscoveryError {
    no_access(&chain(error), "check the server and the certificates of the kubeconfig or of the service account")
}

/// Explains a kubeconfig that was asked for and is of no use.
pub(super) fn kubeconfig_error(error: &(dyn Error + 'static)) -> DiscoveryError {
    no_access(&chain(error), "correct KUBECONFIG, or unset it: a pod then uses its service account")
}

/// Explains that there is neither a pod around us nor a kubeconfig.
pub(super) fn outside_error(error: &(dyn Error + 'static)) -> DiscoveryError {
    let text = format!("this is no pod (no KUBERNETES_SERVICE_HOST), and there is no kubeconfig: {}", chain(error));
    no_access(&text, "set KUBECONFIG, or run in a pod")
}

/// Explains a pod without a usable service account.
pub(super) fn service_account_error(error: &(dyn Error + 'static)) -> DiscoveryError {
    no_access(&format!("the service account of this pod: {}", chain(error)), CHECK_CREDENTIALS)
}

fn no_access(text: &str, fix: &str) -> DiscoveryError {
    DiscoveryError::new(DiscoveryErrorKind::Config, format!("no access to a Kubernetes API: {text}")).with_fix(fix)
}

/// Explains an API that does not answer.
pub(super) fn silence(step: &str, limit: std::time::Duration) -> DiscoveryError {
    DiscoveryError::new(DiscoveryErrorKind::Timeout, format!("the Kubernetes API did not {step} within {limit:?}"))
        .with_fix(CHECK_THE_WAY)
}

/// Explains the answer to a single request.
pub(super) fn request_error(error: &kube::Error, verb: &str, source: &Source) -> DiscoveryError {
    let lookup = source.lookup;
    match error {
        kube::Error::Api(status) => status_error(status, verb, source),
        kube::Error::Auth(_) => {
            let text = format!("there are no credentials for the Kubernetes API: {}", chain(error));
            DiscoveryError::new(DiscoveryErrorKind::Unauthorized, text).with_fix(CHECK_CREDENTIALS)
        }
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
            let text = format!("the Kubernetes API cannot be reached to {verb} {lookup}: {}", chain(error));
            DiscoveryError::new(DiscoveryErrorKind::Unreachable, text).with_fix(CHECK_THE_WAY)
        }
        _ => {
            let text = format!("cannot {verb} {lookup} in namespace `{}`: {}", source.namespace(), chain(error));
            DiscoveryError::new(DiscoveryErrorKind::Other, text)
        }
    }
}

fn status_error(status: &kube::core::Status, verb: &str, source: &Source) -> DiscoveryError {
    let (code, message, lookup, namespace) = (status.code, &status.message, source.lookup, source.namespace());
    let said = format!(
        "the Kubernetes API answered {code} when asked to {verb} {lookup} in namespace `{namespace}`: {message}"
    );
    match code {
        401 => DiscoveryError::new(DiscoveryErrorKind::Unauthorized, said).with_fix(CHECK_CREDENTIALS),
        403 => DiscoveryError::new(DiscoveryErrorKind::Forbidden, said).with_fix(format!(
            "add to a Role in namespace `{namespace}` the rule {} and bind it (RoleBinding) to the ServiceAccount of this \
             pod",
            lookup.rule()
        )),
        400 => DiscoveryError::new(DiscoveryErrorKind::Config, said).with_fix(match &source.wanted {
            Wanted::Labels(selector) => {
                format!("the label selector is `{selector}`; write it as kubectl takes it: app=myapp,tier!=batch")
            }
            Wanted::Named(name) => format!("the service is `{name}`; give its name in the namespace, as kubectl takes it"),
        }),
        404 => DiscoveryError::new(DiscoveryErrorKind::NotFound, said).with_fix(match lookup {
            Lookup::EndpointSlices => OLD_SERVER,
            Lookup::Pods | Lookup::Endpoints => NO_SERVER,
        }),
        _ => DiscoveryError::new(DiscoveryErrorKind::Other, said),
    }
}

/// The error and what caused it, without what is said twice.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

const GONE: u16 = 410;
const OLD_SERVER: &str = "this API server has no discovery.k8s.io/v1, which came with Kubernetes 1.21: use the lookup \
                          `endpoints` or `pods`";
const NO_SERVER: &str = "check that the server of the kubeconfig is a Kubernetes API";
const CHECK_THE_WAY: &str = "check that the API server is up, and that a NetworkPolicy lets this pod reach it \
                             (KUBERNETES_SERVICE_HOST, or the server of the kubeconfig)";
const CHECK_CREDENTIALS: &str = "check the ServiceAccount of this pod (automountServiceAccountToken must not be false), \
                                 or the user of the kubeconfig; the token may have expired";
