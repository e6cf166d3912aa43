//! Certificates for tests, good and bad in one way each, and the authority that signs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};

/// Signs certificates of workloads.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

/// What a peer presents to an HBONE listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// A certificate that is right in every way, for a SPIFFE id.
    Identity(&'a str),
    /// The same, but no longer valid.
    Expired(&'a str),
    /// The same, but signed by nobody the mesh knows.
    SelfSigned(&'a str),
    /// Signed by the mesh's authority for a DNS name in place of a SPIFFE id.
    DnsName(&'a str),
}

/// The files of a certificate: chain and key, both PEM.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new authority that nobody trusts yet.
    ///
    /// # Errors
    /// If key generation fails.
    pub fn generate() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::OrganizationName, "a test authority");
        let key = KeyPair::generate()?;
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    /// The authority whose `ca-cert.pem` and `ca-key.pem` are in a folder, such as a control plane's.
    ///
    /// # Errors
    /// If they are not there or are not a certificate and its key.
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| format!("reading {name}"));
        let root_pem = read("ca-cert.pem")?;
        let issuer = Issuer::from_ca_cert_pem(&root_pem, KeyPair::from_pem(&read("ca-key.pem")?)?)?;
        Ok(Self { issuer, root_pem })
    }

    /// Writes `ca-cert.pem` and `ca-key.pem` into a folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn store(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("ca-cert.pem"), &self.root_pem)?;
        write_key(&folder.join("ca-key.pem"), &self.issuer.key().serialize_pem())
    }

    /// A revocation list of this authority's (PEM) that names these serial numbers.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn revocation_list(&self, serials: &[Vec<u8>]) -> Result<String> {
        let revoked = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: serial.clone().into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    /// Makes a certificate and its key and writes both into a folder under a name.
    ///
    /// # Errors
    /// If key generation or writing fails.
    pub fn write(&self, presented: Presented<'_>, folder: &Path, name: &str) -> Result<CertificateFiles> {
        let key = KeyPair::generate()?;
        let params = params(presented)?;
        let chain = match presented {
            Presented::SelfSigned(_) => params.self_signed(&key)?.pem(),
            _ => params.signed_by(&key, &self.issuer)?.pem() + &self.root_pem,
        };
        let files =
            CertificateFiles { chain: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        fs::create_dir_all(folder)?;
        fs::write(&files.chain, chain)?;
        write_key(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

/// The serial number of the first certificate of a PEM text.
///
/// # Errors
/// If it is none.
pub fn serial_of(pem: &str) -> Result<Vec<u8>> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())?;
    Ok(block.parse_x509()?.raw_serial().to_vec())
}

/// Weir refuses keys that others may read.
fn write_key(path: &Path, pem: &str) -> Result<()> {
    fs::write(path, pem)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

fn params(presented: Presented<'_>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    // Fixed dates far apart: what is tested is never whether two clocks agree.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let name = match presented {
        Presented::Identity(id) | Presented::SelfSigned(id) => SanType::URI(id.try_into()?),
        Presented::Expired(id) => {
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            SanType::URI(id.try_into()?)
        }
        Presented::DnsName(name) => SanType::DnsName(name.try_into()?),
    };
    params.subject_alt_names = vec![name];
    Ok(params)
}
