//! `defaultTrafficPolicy` of MeshConfig: limits and outlier detection where a DestinationRule says nothing of them. It travels as the
//! message that Istio has for it, which is read by its descriptor, so that one reader serves both encodings.

use super::connection_pool::{self, ConnectionPool};
use super::traffic_policy;
use crate::model::http::destination::OutlierDetection;
use crate::objects::protobuf::message;
use crate::objects::reading::yaml::Node;
use crate::objects::reading::{Fields, Report};

const FIELD: &str = "defaultTrafficPolicy";
const MESSAGE: &str = "istio.mesh.v1alpha1.DefaultTrafficPolicy";

/// The baseline of all destinations. What is `None` is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeshTrafficPolicy {
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    /// The message, for agents.
    pub encoded: Vec<u8>,
}

/// Reads the block of a file; `node` is where it stands.
pub(super) fn read(mut fields: Fields<'_>, node: &Node) -> MeshTrafficPolicy {
    let found = MeshTrafficPolicy {
        connection_pool: fields.fields("connectionPool").map(connection_pool::read),
        outlier_detection: fields.fields("outlierDetection").map(traffic_policy::outlier_detection),
        encoded: message::encode(MESSAGE, node),
    };
    fields.finish();
    found
}

/// Reads the message. The control plane has checked it: a field that is not known here does not count, and nothing of a message that
/// cannot be read does. `note` is told what does not count, and why.
pub(super) fn decode(encoded: &[u8], mut note: impl FnMut(String)) -> Option<MeshTrafficPolicy> {
    let (node, unknown) = message::decode(MESSAGE, encoded)
        .inspect_err(|error| note(format!("{FIELD}: counts for nothing: {error}")))
        .ok()?;
    unknown.into_iter().for_each(|field| note(format!("{FIELD}: {field}: is not known here and has no effect")));
    let report = Report::default();
    let found = Fields::of(&node, FIELD, &report).map(|fields| read(fields, &node));
    report.notices().into_iter().for_each(&mut note);
    if let Some(error) = report.first_error() {
        note(format!("{FIELD}: counts for nothing: {error}"));
        return None;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::reading::yaml;

    #[test]
    fn a_block_is_the_same_from_a_file_and_from_its_message() {
        let text = "{connectionPool: {tcp: {maxConnections: 7, tcpKeepalive: {time: 9s}}}, outlierDetection: {consecutive5xxErrors: 3}}";
        let (node, report) = (yaml::parse(text).expect("YAML"), Report::default());
        let found = read(Fields::of(&node, "", &report).expect("a map"), &node);
        assert_eq!(report.first_error(), None);
        assert_eq!(found.connection_pool.as_ref().and_then(|pool| pool.max_connections), Some(7));
        let noted = |encoded: &[u8]| {
            let mut notes = Vec::new();
            (decode(encoded, |text| notes.push(text)), notes)
        };
        assert_eq!(noted(&found.encoded), (Some(found), vec![]));
        let (none, notes) = noted(b"\xff");
        assert!(
            none.is_none() && notes.concat().starts_with("defaultTrafficPolicy: counts for nothing: "),
            "{notes:?}"
        );
        let old = "{outlierDetection: {consecutiveErrors: 3}}";
        let old = message::encode(MESSAGE, &yaml::parse(old).expect("YAML"));
        let (some, notes) = noted(&old);
        assert!(some.is_some());
        let expected =
            "defaultTrafficPolicy.outlierDetection.consecutiveErrors: has no effect any more: use consecutive5xxErrors";
        assert_eq!(notes, [expected]);
    }
}
