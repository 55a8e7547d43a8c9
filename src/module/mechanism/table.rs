//! The mechanisms: one row each.

use cryptoki_sys::*;
use ctk_token::{Curve, Digest, KeyAlgorithm, KeyType, Pss, PublicKey};

use crate::{
    abi::parameter::Parameter,
    error::{Error, Result},
};

/// The longest secret key of no fixed length, in bytes, however it is made.
pub(crate) const MAX_SECRET_LEN: u16 = 1024;

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
    RsaX509,
    RsaOaep,
    Ecdsa(Option<Digest>),
    EdDsa,
    MlDsa,
    Ecdh { cofactor: bool },
    MlKem,
    Digest(Digest),
    Hmac(Digest, MacLen),
    Cmac(MacLen),
    Aes(AesMode),
    KeyWrap { padded: bool },
    Key(SecretKeyType),
    KeyPair(KeyPair),
}

/// How long a MAC is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MacLen {
    Whole,
    /// As a CK_MAC_GENERAL_PARAMS says.
    Parameter,
}

/// How AES is used (PKCS#11 §6.13).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AesMode {
    Ecb,
    Cbc,
    CbcPad,
    Ctr,
    Gcm,
}

/// The kinds of secret keys that can be generated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SecretKeyType {
    Generic,
    Aes,
}

/// The kinds of key pairs that can be generated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyPair {
    Rsa,
    Ec,
    Edwards,
    Montgomery,
    MlDsa,
    MlKem,
}

/// What an algorithm is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Sign,
    Verify,
}

macro_rules! rows {
    ($($mechanism:ident $form:expr;)*) => {
        /// All mechanisms.
        pub(crate) static ROWS: &[Row] = &[$(Row { mechanism: $mechanism, form: $form },)*];
    };
}

