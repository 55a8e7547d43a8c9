//! Input, output and the output's length in the same memory, which PKCS#11 §5.2 leaves to the
//! program and §5.8.2 and §5.10.2 name.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod operations;
mod support;

use std::sync::{Arc, atomic::Ordering};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Digest;
use key_functions::*;
use openssl::{
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
};
use operations::{self as op, *};
use support::*;

const DATA: &[u8] = &[6; 1000];
const MODULUS: usize = 256;
/// More than any call adds to its input.
const SLACK: usize = MODULUS;

/// A token with an RSA key.
fn token() -> (Arc<TestToken>, Rsa<Private>) {
    let rsa = Rsa::generate(2048).unwrap();
    let identity = Identity::new(PKey::from_rsa(rsa.clone()).unwrap(), 1);
    let settings = Settings {
        decrypts: true,
        ..Settings::default()
    };
    (TestToken::new(&[identity], settings), rsa)
}

/// What a call writes over its input.
fn over(call: Call, session: Session, input: &[u8]) -> Vec<u8> {
    let mut buffer = [input, &[0xee; SLACK]].concat();
    let mut len = buffer.len() as CK_ULONG;
    let start = buffer.as_mut_ptr();
    let rv = unsafe { call(session, start, input.len() as CK_ULONG, start, &raw mut len) };
    assert_eq!(rv, CKR_OK);
    assert!(
        buffer[input.len().max(len as usize)..]
            .iter()
            .all(|byte| *byte == 0xee)
    );
    buffer.truncate(len as usize);
    buffer
}

/// The same for input in parts of a length that is no block's.
fn over_parts(call: Call, session: Session, input: &[u8]) -> Vec<u8> {
    let parts = input.chunks(37);
    parts.flat_map(|part| over(call, session, part)).collect()
}

fn aes_modes() -> [(Mechanism, usize); 5] {
    let counter = CK_AES_CTR_PARAMS {
        ulCounterBits: 32,
        cb: [1; 16],
    };
    [
        (Mechanism::new(CKM_AES_ECB), 992),
        (with_iv(CKM_AES_CBC, &[1; 16]), 992),
        (with_iv(CKM_AES_CBC_PAD, &[1; 16]), 1000),
        (Mechanism::with(CKM_AES_CTR, &counter), 1000),
        (gcm(&[1; 12], b"more", 128), 1000),
    ]
}

#[test]
fn aes_works_over_its_input() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let key = aes(session, 32);
    for (mode, len) in &aes_modes() {
        let data = &DATA[..*len];
        encrypt_init(session, mode, key).unwrap();
        let ciphertext = encrypt(session, data).unwrap();

        encrypt_init(session, mode, key).unwrap();
        assert_eq!(over(C_Encrypt, session, data), ciphertext);
        decrypt_init(session, mode, key).unwrap();
        assert_eq!(over(C_Decrypt, session, &ciphertext), data);

        encrypt_init(session, mode, key).unwrap();
        let mut parts = over_parts(C_EncryptUpdate, session, data);
        parts.extend(encrypt_final(session).unwrap());
        assert_eq!(parts, ciphertext);
        decrypt_init(session, mode, key).unwrap();
        let mut parts = over_parts(C_DecryptUpdate, session, &ciphertext);
        parts.extend(decrypt_final(session).unwrap());
        assert_eq!(parts, data);
    }
}

#[test]
fn two_operations_work_over_their_input() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let key = aes(session, 32);
    let generic = secret_key(session, CKK_GENERIC_SECRET, &[2; 20]);
    let sha256 = Mechanism::new(CKM_SHA256);
    let hmac = Mechanism::new(CKM_SHA256_HMAC);
    let code = ctk_crypto::hmac(Digest::Sha256, &[2; 20], DATA).unwrap();
    for (mode, len) in &aes_modes() {
        let data = &DATA[..*len];
        let hash = ctk_crypto::hash(Digest::Sha256, data).unwrap();
        encrypt_init(session, mode, key).unwrap();
        let ciphertext = encrypt(session, data).unwrap();

        digest_init(session, &sha256).unwrap();
        encrypt_init(session, mode, key).unwrap();
        let mut parts = over_parts(C_DigestEncryptUpdate, session, data);
        parts.extend(encrypt_final(session).unwrap());
        assert_eq!(parts, ciphertext);
        assert_eq!(digest_final(session).unwrap(), *hash);

        digest_init(session, &sha256).unwrap();
        decrypt_init(session, mode, key).unwrap();
        let mut parts = over_parts(C_DecryptDigestUpdate, session, &ciphertext);
        let last = decrypt_final(session).unwrap();
        digest_update(session, &last).unwrap();
        parts.extend(last);
        assert_eq!(parts, data);
        assert_eq!(digest_final(session).unwrap(), *hash);

        if data != DATA {
            continue;
        }
        op::sign_init(session, &hmac, generic).unwrap();
        encrypt_init(session, mode, key).unwrap();
        over_parts(C_SignEncryptUpdate, session, data);
        encrypt_final(session).unwrap();
        assert_eq!(sign_final(session).unwrap(), *code);

        verify_init(session, &hmac, generic).unwrap();
        decrypt_init(session, mode, key).unwrap();
        over_parts(C_DecryptVerifyUpdate, session, &ciphertext);
        verify_update(session, &decrypt_final(session).unwrap()).unwrap();
        verify_final(session, &code).unwrap();
    }
}

