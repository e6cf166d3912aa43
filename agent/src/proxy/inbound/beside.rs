//! What comes to a pod from another pod of the same node, on the link between the two: connections, which are served as CONNECT requests
//! of an HBONE peer are, and requests, which are served as those that are streams of their own.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::client::Downstream;
use super::http::RequestStreams;
use super::peers::AuthenticatedPeer;
use super::request;
use crate::http::HandedRequest;
use crate::model::http::hop::RequestHop;
use crate::proxy::pod::PodProxy;
use crate::proxy::same_node::{LinkServer, NotAdmitted, PipeRequest, ServesRequest};
use crate::proxy::workers::Workers;

/// The side of a pod on a link.
struct Beside {
    pod_proxy: Arc<PodProxy>,
    peer: AuthenticatedPeer,
    /// What requests have in common, for each worker: connections to the application stay on the worker that has opened them.
    streams: Box<[RequestStreams]>,
}

/// The side of a pod on a link from a peer.
pub(in crate::proxy) fn serve_link(pod_proxy: Arc<PodProxy>, peer: AuthenticatedPeer) -> Arc<dyn LinkServer> {
    let streams = (0..pod_proxy.proxy.workers.count()).map(|_| RequestStreams::default()).collect();
    Arc::new(Beside { pod_proxy, peer, streams })
}

impl LinkServer for Beside {
    fn serve_pipe(&self, request: PipeRequest) -> BoxFuture<'static, ()> {
        request::serve(self.pod_proxy.clone(), self.peer.clone(), Downstream::Beside(request)).boxed()
    }

    fn admit<'a>(&'a self, hop: &'a RequestHop) -> BoxFuture<'a, Result<ServesRequest, NotAdmitted>> {
        let streams = &self.streams[Workers::current()];
        async move {
            let mut admitted = streams.admit(&self.pod_proxy, &self.peer, hop).await;
            if matches!(admitted, Err(NotAdmitted::NoPlace)) {
                // What other workers remember holds places, too.
                self.streams.iter().for_each(RequestStreams::make_room);
                admitted = streams.admit(&self.pod_proxy, &self.peer, hop).await;
            }
            let admitted = admitted?;
            let serves: ServesRequest =
                Box::new(move |HandedRequest { stream, head, length }| admitted.serve(stream, head, length).boxed());
            Ok(serves)
        }
        .boxed()
    }

    fn sweep(&self) {
        self.streams.iter().for_each(RequestStreams::sweep);
    }
}
