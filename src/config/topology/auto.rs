//! `strategy = "auto"`: the Kubernetes API while it works, else DNS.

use super::{dns, kubernetes, naming};
use crate::config::schema::{Key, StrategyKind};

const KEYS: &[Key] =
    &[Key::number("patience", "SECONDS", "How long the API may say nothing at the start before DNS is used.")
        .default("5")];

pub(super) const KIND: StrategyKind = StrategyKind {
    name: "auto",
    heading: "Discovery by Kubernetes or DNS",
    about: "The Kubernetes API while it works, else DNS: the keys of `kubernetes` and of `dns`.",
    keys: &[KEYS, kubernetes::KEYS, dns::KEYS, dns::FAMILY, naming::KEYS],
    names: &[],
    foreign: &[],
};

#[cfg(all(feature = "kubernetes", feature = "dns"))]
pub(super) fn build(described: &super::Described<'_>) -> Option<(crate::discovery::Auto, super::KubernetesTopology)> {
    let (kubernetes, dns) = (kubernetes::build(described), dns::build(described));
    let (kubernetes, dns) = (kubernetes?, dns?);
    let mut auto = crate::discovery::Auto::new(kubernetes.strategy.clone(), dns);
    if let Some(time) = described.seconds("patience") {
        auto = auto.patience(time);
    }
    Some((auto, kubernetes))
}
