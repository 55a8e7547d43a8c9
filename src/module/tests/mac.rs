//! Message authentication codes, with the secret keys of sessions.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use cryptoki_sys::*;
use ctk_crypto::{Mac, hmac};
use ctk_pkcs11::abi::*;
use ctk_token::Digest;
use operations::{self as op, Mechanism, Object, Session};
use support::{Identity, Module, Settings, TestToken, key};

const KEY: &[u8] = b"a key of any length, but not too short";

/// The mechanisms of a hash: whole and of a length in the parameter.
fn hmac_mechanisms(digest: Digest) -> (CK_MECHANISM_TYPE, CK_MECHANISM_TYPE) {
    match digest {
        Digest::Sha1 => (CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL),
        Digest::Sha224 => (CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL),
        Digest::Sha256 => (CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL),
        Digest::Sha384 => (CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL),
        Digest::Sha512 => (CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL),
        Digest::Sha3_224 => (CKM_SHA3_224_HMAC, CKM_SHA3_224_HMAC_GENERAL),
        Digest::Sha3_256 => (CKM_SHA3_256_HMAC, CKM_SHA3_256_HMAC_GENERAL),
        Digest::Sha3_384 => (CKM_SHA3_384_HMAC, CKM_SHA3_384_HMAC_GENERAL),
        Digest::Sha3_512 => (CKM_SHA3_512_HMAC, CKM_SHA3_512_HMAC_GENERAL),
    }
}

/// The type of keys that are for the HMAC of this hash alone.
fn key_type(digest: Digest) -> CK_KEY_TYPE {
    match digest {
        Digest::Sha1 => CKK_SHA_1_HMAC,
        Digest::Sha224 => CKK_SHA224_HMAC,
        Digest::Sha256 => CKK_SHA256_HMAC,
        Digest::Sha384 => CKK_SHA384_HMAC,
        Digest::Sha512 => CKK_SHA512_HMAC,
        Digest::Sha3_224 => CKK_SHA3_224_HMAC,
        Digest::Sha3_256 => CKK_SHA3_256_HMAC,
        Digest::Sha3_384 => CKK_SHA3_384_HMAC,
        Digest::Sha3_512 => CKK_SHA3_512_HMAC,
    }
}

fn general(kind: CK_MECHANISM_TYPE, len: usize) -> Mechanism {
    Mechanism::with(kind, &(len as CK_ULONG))
}

/// Makes the code in every way and verifies it in every way.
fn round(session: Session, mechanism: &Mechanism, key: Object, data: &[u8], expected: &[u8]) {
    op::sign_init(session, mechanism, key).unwrap();
    assert_eq!(op::sign(session, data).unwrap(), expected);
    op::sign_init(session, mechanism, key).unwrap();
    for part in data.chunks(5) {
        op::sign_update(session, part).unwrap();
    }
    assert_eq!(op::sign_final(session).unwrap(), expected);
    op::message_sign_init(session, mechanism, key).unwrap();
    assert_eq!(op::sign_message(session, data).unwrap(), expected);
    op::message_sign_final(session).unwrap();

    let verify = |code: &[u8]| {
        op::verify_init(session, mechanism, key).unwrap();
        let whole = op::verify(session, data, code);
        op::verify_init(session, mechanism, key).unwrap();
        for part in data.chunks(5) {
            op::verify_update(session, part).unwrap();
        }
        assert_eq!(op::verify_final(session, code), whole);
        op::verify_signature_init(session, mechanism, key, code).unwrap();
        assert_eq!(op::verify_signature(session, data), whole);
        whole
    };
    assert_eq!(verify(expected), Ok(()));
    let mut wrong = expected.to_vec();
    wrong[expected.len() - 1] ^= 1;
    assert_eq!(verify(&wrong), Err(CKR_SIGNATURE_INVALID));
    let wrong_len = Err(CKR_SIGNATURE_LEN_RANGE);
    assert_eq!(verify(&expected[1..]), wrong_len);
    assert_eq!(verify(&[expected, &[0]].concat()), wrong_len);
    assert_eq!(verify(&[]), wrong_len);
}

