//! Mechanism parameters: each structure is copied, and what the pointers in it point to becomes a
//! checked [`Input`].

use std::ffi::c_void;

use cryptoki_sys::*;

use super::ptr::{Input, input};
use crate::error::{Error, Result};

/// What a program passes as a mechanism's parameter.
///
/// Pointers in it are followed, so that no other bytes, of ours or of the program's, can become one:
/// it is made where a C function takes its mechanism, and nowhere else.
#[derive(Clone, Copy)]
pub(crate) struct Parameter<'a>(Input<'a>);

/// # Safety
/// `start` is NULL or readable for `len` bytes while the function runs. If these are a structure that
/// PKCS#11 defines for a mechanism, each pointer in it is NULL or readable for the length beside it
/// just as long.
pub(super) unsafe fn parameter<'a>(start: *const c_void, len: CK_ULONG) -> Result<Parameter<'a>> {
    // SAFETY: the caller's promise.
    unsafe { input(start.cast::<u8>(), len) }.map(Parameter)
}

/// A mechanism's parameter structure.
///
/// # Safety
/// Any bytes of its size are a valid value.
pub(crate) unsafe trait Structure: Copy {}

/// CK_RSA_PKCS_OAEP_PARAMS (PKCS#11 §6.1.7).
pub(crate) struct Oaep<'a> {
    pub(crate) hash: CK_MECHANISM_TYPE,
    pub(crate) mgf: CK_RSA_PKCS_MGF_TYPE,
    pub(crate) source: CK_RSA_PKCS_OAEP_SOURCE_TYPE,
    pub(crate) label: Input<'a>,
}

/// CK_ECDH1_DERIVE_PARAMS (PKCS#11 §6.3.16).
pub(crate) struct Ecdh<'a> {
    pub(crate) kdf: CK_EC_KDF_TYPE,
    pub(crate) shared_info: Input<'a>,
    pub(crate) public: Input<'a>,
}

/// CK_GCM_PARAMS (PKCS#11 §6.13.7), in either of its layouts.
pub(crate) struct Gcm<'a> {
    pub(crate) iv: Input<'a>,
    pub(crate) associated: Input<'a>,
    pub(crate) tag_bits: CK_ULONG,
}

/// CK_SIGN_ADDITIONAL_CONTEXT (PKCS#11 §6.67.1).
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

// SAFETY: three integers.
unsafe impl Structure for CK_RSA_PKCS_PSS_PARAMS {}
// SAFETY: two integers and a pointer that we do not follow.
unsafe impl Structure for CK_EDDSA_PARAMS {}
// SAFETY: integers and pointers, of which any bytes are a value.
unsafe impl Structure for GcmOf2_40 {}
// SAFETY: integers and a pointer, of which any bytes are a value. So are the ones below.
unsafe impl Structure for CK_RSA_PKCS_OAEP_PARAMS {}
// SAFETY: as above.
unsafe impl Structure for CK_ECDH1_DERIVE_PARAMS {}
// SAFETY: as above.
unsafe impl Structure for CK_GCM_PARAMS {}
// SAFETY: as above.
unsafe impl Structure for CK_SIGN_ADDITIONAL_CONTEXT {}
// SAFETY: an integer and bytes.
unsafe impl Structure for CK_AES_CTR_PARAMS {}
// SAFETY: one integer.
unsafe impl Structure for CK_ULONG {}

impl<'a> Parameter<'a> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As [`Input::bytes`].
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0.bytes()
    }

    /// # Errors
    /// CKR_MECHANISM_PARAM_INVALID if there is one.
    pub(crate) fn none(self) -> Result<()> {
        if self.len() == 0 {
            Ok(())
        } else {
            Err(Error::MechanismParamInvalid)
        }
    }

    /// The structure that it is, if it has the length of one.
    pub(crate) fn read<T: Structure>(&self) -> Option<T> {
        let bytes = self.bytes();
        if bytes.len() != size_of::<T>() {
            return None;
        }
        // SAFETY: as many bytes as `T` has, and any bytes make a `T` by the promise of `Structure`.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    /// What a pointer that stands in this parameter points to.
    fn inner<T>(self, start: *const T, len: CK_ULONG) -> Result<Input<'a>> {
        // SAFETY: the promise of `parameter` covers what stands in it, and it lives no longer than
        // that promise.
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
            label: self.inner(it.pSourceData, it.ulSourceDataLen)?,
        })
    }

    pub(crate) fn ecdh(self) -> Result<Ecdh<'a>> {
        let it: CK_ECDH1_DERIVE_PARAMS = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(Ecdh {
            kdf: it.kdf,
            shared_info: self.inner(it.pSharedData, it.ulSharedDataLen)?,
            public: self.inner(it.pPublicData, it.ulPublicDataLen)?,
        })
    }

    pub(crate) fn gcm(self) -> Result<Gcm<'a>> {
        if let Some(it) = self.read::<GcmOf2_40>() {
            return Ok(Gcm {
                iv: self.inner(it.iv, it.iv_len)?,
                associated: self.inner(it.associated, it.associated_len)?,
                tag_bits: it.tag_bits,
            });
        }
        let it: CK_GCM_PARAMS = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(Gcm {
            iv: self.inner(it.pIv, it.ulIvLen)?,
            associated: self.inner(it.pAAD, it.ulAADLen)?,
            tag_bits: it.ulTagBits,
        })
    }

    pub(crate) fn sign_context(self) -> Result<SignContext<'a>> {
        let it: CK_SIGN_ADDITIONAL_CONTEXT = self.read().ok_or(Error::MechanismParamInvalid)?;
        Ok(SignContext {
            hedge: it.hedgeVariant,
            context: self.inner(it.pContext, it.ulContextLen)?,
        })
    }
}
