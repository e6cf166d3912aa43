//! What an authenticated peer may send: request headers, and any bytes in its TLS records, in any pieces.
//!
//! Must hold: nothing panics; what is understood of headers reads back as it was; whatever comes, what is sent are whole
//! frames that a peer must accept, the first of them SETTINGS; and after the end there is nothing but a GOAWAY.
#![no_main]

mod connection;

use std::cell::RefCell;

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use weir::api::hbone::{Authority, client_of, forwarded, parse_authority, service_of};

use connection::Connection;

thread_local! {
    static CONNECTION: RefCell<Connection> = RefCell::new(Connection::handshake());
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 4 {
        0 => check_authority(rest),
        1 => check_header(rest),
        // With the preface and SETTINGS the fuzzer need not find them first.
        2 => CONNECTION.with_borrow_mut(|connection| connection.play(true, rest)),
        _ => CONNECTION.with_borrow_mut(|connection| connection.play(false, rest)),
    }
});

fn check_authority(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(parsed) = parse_authority(text) else { return };
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
    assert_eq!(parse_authority(&written), Ok(parsed), "{text:?} read as {written:?}");
}

fn check_header(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let _ = service_of(value.as_bytes());
    let Some(client) = client_of(value.as_bytes()) else { return };
    let written = forwarded(client, None).expect("an address is a valid header");
    assert_eq!(client_of(written.as_bytes()), Some(client));
}