#[test]
fn every_hmac_is_that_of_the_crypto_library_in_every_length() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let generic = op::secret_key(session, CKK_GENERIC_SECRET, KEY);
    for digest in Digest::ALL {
        let (whole, of_len) = hmac_mechanisms(digest);
        for data in [&b"what is authenticated"[..], b""] {
            let expected = hmac(digest, KEY, data).unwrap();
            round(session, &Mechanism::new(whole), generic, data, &expected);
            for len in [1, 10, digest.len()] {
                round(
                    session,
                    &general(of_len, len),
                    generic,
                    data,
                    &expected[..len],
                );
            }
        }
        let invalid = Err(CKR_MECHANISM_PARAM_INVALID);
        for wrong in [
            general(of_len, 0),
            general(of_len, digest.len() + 1),
            general(of_len, usize::MAX),
            Mechanism::new(of_len),
            Mechanism::with(of_len, &1u8),
            general(whole, 10),
        ] {
            assert_eq!(op::sign_init(session, &wrong, generic), invalid);
            assert_eq!(op::verify_init(session, &wrong, generic), invalid);
        }
    }
}

#[test]
fn a_key_for_one_hash_is_for_that_hash() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    for digest in Digest::ALL {
        let key = op::secret_key(session, key_type(digest), KEY);
        let expected = hmac(digest, KEY, b"data").unwrap();
        let mechanism = Mechanism::new(hmac_mechanisms(digest).0);
        round(session, &mechanism, key, b"data", &expected);
        let others = Digest::ALL.into_iter().filter(|other| *other != digest);
        for other in others {
            let other = Mechanism::new(hmac_mechanisms(other).0);
            let refused = op::sign_init(session, &other, key);
            assert_eq!(refused, Err(CKR_KEY_TYPE_INCONSISTENT));
        }
    }
}

#[test]
fn cmac_is_that_of_the_crypto_library() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let data = b"more than a block of data";
    for len in [16, 24, 32] {
        let value = &KEY[..len];
        let key = op::secret_key(session, CKK_AES, value);
        let mut mac = Mac::aes_cmac(value).unwrap();
        mac.update(data).unwrap();
        let expected = mac.finish().unwrap();
        round(session, &Mechanism::new(CKM_AES_CMAC), key, data, &expected);
        round(
            session,
            &general(CKM_AES_CMAC_GENERAL, 8),
            key,
            data,
            &expected[..8],
        );
        let too_long = general(CKM_AES_CMAC_GENERAL, 17);
        let invalid = Err(CKR_MECHANISM_PARAM_INVALID);
        assert_eq!(op::sign_init(session, &too_long, key), invalid);
    }
}

