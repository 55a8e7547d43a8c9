//! Slots, tokens, sessions, searches and attributes, as programs read them.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod support;

use std::sync::{Arc, atomic::Ordering};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::*;
use openssl::nid::Nid;
use support::*;

fn three_identities() -> Vec<Identity> {
    vec![
        Identity::rsa(2048, 1),
        Identity::ec(Nid::SECP384R1, 2),
        Identity::ed25519(3),
    ]
}

fn octet_string(content: &[u8]) -> Vec<u8> {
    [&[4, u8::try_from(content.len()).unwrap()], content].concat()
}

fn token_info(slot: CK_SLOT_ID) -> CK_TOKEN_INFO {
    unsafe {
        let mut info = std::mem::zeroed();
        assert_eq!(C_GetTokenInfo(slot, &raw mut info), CKR_OK);
        info
    }
}

#[test]
fn certificates_and_public_keys_are_seen_before_login_and_private_keys_after() {
    let module = Module::start(&[TestToken::new(&three_identities(), Settings::default())]);
    let session = module.open();
    assert_eq!(of_class(session, CKO_CERTIFICATE).len(), 3);
    assert_eq!(of_class(session, CKO_PUBLIC_KEY).len(), 3);
    assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    let keys = of_class(session, CKO_PRIVATE_KEY);
    assert_eq!(keys.len(), 3);
    assert_eq!(find(session, &[]).len(), 9);
    // A handle survives logout and login, and shows nothing in between.
    assert_eq!(unsafe { C_Logout(session) }, CKR_OK);
    assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
    assert_eq!(
        value(session, keys[0], CKA_LABEL),
        Err(CKR_OBJECT_HANDLE_INVALID)
    );
    assert_eq!(login(session, CKU_USER, Some(PIN)), CKR_OK);
    assert_eq!(of_class(session, CKO_PRIVATE_KEY), keys);
}

#[test]
fn a_token_that_authenticates_on_use_hides_nothing_and_asks_for_no_login() {
    let settings = Settings {
        login: LoginPolicy::OnUse,
        ..Settings::default()
    };
    let module = Module::start(&[TestToken::new(&three_identities(), settings)]);
    let session = module.open();
    let keys = of_class(session, CKO_PRIVATE_KEY);
    assert_eq!(keys.len(), 3);
    assert_eq!(value(session, keys[0], CKA_PRIVATE), Ok(vec![CK_FALSE]));
    assert_eq!(
        value(session, keys[0], CKA_ALWAYS_AUTHENTICATE),
        Ok(vec![CK_FALSE])
    );
    assert_eq!(token_info(0).flags & CKF_LOGIN_REQUIRED, 0);
}

#[test]
fn the_three_objects_of_an_identity_share_id_label_and_public_key() {
    let identities = three_identities();
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open_and_login();
    for identity in &identities {
        let found = find(session, &[(CKA_ID, &[identity.id])]);
        assert_eq!(found.len(), 3);
        let spki = identity.key.public_key_to_der().unwrap();
        let subject = identity.certificate.subject_name().to_der().unwrap();
        for object in found {
            assert_eq!(value(session, object, CKA_ID), Ok(vec![identity.id]));
            let label = format!("Identity {}", identity.id).into_bytes();
            assert_eq!(value(session, object, CKA_LABEL), Ok(label));
            assert_eq!(
                value(session, object, CKA_PUBLIC_KEY_INFO),
                Ok(spki.clone())
            );
            assert_eq!(value(session, object, CKA_SUBJECT), Ok(subject.clone()));
            assert_eq!(value(session, object, CKA_TOKEN), Ok(vec![CK_TRUE]));
            assert_eq!(value(session, object, CKA_MODIFIABLE), Ok(vec![CK_FALSE]));
        }
    }
}

