//! C_Encrypt and its parts: with public keys and with AES keys of the session, and back.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod operations;
mod support;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use key_functions::*;
use openssl::{
    rsa::Padding,
    symm::{self, Cipher},
};
use operations::*;
use support::*;

const IV: [u8; 16] = [9; 16];

fn module() -> (Module, CK_SESSION_HANDLE) {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    (module, session)
}

fn ctr(bits: CK_ULONG, cb: [u8; 16]) -> Mechanism {
    let parameter = CK_AES_CTR_PARAMS {
        ulCounterBits: bits,
        cb,
    };
    Mechanism::with(CKM_AES_CTR, &parameter)
}

/// All modes but GCM, with what OpenSSL calls them for keys of 16, 24 and 32 bytes.
fn modes() -> [(Mechanism, [Cipher; 3], bool); 4] {
    [
        (
            Mechanism::new(CKM_AES_ECB),
            [
                Cipher::aes_128_ecb(),
                Cipher::aes_192_ecb(),
                Cipher::aes_256_ecb(),
            ],
            false,
        ),
        (
            with_iv(CKM_AES_CBC, &IV),
            [
                Cipher::aes_128_cbc(),
                Cipher::aes_192_cbc(),
                Cipher::aes_256_cbc(),
            ],
            false,
        ),
        (
            with_iv(CKM_AES_CBC_PAD, &IV),
            [
                Cipher::aes_128_cbc(),
                Cipher::aes_192_cbc(),
                Cipher::aes_256_cbc(),
            ],
            true,
        ),
        (
            ctr(128, IV),
            [
                Cipher::aes_128_ctr(),
                Cipher::aes_192_ctr(),
                Cipher::aes_256_ctr(),
            ],
            false,
        ),
    ]
}

/// What OpenSSL makes of it.
fn expected(cipher: Cipher, padded: bool, key: &[u8], data: &[u8]) -> Vec<u8> {
    let iv = cipher.iv_len().map(|_| &IV[..]);
    let mut crypter = symm::Crypter::new(cipher, symm::Mode::Encrypt, key, iv).unwrap();
    crypter.pad(padded);
    let mut out = vec![0; data.len() + 32];
    let mut len = crypter.update(data, &mut out).unwrap();
    len += crypter.finalize(&mut out[len..]).unwrap();
    out.truncate(len);
    out
}

#[test]
fn aes_is_what_openssl_makes_of_it_whole_and_in_parts() {
    let (_module, session) = module();
    for (mechanism, ciphers, padded) in modes() {
        for (cipher, key_len) in ciphers.into_iter().zip([16, 24, 32]) {
            let key = aes(session, key_len);
            let key_bytes = value(session, key, CKA_VALUE).unwrap();
            for len in [0, 16, 64, 37, 1]
                .into_iter()
                .filter(|len| padded || mechanism.kind == CKM_AES_CTR || len % 16 == 0)
            {
                let data: Vec<u8> = (0..len).collect();
                let ciphertext = expected(cipher, padded, &key_bytes, &data);
                encrypt_init(session, &mechanism, key).unwrap();
                // The length that is asked for is exact.
                let asked = query(C_Encrypt, session, &data).unwrap();
                assert_eq!(asked, ciphertext.len());
                assert_eq!(encrypt(session, &data).unwrap(), ciphertext);
                decrypt_init(session, &mechanism, key).unwrap();
                assert_eq!(decrypt(session, &ciphertext).unwrap(), data);

                for part_len in [1, 7, 16, 20] {
                    let mut out = Vec::new();
                    encrypt_init(session, &mechanism, key).unwrap();
                    for part in data.chunks(part_len) {
                        out.extend(encrypt_update(session, part).unwrap());
                    }
                    out.extend(encrypt_final(session).unwrap());
                    assert_eq!(out, ciphertext);
                    assert_eq!(encrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));

                    let mut out = Vec::new();
                    decrypt_init(session, &mechanism, key).unwrap();
                    for part in ciphertext.chunks(part_len) {
                        out.extend(decrypt_update(session, part).unwrap());
                    }
                    out.extend(decrypt_final(session).unwrap());
                    assert_eq!(out, data);
                }
            }
        }
    }
}

