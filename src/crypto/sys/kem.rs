//! Key encapsulation, which the safe bindings lack.

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    pkey::{PKeyRef, Private, Public},
    pkey_ctx::PkeyCtx,
};

/// Fills both with a fresh ciphertext and its secret, which must have the lengths of the key's parameter set.
pub(crate) fn encapsulate(
    key: &PKeyRef<Public>,
    ciphertext: &mut [u8],
    secret: &mut [u8],
) -> Result<(), ErrorStack> {
    let context = PkeyCtx::new(key)?;
    let (mut ciphertext_len, mut secret_len) = (ciphertext.len(), secret.len());
    // SAFETY: the context is alive and has a key. Both buffers are as long as the lengths beside them say, which the
    // library compares with what it is about to write.
    let done = unsafe {
        super::library::begin_encapsulate(context.as_ptr()) == 1
            && openssl_sys::EVP_PKEY_encapsulate(
                context.as_ptr(),
                ciphertext.as_mut_ptr(),
                &raw mut ciphertext_len,
                secret.as_mut_ptr(),
                &raw mut secret_len,
            ) == 1
    };
    if done && (ciphertext_len, secret_len) == (ciphertext.len(), secret.len()) {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// Fills `secret`, of the length of the key's parameter set, with what is in `ciphertext`.
pub(crate) fn decapsulate(
    key: &PKeyRef<Private>,
    ciphertext: &[u8],
    secret: &mut [u8],
) -> Result<(), ErrorStack> {
    let context = PkeyCtx::new(key)?;
    let mut secret_len = secret.len();
    // SAFETY: as above; the ciphertext is only read.
    let done = unsafe {
        super::library::begin_decapsulate(context.as_ptr()) == 1
            && openssl_sys::EVP_PKEY_decapsulate(
                context.as_ptr(),
                secret.as_mut_ptr(),
                &raw mut secret_len,
                ciphertext.as_ptr(),
                ciphertext.len(),
            ) == 1
    };
    if done && secret_len == secret.len() {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}