#[test]
fn a_certificate_shows_what_is_in_it() {
    let identity = Identity::ec(Nid::X9_62_PRIME256V1, 1);
    let module = Module::start(&[TestToken::new(
        std::slice::from_ref(&identity),
        Settings::default(),
    )]);
    let session = module.open();
    let certificate = of_class(session, CKO_CERTIFICATE)[0];
    let der = identity.certificate.to_der().unwrap();
    let sha1 = openssl::sha::sha1(&der);
    let get = |kind| value(session, certificate, kind);
    assert_eq!(get(CKA_VALUE), Ok(der));
    assert_eq!(get(CKA_CHECK_VALUE), Ok(sha1[..3].to_vec()));
    assert_eq!(get(CKA_SERIAL_NUMBER), Ok(vec![2, 3, 0, 0x80, 0xAB]));
    assert_eq!(
        get(CKA_ISSUER),
        Ok(identity.certificate.issuer_name().to_der().unwrap())
    );
    assert_eq!(get(CKA_START_DATE), Ok(b"20260102".to_vec()));
    assert_eq!(get(CKA_END_DATE), Ok(b"20510203".to_vec()));
    assert_eq!(get(CKA_TRUSTED), Ok(vec![CK_FALSE]));
    assert_eq!(ulong(&get(CKA_CERTIFICATE_TYPE).unwrap()), CKC_X_509);
    let category = |object| ulong(&value(session, object, CKA_CERTIFICATE_CATEGORY).unwrap());
    assert_eq!(category(certificate), CK_CERTIFICATE_CATEGORY_TOKEN_USER);
}

#[test]
fn a_certificate_without_a_key_is_an_authority_if_it_says_so_and_odd_ones_are_still_shown() {
    let token = TestToken::new(&[Identity::rsa(2048, 1)], Settings::default());
    token.change(|items| {
        items.retain(|item| matches!(item, Item::Certificate(_)));
        items.push(Item::Certificate(Certificate {
            id: ObjectId::new(b"odd"),
            label: "Odd".into(),
            identity: vec![9],
            der: b"not a certificate".to_vec(),
        }));
    });
    let module = Module::start(&[token]);
    let session = module.open();
    assert_eq!(of_class(session, CKO_PUBLIC_KEY), [0; 0]);
    let certificates = of_class(session, CKO_CERTIFICATE);
    let category = |object| value(session, object, CKA_CERTIFICATE_CATEGORY).map(|v| ulong(&v));
    assert_eq!(
        category(certificates[0]),
        Ok(CK_CERTIFICATE_CATEGORY_AUTHORITY)
    );
    assert_eq!(
        category(certificates[1]),
        Ok(CK_CERTIFICATE_CATEGORY_UNSPECIFIED)
    );
    assert_eq!(
        value(session, certificates[1], CKA_SUBJECT),
        Err(CKR_ATTRIBUTE_TYPE_INVALID)
    );
    assert_eq!(
        value(session, certificates[1], CKA_VALUE),
        Ok(b"not a certificate".to_vec())
    );
}

#[test]
fn data_that_are_part_of_the_contents_are_shown() {
    let token = TestToken::new(&[], Settings::default());
    token.change(|items| {
        items.push(Item::Data(DataObject {
            id: ObjectId::new(b"open"),
            label: "open".into(),
            application: "test".into(),
            object_id: vec![6, 1, 42],
            read: Constraint::Free,
            value: Some(b"text".to_vec()),
        }));
    });
    let module = Module::start(&[token]);
    let session = module.open();
    let found = of_class(session, CKO_DATA);
    assert_eq!(found.len(), 1);
    let get = |kind| value(session, found[0], kind);
    assert_eq!(get(CKA_LABEL), Ok(b"open".to_vec()));
    assert_eq!(get(CKA_VALUE), Ok(b"text".to_vec()));
    assert_eq!(get(CKA_APPLICATION), Ok(b"test".to_vec()));
    assert_eq!(get(CKA_OBJECT_ID), Ok(vec![6, 1, 42]));
    assert_eq!(get(CKA_PRIVATE), Ok(vec![CK_FALSE]));
    assert_eq!(get(CKA_ID), Err(CKR_ATTRIBUTE_TYPE_INVALID));
    assert_eq!(find(session, &[(CKA_VALUE, b"text")]), found);
}

