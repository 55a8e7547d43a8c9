//! Signatures, decryption, key agreement, random numbers.

use ctk_token::{Curve, Digest, KeyAlgorithm, Operation, Pss, TokenError};

use super::{super::OpenPgp, *};
use crate::{
    applet::{Applet, Failure, Result},
    link::LinkError,
    status::Status,
};

const RSA: KeyType = KeyType::Rsa { bits: 2048 };

fn signed(
    place: Place,
    key_type: KeyType,
    algorithm: KeyAlgorithm,
    input: &[u8],
    command: &str,
    answer: &str,
) -> Result<Vec<u8>> {
    let wire = Wire::new();
    wire.expect(command, answer);
    let card = SmartCard::new(wire.link());
    let key = key(place, key_type, &Said::default());
    let mut signature = vec![0; key.public_key.max_signature_len()];
    let mut transaction = card.transaction().unwrap();
    transaction.prove(&super::super::ROW);
    let applet = OpenPgp::default();
    let len = applet.sign(&mut transaction, &key, algorithm, input, &mut signature)?;
    signature.truncate(len);
    Ok(signature)
}

#[test]
fn each_place_signs_by_its_command() {
    let made = vec![9; 256];
    let digest_info = [0x30; 51];
    let data = format!("33{}00", hex(&digest_info));
    for (place, command) in [
        (Place::Signature, "002A9E9A"),
        (Place::Authentication, "00880000"),
    ] {
        let command = format!("{command}{data}");
        let answer = signed(
            place,
            RSA,
            KeyAlgorithm::RsaPkcs1,
            &digest_info,
            &command,
            &ok(&made),
        );
        assert_eq!(answer.as_ref(), Ok(&made));
    }
    let message = b"a message";
    let command = format!("0088000009{}00", hex(message));
    let place = Place::Authentication;
    let answer = ok(&[5; 64]);
    let answer = signed(
        place,
        KeyType::Ed25519,
        KeyAlgorithm::EdDsa,
        message,
        &command,
        &answer,
    );
    assert_eq!(answer, Ok(vec![5; 64]));
}

#[test]
fn ecdsa_becomes_der() {
    let hash = [3; 32];
    let command = format!("002A9E9A20{}00", hex(&hash));
    let ecdsa = |answer: &[u8]| {
        let (place, p256) = (Place::Signature, KeyType::Ec(Curve::P256));
        let algorithm = KeyAlgorithm::EcdsaDigest;
        signed(place, p256, algorithm, &hash, &command, &ok(answer))
    };
    let der = [&[0x30, 68, 2, 32][..], &[7; 32], &[2, 32], &[7; 32]].concat();
    assert_eq!(ecdsa(&[7; 64]), Ok(der));
    for len in [0, 63, 66, 200] {
        let answer = ecdsa(&vec![7; len]);
        assert!(matches!(
            answer,
            Err(Failure::Token(TokenError::Corrupted(_)))
        ));
    }
}

#[test]
fn an_input_too_long_is_told_from_a_lost_card() {
    let long = [1; 200];
    let refused = |len: usize, status: u16| {
        let input = &long[..len];
        let command = format!("002A9E9A{len:02X}{}00", hex(input));
        let (place, algorithm) = (Place::Signature, KeyAlgorithm::RsaPkcs1);
        signed(
            place,
            RSA,
            algorithm,
            input,
            &command,
            &format!("{status:04X}"),
        )
    };
    assert_eq!(refused(200, 0x6A80), Err(TokenError::DataLength.into()));
    for (len, status) in [(51, 0x6A80), (200, 0x6982), (200, 0x6D00)] {
        let status = Failure::Status(Status(status));
        let Failure::Status(word) = status else {
            panic!("a status");
        };
        assert_eq!(refused(len, word.0), Err(status));
    }
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    let key = key(Place::Signature, RSA, &Said::default());
    let mut card = card.transaction().unwrap();
    let applet = OpenPgp::default();
    let mut sign = |input: &[u8], signature: &mut [u8]| {
        applet.sign(&mut card, &key, KeyAlgorithm::RsaPkcs1, input, signature)
    };
    let too_long = sign(&[1; 246], &mut [0; 256]);
    assert_eq!(too_long, Err(TokenError::DataLength.into()));
    let no_room = sign(&[1; 20], &mut [0; 255]);
    assert_eq!(no_room, Err(TokenError::BadParameter.into()));
}

