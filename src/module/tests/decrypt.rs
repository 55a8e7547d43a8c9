//! C_Decrypt and its parts: with a token's RSA keys, with keys of the session, and what nobody learns
//! from them.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod key_functions;
mod operations;
mod support;

use std::sync::{Arc, LazyLock, atomic::Ordering};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::*;
use key_functions::*;
use openssl::{nid::Nid, pkey::Private, rsa::Padding};
use operations::*;
use support::*;

const MESSAGE: &[u8] = b"the quick brown fox";
const MODULUS: usize = 256;

static RSA: LazyLock<Identity> = LazyLock::new(|| Identity::rsa(2048, 1));
static EC: LazyLock<Identity> = LazyLock::new(|| Identity::ec(Nid::X9_62_PRIME256V1, 2));

fn rsa() -> openssl::rsa::Rsa<Private> {
    RSA.key.rsa().unwrap()
}

/// What anybody can encrypt for the token's key.
fn sealed(message: &[u8], padding: Padding) -> Vec<u8> {
    let mut ciphertext = vec![0; MODULUS];
    rsa()
        .public_encrypt(message, &mut ciphertext, padding)
        .unwrap();
    ciphertext
}

/// A ciphertext of this block.
fn of_block(block: &[u8]) -> Vec<u8> {
    sealed(block, Padding::NONE)
}

fn pkcs1_block(message: &[u8]) -> Vec<u8> {
    let padding = vec![0xa5; MODULUS - 3 - message.len()];
    [&[0, 2][..], &padding, &[0], message].concat()
}

fn token(raw_only: bool, reuse: Reuse) -> Arc<TestToken> {
    let identities = [&*RSA, &*EC].map(|identity| Identity {
        key: identity.key.clone(),
        certificate: identity.certificate.clone(),
        id: identity.id,
    });
    let settings = Settings {
        decrypts: true,
        raw_only,
        reuse,
        ..Settings::default()
    };
    TestToken::new(&identities, settings)
}

fn pkcs1() -> Mechanism {
    Mechanism::new(CKM_RSA_PKCS)
}

#[test]
fn a_token_decrypts_what_was_encrypted_for_it() {
    for raw_only in [false, true] {
        let token = token(raw_only, Reuse::Session);
        let module = Module::start(&[token]);
        let session = module.open_and_login();
        let key = key(session, 1);
        for message in [MESSAGE, b"", &[7; MODULUS - 11]] {
            decrypt_init(session, &pkcs1(), key).unwrap();
            let plaintext = decrypt(session, &sealed(message, Padding::PKCS1));
            assert_eq!(plaintext.unwrap(), message);
        }
        let x509 = Mechanism::new(CKM_RSA_X_509);
        let block = pkcs1_block(MESSAGE);
        decrypt_init(session, &x509, key).unwrap();
        assert_eq!(decrypt(session, &of_block(&block)).unwrap(), block);
        let default = oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"");
        decrypt_init(session, &default, key).unwrap();
        let plaintext = decrypt(session, &sealed(MESSAGE, Padding::PKCS1_OAEP));
        assert_eq!(plaintext.unwrap(), MESSAGE);
    }
}

