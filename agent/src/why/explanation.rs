//! The answer as data, as it travels from the agent to `weir why`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What would become of a request of a pod, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// Method and URL.
    pub request: String,
    /// `namespace/name`.
    pub pod: String,
    /// The identity that its traffic carries.
    pub identity: String,
    /// The address that its application dials; `None` where the mesh does not know it.
    pub address: Option<SocketAddr>,
    /// Whose address that is: a service as `namespace/hostname`, a workload as `namespace/name`; `None` where the mesh does
    /// not know.
    pub destination: Option<String>,
    pub destination_because: String,
    /// `HTTP` or `TCP`.
    pub served_as: String,
    pub served_because: String,
    /// Objects with routes that name the service; the best first.
    #[serde(default)]
    pub objects: Vec<ObjectLine>,
    /// Their rules up to the one that the request takes.
    #[serde(default)]
    pub rules: Vec<RuleLine>,
    /// What is done with the request, and with the response, in order.
    #[serde(default)]
    pub actions: Vec<String>,
    /// The answer, where no endpoint is asked.
    #[serde(default)]
    pub answer: Option<AnswerLine>,
    /// Where it may go.
    #[serde(default)]
    pub destinations: Vec<DestinationLine>,
    /// What is missing or surprising.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// An object that is about the service, and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLine {
    /// Kind, namespace and name, each.
    pub objects: Vec<String>,
    /// The host as they name it.
    pub host: String,
    pub counts: bool,
    pub because: String,
}

/// One way into a rule of an object, and whether the request takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLine {
    pub object: String,
    /// From 0.
    pub rule: u32,
    /// As metrics and logs call it.
    pub name: String,
    pub is_taken: bool,
    /// The conditions that hold.
    pub met: Vec<String>,
    /// The first condition that does not.
    pub failed: Option<String>,
}

/// An answer of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerLine {
    pub status: u16,
    pub because: String,
}

/// One of the places that the request may go to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DestinationLine {
    /// `namespace/hostname`; what the route names, where there is no such service; an address outside of the mesh.
    pub name: String,
    pub port: u16,
    /// Its share of the rule's requests: its weight, and the sum of all weights.
    pub weight: u32,
    pub total_weight: u32,
    pub subset: Option<String>,
    /// The DestinationRule that counts.
    pub destination_rule: Option<String>,
    /// Rules for its host that do not count.
    #[serde(default)]
    pub other_rules: Vec<ObjectLine>,
    /// How an endpoint is chosen, and the limits.
    pub policy: Vec<String>,
    /// The answer, where no endpoint is asked.
    pub answer: Option<AnswerLine>,
    pub endpoints: Vec<EndpointLine>,
    /// Endpoints that are not in the list, because there are so many.
    pub more_endpoints: usize,
    /// Endpoints that are not of the subset.
    pub outside_of_subset: usize,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointLine {
    /// `namespace/name`; an address where it is no workload of the mesh.
    pub name: String,
    pub address: String,
    /// `HBONE`, `plain TCP`, or why it cannot be reached.
    pub transport: String,
    /// The identity that it must prove; none over plain TCP.
    pub identity: Option<String>,
    pub node: String,
    /// Region, zone and subzone.
    pub locality: String,
    pub health: String,
    /// Requests of this node's pods that are under way to it.
    pub requests_under_way: u32,
    pub is_ejected: bool,
    /// Whether it may be chosen now.
    pub is_candidate: bool,
    /// Why not.
    pub because: Option<String>,
    /// What policy says at the destination, as far as it is known here.
    pub authorization: String,
    /// Whose tokens count there and where they are looked for, as far as that is known here.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// What becomes of the request's token; `None` where nobody looks at tokens.
    #[serde(default)]
    pub token: Option<String>,
    /// Which external authorizers are asked about requests, and by which policy, as far as that is known here.
    #[serde(default)]
    pub authorizers: Vec<String>,
    /// The rate limits that count there, as far as they are known here.
    #[serde(default)]
    pub limits: Vec<String>,
}
