//! Mechanism parameters that have pointers in them: each structure is copied, and what it points to
//! becomes a checked [`Input`].

use cryptoki_sys::*;

use super::ptr::{Input, Parameter, input};
use crate::error::{Error, Result};

/// CK_RSA_PKCS_OAEP_PARAMS (PKCS#11 §6.1.7).
pub(crate) struct Oaep<'a> {
    pub(crate) hash: CK_MECHANISM_TYPE,
    pub(crate) mgf: CK_RSA_PKCS_MGF_TYPE,
    pub(crate) source: CK_RSA_PKCS_OAEP_SOURCE_TYPE,
    pub(crate) label: Input<'a>,
}

/// CK_ECDH1_DERIVE_PARAMS (PKCS#11 §6.3.17).
pub(crate) struct Ecdh<'a> {
    pub(crate) kdf: CK_EC_KDF_TYPE,
    pub(crate) shared_info: Input<'a>,
    pub(crate) public: Input<'a>,
}

/// CK_GCM_PARAMS (PKCS#11 §6.13.3), in either of its layouts.
pub(crate) struct Gcm<'a> {
    pub(crate) iv: Input<'a>,
    pub(crate) associated: Input<'a>,
    pub(crate) tag_bits: CK_ULONG,
}

/// CK_SIGN_ADDITIONAL_CONTEXT (PKCS#11 §6.67.5).
pub(crate) struct SignContext<'a> {
    pub(crate) hedge: CK_HEDGE_TYPE,
    pub(crate) context: Input<'a>,
}

/// CK_GCM_PARAMS without ulIvBits, as the text of 2.40 has it and NSS still builds it.
#[repr(C)]
#[derive(Clone, Copy)]
struct GcmOf2_40 {
    iv: *mut CK_BYTE,
    iv_len: CK_ULONG,
    associated: *mut CK_BYTE,
    associated_len: CK_ULONG,
    tag_bits: CK_ULONG,
}

// SAFETY: integers and pointers, of which any bytes are a value.
unsafe impl Parameter for GcmOf2_40 {}
// SAFETY: integers and a pointer, of which any bytes are a value. So are the ones below.
unsafe impl Parameter for CK_RSA_PKCS_OAEP_PARAMS {}
// SAFETY: as above.
unsafe impl Parameter for CK_ECDH1_DERIVE_PARAMS {}
// SAFETY: as above.
unsafe impl Parameter for CK_GCM_PARAMS {}
// SAFETY: as above.
unsafe impl Parameter for CK_SIGN_ADDITIONAL_CONTEXT {}
// SAFETY: an integer and bytes.
unsafe impl Parameter for CK_AES_CTR_PARAMS {}
// SAFETY: one integer.
unsafe impl Parameter for CK_ULONG {}

impl<'a> Input<'a> {
    /// What a pointer in a parameter points to.
    ///
    /// The promise about the C function's pointers covers it: PKCS#11 gives a mechanism's parameter
    /// with everything in it to the function for as long as that runs.
    fn inner<T>(start: *const T, len: CK_ULONG) -> Result<Input<'a>> {
        // SAFETY: see above.
        unsafe { input(start.cast::<u8>(), len) }.map_err(|_| Error::MechanismParamInvalid)
    }

    /// # Errors
    /// CKR_MECHANISM_PARAM_INVALID if it is not one, here and below.
    pub(crate) fn oaep(self) -> Result<Oaep<'a>> {
        let it: CK_RSA_PKCS_OAEP_PARAMS = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(Oaep {
            hash: it.hashAlg,
            mgf: it.mgf,
            source: it.source,
            label: Self::inner(it.pSourceData, it.ulSourceDataLen)?,
        })
    }

    pub(crate) fn ecdh(self) -> Result<Ecdh<'a>> {
        let it: CK_ECDH1_DERIVE_PARAMS = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(Ecdh {
            kdf: it.kdf,
            shared_info: Self::inner(it.pSharedData, it.ulSharedDataLen)?,
            public: Self::inner(it.pPublicData, it.ulPublicDataLen)?,
        })
    }

    pub(crate) fn gcm(self) -> Result<Gcm<'a>> {
        if let Some(it) = self.read::<GcmOf2_40>() {
            return Ok(Gcm {
                iv: Self::inner(it.iv, it.iv_len)?,
                associated: Self::inner(it.associated, it.associated_len)?,
                tag_bits: it.tag_bits,
            });
        }
        let it: CK_GCM_PARAMS = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(Gcm {
            iv: Self::inner(it.pIv, it.ulIvLen)?,
            associated: Self::inner(it.pAAD, it.ulAADLen)?,
            tag_bits: it.ulTagBits,
        })
    }

    pub(crate) fn sign_context(self) -> Result<SignContext<'a>> {
        let it: CK_SIGN_ADDITIONAL_CONTEXT = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(SignContext {
            hedge: it.hedgeVariant,
            context: Self::inner(it.pContext, it.ulContextLen)?,
        })
    }
}
