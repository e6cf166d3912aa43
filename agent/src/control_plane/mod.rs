//! The role `weir control-plane`: Istio objects to the workload API as istiod does it, served as delta ADS, with a CA.

pub mod authority;
pub mod translate;
