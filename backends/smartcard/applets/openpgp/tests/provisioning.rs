//! New keys and certificates.

use ctk_token::{Curve, Item, NewKey, ObjectId, Origin, TokenError};

use super::{super::OpenPgp, *};
use crate::{
    applet::{Applet, Failure, Result},
    status::Status,
};

/// Nothing on the card yet but RSA in the attributes.
fn blank() -> Said {
    Said {
        information: Some([1, 0, 2, 0, 3, 0]),
        fingerprints: [0; 60],
        ..Said::default()
    }
}

fn generated(
    said: &Said,
    commands: &[(&str, &str)],
    key_type: KeyType,
    identity: Option<&[u8]>,
) -> Result<Key> {
    let wire = Wire::new();
    let card = asked(&wire, said);
    for (command, answer) in commands {
        wire.expect(command, answer);
    }
    let wanted = NewKey {
        key_type,
        identity,
        label: None,
    };
    let answer = OpenPgp::default().generate_key(&mut card.transaction().unwrap(), &[], &wanted);
    wire.finish();
    answer
}

#[test]
fn a_key_is_made_and_gets_its_fingerprint() {
    let template = rsa_template(2048);
    let commands = [
        ("00478000 02 B600 00", &*template),
        ("00DA00C7 14*", "9000"),
        ("00DA00CE 04*", "9000"),
    ];
    let rsa = KeyType::Rsa { bits: 2048 };
    let key = generated(&blank(), &commands, rsa, None).unwrap();
    assert_eq!((key.identity, key.origin), (vec![1], Origin::Generated));
    assert_eq!(key.label, "Signature key");
    let third = [
        ("00478000 02 A400 00", &*template),
        ("00DA00C9 14*", "9000"),
        ("00DA00D0 04*", "9000"),
    ];
    let key = generated(&Said::default(), &third, rsa, Some(&[3])).unwrap();
    assert_eq!(key.identity, [3]);
}

#[test]
fn a_new_key_is_there_whatever_becomes_of_its_fingerprint() {
    let template = rsa_template(2048);
    let rsa = KeyType::Rsa { bits: 2048 };
    let made = ("00478000 02 B600 00", &*template);
    for commands in [
        vec![made, ("00DA00C7 14*", "6581")],
        vec![made, ("00DA00C7 14*", "9000"), ("00DA00CE 04*", "6982")],
    ] {
        let key = generated(&blank(), &commands, rsa, Some(&[1])).unwrap();
        let public_key = PublicKey::rsa(&modulus(2048), &[1, 0, 1]).unwrap();
        assert_eq!(key.public_key, public_key);
    }
}

#[test]
fn a_place_is_free_if_the_card_says_so() {
    let old = Said {
        version: [2, 1],
        information: None,
        ..blank()
    };
    let template = rsa_template(2048);
    let rsa = KeyType::Rsa { bits: 2048 };
    // Keys without fingerprints, one way or the other: the first that is certainly none.
    for is_there in [&*template, "6F00", "6982"] {
        let commands = [
            ("00478100 02 B600 00", is_there),
            ("00478100 02 B800 00", "6A88"),
            ("00478000 02 B800 00", &*template),
            ("00DA00C8 14*", "9000"),
            ("00DA00CF 04*", "9000"),
        ];
        let key = generated(&old, &commands, rsa, None).unwrap();
        assert_eq!(key.identity, [2]);
    }
    let full = [
        ("00478100 02 B600 00", &*template),
        ("00478100 02 B800 00", &*template),
        ("00478100 02 A400 00", "6F00"),
    ];
    let answer = generated(&old, &full, rsa, None);
    assert_eq!(answer, Err(TokenError::NoSpace.into()));
}

#[test]
fn a_key_of_an_unknown_kind_is_one() {
    let said = Said {
        // Brainpool, or whatever it is.
        attributes: [&[19, 1, 2, 3], RSA_2048, RSA_2048],
        information: Some([1, 2, 2, 0, 3, 0]),
        ..Said::default()
    };
    let is_free = |known: &[Item], identity: &[u8]| {
        let wire = Wire::new();
        let card = asked(&wire, &said);
        let mut card = card.transaction().unwrap();
        OpenPgp::default().is_free(&mut card, known, identity)
    };
    assert_eq!(is_free(&[], &[1]), Ok(false));
    assert_eq!(is_free(&[], &[2]), Ok(true));
    let known = Item::Key(Box::new(key(
        Place::Encryption,
        KeyType::Rsa { bits: 2048 },
        &said,
    )));
    assert_eq!(is_free(&[known], &[2]), Ok(false));
}

