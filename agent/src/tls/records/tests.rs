//! Records between our two ends, and between ours and rustls's own.

use std::io::{Read as _, Write as _};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::model::identity::TrustDomain;
use crate::tls::handshake::{Secured, TrustedDomains, accept, connect};
use crate::tls::test_mesh::{TestRoot, id};

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/cart";

fn trusted() -> TrustedDomains {
    TrustedDomains(vec![TrustDomain::new("cluster.local")])
}

async fn ends() -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    let root = TestRoot::new();
    let (client, server) = (root.workload(CLIENT), root.workload(SERVER));
    let (near, far) = duplex(64 * 1024);
    let (trusted, expected) = (trusted(), [id(SERVER)]);
    let (near, far) = tokio::join!(connect(&client, near, &expected, &trusted), accept(&server, far, &trusted));
    (near.expect("a handshake"), far.expect("a handshake"))
}

fn record(content: &[u8]) -> Vec<u8> {
    let mut record = vec![0; HEADER_BYTES];
    record.extend_from_slice(content);
    record.resize(record.len() + TRAILER_BYTES, 0);
    record
}

/// Seals with one end and opens with the other; the content as it arrives.
fn carried(from: &mut RecordLayer, to: &mut RecordLayer, content: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut record = record(content);
    from.seal(&mut record);
    let header = *record.first_chunk().expect("a header");
    assert_eq!(body_length(header), Ok(record.len() - HEADER_BYTES));
    match to.open(&mut record)? {
        Opened::Data(place) => Ok(record[place].to_vec()),
        other => panic!("not data: {other:?}"),
    }
}

#[tokio::test]
async fn bytes_of_any_length_arrive_both_ways() {
    let (mut near, mut far) = ends().await;
    for length in [0, 1, 15, 16, 1000, CONTENT_BYTES] {
        let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
        assert_eq!(carried(&mut near.records, &mut far.records, &content), Ok(content.clone()), "{length}");
        assert_eq!(carried(&mut far.records, &mut near.records, &content), Ok(content), "{length}");
    }
}

#[tokio::test]
async fn what_was_changed_repeated_or_left_out_is_refused() {
    let (mut near, mut far) = ends().await;
    let mut sealed = record(b"hello");
    near.records.seal(&mut sealed);
    for at in 0..sealed.len() {
        let (mut near, mut far) = ends().await;
        let mut sealed = record(b"hello");
        near.records.seal(&mut sealed);
        sealed[at] ^= 1;
        let header = *sealed.first_chunk().expect("a header");
        let outcome = body_length(header).and_then(|_| far.records.open(&mut sealed));
        assert!(outcome.is_err(), "byte {at}");
    }
    let mut twice = sealed.clone();
    assert!(far.records.open(&mut sealed).is_ok());
    assert_eq!(far.records.open(&mut twice), Err(RecordError::Forged));
}

#[tokio::test]
async fn keys_are_replaced_on_both_sides() {
    let (mut near, mut far) = ends().await;
    for _ in 0..3 {
        let mut update = [0; KEY_UPDATE_RECORD_BYTES];
        near.records.seal_key_update(&mut update).expect("new keys");
        // Before the peer knows of them, what is sealed with them is noise to it.
        assert_eq!(far.records.open(&mut update), Ok(Opened::Internal));
        assert_eq!(carried(&mut near.records, &mut far.records, b"after"), Ok(b"after".to_vec()));
        assert_eq!(carried(&mut far.records, &mut near.records, b"back"), Ok(b"back".to_vec()));
    }
    assert!(!far.records.key_update_due(), "nobody asked");
}

#[tokio::test]
async fn key_updates_must_be_earned_by_records() {
    let (mut near, mut far) = ends().await;
    let update = |near: &mut RecordLayer, far: &mut RecordLayer| {
        let mut update = [0; KEY_UPDATE_RECORD_BYTES];
        near.seal_key_update(&mut update).expect("new keys");
        far.open(&mut update)
    };
    for number in 0..16 {
        assert_eq!(update(&mut near.records, &mut far.records), Ok(Opened::Internal), "{number}");
    }
    for _ in 0..1024 {
        assert_eq!(carried(&mut near.records, &mut far.records, b"data"), Ok(b"data".to_vec()));
    }
    assert_eq!(update(&mut near.records, &mut far.records), Ok(Opened::Internal), "it was earned");
    assert_eq!(update(&mut near.records, &mut far.records), Err(RecordError::Keys("asked for too often")));
}

