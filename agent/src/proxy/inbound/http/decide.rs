//! The decision about a request, in Istio's order: external authorizers are asked, its token is verified, and then the other policies say
//! whether the application gets it. An authorizer may so add the token (a login, for one), and rules of CUSTOM see no claims.

use super::authenticate::authenticate;
use super::request::InboundRequest;
use crate::http::{Broken, Downstream};
use crate::model::authorization::Permit;
use crate::model::http::config::HttpConfig;
use crate::proxy::http::Answer;
use crate::proxy::inbound::error::RefusedRequest;
use crate::proxy::revocation::PolicyChanges;

/// What is to become of a request.
pub(super) enum Decided {
    Permitted(Permit),
    Refused(RefusedRequest),
    /// An authorizer answers it.
    Answered(Answer),
}

impl<D: Downstream> InboundRequest<'_, D> {
    /// Decides about the request as policy is now. From here on it is as the application gets it.
    ///
    /// # Errors
    /// When the client leaves meanwhile.
    pub(super) async fn decide(&mut self, config: &HttpConfig, changes: &mut PolicyChanges) -> Result<Decided, Broken> {
        loop {
            if let Some(decided) = self.ask_authorizers(config, changes).await? {
                return Ok(decided);
            }
            match authenticate(self.connection, config, self.head).await {
                Ok(authenticated) => self.authenticated = authenticated,
                Err(refused) => return Ok(Decided::Refused(refused)),
            }
            changes.catch_up();
            let judged = self.connection.judge(&self.as_judged());
            if let Some(policy) = &judged.audited_by {
                self.watcher.record.audited(policy);
            }
            match judged.outcome {
                Ok(permit) => return Ok(Decided::Permitted(permit)),
                Err(RefusedRequest::Denied(denied)) if denied.needs_provider() => {
                    // Policy has changed since authorizers were asked: they are asked about the request as it was then.
                    std::mem::take(&mut self.authenticated).undo(self.head);
                }
                Err(refused) => return Ok(Decided::Refused(refused)),
            }
        }
    }
}
