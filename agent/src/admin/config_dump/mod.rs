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
