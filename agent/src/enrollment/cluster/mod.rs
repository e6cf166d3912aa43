//! Keeps the enrolled pods of this node what Kubernetes says they should be: those that are in the mesh are captured and
//! annotated, those that leave it are released in an order in which no connection is refused. `reconcile` compares,
//! `step` decides what is next for a pod, `actions` does it, and `netns_index` finds the namespace of a pod that was there
//! before the agent.

mod actions;
mod netns_index;
mod reconcile;
mod step;

pub use self::reconcile::ClusterEnrollment;
