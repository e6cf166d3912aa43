//! What the process counts. [`Metrics`] holds all of it behind plain methods, one file for each kind of event; names,
//! help and labels are in `catalogue` and `labels`. Types of prometheus do not leave this directory.

mod catalogue;
mod classic;
mod configuration;
mod connections;
mod labels;
mod live;
mod pods;
mod process;
mod registry;
mod scrape;
mod scraped;
mod traffic;

pub use self::configuration::{StateFile, XdsTermination};
pub use self::connections::Side;
pub(in crate::telemetry) use self::live::OpenConnection;
pub use self::registry::{Metrics, OpenGuard};
pub use self::scrape::{Scrape, ScrapeText, TextFormat};
