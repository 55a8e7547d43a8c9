//! A key is used and never shown: attributes, searches, and what a signature's buffer rules give away.

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{Bed, Kind, PIN, WRONG_PIN},
    isolated::isolated,
    module::Module,
};

/// A session, logged in if `pin` is given.
fn session(module: &Module, pin: Option<&str>) -> usize {
    let mut slots = [0usize; 4];
    let mut count = slots.len();
    let rv = module.call(
        "C_GetSlotList",
        &[1, slots.as_mut_ptr() as usize, &raw mut count as usize],
    );
    assert_eq!((rv, count), (CKR_OK, 1));
    let mut session = 0usize;
    let flags = (CKF_SERIAL_SESSION | CKF_RW_SESSION) as usize;
    let rv = module.call(
        "C_OpenSession",
        &[slots[0], flags, 0, 0, &raw mut session as usize],
    );
    assert_eq!(rv, CKR_OK);
    if let Some(pin) = pin {
        assert_eq!(log_in(module, session, pin.as_bytes()), CKR_OK);
    }
    session
}

fn log_in(module: &Module, session: usize, pin: &[u8]) -> CK_RV {
    module.call(
        "C_Login",
        &[session, CKU_USER as usize, pin.as_ptr() as usize, pin.len()],
    )
}

fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: value.as_mut_ptr().cast(),
        ulValueLen: value.len() as CK_ULONG,
    }
}

/// What a search for these attributes finds.
fn find(module: &Module, session: usize, template: &mut [CK_ATTRIBUTE]) -> Vec<usize> {
    let arguments = [session, template.as_mut_ptr() as usize, template.len()];
    assert_eq!(module.call("C_FindObjectsInit", &arguments), CKR_OK);
    let mut objects = [0usize; 32];
    let mut count = 0usize;
    let place = objects.as_mut_ptr() as usize;
    let rv = module.call(
        "C_FindObjects",
        &[session, place, objects.len(), &raw mut count as usize],
    );
    assert_eq!(rv, CKR_OK);
    assert_eq!(module.call("C_FindObjectsFinal", &[session]), CKR_OK);
    objects[..count].to_vec()
}

fn private_keys(module: &Module, session: usize) -> Vec<usize> {
    let mut class = CKO_PRIVATE_KEY.to_ne_bytes();
    find(module, session, &mut [attribute(CKA_CLASS, &mut class)])
}

/// The value of one attribute, or why there is none.
fn value(
    module: &Module,
    session: usize,
    object: usize,
    kind: CK_ATTRIBUTE_TYPE,
) -> Result<Vec<u8>, CK_RV> {
    let mut room = [0xAA; 4096];
    let mut wanted = attribute(kind, &mut room);
    let rv = module.call(
        "C_GetAttributeValue",
        &[session, object, &raw mut wanted as usize, 1],
    );
    if rv != CKR_OK {
        if rv == CKR_ATTRIBUTE_SENSITIVE {
            assert_eq!(wanted.ulValueLen, CK_UNAVAILABLE_INFORMATION);
        }
        assert!(
            room.iter().all(|&byte| byte == 0xAA),
            "written in spite of the refusal"
        );
        return Err(rv);
    }
    let length = usize::try_from(wanted.ulValueLen).expect("a length");
    Ok(room[..length].to_vec())
}

const RSA_SECRETS: [CK_ATTRIBUTE_TYPE; 6] = [
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
];

