//! How a connection begins whose requests policy decides about, if it carries any: its first bytes say so.
//!
//! At a port of which nobody has declared what it carries, the application may be the one that speaks first. A client that says nothing
//! there has the application connected, if policy allows it to be sent bytes of whichever protocol; where policy does not, only
//! requests may be allowed, and the client is waited for.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;

use crate::http::Detected;
use crate::model::authorization::{AccessRequest, Permit};
use crate::net::ConnectError;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::http::FirstBytes;
use crate::proxy::inbound::admission;
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::error::InboundError;
use crate::proxy::pod::PodProxy;
use crate::proxy::splice::SpliceError;

/// Room for what an application says first.
const FIRST_READ_BYTES: usize = 4096;

/// What a connection turns out to carry.
pub(super) enum Opening {
    Requests(Detected, BytesMut),
    /// Another protocol, with what the client has said; and the application, where that was connected to hear it speak.
    Bytes(BytesMut, Option<Application>),
    /// The client has left, or ended its side, before it said anything.
    Nothing,
}

/// An application that was connected, and what it has said.
pub(super) struct Application {
    pub(super) stream: ApplicationStream,
    pub(super) received: BytesMut,
}

impl Application {
    pub(super) async fn connect(pod_proxy: &PodProxy, permit: Permit, shown: SocketAddr) -> Result<Self, ConnectError> {
        let stream = ApplicationStream::connect(&pod_proxy.proxy, &pod_proxy.pod, permit, shown).await?;
        Ok(Self { stream, received: BytesMut::new() })
    }
}

impl Opening {
    /// Waits until it is known what a connection carries. `is_guess`: nobody has declared that it is HTTP.
    ///
    /// # Errors
    /// When the application cannot be reached, or breaks the connection.
    pub(super) async fn of(
        pod_proxy: &Arc<PodProxy>,
        client: &mut Client,
        access: &AccessRequest,
        shown: SocketAddr,
        is_guess: bool,
    ) -> Result<Self, InboundError> {
        let mut first = FirstBytes::default();
        if !is_guess {
            let detected = first.detect(client).await;
            return Ok(Self::by_client(detected, first, None));
        }
        if let Some(detected) = first.guess(client).await {
            return Ok(Self::by_client(detected, first, None));
        }
        let Some(permit) = admission::permit_for_now(pod_proxy, access) else {
            let detected = first.guess_patiently(client).await;
            return Ok(Self::by_client(detected, first, None));
        };
        let mut application = Box::pin(Application::connect(pod_proxy, permit, shown)).await?;
        application.received.reserve(FIRST_READ_BYTES);
        tokio::select! {
            biased;
            detected = first.guess_patiently(client) => Ok(Self::by_client(detected, first, Some(application))),
            spoken = application.stream.read_first(&mut application.received) => {
                spoken.map_err(SpliceError::Upstream)?;
                Ok(Self::Bytes(first.received, Some(application)))
            }
        }
    }

    fn by_client(detected: Detected, first: FirstBytes, application: Option<Application>) -> Self {
        let is_end = first.is_broken || (first.received.is_empty() && application.is_none());
        match detected {
            Detected::Http1 | Detected::Http2 => {
                // Each request is sent on a connection of its own permit.
                application.into_iter().for_each(|unused| unused.stream.end_unused());
                Self::Requests(detected, first.received)
            }
            Detected::Other | Detected::NeedMore if is_end => Self::Nothing,
            Detected::Other | Detected::NeedMore => Self::Bytes(first.received, application),
        }
    }
}
