//! The mechanisms: one row each.

use cryptoki_sys::*;
use ctk_token::{Digest, KeyAlgorithm, KeyType, Pss};

use crate::{
    abi::ptr::Input,
    error::{Error, Result},
};

/// A mechanism's row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) mechanism: CK_MECHANISM_TYPE,
    pub(crate) form: Form,
}

/// What a mechanism asks for, with the hash that it has in its name, if it has one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    RsaPkcs1(Option<Digest>),
    RsaPss(Option<Digest>),
    Ecdsa(Option<Digest>),
    EdDsa,
}

macro_rules! rows {
    ($($mechanism:ident $form:expr;)*) => {
        /// All mechanisms.
        pub(crate) static ROWS: &[Row] = &[$(Row { mechanism: $mechanism, form: $form },)*];
    };
}

rows! {
    CKM_RSA_PKCS Form::RsaPkcs1(None);
    CKM_SHA1_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha1));
    CKM_SHA224_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha224));
    CKM_SHA256_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha256));
    CKM_SHA384_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha384));
    CKM_SHA512_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha512));
    CKM_RSA_PKCS_PSS Form::RsaPss(None);
    CKM_SHA1_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha1));
    CKM_SHA224_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha224));
    CKM_SHA256_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha256));
    CKM_SHA384_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha384));
    CKM_SHA512_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha512));
    CKM_ECDSA Form::Ecdsa(None);
    CKM_ECDSA_SHA1 Form::Ecdsa(Some(Digest::Sha1));
    CKM_ECDSA_SHA224 Form::Ecdsa(Some(Digest::Sha224));
    CKM_ECDSA_SHA256 Form::Ecdsa(Some(Digest::Sha256));
    CKM_ECDSA_SHA384 Form::Ecdsa(Some(Digest::Sha384));
    CKM_ECDSA_SHA512 Form::Ecdsa(Some(Digest::Sha512));
    CKM_EDDSA Form::EdDsa;
}

/// The row of a mechanism.
pub(crate) fn row(mechanism: CK_MECHANISM_TYPE) -> Result<&'static Row> {
    ROWS.iter()
        .find(|row| row.mechanism == mechanism)
        .ok_or(Error::MechanismInvalid)
}

impl Form {
    /// Whether a key of this type can be used with it.
    pub(crate) fn takes(self, key: KeyType) -> bool {
        match self {
            Self::RsaPkcs1(_) | Self::RsaPss(_) => matches!(key, KeyType::Rsa { .. }),
            Self::Ecdsa(_) => matches!(key, KeyType::Ec(_)),
            Self::EdDsa => matches!(key, KeyType::Ed25519 | KeyType::Ed448),
        }
    }

    /// What C_GetMechanismInfo says of it.
    pub(crate) fn flags(self) -> CK_FLAGS {
        CKF_SIGN
            | match self {
                Self::RsaPkcs1(_) | Self::RsaPss(_) => 0,
                Self::Ecdsa(_) => CKF_EC_F_P | CKF_EC_OID | CKF_EC_UNCOMPRESS,
                Self::EdDsa => CKF_EC_F_P | CKF_EC_OID,
            }
    }

    /// What it can mean, for finding out whether a key can do it at all: with a PSS mechanism that
    /// leaves the hash open, one hash is enough.
    pub(crate) fn examples(self) -> Vec<KeyAlgorithm> {
        let pss = |digest: Digest| Pss {
            digest,
            mgf: digest,
            salt_len: u32::try_from(digest.len()).unwrap_or_default(),
        };
        match self {
            Self::RsaPss(None) => Digest::ALL
                .into_iter()
                .map(|digest| KeyAlgorithm::RsaPssDigest(pss(digest)))
                .collect(),
            Self::RsaPss(Some(digest)) => vec![KeyAlgorithm::RsaPssMessage(pss(digest))],
            Self::RsaPkcs1(None) => vec![KeyAlgorithm::RsaPkcs1],
            Self::RsaPkcs1(Some(digest)) => vec![KeyAlgorithm::RsaPkcs1Message(digest)],
            Self::Ecdsa(None) => vec![KeyAlgorithm::EcdsaDigest],
            Self::Ecdsa(Some(digest)) => vec![KeyAlgorithm::EcdsaMessage(digest)],
            Self::EdDsa => vec![KeyAlgorithm::EdDsa],
        }
    }