#[test]
fn digests_and_signatures_go_over_their_data() {
    let (token, rsa) = token();
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
    let hash = ctk_crypto::hash(Digest::Sha256, DATA).unwrap();
    assert_eq!(over(C_Digest, session, DATA), *hash);

    let pkcs1 = Mechanism::new(CKM_RSA_PKCS);
    let own = key(session, 1);
    op::sign_init(session, &pkcs1, own).unwrap();
    let signature = over(C_Sign, session, &hash);
    let mut signed = [0; MODULUS];
    let len = rsa.public_decrypt(&signature, &mut signed, Padding::PKCS1);
    assert_eq!(signed[..len.unwrap()], *hash);
    sign_recover_init(session, &pkcs1, own).unwrap();
    assert_eq!(over(C_SignRecover, session, &hash), signature);
    verify_recover_init(session, &pkcs1, public_key(session, 1)).unwrap();
    assert_eq!(over(C_VerifyRecover, session, &signature), *hash);
}

#[test]
fn rsa_works_over_its_input() {
    let (token, _) = token();
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    let (public, private) = (public_key(session, 1), key(session, 1));
    for (mechanism, len) in [
        (Mechanism::new(CKM_RSA_PKCS), MODULUS - 11),
        (oaep(CKM_SHA256, CKG_MGF1_SHA256, b"label"), 32),
        (Mechanism::new(CKM_RSA_X_509), MODULUS),
    ] {
        let mut data = vec![7; len];
        data[0] = 0;
        encrypt_init(session, &mechanism, public).unwrap();
        let ciphertext = over(C_Encrypt, session, &data);
        decrypt_init(session, &mechanism, private).unwrap();
        assert_eq!(over(C_Decrypt, session, &ciphertext), data);
        encrypt_init(session, &mechanism, public).unwrap();
        assert_eq!(over_parts(C_EncryptUpdate, session, &data), b"");
        let ciphertext = encrypt_final(session).unwrap();
        decrypt_init(session, &mechanism, private).unwrap();
        assert_eq!(over_parts(C_DecryptUpdate, session, &ciphertext), b"");
        assert_eq!(decrypt_final(session).unwrap(), data);
    }
}

/// C_Decrypt of a ciphertext in which the length of the output's room is kept.
fn decrypt_with_its_length_in_it(
    session: Session,
    ciphertext: &[u8],
    at: usize,
) -> (CK_RV, Vec<u8>, CK_ULONG) {
    let (mut input, mut out) = (ciphertext.to_vec(), [0xee; MODULUS]);
    let start = input.as_mut_ptr();
    let rv = unsafe {
        let len = start.add(at).cast();
        let input_len = ciphertext.len() as CK_ULONG;
        C_Decrypt(session, start, input_len, out.as_mut_ptr(), len)
    };
    let len = ulong(&input[at..at + size_of::<CK_ULONG>()]);
    (rv, out.to_vec(), len)
}

#[test]
fn the_length_in_the_ciphertext_changes_no_plaintext() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let key = aes(session, 16);
    // Its first block is the length of the room, its second one 12 bytes and the padding.
    let first = [&28_u64.to_ne_bytes()[..], &[0; 8]].concat();
    let second: Vec<u8> = (first.iter().zip([&[7; 12][..], &[4; 4]].concat()))
        .map(|(first, plain)| first ^ plain)
        .collect();
    encrypt_init(session, &Mechanism::new(CKM_AES_ECB), key).unwrap();
    let ciphertext = [first, encrypt(session, &second).unwrap()].concat();
    decrypt_init(session, &with_iv(CKM_AES_CBC_PAD, &[1; 16]), key).unwrap();
    let (rv, plaintext, len) = decrypt_with_its_length_in_it(session, &ciphertext, 0);
    assert_eq!((rv, len), (CKR_OK, 28));
    assert_eq!(plaintext[16..28], [7; 12]);
    assert_eq!(plaintext[28..], [0xee; MODULUS - 28]);
}

#[test]
fn what_is_kept_of_a_decryption_is_of_the_ciphertext_that_came() {
    let (token, rsa) = token();
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    // Any number below the modulus is a ciphertext.
    let mut ciphertext = [9; MODULUS];
    ciphertext[0] = 0;
    ciphertext[8..16].copy_from_slice(&100_u64.to_ne_bytes());
    let mut expected = [0; MODULUS];
    let raw = rsa.private_decrypt(&ciphertext, &mut expected, Padding::NONE);
    assert_eq!(raw.unwrap(), MODULUS);

    decrypt_init(session, &Mechanism::new(CKM_RSA_X_509), key(session, 1)).unwrap();
    let (rv, out, len) = decrypt_with_its_length_in_it(session, &ciphertext, 8);
    assert_eq!((rv, len), (CKR_BUFFER_TOO_SMALL, MODULUS as CK_ULONG));
    assert_eq!(out, [0xee; MODULUS]);
    let plaintext = with_room(C_Decrypt, session, &ciphertext, MODULUS);
    assert_eq!(plaintext.unwrap(), expected);
    assert_eq!(token.decryptions.load(Ordering::SeqCst), 1);
}
