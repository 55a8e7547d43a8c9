//! Using keys: one command each, checked before and after.

use super::*;

#[test]
fn a_key_signs_with_one_command() {
    let bench = Bench::new();
    let signing = key(Slot::Signature, certificates::key(1));
    let der = "3006020101020102";
    bench.wire.expect(
        &format!("0087119C26 7C24 8200 8120 {} 00", "AB".repeat(32)),
        &format!("7C0A 8208 {der} 9000"),
    );
    let mut signature = [0; 80];
    let len = bench
        .run(|piv, card| {
            let how = KeyAlgorithm::EcdsaDigest;
            piv.sign(card, &signing, how, &[0xab; 32], &mut signature)
        })
        .unwrap();
    assert_eq!(signature[..len], bytes(der));
}

#[test]
fn a_malformed_signature_is_an_error_of_that_signature() {
    let (of_rsa, of_p256) = (rsa(1024), certificates::key(1));
    let block = [0x7f; 128];
    let too_long = format!("7C81D2 8281CF {}", "30".repeat(0xcf));
    let shorter = format!("7C81 81 82 7F {}", "11".repeat(0x7f));
    for answer in [
        "",
        "7C00",
        "7C02 8200",
        "7C03 8102 00",
        "8200",
        "7C7F",
        &too_long,
        &shorter,
        "9000",
    ] {
        for (public, how, input) in [
            (&of_rsa, KeyAlgorithm::RsaRaw, &block[..]),
            (&of_p256, KeyAlgorithm::EcdsaDigest, &block[..32]),
        ] {
            if *public == of_p256 && answer == "7C02 8200" {
                // Whether it is a signature, whoever asked for it finds out.
                continue;
            }
            let bench = Bench::new();
            bench.wire.expect("0087*", &format!("{answer} 9000"));
            let signing = key(Slot::Authentication, public.clone());
            let signed = bench.run(|piv, card| {
                let mut signature = [0; 128];
                piv.sign(card, &signing, how, input, &mut signature)
            });
            assert!(
                matches!(signed, Err(Failure::Token(TokenError::Corrupted(_)))),
                "{how:?} {answer}: {signed:?}"
            );
        }
    }
}

#[test]
fn what_cannot_be_signed_is_not_sent() {
    let bench = Bench::new();
    let of_rsa = key(Slot::Authentication, rsa(1024));
    let of_p256 = key(Slot::Authentication, certificates::key(1));
    let sign = |key: &Key, how, input: &[u8], room: usize| {
        bench.run(|piv, card| piv.sign(card, key, how, input, &mut vec![0; room]))
    };
    use KeyAlgorithm as A;
    for (key, how, input, room, error) in [
        (
            &of_rsa,
            A::RsaRaw,
            &[0; 127][..],
            128,
            TokenError::DataLength,
        ),
        (&of_rsa, A::RsaRaw, &[0; 129], 129, TokenError::DataLength),
        (
            &of_rsa,
            A::RsaRaw,
            &[0xff; 128],
            128,
            TokenError::DataInvalid,
        ),
        (&of_rsa, A::RsaRaw, &[1; 128], 127, TokenError::BadParameter),
        (
            &of_rsa,
            A::RsaPkcs1,
            &[1; 30],
            128,
            TokenError::NotSupported,
        ),
        (
            &of_rsa,
            A::EcdsaDigest,
            &[1; 32],
            128,
            TokenError::NotSupported,
        ),
        (&of_p256, A::EcdsaDigest, &[], 128, TokenError::DataLength),
        (
            &of_p256,
            A::EcdsaDigest,
            &[1; 32],
            70,
            TokenError::BadParameter,
        ),
    ] {
        assert_eq!(sign(key, how, input, room), Err(error.into()));
    }
    let other = Key::new(ObjectId::new(b"other"), "", &[1], rsa(1024));
    let answer = sign(&other, A::RsaRaw, &[0; 128], 128);
    assert_eq!(answer, Err(TokenError::ObjectNotFound.into()));
}

#[test]
fn a_peer_is_checked_before_the_card_sees_it() {
    let bench = Bench::new();
    let agreeing = key(Slot::KeyManagement, certificates::key(1));
    let mut secret = [0; 32];
    for peer in [&[4; 65][..], &[], &[2; 33]] {
        let agreed = bench.run(|piv, card| {
            piv.key_exchange(card, &agreeing, KeyAlgorithm::Ecdh, peer, &mut secret)
        });
        assert_eq!(agreed, Err(TokenError::BadParameter.into()));
    }

    let public = PublicKey::raw(KeyType::X25519, &[9; 32]).unwrap();
    let agreeing = key(Slot::KeyManagement, public);
    let exchange = |answer: &str| {
        let bench = Bench::new();
        let peer = [5; 32];
        let command = format!("0087E19D26 7C24 8200 8520 {} 00", hex(&peer));
        bench.wire.expect(&command, answer);
        let mut secret = [0; 32];
        bench
            .run(|piv, card| {
                piv.key_exchange(card, &agreeing, KeyAlgorithm::Ecdh, &peer, &mut secret)
            })
            .map(|_| secret)
    };
    let answered = |secret: &str| format!("7C22 8220 {secret} 9000");
    assert_eq!(exchange(&answered(&"17".repeat(32))), Ok([0x17; 32]));
    let small_order = exchange(&answered(&"00".repeat(32)));
    assert_eq!(small_order, Err(TokenError::BadParameter.into()));
}

#[test]
fn uses_are_what_the_card_can_do() {
    use KeyAlgorithm as A;
    let supported = |key: &Key| {
        let mut found = Vec::new();
        for operation in [Operation::Sign, Operation::Decrypt, Operation::KeyExchange] {
            for how in [
                A::RsaRaw,
                A::RsaPkcs1,
                A::EcdsaDigest,
                A::EdDsa,
                A::Ecdh,
                A::EcdhCofactor,
            ] {
                if super::super::keys::supports(operation, key, how) {
                    found.push((operation, how));
                }
            }
        }
        found
    };
    let (sign, decrypt, agree) = (Operation::Sign, Operation::Decrypt, Operation::KeyExchange);
    let of_rsa = key(Slot::KeyManagement, rsa(2048));
    assert_eq!(
        supported(&of_rsa),
        [(sign, A::RsaRaw), (decrypt, A::RsaRaw)]
    );
    let of_p256 = key(Slot::KeyManagement, certificates::key(1));
    let ecdh = [(agree, A::Ecdh), (agree, A::EcdhCofactor)];
    assert_eq!(
        supported(&of_p256),
        [&[(sign, A::EcdsaDigest)][..], &ecdh].concat()
    );
    let ed25519 = PublicKey::raw(KeyType::Ed25519, &[9; 32]).unwrap();
    assert_eq!(
        supported(&key(Slot::KeyManagement, ed25519)),
        [(sign, A::EdDsa)]
    );
    assert_eq!(supported(&key(Slot::KeyManagement, rsa(2056))), []);
}
