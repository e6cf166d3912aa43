//! Labels of workloads that objects ask for and the workload API has no field for: an extension that other readers skip.

use std::collections::BTreeSet;

use prost::Message as _;

use super::context::Context;
use crate::model::workload::{APP_LABEL, LABELS_EXTENSION, VERSION_LABEL};
use crate::objects::{HttpObject, Labels, PolicyTarget};
use crate::proto::istio::workload::{Extension, Workload};

/// The names of the labels that objects ask for.
#[derive(Debug, Default)]
pub(super) struct AskedLabels(BTreeSet<String>);

impl AskedLabels {
    /// Those that subsets of DestinationRules are told apart by, those of `failoverPriority`, and those by which RequestAuthentications
    /// select.
    pub(super) fn of(context: &Context<'_>) -> Self {
        let mut asked = BTreeSet::new();
        for (_, object) in context.objects.http_objects().filter(|(_, object)| context.is_ours(object.metadata)) {
            if let HttpObject::RequestAuthentication(authentication) = &object.spec.object
                && let PolicyTarget::Selector(labels) = &authentication.target
            {
                asked.extend(labels.keys().cloned());
            }
            let HttpObject::DestinationRule(rule) = &object.spec.object else { continue };
            let of_subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
            let policies = rule.traffic_policy.iter().chain(of_subsets);
            let policies =
                policies.flat_map(|policy| std::iter::once(policy).chain(policy.ports.iter().map(|(_, own)| own)));
            let settings = policies.filter_map(|policy| policy.load_balancer.as_ref()?.locality.as_ref());
            let of_places = settings.flat_map(|setting| &setting.failover_priority);
            asked.extend(of_places.map(|label| label.name.to_string()));
            asked.extend(rule.subsets.iter().flat_map(|subset| subset.labels.keys().cloned()));
        }
        Self(asked)
    }

    /// Adds those of a workload's labels that are asked for and that it does not say otherwise.
    pub(super) fn add_to(&self, workload: &mut Workload, labels: &Labels) {
        let is_said = |name: &str, value: &str| match name {
            VERSION_LABEL => workload.canonical_revision == value,
            APP_LABEL => workload.canonical_name == value,
            _ => false,
        };
        let asked = labels.iter().filter(|(name, value)| self.0.contains(*name) && !is_said(name, value));
        let fields = asked.map(|(name, value)| (name.clone(), prost_types::Value::from(value.clone())));
        let fields = prost_types::Struct { fields: fields.collect() };
        if fields.fields.is_empty() {
            return;
        }
        let config = prost_types::Any {
            type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(),
            value: fields.encode_to_vec(),
        };
        workload.extensions.push(Extension { name: LABELS_EXTENSION.to_owned(), config: Some(config) });
    }
}
