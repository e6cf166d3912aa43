//! Handing requests over to the destination's side of a link as they were read. That side decides about each of them; where it moves their
//! bytes without reading them, they come as bytes, as do those that tie a connection to themselves.

use std::sync::Arc;

use super::links::{Link, NotAdmitted};
use super::open::serve_on;
use crate::hbone::Target;
use crate::http::{self, CarriedExchange, h1};
use crate::limits::Held;
use crate::model::http::hop::RequestHop;
use crate::proxy::pod::PodProxy;

/// A link on which a request may be handed over.
pub(in crate::proxy) struct HandingOver {
    link: Arc<Link<PodProxy>>,
}

impl PodProxy {
    /// The link on which a request to a destination of the same node may be handed over, as far as is known. `anew`: also where the
    /// destination's side had nothing to decide about such requests before, or there is no link yet. Without that nothing is waited for.
    pub(in crate::proxy) async fn handing_over(
        self: &Arc<Self>,
        target: &Target,
        authority: &str,
        anew: bool,
    ) -> Option<HandingOver> {
        if anew {
            return self.link_to(target).await.map(|link| HandingOver { link });
        }
        let link = self.link_at_hand(target)?;
        (!link.moves_bytes_to(authority)).then_some(HandingOver { link })
    }
}

impl HandingOver {
    /// Hands a request over, and has it served. `None` where the destination's side wants its bytes instead, or has not said in time
    /// whether it may come. `held`: what counts it among what its pod may have under way.
    pub(in crate::proxy) async fn hand_over(
        self,
        pod_proxy: &PodProxy,
        hop: RequestHop,
        request: h1::CheckedRequest,
        held: Held,
    ) -> Option<Box<dyn CarriedExchange>> {
        let link = self.link;
        let begun = link.begin()?;
        let admitting = begun.server.admit(&hop);
        let admitted = tokio::time::timeout(pod_proxy.proxy.timeouts.request, admitting).await;
        let serves = match admitted.unwrap_or(Err(NotAdmitted::NotInOrder)) {
            Ok(serves) => serves,
            Err(why) => {
                link.note_bytes_to(&hop.destination, why == NotAdmitted::OnlyBytes);
                return None;
            }
        };
        if link.moves_bytes_to(&hop.destination) {
            link.note_bytes_to(&hop.destination, false);
        }
        let (exchange, handed) = http::hand_over(request, link.server.clone(), held);
        tokio::spawn(serve_on(begun, serves(handed)));
        Some(Box::new(exchange))
    }
}
