//! `localityLbSetting` of a load balancer (`istio.networking.v1.LocalityLoadBalancerSetting`).

use std::sync::Arc;

use crate::model::balance::{Distribution, FailoverLabel, LocalityPattern};
use crate::model::http::destination::LocalitySetting;
use crate::objects::reading::{Fields, Item};

/// Reads the block.
pub(super) fn read(mut fields: Fields<'_>) -> LocalitySetting {
    let report = fields.report();
    let found = LocalitySetting {
        enabled: fields.flag("enabled").unwrap_or(true),
        distribute: fields
            .items("distribute")
            .iter()
            .filter_map(|item| item.fields(report).map(distribution))
            .collect(),
        failover: fields.items("failover").iter().filter_map(|item| item.fields(report).and_then(failover)).collect(),
        failover_priority: fields.texts("failoverPriority").iter().map(|text| FailoverLabel::parse(text)).collect(),
    };
    let has_order = !found.failover.is_empty() || !found.failover_priority.is_empty();
    if has_order && !found.distribute.is_empty() {
        fields.error("distribute", "is used without failover and failoverPriority: remove one of them");
    }
    if !found.failover_priority.is_empty() && !found.failover.is_empty() {
        fields.notice("failover", "has no effect beside failoverPriority");
    }
    fields.finish();
    found
}

fn distribution(mut fields: Fields<'_>) -> Distribution {
    let report = fields.report();
    let from = fields.text("from").unwrap_or_default();
    if from.is_empty() {
        fields.error("from", "the place of the clients is needed: region/zone/subzone, or *");
    }
    let shares = fields.entries("to").unwrap_or_default();
    let share = |(place, item): &(&str, Item<'_>)| {
        let share = item.number(0..=100, report).and_then(|share| u32::try_from(share).ok())?;
        Some((LocalityPattern::parse(place), share))
    };
    let to: Vec<_> = shares.iter().filter_map(share).collect();
    let total: u32 = to.iter().map(|(_, share)| *share).sum();
    if total != 100 && to.len() == shares.len() {
        fields.error("to", format!("the shares are {total} together: they must be 100"));
    }
    fields.finish();
    Distribution::new(LocalityPattern::parse(&from), to)
}

fn failover(mut fields: Fields<'_>) -> Option<(Arc<str>, Arc<str>)> {
    let [from, to] = ["from", "to"].map(|name| fields.text(name).unwrap_or_default());
    let is_region = |text: &str| !text.is_empty() && !text.contains(['/', '*']);
    for (name, region) in [("from", &from), ("to", &to)] {
        if !is_region(region) {
            fields.error(name, format!("{region:?} is not the name of a region"));
        }
    }
    if from == to {
        fields.error("to", "must be another region than from");
    }
    fields.finish();
    (is_region(&from) && is_region(&to)).then(|| (from.into(), to.into()))
}