#[test]
fn oaep_takes_every_hash_mask_and_label_that_openssl_does() {
    let module = Module::start(&[token(false, Reuse::Session)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    let public = RSA.key.public_key_to_pem().unwrap();
    for (hash, mgf, names, label) in [
        (CKM_SHA256, CKG_MGF1_SHA256, ["sha256", "sha256"], &b""[..]),
        (CKM_SHA256, CKG_MGF1_SHA1, ["sha256", "sha1"], b"a label"),
        (CKM_SHA_1, CKG_MGF1_SHA512, ["sha1", "sha512"], b"another"),
        (CKM_SHA512, CKG_MGF1_SHA384, ["sha512", "sha384"], b""),
        (
            CKM_SHA3_256,
            CKG_MGF1_SHA3_224,
            ["sha3-256", "sha3-224"],
            b"\0",
        ),
    ] {
        let [digest, mask] = names;
        let options = [
            "rsa_padding_mode:oaep".to_owned(),
            format!("rsa_oaep_md:{digest}"),
            format!("rsa_mgf1_md:{mask}"),
            format!("rsa_oaep_label:{}", hex(label)),
        ];
        let mut arguments = vec!["pkeyutl", "-encrypt", "-pubin", "-inkey", "@key.pem"];
        for option in options.iter().take(if label.is_empty() { 3 } else { 4 }) {
            arguments.extend(["-pkeyopt", option]);
        }
        let ciphertext = openssl(&arguments, &[("key.pem", &public)], MESSAGE);
        decrypt_init(session, &oaep(hash, mgf, label), key).unwrap();
        assert_eq!(decrypt(session, &ciphertext).unwrap(), MESSAGE, "{names:?}");
        // With another label it is one error, as for everything else that can be wrong.
        decrypt_init(session, &oaep(hash, mgf, b"wrong"), key).unwrap();
        let room = with_room(C_Decrypt, session, &ciphertext, MODULUS);
        assert_eq!(room.unwrap_err().0, CKR_ENCRYPTED_DATA_INVALID);
    }
}

/// The one test of the oracle: what comes of a wrong padding is not to be told from a plaintext.
#[test]
fn a_wrong_padding_is_a_plaintext_like_any_other() {
    for raw_only in [false, true] {
        let token = token(raw_only, Reuse::Session);
        let module = Module::start(&[Arc::clone(&token)]);
        let session = module.open_and_login();
        let key = key(session, 1);
        let good = pkcs1_block(MESSAGE);
        let spoiled = |at: usize, byte: u8| {
            let mut block = good.clone();
            block[at] = byte;
            of_block(&block)
        };
        let mut no_separator = good.clone();
        no_separator[2..].fill(0xa5);
        let wrong = [
            spoiled(0, 1),
            spoiled(1, 1),
            spoiled(1, 0),
            // A zero among the first eight bytes of padding.
            spoiled(2, 0),
            spoiled(9, 0),
            of_block(&no_separator),
            of_block(&[0; MODULUS]),
        ];
        let answer = |ciphertext: &[u8]| {
            decrypt_init(session, &pkcs1(), key).unwrap();
            let asked = query(C_Decrypt, session, ciphertext).unwrap();
            assert_eq!(asked, MODULUS - 11);
            with_room(C_Decrypt, session, ciphertext, asked).unwrap()
        };
        let mut lengths = Vec::new();
        for ciphertext in &wrong {
            let plaintext = answer(ciphertext);
            assert_ne!(plaintext, MESSAGE);
            // It is always the same, as that of a right one.
            assert_eq!(answer(ciphertext), plaintext);
            lengths.push(plaintext.len());
        }
        lengths.sort_unstable();
        lengths.dedup();
        assert!(lengths.len() > 1, "they have lengths like any plaintext");
        assert_eq!(answer(&of_block(&good)), MESSAGE);
        // Neither the number of decryptions nor a too short buffer tells.
        for ciphertext in wrong.iter().chain([&of_block(&good)]) {
            let before = token.decryptions.load(Ordering::SeqCst);
            let plaintext = answer(ciphertext);
            assert_eq!(token.decryptions.load(Ordering::SeqCst), before + 1);
            if let Some(room) = plaintext.len().checked_sub(1) {
                decrypt_init(session, &pkcs1(), key).unwrap();
                let short = with_room(C_Decrypt, session, ciphertext, room).unwrap_err();
                assert_eq!(short, (CKR_BUFFER_TOO_SMALL, plaintext.len() as CK_ULONG));
                let again = with_room(C_Decrypt, session, ciphertext, room + 1);
                assert_eq!(again.unwrap(), plaintext);
                assert_eq!(token.decryptions.load(Ordering::SeqCst), before + 2);
            }
        }
    }
}

#[test]
fn what_stands_for_wrong_ciphertexts_ends_with_the_library() {
    let token = token(true, Reuse::Session);
    let wrong = [1, 2, 3, 4].map(|first| {
        let mut block = pkcs1_block(MESSAGE);
        block[0] = first;
        of_block(&block)
    });
    let made_up = || {
        let module = Module::start(&[Arc::clone(&token)]);
        let session = module.open_and_login();
        let key = key(session, 1);
        let len = number(48);
        let template = readable(&GENERIC, &len);
        let plaintexts = wrong.each_ref().map(|ciphertext| {
            decrypt_init(session, &pkcs1(), key).unwrap();
            with_room(C_Decrypt, session, ciphertext, MODULUS).unwrap()
        });
        let unwrapped = unwrap(session, &pkcs1(), key, &wrong[0], &template).unwrap();
        (plaintexts, bytes_of(session, unwrapped))
    };
    let (before, after) = (made_up(), made_up());
    assert_ne!(before.0, after.0);
    assert_ne!(before.1, after.1);
}

#[test]
fn a_private_key_is_asked_once_and_not_for_a_length() {
    let token = token(false, Reuse::Session);
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    let asked = || token.decryptions.load(Ordering::SeqCst);
    let ciphertext = sealed(MESSAGE, Padding::PKCS1);

    decrypt_init(session, &pkcs1(), key).unwrap();
    assert_eq!(query(C_Decrypt, session, &ciphertext), Ok(MODULUS - 11));
    assert_eq!(asked(), 0);
    // A buffer of exactly the plaintext's length is enough.
    let exact = with_room(C_Decrypt, session, &ciphertext, MESSAGE.len());
    assert_eq!(exact.unwrap(), MESSAGE);
    assert_eq!(asked(), 1);
    assert_eq!(
        query(C_Decrypt, session, &ciphertext),
        Err(CKR_OPERATION_NOT_INITIALIZED)
    );

    decrypt_init(session, &pkcs1(), key).unwrap();
    let short = with_room(C_Decrypt, session, &ciphertext, 5).unwrap_err();
    assert_eq!(short, (CKR_BUFFER_TOO_SMALL, MESSAGE.len() as CK_ULONG));
    // The length is known now.
    assert_eq!(query(C_Decrypt, session, &ciphertext), Ok(MESSAGE.len()));
    let plaintext = with_room(C_Decrypt, session, &ciphertext, MESSAGE.len());
    assert_eq!(plaintext.unwrap(), MESSAGE);
    assert_eq!(asked(), 2);

    // What was kept is not the answer to another question.
    let other = sealed(b"other", Padding::PKCS1);
    decrypt_init(session, &pkcs1(), key).unwrap();
    with_room(C_Decrypt, session, &ciphertext, 1).unwrap_err();
    assert_eq!(
        with_room(C_Decrypt, session, &other, MODULUS).unwrap(),
        b"other"
    );
    assert_eq!(asked(), 4);
}

#[test]
fn a_ciphertext_comes_in_parts() {
    let module = Module::start(&[token(false, Reuse::Session)]);
    let session = module.open_and_login();
    let key = key(session, 1);
    let ciphertext = sealed(MESSAGE, Padding::PKCS1);
    decrypt_init(session, &pkcs1(), key).unwrap();
    for part in ciphertext.chunks(100) {
        assert_eq!(decrypt_update(session, part).unwrap(), b"");
    }
    // Not C_Decrypt in the middle, which ends it.
    assert_eq!(decrypt_final(session).unwrap(), MESSAGE);
    decrypt_init(session, &pkcs1(), key).unwrap();
    decrypt_update(session, &ciphertext).unwrap();
    let both = with_room(C_Decrypt, session, &ciphertext, MODULUS).unwrap_err();
    assert_eq!(both.0, CKR_OPERATION_ACTIVE);
    assert_eq!(decrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
    // Too much, and too little.
    decrypt_init(session, &pkcs1(), key).unwrap();
    decrypt_update(session, &ciphertext).unwrap();
    assert_eq!(
        decrypt_update(session, b"1"),
        Err(CKR_ENCRYPTED_DATA_LEN_RANGE)
    );
    decrypt_init(session, &pkcs1(), key).unwrap();
    decrypt_update(session, &ciphertext[1..]).unwrap();
    assert_eq!(decrypt_final(session), Err(CKR_ENCRYPTED_DATA_LEN_RANGE));
}

#[test]
fn each_wrong_key_mechanism_and_parameter_has_its_answer() {
    let module = Module::start(&[token(false, Reuse::Session)]);
    let session = module.open_and_login();
    let rsa = key(session, 1);
    let aes = aes(session, 16);
    let init = |mechanism: &Mechanism, key| decrypt_init(session, mechanism, key).unwrap_err();
    let sha256 = oaep(CKM_SHA256, CKG_MGF1_SHA256, b"");

    assert_eq!(init(&pkcs1(), 0), CKR_KEY_HANDLE_INVALID);
    let certificate = of_class(session, CKO_CERTIFICATE)[0];
    assert_eq!(init(&pkcs1(), certificate), CKR_KEY_HANDLE_INVALID);
    assert_eq!(init(&pkcs1(), key(session, 2)), CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(
        init(&pkcs1(), public_key(session, 1)),
        CKR_KEY_TYPE_INCONSISTENT
    );
    assert_eq!(init(&pkcs1(), aes), CKR_KEY_TYPE_INCONSISTENT);
    assert_eq!(
        init(&Mechanism::new(CKM_AES_ECB), rsa),
        CKR_KEY_TYPE_INCONSISTENT
    );
    let generic = secret_key(session, CKK_GENERIC_SECRET, &[1; 16]);
    assert_eq!(
        init(&Mechanism::new(CKM_AES_ECB), generic),
        CKR_KEY_TYPE_INCONSISTENT
    );
    for other in [
        CKM_SHA256_RSA_PKCS,
        CKM_ECDSA,
        CKM_SHA256,
        CKM_VENDOR_DEFINED,
    ] {
        assert_eq!(init(&Mechanism::new(other), rsa), CKR_MECHANISM_INVALID);
    }

    let mut bad = Vec::new();
    for change in [
        (|it| it.source = 2) as fn(&mut CK_RSA_PKCS_OAEP_PARAMS),
        |it| it.hashAlg = CKM_MD5,
        |it| it.hashAlg = CKM_SHA256_RSA_PKCS,
        |it| it.mgf = 0x77,
        |it| it.ulSourceDataLen = 5,
        |it| it.ulSourceDataLen = CK_ULONG::MAX,
    ] {
        let mut parameter = oaep_parameter(CKM_SHA256, CKG_MGF1_SHA256, b"");
        parameter.pSourceData = std::ptr::null_mut();
        change(&mut parameter);
        bad.push(Mechanism::with(CKM_RSA_PKCS_OAEP, &parameter));
    }
    let mut sourceless = oaep_parameter(CKM_SHA256, CKG_MGF1_SHA256, b"label");
    sourceless.source = 0;
    bad.push(Mechanism::with(CKM_RSA_PKCS_OAEP, &sourceless));
    let mut short = sha256.clone();
    short.parameter.pop();
    bad.extend([short, Mechanism::new(CKM_RSA_PKCS_OAEP)]);
    bad.push(with_iv(CKM_RSA_PKCS, b"x"));
    bad.push(with_iv(CKM_RSA_X_509, b"x"));
    for mechanism in &bad {
        let answer = decrypt_init(session, mechanism, rsa);
        assert_eq!(answer, Err(CKR_MECHANISM_PARAM_INVALID), "{mechanism:?}");
    }
    let mut bad = vec![with_iv(CKM_AES_ECB, &[0; 16])];
    for kind in [CKM_AES_CBC, CKM_AES_CBC_PAD] {
        bad.extend([0, 8, 15, 17].map(|len| with_iv(kind, &vec![0; len])));
    }
    for bits in [0, 129, CK_ULONG::MAX] {
        let parameter = CK_AES_CTR_PARAMS {
            ulCounterBits: bits,
            cb: [0; 16],
        };
        bad.push(Mechanism::with(CKM_AES_CTR, &parameter));
    }
    bad.push(gcm(&[], b"", 128));
    bad.extend([0, 8, 100, 127, 136, CK_ULONG::MAX].map(|bits| gcm(&[1; 12], b"", bits)));
    for mechanism in &bad {
        let answer = decrypt_init(session, mechanism, aes);
        assert_eq!(answer, Err(CKR_MECHANISM_PARAM_INVALID), "{mechanism:?}");
    }

    // The key's own attribute, and its list of mechanisms.
    let no = [(CKA_VALUE_LEN, &16u64.to_ne_bytes()[..]), (CKA_DECRYPT, NO)];
    let no = generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &no).unwrap();
    let ecb = Mechanism::new(CKM_AES_ECB);
    assert_eq!(init(&ecb, no), CKR_KEY_FUNCTION_NOT_PERMITTED);
    let only = [
        (CKA_VALUE_LEN, &16u64.to_ne_bytes()[..]),
        (CKA_ALLOWED_MECHANISMS, &CKM_AES_CBC.to_ne_bytes()),
    ];
    let only = generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &only).unwrap();
    assert_eq!(init(&ecb, only), CKR_KEY_FUNCTION_NOT_PERMITTED);
    decrypt_init(session, &with_iv(CKM_AES_CBC, &[0; 16]), only).unwrap();
    assert_eq!(init(&ecb, aes), CKR_OPERATION_ACTIVE);
    // Cancelled by NULL, once.
    let cancel = || unsafe { C_DecryptInit(session, std::ptr::null_mut(), 0) };
    assert_eq!(cancel(), CKR_OK);
    assert_eq!(cancel(), CKR_ARGUMENTS_BAD);
    for (len, expected) in [
        (MODULUS - 1, CKR_ENCRYPTED_DATA_LEN_RANGE),
        (MODULUS + 1, CKR_ENCRYPTED_DATA_LEN_RANGE),
        (0, CKR_ENCRYPTED_DATA_LEN_RANGE),
        // Of the right length and not below the modulus.
        (MODULUS, CKR_ENCRYPTED_DATA_INVALID),
    ] {
        for mechanism in [&pkcs1(), &sha256, &Mechanism::new(CKM_RSA_X_509)] {
            decrypt_init(session, mechanism, rsa).unwrap();
            let answer = with_room(C_Decrypt, session, &vec![0xff; len], MODULUS);
            assert_eq!(answer.unwrap_err().0, expected);
            assert_eq!(decrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
        }
    }
}

#[test]
fn a_key_of_the_session_decrypts_what_it_is_for() {
    let module = Module::start(&[TestToken::new(&[], Settings::default())]);
    let session = module.open();
    let bits = 1024u64.to_ne_bytes();
    let public = [(CKA_MODULUS_BITS, &bits[..])];
    let pair = |private: &Pairs<'_>| {
        let generation = CKM_RSA_PKCS_KEY_PAIR_GEN;
        generate_pair(session, generation, &public, private).unwrap()
    };
    let (public_key, private_key) = pair(&[]);
    for mechanism in [&pkcs1(), &oaep(CKM_SHA256, CKG_MGF1_SHA1, b"label")] {
        encrypt_init(session, mechanism, public_key).unwrap();
        let ciphertext = encrypt(session, MESSAGE).unwrap();
        decrypt_init(session, mechanism, private_key).unwrap();
        assert_eq!(decrypt(session, &ciphertext).unwrap(), MESSAGE);
    }
    // 128 bytes have no room for two hashes of 64 and the rest.
    let too_long = oaep(CKM_SHA512, CKG_MGF1_SHA512, b"");
    let encrypted = encrypt_init(session, &too_long, public_key);
    assert_eq!(encrypted, Err(CKR_KEY_SIZE_RANGE));
    let decrypted = decrypt_init(session, &too_long, private_key);
    assert_eq!(decrypted, Err(CKR_KEY_SIZE_RANGE));
    // To unwrap is not to decrypt, nor the other way round.
    let (public_key, private_key) = pair(&[(CKA_DECRYPT, NO)]);
    let refused = decrypt_init(session, &pkcs1(), private_key);
    assert_eq!(refused, Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
    let secret = aes(session, 16);
    let wrapped = wrap(session, &pkcs1(), public_key, secret).unwrap();
    let template = [(CKA_KEY_TYPE, &AES[..])];
    unwrap(session, &pkcs1(), private_key, &wrapped, &template).unwrap();
    let (_, private_key) = pair(&[(CKA_UNWRAP, NO)]);
    let refused = unwrap(session, &pkcs1(), private_key, &wrapped, &template);
    assert_eq!(refused, Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
    decrypt_init(session, &pkcs1(), private_key).unwrap();
}

#[test]
fn a_key_that_always_authenticates_wants_it_for_each_decryption() {
    let token = token(false, Reuse::Operation);
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open_and_login();
    let ciphertext = sealed(MESSAGE, Padding::PKCS1);
    for _ in 0..2 {
        decrypt_init(session, &pkcs1(), key(session, 1)).unwrap();
        let refused = with_room(C_Decrypt, session, &ciphertext, MODULUS).unwrap_err();
        assert_eq!(refused.0, CKR_USER_NOT_LOGGED_IN);
        assert_eq!(login(session, CKU_CONTEXT_SPECIFIC, Some(PIN)), CKR_OK);
        let plaintext = with_room(C_Decrypt, session, &ciphertext, MODULUS);
        assert_eq!(plaintext.unwrap(), MESSAGE);
    }
    assert_eq!(token.decryptions.load(Ordering::SeqCst), 2);
}

#[test]
fn what_a_token_says_is_told() {
    let token = token(false, Reuse::Session);
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open();
    // Before login nobody sees the key.
    assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    let key = key(session, 1);
    let ciphertext = sealed(MESSAGE, Padding::PKCS1);
    for (error, expected) in [
        (TokenError::Denied, CKR_FUNCTION_REJECTED),
        (TokenError::BadCiphertext, CKR_ENCRYPTED_DATA_INVALID),
        (
            TokenError::Unreachable(Reason::new("no such file")),
            CKR_DEVICE_ERROR,
        ),
    ] {
        decrypt_init(session, &pkcs1(), key).unwrap();
        *token.next_error.lock().unwrap() = Some(error);
        let answer = with_room(C_Decrypt, session, &ciphertext, MODULUS);
        assert_eq!(answer.unwrap_err().0, expected);
        assert_eq!(decrypt_final(session), Err(CKR_OPERATION_NOT_INITIALIZED));
        // Some errors end the login.
        unsafe { C_Logout(session) };
        assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    }
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    let refused = decrypt_init(session, &pkcs1(), key);
    assert_eq!(refused, Err(CKR_USER_NOT_LOGGED_IN));
    // A token that says that it is gone is gone with its sessions.
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    decrypt_init(session, &pkcs1(), key).unwrap();
    *token.next_error.lock().unwrap() = Some(TokenError::TokenRemoved);
    let answer = with_room(C_Decrypt, session, &ciphertext, MODULUS);
    assert_eq!(answer.unwrap_err().0, CKR_DEVICE_REMOVED);
    assert_eq!(decrypt_final(session), Err(CKR_SESSION_HANDLE_INVALID));
    assert!(!token.is_verified());
}
