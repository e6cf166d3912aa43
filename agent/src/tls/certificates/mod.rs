//! The workload certificates of this node, one per identity: fetched from a CA when first needed and renewed at half of their
//! life, or read from files that somebody else renews.
//!
//! [`Certificates`] (`cache`) has one `slot` per identity, where connections read the certificate and wait for it.
//! `rotation` is the task that fills a slot, by the times of `schedule`; `store` keeps keys over a restart, `ready_files`
//! reads certificates that somebody else renews, and [`trust_bundle`] says which other roots are trusted.

mod cache;
mod options;
mod ready_files;
mod rotation;
mod schedule;
mod slot;
mod store;
#[cfg(test)]
mod tests;
pub mod trust_bundle;

pub use cache::Certificates;
pub use options::{CertificateEvent, CertificateOptions, CertificateSource, CertificateStatus, NoCertificate};
