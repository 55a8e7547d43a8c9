//! Attributes of keys of every kind: what kind a key is, and what it is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's own functions

mod support;

use cryptoki_sys::*;
use ctk_token::*;
use support::*;

/// A token's key with this public half and no private one behind it, good for everything.
fn key_of(number: u8, public_key: PublicKey) -> Item {
    let login = Constraint::Auth(AuthId(0), Reuse::Session);
    let id = ObjectId::new(&[b'k', number]);
    Item::Key(Box::new(Key {
        sign: login,
        decrypt: login,
        key_exchange: login,
        ..Key::new(id, "Key", &[number], public_key)
    }))
}

#[test]
fn post_quantum_keys_show_their_parameter_set_and_encoding() {
    let token = TestToken::new(&[], Settings::default());
    let kinds = [
        (KeyType::MlDsa65, CKK_ML_DSA, CKP_ML_DSA_65, 1952),
        (KeyType::MlKem768, CKK_ML_KEM, CKP_ML_KEM_768, 1184),
    ];
    token.change(|items| {
        for (number, (kind, _, _, len)) in (0..).zip(kinds) {
            let public_key = PublicKey::raw(kind, &vec![7; len]).unwrap();
            items.push(key_of(number, public_key));
        }
    });
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    for (number, (_, key_type, set, len)) in (0..).zip(kinds) {
        let class = |class: CK_OBJECT_CLASS| {
            let template = [(CKA_CLASS, &class.to_ne_bytes()[..]), (CKA_ID, &[number])];
            find(session, &template)[0]
        };
        let (public, private) = (class(CKO_PUBLIC_KEY), class(CKO_PRIVATE_KEY));
        for key in [public, private] {
            let number = |kind| ulong(&value(session, key, kind).unwrap());
            assert_eq!(number(CKA_KEY_TYPE), key_type);
            assert_eq!(number(CKA_PARAMETER_SET), set);
            assert_eq!(
                value(session, key, CKA_DERIVE),
                Ok(vec![CK_FALSE]),
                "they agree on nothing but by encapsulation"
            );
            for kind in [CKA_EC_POINT, CKA_EC_PARAMS, CKA_MODULUS] {
                assert_eq!(value(session, key, kind), Err(CKR_ATTRIBUTE_TYPE_INVALID));
            }
        }
        assert_eq!(value(session, public, CKA_VALUE), Ok(vec![7; len]));
        assert_eq!(find(session, &[(CKA_VALUE, &vec![7; len])]), [public]);
        for kind in [CKA_VALUE, CKA_SEED] {
            assert_eq!(value(session, private, kind), Err(CKR_ATTRIBUTE_SENSITIVE));
        }
        let encapsulates = vec![u8::from(key_type == CKK_ML_KEM)];
        let signs = vec![u8::from(key_type == CKK_ML_DSA)];
        assert_eq!(value(session, private, CKA_SIGN), Ok(signs));
        assert_eq!(value(session, private, CKA_DECRYPT), Ok(vec![CK_FALSE]));
        assert_eq!(
            value(session, public, CKA_ENCAPSULATE),
            Ok(encapsulates.clone())
        );
        assert_eq!(value(session, private, CKA_DECAPSULATE), Ok(encapsulates));
    }
}

#[test]
fn a_key_for_pss_only_recovers_and_decrypts_no_data() {
    let spki = openssl::rsa::Rsa::generate(2048)
        .unwrap()
        .public_key_to_der()
        .unwrap();
    // rsaEncryption and NULL become id-RSASSA-PSS without parameters, two bytes shorter.
    let at = spki.windows(2).position(|pair| pair == [5, 0]).unwrap();
    let mut pss = [&spki[..at], &spki[at + 2..]].concat();
    pss[at - 1] = 10;
    pss[3] -= 2;
    pss[5] -= 2;
    let token = TestToken::new(&[], Settings::default());
    token.change(|items| {
        items.push(key_of(1, PublicKey::from_spki(&spki).unwrap()));
        items.push(key_of(2, PublicKey::from_spki(&pss).unwrap()));
    });
    let module = Module::start(&[token]);
    let session = module.open_and_login();
    let shown = |kind, class| {
        let objects = of_class(session, class);
        let value = |object| value(session, object, kind).unwrap();
        objects.into_iter().map(value).collect::<Vec<_>>()
    };
    let expected = [[CK_TRUE], [CK_FALSE]];
    assert_eq!(shown(CKA_SIGN_RECOVER, CKO_PRIVATE_KEY), expected);
    assert_eq!(shown(CKA_DECRYPT, CKO_PRIVATE_KEY), expected);
    assert_eq!(shown(CKA_WRAP, CKO_PUBLIC_KEY), expected);
    assert_eq!(shown(CKA_VERIFY_RECOVER, CKO_PUBLIC_KEY), expected);
}
