//! Whether the client of a connection has left while nothing of it is moved yet: nobody needs what is being opened for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::enrollment::pod::EnrolledPod;

/// When a client that has ended its side is looked at again: its close sends nothing more that would show it. Each pause is
/// twice as long as the one before, for a pod may have very many such clients.
pub(super) const FIRST_CLOSE_CHECK_PAUSE: Duration = Duration::from_millis(500);

/// Whether an application has closed its socket, of which the agent has the other end: both ends as the pod's namespace knows them.
/// Where the kernel does not tell, it counts as open.
pub(super) fn is_closed(pod: &EnrolledPod, application: SocketAddr, agent: SocketAddr) -> bool {
    match pod.netns.has_open_socket(application, agent) {
        Ok(is_open) => !is_open,
        Err(error) => {
            tracing::debug!(pod = pod.spec.name, %error, "sock_diag(7) does not tell whether a client has left");
            false
        }
    }
}

/// What a client has sent that was not read yet.
enum Unread {
    Nothing,
    Bytes,
    /// The end of its data, and nothing before it.
    End,
}

/// Resolves once the client has left: when it resets the connection, or has closed it without having sent anything.
///
/// Neither of these is a leave: bytes that wait to be read, also if the client closes after them, as it may have sent all that it
/// has to say; and the end of the client's data alone, as it may still wait for what the server says. Whether a client that
/// has ended its data also reads no more, only `is_closed` can tell.
pub(super) async fn left(client: &TcpStream, is_closed: impl Fn() -> bool) {
    tokio::select! {
        () = reset(client) => {}
        () = closed(client, is_closed) => {}
    }
}

/// Resolves once the client has reset the connection.
pub(super) async fn reset(client: &TcpStream) {
    // An error here means that the runtime is shutting down.
    let _ = client.ready(Interest::ERROR).await;
}

async fn closed(client: &TcpStream, is_closed: impl Fn() -> bool) {
    loop {
        if client.readable().await.is_err() {
            return;
        }
        match unread(client) {
            Ok(Unread::Nothing) => {}
            Ok(Unread::Bytes) => return std::future::pending().await,
            Ok(Unread::End) => break,
            Err(_) => return,
        }
    }
    let mut pause = FIRST_CLOSE_CHECK_PAUSE;
    while !is_closed() {
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// Looks at what waits to be read and leaves it where it is.
fn unread(client: &TcpStream) -> io::Result<Unread> {
    let peeked = client.try_io(Interest::READABLE, || {
        Ok(recv(client.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?)
    });
    match peeked {
        Ok(0) => Ok(Unread::End),
        Ok(_) => Ok(Unread::Bytes),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Unread::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use socket2::SockRef;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A client's socket, and the one that was accepted.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("somebody listens"), accepted.expect("somebody connects").0)
    }

    #[tokio::test]
    async fn a_reset_is_a_leave_whatever_waits_to_be_read() {
        let (mut client, accepted) = connection().await;
        client.write_all(b"request").await.expect("it is open");
        accepted.readable().await.expect("it was sent");
        assert!(left(&accepted, || true).now_or_never().is_none(), "bytes wait");
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("it is a socket");
        drop(client);
        left(&accepted, || false).await;
    }

    #[tokio::test]
    async fn a_client_that_says_all_it_has_to_say_and_closes_is_served() {
        let (mut client, accepted) = connection().await;
        client.write_all(b"a line of log").await.expect("it is open");
        drop(client);
        accepted.ready(Interest::READABLE).await.expect("it was sent");
        assert!(left(&accepted, || true).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_its_data_is_a_leave_once_the_client_has_closed() {
        let (mut client, accepted) = connection().await;
        assert!(left(&accepted, || true).now_or_never().is_none(), "it is open");
        client.shutdown().await.expect("it is open");
        accepted.readable().await.expect("the end was sent");
        let (asked, start) = (std::cell::Cell::new(0), tokio::time::Instant::now());
        left(&accepted, || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        })
        .await;
        assert_eq!(asked.get(), 3, "twice it was still open");
        assert_eq!(start.elapsed(), 3 * FIRST_CLOSE_CHECK_PAUSE, "the second pause was twice the first");
    }
}