#[test]
fn only_what_the_card_performs_is_supported() {
    let applet = OpenPgp::default();
    let digest = Digest::Sha256;
    let pss = Pss {
        digest,
        mgf: digest,
        salt_len: 32,
    };
    let supports = |place, key_type, operation, algorithm| {
        applet.supports(
            operation,
            &key(place, key_type, &Said::default()),
            algorithm,
        )
    };
    let ec = KeyType::Ec(Curve::P384);
    let (sign, decrypt, agree) = (Operation::Sign, Operation::Decrypt, Operation::KeyExchange);
    for (place, key_type, operation, algorithm) in [
        (Place::Signature, RSA, sign, KeyAlgorithm::RsaPkcs1),
        (Place::Authentication, ec, sign, KeyAlgorithm::EcdsaDigest),
        (
            Place::Signature,
            KeyType::Ed25519,
            sign,
            KeyAlgorithm::EdDsa,
        ),
        (Place::Encryption, RSA, decrypt, KeyAlgorithm::RsaPkcs1),
        (Place::Encryption, ec, agree, KeyAlgorithm::Ecdh),
        (Place::Encryption, ec, agree, KeyAlgorithm::EcdhCofactor),
        (
            Place::Encryption,
            KeyType::X25519,
            agree,
            KeyAlgorithm::Ecdh,
        ),
    ] {
        assert!(
            supports(place, key_type, operation, algorithm),
            "{algorithm:?}"
        );
    }
    for (place, key_type, operation, algorithm) in [
        (Place::Signature, RSA, sign, KeyAlgorithm::RsaRaw),
        (Place::Signature, RSA, sign, KeyAlgorithm::RsaPssDigest(pss)),
        (Place::Signature, RSA, decrypt, KeyAlgorithm::RsaPkcs1),
        (Place::Encryption, RSA, sign, KeyAlgorithm::RsaPkcs1),
        (Place::Encryption, RSA, decrypt, KeyAlgorithm::RsaRaw),
        (Place::Authentication, ec, agree, KeyAlgorithm::Ecdh),
        (
            Place::Encryption,
            KeyType::X25519,
            agree,
            KeyAlgorithm::EcdhCofactor,
        ),
        (
            Place::Signature,
            KeyType::Ed25519,
            sign,
            KeyAlgorithm::EcdsaDigest,
        ),
    ] {
        assert!(
            !supports(place, key_type, operation, algorithm),
            "{algorithm:?}"
        );
    }
}

#[test]
fn agreement_takes_what_cards_answer() {
    let peer = [9; 32];
    let command = format!("002A8086 27 A625 7F4922 8620 {} 00", hex(&peer));
    let agreed = |answer: &str| {
        let wire = Wire::new();
        wire.expect(&command, answer);
        let card = SmartCard::new(wire.link());
        let key = key(Place::Encryption, KeyType::X25519, &Said::default());
        let mut secret = [0; 32];
        let mut card = card.transaction().unwrap();
        let applet = OpenPgp::default();
        let len = applet.key_exchange(&mut card, &key, KeyAlgorithm::Ecdh, &peer, &mut secret)?;
        assert_eq!(len, 32);
        Ok(secret)
    };
    assert_eq!(agreed(&ok(&[6; 32])), Ok([6; 32]));
    assert_eq!(agreed(&ok(&[&[0x40][..], &[6; 32]].concat())), Ok([6; 32]));
    let refused = Err(TokenError::BadParameter.into());
    assert_eq!(agreed(&ok(&[0; 32])), refused, "a secret of zeros");
    assert_eq!(agreed("6A80"), refused);
    assert_eq!(agreed("6982"), Err(Failure::Status(Status(0x6982))));
    assert!(matches!(
        agreed(&ok(&[6; 31])),
        Err(Failure::Token(TokenError::Corrupted(_)))
    ));
}

#[test]
fn a_point_is_looked_at_first() {
    let wire = Wire::new();
    let card = SmartCard::new(wire.link());
    let key = key(
        Place::Encryption,
        KeyType::Ec(Curve::P256),
        &Said::default(),
    );
    let mut card = card.transaction().unwrap();
    let applet = OpenPgp::default();
    for peer in [&[][..], &[4; 64], &[2; 33], &[4; 65], &[4; 66]] {
        let answer = applet.key_exchange(&mut card, &key, KeyAlgorithm::Ecdh, peer, &mut [0; 32]);
        assert_eq!(
            answer,
            Err(TokenError::BadParameter.into()),
            "{} bytes",
            peer.len()
        );
    }
    assert_eq!(wire.count(), 0);
}

