//! DestinationRule (`istio.networking.v1.DestinationRule`): how clients use the endpoints of a host, and which subsets of them
//! routes may name.

use super::traffic_policy::{self, TrafficPolicy};
use super::values::ExportTo;
use crate::objects::labels::{self, Labels};
use crate::objects::reading::{Fields, names};

/// `spec` of a DestinationRule.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DestinationRule {
    /// As written.
    pub host: String,
    pub traffic_policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
    pub export_to: ExportTo,
    /// The pods it is for as clients, of its own namespace; `None`: all.
    pub workload_selector: Option<Labels>,
}

/// An item of `subsets`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subset {
    pub name: String,
    /// What endpoints must have to be in it; empty: all are.
    pub labels: Labels,
    pub traffic_policy: Option<TrafficPolicy>,
}

/// Reads and checks `spec`.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> DestinationRule {
    let report = fields.report();
    let host = fields.text("host").unwrap_or_default();
    if host.is_empty() {
        fields.error("host", "the host of a service is needed");
    } else if host != "*"
        && let Err(reason) = names::wildcard_host(&host)
    {
        fields.error("host", reason);
    }
    let traffic_policy = fields.fields("trafficPolicy").map(traffic_policy::read);
    let mut subsets: Vec<Subset> = Vec::new();
    for item in fields.items("subsets") {
        let Some(subset) = item.fields(report).map(subset) else { continue };
        if subsets.iter().any(|known| known.name == subset.name) {
            item.error(report, format!("the subset {:?} is already defined: remove one of the two", subset.name));
        }
        subsets.push(subset);
    }
    let export_to = ExportTo::read(&mut fields);
    let workload_selector = fields.fields("workloadSelector").map(|mut selector| {
        let labels = labels::read_selector(&mut selector, "matchLabels");
        selector.finish();
        labels
    });
    fields.finish();
    DestinationRule { host, traffic_policy, subsets, export_to, workload_selector }
}

fn subset(mut fields: Fields<'_>) -> Subset {
    let name = fields.text("name").unwrap_or_default();
    if name.is_empty() {
        fields.error("name", "a subset needs its name");
    } else if names::label(&name.to_ascii_lowercase()).is_err() {
        fields.error("name", format!("{name:?} is not a name of a subset: use letters, digits and -"));
    }
    let found = Subset {
        name,
        labels: labels::read(&mut fields, "labels"),
        traffic_policy: fields.fields("trafficPolicy").map(traffic_policy::read),
    };
    if found.labels.is_empty() {
        fields.notice("labels", "a subset without labels has all endpoints of the host");
    }
    fields.finish();
    found
}