    /// What it means with this parameter.
    ///
    /// # Errors
    /// CKR_MECHANISM_PARAM_INVALID for a parameter that it does not take.
    pub(crate) fn algorithm(self, parameter: Input<'_>) -> Result<KeyAlgorithm> {
        match self {
            Self::RsaPkcs1(digest) => none(parameter)
                .map(|()| digest.map_or(KeyAlgorithm::RsaPkcs1, KeyAlgorithm::RsaPkcs1Message)),
            Self::RsaPss(None) => pss(parameter).map(KeyAlgorithm::RsaPssDigest),
            Self::RsaPss(Some(digest)) => match pss(parameter)? {
                pss if pss.digest == digest => Ok(KeyAlgorithm::RsaPssMessage(pss)),
                _ => Err(Error::MechanismParamInvalid),
            },
            Self::Ecdsa(digest) => none(parameter)
                .map(|()| digest.map_or(KeyAlgorithm::EcdsaDigest, KeyAlgorithm::EcdsaMessage)),
            Self::EdDsa => pure_eddsa(parameter).map(|()| KeyAlgorithm::EdDsa),
        }
    }
}

fn none(parameter: Input<'_>) -> Result<()> {
    if parameter.len() == 0 {
        Ok(())
    } else {
        Err(Error::MechanismParamInvalid)
    }
}

/// CK_RSA_PKCS_PSS_PARAMS (PKCS#11 §6.1.9).
fn pss(parameter: Input<'_>) -> Result<Pss> {
    let invalid = Error::MechanismParamInvalid;
    let parameter: CK_RSA_PKCS_PSS_PARAMS = parameter.read().ok_or(invalid)?;
    let digest = match parameter.hashAlg {
        CKM_SHA_1 => Digest::Sha1,
        CKM_SHA224 => Digest::Sha224,
        CKM_SHA256 => Digest::Sha256,
        CKM_SHA384 => Digest::Sha384,
        CKM_SHA512 => Digest::Sha512,
        _ => return Err(invalid),
    };
    let mgf = match parameter.mgf {
        CKG_MGF1_SHA1 => Digest::Sha1,
        CKG_MGF1_SHA224 => Digest::Sha224,
        CKG_MGF1_SHA256 => Digest::Sha256,
        CKG_MGF1_SHA384 => Digest::Sha384,
        CKG_MGF1_SHA512 => Digest::Sha512,
        _ => return Err(invalid),
    };
    let salt_len = u32::try_from(parameter.sLen).map_err(|_| invalid)?;
    Ok(Pss {
        digest,
        mgf,
        salt_len,
    })
}

/// No parameter, or a CK_EDDSA_PARAMS (PKCS#11 §6.3.15) that asks for neither prehash nor context.
///
/// By the table of that section such a structure would mean Ed25519ctx with an empty context, which
/// is another signature. But our keys name their curve by its RFC 8410 identifier, and for those
/// the section fixes the mechanism by the curve: pure mode, with or without the structure.
fn pure_eddsa(parameter: Input<'_>) -> Result<()> {
    if parameter.len() == 0 {
        return Ok(());
    }
    match parameter.read::<CK_EDDSA_PARAMS>() {
        Some(parameter) if parameter.phFlag == CK_FALSE && parameter.ulContextDataLen == 0 => {
            Ok(())
        }
        _ => Err(Error::MechanismParamInvalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mechanism_has_two_rows() {
        let mut mechanisms: Vec<_> = ROWS.iter().map(|row| row.mechanism).collect();
        mechanisms.sort_unstable();
        mechanisms.dedup();
        assert_eq!(mechanisms.len(), ROWS.len());
    }

    #[test]
    fn every_mechanism_can_mean_something_for_a_key_that_it_takes() {
        use ctk_token::Curve;
        let keys = [
            KeyType::Rsa { bits: 2048 },
            KeyType::Ec(Curve::P256),
            KeyType::Ed25519,
        ];
        for row in ROWS {
            assert!(!row.form.examples().is_empty());
            assert_eq!(keys.iter().filter(|key| row.form.takes(**key)).count(), 1);
            assert_ne!(row.form.flags() & CKF_SIGN, 0);
        }
        assert!(!Form::EdDsa.takes(KeyType::X25519));
    }
}