#[test]
fn another_type_changes_the_attributes() {
    let point = [&[4][..], &[7; 64]].concat();
    let template = point_template(&point);
    let p256 = KeyType::Ec(Curve::P256);
    let without_list = [
        ("00CA00FA00", "6A88"),
        ("00DA00C1 09 132A8648CE3D030107", "9000"),
        ("00478000 02 B600 00", &*template),
        ("00DA00C7 14*", "9000"),
        ("00DA00CE 04*", "9000"),
    ];
    let key = generated(&blank(), &without_list, p256, None).unwrap();
    assert_eq!(key.public_key.key_type(), p256);
    // A card that lists what it has is taken at its word, for each place.
    let list = tlv::Writer::new()
        .put(0xC1, RSA_2048)
        .put(0xC2, X25519)
        .put(0xC1, &[P256, &[0xFF]].concat())
        .put(0xC3, ED25519);
    let list = ok(&tlv::encode(0xFA, list.as_bytes()));
    let with_list = [
        ("00CA00FA00", &*list),
        ("00DA00C1 0A 132A8648CE3D030107FF", "9000"),
        ("00478000 02 B600 00", &*template),
        ("00DA00C7 14*", "9000"),
        ("00DA00CE 04*", "9000"),
    ];
    assert!(generated(&blank(), &with_list, p256, None).is_ok());
    let listed = [("00CA00FA00", &*list)];
    let answer = generated(&blank(), &listed, KeyType::Ec(Curve::P384), None);
    assert_eq!(answer, Err(TokenError::BadParameter.into()));
    // X25519 has one place.
    let x25519 = [
        ("00CA00FA00", &*list),
        ("00DA00C2 0B 122B060104019755010501", "9000"),
        ("00478000 02 B800 00", &*point_template(&[9; 32])),
        ("00DA00C8 14*", "9000"),
        ("00DA00CF 04*", "9000"),
    ];
    let key = generated(&blank(), &x25519, KeyType::X25519, None).unwrap();
    assert_eq!(key.identity, [2]);
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is_lost() {
    let rsa = KeyType::Rsa { bits: 2048 };
    let refused = |said: &Said, key_type, identity| generated(said, &[], key_type, identity);
    let full = refused(&Said::default(), rsa, None);
    assert_eq!(full, Err(TokenError::NoSpace.into()));
    for (key_type, identity, error) in [
        (rsa, Some(&[4][..]), TokenError::ObjectNotFound),
        (KeyType::X25519, Some(&[1]), TokenError::BadParameter),
        (KeyType::Ed25519, Some(&[2]), TokenError::BadParameter),
        (KeyType::MlDsa44, None, TokenError::BadParameter),
        (KeyType::Ec(Curve::P224), None, TokenError::BadParameter),
    ] {
        assert_eq!(refused(&blank(), key_type, identity), Err(error.into()));
    }
    let fixed = Said {
        capabilities: [0x78, 0, 0, 0xFF, 8, 0, 8, 0, 0, 1],
        ..blank()
    };
    let answer = refused(&fixed, KeyType::Rsa { bits: 4096 }, None);
    assert_eq!(answer, Err(TokenError::BadParameter.into()));
}

fn certificate_for(key: &Key) -> Vec<u8> {
    contents::certificate(key.public_key.spki())
}

fn imported(
    said: &Said,
    commands: &[(&str, &str)],
    known: &[Item],
    identity: Option<&[u8]>,
    der: &[u8],
) -> Result<ObjectId> {
    let wire = Wire::new();
    let card = asked(&wire, said);
    for (command, answer) in commands {
        wire.expect(command, answer);
    }
    let applet = OpenPgp::default();
    let answer = applet.import_certificate(&mut card.transaction().unwrap(), known, identity, der);
    wire.finish();
    answer
}

#[test]
fn a_certificate_goes_to_its_key() {
    let said = Said::default();
    let key = key(Place::Encryption, KeyType::Ec(Curve::P256), &said);
    let der = certificate_for(&key);
    let known = [Item::Key(Box::new(key))];
    let put = format!("00DA7F21{:02X}{}", der.len(), hex(&der));
    let commands = [("00A50104 06 60045C027F21", "9000"), (&*put, "9000")];
    for identity in [None, Some(&[2][..])] {
        let id = imported(&said, &commands, &known, identity, &der);
        assert_eq!(id, Ok(Place::Encryption.certificate_id()));
    }
    // To a place without a key that is known, because the key may be made elsewhere.
    let commands = [("00A50204 06 60045C027F21", "9000"), (&*put, "9000")];
    assert!(imported(&said, &commands, &known, Some(&[1]), &der).is_ok());

    let other = super::key(Place::Signature, KeyType::Ec(Curve::P256), &said);
    let mut other = other;
    other.public_key = PublicKey::ec(Curve::P256, &[&[4][..], &[8; 64]].concat()).unwrap();
    let both = [known[0].clone(), Item::Key(Box::new(other))];
    for (known, identity, der, error) in [
        (&both[..], Some(&[1][..]), &der[..], TokenError::DataInvalid),
        (&both, Some(&[9]), &der, TokenError::ObjectNotFound),
        (&[], None, &der, TokenError::ObjectNotFound),
        (&both, None, b"no certificate", TokenError::DataInvalid),
        (&both, None, &[], TokenError::DataInvalid),
    ] {
        assert_eq!(
            imported(&said, &[], known, identity, der),
            Err(error.into())
        );
    }
    let small = Said {
        capabilities: [0x7C, 0, 0, 0xFF, 0, 16, 8, 0, 0, 1],
        ..Said::default()
    };
    let answer = imported(&small, &[], &known, None, &der);
    assert_eq!(answer, Err(TokenError::NoSpace.into()));
}

#[test]
fn the_only_certificate_is_not_taken_from_another_key() {
    let old = Said {
        version: [2, 1],
        ..Said::default()
    };
    let key = key(Place::Signature, KeyType::Ec(Curve::P256), &old);
    let der = certificate_for(&key);
    let known = [Item::Key(Box::new(key))];
    let put = format!("00DA7F21{:02X}{}", der.len(), hex(&der));
    let free = [("00CA7F2100", "9000"), (&*put, "9000")];
    let id = imported(&old, &free, &known, None, &der);
    assert_eq!(id, Ok(Place::Authentication.certificate_id()));
    let same = [("00CA7F2100", &*ok(&der)), (&*put, "9000")];
    assert!(imported(&old, &same, &known, None, &der).is_ok());
    let other = PublicKey::ec(Curve::P256, &[&[4][..], &[8; 64]].concat()).unwrap();
    let other = contents::certificate(other.spki());
    for there in [&*other, b"who knows what"] {
        let taken = [("00CA7F2100", &*ok(there))];
        let answer = imported(&old, &taken, &known, None, &der);
        assert_eq!(answer, Err(TokenError::NoSpace.into()));
    }
    // What cannot be read may be one as well.
    for status in [0x6F00, 0x6581, 0x6982] {
        let unread = [("00CA7F2100", &*format!("{status:04X}"))];
        let answer = imported(&old, &unread, &known, None, &der);
        assert_eq!(answer, Err(Failure::Status(Status(status))));
    }
    for none in ["6A82", "6A88"] {
        let free = [("00CA7F2100", none), (&*put, "9000")];
        assert!(imported(&old, &free, &known, None, &der).is_ok());
    }
}

#[test]
fn what_can_be_deleted() {
    let wire = Wire::new();
    let card = asked(&wire, &Said::default());
    let applet = OpenPgp::default();
    let mut card = opened(&card, &applet);
    wire.expect("00A50204 06 60045C027F21", "9000")
        .expect("00DA7F21", "9000");
    let certificate = Place::Signature.certificate_id();
    assert_eq!(applet.delete(&mut card, &certificate), Ok(()));
    wire.expect("00DA5F50", "9000");
    let url = ObjectId::new(b"data 5F50");
    assert_eq!(applet.delete(&mut card, &url), Ok(()));
    for kept in [Place::Signature.key_id(), ObjectId::new(b"data 0101")] {
        let answer = applet.delete(&mut card, &kept);
        assert!(
            matches!(answer, Err(Failure::Token(TokenError::ReadOnly(_)))),
            "{kept:?}: {answer:?}"
        );
    }
    let nothing = applet.delete(&mut card, &ObjectId::new(b"data 0104"));
    assert_eq!(nothing, Err(TokenError::ObjectNotFound.into()));
    drop(card);
    wire.finish();
}
