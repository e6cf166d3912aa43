//! Which of the known versions a new stream names. A control plane accepts requests up to a size of its own (istiod: 4 MiB,
//! which is about 40,000 workloads); what is larger ends the stream, however often it is tried.
//!
//! A type whose request is too large is asked for without versions. The first response to it then holds the whole, as delta xDS
//! has it for a wildcard subscription, and what is known besides was removed in the meantime.

use prost::Message as _;

use crate::proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use crate::resources::ResourceType;

/// No control plane refuses a request of this size for its size.
const NEVER_TOO_LARGE_BYTES: usize = 16 * 1024;

/// What is known of a control plane's limit, and how the stream that is open now was opened.
#[derive(Debug, Default)]
pub(super) struct VersionNaming {
    /// The size of a request that ended a stream.
    refused_bytes: Option<usize>,
    /// The largest request of this stream that names versions; `None` once it was answered.
    unanswered: Option<(ResourceType, usize)>,
    /// Types that were asked for without versions, and not answered yet.
    whole: Vec<ResourceType>,
}

impl VersionNaming {
    /// Takes the versions out of those requests, which open a stream, that would be too large.
    pub(super) fn open(&mut self, requests: &mut [DeltaDiscoveryRequest]) {
        (self.unanswered, self.whole) = (None, Vec::new());
        for request in requests {
            let Some(kind) = ResourceType::from_type_url(&request.type_url) else { continue };
            let bytes = request.encoded_len();
            if request.initial_resource_versions.is_empty() || bytes < NEVER_TOO_LARGE_BYTES {
                continue;
            }
            if self.refused_bytes.is_some_and(|refused| bytes >= refused) {
                request.initial_resource_versions.clear();
                self.whole.push(kind);
            } else if self.unanswered.is_none_or(|(_, largest)| bytes > largest) {
                self.unanswered = Some((kind, bytes));
            }
        }
    }

    /// Notes a response of the stream. Returns true where it holds the whole of its type.
    pub(super) fn answered(&mut self, kind: ResourceType) -> bool {
        self.unanswered = self.unanswered.filter(|(largest, _)| *largest != kind);
        let place = self.whole.iter().position(|whole| *whole == kind);
        place.map(|place| self.whole.swap_remove(place)).is_some()
    }

    /// Notes that the control plane ended the stream because something was too much for it: a request, or the load it is
    /// under. Returns the size of the request from which on no versions are named, where that is news.
    pub(super) fn exhausted(&mut self) -> Option<usize> {
        match self.unanswered {
            Some((_, bytes)) => {
                self.refused_bytes = Some(bytes);
                Some(bytes)
            }
            // It was not the size: without versions it is no different.
            None => {
                if !self.whole.is_empty() {
                    self.refused_bytes = None;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: ResourceType = ResourceType::Address;
    const AUTHORIZATION: ResourceType = ResourceType::Authorization;

    fn requests(addresses: usize) -> Vec<DeltaDiscoveryRequest> {
        let request = |kind: ResourceType, count: usize| DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            initial_resource_versions: (0..count)
                .map(|n| (format!("{n:0>40}"), "0123456789abcdef".to_owned()))
                .collect(),
            ..Default::default()
        };
        vec![request(ADDRESS, addresses), request(AUTHORIZATION, 3)]
    }

    /// Opens a stream for so many addresses; how many versions each of the two requests names.
    fn opened(naming: &mut VersionNaming, addresses: usize) -> [usize; 2] {
        let mut requests = requests(addresses);
        naming.open(&mut requests);
        [0, 1].map(|at| requests[at].initial_resource_versions.len())
    }

    #[test]
    fn a_request_that_is_too_large_is_made_without_versions() {
        let mut naming = VersionNaming::default();
        assert_eq!(opened(&mut naming, 1000), [1000, 3]);
        assert!(!naming.answered(AUTHORIZATION), "it names versions: what is not in it is still there");
        assert_eq!(naming.exhausted(), Some(requests(1000)[0].encoded_len()));
        assert_eq!(opened(&mut naming, 1000), [0, 3]);
        assert!(!naming.answered(AUTHORIZATION));
        assert!(naming.answered(ADDRESS), "the first answer is the whole");
        assert!(!naming.answered(ADDRESS), "later ones are not");
        assert_eq!(naming.exhausted(), None);
        assert_eq!(opened(&mut naming, 1001), [0, 3]);
        assert_eq!(opened(&mut naming, 900), [900, 3], "a smaller mesh may fit");
    }

    #[test]
    fn a_control_plane_under_load_is_named_the_versions_again() {
        let mut naming = VersionNaming::default();
        assert_eq!(opened(&mut naming, 1000), [1000, 3]);
        assert!(naming.exhausted().is_some());
        assert_eq!(opened(&mut naming, 1000), [0, 3]);
        assert_eq!(naming.exhausted(), None, "it was not the size");
        assert_eq!(opened(&mut naming, 1000), [1000, 3]);
        assert!(!naming.answered(ADDRESS));
        assert_eq!(naming.exhausted(), None, "the request was answered, so it was not too large");
        assert_eq!(opened(&mut naming, 1000), [1000, 3]);
    }

    #[test]
    fn small_requests_are_never_the_reason() {
        let mut naming = VersionNaming::default();
        assert_eq!(opened(&mut naming, 20), [20, 3]);
        assert_eq!(naming.exhausted(), None);
    }
}
