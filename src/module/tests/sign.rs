//! Login and signatures, as programs make them; each signature is checked by the crypto library.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod support;

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::*;
use openssl::nid::Nid;
use support::*;

const NONE: Option<&()> = None;

fn hash(digest: Digest, data: &[u8]) -> Vec<u8> {
    ctk_crypto::hash(digest, data).unwrap().to_vec()
}

/// Whether an r‖s or other signature is right.
fn verifies(identity: &Identity, algorithm: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
    let public = identity.public_key();
    let der = match public.key_type() {
        KeyType::Ec(curve) => {
            assert_eq!(signature.len(), 2 * curve.bytes());
            let mut der = [0; 256];
            let len = ctk_crypto::ecdsa::fixed_to_der(curve, signature, &mut der).unwrap();
            der[..len].to_vec()
        }
        _ => signature.to_vec(),
    };
    ctk_crypto::verify(&public, algorithm, input, &der).unwrap()
}

fn pss(digest: Digest, salt_len: CK_ULONG) -> (CK_RSA_PKCS_PSS_PARAMS, Pss) {
    let (hash_alg, mgf) = match digest {
        Digest::Sha1 => (CKM_SHA_1, CKG_MGF1_SHA1),
        Digest::Sha224 => (CKM_SHA224, CKG_MGF1_SHA224),
        Digest::Sha256 => (CKM_SHA256, CKG_MGF1_SHA256),
        Digest::Sha384 => (CKM_SHA384, CKG_MGF1_SHA384),
        Digest::Sha512 => (CKM_SHA512, CKG_MGF1_SHA512),
        Digest::Sha3_224 => (CKM_SHA3_224, CKG_MGF1_SHA3_224),
        Digest::Sha3_256 => (CKM_SHA3_256, CKG_MGF1_SHA3_256),
        Digest::Sha3_384 => (CKM_SHA3_384, CKG_MGF1_SHA3_384),
        Digest::Sha3_512 => (CKM_SHA3_512, CKG_MGF1_SHA3_512),
    };
    let parameter = CK_RSA_PKCS_PSS_PARAMS {
        hashAlg: hash_alg,
        mgf,
        sLen: salt_len,
    };
    (
        parameter,
        Pss {
            digest,
            mgf: digest,
            salt_len: u32::try_from(salt_len).unwrap(),
        },
    )
}

/// Signs by C_Sign and in three parts, and checks both.
fn round<T>(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_TYPE,
    parameter: Option<&T>,
    identity: &Identity,
    algorithm: KeyAlgorithm,
    data: &[u8],
) {
    let key = key(session, identity.id);
    assert_eq!(
        sign_init(session, mechanism, parameter, key),
        CKR_OK,
        "{mechanism:#x}"
    );
    let signature = sign(session, data, 1024).unwrap();
    assert!(
        verifies(identity, algorithm, data, &signature),
        "{mechanism:#x}"
    );
    assert_eq!(sign_init(session, mechanism, parameter, key), CKR_OK);
    let (first, rest) = data.split_at(data.len() / 3);
    let mut signature = vec![0; 1024];
    let mut len = 1024;
    unsafe {
        for part in [first, &[], rest] {
            let rv = C_SignUpdate(session, part.as_ptr().cast_mut(), part.len() as CK_ULONG);
            assert_eq!(rv, CKR_OK);
        }
        assert_eq!(C_SignFinal(session, null_mut(), &raw mut len), CKR_OK);
        let expected = len;
        len = 1;
        let rv = C_SignFinal(session, signature.as_mut_ptr(), &raw mut len);
        assert_eq!((rv, len), (CKR_BUFFER_TOO_SMALL, expected));
        assert_eq!(
            C_SignFinal(session, signature.as_mut_ptr(), &raw mut len),
            CKR_OK
        );
        assert_eq!(len, expected);
    }
    signature.truncate(len as usize);
    assert!(
        verifies(identity, algorithm, data, &signature),
        "{mechanism:#x} in parts"
    );
}

