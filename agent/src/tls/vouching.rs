//! Two workloads of this process, as either would know the other after a handshake, without one. That they are who they are, the network
//! namespaces of their sockets say, and whoever calls this has both. Whether that still counts, their certificates say: each is held to
//! all that a handshake would hold it to, but for the proof that it has its key, which this process has for both.

use std::time::SystemTime;

use super::handshake::{CertificateHash, hash_of};
use super::trust::{LivePeer, PeerRole};
use super::verify::{PeerRefused, TrustedDomains};
use super::workload_certificate::WorkloadCertificate;
use crate::model::identity::Identity;

/// One of the two, as the other knows it.
#[derive(Debug)]
pub struct Vouched {
    pub identity: Identity,
    /// When its certificate expires.
    pub expires: SystemTime,
    /// Of its certificate.
    pub hash: CertificateHash,
    /// Tells when it would no longer be accepted.
    pub live: LivePeer,
}

/// Checks a client and a server as they would each other. `expected`: whom the client takes for the server.
///
/// # Errors
/// Why the handshake would fail.
pub fn vouch(
    client: &WorkloadCertificate,
    server: &WorkloadCertificate,
    expected: &[Identity],
    trusted: &TrustedDomains,
) -> Result<(Vouched, Vouched), PeerRefused> {
    let found = known_to(client, server, PeerRole::Server, trusted)?;
    if !expected.iter().any(|expected| trusted.same(&found.identity, expected)) {
        let expected = expected.iter().map(Identity::to_string).collect::<Vec<_>>().join(" or ");
        return Err(PeerRefused::WrongIdentity { found: found.identity, expected });
    }
    Ok((known_to(server, client, PeerRole::Client, trusted)?, found))
}

/// `other` as `own` knows it; `role`: which side `other` is.
fn known_to(
    own: &WorkloadCertificate,
    other: &WorkloadCertificate,
    role: PeerRole,
    trusted: &TrustedDomains,
) -> Result<Vouched, PeerRefused> {
    let version = own.trust.version();
    let shown = other.shown_to(own, role);
    let identity = own.identity_shown(&shown, trusted, SystemTime::now())?;
    let hash = shown.chain.first().map(hash_of).ok_or(PeerRefused::NoCertificate)?;
    Ok(Vouched { identity, expires: other.not_after, hash, live: own.trust.track(shown, version) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::identity::TrustDomain;
    use crate::tls::revocation_lists::RevocationLists;
    use crate::tls::test_mesh::{Leaf, TestRoot, id};
    use crate::tls::trust::{Revocation, Trust};
    use crate::tls::workload_certificate::Material;

    const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
    const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/cart";
    const FOREIGN: &str = "spiffe://elsewhere/ns/shop/sa/cart";

    fn trusted() -> TrustedDomains {
        TrustedDomains(vec![TrustDomain::new("cluster.local"), TrustDomain::new("old.mesh")])
    }

    fn certificate(identity: &str, material: &Material, trust: &Trust) -> WorkloadCertificate {
        WorkloadCertificate::assemble(&id(identity), material, trust).unwrap()
    }

    /// Which of the two is not accepted, and why; or whom each is found to be.
    fn outcome(server: &Material, client: &Material, expected: &[&str], trust: &Trust) -> Result<(), PeerRefused> {
        let (client, server) = (certificate(CLIENT, client, trust), certificate(SERVER, server, trust));
        let expected: Vec<_> = expected.iter().map(|text| id(text)).collect();
        vouch(&client, &server, &expected, &trusted()).map(|(found_client, found_server)| {
            assert_eq!((found_client.identity, found_server.identity), (id(CLIENT), id(SERVER)));
            assert_ne!(found_client.hash, found_server.hash);
        })
    }

    #[test]
    fn two_pods_of_one_process_are_held_to_what_a_handshake_holds_them_to() {
        let (root, other) = (TestRoot::new(), TestRoot::new());
        let right = |name: &str| root.issue(&Leaf { serial: Some(7), ..Leaf::new(name) });
        let past =
            |name: &str| root.issue(&Leaf { not_after: SystemTime::now() - Duration::from_secs(5), ..Leaf::new(name) });
        let wrong =
            |expected: &str| Err(PeerRefused::WrongIdentity { found: id(SERVER), expected: expected.to_owned() });
        for (name, server, client, expected, result) in [
            ("right", right(SERVER), right(CLIENT), &[SERVER][..], Ok(())),
            (
                "an alias of the trust domain",
                right(SERVER),
                right(CLIENT),
                &["spiffe://old.mesh/ns/shop/sa/cart"],
                Ok(()),
            ),
            ("somebody else", right(SERVER), right(CLIENT), &[CLIENT], wrong(CLIENT)),
            ("nobody is expected", right(SERVER), right(CLIENT), &[], wrong("")),
            ("the server's has expired", past(SERVER), right(CLIENT), &[SERVER], Err(PeerRefused::Expired)),
            ("the client's has expired", right(SERVER), past(CLIENT), &[SERVER], Err(PeerRefused::Expired)),
            ("a client of another root", right(SERVER), other.issue(&Leaf::new(CLIENT)), &[SERVER], {
                Err(PeerRefused::UnknownIssuer)
            }),
            ("a client of another mesh", right(SERVER), right(FOREIGN), &[SERVER], {
                Err(PeerRefused::WrongTrustDomain(id(FOREIGN)))
            }),
        ] {
            assert_eq!(outcome(&server, &client, expected, &Trust::default()), result, "{name}");
        }
    }

    #[tokio::test]
    async fn who_is_revoked_is_refused_and_known_peers_are_checked_again() {
        let root = TestRoot::new();
        let issue = |name: &str, serial| root.issue(&Leaf { serial: Some(serial), ..Leaf::new(name) });
        let (server, client, trust) = (issue(SERVER, 1), issue(CLIENT, 2), Trust::default());
        let (own, peer) = (certificate(CLIENT, &client, &trust), certificate(SERVER, &server, &trust));
        let (_found_client, _found_server) = vouch(&own, &peer, &[id(SERVER)], &trusted()).unwrap();
        assert_eq!(trust.peers().len(), 2, "both are known for as long as somebody has them");
        let lists = RevocationLists::read(root.revocation_list(&[2]).as_bytes()).unwrap();
        trust.set_revocation(Revocation::Lists(lists));
        assert_eq!(outcome(&server, &client, &[SERVER], &trust), Err(PeerRefused::Revoked));
    }
}