rows! {
    CKM_RSA_PKCS_KEY_PAIR_GEN Form::KeyPair(KeyPair::Rsa);
    CKM_RSA_PKCS Form::RsaPkcs1(None);
    CKM_SHA1_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha1));
    CKM_SHA224_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha224));
    CKM_SHA256_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha256));
    CKM_SHA384_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha384));
    CKM_SHA512_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha512));
    CKM_SHA3_224_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha3_224));
    CKM_SHA3_256_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha3_256));
    CKM_SHA3_384_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha3_384));
    CKM_SHA3_512_RSA_PKCS Form::RsaPkcs1(Some(Digest::Sha3_512));
    CKM_RSA_X_509 Form::RsaX509;
    CKM_RSA_PKCS_PSS Form::RsaPss(None);
    CKM_SHA1_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha1));
    CKM_SHA224_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha224));
    CKM_SHA256_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha256));
    CKM_SHA384_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha384));
    CKM_SHA512_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha512));
    CKM_SHA3_224_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha3_224));
    CKM_SHA3_256_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha3_256));
    CKM_SHA3_384_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha3_384));
    CKM_SHA3_512_RSA_PKCS_PSS Form::RsaPss(Some(Digest::Sha3_512));
    CKM_RSA_PKCS_OAEP Form::RsaOaep;
    CKM_EC_KEY_PAIR_GEN Form::KeyPair(KeyPair::Ec);
    CKM_ECDSA Form::Ecdsa(None);
    CKM_ECDSA_SHA1 Form::Ecdsa(Some(Digest::Sha1));
    CKM_ECDSA_SHA224 Form::Ecdsa(Some(Digest::Sha224));
    CKM_ECDSA_SHA256 Form::Ecdsa(Some(Digest::Sha256));
    CKM_ECDSA_SHA384 Form::Ecdsa(Some(Digest::Sha384));
    CKM_ECDSA_SHA512 Form::Ecdsa(Some(Digest::Sha512));
    CKM_ECDSA_SHA3_224 Form::Ecdsa(Some(Digest::Sha3_224));
    CKM_ECDSA_SHA3_256 Form::Ecdsa(Some(Digest::Sha3_256));
    CKM_ECDSA_SHA3_384 Form::Ecdsa(Some(Digest::Sha3_384));
    CKM_ECDSA_SHA3_512 Form::Ecdsa(Some(Digest::Sha3_512));
    CKM_ECDH1_DERIVE Form::Ecdh { cofactor: false };
    CKM_ECDH1_COFACTOR_DERIVE Form::Ecdh { cofactor: true };
    CKM_EC_EDWARDS_KEY_PAIR_GEN Form::KeyPair(KeyPair::Edwards);
    CKM_EDDSA Form::EdDsa;
    CKM_EC_MONTGOMERY_KEY_PAIR_GEN Form::KeyPair(KeyPair::Montgomery);
    CKM_ML_DSA_KEY_PAIR_GEN Form::KeyPair(KeyPair::MlDsa);
    CKM_ML_DSA Form::MlDsa;
    CKM_ML_KEM_KEY_PAIR_GEN Form::KeyPair(KeyPair::MlKem);
    CKM_ML_KEM Form::MlKem;
    CKM_SHA_1 Form::Digest(Digest::Sha1);
    CKM_SHA224 Form::Digest(Digest::Sha224);
    CKM_SHA256 Form::Digest(Digest::Sha256);
    CKM_SHA384 Form::Digest(Digest::Sha384);
    CKM_SHA512 Form::Digest(Digest::Sha512);
    CKM_SHA3_224 Form::Digest(Digest::Sha3_224);
    CKM_SHA3_256 Form::Digest(Digest::Sha3_256);
    CKM_SHA3_384 Form::Digest(Digest::Sha3_384);
    CKM_SHA3_512 Form::Digest(Digest::Sha3_512);
    CKM_GENERIC_SECRET_KEY_GEN Form::Key(SecretKeyType::Generic);
    CKM_SHA_1_HMAC Form::Hmac(Digest::Sha1, MacLen::Whole);
    CKM_SHA_1_HMAC_GENERAL Form::Hmac(Digest::Sha1, MacLen::Parameter);
    CKM_SHA224_HMAC Form::Hmac(Digest::Sha224, MacLen::Whole);
    CKM_SHA224_HMAC_GENERAL Form::Hmac(Digest::Sha224, MacLen::Parameter);
    CKM_SHA256_HMAC Form::Hmac(Digest::Sha256, MacLen::Whole);
    CKM_SHA256_HMAC_GENERAL Form::Hmac(Digest::Sha256, MacLen::Parameter);
    CKM_SHA384_HMAC Form::Hmac(Digest::Sha384, MacLen::Whole);
    CKM_SHA384_HMAC_GENERAL Form::Hmac(Digest::Sha384, MacLen::Parameter);
    CKM_SHA512_HMAC Form::Hmac(Digest::Sha512, MacLen::Whole);
    CKM_SHA512_HMAC_GENERAL Form::Hmac(Digest::Sha512, MacLen::Parameter);
    CKM_SHA3_224_HMAC Form::Hmac(Digest::Sha3_224, MacLen::Whole);
    CKM_SHA3_224_HMAC_GENERAL Form::Hmac(Digest::Sha3_224, MacLen::Parameter);
    CKM_SHA3_256_HMAC Form::Hmac(Digest::Sha3_256, MacLen::Whole);
    CKM_SHA3_256_HMAC_GENERAL Form::Hmac(Digest::Sha3_256, MacLen::Parameter);
    CKM_SHA3_384_HMAC Form::Hmac(Digest::Sha3_384, MacLen::Whole);
    CKM_SHA3_384_HMAC_GENERAL Form::Hmac(Digest::Sha3_384, MacLen::Parameter);
    CKM_SHA3_512_HMAC Form::Hmac(Digest::Sha3_512, MacLen::Whole);
    CKM_SHA3_512_HMAC_GENERAL Form::Hmac(Digest::Sha3_512, MacLen::Parameter);
    CKM_AES_KEY_GEN Form::Key(SecretKeyType::Aes);
    CKM_AES_ECB Form::Aes(AesMode::Ecb);
    CKM_AES_CBC Form::Aes(AesMode::Cbc);
    CKM_AES_CBC_PAD Form::Aes(AesMode::CbcPad);
    CKM_AES_CTR Form::Aes(AesMode::Ctr);
    CKM_AES_GCM Form::Aes(AesMode::Gcm);
    CKM_AES_CMAC Form::Cmac(MacLen::Whole);
    CKM_AES_CMAC_GENERAL Form::Cmac(MacLen::Parameter);
    CKM_AES_KEY_WRAP Form::KeyWrap { padded: false };
    CKM_AES_KEY_WRAP_KWP Form::KeyWrap { padded: true };
}

