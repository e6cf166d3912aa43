//! A key of a JWK Set (RFC 7517) and the algorithms that it verifies with (RFC 7518 §3, RFC 8037).

use std::fmt;

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use aws_lc_rs::{digest, hmac};

use super::base64url;
use crate::model::authorization::{ClaimValue, Claims};

/// What a token is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

/// The algorithms by their names, which are case-sensitive.
const ALGORITHMS: [(&str, Algorithm); 13] = [
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("ES512", Algorithm::Es512),
    ("EdDSA", Algorithm::EdDsa),
];

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// A curve of ECDSA, which goes with one algorithm (RFC 7518 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Its algorithm, and the size of a coordinate in bytes.
    fn parts(self) -> (Algorithm, &'static EcdsaVerificationAlgorithm, usize) {
        match self {
            Self::P256 => (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
            Self::P384 => (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
            Self::P521 => (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66),
        }
    }
}

/// What verifies, by type of key.
#[derive(Clone)]
enum Material {
    Symmetric(Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key that verifies signatures.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<Box<str>>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

/// Without what it is made of: it may be secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a key; `None` for one of another use, of an algorithm or type that is not known, or without what its type needs.
    /// Such keys are ignored, as RFC 7517 §5 asks.
    pub(super) fn read(jwk: &Claims) -> Option<Self> {
        let is_for_signatures = match jwk.0.get("use") {
            None => true,
            Some(ClaimValue::Text(text)) => &**text == "sig",
            Some(_) => false,
        };
        let may_verify = match jwk.0.get("key_ops") {
            None => true,
            Some(ClaimValue::List(operations)) => operations.contains(&ClaimValue::Text("verify".into())),
            Some(_) => false,
        };
        if !is_for_signatures || !may_verify {
            return None;
        }
        let bytes = |name: &str| jwk.text(name).and_then(base64url::decode);
        let material = match (jwk.text("kty")?, jwk.text("crv")) {
            ("oct", _) => Material::Symmetric(bytes("k").filter(|secret| !secret.is_empty())?),
            ("RSA", _) => Material::Rsa { modulus: bytes("n")?, exponent: bytes("e")? },
            ("EC", Some("P-256")) => ec(Curve::P256, bytes("x")?, bytes("y")?)?,
            ("EC", Some("P-384")) => ec(Curve::P384, bytes("x")?, bytes("y")?)?,
            ("EC", Some("P-521")) => ec(Curve::P521, bytes("x")?, bytes("y")?)?,
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|point| point.len() == 32)?),
            _ => return None,
        };
        let algorithm = match jwk.0.get("alg") {
            None => None,
            Some(ClaimValue::Text(name)) => Some(Algorithm::named(name)?),
            Some(_) => return None,
        };
        Some(Self { id: jwk.text("kid").map(Box::from), algorithm, material })
    }

    /// Whether whoever knows the key can sign with it.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.material, Material::Symmetric(_))
    }

    /// Whether it is a key that tokens of that algorithm may be signed with.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        let is_of_type = match &self.material {
            Material::Symmetric(_) => algorithm.hmac().is_some(),
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::Ec(curve, _) => curve.parts().0 == algorithm,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        is_of_type && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Whether a signature over a message is of this key and that algorithm.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        match &self.material {
            Material::Symmetric(secret) => algorithm.hmac().is_some_and(|of| {
                // A secret shorter than the digest must not be used (RFC 7518 §3.2).
                secret.len() >= digest::Algorithm::output_len(of.digest_algorithm())
                    && hmac::verify(&hmac::Key::new(of, secret), message, signature).is_ok()
            }),
            Material::Rsa { modulus, exponent } => algorithm.rsa().is_some_and(|of| {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(of, message, signature).is_ok()
            }),
            Material::Ec(curve, point) => {
                UnparsedPublicKey::new(curve.parts().1, point).verify(message, signature).is_ok()
            }
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signature).is_ok()
            }
        }
    }
}

fn ec(curve: Curve, x: Vec<u8>, y: Vec<u8>) -> Option<Material> {
    let (_, _, size) = curve.parts();
    (x.len() == size && y.len() == size).then(|| Material::Ec(curve, [vec![4], x, y].concat()))
}
