//! The agent's HTTP endpoints: metrics, readiness, and the loopback admin interface.
