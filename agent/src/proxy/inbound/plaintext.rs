//! Plaintext connections, from clients outside the mesh.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::admission::Accepted;
use super::client::Downstream;
use super::connection::InboundConnection;
use crate::model::address::canonical;
use crate::proxy::budget::Budget;
use crate::proxy::pod::PodProxy;

/// Serves a plaintext connection to its end.
pub(in crate::proxy) async fn serve(pod_proxy: Arc<PodProxy>, downstream: TcpStream, _budget: Budget) {
    let (Ok(source), Ok(local)) = (downstream.peer_addr(), downstream.local_addr()) else { return };
    let accepted = Accepted { source: canonical(source), local: canonical(local) };
    if accepted.is_dialled_directly() {
        return accepted.record_dialled_directly(&pod_proxy);
    }
    let _open = pod_proxy.pod.count_connection();
    let connection =
        InboundConnection { pod_proxy: &pod_proxy, client: accepted.source, destination: accepted.local, peer: None };
    if let Some(established) = Box::pin(connection.establish(Downstream::Plaintext(downstream))).await {
        established.run(&pod_proxy).await;
    }
}