#[test]
fn gcm_gives_out_a_plaintext_when_its_tag_was_right() {
    let (_module, session) = module();
    let key = aes(session, 32);
    let key_bytes = value(session, key, CKA_VALUE).unwrap();
    let data = [5; 45];
    for (iv, aad, tag_len) in [(&IV[..12], &b"header"[..], 16), (&IV[..], b"", 12)] {
        let mechanism = gcm(iv, aad, 8 * tag_len as CK_ULONG);
        let mut tag = vec![0; tag_len];
        let cipher = Cipher::aes_256_gcm();
        let text = symm::encrypt_aead(cipher, &key_bytes, Some(iv), aad, &data, &mut tag);
        let sealed = [text.unwrap(), tag].concat();
        encrypt_init(session, &mechanism, key).unwrap();
        assert_eq!(query(C_Encrypt, session, &data).unwrap(), sealed.len());
        assert_eq!(encrypt(session, &data).unwrap(), sealed);
        decrypt_init(session, &mechanism, key).unwrap();
        assert_eq!(query(C_Decrypt, session, &sealed).unwrap(), data.len());
        assert_eq!(decrypt(session, &sealed).unwrap(), data);

        let mut out = Vec::new();
        encrypt_init(session, &mechanism, key).unwrap();
        for part in data.chunks(11) {
            out.extend(encrypt_update(session, part).unwrap());
        }
        out.extend(encrypt_final(session).unwrap());
        assert_eq!(out, sealed);
        decrypt_init(session, &mechanism, key).unwrap();
        for part in sealed.chunks(11) {
            assert_eq!(decrypt_update(session, part).unwrap(), b"");
        }
        assert_eq!(decrypt_final(session).unwrap(), data);

        for at in [0, 20, sealed.len() - 1] {
            let mut spoiled = sealed.clone();
            spoiled[at] ^= 1;
            decrypt_init(session, &mechanism, key).unwrap();
            let answer = with_room(C_Decrypt, session, &spoiled, data.len());
            assert_eq!(answer.unwrap_err().0, CKR_ENCRYPTED_DATA_INVALID);
            decrypt_init(session, &mechanism, key).unwrap();
            decrypt_update(session, &spoiled).unwrap();
            assert_eq!(decrypt_final(session), Err(CKR_ENCRYPTED_DATA_INVALID));
        }
        decrypt_init(session, &mechanism, key).unwrap();
        let short = with_room(C_Decrypt, session, &sealed[..tag_len - 1], 64);
        assert_eq!(short.unwrap_err().0, CKR_ENCRYPTED_DATA_LEN_RANGE);
    }
}

#[test]
fn gcm_takes_the_structure_of_2_40_too() {
    let (_module, session) = module();
    let key = aes(session, 16);
    let new = gcm(&IV[..12], b"header", 128);
    let mut old = new.clone();
    // Without ulIvBits, the third of six.
    old.parameter.drain(16..24);
    encrypt_init(session, &old, key).unwrap();
    let sealed = encrypt(session, b"data").unwrap();
    decrypt_init(session, &new, key).unwrap();
    assert_eq!(decrypt(session, &sealed).unwrap(), b"data");
}

