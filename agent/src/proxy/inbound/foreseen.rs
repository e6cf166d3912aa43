//! What would become of the token of a request, for whoever asks about a request that nobody has sent.

use super::authentication::IssuerRules;
use super::error::RefusedRequest;
use super::http::{Authenticated, foresee};
use crate::jwt::JwtError;
use crate::model::authentication::{AuthenticationConfig, SelectedPod};
use crate::model::authorization::HttpRequest;
use crate::model::http::head::RequestHead;
use crate::proxy::node::Proxy;

/// A request as policies would be asked about it.
pub struct ForeseenRequest {
    head: RequestHead,
    authenticated: Authenticated,
    /// What becomes of its token, in words; `None` where no object is about the tokens of its pod.
    pub token: Option<String>,
    /// Whether it is answered without that policies are asked.
    pub is_refused: bool,
}

impl ForeseenRequest {
    #[must_use]
    pub fn request(&self) -> HttpRequest<'_> {
        self.authenticated.request(&self.head, &[])
    }
}

impl Proxy {
    /// Verifies the token of a request to a pod, which may be one of another node, with the keys that this node has now.
    #[must_use]
    pub fn foresee(&self, config: &AuthenticationConfig, pod: SelectedPod<'_>, head: &RequestHead) -> ForeseenRequest {
        let mut head = head.clone();
        let Some(found) = config.of_pod(pod) else {
            let authenticated = Authenticated::default();
            return ForeseenRequest { head, authenticated, token: None, is_refused: false };
        };
        let rules = IssuerRules::new(found, |source| self.key_sets.known(source));
        let (authenticated, token, is_refused) = match foresee(&rules, &mut head) {
            Ok(authenticated) => {
                let none = "the request has none: it goes on without claims".to_owned();
                let token = authenticated.principal().map_or(none, |principal| format!("accepted, of {principal}"));
                (authenticated, token, false)
            }
            Err(RefusedRequest::Token(JwtError::NoKeys)) => (
                Authenticated::default(),
                "the keys of its issuer are not here: it is verified at the pod".to_owned(),
                false,
            ),
            Err(RefusedRequest::Token(error)) => {
                (Authenticated::default(), format!("refused with {}: {error}", error.status()), true)
            }
            Err(refused) => (Authenticated::default(), format!("refused with 403: {refused}"), true),
        };
        ForeseenRequest { head, authenticated, token: Some(token), is_refused }
    }
}
