//! Every setting of the agent once: its name, its environment variable, its default and the reason for it.
//! `weir agent --help` is the reference made from these comments.

mod agent;
mod capture;
mod cluster;
mod derived;
mod environment;
mod istiod;
mod limits;
mod values;

pub use self::agent::{
    AgentConfig, DirectoryConfig, EndpointConfig, FilesConfig, LogConfig, LogFormat, MeshConfig, NodeConfig,
    OutboundPolicyArg, ProxyConfig, SameNode, TokensConfig, TracingConfig,
};
pub use self::capture::{CaptureConfig, Location, UncapturableOutbound};
pub use self::cluster::{CniArg, CniConfig, KubernetesArg, KubernetesConfig};
pub use self::environment::Environment;
pub use self::istiod::{IstiodConfig, ObjectsFrom, PlaintextWithoutAgent};

#[cfg(test)]
mod tests;