#[test]
fn a_plaintext_without_its_end_is_kept_up_to_a_limit() {
    let (_module, session) = module();
    let key = aes(session, 16);
    decrypt_init(session, &gcm(&IV[..12], b"", 128), key).unwrap();
    let part = vec![0; 16 << 20];
    for _ in 0..4 {
        let none = with_room(C_DecryptUpdate, session, &part, 0);
        assert_eq!(none.unwrap(), b"");
    }
    let more = with_room(C_DecryptUpdate, session, b"1", 0).unwrap_err();
    assert_eq!(more.0, CKR_ENCRYPTED_DATA_LEN_RANGE);
    assert_eq!(decrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
}

#[test]
fn data_of_no_possible_length_and_wrong_paddings_are_told() {
    let (_module, session) = module();
    let key = aes(session, 16);
    for mechanism in [Mechanism::new(CKM_AES_ECB), with_iv(CKM_AES_CBC, &IV)] {
        encrypt_init(session, &mechanism, key).unwrap();
        let answer = with_room(C_Encrypt, session, &[1; 17], 64).unwrap_err();
        assert_eq!(answer.0, CKR_DATA_LEN_RANGE);
        encrypt_init(session, &mechanism, key).unwrap();
        encrypt_update(session, &[1; 17]).unwrap();
        let mut len = 64;
        let last = unsafe { C_EncryptFinal(session, [0; 64].as_mut_ptr(), &raw mut len) };
        assert_eq!(last, CKR_DATA_LEN_RANGE);
        decrypt_init(session, &mechanism, key).unwrap();
        let answer = with_room(C_Decrypt, session, &[1; 17], 64).unwrap_err();
        assert_eq!(answer.0, CKR_ENCRYPTED_DATA_LEN_RANGE);
    }
    let padded = with_iv(CKM_AES_CBC_PAD, &IV);
    for (len, expected) in [
        (0, CKR_ENCRYPTED_DATA_LEN_RANGE),
        (17, CKR_ENCRYPTED_DATA_LEN_RANGE),
        // Decrypted it ends in some byte; that it is a padding is one chance in 256, and this is none.
        (32, CKR_ENCRYPTED_DATA_INVALID),
    ] {
        let key = secret_key(session, CKK_AES, &[3; 16]);
        decrypt_init(session, &padded, key).unwrap();
        let answer = with_room(C_Decrypt, session, &vec![1; len], 64).unwrap_err();
        assert_eq!(answer.0, expected, "{len}");
        decrypt_init(session, &padded, key).unwrap();
        decrypt_update(session, &vec![1; len]).unwrap();
        assert_eq!(decrypt_final(session), Err(expected), "{len}");
    }
    // A counter of eight bits that begins at its end is good for one block.
    let mut last = IV;
    last[15] = 0xff;
    encrypt_init(session, &ctr(8, last), key).unwrap();
    assert_eq!(encrypt(session, &[1; 16]).unwrap().len(), 16);
    encrypt_init(session, &ctr(8, last), key).unwrap();
    let answer = with_room(C_Encrypt, session, &[1; 17], 64).unwrap_err();
    assert_eq!(answer.0, CKR_DATA_LEN_RANGE);
}

#[test]
fn a_buffer_of_exactly_the_plaintext_is_enough() {
    let (_module, session) = module();
    let key = aes(session, 16);
    let padded = with_iv(CKM_AES_CBC_PAD, &IV);
    encrypt_init(session, &padded, key).unwrap();
    let ciphertext = encrypt(session, b"twenty bytes of text").unwrap();
    decrypt_init(session, &padded, key).unwrap();
    let short = with_room(C_Decrypt, session, &ciphertext, 19).unwrap_err();
    assert_eq!(short, (CKR_BUFFER_TOO_SMALL, 20));
    let exact = with_room(C_Decrypt, session, &ciphertext, 20);
    assert_eq!(exact.unwrap(), b"twenty bytes of text");
    // In parts: the end is known once it was too long for the buffer, and then nothing can follow.
    decrypt_init(session, &padded, key).unwrap();
    let first = decrypt_update(session, &ciphertext).unwrap();
    assert_eq!(first.len(), 16);
    let mut out = [0; 16];
    let mut len = 3;
    let last = unsafe { C_DecryptFinal(session, out.as_mut_ptr(), &raw mut len) };
    assert_eq!((last, len), (CKR_BUFFER_TOO_SMALL, 4));
    let last = unsafe { C_DecryptFinal(session, out.as_mut_ptr(), &raw mut len) };
    assert_eq!((last, len, &out[..4]), (CKR_OK, 4, &b"text"[..]));
}

#[test]
fn whole_and_parts_do_not_mix() {
    let (_module, session) = module();
    let key = aes(session, 16);
    let ecb = Mechanism::new(CKM_AES_ECB);
    encrypt_init(session, &ecb, key).unwrap();
    assert_eq!(encrypt_init(session, &ecb, key), Err(CKR_OPERATION_ACTIVE));
    encrypt_update(session, &[1; 16]).unwrap();
    let both = with_room(C_Encrypt, session, &[1; 16], 16).unwrap_err();
    assert_eq!(both.0, CKR_OPERATION_ACTIVE);
    assert_eq!(
        encrypt_update(session, &[1; 16]),
        Err(CKR_OPERATION_NOT_INITIALIZED)
    );
    // Lengths that cannot be and missing arguments end it.
    encrypt_init(session, &ecb, key).unwrap();
    let mut len = 0;
    let huge = CK_ULONG::MAX;
    let byte = [0u8; 1].as_mut_ptr();
    let rv = unsafe { C_Encrypt(session, byte, huge, byte, &raw mut len) };
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
    assert_eq!(encrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
    decrypt_init(session, &ecb, key).unwrap();
    let rv = unsafe { C_DecryptUpdate(session, std::ptr::null_mut(), 5, byte, &raw mut len) };
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
    assert_eq!(decrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
    decrypt_init(session, &ecb, key).unwrap();
    let null: *mut CK_ULONG = std::ptr::null_mut();
    let rv = unsafe { C_DecryptFinal(session, byte, null) };
    assert_eq!(rv, CKR_ARGUMENTS_BAD);
}

#[test]
fn public_keys_encrypt_for_their_owners() {
    let identities = [Identity::rsa(2048, 1), Identity::ed25519(2)];
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open();
    let (key, other) = (public_key(session, 1), public_key(session, 2));
    let owner = identities[0].key.rsa().unwrap();
    let opened = |ciphertext: &[u8], padding| {
        let mut out = vec![0; 256];
        let len = owner
            .private_decrypt(ciphertext, &mut out, padding)
            .unwrap();
        out.truncate(len);
        out
    };
    let pkcs1 = Mechanism::new(CKM_RSA_PKCS);
    for message in [&b""[..], b"a message", &[1; 245]] {
        encrypt_init(session, &pkcs1, key).unwrap();
        let ciphertext = encrypt(session, message).unwrap();
        assert_eq!(opened(&ciphertext, Padding::PKCS1), message);
        // In parts it is collected.
        encrypt_init(session, &pkcs1, key).unwrap();
        for part in message.chunks(100) {
            assert_eq!(encrypt_update(session, part).unwrap(), b"");
        }
        let ciphertext = encrypt_final(session).unwrap();
        assert_eq!(opened(&ciphertext, Padding::PKCS1), message);
    }
    encrypt_init(session, &oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""), key).unwrap();
    let ciphertext = encrypt(session, b"a message").unwrap();
    assert_eq!(opened(&ciphertext, Padding::PKCS1_OAEP), b"a message");
    let labelled = oaep(CKM_SHA384, CKG_MGF1_SHA256, b"label");
    encrypt_init(session, &labelled, key).unwrap();
    let ciphertext = encrypt(session, b"a message").unwrap();
    let pem = identities[0].key.private_key_to_pem_pkcs8().unwrap();
    let mut arguments = vec!["pkeyutl", "-decrypt", "-inkey", "@key.pem"];
    for option in [
        "rsa_padding_mode:oaep",
        "rsa_oaep_md:sha384",
        "rsa_mgf1_md:sha256",
        "rsa_oaep_label:6c6162656c",
    ] {
        arguments.extend(["-pkeyopt", option]);
    }
    assert_eq!(
        openssl(&arguments, &[("key.pem", &pem)], &ciphertext),
        b"a message"
    );
    // A number that is shorter than the modulus has zeros before it.
    let x509 = Mechanism::new(CKM_RSA_X_509);
    encrypt_init(session, &x509, key).unwrap();
    let ciphertext = encrypt(session, b"\x01number").unwrap();
    let block = opened(&ciphertext, Padding::NONE);
    assert_eq!(block, [&[0; 249][..], b"\x01number"].concat());

    for (mechanism, len) in [(&pkcs1, 246), (&labelled, 159), (&x509, 257)] {
        encrypt_init(session, mechanism, key).unwrap();
        let answer = with_room(C_Encrypt, session, &vec![1; len], 256).unwrap_err();
        assert_eq!(answer.0, CKR_DATA_LEN_RANGE);
    }
    encrypt_init(session, &x509, key).unwrap();
    let answer = with_room(C_Encrypt, session, &[0xff; 256], 256).unwrap_err();
    assert_eq!(answer.0, CKR_DATA_INVALID);
    encrypt_init(session, &pkcs1, key).unwrap();
    let answer = with_room(C_Encrypt, session, b"a message", 255).unwrap_err();
    assert_eq!(answer, (CKR_BUFFER_TOO_SMALL, 256));
    assert_eq!(encrypt(session, b"a message").unwrap().len(), 256);

    let init = |mechanism: &Mechanism, key| encrypt_init(session, mechanism, key).unwrap_err();
    assert_eq!(init(&pkcs1, other), CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(init(&pkcs1, 0), CKR_KEY_HANDLE_INVALID);
    assert_eq!(
        init(&Mechanism::new(CKM_SHA256_RSA_PKCS), key),
        CKR_MECHANISM_INVALID
    );
    assert_eq!(
        init(&Mechanism::new(CKM_AES_ECB), key),
        CKR_KEY_TYPE_INCONSISTENT
    );
}
