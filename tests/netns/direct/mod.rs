//! Connections between two pods of one node that never come to the agent (`--same-node=direct`): the promises of those that do
//! hold for them.

use crate::harness::Case;

mod agents;
mod changes;
mod faithful;
mod hostile;
mod many;
mod packets;
mod shares;
mod sockets;
mod stage;
mod told;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [
        told::CASES,
        faithful::CASES,
        shares::CASES,
        sockets::CASES,
        changes::CASES,
        agents::CASES,
        many::CASES,
        hostile::CASES,
        packets::CASES,
    ]
    .concat()
}
