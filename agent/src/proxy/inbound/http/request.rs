//! A request to a pod while it is served: everything that its phases share, from its head to the end of its response.

use std::sync::Arc;

use super::authenticate::Authenticated;
use super::connection::HttpConnection;
use super::content::KeptContent;
use super::watcher::RequestWatcher;
use crate::ext_authz::FieldChange;
use crate::http::{BodyLength, Downstream};
use crate::model::authorization::HttpRequest;
use crate::model::http::client_cert::set_client_cert;
use crate::model::http::config::HttpConfig;
use crate::model::http::control_fields;
use crate::model::http::head::RequestHead;
use crate::model::http::hop;
use crate::model::http::trace::ensure_request_id;
use crate::proxy::inbound::error::RefusedRequest;
use crate::proxy::revocation::PolicyChanges;
use crate::telemetry::request::RequestRecord;

/// A request while it is served.
pub(super) struct InboundRequest<'a, D> {
    pub(super) connection: &'a HttpConnection,
    pub(super) downstream: &'a mut D,
    pub(super) head: &'a mut RequestHead,
    pub(super) length: BodyLength,
    pub(super) watcher: RequestWatcher<'a>,
    /// What external authorizers have said about it.
    pub(super) asked: AuthorizerAnswers,
    /// Who sent it, once its token is verified.
    pub(super) authenticated: Authenticated,
}

impl<'a, D: Downstream> InboundRequest<'a, D> {
    /// Takes up a request. From here on its head says what the agent knows: an application and the policies about it read the same.
    pub(super) fn begin(
        connection: &'a HttpConnection,
        config: &HttpConfig,
        downstream: &'a mut D,
        head: &'a mut RequestHead,
        length: BodyLength,
    ) -> Self {
        hop::remove(&mut head.fields);
        control_fields::remove_of_client(&mut head.fields);
        let headers = config.proxy_headers();
        if headers.request_id {
            ensure_request_id(&mut head.fields, rand::random);
        }
        headers.begin_request(connection.port(), head);
        set_client_cert(&mut head.fields, connection.client_cert.as_deref().map(str::as_bytes));
        let mut record = RequestRecord::open(&connection.ends, head);
        record.trace(head);
        let watcher = RequestWatcher::new(record, connection);
        Self {
            connection,
            downstream,
            head,
            length,
            watcher,
            asked: AuthorizerAnswers::default(),
            authenticated: Authenticated::default(),
        }
    }

    /// The request, with what is known of it.
    pub(super) fn as_judged(&self) -> HttpRequest<'_> {
        self.authenticated.request(self.head, &self.asked.allowed_by)
    }
}

/// What external authorizers have said about a request.
#[derive(Debug, Default)]
pub(super) struct AuthorizerAnswers {
    /// Those that allow it, by name.
    pub(super) allowed_by: Vec<Arc<str>>,
    /// What they change about its response.
    pub(super) response: Vec<FieldChange>,
    /// What was read of the request to show it to them.
    pub(super) content: KeptContent,
}

/// Resolves once policy no longer allows a request that is under way, as `decide` says when policy has changed.
pub(super) async fn until_refused(
    changes: &mut PolicyChanges,
    decide: impl Fn() -> Result<(), RefusedRequest>,
) -> RefusedRequest {
    loop {
        changes.next().await;
        if let Err(refused) = decide() {
            return refused;
        }
    }
}
