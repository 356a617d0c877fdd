//! Whom to connect to.
//!
//! A [`Strategy`] finds nodes (a list, this host's EPMD, the pods of a Kubernetes cluster) and reports
//! sets of them. The [`Reconciler`] decides, without I/O and with time as an argument, whom to dial, when,
//! and what to let go. [`Discovery`] drives both on tokio against a [`Mesh`], which is the node seen from
//! here. The rule above all others is *fail-static*: not knowing is no reason to drop a link.

mod auto;
mod backoff;
mod desired;
#[cfg(feature = "dns")]
mod dns;
mod driver;
mod event;
#[cfg(feature = "file")]
mod file;
mod fixed;
#[cfg(feature = "gossip")]
mod gossip;
mod hosts;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod local_epmd;
mod mesh;
mod own_name;
mod reconcile;
mod snapshot;
mod strategy;
mod template;

pub use auto::{Auto, InUse};
pub use backoff::Backoff;
pub use desired::{Candidate, CandidateState, Desired, SelfView};
#[cfg(feature = "dns")]
pub use dns::Dns;
pub use driver::{Discovery, DiscoveryHandle, DiscoveryView};
pub use event::{DiscoveryEvent, Evidence};
#[cfg(feature = "file")]
pub use file::File;
pub use fixed::Static;
#[cfg(feature = "gossip")]
pub use gossip::{Gossip, GossipCounters};
pub use hosts::Hosts;
#[cfg(all(feature = "kubernetes", feature = "ops"))]
pub(crate) use kubernetes::{Census, chain, matches};
#[cfg(feature = "kubernetes")]
pub use kubernetes::{Family, Kubernetes, Lookup};
pub use local_epmd::LocalEpmd;
pub use mesh::{DialFailure, FailureKind, Mesh, MeshEvent};
pub use own_name::{DEFAULT_CLUSTER_DOMAIN, OwnName, OwnNameError, own_name};
pub use reconcile::{Action, HeldBack, Input, Policy, Prune, ReconcileConfig, Reconciler};
pub use snapshot::{LinkStatus, PeerStatus, Snapshot, Stats, TopologyStatus};
pub use strategy::{DiscoveryError, DiscoveryErrorKind, Health, Report, Reporter, Reports, Strategy, TopologyName};
pub use template::{Facts, NameTemplate, PortRule, TemplateError};