/// The row of a mechanism.
pub(crate) fn row(mechanism: CK_MECHANISM_TYPE) -> Result<&'static Row> {
    ROWS.iter()
        .find(|row| row.mechanism == mechanism)
        .ok_or(Error::MechanismInvalid)
}

/// The row of a mechanism for one of the functions in C_GetMechanismInfo's flags.
///
/// # Errors
/// CKR_MECHANISM_INVALID if there is none or it is for other functions.
pub(crate) fn row_for(mechanism: CK_MECHANISM_TYPE, function: CK_FLAGS) -> Result<&'static Row> {
    let row = row(mechanism)?;
    if row.form.flags() & function == 0 {
        return Err(Error::MechanismInvalid);
    }
    Ok(row)
}

impl Form {
    /// Whether a private or public key of this type can be used with it.
    pub(crate) fn takes(self, key: KeyType) -> bool {
        match self {
            Self::RsaPkcs1(_) | Self::RsaPss(_) | Self::RsaX509 | Self::RsaOaep => {
                matches!(key, KeyType::Rsa { .. })
            }
            Self::Ecdsa(_) => matches!(key, KeyType::Ec(_)),
            Self::EdDsa => matches!(key, KeyType::Ed25519 | KeyType::Ed448),
            Self::Ecdh { .. } => {
                matches!(key, KeyType::Ec(_) | KeyType::X25519 | KeyType::X448)
            }
            Self::MlDsa => matches!(key, KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87),
            Self::MlKem => matches!(
                key,
                KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024
            ),
            Self::Digest(_)
            | Self::Hmac(..)
            | Self::Cmac(_)
            | Self::Aes(_)
            | Self::KeyWrap { .. }
            | Self::Key(_)
            | Self::KeyPair(_) => false,
        }
    }

    /// Whether it is used with private and public keys.
    pub(crate) fn uses_key_pairs(self) -> bool {
        match self {
            Self::RsaPkcs1(_)
            | Self::RsaPss(_)
            | Self::RsaX509
            | Self::RsaOaep
            | Self::Ecdsa(_)
            | Self::EdDsa
            | Self::MlDsa
            | Self::Ecdh { .. }
            | Self::MlKem => true,
            Self::Digest(_)
            | Self::Hmac(..)
            | Self::Cmac(_)
            | Self::Aes(_)
            | Self::KeyWrap { .. }
            | Self::Key(_)
            | Self::KeyPair(_) => false,
        }
    }

    /// Whether that key, which it [`takes`](Self::takes), is for it: an RSA key for RSASSA-PSS only is for
    /// nothing else (RFC 4055 §1.2).
    ///
    /// # Errors
    /// CKR_KEY_FUNCTION_NOT_PERMITTED, because it is of the right type and its
    /// CKA_ALLOWED_MECHANISMS leaves the mechanism out (PKCS#11 §5.1.6).
    pub(crate) fn permitted(self, key: &PublicKey) -> Result<()> {
        if key.is_pss_only() && !matches!(self, Self::RsaPss(_)) {
            return Err(Error::KeyFunctionNotPermitted);
        }
        Ok(())
    }

