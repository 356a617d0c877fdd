//! The way to the API: a kubeconfig, or the service account of the pod.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};

use super::error::{access_error, kubeconfig_error, outside_error, service_account_error};
use crate::discovery::strategy::DiscoveryError;

/// Where the configuration of the client comes from.
#[derive(Debug, Clone)]
pub(super) enum Access {
    Inferred,
    Kubeconfig(PathBuf),
}

impl Access {
    pub(super) async fn config(&self) -> Result<kube::Config, DiscoveryError> {
        match self {
            Self::Inferred => inferred().await,
            Self::Kubeconfig(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| kubeconfig_error(&error))?;
                configured(kubeconfig).await
            }
        }
    }
}

pub(super) fn client(config: kube::Config) -> Result<kube::Client, DiscoveryError> {
    kube::Client::try_from(config).map_err(|error| access_error(&error))
}

/// As `kubectl` finds its way, but that a `KUBECONFIG` which leads nowhere is an error and not a reason to look
/// elsewhere: whoever sets it means it.
async fn inferred() -> Result<kube::Config, DiscoveryError> {
    if let Some(kubeconfig) = Kubeconfig::from_env().map_err(|error| kubeconfig_error(&error))? {
        return configured(kubeconfig).await;
    }
    let nowhere = match Kubeconfig::read() {
        Ok(kubeconfig) => return configured(kubeconfig).await,
        Err(error) => error,
    };
    if std::env::var_os(IN_A_POD).is_none() {
        return Err(outside_error(&nowhere));
    }
    kube::Config::incluster().map_err(|error| service_account_error(&error))
}

async fn configured(kubeconfig: Kubeconfig) -> Result<kube::Config, DiscoveryError> {
    let options = KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| kubeconfig_error(&error))
}

/// Kubernetes sets it in every pod.
const IN_A_POD: &str = "KUBERNETES_SERVICE_HOST";
