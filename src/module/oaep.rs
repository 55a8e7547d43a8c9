//! How a mechanism says that RSA is to encrypt (PKCS#11 §6.1.6 to §6.1.8, §6.1.12).

use cryptoki_sys::*;
use ctk_crypto::RsaEncryption;

use crate::{
    abi::parameter::Parameter,
    error::{Error, Result},
    mechanism::table::{self, Form},
};

/// What the mechanism means with this parameter, for C_Encrypt, C_Decrypt and the wrapping of keys.
///
/// # Errors
/// CKR_MECHANISM_PARAM_INVALID, and CKR_MECHANISM_INVALID for one that does not encrypt with RSA.
pub(crate) fn rsa_encryption(form: Form, parameter: Parameter<'_>) -> Result<RsaEncryption> {
    match form {
        Form::RsaPkcs1(None) | Form::RsaX509 if parameter.len() > 0 => {
            Err(Error::MechanismParamInvalid)
        }
        Form::RsaPkcs1(None) => Ok(RsaEncryption::Pkcs1),
        Form::RsaX509 => Ok(RsaEncryption::Raw),
        Form::RsaOaep => oaep(parameter),
        _ => Err(Error::MechanismInvalid),
    }
}

/// CK_RSA_PKCS_OAEP_PARAMS (PKCS#11 §6.1.7).
fn oaep(parameter: Parameter<'_>) -> Result<RsaEncryption> {
    let invalid = Error::MechanismParamInvalid;
    let parameter = parameter.oaep()?;
    // No other source than a label in the structure was ever defined, an empty one included. But
    // libp11 and OpenSC's pkcs11-tool say 0 where there is no label.
    match parameter.source {
        CKZ_DATA_SPECIFIED => {}
        0 if parameter.label.len() == 0 => {}
        _ => return Err(invalid),
    }
    Ok(RsaEncryption::Oaep {
        digest: table::digest_of(parameter.hash).ok_or(invalid)?,
        mgf: table::mgf_digest(parameter.mgf).ok_or(invalid)?,
        label: parameter.label.bytes().to_vec(),
    })
}