#[test]
fn private_keys_show_no_private_value_in_any_way() {
    let identities = three_identities();
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open_and_login();
    let keys = of_class(session, CKO_PRIVATE_KEY);
    let rsa = identities[0].key.rsa().unwrap();
    let secrets = [
        (CKA_PRIVATE_EXPONENT, rsa.d().to_vec()),
        (CKA_PRIME_1, rsa.p().unwrap().to_vec()),
        (CKA_PRIME_2, rsa.q().unwrap().to_vec()),
        (CKA_EXPONENT_1, rsa.dmp1().unwrap().to_vec()),
        (CKA_EXPONENT_2, rsa.dmq1().unwrap().to_vec()),
        (CKA_COEFFICIENT, rsa.iqmp().unwrap().to_vec()),
    ];
    for (kind, secret) in &secrets {
        assert_eq!(value(session, keys[0], *kind), Err(CKR_ATTRIBUTE_SENSITIVE));
        assert_eq!(
            value(session, keys[1], *kind),
            Err(CKR_ATTRIBUTE_TYPE_INVALID)
        );
        // Matching would be an oracle.
        assert_eq!(find(session, &[(*kind, secret)]), [0; 0]);
    }
    for (key, identity) in keys.iter().zip(&identities).skip(1) {
        assert_eq!(
            value(session, *key, CKA_VALUE),
            Err(CKR_ATTRIBUTE_SENSITIVE)
        );
        let secret = identity.key.private_key_to_pkcs8().unwrap();
        assert_eq!(find(session, &[(CKA_VALUE, &secret)]), [0; 0]);
    }
    for key in keys {
        for (kind, expected) in [
            (CKA_PRIVATE, CK_TRUE),
            (CKA_SENSITIVE, CK_TRUE),
            (CKA_EXTRACTABLE, CK_FALSE),
            (CKA_ALWAYS_SENSITIVE, CK_FALSE),
            (CKA_NEVER_EXTRACTABLE, CK_FALSE),
            (CKA_LOCAL, CK_FALSE),
            (CKA_SIGN, CK_TRUE),
            (CKA_DECRYPT, CK_FALSE),
            (CKA_UNWRAP, CK_FALSE),
            (CKA_DERIVE, CK_FALSE),
            (CKA_ALWAYS_AUTHENTICATE, CK_FALSE),
            (CKA_WRAP_WITH_TRUSTED, CK_FALSE),
            (CKA_COPYABLE, CK_FALSE),
            (CKA_DESTROYABLE, CK_FALSE),
        ] {
            assert_eq!(value(session, key, kind), Ok(vec![expected]), "{kind:#x}");
        }
        let made_by = value(session, key, CKA_KEY_GEN_MECHANISM).unwrap();
        assert_eq!(ulong(&made_by), CK_UNAVAILABLE_INFORMATION);
        // Only RSA signs so that the data can be recovered.
        let recovers = value(session, key, CKA_MODULUS).is_ok();
        let expected = Ok(vec![u8::from(recovers)]);
        assert_eq!(value(session, key, CKA_SIGN_RECOVER), expected);
    }
}

#[test]
fn key_numbers_are_those_of_the_key_and_searches_find_them_in_every_customary_form() {
    let identities = three_identities();
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open();
    let keys = of_class(session, CKO_PUBLIC_KEY);
    let rsa = identities[0].key.rsa().unwrap();
    let (modulus, exponent) = (rsa.n().to_vec(), rsa.e().to_vec());
    assert_eq!(value(session, keys[0], CKA_MODULUS), Ok(modulus.clone()));
    assert_eq!(value(session, keys[0], CKA_PUBLIC_EXPONENT), Ok(exponent));
    assert_eq!(
        ulong(&value(session, keys[0], CKA_MODULUS_BITS).unwrap()),
        2048
    );
    assert_eq!(find(session, &[(CKA_MODULUS, &modulus)]), [keys[0]]);
    assert_eq!(
        find(session, &[(CKA_MODULUS, &[&[0], &modulus[..]].concat())]),
        [keys[0]]
    );
    for (key, kind, oid) in [
        (1, CKK_EC, &b"\x06\x05\x2B\x81\x04\x00\x22"[..]),
        (2, CKK_EC_EDWARDS, &b"\x06\x03\x2B\x65\x70"[..]),
    ] {
        let point = match identities[key].public_key().material() {
            PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
            PublicKeyMaterial::Raw { bytes, .. } => bytes.to_vec(),
            PublicKeyMaterial::Rsa { .. } => unreachable!(),
        };
        assert_eq!(
            ulong(&value(session, keys[key], CKA_KEY_TYPE).unwrap()),
            kind
        );
        assert_eq!(value(session, keys[key], CKA_EC_PARAMS), Ok(oid.to_vec()));
        assert_eq!(
            value(session, keys[key], CKA_EC_POINT),
            Ok(octet_string(&point))
        );
        assert_eq!(find(session, &[(CKA_EC_POINT, &point)]), [keys[key]]);
        assert_eq!(
            find(session, &[(CKA_EC_POINT, &octet_string(&point))]),
            [keys[key]]
        );
    }
}

