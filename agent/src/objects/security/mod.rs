//! The kinds of `security.istio.io`: who may connect to what, and whether plaintext is accepted.

pub(super) mod authorization_policy;
mod condition;
pub(super) mod peer_authentication;
mod rule;
mod values;

pub use authorization_policy::{AuthorizationPolicy, DRY_RUN_ANNOTATION, PolicyAction, PolicyTarget};
pub use condition::Condition;
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use rule::{Operation, Rule, ServiceAccountName, Source};
pub use values::Values;