    /// The functions that C_GetMechanismInfo lists for it: each works, with a session key where the
    /// token has none for it.
    pub(crate) fn flags(self) -> CK_FLAGS {
        const SIGN: CK_FLAGS =
            CKF_SIGN | CKF_VERIFY | CKF_MESSAGE_SIGN | CKF_MESSAGE_VERIFY | CKF_MULTI_MESSAGE;
        const RECOVER: CK_FLAGS = CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER;
        const ENCRYPT: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT;
        const WRAP: CK_FLAGS = CKF_WRAP | CKF_UNWRAP;
        const EC: CK_FLAGS = CKF_EC_F_P | CKF_EC_OID | CKF_EC_UNCOMPRESS;
        match self {
            Self::RsaPkcs1(None) => SIGN | RECOVER | ENCRYPT | WRAP,
            Self::RsaX509 => SIGN | RECOVER | ENCRYPT,
            Self::RsaPkcs1(Some(_)) | Self::RsaPss(_) | Self::MlDsa => SIGN,
            Self::RsaOaep => ENCRYPT | WRAP,
            Self::Ecdsa(_) => SIGN | EC,
            Self::EdDsa => SIGN | CKF_EC_F_P | CKF_EC_OID,
            Self::Ecdh { .. } => CKF_DERIVE | EC,
            Self::MlKem => CKF_ENCAPSULATE | CKF_DECAPSULATE,
            Self::Digest(_) => CKF_DIGEST,
            Self::Hmac(..) | Self::Cmac(_) => SIGN,
            Self::Aes(AesMode::Ecb | AesMode::Ctr) => ENCRYPT,
            Self::Aes(AesMode::Cbc | AesMode::CbcPad | AesMode::Gcm) => ENCRYPT | WRAP,
            Self::KeyWrap { .. } => WRAP,
            Self::Key(_) => CKF_GENERATE,
            Self::KeyPair(KeyPair::Ec) => CKF_GENERATE_KEY_PAIR | EC,
            Self::KeyPair(KeyPair::Edwards | KeyPair::Montgomery) => {
                CKF_GENERATE_KEY_PAIR | CKF_EC_F_P | CKF_EC_OID
            }
            Self::KeyPair(_) => CKF_GENERATE_KEY_PAIR,
        }
    }

    /// The kinds of keys that it works with in software, where they are of several kinds.
    fn key_types(self) -> Vec<KeyType> {
        let on_curves = || Curve::ALL.iter().copied().map(KeyType::Ec);
        match self {
            Self::Ecdsa(_) | Self::KeyPair(KeyPair::Ec) => on_curves().collect(),
            Self::Ecdh { cofactor: true } => on_curves().collect(),
            Self::Ecdh { cofactor: false } => on_curves()
                .chain([KeyType::X25519, KeyType::X448])
                .collect(),
            Self::EdDsa | Self::KeyPair(KeyPair::Edwards) => {
                vec![KeyType::Ed25519, KeyType::Ed448]
            }
            Self::KeyPair(KeyPair::Montgomery) => vec![KeyType::X25519, KeyType::X448],
            Self::MlDsa | Self::KeyPair(KeyPair::MlDsa) => {
                vec![KeyType::MlDsa44, KeyType::MlDsa65, KeyType::MlDsa87]
            }
            Self::MlKem | Self::KeyPair(KeyPair::MlKem) => {
                vec![KeyType::MlKem512, KeyType::MlKem768, KeyType::MlKem1024]
            }
            _ => Vec::new(),
        }
    }

