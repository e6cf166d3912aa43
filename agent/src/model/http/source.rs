//! The pod that sends a request, as decisions about the request see it.

use crate::model::peer_authentication::Labels;

/// What decisions depend on of the pod that sends a request.
#[derive(Debug, Clone, Copy)]
pub struct SourceView<'a> {
    pub namespace: &'a str,
    pub labels: &'a Labels,
}