#[test]
fn what_nobody_knows_is_found_nowhere_and_is_no_error() {
    let module = Module::start(&[TestToken::new(&three_identities(), Settings::default())]);
    let session = module.open();
    let nss_root_list: CK_OBJECT_CLASS = 0xCE53_4354;
    for class in [nss_root_list, CKO_VALIDATION, CKO_DATA, CKO_HW_FEATURE] {
        assert_eq!(of_class(session, class), [0; 0]);
    }
    assert_eq!(find(session, &[(0xCE53_4351, b"x")]), [0; 0]);
    assert_eq!(find(session, &[(CKA_CLASS, b"x")]), [0; 0]);
    assert_eq!(find(session, &[(CKA_ID, b"")]), [0; 0]);
    assert_eq!(
        find(
            session,
            &[(CKA_LABEL, b"Identity 1"), (CKA_TOKEN, &[CK_TRUE])]
        )
        .len(),
        2
    );
    assert_eq!(find(session, &[(CKA_TOKEN, &[CK_FALSE])]), [0; 0]);
}

#[test]
fn every_entry_of_a_template_is_answered() {
    let module = Module::start(&[TestToken::new(&three_identities(), Settings::default())]);
    let session = module.open_and_login();
    let key = of_class(session, CKO_PRIVATE_KEY)[0];
    let (mut label, mut short, mut class) = ([b'?'; 32], [b'?'; 3], [b'?'; 8]);
    let mut template = [
        attribute(CKA_PRIVATE_EXPONENT, &[]),
        attribute(CKA_LABEL, &[]),
        attribute(CKA_LABEL, &[]),
        attribute(0x8000_4321, &[]),
        attribute(CKA_CLASS, &[]),
        CK_ATTRIBUTE {
            type_: CKA_ID,
            pValue: std::ptr::null_mut(),
            ulValueLen: 0,
        },
    ];
    for (entry, buffer) in [
        (1, &mut label[..]),
        (2, &mut short[..]),
        (4, &mut class[..]),
    ] {
        template[entry].pValue = buffer.as_mut_ptr().cast();
        template[entry].ulValueLen = buffer.len() as CK_ULONG;
    }
    let rv = unsafe { C_GetAttributeValue(session, key, template.as_mut_ptr(), 6) };
    assert_eq!(rv, CKR_ATTRIBUTE_SENSITIVE);
    let unavailable = CK_UNAVAILABLE_INFORMATION;
    let lens: Vec<_> = template.iter().map(|entry| entry.ulValueLen).collect();
    assert_eq!(lens, [unavailable, 10, unavailable, unavailable, 8, 1]);
    assert_eq!(&label[..11], b"Identity 1?");
    assert_eq!(short, [b'?'; 3]);
    assert_eq!(CK_ULONG::from_ne_bytes(class), CKO_PRIVATE_KEY);
}

#[test]
fn a_search_keeps_what_it_found_and_other_calls_go_on_meanwhile() {
    let token = TestToken::new(&three_identities(), Settings::default());
    let module = Module::start(&[Arc::clone(&token)]);
    let session = module.open();
    let before = of_class(session, CKO_CERTIFICATE);
    unsafe {
        let class = CKO_CERTIFICATE.to_ne_bytes();
        let mut template = attribute(CKA_CLASS, &class);
        assert_eq!(C_FindObjectsInit(session, &raw mut template, 1), CKR_OK);
        assert_eq!(
            C_FindObjectsInit(session, &raw mut template, 1),
            CKR_OPERATION_ACTIVE
        );
        token.change(|items| {
            items.remove(0);
        });
        let (mut handles, mut count) = ([0; 2], 77);
        assert_eq!(
            C_FindObjects(session, handles.as_mut_ptr(), 0, &raw mut count),
            CKR_OK
        );
        assert_eq!(count, 0);
        assert_eq!(
            C_FindObjects(session, handles.as_mut_ptr(), 2, &raw mut count),
            CKR_OK
        );
        assert_eq!(handles, before[..2]);
        assert_eq!(
            value(session, handles[0], CKA_LABEL),
            Err(CKR_OBJECT_HANDLE_INVALID)
        );
        assert!(value(session, handles[1], CKA_LABEL).is_ok());
        assert_eq!(
            C_FindObjects(session, handles.as_mut_ptr(), 2, &raw mut count),
            CKR_OK
        );
        assert_eq!((count, handles[0]), (1, before[2]));
        assert_eq!(C_FindObjectsFinal(session), CKR_OK);
        assert_eq!(C_FindObjectsFinal(session), CKR_OPERATION_NOT_INITIALIZED);
    }
    // What is left has the handles that it had.
    assert_eq!(of_class(session, CKO_CERTIFICATE), before[1..]);
}

