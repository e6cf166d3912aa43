//! `x-forwarded-client-cert`: whom the agent has proven the client to be, in the words of Envoy (`SANITIZE_SET` of
//! `forward_client_cert_details`, with the details that Istio's sidecars write).
//!
//! What a client says itself in this field proves nothing, so it never reaches an application: neither under this name, nor under
//! one that CGI and its heirs take for the same (RFC 3875 §4.1.18 makes `-` and `_` one).

use std::fmt::Write;

use super::control_fields::remove_spellings;
use super::head::HttpFields;
use crate::model::identity::Identity;

const NAME: &str = "x-forwarded-client-cert";

/// The value of the field: by whom the client was let in, the SHA-256 of its certificate, and its SPIFFE ID. Certificates of
/// workloads have no subject.
#[must_use]
pub fn forwarded_client_cert(own: &Identity, peer: &Identity, hash: &[u8]) -> String {
    let mut text = format!("By={own};Hash=");
    for byte in hash {
        write!(text, "{byte:02x}").expect("a string takes all text");
    }
    write!(text, ";Subject=\"\";URI={peer}").expect("a string takes all text");
    text
}

/// Puts the value in the place of what the client has sent; `None` where nothing is proven of the client.
pub fn set_client_cert(fields: &mut HttpFields, value: Option<&[u8]>) {
    remove_spellings(fields, NAME);
    if let Some(value) = value {
        fields.append(NAME.as_bytes(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::TrustDomain;

    #[test]
    fn the_client_is_who_it_has_proven_to_be_and_not_who_it_says() {
        let of = |account| Identity::new(TrustDomain::new("cluster.local"), "shop", account);
        let value = forwarded_client_cert(&of("reviews"), &of("client"), &[0x0a, 0xff]);
        let expected = "By=spiffe://cluster.local/ns/shop/sa/reviews;Hash=0aff;Subject=\"\";\
                        URI=spiffe://cluster.local/ns/shop/sa/client";
        assert_eq!(value, expected);
        let sent = [
            ("X-Forwarded-Client-Cert", "URI=spiffe://cluster.local/ns/shop/sa/admin"),
            ("x-forwarded-client-certs", "another field"),
            ("x_forwarded_client-cert", "the same for a CGI"),
            ("x-forwarded-client-cert", "twice"),
        ];
        for (proven, expected) in [
            (Some(&*value), vec![("x-forwarded-client-certs", "another field"), ("x-forwarded-client-cert", &*value)]),
            (None, vec![("x-forwarded-client-certs", "another field")]),
        ] {
            let mut fields: HttpFields = sent.into_iter().collect();
            set_client_cert(&mut fields, proven.map(str::as_bytes));
            assert_eq!(fields, expected.into_iter().collect());
        }
    }
}
