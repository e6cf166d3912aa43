//! Accept loops: one per listener of a pod. A loop ends when its pod leaves or the process drains, after the backlog is
//! empty, so that no connection the kernel already accepted is lost.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{SockFlag, accept4};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

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
    let listener = match watch(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(pod = served.pod.spec.name, ?role, %error, "listener cannot be used");
            return;
        }
    };
    let mut pause = RETRY_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.async_io(Interest::READABLE, accept) => accepted,
            () = served.pod.left.cancelled() => break,
            () = served.proxy.drain.draining() => break,
        };
        match accepted {
            Ok(stream) => {
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
    // What the kernel had accepted before new connections stopped being steered here.
    while let Ok(stream) = accept(listener.get_ref()) {
        start(&served, role, stream);
    }
}

fn watch(listener: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives, and the `AsyncFd` owns it.
    #[expect(unsafe_code, reason = "the runtime cannot know that every type of descriptor holds to that")]
    Ok(unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?)
}

fn accept(listener: &OwnedFd) -> io::Result<std::net::TcpStream> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    #[expect(unsafe_code, reason = "accept4(2) gives a bare descriptor")]
    Ok(unsafe { std::net::TcpStream::from_raw_fd(fd) })
}

fn start(served: &Arc<PodProxy>, role: Role, stream: std::net::TcpStream) {
    let hold = served.proxy.drain.hold();
    let owner = served.clone();
    let serve = async move || {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                owner.proxy.metrics.accept_failed();
                tracing::warn!(pod = owner.pod.spec.name, ?role, %error, "connection cannot be watched");
                return;
            }
        };
        match role {
            Role::Outbound => outbound::serve(owner, stream).await,
            Role::InboundPlaintext => inbound::serve_plaintext(owner, stream).await,
            Role::InboundHbone => inbound::serve_hbone(owner, stream).await,
        }
        drop(hold);
    };
    served.proxy.workers.spawn_connection(serve);
}

/// Errors of accept(2) that only mean that one peer went away in the meantime.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