#[test]
fn no_secret_attribute_is_readable() {
    isolated(
        "no_secret_attribute_is_readable",
        || Bed::with(&[Kind::Rsa2048, Kind::P256]).0,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            let session = session(&module, Some(PIN));
            let keys = private_keys(&module, session);
            assert_eq!(keys.len(), 2);
            for &key in &keys {
                let is = |kind| value(&module, session, key, kind).expect("a flag") == [1];
                assert!(is(CKA_SENSITIVE) && is(CKA_PRIVATE) && is(CKA_SIGN));
                assert!(!is(CKA_EXTRACTABLE) && !is(CKA_MODIFIABLE) && !is(CKA_COPYABLE));
                let kind = value(&module, session, key, CKA_KEY_TYPE).expect("its type");
                let secrets = if kind == CKK_RSA.to_ne_bytes() {
                    &RSA_SECRETS[..]
                } else {
                    &[CKA_VALUE]
                };
                for &secret in secrets {
                    let read = value(&module, session, key, secret);
                    assert_eq!(read, Err(CKR_ATTRIBUTE_SENSITIVE), "{secret:#x}");
                }
                // One refused attribute does not hide the others of the same call.
                let (mut secret, mut id) = ([0; 512], [0; 64]);
                let mut wanted = [
                    attribute(secrets[0], &mut secret),
                    attribute(CKA_ID, &mut id),
                ];
                let place = wanted.as_mut_ptr() as usize;
                let rv = module.call("C_GetAttributeValue", &[session, key, place, wanted.len()]);
                assert_eq!(rv, CKR_ATTRIBUTE_SENSITIVE);
                assert_eq!(wanted[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
                assert_eq!(wanted[1].ulValueLen, 20);
            }
        },
    );
}

#[test]
fn a_search_does_not_tell_whether_a_guess_is_right() {
    isolated(
        "a_search_does_not_tell_whether_a_guess_is_right",
        known_key,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            let session = session(&module, Some(PIN));
            let mut class = CKO_PRIVATE_KEY.to_ne_bytes();
            let mut right = hexadecimal(&std::env::var("TEST_SECRET").expect("the secret"));
            assert_eq!(right.len(), 32);
            let mut template = [
                attribute(CKA_CLASS, &mut class),
                attribute(CKA_VALUE, &mut right),
            ];
            assert_eq!(find(&module, session, &mut template), Vec::<usize>::new());
            assert_eq!(private_keys(&module, session).len(), 1, "the key is there");
        },
    );
}

/// A token whose private value the test knows, so that it can guess right.
fn known_key() -> Known {
    let (bed, identities) = Bed::with(&[Kind::P256]);
    let mut command = bed.command("openssl");
    command
        .args(["pkey", "-text", "-noout", "-in"])
        .arg(&identities[0].key);
    let text = softhsm_tests::process::run(&mut command).succeeded().text();
    let secret = text
        .split("priv:")
        .nth(1)
        .and_then(|rest| rest.split("pub:").next())
        .expect("priv:");
    let digits: String = secret.chars().filter(char::is_ascii_hexdigit).collect();
    // openssl may write one more or fewer bytes than the curve has.
    Known {
        bed,
        secret: format!("{digits:0>64}")[digits.len().max(64) - 64..].to_owned(),
    }
}

struct Known {
    bed: Bed,
    secret: String,
}

impl softhsm_tests::isolated::Environment for Known {
    fn variables(&self) -> Vec<(String, String)> {
        let mut variables = self.bed.variables();
        variables.push(("TEST_SECRET".to_owned(), self.secret.clone()));
        variables
    }
}

fn hexadecimal(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

#[test]
fn a_wrong_pin_changes_nothing() {
    isolated(
        "a_wrong_pin_changes_nothing",
        || Bed::with(&[Kind::P256]).0,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            let session = session(&module, None);
            for pin in [
                WRONG_PIN.as_bytes(),
                b"",
                b"\0",
                &[0xFF; 255],
                &PIN.as_bytes()[1..],
            ] {
                assert_eq!(log_in(&module, session, pin), CKR_PIN_INCORRECT, "{pin:?}");
                assert_eq!(module.call("C_Logout", &[session]), CKR_USER_NOT_LOGGED_IN);
                assert!(private_keys(&module, session).is_empty());
            }
            assert_eq!(log_in(&module, session, PIN.as_bytes()), CKR_OK);
            assert_eq!(
                log_in(&module, session, WRONG_PIN.as_bytes()),
                CKR_USER_ALREADY_LOGGED_IN
            );
            let key = private_keys(&module, session)[0];
            assert_eq!(module.call("C_Logout", &[session]), CKR_OK);
            // The handle is no way around the login.
            let kind = value(&module, session, key, CKA_KEY_TYPE);
            assert_eq!(kind, Err(CKR_OBJECT_HANDLE_INVALID));
            let mut mechanism = ecdsa();
            let rv = module.call("C_SignInit", &[session, &raw mut mechanism as usize, key]);
            // Programs that remember the handle know from it that they have to log in.
            assert_eq!(rv, CKR_USER_NOT_LOGGED_IN);
        },
    );
}

fn ecdsa() -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_ECDSA,
        pParameter: std::ptr::null_mut(),
        ulParameterLen: 0,
    }
}