/// A card with an RSA key for decryption, of which a test says what it answers to ciphertexts.
struct Decrypting {
    wire: Wire,
    card: SmartCard,
    applet: OpenPgp,
    key: Key,
}

const LET_DECRYPTION_KEY_SIGN: &str = "002241A4 03 830102";
const LET_AUTHENTICATION_KEY_SIGN: &str = "002241A4 03 830103";

impl Decrypting {
    fn new(said: &Said) -> Self {
        let wire = Wire::new();
        let card = asked(&wire, said);
        let applet = OpenPgp::default();
        drop(opened(&card, &applet));
        Self {
            key: key(Place::Encryption, RSA, said),
            wire,
            card,
            applet,
        }
    }

    /// The commands before a decryption: is it the applet?
    fn proof(&self) -> &Self {
        self.wire
            .expect("00CA004F00", &ok(&Said::default().identifier()));
        self
    }

    /// The one that makes the secret of implicit rejection, with the key for authentication.
    fn secret(&self, signature: &str) -> &Self {
        self.wire.expect("00880000*", signature);
        self
    }

    /// Those that make it with the decryption key.
    fn own_secret(&self, signature: &str) -> &Self {
        self.lends("9000").secret(signature);
        self.wire.expect(LET_AUTHENTICATION_KEY_SIGN, "9000");
        self
    }

    /// Those before the decryption key signs.
    fn lends(&self, answer: &str) -> &Self {
        self.wire
            .expect(LET_AUTHENTICATION_KEY_SIGN, "9000")
            .expect(LET_DECRYPTION_KEY_SIGN, answer);
        self
    }

