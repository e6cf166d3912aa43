//! What an authenticated peer may send: request headers, and bytes in place of HTTP/2.
//!
//! Must hold: nothing panics, what is understood reads back as it was, and a connection whose bytes end comes to an end.
#![no_main]

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use weir::proxy::hbone::authority::{self, Authority};
use weir::proxy::hbone::headers;
use weir::proxy::hbone::server::{ConnectRequest, HboneServer};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// More than a peer of a test ever sends or is sent before somebody reads.
const PIPE_BYTES: usize = 1 << 22;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().build().expect("a runtime without I/O needs nothing"));
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 4 {
        0 => check_authority(rest),
        1 => check_header(rest),
        // With the preface the fuzzer need not find it first.
        2 => RUNTIME.with_borrow(|runtime| runtime.block_on(serve(PREFACE, rest))),
        _ => RUNTIME.with_borrow(|runtime| runtime.block_on(serve(b"", rest))),
    }
});

fn check_authority(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(parsed) = authority::parse(text) else { return };
    let written = match &parsed {
        Authority::Address(address) => {
            assert!(address.port() != 0);
            address.to_string()
        }
        Authority::Hostname(name, port) => {
            assert!(*port != 0 && !name.is_empty());
            format!("{name}:{port}")
        }
    };
    assert_eq!(authority::parse(&written), Ok(parsed), "{text:?} read as {written:?}");
}

fn check_header(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let _ = headers::service_of(&value);
    let Some(client) = headers::client_of(&value) else { return };
    let written = headers::forwarded(client, None).expect("an address is a valid header");
    assert_eq!(headers::client_of(&written), Some(client));
}

/// Serves a connection on which a peer sends these bytes and then nothing more.
async fn serve(preface: &[u8], bytes: &[u8]) {
    let (mut peer, ours) = tokio::io::duplex(PIPE_BYTES);
    peer.write_all(preface).await.expect("the pipe is large enough");
    peer.write_all(bytes).await.expect("the pipe is large enough");
    peer.shutdown().await.expect("a pipe can be closed");
    let reading = tokio::spawn(async move {
        let mut sink = vec![0; 1 << 16];
        while peer.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    });
    if let Ok(mut server) = HboneServer::handshake(ours).await {
        while let Some(Ok(request)) = server.next().await {
            tokio::spawn(answer(request));
        }
    }
    reading.await.expect("reading does not panic");
}

/// Sends back what comes where the authority is understood.
async fn answer(request: ConnectRequest) {
    let destination = request.authority().map(authority::parse);
    let Some(Ok(_)) = destination else { return request.refuse(StatusCode::BAD_REQUEST) };
    let Ok(stream) = request.accept() else { return };
    let (mut reader, mut writer) = stream.split();
    while let Ok(Some(chunk)) = reader.read().await {
        reader.release(chunk.len());
        if writer.write(Bytes::copy_from_slice(&chunk)).await.is_err() {
            return;
        }
    }
    let _ = writer.finish();
}