#[tokio::test]
async fn the_end_is_told() {
    let (mut near, mut far) = ends().await;
    let mut farewell = near.records.close_notify();
    assert_eq!(far.records.open(&mut farewell), Ok(Opened::CloseNotify));
}

#[test]
fn what_is_no_protected_record_is_refused_by_its_header() {
    for (header, outcome) in [
        ([23, 3, 3, 0, 17], Ok(17)),
        ([23, 3, 3, 0x41, 0], Ok(CONTENT_BYTES + 256)),
        ([23, 3, 3, 0x41, 1], Err(RecordError::Length(CONTENT_BYTES + 257))),
        ([23, 3, 3, 0, 16], Err(RecordError::Length(16))),
        ([22, 3, 3, 0, 40], Err(RecordError::NotProtected(22))),
        (*b"GET /", Err(RecordError::NotProtected(b'G'))),
    ] {
        assert_eq!(body_length(header), outcome, "{header:?}");
    }
}

/// A client of rustls as it is, against our records: its key updates and its way of cutting records are not ours.
#[tokio::test]
async fn records_of_rustls_are_read_and_ours_are_read_by_it() {
    let root = TestRoot::new();
    let (client, server) = (root.workload(CLIENT), root.workload(SERVER));
    let config = client.client_config(&[id(SERVER)], &trusted());
    let (mut near, far) = duplex(1 << 20);
    let name = ServerName::try_from("cart").expect("a name");
    let mut plain = ClientConnection::new(config, name).expect("a configuration");
    let trusted = trusted();
    let driving = async {
        while plain.is_handshaking() {
            exchange(&mut plain, &mut near).await;
        }
        // Its last message, and data right behind it.
        plain.writer().write_all(b"early").expect("room");
        plain.refresh_traffic_keys().expect("keys");
        plain.writer().write_all(b" and late").expect("room");
        send(&mut plain, &mut near).await;
    };
    let (accepted, ()) = tokio::join!(accept(&server, far, &trusted), driving);
    let mut far = accepted.expect("a handshake");
    let mut bytes = std::mem::take(&mut far.received);
    let mut text = Vec::new();
    while text.len() < "early and late".len() {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            far.stream.read_buf(&mut bytes).await.expect("bytes");
            continue;
        };
        let end = HEADER_BYTES + body_length(*header).expect("a record");
        if bytes.len() < end {
            far.stream.read_buf(&mut bytes).await.expect("bytes");
            continue;
        }
        let mut record: Vec<u8> = bytes.drain(..end).collect();
        if let Opened::Data(place) = far.records.open(&mut record).expect("a record") {
            text.extend_from_slice(&record[place]);
        }
    }
    assert_eq!(text, b"early and late");

    let mut answer = record(b"answer");
    far.records.seal(&mut answer);
    far.stream.write_all(&answer).await.expect("room");
    let mut read = Vec::new();
    while read.len() < "answer".len() {
        receive(&mut plain, &mut near).await;
        let mut some = [0; 64];
        if let Ok(count) = plain.reader().read(&mut some) {
            read.extend_from_slice(&some[..count]);
        }
    }
    assert_eq!(read, b"answer");
}

async fn exchange(plain: &mut ClientConnection, stream: &mut DuplexStream) {
    if plain.wants_write() {
        send(plain, stream).await;
    } else {
        receive(plain, stream).await;
    }
}

async fn send(plain: &mut ClientConnection, stream: &mut DuplexStream) {
    let mut bytes = Vec::new();
    while plain.wants_write() {
        plain.write_tls(&mut bytes).expect("memory");
    }
    stream.write_all(&bytes).await.expect("a peer");
}

async fn receive(plain: &mut ClientConnection, stream: &mut DuplexStream) {
    let mut bytes = Vec::new();
    stream.read_buf(&mut bytes).await.expect("a peer");
    plain.read_tls(&mut bytes.as_slice()).expect("room");
    plain.process_new_packets().expect("TLS");
}