    /// The key sizes that it takes in software, smallest and largest, in the unit that PKCS#11 gives
    /// for it: bits for most key pairs, bytes for secret keys and for what FIPS 203 and 204 measure
    /// by their public keys. `None` if the crypto library of this build has no such keys.
    pub(crate) fn key_sizes(self) -> Option<(CK_ULONG, CK_ULONG)> {
        match self {
            Self::RsaPkcs1(_)
            | Self::RsaPss(_)
            | Self::RsaX509
            | Self::RsaOaep
            | Self::KeyPair(KeyPair::Rsa) => Some((1024, 8192)),
            Self::Digest(_) => Some((0, 0)),
            Self::Hmac(..) | Self::Key(SecretKeyType::Generic) => {
                Some((1, CK_ULONG::from(MAX_SECRET_LEN)))
            }
            Self::Cmac(_) | Self::Aes(_) | Self::KeyWrap { .. } | Self::Key(SecretKeyType::Aes) => {
                Some((16, 32))
            }
            _ => {
                let types = self.key_types().into_iter();
                let sizes = types.filter(|key| ctk_crypto::has_key_type(*key));
                sizes.map(key_size).fold(None, |range, size| {
                    let (min, max) = range.unwrap_or((size, size));
                    Some((size.min(min), size.max(max)))
                })
            }
        }
    }

    /// What it can mean, for finding out whether a key can do it at all: with a PSS mechanism that
    /// leaves the hash open, one hash is enough.
    pub(crate) fn examples(self) -> Vec<KeyAlgorithm> {
        // As long as the hash is customary, and none at all takes the least room.
        let pss = |digest: Digest| {
            let len = u32::try_from(digest.len()).unwrap_or_default();
            [len, 0].map(|salt_len| Pss {
                digest,
                mgf: digest,
                salt_len,
            })
        };
        match self {
            Self::RsaPss(None) => Digest::ALL
                .into_iter()
                .flat_map(pss)
                .map(KeyAlgorithm::RsaPssDigest)
                .collect(),
            Self::RsaPss(Some(digest)) => pss(digest).map(KeyAlgorithm::RsaPssMessage).to_vec(),
            Self::RsaPkcs1(None) => vec![KeyAlgorithm::RsaPkcs1],
            Self::RsaPkcs1(Some(digest)) => vec![KeyAlgorithm::RsaPkcs1Message(digest)],
            Self::Ecdsa(None) => vec![KeyAlgorithm::EcdsaDigest],
            Self::Ecdsa(Some(digest)) => vec![KeyAlgorithm::EcdsaMessage(digest)],
            Self::EdDsa => vec![KeyAlgorithm::EdDsa],
            Self::MlDsa => vec![KeyAlgorithm::MlDsa],
            Self::RsaX509 => vec![KeyAlgorithm::RsaRaw],
            _ => Vec::new(),
        }
    }

    /// What it means with this parameter.
    ///
    /// # Errors
    /// CKR_MECHANISM_PARAM_INVALID for a parameter that it does not take.
    pub(crate) fn algorithm(
        self,
        parameter: Parameter<'_>,
        purpose: Purpose,
    ) -> Result<KeyAlgorithm> {
        match self {
            Self::RsaPkcs1(digest) => parameter
                .none()
                .map(|()| digest.map_or(KeyAlgorithm::RsaPkcs1, KeyAlgorithm::RsaPkcs1Message)),
            Self::RsaPss(None) => pss(parameter).map(KeyAlgorithm::RsaPssDigest),
            Self::RsaPss(Some(digest)) => match pss(parameter)? {
                pss if pss.digest == digest => Ok(KeyAlgorithm::RsaPssMessage(pss)),
                _ => Err(Error::MechanismParamInvalid),
            },
            Self::Ecdsa(digest) => parameter
                .none()
                .map(|()| digest.map_or(KeyAlgorithm::EcdsaDigest, KeyAlgorithm::EcdsaMessage)),
            Self::EdDsa => pure_eddsa(parameter).map(|()| KeyAlgorithm::EdDsa),
            Self::RsaX509 => parameter.none().map(|()| KeyAlgorithm::RsaRaw),
            Self::MlDsa => ml_dsa(parameter, purpose).map(|()| KeyAlgorithm::MlDsa),
            _ => Err(Error::MechanismInvalid),
        }
    }
}

