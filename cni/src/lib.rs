//! What the CNI plugin and the node's agent must agree on: the lines they exchange, the plugin's section in the node's
//! CNI configuration, and the file that speaks for an agent that is not there. Holds no logic of either.

pub mod namespaces;
pub mod section;
pub mod wire;
