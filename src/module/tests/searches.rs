//! Searches among the objects of a token and of its sessions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod made;
mod support;

use cryptoki_sys::*;
use ctk_token::*;
use made::*;
use support::*;

#[test]
fn profiles_are_for_those_who_ask_for_them() {
    let module = Module::start(&[token()]);
    let session = module.open();
    let profiles = of_class(session, CKO_PROFILE);
    let id = |object: &_| ulong(&value(session, *object, CKA_PROFILE_ID).unwrap());
    assert_eq!(
        profiles.iter().map(id).collect::<Vec<_>>(),
        [
            CKP_BASELINE_PROVIDER,
            CKP_EXTENDED_PROVIDER,
            CKP_AUTHENTICATION_TOKEN,
            CKP_PUBLIC_CERTIFICATES_TOKEN
        ]
    );
    let wanted = number(CKP_PUBLIC_CERTIFICATES_TOKEN);
    assert_eq!(find(session, &[(CKA_PROFILE_ID, &wanted)]), [profiles[3]]);
    assert_eq!(value(session, profiles[0], CKA_TOKEN), Ok(YES.to_vec()));
    let name = value(session, profiles[0], CKA_UNIQUE_ID).unwrap();
    assert_eq!(find(session, &[(CKA_UNIQUE_ID, &name)]), [profiles[0]]);
    for template in [&[][..], &[(CKA_TOKEN, YES)], &[(CKA_LABEL, b"")]] {
        let found = find(session, template);
        assert!(profiles.iter().all(|profile| !found.contains(profile)));
    }
    for class in [
        CKO_MECHANISM,
        CKO_HW_FEATURE,
        CKO_VALIDATION,
        CKO_TRUST,
        CKO_OTP_KEY,
    ] {
        assert_eq!(of_class(session, class), [0; 0]);
    }
}

/// What a search should find: all objects that show these values.
fn by_hand(
    session: CK_SESSION_HANDLE,
    all: &[CK_OBJECT_HANDLE],
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Vec<CK_OBJECT_HANDLE> {
    let shows = |object: CK_OBJECT_HANDLE, (kind, wanted): &(_, &[u8])| {
        value(session, object, *kind).is_ok_and(|value| value == *wanted)
    };
    let matching = all
        .iter()
        .filter(|object| pairs.iter().all(|pair| shows(**object, pair)));
    matching.copied().collect()
}

#[test]
fn searches_by_indexes_find_what_looking_at_every_object_finds() {
    let token = token();
    token.change(|items| {
        let [Item::Certificate(first), ..] = &items[..] else {
            panic!()
        };
        let first = first.clone();
        for number in 0..60_u8 {
            items.push(Item::Certificate(Certificate {
                id: ObjectId::new(&[b'c', number]),
                label: format!("Label {}", number % 7),
                identity: vec![100 + number],
                der: first.der.clone(),
            }));
        }
    });
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    for number in 0..40_u8 {
        let template = secret_key(CKK_GENERIC_SECRET, &[number])
            .with(CKA_ID, &[90 + number])
            .with(CKA_LABEL, format!("Label {}", number % 5).as_bytes());
        create(session, &template.pairs()).unwrap();
    }
    let all = find(session, &[]);
    assert_eq!(all.len(), 9 + 60 + 40);
    for object in &all {
        for kind in [
            CKA_CLASS,
            CKA_LABEL,
            CKA_ID,
            CKA_SUBJECT,
            CKA_ISSUER,
            CKA_SERIAL_NUMBER,
            CKA_VALUE,
            CKA_MODULUS,
            CKA_EC_POINT,
            CKA_PUBLIC_KEY_INFO,
            CKA_UNIQUE_ID,
        ] {
            let Ok(wanted) = value(session, *object, kind) else {
                continue;
            };
            let found = find(session, &[(kind, &wanted)]);
            assert!(found.contains(object));
            assert_eq!(
                found,
                by_hand(session, &all, &[(kind, &wanted)]),
                "{kind:#x}"
            );
        }
        let class = value(session, *object, CKA_CLASS).unwrap();
        let label = value(session, *object, CKA_LABEL).unwrap();
        let both = [
            (CKA_CLASS, &class[..]),
            (CKA_LABEL, &label),
            (CKA_TOKEN, YES),
        ];
        assert_eq!(find(session, &both), by_hand(session, &all, &both));
    }
    let issuer = value(session, of_class(session, CKO_CERTIFICATE)[0], CKA_ISSUER).unwrap();
    let serial = [2, 3, 0, 0x80, 0xAB];
    let by_name = find(
        session,
        &[(CKA_ISSUER, &issuer), (CKA_SERIAL_NUMBER, &serial)],
    );
    assert_eq!(by_name.len(), 61);
    assert_eq!(find(session, &[(CKA_ID, b"nobody's")]), [0; 0]);
    assert_eq!(find(session, &[(CKA_ID, b"")]), [0; 0]);
}
