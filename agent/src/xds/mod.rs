//! The xDS client: one delta ADS stream to the control plane, decoded into the mesh.
//!
//! `client` connects and reconnects, `session` carries one stream, `initial_sync` says when the agent may be ready.
//! `stream` is the protocol without I/O: it applies responses to the `subscription_state` and makes the ACK or NACK.
//! `version_naming` keeps requests within what a control plane accepts.
//! [`ConfigReceiver`] (`receiver`) puts the result into the mesh; the same path serves configuration that was made in this
//! process ([`ConfigReceiver::apply_snapshot`]). `last_good` keeps what was accepted on disk.

mod client;

mod decode {
    //! From encoded resources to the model. Every field is checked here, so that nothing inside ever meets a malformed one;
    //! an error names the field. What a bad resource means for the mesh is decided by the caller, not here.

    mod authorization;
    mod fields;
    mod malformed;
    mod object;
    mod resource;
    mod service;
    #[cfg(test)]
    mod tests;
    mod workload;

    pub(super) use authorization::{authorization, denial_of_unreadable};
    pub(super) use malformed::Flaw;
    pub use malformed::Malformed;
    pub(super) use object::{
        envelope, http_object, object_denial_of_unreadable, peer_object, policy_object, request_authentication, spec,
        strict_peer, unreadable_authentication,
    };
    pub use resource::address;
    pub(super) use resource::mesh_config;
}

mod initial_sync;

mod last_good {
    //! The last good configuration on disk, so that an agent that starts without its control plane serves at once.
    //!
    //! One file of frames, each the changes of one moment: a part of the mesh without the policies of the rest would
    //! allow what they forbid, so a frame counts whole or not at all, and only after all before it (its checksums build
    //! on theirs). The last frame may be incomplete, as a crash leaves it; with any other doubt the file is ignored. A
    //! change costs its own size; now and then, when most of the file has been overtaken, it is written anew.
    //!
    //! `records` is how a change is written, `frame` how the changes of one moment are, `journal` the file, and
    //! `saving` the task that writes it.

    mod frame;
    mod journal;
    mod records;
    mod saving;
    #[cfg(test)]
    mod tests;

    pub(super) use journal::{Journal, Loaded, file_in};
    pub use journal::{LAST_GOOD_DIR, LAST_GOOD_NAME};
    pub(super) use records::{Record, Records};
    pub(super) use saving::{UnsavedChanges, save_forever};
}

mod node;
mod object_dump;
mod received;
mod receiver;
mod resource_state;
mod session;
mod status;
mod stream;
mod subscription_state;
mod version_naming;

pub use client::{ObjectSource, run};
pub use decode::address as decode_address;
pub use last_good::{LAST_GOOD_DIR, LAST_GOOD_NAME};
pub use node::NodeDescription;
pub use receiver::ConfigReceiver;
pub use session::XdsOptions;
pub use status::{ConnectionState, XdsStatus};
