//! Accept loops: one per listener of a pod. A loop ends when its pod leaves or the process drains, after the backlog is
//! empty, so that no connection the kernel already accepted is lost.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::{PodProxy, inbound, outbound};

/// First and longest pause after a failed accept, mostly for want of file descriptors.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What arrives at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Outbound,
    InboundPlaintext,
    InboundHbone,
}

pub(super) async fn serve(served: Arc<PodProxy>, role: Role, listener: OwnedFd) {
    let _hold = served.proxy.drain.hold();
    let listener = match TcpListener::from_std(std::net::TcpListener::from(listener)) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(pod = served.pod.spec.name, ?role, %error, "listener cannot be used");
            return;
        }
    };
    let mut pause = RETRY_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = served.pod.left.cancelled() => break,
            () = served.proxy.drain.draining() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                pause = RETRY_PAUSE.0;
                start(&served, role, stream);
            }
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                served.proxy.metrics.accept_failed();
                tracing::warn!(pod = served.pod.spec.name, ?role, %error, "accept failed; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE.1);
            }
        }
    }
    empty_backlog(&served, role, &listener).await;
}

/// Takes what the kernel had accepted before new connections stopped being steered here.
async fn empty_backlog(served: &Arc<PodProxy>, role: Role, listener: &TcpListener) {
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        start(served, role, stream);
    }
}

fn start(served: &Arc<PodProxy>, role: Role, stream: TcpStream) {
    let served = served.clone();
    let hold = served.proxy.drain.hold();
    tokio::spawn(async move {
        match role {
            Role::Outbound => outbound::serve(served, stream).await,
            Role::InboundPlaintext => inbound::serve_plaintext(served, stream).await,
            Role::InboundHbone => inbound::serve_hbone(served, stream).await,
        }
        drop(hold);
    });
}

/// Errors of accept(2) that only mean that one peer went away in the meantime.
fn is_about_the_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
