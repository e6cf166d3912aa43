//! What the agent reports about itself: its log, its metrics, and one record per connection and per request.

pub mod access_log;
pub mod connection;
pub mod connection_reporting;
pub mod ends;
mod facts;
mod line_ends;

pub mod log {
    //! The log of the process: its filter, the form of its lines, and who writes them. The data plane never waits for it.

    mod fields;
    mod format;
    mod of_pod;
    mod setup;
    mod writer;

    pub(super) use self::fields::FieldWriter;
    pub use self::fields::LogFormat;
    pub(super) use self::format::{RAW_ACCESS_TARGET, WHOLE_ACCESS_TARGET};
    pub(super) use self::of_pod::of_pod;
    #[cfg(test)]
    pub(crate) use self::setup::tests;
    pub use self::setup::{LogHandle, init, init_direct};
}

pub mod metrics {
    //! What the process counts. [`Metrics`] holds all of it behind plain methods, one file for each kind of event; names,
    //! help and labels are in `catalogue` and `labels`. Types of prometheus do not leave this directory.

    mod catalogue;
    mod classic;
    mod configuration;
    mod connections;
    mod custom;
    mod custom_counters;
    mod histogram;
    mod labels;
    mod late_plaintext;
    mod live;
    mod pods;
    mod process;
    mod rate_limits;
    mod registry;
    mod request_counters;
    mod request_labels;
    mod requests;
    mod scrape;
    mod scraped;
    mod series;
    mod traffic;

    pub use self::configuration::{StateFile, XdsTermination};
    pub use self::connections::{AuthorizerResult, Side};
    pub(in crate::telemetry) use self::custom_counters::{CountedRequest, CustomConnections};
    pub(in crate::telemetry) use self::live::OpenConnection;
    pub use self::rate_limits::{LimitCounters, LimitOutcome};
    pub use self::registry::{Metrics, OpenGuard};
    pub(in crate::telemetry) use self::request_counters::RequestCounters;
    pub use self::scrape::{Scrape, ScrapeText, TextFormat};
}

pub mod pod_telemetry;
pub mod record;
mod reporting_config;
pub mod request;
pub mod request_ends;

mod request_log {
    //! The access log of requests: one line for each. `notes` has what a line is made of, and `line` writes it; `form` has Istio's
    //! forms, which are made of `template`s with `operator`s, and `values` what these stand for.

    mod ends_fields;
    mod form;
    mod line;
    mod notes;
    mod operator;
    mod template;
    #[cfg(test)]
    mod tests;
    mod text;
    mod values;

    pub(super) use self::ends_fields::EndsFields;
    pub(super) use self::form::RequestLogForm;
    pub(super) use self::line::write;
    pub(super) use self::notes::{EndedRequest, RequestNotes};
    pub(super) use self::text::RequestText;
    pub(super) use self::values::{cluster, version};
}

mod request_outcome;
pub mod request_reporting;
#[cfg(test)]
mod setting_tests;
pub mod span_view;
pub mod spans;
pub mod utc_time;

#[cfg(test)]
pub(crate) mod fixture;