#[test]
fn a_code_wants_a_key_of_its_own_kind() {
    let identity = Identity::rsa(1024, 1);
    let module = Module::start(&[TestToken::new(&[identity], Settings::default())]);
    let session = module.open_and_login();
    let generic = op::secret_key(session, CKK_GENERIC_SECRET, KEY);
    let aes = op::secret_key(session, CKK_AES, &KEY[..16]);
    let hmac = Mechanism::new(CKM_SHA256_HMAC);
    let cmac = Mechanism::new(CKM_AES_CMAC);
    let rsa = Mechanism::new(CKM_RSA_PKCS);
    let inconsistent = Err(CKR_KEY_TYPE_INCONSISTENT);
    type Init = fn(Session, &Mechanism, Object) -> op::Answer<()>;
    for init in [
        op::sign_init as Init,
        op::verify_init,
        op::message_sign_init,
    ] {
        assert_eq!(init(session, &hmac, aes), inconsistent);
        assert_eq!(init(session, &cmac, generic), inconsistent);
        assert_eq!(init(session, &rsa, generic), inconsistent);
        assert_eq!(init(session, &hmac, key(session, 1)), inconsistent);
        assert_eq!(
            init(session, &hmac, op::public_key(session, 1)),
            inconsistent
        );
        assert_eq!(init(session, &hmac, 0), Err(CKR_KEY_HANDLE_INVALID));
    }
    let class = CKO_SECRET_KEY.to_ne_bytes();
    let key_type = CKK_GENERIC_SECRET.to_ne_bytes();
    let only = CKM_SHA512_HMAC.to_ne_bytes();
    let made = |more: &[(CK_ATTRIBUTE_TYPE, &[u8])]| {
        let mut template = vec![
            (CKA_CLASS, &class[..]),
            (CKA_KEY_TYPE, &key_type),
            (CKA_VALUE, KEY),
        ];
        template.extend(more);
        op::create(session, &template).unwrap()
    };
    let refused = Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
    let signs = made(&[(CKA_SIGN, &[CK_TRUE]), (CKA_VERIFY, &[CK_FALSE])]);
    assert_eq!(op::verify_init(session, &hmac, signs), refused);
    op::sign_init(session, &hmac, signs).unwrap();
    let verifies = made(&[(CKA_SIGN, &[CK_FALSE]), (CKA_VERIFY, &[CK_TRUE])]);
    assert_eq!(op::message_sign_init(session, &hmac, verifies), refused);
    op::verify_init(session, &hmac, verifies).unwrap();
    // The key goes on being used after its object is gone.
    assert_eq!(unsafe { C_DestroyObject(session, signs) }, CKR_OK);
    let code = op::sign(session, b"data").unwrap();
    assert_eq!(op::verify(session, b"data", &code), Ok(()));
    assert_eq!(
        op::sign_init(session, &hmac, signs),
        Err(CKR_KEY_HANDLE_INVALID)
    );
    let yes = [CK_TRUE];
    let for_one = made(&[
        (CKA_SIGN, &yes),
        (CKA_VERIFY, &yes),
        (CKA_ALLOWED_MECHANISMS, &only),
    ]);
    assert_eq!(op::sign_init(session, &hmac, for_one), refused);
    assert_eq!(op::verify_init(session, &hmac, for_one), refused);
    op::sign_init(session, &Mechanism::new(CKM_SHA512_HMAC), for_one).unwrap();
}

#[test]
fn a_key_that_can_be_read_can_be_digested() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let readable = op::secret_key(session, CKK_GENERIC_SECRET, KEY);
    op::digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
    op::digest_update(session, b"before ").unwrap();
    assert_eq!(unsafe { C_DigestKey(session, readable) }, CKR_OK);
    op::digest_update(session, b" after").unwrap();
    let expected = [b"before ", KEY, b" after"].concat();
    let expected = ctk_crypto::hash(Digest::Sha256, &expected).unwrap();
    assert_eq!(op::digest_final(session).unwrap(), *expected);

    let class = CKO_SECRET_KEY.to_ne_bytes();
    let key_type = CKK_GENERIC_SECRET.to_ne_bytes();
    for hidden in [(CKA_SENSITIVE, [CK_TRUE]), (CKA_EXTRACTABLE, [CK_FALSE])] {
        let shown = match hidden.0 {
            CKA_SENSITIVE => (CKA_EXTRACTABLE, [CK_TRUE]),
            _ => (CKA_SENSITIVE, [CK_FALSE]),
        };
        let template = [
            (CKA_CLASS, &class[..]),
            (CKA_KEY_TYPE, &key_type),
            (CKA_VALUE, KEY),
            (CKA_PRIVATE, &[CK_FALSE]),
            (hidden.0, &hidden.1),
            (shown.0, &shown.1),
        ];
        let key = op::create(session, &template).unwrap();
        op::digest_init(session, &Mechanism::new(CKM_SHA256)).unwrap();
        assert_eq!(unsafe { C_DigestKey(session, key) }, CKR_KEY_INDIGESTIBLE);
        let over = op::digest_final(session);
        assert_eq!(over, Err(CKR_OPERATION_NOT_INITIALIZED));
    }
}
