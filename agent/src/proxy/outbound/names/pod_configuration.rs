//! A pod's own resolver configuration: its servers are asked from inside the pod's network namespace, as the pod itself asks them.
//!
//! So nothing is reached that the pod does not reach, and the network sees the pod's address. What such servers answer counts for that
//! pod alone.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use tokio::net::{TcpStream, UdpSocket};

use super::answer::Known;
use super::configuration::Configuration;
use super::resolver;
use super::system_files::without_dns;
use crate::enrollment::pod::EnrolledPod;
use crate::proxy::origin::connect_from_pod;

/// How long a DNS server may take to accept a connection where the resolver sets no time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// See the module.
#[derive(Debug)]
pub(super) struct PodConfiguration {
    pod: Arc<EnrolledPod>,
    configuration: Configuration,
}

impl PodConfiguration {
    /// The configuration that a pod was enrolled with, if with one.
    pub(super) fn of(pod: &Arc<EnrolledPod>) -> Option<Self> {
        let text = pod.spec.resolv_conf.as_ref()?;
        let (configuration, unused) = Configuration::parse(text.as_bytes());
        if let Some(first) = unused.first() {
            let (uid, count) = (&pod.spec.uid, unused.len());
            tracing::warn!(uid, count, "of the pod's resolver configuration has no effect: {first:?}");
        }
        Some(Self { pod: pod.clone(), configuration })
    }

    /// Looks a name up as the pod does; in the agent's own `/etc/hosts` first, as for every pod.
    pub(super) async fn look_up(&self, name: &str) -> Known {
        if let Some(known) = without_dns(name) {
            return known;
        }
        let sockets = PodSockets { pod: self.pod.clone(), handle: TokioHandle::default() };
        resolver::look_up(&self.configuration, name, sockets).await
    }
}

/// Sockets in a pod's network namespace.
#[derive(Clone)]
struct PodSockets {
    pod: Arc<EnrolledPod>,
    handle: TokioHandle,
}

impl RuntimeProvider for PodSockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let pod = self.pod.clone();
        Box::pin(async move {
            let connected = connect_from_pod(&pod, server, timeout.unwrap_or(CONNECT_TIMEOUT)).await;
            connected.map(AsyncIoTokioAsStd).map_err(io::Error::other)
        })
    }

    fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Opening<UdpSocket> {
        // Whatever port the resolver wants: the kernel chooses one that it gives no application that asks for a certain one.
        let bound = self.pod.netns.udp_socket(local.ip()).and_then(|socket| UdpSocket::from_std(socket.into()));
        Box::pin(ready(bound))
    }
}
