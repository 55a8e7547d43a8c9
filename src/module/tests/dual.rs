//! Two operations over the same data.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::ptr::null_mut;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Digest;
use operations::{self as op, Mechanism, Session};
use support::{Identity, Module, Settings, TestToken};

const DATA: &[u8] = &[6; 1000];

type Update = unsafe extern "C" fn(
    CK_SESSION_HANDLE,
    *mut CK_BYTE,
    CK_ULONG,
    *mut CK_BYTE,
    *mut CK_ULONG,
) -> CK_RV;

/// One call, after it was asked for the length and given too little room.
fn update(function: Update, session: Session, part: &[u8]) -> op::Answer<Vec<u8>> {
    let (start, len) = (part.as_ptr().cast_mut(), part.len() as CK_ULONG);
    op::output(|out, out_len| unsafe { function(session, start, len, out, out_len) })
}

fn finish(
    function: unsafe extern "C" fn(Session, *mut u8, *mut CK_ULONG) -> CK_RV,
    session: Session,
) -> Vec<u8> {
    op::output(|out, len| unsafe { function(session, out, len) }).unwrap()
}

#[test]
fn both_operations_see_every_part_once() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let aes = op::secret_key(session, CKK_AES, &[1; 16]);
    let generic = op::secret_key(session, CKK_GENERIC_SECRET, &[2; 20]);
    let cbc = Mechanism::with(CKM_AES_CBC_PAD, &[3_u8; 16]);
    let sha256 = Mechanism::new(CKM_SHA256);
    let hmac = Mechanism::new(CKM_SHA256_HMAC);
    let expected = ctk_crypto::hash(Digest::Sha256, DATA).unwrap();
    let code = ctk_crypto::hmac(Digest::Sha256, &[2; 20], DATA).unwrap();

    op::encrypt_init(session, &cbc, aes).unwrap();
    let ciphertext = op::encrypt(session, DATA).unwrap();

    op::digest_init(session, &sha256).unwrap();
    op::encrypt_init(session, &cbc, aes).unwrap();
    let mut encrypted = Vec::new();
    for part in DATA.chunks(37) {
        encrypted.extend(update(C_DigestEncryptUpdate, session, part).unwrap());
    }
    encrypted.extend(finish(C_EncryptFinal, session));
    assert_eq!(encrypted, ciphertext);
    assert_eq!(op::digest_final(session).unwrap(), *expected);

    op::sign_init(session, &hmac, generic).unwrap();
    op::encrypt_init(session, &cbc, aes).unwrap();
    let mut encrypted = Vec::new();
    for part in DATA.chunks(37) {
        encrypted.extend(update(C_SignEncryptUpdate, session, part).unwrap());
    }
    encrypted.extend(finish(C_EncryptFinal, session));
    assert_eq!(encrypted, ciphertext);
    assert_eq!(op::sign_final(session).unwrap(), *code);

    // The last block comes from C_DecryptFinal, and goes to the other operation by itself.
    op::digest_init(session, &sha256).unwrap();
    op::decrypt_init(session, &cbc, aes).unwrap();
    let mut decrypted = Vec::new();
    for part in ciphertext.chunks(37) {
        decrypted.extend(update(C_DecryptDigestUpdate, session, part).unwrap());
    }
    let last = finish(C_DecryptFinal, session);
    op::digest_update(session, &last).unwrap();
    decrypted.extend(last);
    assert_eq!(decrypted, DATA);
    assert_eq!(op::digest_final(session).unwrap(), *expected);

    op::verify_init(session, &hmac, generic).unwrap();
    op::decrypt_init(session, &cbc, aes).unwrap();
    for part in ciphertext.chunks(37) {
        update(C_DecryptVerifyUpdate, session, part).unwrap();
    }
    op::verify_update(session, &finish(C_DecryptFinal, session)).unwrap();
    op::verify_final(session, &code).unwrap();
}

#[test]
fn what_the_encryption_refuses_is_not_digested() {
    let module = Module::start(&[TestToken::new(
        &[Identity::rsa(2048, 1)],
        Settings::default(),
    )]);
    let session = module.open();
    op::digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
    let public_key = op::public_key(session, 1);
    op::encrypt_init(session, &Mechanism::new(CKM_RSA_PKCS), public_key).unwrap();
    update(C_DigestEncryptUpdate, session, &[1; 200]).unwrap();
    let (mut part, mut out, mut len) = ([2; 57], [0; 256], 256);
    let (start, room) = (part.as_mut_ptr(), out.as_mut_ptr());
    let rv = unsafe { C_DigestEncryptUpdate(session, start, 57, room, &raw mut len) };
    assert_eq!(rv, CKR_DATA_LEN_RANGE);
    let expected = ctk_crypto::hash(Digest::Sha256, &[1; 200]).unwrap();
    assert_eq!(op::digest_final(session).unwrap(), *expected);
}

#[test]
fn both_operations_have_to_be_there() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let aes = op::secret_key(session, CKK_AES, &[1; 16]);
    let ecb = Mechanism::new(CKM_AES_ECB);
    let sha256 = Mechanism::new(CKM_SHA256);
    let missing = Err(CKR_OPERATION_NOT_INITIALIZED);
    op::encrypt_init(session, &ecb, aes).unwrap();
    assert_eq!(update(C_DigestEncryptUpdate, session, &[1; 16]), missing);
    assert_eq!(update(C_SignEncryptUpdate, session, &[1; 16]), missing);
    // The encryption has taken nothing of that.
    assert_eq!(op::encrypt(session, &[1; 16]).unwrap().len(), 16);
    op::digest_init(session, &sha256).unwrap();
    for function in [C_DigestEncryptUpdate as Update, C_DecryptDigestUpdate] {
        assert_eq!(update(function, session, &[1; 16]), missing);
    }
    assert_eq!(op::digest(session, b"").unwrap().len(), 32);
    // In place, with lengths that cannot be.
    op::digest_init(session, &sha256).unwrap();
    op::encrypt_init(session, &ecb, aes).unwrap();
    let (mut block, mut len) = ([1; 16], 16);
    let start = block.as_mut_ptr();
    unsafe {
        let rv = C_DigestEncryptUpdate(session, start, 16, start, &raw mut len);
        assert_eq!((rv, len), (CKR_OK, 16));
        assert_ne!(block, [1; 16]);
        let expected = ctk_crypto::hash(Digest::Sha256, &[1; 16]).unwrap();
        assert_eq!(op::digest_final(session).unwrap(), *expected);
        op::digest_init(session, &sha256).unwrap();
        let rv = C_DigestEncryptUpdate(session, start, CK_ULONG::MAX, start, &raw mut len);
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        let rv = C_DigestEncryptUpdate(session, null_mut(), 1, start, &raw mut len);
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        let rv = C_DigestEncryptUpdate(session, start, 16, start, null_mut());
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
    }
}
