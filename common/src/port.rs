//! Well-known ports.

/// The port on which every HBONE peer listens: Weir, ztunnel, and Istio's waypoints and gateways.
pub const HBONE_PORT: u16 = 15008;
