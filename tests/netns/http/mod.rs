//! HTTP: what routes, policies of destinations and the protocol itself promise, as clients and servers see it. Each case
//! has a service of its own, so none sees another one's objects.

use crate::harness::Case;

mod balancing;
mod changes;
mod dashboards;
mod from_kubernetes;
mod http2;
mod load;
mod matching;
mod messages;
mod recovery;
mod split;
mod telemetry_objects;
mod told;
mod visibility;
mod why;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [
        [split::CASES, matching::CASES, visibility::CASES, changes::CASES].concat(),
        [recovery::CASES, balancing::CASES, messages::CASES].concat(),
        [load::CASES, http2::CASES, told::CASES, why::CASES].concat(),
        [from_kubernetes::CASES, telemetry_objects::CASES, dashboards::CASES].concat(),
    ]
    .concat()
}