/// The size by which mechanisms measure keys: bits of the modulus, the order or the field, and bytes
/// of the public key where there is nothing of that kind (PKCS#11 §6.67, §6.68).
pub(crate) fn key_size(key: KeyType) -> CK_ULONG {
    CK_ULONG::from(match key {
        KeyType::Rsa { bits } => bits,
        KeyType::Ec(curve) => curve.bits(),
        KeyType::Ed25519 | KeyType::X25519 => 255,
        KeyType::Ed448 | KeyType::X448 => 448,
        KeyType::MlDsa44 => 1312,
        KeyType::MlDsa65 => 1952,
        KeyType::MlDsa87 => 2592,
        KeyType::MlKem512 => 800,
        KeyType::MlKem768 => 1184,
        KeyType::MlKem1024 => 1568,
    })
}

/// The hash of a digest mechanism.
pub(crate) fn digest_of(mechanism: CK_MECHANISM_TYPE) -> Option<Digest> {
    match row(mechanism).ok()?.form {
        Form::Digest(digest) => Some(digest),
        _ => None,
    }
}

/// The hash in a mask generation function (PKCS#11 §6.1.7).
pub(crate) fn mgf_digest(mgf: CK_RSA_PKCS_MGF_TYPE) -> Option<Digest> {
    Some(match mgf {
        CKG_MGF1_SHA1 => Digest::Sha1,
        CKG_MGF1_SHA224 => Digest::Sha224,
        CKG_MGF1_SHA256 => Digest::Sha256,
        CKG_MGF1_SHA384 => Digest::Sha384,
        CKG_MGF1_SHA512 => Digest::Sha512,
        CKG_MGF1_SHA3_224 => Digest::Sha3_224,
        CKG_MGF1_SHA3_256 => Digest::Sha3_256,
        CKG_MGF1_SHA3_384 => Digest::Sha3_384,
        CKG_MGF1_SHA3_512 => Digest::Sha3_512,
        _ => return None,
    })
}

/// CK_RSA_PKCS_PSS_PARAMS (PKCS#11 §6.1.9).
fn pss(parameter: Parameter<'_>) -> Result<Pss> {
    let invalid = Error::MechanismParamInvalid;
    let parameter: CK_RSA_PKCS_PSS_PARAMS = parameter.read().ok_or(invalid)?;
    let digest = digest_of(parameter.hashAlg).ok_or(invalid)?;
    let mgf = mgf_digest(parameter.mgf).ok_or(invalid)?;
    let salt_len = u32::try_from(parameter.sLen).map_err(|_| invalid)?;
    Ok(Pss {
        digest,
        mgf,
        salt_len,
    })
}

/// No parameter, or a CK_EDDSA_PARAMS (PKCS#11 §6.3.14) that asks for neither prehash nor context.
///
/// By the table of that section such a structure would mean Ed25519ctx with an empty context, which
/// is another signature. But our keys name their curve by its RFC 8410 identifier, and for those
/// the section fixes the mechanism by the curve: pure mode, with or without the structure.
fn pure_eddsa(parameter: Parameter<'_>) -> Result<()> {
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

/// No parameter, or a CK_SIGN_ADDITIONAL_CONTEXT (PKCS#11 §6.67.5) without context. Signatures are
/// hedged by the contract ([`KeyAlgorithm::MlDsa`]), so one that must not be is refused; for
/// verification it makes no difference.
fn ml_dsa(parameter: Parameter<'_>, purpose: Purpose) -> Result<()> {
    if parameter.len() == 0 {
        return Ok(());
    }
    let parameter = parameter.sign_context()?;
    let hedge = match parameter.hedge {
        CKH_HEDGE_PREFERRED | CKH_HEDGE_REQUIRED => true,
        CKH_DETERMINISTIC_REQUIRED => purpose == Purpose::Verify,
        _ => false,
    };
    if hedge && parameter.context.len() == 0 {
        Ok(())
    } else {
        Err(Error::MechanismParamInvalid)
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
    fn every_mechanism_has_a_function() {
        for row in ROWS {
            assert_ne!(row.form.flags(), 0);
            let (min, max) = row.form.key_sizes().unwrap();
            assert!(min <= max);
        }
        assert!(!Form::EdDsa.takes(KeyType::X25519));
    }
}
