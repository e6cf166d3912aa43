//! A connection to a port of which nobody has declared what it carries, and whose client has not said it within a moment. Its server may
//! be the one that speaks first, so its upstream is opened as that of a connection which is moved as bytes; and whoever speaks first
//! then decides what it is. Where that is the client, with a request, the upstream was opened for nothing: requests find their own.

use tokio::net::TcpStream;

use super::bytes::{Meanwhile, Spliced};
use super::error::OutboundError;
use super::http::{HttpPort, serve_connection};
use super::upstream::{Outbound, UpstreamStream};
use crate::http::Detected;
use crate::model::resolve::{Unresolved, Upstream};
use crate::proxy::already_read::AlreadyRead;
use crate::proxy::budget::Budget;
use crate::proxy::http::FirstBytes;
use crate::proxy::splice::SpliceError;
use crate::telemetry::ends::OutboundSource;

/// See the module.
pub(super) struct Undeclared<'a> {
    pub(super) port: HttpPort<'a>,
    pub(super) source: OutboundSource,
    /// Where it goes if it carries no requests.
    pub(super) resolved: Result<Upstream, Unresolved>,
    /// What the client has said so far.
    pub(super) first: FirstBytes,
}

/// Who has spoken first.
enum Speaker {
    /// The client, in HTTP.
    Requests(Detected),
    /// The client in another protocol, or the server; or either has ended its side.
    Other,
}

impl Undeclared<'_> {
    /// Serves a connection to its end, whatever it carries.
    pub(super) async fn serve(self, mut downstream: TcpStream, mut budget: Budget) {
        let Self { port, source, resolved, first } = self;
        let pod_proxy = port.pod_proxy();
        let outbound = Outbound { pod_proxy, source: source.clone(), original_dst: port.original_dst() };
        let meanwhile = Meanwhile::Waits { has_sent: !first.received.is_empty() };
        let establishing = outbound.establish(&downstream, meanwhile, resolved, &mut budget);
        let (mut record, established) = Box::pin(establishing).await;
        let mut upstream = match established {
            Ok(opened) => opened.stream,
            Err(error) => {
                // Its close is a reset.
                drop(downstream);
                return record.fail(error.flag(), &error);
            }
        };
        let mut read = AlreadyRead::default();
        match first_speaker(&port, first, &mut downstream, &mut upstream, &mut read).await {
            Ok(Speaker::Requests(detected)) => {
                record.carries_requests();
                upstream.end_unused().await;
                Box::pin(serve_connection(port, source, downstream, detected, read.of_client)).await;
            }
            Ok(Speaker::Other) => {
                record.carries_bytes();
                let spliced = Spliced { record, downstream, upstream, read: Some(Box::new(read)) };
                Box::pin(spliced.run(pod_proxy)).await;
            }
            Err(error) => record.fail(error.flag(), &error),
        }
    }
}

/// Waits until either side speaks, or ends; what was read is in `read` then.
async fn first_speaker(
    port: &HttpPort<'_>,
    mut client: FirstBytes,
    downstream: &mut TcpStream,
    upstream: &mut UpstreamStream,
    read: &mut AlreadyRead,
) -> Result<Speaker, OutboundError> {
    let spoken = tokio::select! {
        biased;
        detected = port.guess(downstream, &mut client) => match detected {
            Detected::Http1 | Detected::Http2 => Ok(Speaker::Requests(detected)),
            Detected::Other | Detected::NeedMore => Ok(Speaker::Other),
        },
        received = upstream.read_first(&mut read.of_server) => match received {
            Ok(_) => Ok(Speaker::Other),
            Err(error) => Err(SpliceError::Upstream(error).into()),
        },
    };
    read.of_client = client.received;
    if client.is_broken { Err(OutboundError::ClientLeft) } else { spoken }
}
