//! The agent's HTTP endpoints: metrics, readiness, and the admin interface on loopback. They read; all that they can
//! change is the log filter, whether plaintext connections that could be over HBONE go on, and whether the process does.

mod config_dump {
    //! `/config_dump`: all that the agent acts by, with ztunnel's keys, so that `istioctl ztunnel-config` reads it. It never
    //! shows private keys.

    mod certificates;
    mod connections;
    mod dump;
    mod policies;
    mod services;
    mod settings;
    mod workloads;

    pub(super) use self::dump::config_dump;
}

mod logging;
mod plaintext;
mod query;
mod reserve;
mod response;
mod routes;
mod server;
mod sources;

pub mod status {
    //! `weir status`: what an operator wants to know first, as data and as one screen of text.

    mod collect;
    mod fetch;
    mod objects;
    mod render;
    mod report;

    pub(super) use self::collect::collect;
    pub use self::fetch::{FetchError, fetch, fetch_as};
    pub use self::objects::{ObjectStatus, render_objects};
    pub use self::render::render;
    pub use self::report::ControlPlaneStatus;
}

pub use self::plaintext::{EndedPlaintext, PlaintextConnection};
pub use self::query::with_parameters;
pub use self::server::{AdminAddresses, AdminError, AdminServers};
pub use self::sources::{AdminSources, Explain, PodEntry};
pub use self::status::ControlPlaneStatus;

#[cfg(test)]
mod fixture;
