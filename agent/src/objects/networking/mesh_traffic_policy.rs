//! `defaultTrafficPolicy` of MeshConfig: limits and outlier detection where a DestinationRule says nothing of them. It travels as the
//! message that Istio has for it, which is read by its descriptor, so that one reader serves both encodings.

use super::connection_pool::{self, ConnectionPool};
use super::traffic_policy;
use crate::model::http::destination::OutlierDetection;
use crate::objects::protobuf::message;
use crate::objects::reading::yaml::Node;
use crate::objects::reading::{Fields, Report};

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
/// cannot be read does.
pub(super) fn decode(encoded: &[u8]) -> Option<MeshTrafficPolicy> {
    let (node, _) = message::decode(MESSAGE, encoded).ok()?;
    let report = Report::default();
    let found = Fields::of(&node, "defaultTrafficPolicy", &report).map(|fields| read(fields, &node));
    found.filter(|_| report.first_error().is_none())
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
        assert_eq!(decode(&found.encoded), Some(found));
        assert_eq!(decode(b"\xff"), None);
    }
}
