//! A mesh for tests: a root, and certificates below it, right and wrong.

use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SanType, SerialNumber,
};

use super::ca::local::{LocalCa, set_validity};
pub(crate) use super::ca::request::new_request;
use super::trust::Trust;
use super::workload_certificate::{Material, WorkloadCertificate};
use crate::model::identity::Identity;

pub(crate) fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// A root with its key.
pub(crate) struct TestRoot {
    pub(crate) pem: String,
    pub(crate) key_pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

/// A leaf to be made; `new` is a right one.
pub(crate) struct Leaf {
    pub(crate) names: Vec<SanType>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) key: KeyPair,
    /// Any, unless set.
    pub(crate) serial: Option<u64>,
    /// Whether it may sign others, which no leaf may.
    pub(crate) is_ca: bool,
}

impl Leaf {
    pub(crate) fn new(identity: &str) -> Self {
        let now = SystemTime::now();
        Self {
            names: vec![uri(identity)],
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            not_before: now - Duration::from_secs(60),
            not_after: now + Duration::from_secs(3600),
            key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            serial: None,
            is_ca: false,
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = self.serial.map(SerialNumber::from);
        params.subject_alt_names = self.names.clone();
        params.extended_key_usages = self.usages.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        set_validity(&mut params, self.not_before, self.not_after);
        params
    }
}

impl TestRoot {
    pub(crate) fn new() -> Self {
        Self::with_key(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    pub(crate) fn with_key(key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (pem, key_pem) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        Self { pem, key_pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// An authority below this one, with a name of its own; `change` is for what is wrong with it. Its `pem` is its
    /// certificate.
    pub(crate) fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        let (pem, key_pem) = (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem());
        Self { pem, key_pem, issuer: rcgen::Issuer::new(params, key) }
    }

    pub(crate) fn ca(&self) -> LocalCa {
        LocalCa::new(&self.pem, &self.key_pem, None).unwrap()
    }

    /// A revocation list of this root's that names these serial numbers.
    pub(crate) fn revocation_list(&self, serials: &[u64]) -> String {
        let now = SystemTime::now();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(900)).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Material {
        let certificate = leaf.params().signed_by(&leaf.key, &self.issuer).unwrap();
        self.material(leaf, certificate.pem())
    }

    /// A leaf that signs itself, by one who trusts this root.
    pub(crate) fn self_signed(&self, leaf: &Leaf) -> Material {
        self.material(leaf, leaf.params().self_signed(&leaf.key).unwrap().pem())
    }

    fn material(&self, leaf: &Leaf, chain_pem: String) -> Material {
        Material { key_pem: leaf.key.serialize_pem(), chain_pem: vec![chain_pem], root_pem: vec![self.pem.clone()] }
    }

    /// A right certificate of an identity.
    pub(crate) fn workload(&self, identity: &str) -> WorkloadCertificate {
        let material = self.issue(&Leaf::new(identity));
        WorkloadCertificate::new(&id(identity), &material, &Trust::default(), SystemTime::now()).unwrap()
    }
}
