//! The first bytes of a client, which say what its connection carries.
//!
//! Where a port declares HTTP its client speaks first, and is waited for. Where nobody has declared what a port carries, its server may
//! be the one that speaks first: it is connected to as soon as the client has been silent for a moment, or has said too little to
//! tell.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use crate::http::{Detected, detect};

/// Bytes that are read at once: more than are ever needed. They go through the stack, so that a client that says nothing costs no
/// buffer.
const READ_BYTES: usize = 4096;
/// How long a client has to say what it speaks before its server is connected to, where the server may speak first. Clients of HTTP
/// speak as soon as they are connected.
const CLIENT_FIRST_TIMEOUT: Duration = Duration::from_millis(20);
/// How long a client has after that to go on, where what it has begun with could become HTTP.
const REST_OF_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// What was read of a client.
#[derive(Debug, Default)]
pub(in crate::proxy) struct FirstBytes {
    pub(in crate::proxy) received: BytesMut,
    /// Whether its connection broke: a reset is seen once.
    pub(in crate::proxy) is_broken: bool,
}

impl FirstBytes {
    /// Reads until the bytes say which protocol it is. A client that ends its side before speaks another one than HTTP.
    pub(in crate::proxy) async fn detect(&mut self, client: &mut (impl AsyncRead + Unpin)) -> Detected {
        loop {
            match self.read(client).await {
                Detected::NeedMore => {}
                detected => return detected,
            }
        }
    }

    /// The same where the server may be the one that speaks first. `None` where the client says nothing, or too little to tell.
    pub(in crate::proxy) async fn guess(&mut self, client: &mut (impl AsyncRead + Unpin)) -> Option<Detected> {
        tokio::time::timeout(CLIENT_FIRST_TIMEOUT, self.detect(client)).await.ok()
    }

    /// The same once the server is there: the client may say nothing for as long as it likes.
    pub(in crate::proxy) async fn guess_patiently(&mut self, client: &mut (impl AsyncRead + Unpin)) -> Detected {
        if self.received.is_empty() {
            match self.read(client).await {
                Detected::NeedMore => {}
                detected => return detected,
            }
        }
        tokio::time::timeout(REST_OF_REQUEST_TIMEOUT, self.detect(client)).await.unwrap_or(Detected::Other)
    }

    /// Reads once.
    async fn read(&mut self, client: &mut (impl AsyncRead + Unpin)) -> Detected {
        let read = poll_fn(|cx| {
            let mut place = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut place);
            ready!(Pin::new(&mut *client).poll_read(cx, &mut read))?;
            self.received.extend_from_slice(read.filled());
            Poll::Ready(Ok::<_, io::Error>(read.filled().len()))
        });
        match read.await {
            Ok(0) => Detected::Other,
            Ok(_) => detect(&self.received),
            Err(_) => {
                self.is_broken = true;
                Detected::Other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    /// A client that writes pieces, each so many milliseconds after the one before, and stays.
    async fn write(mut client: DuplexStream, pieces: &[(u64, &str)]) -> DuplexStream {
        for (after, piece) in pieces {
            tokio::time::sleep(Duration::from_millis(*after)).await;
            client.write_all(piece.as_bytes()).await.expect("it is open");
        }
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_waited_for_as_long_as_its_server_may_have_to_be() {
        type Row = (&'static [(u64, &'static str)], Option<Detected>, Detected, u64);
        let rows: [Row; 7] = [
            (&[(0, "GET / HTTP/1.1\r\n")], Some(Detected::Http1), Detected::Http1, 0),
            (&[(10, "GET / HTTP/1.1\r\n")], Some(Detected::Http1), Detected::Http1, 10),
            (&[(10, "PING\r\n")], Some(Detected::Other), Detected::Other, 10),
            (&[(5000, "GET / HTTP/1.1\r\n")], None, Detected::Http1, 5000),
            (&[(5000, "PING\r\n")], None, Detected::Other, 5000),
            (&[(10, "GET"), (500, " / HTTP/1.1\r\n")], None, Detected::Http1, 510),
            (&[(10, "PING")], None, Detected::Other, 1020),
        ];
        for (pieces, first, then, milliseconds) in rows {
            let (near, mut far) = duplex(1024);
            let (mut bytes, start) = (FirstBytes::default(), Instant::now());
            let writing = tokio::spawn(write(near, pieces));
            let guessed = bytes.guess(&mut far).await;
            assert_eq!(guessed, first, "{pieces:?}");
            let known = match guessed {
                Some(known) => known,
                None => bytes.guess_patiently(&mut far).await,
            };
            assert_eq!(known, then, "{pieces:?}");
            let took = start.elapsed().as_millis();
            assert!((u128::from(milliseconds)..=u128::from(milliseconds + 3)).contains(&took), "{pieces:?}: {took} ms");
            drop(writing);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_http_is_declared_a_client_has_all_the_time_and_its_end_is_no_http() {
        for (pieces, is_ended, expected) in [
            (&[(60_000, "GE"), (60_000, "T / HTTP/1.1\r\n")][..], false, Detected::Http1),
            (&[(60_000, "GE")], true, Detected::Other),
            (&[], true, Detected::Other),
        ] {
            let (near, mut far) = duplex(1024);
            let mut first = FirstBytes::default();
            let writing = tokio::spawn(async move { Some(write(near, pieces).await).filter(|_| !is_ended) });
            assert_eq!(first.detect(&mut far).await, expected, "{pieces:?}");
            let sent: String = pieces.iter().map(|(_, piece)| *piece).collect();
            assert_eq!(first.received, sent.as_bytes(), "nothing is lost");
            drop(writing);
        }
    }
}
