//! Key derivation (PKCS#11 §5.18.5): agreement with somebody else's elliptic curve key.

use cryptoki_sys::*;
use ctk_crypto::{SecretBytes, x963_kdf};
use ctk_token::{Digest, KeyAlgorithm, KeyType, Operation};

use crate::{
    abi::{
        parameter::Ecdh,
        ptr::{Mechanism, Place, Template},
    },
    error::{During, Error, Result},
    key,
    mechanism::table::{self, Form},
    new_secret::NewSecret,
    session::Session,
};

/// C_DeriveKey (PKCS#11 §5.18.5).
pub(crate) fn derive(
    session: &Session,
    mechanism: Option<Mechanism<'_>>,
    key: CK_OBJECT_HANDLE,
    template: Result<Template<'_>>,
    handle: Result<Place<'_, CK_OBJECT_HANDLE>>,
) -> Result<()> {
    let (template, handle) = (template?, handle?);
    let mechanism = mechanism.ok_or(Error::ArgumentsBad)?;
    let row = table::row_for(mechanism.kind, CKF_DERIVE)?;
    let private = key::private(session, key)?;
    let key_type = private.key()?.public_key.key_type();
    let algorithm = match (row.form, key_type) {
        (Form::Ecdh { cofactor: true }, KeyType::Ec(_)) => KeyAlgorithm::EcdhCofactor,
        (Form::Ecdh { cofactor: false }, _) if row.form.takes(key_type) => KeyAlgorithm::Ecdh,
        _ => return Err(Error::KeyTypeInconsistent),
    };
    let private = private.permitted_for(Operation::KeyExchange, CKA_DERIVE)?;
    key::check_allowed(session, key, row.mechanism)?;
    if !private.supports(Operation::KeyExchange, algorithm) {
        return Err(Error::MechanismInvalid);
    }

    let parameter = mechanism.parameter?.ecdh()?;
    let kdf = kdf(&parameter)?;
    let peer = peer(key_type, parameter.public.bytes())?;
    let how = key::derived_from(session, key, &private)?;
    let invalid = Error::AttributeValueInvalid;
    let new = NewSecret::new(session, template, how, Some(CKK_GENERIC_SECRET), invalid)?;
    let agreed_len = private.key()?.public_key.shared_secret_len();
    let len = len(&new, kdf, agreed_len)?;

    let mut agreed = SecretBytes::zeroed(agreed_len);
    let written = private
        .key_exchange(algorithm, peer, &mut agreed)
        .map_err(|error| private.failed(session, During::Deriving, &error).error)?;
    if written != agreed_len {
        return Err(Error::DeviceError);
    }
    let value = match kdf {
        Some(digest) => {
            let mut value = SecretBytes::zeroed(len);
            x963_kdf(digest, &agreed, parameter.shared_info.bytes(), &mut value)
                .map_err(|error| Error::from_token(During::Deriving, &error))?;
            value
        }
        // Too long a secret is cut at its leading end (§6.3.17).
        None => {
            let start = agreed.len().checked_sub(len);
            let tail = start.and_then(|start| agreed.get(start..));
            SecretBytes::copy_of(tail.ok_or(Error::DeviceError)?)
        }
    };
    handle.set(new.make(session, &value)?);
    Ok(())
}

/// The hash of the key derivation function (PKCS#11 §6.3.16), or `None` for none.
fn kdf(parameter: &Ecdh<'_>) -> Result<Option<Digest>> {
    Ok(Some(match parameter.kdf {
        CKD_NULL if parameter.shared_info.len() == 0 => return Ok(None),
        CKD_SHA1_KDF => Digest::Sha1,
        CKD_SHA224_KDF => Digest::Sha224,
        CKD_SHA256_KDF => Digest::Sha256,
        CKD_SHA384_KDF => Digest::Sha384,
        CKD_SHA512_KDF => Digest::Sha512,
        CKD_SHA3_224_KDF => Digest::Sha3_224,
        CKD_SHA3_256_KDF => Digest::Sha3_256,
        CKD_SHA3_384_KDF => Digest::Sha3_384,
        CKD_SHA3_512_KDF => Digest::Sha3_512,
        _ => return Err(Error::MechanismParamInvalid),
    }))
}

/// Somebody else's public key as the contract has it: programs pass it bare, or in an OCTET STRING
/// as CKA_EC_POINT has it. Points in the compressed and hybrid forms are refused: to convert them is
/// the program's part (§6.3.16). Whether it is on the curve is found out by who computes with it.
fn peer(key_type: KeyType, public: &[u8]) -> Result<&[u8]> {
    let (len, mark) = match key_type {
        KeyType::Ec(curve) => (1 + 2 * curve.bytes(), Some(&4)),
        KeyType::X25519 => (32, None),
        _ => (56, None),
    };
    let bare = if public.len() == len {
        public
    } else {
        octet_string(public).ok_or(Error::MechanismParamInvalid)?
    };
    if bare.len() == len && mark.is_none_or(|mark| bare.first() == Some(mark)) {
        Ok(bare)
    } else {
        Err(Error::MechanismParamInvalid)
    }
}

/// What is in a DER OCTET STRING of up to 255 bytes.
fn octet_string(der: &[u8]) -> Option<&[u8]> {
    let (len, content) = match der {
        [4, 0x81, len, content @ ..] if *len >= 0x80 => (len, content),
        [4, len, content @ ..] if *len < 0x80 => (len, content),
        _ => return None,
    };
    (content.len() == usize::from(*len)).then_some(content)
}

/// How long the new key gets: as the template says; without a KDF as long as what was agreed on,
/// if keys of its type can be.
fn len(new: &NewSecret, kdf: Option<Digest>, agreed_len: usize) -> Result<usize> {
    match (new.len(), kdf) {
        (Some(len), Some(_)) => Ok(len),
        (Some(len), None) if len <= agreed_len => Ok(len),
        (Some(_), None) => Err(Error::AttributeValueInvalid),
        (None, None) if new.takes(agreed_len) => Ok(agreed_len),
        (None, _) => Err(Error::TemplateIncomplete),
    }
}