#[test]
fn a_key_allows_what_its_token_does_with_it() {
    let identities = [
        Identity::rsa(2048, 1),
        Identity::ec(Nid::SECP521R1, 2),
        Identity::ed25519(3),
    ];
    let token = TestToken::new(&identities, Settings::default());
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    let allowed = |identity| -> Vec<CK_MECHANISM_TYPE> {
        let bytes = value(session, key(session, identity), CKA_ALLOWED_MECHANISMS).unwrap();
        bytes.chunks(size_of::<CK_ULONG>()).map(ulong).collect()
    };
    let (rsa, ec, ed) = (allowed(1), allowed(2), allowed(3));
    // Raw, PKCS#1 and PSS, with the hash outside and with one of nine.
    assert_eq!((rsa.len(), ec.len(), &*ed), (21, 10, &[CKM_EDDSA][..]));
    let all = mechanisms();
    assert!(
        [&rsa, &ec, &ed]
            .into_iter()
            .flatten()
            .all(|one| all.contains(one))
    );
    for mechanism in 0..0x5000 {
        let parameter = pss_parameter(mechanism);
        for (identity, allowed) in [(1, &rsa), (2, &ec), (3, &ed)] {
            let rv = sign_init(
                session,
                mechanism,
                parameter.as_ref(),
                key(session, identity),
            );
            let expected = if allowed.contains(&mechanism) {
                assert_eq!(unsafe { C_SignInit(session, null_mut(), 0) }, CKR_OK);
                CKR_OK
            } else if info(mechanism).is_ok_and(|info| info.flags & CKF_SIGN != 0) {
                CKR_KEY_TYPE_INCONSISTENT
            } else {
                CKR_MECHANISM_INVALID
            };
            assert_eq!(rv, expected, "{mechanism:#x}");
        }
    }
}

