//! The kinds of `security.istio.io`: who may connect to what, and whether plaintext is accepted.

mod authorization_policy;
mod condition;
mod peer_authentication;
pub(super) mod protobuf;
mod rule;
mod values;
pub(super) mod yaml;

pub use authorization_policy::{AuthorizationPolicy, PolicyAction};
pub use condition::Condition;
pub use rule::{Operation, Rule, Source};
pub use values::{ServiceAccountName, Values};

pub use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
pub use crate::model::policy_object::PolicyTarget;
