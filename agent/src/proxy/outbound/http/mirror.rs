//! Copies of a request that go to further places (`mirrors` of a VirtualService, `RequestMirror` of an HTTPRoute). Nobody waits for
//! them: what they are answered is thrown away, and one that fails is not sent again.
//!
//! A copy is sent as the rule changed the request, once all of the request is here. A request whose content is not kept
//! whole by then, because it is large or its response came first, has no copy; nor one of a pod that has so many under way already:
//! a mirror that does not answer must not take the places of the pod's own requests.

use std::time::Duration;

use super::connection::HttpConnection;
use super::plan::Plan;
use super::request::Request;
use super::whole_request::{Place, WholeRequest};
use crate::http::{BodyLength, KeptBody, RequestBody};
use crate::limits::{Held, LimitKind};
use crate::model::http::head::RequestHead;
use crate::model::http::route::Action;

/// Bounds a copy on its way where the rule has no timeout.
const LONGEST: Duration = Duration::from_secs(60);

/// The copies that a request is to have.
pub(super) struct Mirrors {
    places: Vec<Place>,
    timeout: Duration,
}

/// One copy on its way.
struct Copy {
    connection: HttpConnection,
    place: Place,
    head: RequestHead,
    length: BodyLength,
    body: KeptBody,
    /// Its place among those that the pod may have.
    _held: Held,
}

impl<D> Request<'_, D> {
    /// The copies of a request, by chance where a mirror gets only a share. A place that does not exist gets none.
    pub(super) fn mirrors(&self, plan: &Plan) -> Option<Mirrors> {
        let (route, _) = plan.route.as_ref()?;
        let Action::Forward(forward) = &route.rule.action else { return None };
        // Bytes of another protocol that follow are between the two ends.
        if forward.mirrors.is_empty() || self.head.upgrade.is_some() || self.length == BodyLength::Tunnel {
            return None;
        }
        let places = forward.mirrors(rand::random).filter_map(|mirror| {
            let (service, port) = self.service_of(&mirror.target)?;
            let policy = self.policy(&service, port, mirror.target.subset.as_deref())?;
            if policy.tls.as_ref().is_some_and(|tls| tls.is_own() && tls.is_unsupported) {
                return None;
            }
            Some(Place { service, port, policy })
        });
        let timeout = plan.timeouts.total.map_or(LONGEST, |total| total.min(LONGEST));
        Some(Mirrors { places: places.collect(), timeout }).filter(|mirrors| !mirrors.places.is_empty())
    }

    /// Sends the copies, if all of the content is here.
    pub(super) fn send_copies(&self, mirrors: Mirrors, body: &RequestBody) {
        let Some(body) = body.kept() else { return };
        let mut head = self.head.clone();
        // The content follows at once.
        head.fields.remove("expect");
        let limit = self.connection.pod_proxy.pod.limits.of(LimitKind::MirroredRequests);
        for place in mirrors.places {
            let Some(held) = limit.try_take() else { return };
            let connection = self.connection.detached();
            let (head, length, body) = (head.clone(), self.length, body.clone());
            let copy = Copy { connection, place, head, length, body, _held: held };
            // On this worker, whose connections it may use.
            tokio::spawn(copy.run(mirrors.timeout));
        }
    }
}

impl Copy {
    async fn run(self, timeout: Duration) {
        let proxy = &self.connection.pod_proxy;
        let sent = async {
            tokio::select! {
                sent = tokio::time::timeout(timeout, self.send()) => sent.unwrap_or(Err("its time is over".to_owned())),
                () = proxy.pod.dead.cancelled() => Ok(()),
                () = proxy.proxy.drain.closing() => Ok(()),
            }
        };
        if let Err(why) = sent.await {
            tracing::debug!(service = %self.place.service, port = self.place.port, why, "the copy of a request was not answered");
        }
    }

    async fn send(&self) -> Result<(), String> {
        let Self { connection, place, head, length, body, .. } = self;
        let whole = WholeRequest {
            connection,
            place,
            head,
            length: *length,
            body,
            is_repeatable: false,
            longest_response: None,
        };
        whole.send().await.map(|_| ()).map_err(|error| error.to_string())
    }
}