#[test]
fn a_slot_without_a_token_says_so_and_its_sessions_are_over() {
    let token = TestToken::new(&three_identities(), Settings::default());
    let other = TestToken::new(&[], Settings::default());
    let module = Module::start(&[Arc::clone(&token), other]);
    let session = module.open_and_login();
    let objects = find(session, &[]);
    let slots = |present| unsafe {
        let mut count = 0;
        assert_eq!(
            C_GetSlotList(present, std::ptr::null_mut(), &raw mut count),
            CKR_OK
        );
        let mut slots = vec![0; count as usize];
        assert_eq!(
            C_GetSlotList(present, slots.as_mut_ptr(), &raw mut count),
            CKR_OK
        );
        slots
    };
    assert_eq!(slots(CK_TRUE), [0, 1]);
    let (mut one, mut room) = (7, 1);
    let rv = unsafe { C_GetSlotList(CK_TRUE, &raw mut one, &raw mut room) };
    assert_eq!((rv, one, room), (CKR_BUFFER_TOO_SMALL, 7, 2));
    token.present.store(false, Ordering::SeqCst);
    assert_eq!((slots(CK_TRUE), slots(CK_FALSE)), (vec![1], vec![0, 1]));
    unsafe {
        let mut slot = std::mem::zeroed::<CK_SLOT_INFO>();
        assert_eq!(C_GetSlotInfo(0, &raw mut slot), CKR_OK);
        assert_eq!(slot.flags, CKF_REMOVABLE_DEVICE);
        let mut info = std::mem::zeroed::<CK_SESSION_INFO>();
        assert_eq!(
            C_GetSessionInfo(session, &raw mut info),
            CKR_SESSION_HANDLE_INVALID
        );
        let mut token = std::mem::zeroed::<CK_TOKEN_INFO>();
        assert_eq!(C_GetTokenInfo(0, &raw mut token), CKR_TOKEN_NOT_PRESENT);
        let mut opened = 0;
        let rv = C_OpenSession(
            0,
            CKF_SERIAL_SESSION,
            std::ptr::null_mut(),
            None,
            &raw mut opened,
        );
        assert_eq!(rv, CKR_TOKEN_NOT_PRESENT);
    }
    // Put in again, it is another insertion: neither session, login nor handles come back.
    token.present.store(true, Ordering::SeqCst);
    assert!(!token.is_verified());
    let session = module.open();
    assert_eq!(of_class(session, CKO_PRIVATE_KEY), [0; 0]);
    assert!(
        find(session, &[])
            .iter()
            .all(|object| !objects.contains(object))
    );
}

#[test]
fn token_information_is_padded_counted_and_flagged() {
    let settings = Settings {
        user_pin: PinState::FinalTry,
        ..Settings::default()
    };
    let without_pin = Settings {
        login: LoginPolicy::AppWithoutPin,
        has_random: true,
        ..Settings::default()
    };
    let _module = Module::start(&[
        TestToken::new(&[], settings),
        TestToken::new(&[], without_pin),
    ]);
    let (_a, b) = (
        open(0, CKF_SERIAL_SESSION),
        open(0, CKF_SERIAL_SESSION | CKF_RW_SESSION),
    );
    let info = token_info(0);
    assert_eq!(&info.label, b"Test_ token                     ");
    assert_eq!(&info.serialNumber, b"0123456789abcdef");
    assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (2, 1));
    assert_eq!((info.ulMinPinLen, info.ulMaxPinLen), (4, 8));
    assert_eq!(info.ulMaxSessionCount, CK_EFFECTIVELY_INFINITE);
    assert_eq!(info.ulFreePrivateMemory, CK_UNAVAILABLE_INFORMATION);
    assert_eq!(info.utcTime, [b' '; 16]);
    let always = CKF_TOKEN_INITIALIZED
        | CKF_USER_PIN_INITIALIZED
        | CKF_WRITE_PROTECTED
        | CKF_RNG
        | CKF_DUAL_CRYPTO_OPERATIONS;
    let pin = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY;
    assert_eq!(info.flags, always | CKF_LOGIN_REQUIRED | pin);
    let path = CKF_LOGIN_REQUIRED | CKF_PROTECTED_AUTHENTICATION_PATH;
    assert_eq!(token_info(1).flags, always | path);
    unsafe {
        assert_eq!(C_CloseSession(b), CKR_OK);
        assert_eq!(token_info(0).ulRwSessionCount, 0);
        assert_eq!(C_CloseAllSessions(0), CKR_OK);
    }
    assert_eq!(token_info(0).ulSessionCount, 0);
}
