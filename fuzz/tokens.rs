//! What a client may send as a token, and what a server may give as keys.
//!
//! Must hold: nothing panics; nothing that a fuzzer writes is signed by a key that it does not have; a token that can be read has one
//! spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::api::jwt::{KeySet, Token, base64url};

const KEYS: &str = r#"{"keys": [
    {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
]}"#;

fuzz_target!(|data: &[u8]| {
    let (choice, rest) = data.split_first().unwrap_or((&0, data));
    if choice % 2 == 0 {
        let _ = KeySet::read(rest);
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    // Half of the texts are parts that are encoded first: hardly any other would get behind the encoding.
    let text = if choice % 4 == 1 {
        text.split('.').map(|part| base64url(part.as_bytes())).collect::<Vec<_>>().join(".")
    } else {
        text.to_owned()
    };
    let Ok(token) = Token::parse(&text) else { return };
    let Ok(claims) = token.claims() else { return };
    let _ = claims.check("issuer", &["audience".into()], 1_000);
    let keys = KeySet::read(KEYS.as_bytes()).expect("they are keys");
    assert!(keys.verify(token, claims).is_err(), "{text} is signed by nobody");
});
