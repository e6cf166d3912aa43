//! What the attributes of expressions stand for, of a request or of a connection.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use super::ends::{ConnectionEnds, Reporter};
use super::reporting_config::{PodSetting, SideReporting};
use super::request_log::{EndedRequest, RequestText, cluster, version};
use crate::model::http::head::{HttpVersion, RequestHead, ResponseHead};
use crate::model::identity::Identity;
use crate::model::peer_authentication::Labels;
use crate::model::telemetry::{Facts, NumberAttribute, PeerSide, TextAttribute, WorkloadField};
use crate::model::workload::Workload;

/// What is noted of a request of a pod that objects say something about.
#[derive(Debug)]
pub(super) struct SettingNotes {
    setting: Arc<PodSetting>,
    reporter: Reporter,
    text: RequestText,
    version: HttpVersion,
    pub(super) route: Option<Arc<str>>,
    pub(super) details: Option<Cow<'static, str>>,
}

impl SettingNotes {
    pub(super) fn of(setting: Arc<PodSetting>, reporter: Reporter, head: &RequestHead) -> Self {
        let mut text = RequestText::default();
        text.take_request(head, setting.of(reporter).wanted.request.iter().map(|name| &**name));
        Self { setting, reporter, text, version: head.version, route: None, details: None }
    }

    pub(super) fn take_response(&mut self, head: &ResponseHead, details: Cow<'static, str>) {
        let wanted = &self.setting.of(self.reporter).wanted.response;
        self.text.take_response(head, wanted.iter().map(|name| &**name));
        self.details = Some(details);
    }

    pub(super) fn side(&self) -> &SideReporting {
        self.setting.of(self.reporter)
    }

    /// A field of the request's head, of those that are wanted.
    pub(super) fn request_field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text.request(self.side().wanted.request.iter().position(|known| **known == *name)?)
    }

    fn response_field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text.response(self.side().wanted.response.iter().position(|known| **known == *name)?)
    }
}

/// A request that has ended.
pub(super) struct RequestFacts<'a> {
    pub(super) notes: &'a SettingNotes,
    pub(super) request: &'a EndedRequest<'a>,
}

impl RequestFacts<'_> {
    fn ends(&self) -> EndsFacts<'_> {
        let EndedRequest { ends, peer, .. } = self.request;
        EndsFacts { ends, peer: *peer, labels: &self.notes.side().labels }
    }
}

impl Facts for RequestFacts<'_> {
    fn text(&self, attribute: &TextAttribute) -> Option<Cow<'_, str>> {
        match attribute {
            TextAttribute::Request(name) => self.notes.request_field(name),
            TextAttribute::UrlPath => self.notes.request_field(":path").map(|path| match path.find(['?', '#']) {
                Some(end) => path[..end].to_owned().into(),
                None => path,
            }),
            TextAttribute::Response(name) => self.notes.response_field(name),
            TextAttribute::Protocol => Some(version(self.notes.version).into()),
            TextAttribute::ResponseCodeDetails => self.notes.details.as_deref().map(Cow::Borrowed),
            TextAttribute::RouteName => self.notes.route.as_deref().map(Cow::Borrowed),
            TextAttribute::ClusterName => Some(cluster(self.request)),
            TextAttribute::UpstreamAddress if self.request.attempts == 0 => None,
            attribute => self.ends().text(attribute).map(|text| text.into_owned().into()),
        }
    }

    fn number(&self, attribute: NumberAttribute) -> Option<i64> {
        let EndedRequest { outcome, request_bytes, response_bytes, .. } = self.request;
        match attribute {
            NumberAttribute::ResponseCode => Some(outcome.status.into()),
            NumberAttribute::ResponseFlags => Some(outcome.flags.envoy_bits()),
            NumberAttribute::GrpcStatus => outcome.grpc_status.map(i64::from),
            NumberAttribute::RequestSize => i64::try_from(*request_bytes).ok(),
            NumberAttribute::ResponseSize => i64::try_from(*response_bytes).ok(),
            attribute => self.ends().number(attribute),
        }
    }

    fn is_mutual_tls(&self) -> bool {
        self.request.ends.mutual_tls
    }
}

/// The two ends of a connection; nothing is known of requests.
pub(super) struct EndsFacts<'a> {
    pub(super) ends: &'a ConnectionEnds,
    /// What the HBONE peer of an outbound connection has proven.
    pub(super) peer: Option<&'a Identity>,
    /// Of the pod itself.
    pub(super) labels: &'a Labels,
}

impl EndsFacts<'_> {
    /// The address that the client connected to.
    fn local(&self) -> SocketAddr {
        self.ends.original_dst.map_or(self.ends.endpoint, |original| original.0)
    }

    fn workload(&self, side: PeerSide) -> Option<&Workload> {
        match side {
            PeerSide::Downstream => self.ends.source.as_deref(),
            PeerSide::Upstream => self.ends.destination.as_deref(),
        }
    }
}

impl Facts for EndsFacts<'_> {
    fn text(&self, attribute: &TextAttribute) -> Option<Cow<'_, str>> {
        let ends = self.ends;
        let identity = |identity: Option<&Identity>| Some(identity.filter(|_| ends.mutual_tls)?.to_string().into());
        match attribute {
            TextAttribute::SourceAddress => Some(ends.source_addr.to_string().into()),
            TextAttribute::DestinationAddress => Some(self.local().to_string().into()),
            TextAttribute::UpstreamAddress => Some(ends.endpoint.to_string().into()),
            TextAttribute::DownstreamIdentity if ends.reporter == Reporter::Destination => {
                identity(ends.source_identity.as_ref())
            }
            TextAttribute::UpstreamIdentity => identity(self.peer),
            TextAttribute::Own(field) => field_of(ends.own_workload()?, *field),
            TextAttribute::OwnLabel(name) => self.labels.get(&**name).map(|value| value.as_str().into()),
            TextAttribute::Peer(side, field) => field_of(self.workload(*side)?, *field),
            _ => None,
        }
    }

    fn number(&self, attribute: NumberAttribute) -> Option<i64> {
        match attribute {
            NumberAttribute::SourcePort => Some(self.ends.source_addr.port().into()),
            NumberAttribute::DestinationPort => Some(self.local().port().into()),
            NumberAttribute::UpstreamPort => Some(self.ends.endpoint.port().into()),
            _ => None,
        }
    }

    fn is_mutual_tls(&self) -> bool {
        self.ends.mutual_tls
    }
}

/// `None` where it is not known.
fn field_of(workload: &Workload, field: WorkloadField) -> Option<Cow<'_, str>> {
    let text: &str = match field {
        WorkloadField::Name => &workload.name,
        WorkloadField::Namespace => &workload.namespace,
        WorkloadField::Workload => &workload.workload_name,
        WorkloadField::App => &workload.canonical_name,
        WorkloadField::Version => &workload.canonical_revision,
        WorkloadField::Cluster => &workload.cluster_id,
        WorkloadField::ServiceAccount => &workload.service_account,
    };
    Some(text).filter(|text| !text.is_empty()).map(Cow::Borrowed)
}
