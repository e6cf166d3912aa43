//! Where a rule sends requests, and what it changes about their fields on the way.

use std::sync::Arc;

use super::settings::RuleContext;
use crate::model::http::field_changes::{FieldChanges, FieldFormat};
use crate::model::http::route::{Action, Cluster, Destination, DirectResponse, Mirror, Target};
use crate::objects::{self, HeaderOperations, RouteDestination};

/// The answer for a reference to a service that is not there, and for a rule that sends nowhere.
const INVALID_DESTINATION: u16 = 500;

/// Changes of fields, and what the authority becomes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) fields: FieldChanges,
    /// `host` and `:authority` are no fields to be changed: setting them is to rewrite the authority.
    pub(super) authority: Option<Box<str>>,
}

/// Compiles operations on fields. A field whose value cannot be filled in here is not set; what it is set in the place of does not stay
/// either, as nobody is to take that for what the rule says.
pub(super) fn changes(operations: &HeaderOperations) -> Changes {
    let is_authority = |name: &str| name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority");
    let compile = |(name, value): &(String, String)| {
        let format = FieldFormat::parse(value).ok()?;
        (!name.starts_with(':') && !is_authority(name)).then(|| (name.to_ascii_lowercase().into(), format))
    };
    let unset = operations.set.iter().filter(|(_, value)| FieldFormat::parse(value).is_err()).map(|(name, _)| name);
    let remove = operations.remove.iter().chain(unset).filter(|name| !name.starts_with(':') && !is_authority(name));
    let authority = operations.set.iter().chain(&operations.add).find(|(name, _)| is_authority(name));
    Changes {
        fields: FieldChanges {
            remove: remove.map(|name| name.to_ascii_lowercase().into()).collect(),
            set: operations.set.iter().filter_map(compile).collect(),
            add: operations.add.iter().filter_map(compile).collect(),
        },
        authority: authority.map(|(_, value)| value.as_str().into()),
    }
}

/// The destinations that get requests: of several, those with a weight. The weight of a single one does not count.
pub(super) fn destinations(context: RuleContext<'_>, route: &[RouteDestination]) -> Vec<Destination> {
    let is_single = route.len() == 1;
    let counts = |one: &&RouteDestination| is_single || one.weight > 0;
    let found = route.iter().filter(counts).map(|one| {
        let request = changes(&one.headers.request);
        Destination {
            target: target(context, &one.destination),
            weight: if is_single { 1 } else { one.weight },
            request: request.fields,
            response: changes(&one.headers.response).fields,
            authority: request.authority,
        }
    });
    found.collect()
}

/// What a rule does that has no destination left.
pub(super) fn nowhere() -> Action {
    Action::Respond(Box::new(DirectResponse { status: INVALID_DESTINATION, body: Arc::default() }))
}

fn target(context: RuleContext<'_>, destination: &objects::Destination) -> Target {
    // A control plane names no host where a Gateway API route names no service that there is.
    match cluster(context, destination) {
        Some(cluster) => Target::Cluster(cluster),
        None => Target::Invalid { status: INVALID_DESTINATION },
    }
}

fn cluster(context: RuleContext<'_>, destination: &objects::Destination) -> Option<Cluster> {
    (!destination.host.is_empty()).then(|| Cluster {
        hostname: context.settings.full_name(&destination.host, context.namespace).into(),
        port: destination.port,
        subset: destination.subset.as_deref().map(Arc::from),
    })
}

/// Mirrors that get something.
pub(super) fn mirrors(context: RuleContext<'_>, mirrors: &[objects::Mirror]) -> Vec<Mirror> {
    use crate::model::http::policies::Share;
    let counts = mirrors.iter().filter(|mirror| mirror.share != Share::NONE);
    counts
        .filter_map(|mirror| Some(Mirror { target: cluster(context, &mirror.destination)?, share: mirror.share }))
        .collect()
}