    /// The ciphertext goes in two commands, because it is longer than one.
    fn answers(&self, answer: &str) -> &Self {
        self.wire
            .expect("102A8086FF00*", "9000")
            .expect("002A8086*", answer);
        self
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Result<Vec<u8>> {
        let mut plaintext = vec![0; 256];
        let mut card = self.card.transaction().unwrap();
        let algorithm = KeyAlgorithm::RsaPkcs1;
        let len =
            self.applet
                .decrypt(&mut card, &self.key, algorithm, ciphertext, &mut plaintext)?;
        plaintext.truncate(len);
        Ok(plaintext)
    }
}

#[test]
fn a_wrong_padding_is_no_error() {
    let signature = ok(&[5; 256]);
    let card = Decrypting::new(&Said::default());
    card.proof().secret(&signature).answers(&ok(b"a secret"));
    assert_eq!(card.decrypt(&[1; 256]), Ok(b"a secret".to_vec()));
    card.proof().answers("6A80");
    let made_up = card.decrypt(&[2; 256]).unwrap();
    // Other cards say other things, and the plaintext of a ciphertext stays.
    for status in ["6A80", "6F00", "6985", "6400"] {
        card.proof().answers(status);
        assert_eq!(card.decrypt(&[2; 256]).as_ref(), Ok(&made_up), "{status}");
    }
    card.proof().answers("6A80");
    assert_ne!(card.decrypt(&[3; 256]).as_ref(), Ok(&made_up));
    card.wire.finish();

    // In another program with the same card it is the same.
    let other = Decrypting::new(&Said::default());
    other.proof().secret(&signature).answers("6A80");
    assert_eq!(other.decrypt(&[2; 256]), Ok(made_up.clone()));
    // With another key it is not.
    let another = Decrypting::new(&Said::default());
    another.proof().secret(&ok(&[6; 256])).answers("6A80");
    assert_ne!(another.decrypt(&[2; 256]), Ok(made_up));
}

#[test]
fn what_is_no_padding_is_an_error() {
    for status in [
        0x6982, 0x6D00, 0x6E00, 0x6A88, 0x6281, 0x6300, 0x6581, 0x6882,
    ] {
        let card = Decrypting::new(&Said::default());
        card.proof()
            .secret(&ok(&[5; 256]))
            .answers(&format!("{status:04X}"));
        let answer = card.decrypt(&[1; 256]);
        assert_eq!(answer, Err(Failure::Status(Status(status))));
    }
    // No status word at all, more data without an end, a wrong Le twice.
    for (answer, status) in [
        ("", Status::NO_ANSWER),
        ("90", Status::NO_ANSWER),
        ("6100", Status::NO_ANSWER),
        ("6C00", Status(0x6C00)),
    ] {
        let card = Decrypting::new(&Said::default());
        card.proof().secret(&ok(&[5; 256])).answers(answer);
        card.wire.answer_always(answer);
        let failed = Err(Failure::Status(status));
        assert_eq!(card.decrypt(&[1; 256]), failed, "{answer}");
    }
    // To a piece of the ciphertext.
    let card = Decrypting::new(&Said::default());
    card.proof().secret(&ok(&[5; 256]));
    card.wire.expect("102A8086FF00*", "6A80");
    let failed = Err(Failure::Status(Status(0x6A80)));
    assert_eq!(card.decrypt(&[1; 256]), failed);
    card.wire.finish();

    let card = Decrypting::new(&Said::default());
    card.proof().secret("6982");
    assert_eq!(
        card.decrypt(&[1; 256]),
        Err(Failure::Status(Status(0x6982)))
    );
    card.wire.finish();

    let card = Decrypting::new(&Said::default());
    card.wire.expect("00CA004F00", "6A82");
    let elsewhere = card.decrypt(&[1; 256]);
    assert_eq!(
        elsewhere,
        Err(Failure::Status(Status::INSTRUCTION_NOT_SUPPORTED))
    );

    let card = Decrypting::new(&Said::default());
    let sent = card.wire.count();
    for (ciphertext, refused) in [
        (vec![1; 255], TokenError::DataLength),
        (vec![1; 257], TokenError::DataLength),
        (vec![0xFF; 256], TokenError::DataInvalid),
        (modulus(2048), TokenError::DataInvalid),
    ] {
        assert_eq!(card.decrypt(&ciphertext), Err(refused.into()));
    }
    assert_eq!(card.wire.count(), sent);
}

/// Cards whose key for authentication cannot make the secret, or not without a person.
fn without_authentication_key() -> [Said; 4] {
    [
        Said {
            information: Some([1, 1, 2, 1, 3, 0]),
            ..Said::default()
        },
        Said {
            touch: [0, 0, 1],
            ..Said::default()
        },
        // An ECDSA signature is another one each time, …
        Said {
            attributes: [RSA_2048, RSA_2048, P256],
            ..Said::default()
        },
        // … and whoever may use an Ed25519 key may have it sign any text.
        Said {
            attributes: [RSA_2048, RSA_2048, ED25519],
            ..Said::default()
        },
    ]
}

#[test]
fn the_secret_comes_from_where_the_card_allows_it() {
    for said in without_authentication_key() {
        let card = Decrypting::new(&said);
        card.proof().own_secret(&ok(&[5; 256])).answers("6A80");
        let made_up = card.decrypt(&[2; 256]).unwrap();
        card.wire.finish();
        let again = Decrypting::new(&said);
        again.proof().own_secret(&ok(&[5; 256])).answers("6A80");
        assert_eq!(again.decrypt(&[2; 256]), Ok(made_up));
    }

    // A card that does not swap its keys, or wants to be touched for it.
    let cannot = |said: Said| Said {
        capabilities: [0x7C, 0, 0, 0xFF, 8, 0, 8, 0, 0, 0],
        ..said
    };
    let touched = |said: Said| Said {
        touch: [0, 1, 1],
        ..said
    };
    let each = without_authentication_key();
    for said in each.into_iter().flat_map(|said| {
        let again = Said {
            attributes: said.attributes,
            information: said.information,
            touch: said.touch,
            ..Said::default()
        };
        [cannot(said), touched(again)]
    }) {
        let card = Decrypting::new(&said);
        card.proof().answers("6A80");
        let made_up = card.decrypt(&[2; 256]).unwrap();
        card.proof().answers("6A80");
        assert_eq!(card.decrypt(&[2; 256]), Ok(made_up), "in one program");
        card.wire.finish();
    }
}

#[test]
fn a_card_that_would_not_go_back_decrypts_all_the_same() {
    for answer in ["6A88", "6A80", "6D00"] {
        let [said, ..] = without_authentication_key();
        let card = Decrypting::new(&said);
        card.proof()
            .wire
            .expect(LET_AUTHENTICATION_KEY_SIGN, answer);
        card.answers(&ok(b"a secret"));
        assert_eq!(card.decrypt(&[1; 256]), Ok(b"a secret".to_vec()));
        card.wire.finish();
    }
}

#[test]
fn the_authentication_key_is_given_back() {
    let [said, ..] = without_authentication_key();
    // Whatever becomes of the signature, and of the question before it.
    for (signature, goes_on) in [("6A80", true), ("6982", false)] {
        let card = Decrypting::new(&said);
        card.proof().own_secret(signature);
        if goes_on {
            card.answers("6A80");
        }
        assert_eq!(card.decrypt(&[1; 256]).is_ok(), goes_on);
        card.wire.finish();
    }
    let card = Decrypting::new(&said);
    card.proof()
        .lends("6F00")
        .wire
        .expect(LET_AUTHENTICATION_KEY_SIGN, "9000");
    card.answers("6A80");
    assert!(card.decrypt(&[1; 256]).is_ok());
    card.wire.finish();

    let mute = || LinkError::Mute(ctk_token::Reason::new("no answer"));
    let card = Decrypting::new(&said);
    card.proof()
        .wire
        .expect(LET_AUTHENTICATION_KEY_SIGN, "9000")
        .expect_failure(LET_DECRYPTION_KEY_SIGN, mute())
        .expect(LET_AUTHENTICATION_KEY_SIGN, "9000");
    assert_eq!(card.decrypt(&[1; 256]), Err(Failure::Link(mute())));
    card.wire.finish();

    // A reset does it, and nothing is sent to a card that others may have now.
    let card = Decrypting::new(&said);
    card.proof()
        .wire
        .expect(LET_AUTHENTICATION_KEY_SIGN, "9000")
        .expect(LET_DECRYPTION_KEY_SIGN, "9000")
        .expect_failure("00880000*", LinkError::Reset);
    assert_eq!(card.decrypt(&[1; 256]), Err(LinkError::Reset.into()));
    card.wire.finish();
}

#[test]
fn the_decryption_key_never_signs_for_anybody() {
    const SELECT: &str = "00A40400 06 D27600012401 00";
    let [said, ..] = without_authentication_key();
    let signed = |card: &Decrypting| {
        let key = key(Place::Authentication, RSA, &said);
        let mut transaction = card.card.transaction().unwrap();
        let (algorithm, mut signature) = (KeyAlgorithm::RsaPkcs1, [0; 256]);
        card.applet
            .sign(&mut transaction, &key, algorithm, &[1; 32], &mut signature)
    };
    // A card that does not go back has its applet selected, which goes back and ends the login.
    let stuck = |select: &str| {
        let card = Decrypting::new(&said);
        card.proof().lends("9000").secret(&ok(&[5; 256]));
        card.wire
            .expect(LET_AUTHENTICATION_KEY_SIGN, "6F00")
            .expect(SELECT, select);
        let answer = card.decrypt(&[1; 256]);
        assert!(matches!(
            answer,
            Err(Failure::Token(TokenError::Corrupted(_)))
        ));
        card.wire.finish();
        card
    };
    let card = stuck("9000");
    card.wire.expect("00880000*", "6982");
    assert_eq!(signed(&card), Err(Failure::Status(Status(0x6982))));
    card.wire.finish();
    // If that fails too, no signature is asked for before it has succeeded.
    let card = stuck("6F00");
    card.wire.expect(SELECT, "6F00");
    assert_eq!(signed(&card), Err(Failure::Status(Status(0x6F00))));
    card.wire.expect(SELECT, "9000").expect("00880000*", "6982");
    assert_eq!(signed(&card), Err(Failure::Status(Status(0x6982))));
    card.wire.finish();

    // So it is after a fault of the reader.
    let card = Decrypting::new(&said);
    card.proof().lends("9000").secret(&ok(&[5; 256]));
    let mute = LinkError::Mute(ctk_token::Reason::new("no answer"));
    card.wire
        .expect_failure(LET_AUTHENTICATION_KEY_SIGN, mute.clone())
        .expect_failure(SELECT, mute.clone());
    assert_eq!(card.decrypt(&[1; 256]), Err(mute.into()));
    card.wire.expect(SELECT, "9000").expect("00880000*", "6982");
    assert!(signed(&card).is_err());
    card.wire.finish();
}

#[test]
fn random_numbers_come_in_pieces() {
    let wire = Wire::new();
    let card = asked(&wire, &Said::default());
    let applet = OpenPgp::default();
    let mut card = opened(&card, &applet);
    wire.expect("00840000FF", &ok(&[1; 255]))
        .expect("0084000003", &ok(&[2; 3]));
    let mut out = [0; 258];
    assert_eq!(applet.random(&mut card, &mut out), Ok(()));
    assert_eq!(out[253..], [1, 1, 2, 2, 2]);
    wire.expect("0084000004", &ok(&[1; 3]));
    assert!(applet.random(&mut card, &mut [0; 4]).is_err());
    drop(card);
    wire.finish();
}