#[test]
fn a_key_that_decrypts_or_agrees_allows_that_as_well() {
    let decrypts = Settings {
        decrypts: true,
        ..Settings::default()
    };
    let identities = [
        Identity::rsa(1024, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
    ];
    let module = Module::start(&[TestToken::new(&identities, decrypts)]);
    let session = module.open_and_login();
    for (identity, count, more) in [
        (1, 22, &[CKM_RSA_PKCS_OAEP][..]),
        (2, 12, &[CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE]),
    ] {
        let bytes = value(session, key(session, identity), CKA_ALLOWED_MECHANISMS).unwrap();
        let allowed: Vec<_> = bytes.chunks(size_of::<CK_ULONG>()).map(ulong).collect();
        assert_eq!(allowed.len(), count);
        assert!(more.iter().all(|mechanism| allowed.contains(mechanism)));
    }
}

/// The mechanisms of the first slot's token.
fn mechanisms() -> Vec<CK_MECHANISM_TYPE> {
    let (mut listed, mut count) = ([0; 256], 256);
    let rv = unsafe { C_GetMechanismList(0, listed.as_mut_ptr(), &raw mut count) };
    assert_eq!(rv, CKR_OK);
    listed[..count as usize].to_vec()
}

fn info(mechanism: CK_MECHANISM_TYPE) -> std::result::Result<CK_MECHANISM_INFO, CK_RV> {
    let mut info = unsafe { std::mem::zeroed::<CK_MECHANISM_INFO>() };
    match unsafe { C_GetMechanismInfo(0, mechanism, &raw mut info) } {
        CKR_OK => Ok(info),
        rv => Err(rv),
    }
}

/// What a PSS mechanism needs; the others take none.
fn pss_parameter(mechanism: CK_MECHANISM_TYPE) -> Option<CK_RSA_PKCS_PSS_PARAMS> {
    let digest = match mechanism {
        CKM_SHA1_RSA_PKCS_PSS => Digest::Sha1,
        CKM_SHA224_RSA_PKCS_PSS => Digest::Sha224,
        CKM_RSA_PKCS_PSS | CKM_SHA256_RSA_PKCS_PSS => Digest::Sha256,
        CKM_SHA384_RSA_PKCS_PSS => Digest::Sha384,
        CKM_SHA512_RSA_PKCS_PSS => Digest::Sha512,
        CKM_SHA3_224_RSA_PKCS_PSS => Digest::Sha3_224,
        CKM_SHA3_256_RSA_PKCS_PSS => Digest::Sha3_256,
        CKM_SHA3_384_RSA_PKCS_PSS => Digest::Sha3_384,
        CKM_SHA3_512_RSA_PKCS_PSS => Digest::Sha3_512,
        _ => return None,
    };
    Some(pss(digest, 20).0)
}

#[test]
fn rsa_signatures_verify() {
    let identity = Identity::rsa(2048, 1);
    let module = Module::start(&[TestToken::new(
        std::slice::from_ref(&identity),
        Settings::default(),
    )]);
    let session = module.open_and_login();
    let data = b"a message of some bytes".as_slice();
    let mechanisms = [
        (Digest::Sha1, CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS),
        (Digest::Sha224, CKM_SHA224_RSA_PKCS, CKM_SHA224_RSA_PKCS_PSS),
        (Digest::Sha256, CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS),
        (Digest::Sha384, CKM_SHA384_RSA_PKCS, CKM_SHA384_RSA_PKCS_PSS),
        (Digest::Sha512, CKM_SHA512_RSA_PKCS, CKM_SHA512_RSA_PKCS_PSS),
    ];
    for (digest, pkcs1, pkcs_pss) in mechanisms {
        round(
            session,
            pkcs1,
            NONE,
            &identity,
            KeyAlgorithm::RsaPkcs1Message(digest),
            data,
        );
        for salt in [digest.len() as CK_ULONG, 0, 11] {
            let (parameter, pss) = pss(digest, salt);
            let message = KeyAlgorithm::RsaPssMessage(pss);
            round(
                session,
                pkcs_pss,
                Some(&parameter),
                &identity,
                message,
                data,
            );
            let raw = KeyAlgorithm::RsaPssDigest(pss);
            let hashed = hash(digest, data);
            round(
                session,
                CKM_RSA_PKCS_PSS,
                Some(&parameter),
                &identity,
                raw,
                &hashed,
            );
        }
    }
    // A DigestInfo, and TLS 1.0's 36 bytes of MD5 and SHA-1.
    for len in [51, 36, 0, 2048 / 8 - 11] {
        let data = vec![7; len];
        round(
            session,
            CKM_RSA_PKCS,
            NONE,
            &identity,
            KeyAlgorithm::RsaPkcs1,
            &data,
        );
    }
}

#[test]
fn ecdsa_and_eddsa_signatures_verify() {
    let identities = [
        Identity::ec(Nid::X9_62_PRIME256V1, 1),
        Identity::ec(Nid::SECP384R1, 2),
        Identity::ec(Nid::SECP521R1, 3),
        Identity::ed25519(4),
    ];
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open_and_login();
    let data = vec![42; 5000];
    for identity in &identities[..3] {
        for (digest, mechanism) in [
            (Digest::Sha1, CKM_ECDSA_SHA1),
            (Digest::Sha224, CKM_ECDSA_SHA224),
            (Digest::Sha256, CKM_ECDSA_SHA256),
            (Digest::Sha384, CKM_ECDSA_SHA384),
            (Digest::Sha512, CKM_ECDSA_SHA512),
        ] {
            let message = KeyAlgorithm::EcdsaMessage(digest);
            round(session, mechanism, NONE, identity, message, &data);
            // SHA-512 over P-256 is what sssd signs.
            let hashed = hash(digest, &data);
            round(
                session,
                CKM_ECDSA,
                NONE,
                identity,
                KeyAlgorithm::EcdsaDigest,
                &hashed,
            );
        }
    }
    let ed = &identities[3];
    let mut pure = CK_EDDSA_PARAMS {
        phFlag: CK_FALSE,
        ulContextDataLen: 0,
        pContextData: null_mut(),
    };
    round(session, CKM_EDDSA, NONE, ed, KeyAlgorithm::EdDsa, &data);
    round(
        session,
        CKM_EDDSA,
        Some(&pure),
        ed,
        KeyAlgorithm::EdDsa,
        b"",
    );
    let key = key(session, 4);
    pure.ulContextDataLen = 1;
    assert_eq!(
        sign_init(session, CKM_EDDSA, Some(&pure), key),
        CKR_MECHANISM_PARAM_INVALID
    );
    pure = CK_EDDSA_PARAMS {
        phFlag: CK_TRUE,
        ulContextDataLen: 0,
        pContextData: null_mut(),
    };
    assert_eq!(
        sign_init(session, CKM_EDDSA, Some(&pure), key),
        CKR_MECHANISM_PARAM_INVALID
    );
}

#[test]
fn everything_that_can_be_refused_is_refused_at_the_start() {
    let identities = [
        Identity::rsa(1024, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
    ];
    let token = TestToken::new(&identities, Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let (rsa, ec) = (key(session, 1), key(session, 2));
    let certificate = of_class(session, CKO_CERTIFICATE)[0];
    let init = |mechanism, key| sign_init(session, mechanism, NONE, key);
    assert_eq!(init(CKM_AES_CBC, rsa), CKR_MECHANISM_INVALID);
    assert_eq!(init(CKM_RSA_PKCS, ec), CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(init(CKM_ECDSA, rsa), CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(init(CKM_RSA_PKCS, certificate), CKR_KEY_HANDLE_INVALID);
    assert_eq!(init(CKM_RSA_PKCS, 0), CKR_KEY_HANDLE_INVALID);
    assert_eq!(init(CKM_RSA_PKCS_PSS, rsa), CKR_MECHANISM_PARAM_INVALID);
    let with = |mechanism, parameter: &CK_RSA_PKCS_PSS_PARAMS| {
        sign_init(session, mechanism, Some(parameter), rsa)
    };
    let (good, _) = pss(Digest::Sha256, 32);
    assert_eq!(with(CKM_RSA_PKCS, &good), CKR_MECHANISM_PARAM_INVALID);
    assert_eq!(
        with(CKM_SHA512_RSA_PKCS_PSS, &good),
        CKR_MECHANISM_PARAM_INVALID
    );
    for bad in [
        CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: CKM_MD5,
            ..good
        },
        CK_RSA_PKCS_PSS_PARAMS { mgf: 99, ..good },
        CK_RSA_PKCS_PSS_PARAMS { sLen: 95, ..good },
        CK_RSA_PKCS_PSS_PARAMS {
            sLen: CK_ULONG::MAX,
            ..good
        },
    ] {
        assert_eq!(
            with(CKM_SHA256_RSA_PKCS_PSS, &bad),
            CKR_MECHANISM_PARAM_INVALID
        );
    }
    assert_eq!(
        sign_init(session, CKM_RSA_PKCS_PSS, Some(&1u8), rsa),
        CKR_MECHANISM_PARAM_INVALID
    );
    // None of this has left an operation behind.
    assert_eq!(init(CKM_RSA_PKCS, rsa), CKR_OK);
    assert_eq!(init(CKM_RSA_PKCS, rsa), CKR_OPERATION_ACTIVE);
    assert_eq!(unsafe { C_SignInit(session, null_mut(), 0) }, CKR_OK);
    assert_eq!(
        unsafe { C_SignInit(session, null_mut(), 0) },
        CKR_ARGUMENTS_BAD
    );
    assert_eq!(init(CKM_RSA_PKCS, rsa), CKR_OK);
    assert_eq!(unsafe { C_SessionCancel(session, CKF_SIGN) }, CKR_OK);
    token.change(|items| {
        for item in items {
            if let Item::Key(key) = item {
                key.sign = Constraint::Never;
            }
        }
    });
    assert_eq!(init(CKM_RSA_PKCS, rsa), CKR_KEY_FUNCTION_NOT_PERMITTED);
}

#[test]
fn a_key_of_the_wrong_size_says_so_and_is_not_offered() {
    let token = TestToken::new(&[Identity::rsa(1024, 1)], Settings::default());
    // No key store of ours takes so short a key, but another may.
    let modulus = [&[0xc1][..], &[0x55; 63]].concat();
    token.change(|items| {
        for item in items {
            if let Item::Key(key) = item {
                key.public_key = PublicKey::rsa(&modulus, &[1, 0, 1]).unwrap();
            }
        }
    });
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    let small = key(session, 1);
    let init = |mechanism| sign_init(session, mechanism, NONE, small);
    assert_eq!(init(CKM_SHA512_RSA_PKCS), CKR_KEY_SIZE_RANGE);
    // A salt is a parameter of the mechanism.
    let (parameter, _) = pss(Digest::Sha256, 32);
    assert_eq!(
        sign_init(session, CKM_SHA256_RSA_PKCS_PSS, Some(&parameter), small),
        CKR_MECHANISM_PARAM_INVALID
    );
    let allowed = value(session, small, CKA_ALLOWED_MECHANISMS).unwrap();
    let allowed: Vec<_> = allowed.chunks(size_of::<CK_ULONG>()).map(ulong).collect();
    assert!(allowed.contains(&CKM_SHA256_RSA_PKCS));
    assert!(!allowed.contains(&CKM_SHA512_RSA_PKCS));
    assert_eq!(init(CKM_SHA256_RSA_PKCS), CKR_OK);
    // What the module takes by itself, and what the token has besides.
    let info = info(CKM_SHA256_RSA_PKCS).unwrap();
    assert_eq!((info.ulMinKeySize, info.ulMaxKeySize), (512, 8192));
    assert_eq!(info.flags & CKF_HW, 0);
}

#[test]
fn ecdsa_takes_a_hash_and_no_message() {
    let module = Module::start(&[TestToken::new(
        &[Identity::ec(Nid::X9_62_PRIME256V1, 1)],
        Settings::default(),
    )]);
    let session = module.open_and_login();
    let key = key(session, 1);
    for (len, expected) in [(1, Ok(64)), (64, Ok(64)), (128, Ok(64))]
        .into_iter()
        .chain([0, 129, 100_000].map(|len| (len, Err(CKR_DATA_LEN_RANGE))))
    {
        assert_eq!(sign_init(session, CKM_ECDSA, NONE, key), CKR_OK);
        let signed = sign(session, &vec![7; len], 64);
        assert_eq!(
            signed
                .map(|signature| signature.len())
                .map_err(|(rv, _)| rv),
            expected,
            "{len}"
        );
    }
    // Parts are not collected beyond it.
    assert_eq!(sign_init(session, CKM_ECDSA, NONE, key), CKR_OK);
    let part = [7; 100];
    let update = || unsafe { C_SignUpdate(session, part.as_ptr().cast_mut(), 100) };
    assert_eq!((update(), update()), (CKR_OK, CKR_DATA_LEN_RANGE));
}

#[test]
fn asking_for_the_length_costs_no_signature_and_ends_nothing() {
    let token = TestToken::new(&[Identity::rsa(2048, 1)], Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    assert_eq!(
        sign_init(session, CKM_SHA256_RSA_PKCS, NONE, key(session, 1)),
        CKR_OK
    );
    let mut len = 0;
    let rv = unsafe { C_Sign(session, [1].as_mut_ptr(), 1, null_mut(), &raw mut len) };
    assert_eq!((rv, len), (CKR_OK, 256));
    assert_eq!(sign(session, b"x", 1), Err((CKR_BUFFER_TOO_SMALL, 256)));
    assert_eq!(token.signatures.load(Ordering::SeqCst), 0);
    assert_eq!(sign(session, b"x", 256).unwrap().len(), 256);
    assert_eq!(token.signatures.load(Ordering::SeqCst), 1);
    assert_eq!(
        sign(session, b"x", 256),
        Err((CKR_OPERATION_NOT_INITIALIZED, 256))
    );
}

#[test]
fn an_error_ends_the_operation() {
    let token = TestToken::new(&[Identity::rsa(2048, 1)], Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    let fails = |call: &dyn Fn() -> CK_RV| {
        assert_eq!(sign_init(session, CKM_RSA_PKCS, NONE, key), CKR_OK);
        let rv = call();
        assert_eq!(
            sign(session, b"x", 256),
            Err((CKR_OPERATION_NOT_INITIALIZED, 256))
        );
        rv
    };
    let sign_error = |len: usize| sign(session, &vec![0; len], 256).unwrap_err().0;
    assert_eq!(fails(&|| sign_error(246)), CKR_DATA_LEN_RANGE);
    assert_eq!(
        fails(&|| unsafe { C_Sign(session, null_mut(), 5, null_mut(), null_mut()) }),
        CKR_ARGUMENTS_BAD
    );
    assert_eq!(
        fails(&|| unsafe { C_SignUpdate(session, null_mut(), 5) }),
        CKR_ARGUMENTS_BAD
    );
    let long = [0; 246];
    let update = |data: &[u8]| unsafe {
        C_SignUpdate(session, data.as_ptr().cast_mut(), data.len() as CK_ULONG)
    };
    assert_eq!(fails(&|| update(&long)), CKR_DATA_LEN_RANGE);
    assert_eq!(
        fails(&|| update(b"part").max(sign_error(1))),
        CKR_OPERATION_ACTIVE
    );
    for (error, expected) in [
        (TokenError::Denied, CKR_FUNCTION_REJECTED),
        (
            TokenError::Unreachable(Reason::new("gone")),
            CKR_DEVICE_ERROR,
        ),
        (TokenError::StateLost, CKR_USER_NOT_LOGGED_IN),
    ] {
        *token.next_error.lock().unwrap() = Some(error);
        assert_eq!(fails(&|| sign_error(1)), expected);
    }
    // The lost login can be made again.
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
}

#[test]
fn a_login_is_checked_by_the_key_store_and_counts_for_all_sessions() {
    let token = TestToken::new(&[Identity::rsa(2048, 1)], Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let (first, second) = (module.open(), open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION));
    let state = |session| unsafe {
        let mut info = std::mem::zeroed::<CK_SESSION_INFO>();
        assert_eq!(C_GetSessionInfo(session, &raw mut info), CKR_OK);
        info.state
    };
    assert_eq!(login(first, CKU_USER, None), CKR_ARGUMENTS_BAD);
    assert_eq!(login(first, 7, Some(PIN)), CKR_USER_TYPE_INVALID);
    assert_eq!(
        login(first, CKU_CONTEXT_SPECIFIC, Some(PIN)),
        CKR_OPERATION_NOT_INITIALIZED
    );
    assert_eq!(
        login(first, CKU_SO, Some(PIN)),
        CKR_SESSION_READ_ONLY_EXISTS
    );
    assert_eq!(token.attempts.load(Ordering::SeqCst), 0);
    assert_eq!(login(first, CKU_USER, Some(b"wrong")), CKR_PIN_INCORRECT);
    assert_eq!(login(first, CKU_USER, Some(b"")), CKR_PIN_INCORRECT);
    assert_eq!(
        (state(first), state(second)),
        (CKS_RO_PUBLIC_SESSION, CKS_RW_PUBLIC_SESSION)
    );
    assert_eq!(login(first, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(token.attempts.load(Ordering::SeqCst), 3);
    assert_eq!(
        (state(first), state(second)),
        (CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS)
    );
    assert_eq!(
        login(second, CKU_USER, Some(b"wrong")),
        CKR_USER_ALREADY_LOGGED_IN
    );
    let key = key(first, 1);
    assert_eq!(unsafe { C_Logout(second) }, CKR_OK);
    assert_eq!(unsafe { C_Logout(second) }, CKR_USER_NOT_LOGGED_IN);
    assert!(!token.is_verified());
    assert_eq!(
        sign_init(first, CKM_RSA_PKCS, NONE, key),
        CKR_USER_NOT_LOGGED_IN
    );
    assert_eq!(login(second, CKU_USER, Some(PIN)), CKR_OK);
    // The last session takes the login with it.
    unsafe {
        assert_eq!(C_CloseSession(first), CKR_OK);
        assert!(token.is_verified());
        assert_eq!(C_CloseSession(second), CKR_OK);
        assert_eq!(C_CloseSession(second), CKR_SESSION_HANDLE_INVALID);
    }
    assert!(!token.is_verified());
    assert_eq!(token.sessions.load(Ordering::SeqCst), 0);
    assert_eq!(state(module.open()), CKS_RO_PUBLIC_SESSION);
    let writer = {
        unsafe { C_CloseAllSessions(0) };
        open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION)
    };
    assert_eq!(login(writer, CKU_SO, Some(PIN)), CKR_USER_TYPE_INVALID);
}

#[test]
fn finalize_logs_out() {
    let token = TestToken::new(&[Identity::rsa(2048, 1)], Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    module.open_and_login();
    assert!(token.is_verified());
    drop(module);
    assert!(!token.is_verified());
    assert_eq!(token.sessions.load(Ordering::SeqCst), 0);
}

#[test]
fn without_a_pin_from_the_program_the_token_gets_it() {
    let settings = Settings {
        login: LoginPolicy::AppWithoutPin,
        ..Settings::default()
    };
    let token = TestToken::new(&[Identity::rsa(2048, 1)], settings);
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open();
    // An empty PIN is a wrong one, not a missing one.
    assert_eq!(login(session, CKU_USER, Some(b"")), CKR_PIN_INCORRECT);
    assert_eq!(login(session, CKU_USER, None), CKR_OK);
    assert_eq!(token.attempts.load(Ordering::SeqCst), 2);
}

#[test]
fn a_key_that_wants_a_pin_each_time_keeps_its_operation_until_it_gets_one() {
    let settings = Settings {
        reuse: Reuse::Operation,
        ..Settings::default()
    };
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    let module = Module::start(&[TestToken::new(std::slice::from_ref(&identity), settings)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    assert_eq!(
        value(session, key, CKA_ALWAYS_AUTHENTICATE),
        Ok(vec![CK_TRUE])
    );
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    assert_eq!(
        sign(session, b"x", 64).unwrap_err().0,
        CKR_USER_NOT_LOGGED_IN
    );
    assert_eq!(
        login(session, CKU_CONTEXT_SPECIFIC, Some(b"wrong")),
        CKR_PIN_INCORRECT
    );
    assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, Some(PIN)), CKR_OK);
    assert_eq!(sign(session, b"x", 1), Err((CKR_BUFFER_TOO_SMALL, 64)));
    assert_eq!(sign(session, b"x", 64).unwrap().len(), 64);
    // And in parts: what came is not lost.
    assert_eq!(sign_init(session, CKM_ECDSA_SHA256, NONE, key), CKR_OK);
    let (mut signature, mut len) = ([0; 64], 64);
    unsafe {
        assert_eq!(
            C_SignUpdate(session, b"data".as_ptr().cast_mut(), 4),
            CKR_OK
        );
        let rv = C_SignFinal(session, signature.as_mut_ptr(), &raw mut len);
        assert_eq!(rv, CKR_USER_NOT_LOGGED_IN);
        assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, Some(PIN)), CKR_OK);
        assert_eq!(
            C_SignFinal(session, signature.as_mut_ptr(), &raw mut len),
            CKR_OK
        );
    }
    let message = KeyAlgorithm::EcdsaMessage(Digest::Sha256);
    assert!(verifies(&identity, message, b"data", &signature));
}

#[test]
fn a_signature_may_be_written_over_its_data() {
    let identity = Identity::rsa(2048, 1);
    let module = Module::start(&[TestToken::new(
        std::slice::from_ref(&identity),
        Settings::default(),
    )]);
    let session = module.open_and_login();
    let mut buffer = vec![5u8; 256];
    let mut len = 256;
    assert_eq!(
        sign_init(session, CKM_RSA_PKCS, NONE, key(session, 1)),
        CKR_OK
    );
    let start = buffer.as_mut_ptr();
    assert_eq!(
        unsafe { C_Sign(session, start, 20, start, &raw mut len) },
        CKR_OK
    );
    assert!(verifies(
        &identity,
        KeyAlgorithm::RsaPkcs1,
        &[5; 20],
        &buffer
    ));
}

#[test]
fn a_session_in_use_refuses_others_and_can_be_closed_meanwhile() {
    let token = TestToken::new(&[Identity::rsa(2048, 1)], Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    let other = module.open();
    let hold = |on: bool| {
        *token.hold.0.lock().unwrap() = on;
        token.hold.1.notify_all();
    };
    std::thread::scope(|scope| {
        hold(true);
        assert_eq!(sign_init(session, CKM_RSA_PKCS, NONE, key), CKR_OK);
        let signing = scope.spawn(|| sign(session, b"x", 256));
        eventually(|| token.waiting.load(Ordering::SeqCst) == 1);
        assert_eq!(
            sign_init(session, CKM_RSA_PKCS, NONE, key),
            CKR_OPERATION_ACTIVE
        );
        assert_eq!(
            sign(session, b"y", 256).unwrap_err().0,
            CKR_OPERATION_ACTIVE
        );
        assert_eq!(
            unsafe { C_SessionCancel(session, CKF_SIGN) },
            CKR_OPERATION_CANCEL_FAILED
        );
        // Other work goes on, on this session and on others.
        assert_eq!(of_class(session, CKO_PRIVATE_KEY), [key]);
        assert_eq!(value(other, key, CKA_ID), Ok(vec![1]));
        assert_eq!(
            login(other, CKU_USER, Some(PIN)),
            CKR_USER_ALREADY_LOGGED_IN
        );
        assert_eq!(unsafe { C_CloseSession(session) }, CKR_OK);
        hold(false);
        assert_eq!(
            signing.join().unwrap().map(|signature| signature.len()),
            Ok(256)
        );
    });
}

#[test]
fn finalize_comes_while_others_sign() {
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    let token = TestToken::new(std::slice::from_ref(&identity), Settings::default());
    for _ in 0..20 {
        let module = Module::start(&[Arc::clone(&token)]);
        let session = module.open_and_login();
        let key = key(session, 1);
        std::thread::scope(|scope| {
            for session in [module.open(), module.open(), module.open()] {
                scope.spawn(move || {
                    loop {
                        let rv = match sign_init(session, CKM_ECDSA_SHA256, NONE, key) {
                            CKR_OK => sign(session, b"x", 64).map_or_else(|(rv, _)| rv, |_| CKR_OK),
                            rv => rv,
                        };
                        if rv == CKR_CRYPTOKI_NOT_INITIALIZED {
                            return;
                        }
                        let ending = [
                            CKR_OK,
                            CKR_USER_NOT_LOGGED_IN,
                            CKR_SESSION_HANDLE_INVALID,
                            CKR_OPERATION_NOT_INITIALIZED,
                        ];
                        assert!(ending.contains(&rv), "{rv:#x}");
                    }
                });
            }
            let signed = token.signatures.load(Ordering::SeqCst);
            eventually(|| token.signatures.load(Ordering::SeqCst) > signed + 5);
            assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
        });
        assert!(!token.is_verified());
    }
}