#[test]
fn a_signature_needs_its_room_and_ends_its_operation() {
    isolated(
        "a_signature_needs_its_room_and_ends_its_operation",
        || Bed::with(&[Kind::P256]).0,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            let session = session(&module, Some(PIN));
            let key = private_keys(&module, session)[0];
            let mut mechanism = ecdsa();
            let init = [session, &raw mut mechanism as usize, key];
            let digest = [7u8; 32];
            let mut signature = [0u8; 100];
            let mut length = 0usize;
            let mut sign = |room: Option<usize>| {
                let place = room.map_or(0, |_| signature.as_mut_ptr() as usize);
                length = room.unwrap_or(0);
                let data = digest.as_ptr() as usize;
                let rv = module.call(
                    "C_Sign",
                    &[session, data, digest.len(), place, &raw mut length as usize],
                );
                (rv, length)
            };
            assert_eq!(module.call("C_SignInit", &init), CKR_OK);
            assert_eq!(module.call("C_SignInit", &init), CKR_OPERATION_ACTIVE);
            assert_eq!(sign(None), (CKR_OK, 64));
            assert_eq!(sign(Some(1)), (CKR_BUFFER_TOO_SMALL, 64));
            assert_eq!(sign(Some(63)), (CKR_BUFFER_TOO_SMALL, 64));
            assert_eq!(sign(Some(100)), (CKR_OK, 64));
            assert_eq!(sign(Some(100)).0, CKR_OPERATION_NOT_INITIALIZED);
            assert_eq!(signature[64..], [0; 36], "written past the signature");
            // NULL as mechanism ends what runs.
            assert_eq!(module.call("C_SignInit", &init), CKR_OK);
            assert_eq!(module.call("C_SignInit", &[session, 0, 0]), CKR_OK);
            assert_eq!(
                module.call("C_SignUpdate", &[session, digest.as_ptr() as usize, 1]),
                CKR_OPERATION_NOT_INITIALIZED
            );
            assert_eq!(
                module.call("C_SignInit", &init),
                CKR_OK,
                "and it can start again"
            );
        },
    );
}

#[test]
fn a_wrong_pin_leaves_a_search_as_it_is() {
    isolated(
        "a_wrong_pin_leaves_a_search_as_it_is",
        || Bed::with(&[Kind::P256]).0,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            let session = session(&module, None);
            let next = || {
                let (mut object, mut count) = (0usize, 0usize);
                let places = [&raw mut object as usize, 1, &raw mut count as usize];
                let rv = module.call("C_FindObjects", &[&[session][..], &places].concat());
                assert_eq!(rv, CKR_OK);
                (count == 1).then_some(object)
            };
            let all = find(&module, session, &mut []);
            assert_eq!(all.len(), 2, "the certificate and its public key");
            assert_eq!(module.call("C_FindObjectsInit", &[session, 0, 0]), CKR_OK);
            assert_eq!(next(), Some(all[0]));
            let wrong = log_in(&module, session, WRONG_PIN.as_bytes());
            assert_eq!(wrong, CKR_PIN_INCORRECT);
            assert_eq!(next(), Some(all[1]));
            assert_eq!(next(), None);
            assert_eq!(module.call("C_FindObjectsFinal", &[session]), CKR_OK);
        },
    );
}

#[test]
fn an_object_that_is_not_there_is_refused() {
    isolated(
        "an_object_that_is_not_there_is_refused",
        || Bed::with(&[Kind::P256]).0,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            let session = session(&module, Some(PIN));
            let key = private_keys(&module, session)[0];
            let certificate = find(&module, session, &mut [])
                .into_iter()
                .find(|&object| {
                    value(&module, session, object, CKA_CLASS)
                        == Ok(CKO_CERTIFICATE.to_ne_bytes().to_vec())
                })
                .expect("a certificate");
            let mut mechanism = ecdsa();
            let mut start = |object: usize| {
                module.call(
                    "C_SignInit",
                    &[session, &raw mut mechanism as usize, object],
                )
            };
            for wrong in [0, key + 1000, key | 1 << 40, usize::MAX] {
                let read = value(&module, session, wrong, CKA_CLASS);
                assert_eq!(read, Err(CKR_OBJECT_HANDLE_INVALID), "{wrong:#x}");
                assert_eq!(start(wrong), CKR_KEY_HANDLE_INVALID, "{wrong:#x}");
            }
            assert_eq!(start(certificate), CKR_KEY_HANDLE_INVALID);
            assert_eq!(start(key), CKR_OK, "none of that has started anything");
        },
    );
}
