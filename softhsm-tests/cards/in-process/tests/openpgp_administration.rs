//! An OpenPGP card in its administrator's hands: new keys and certificates, locked PINs, hashed
//! PINs; and what each use costs.

use std::sync::Arc;

use ctk_crypto::PrivateKey;
use ctk_token::{
    AuthSecret, Constraint, Curve, Item, Key, KeyAlgorithm, KeyType, NewKey, Operation, Origin,
    PinState, PublicKeyMaterial, Role, Token, TokenDriver, TokenError, TokenSession,
};
use in_process::{Bench, Reader};
use virtual_cards::{Applet, Card, Model, personalise::Profile};

const PIN: &[u8] = b"123456";
const ADMIN_PIN: &[u8] = b"12345678";
const SELECT: &str = "00A4040006D27600012401";
const VERIFY_ADMIN: &str = "00200083083132333435363738";

fn card(bench: &Bench) -> Card {
    let mut model = Model::default();
    model.applets = vec![Applet::OpenPgp];
    bench.card(model)
}

/// The card in a reader, loaded.
fn token(reader: &Reader) -> Arc<dyn Token> {
    let token = reader.driver().slots()[0].token().expect("a token");
    token.load().expect("contents");
    token
}

fn log_in(session: &dyn TokenSession, role: Role, secret: &[u8]) -> Result<(), TokenError> {
    session
        .begin_auth(role, None)?
        .finish(AuthSecret::Pin(secret))
}

fn signature_of(
    session: &dyn TokenSession,
    key: &Key,
    input: &[u8],
) -> Result<Vec<u8>, TokenError> {
    if let Constraint::Auth(_, ctk_token::Reuse::Operation) = key.sign {
        let context = session.begin_auth(Role::Context, Some(&key.id))?;
        context.finish(AuthSecret::Pin(PIN))?;
    }
    let mut signature = vec![0; key.public_key.max_signature_len()];
    let len = session.sign(&key.id, algorithm(key), input, &mut signature)?;
    signature.truncate(len);
    Ok(signature)
}

fn algorithm(key: &Key) -> KeyAlgorithm {
    match key.public_key.key_type() {
        KeyType::Rsa { .. } => KeyAlgorithm::RsaPkcs1,
        KeyType::Ec(_) => KeyAlgorithm::EcdsaDigest,
        _ => KeyAlgorithm::EdDsa,
    }
}

/// Sends what another program would.
fn send(card: &mut Card, commands: &[&str]) {
    for command in commands {
        let bytes = |at: usize| u8::from_str_radix(&command[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..command.len()).step_by(2).map(bytes).collect();
        let answer = card.transmit(&bytes).expect("the card answers");
        assert!(answer.ends_with(&[0x90, 0]), "{command}: {answer:02X?}");
    }
}

/// An unsigned certificate about this key.
fn certificate(spki: &[u8]) -> Vec<u8> {
    let sequence = |parts: &[&[u8]]| {
        let contents = parts.concat();
        let mut der = vec![0x30];
        match contents.len() {
            len @ 0..0x80 => der.push(len as u8),
            len => der.extend([0x82, (len >> 8) as u8, len as u8]),
        }
        [der, contents].concat()
    };
    let (name, empty) = (sequence(&[&[0x31, 0]]), sequence(&[]));
    let tbs = sequence(&[&[2, 1, 1], &empty, &name, &empty, &name, spki]);
    sequence(&[&tbs, &empty, &[3, 1, 0]])
}

#[test]
fn keys_of_every_kind_are_made_and_used() {
    let bench = Bench::new(Profile::OpenPgpEc);
    let reader = Reader::new(card(&bench));
    let token = token(&reader);
    let session = token.create_session().unwrap();
    let wanted = |key_type, identity| NewKey {
        key_type,
        identity,
        label: None,
    };
    let p256 = KeyType::Ec(Curve::P256);
    let unasked = session.generate_key(&wanted(p256, Some(&[1])));
    assert_eq!(unasked, Err(TokenError::AuthenticationNeeded));
    log_in(&*session, Role::Admin, ADMIN_PIN).unwrap();
    let full = session.generate_key(&wanted(p256, None));
    assert_eq!(full, Err(TokenError::NoSpace));

    let curves = [Curve::P256, Curve::P384, Curve::P521].map(KeyType::Ec);
    for (identity, key_types) in [
        (
            &[1],
            [
                &curves[..],
                &[KeyType::Ed25519, KeyType::Rsa { bits: 2048 }],
            ]
            .concat(),
        ),
        (&[2], [&curves[..], &[KeyType::X25519]].concat()),
        (&[3], [&curves[..], &[KeyType::Ed25519]].concat()),
    ] {
        for key_type in key_types {
            let id = session
                .generate_key(&wanted(key_type, Some(identity)))
                .unwrap();
            let contents = token.contents();
            let key = contents.key(&id).expect("the new key is there");
            assert_eq!(key.public_key.key_type(), key_type);
            assert_eq!(
                (&*key.identity, key.origin),
                (&identity[..], Origin::Generated)
            );
            log_in(&*session, Role::User, PIN).unwrap();
            uses(&*session, key);
            session.end_auth(Role::User);
            log_in(&*session, Role::Admin, ADMIN_PIN).unwrap();
        }
    }
    // Whoever comes later finds the same.
    let again = self::token(&reader);
    assert_eq!(again.contents().items, token.contents().items);
}

/// The key does what it is for.
fn uses(session: &dyn TokenSession, key: &Key) {
    if key.key_exchange == Constraint::Never {
        // As long as the longest hash, and as other lengths that programs have.
        for len in [20, 32, 48, 64] {
            let input = vec![len; len.into()];
            let signature = signature_of(session, key, &input).unwrap();
            let verified = ctk_crypto::verify(&key.public_key, algorithm(key), &input, &signature);
            assert_eq!(
                verified,
                Ok(true),
                "{}: {len} bytes",
                key.public_key.key_type()
            );
        }
        return;
    }
    let other = PrivateKey::generate(key.public_key.key_type()).unwrap();
    let point = |key: &ctk_token::PublicKey| match key.material() {
        PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
        PublicKeyMaterial::Raw { bytes, .. } => bytes.to_vec(),
        PublicKeyMaterial::Rsa { .. } => panic!("no key for agreement"),
    };
    let mut secrets = [(); 2].map(|()| vec![0; key.public_key.shared_secret_len()]);
    let [ours, theirs] = &mut secrets;
    session
        .key_exchange(
            &key.id,
            KeyAlgorithm::Ecdh,
            &point(other.public_key()),
            ours,
        )
        .unwrap();
    other
        .key_exchange(KeyAlgorithm::Ecdh, &point(&key.public_key), theirs)
        .unwrap();
    assert_eq!(ours, theirs, "{}", key.public_key.key_type());
}

#[test]
fn certificates_come_and_go() {
    let bench = Bench::new(Profile::OpenPgpEc);
    let reader = Reader::new(card(&bench));
    let token = token(&reader);
    let session = token.create_session().unwrap();
    log_in(&*session, Role::Admin, ADMIN_PIN).unwrap();
    let keys: Vec<Key> = token.contents().keys().cloned().collect();
    assert_eq!(keys.len(), 3);
    for key in &keys {
        let der = certificate(key.public_key.spki());
        let id = session.import_certificate(None, &der).unwrap();
        let contents = token.contents();
        let written = contents
            .certificates()
            .find(|certificate| certificate.id == id)
            .unwrap();
        assert_eq!((&written.der, &written.identity), (&der, &key.identity));
        let by_identity = session.import_certificate(Some(&key.identity), &der);
        assert_eq!(by_identity, Ok(id));
    }
    let contents = token.contents();
    assert_eq!(contents.certificates().count(), 3);
    assert!(contents.keys().all(|key| key.subject.is_some()));
    let wrong = certificate(keys[0].public_key.spki());
    let refused = session.import_certificate(Some(&keys[1].identity), &wrong);
    assert_eq!(refused, Err(TokenError::DataInvalid));

    let again = self::token(&reader);
    assert_eq!(again.contents().items, contents.items);
    for certificate in contents.certificates() {
        assert_eq!(session.delete(&certificate.id), Ok(()));
    }
    assert_eq!(token.contents().certificates().count(), 0);
    assert_eq!(token.contents().keys().count(), 3);
    let key = session.delete(&keys[0].id);
    assert!(matches!(key, Err(TokenError::ReadOnly(_))), "{key:?}");
}

#[test]
fn a_locked_pin_is_set_anew() {
    let bench = Bench::new(Profile::OpenPgpEc);
    let mut card = card(&bench);
    // A resetting code.
    let code = "00DA00D3083837363534333231";
    send(&mut card, &[SELECT, VERIFY_ADMIN, code]);
    card.reset();
    let reader = Reader::new(card);
    let token = token(&reader);
    let session = token.create_session().unwrap();
    let lock = |pin: &[u8]| {
        for tries in [Some(2), Some(1)] {
            let answer = log_in(&*session, Role::User, b"000000");
            assert_eq!(answer, Err(TokenError::AuthenticationFailed { tries }));
        }
        assert_eq!(token.info().user_pin, PinState::FinalTry);
        assert_eq!(
            log_in(&*session, Role::User, b"000000"),
            Err(TokenError::PinLocked)
        );
        assert_eq!(
            log_in(&*session, Role::User, pin),
            Err(TokenError::PinLocked)
        );
        assert_eq!(token.info().user_pin, PinState::Locked);
    };
    lock(PIN);
    assert_eq!(
        session.unblock_pin(b"654321"),
        Err(TokenError::AuthenticationNeeded)
    );
    log_in(&*session, Role::Admin, ADMIN_PIN).unwrap();
    session.unblock_pin(b"654321").unwrap();
    log_in(&*session, Role::User, b"654321").unwrap();

    session.end_auth(Role::Admin);
    lock(b"654321");
    // An administrator's login with the resetting code, as programs of PKCS#11 have it.
    log_in(&*session, Role::Admin, b"resetting-code:00000000").unwrap();
    let wrong = session.unblock_pin(b"111111");
    assert_eq!(
        wrong,
        Err(TokenError::AuthenticationFailed { tries: Some(2) })
    );
    log_in(&*session, Role::Admin, b"resetting-code:87654321").unwrap();
    session.unblock_pin(b"111111").unwrap();
    log_in(&*session, Role::User, b"111111").unwrap();
    session.end_auth(Role::Admin);

    // Where the role can be said, the code is enough.
    lock(b"111111");
    log_in(&*session, Role::Unblock, b"87654321").unwrap();
    session.unblock_pin(PIN).unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    session
        .change_pin(Role::Admin, AuthSecret::Pin(ADMIN_PIN), b"another one")
        .unwrap();
    session.end_auth(Role::Admin);
    let old = log_in(&*session, Role::Admin, ADMIN_PIN);
    assert_eq!(
        old,
        Err(TokenError::AuthenticationFailed { tries: Some(2) })
    );
    log_in(&*session, Role::Admin, b"another one").unwrap();
}

#[test]
fn hashed_pins_open_the_card() {
    const USER_HASH: &str = "773784A602B6C81E3F092F4D7D00E17CC822D88F7360FCF2D2EF2D9D901F44B6";
    const ADMIN_HASH: &str = "1ADCB74812D8EF20F879696261953FBD1A1F20F48EF6CEC21BD9E84A8E3568E4";
    let bench = Bench::new(Profile::OpenPgpEc);
    let mut card = card(&bench);
    let kdf = [
        "F92A",
        "810103",
        "820108",
        "8304000186A0",
        "84083031323334353637",
        "85083031323334353637",
        "86083839414243444546",
    ]
    .concat();
    let put_kdf = format!("00DA00F9{:02X}{kdf}", kdf.len() / 2);
    let set_user = format!("002C028120{USER_HASH}");
    let set_admin = format!("00240083283132333435363738{ADMIN_HASH}");
    send(
        &mut card,
        &[SELECT, VERIFY_ADMIN, &put_kdf, &set_user, &set_admin],
    );
    card.reset();
    let reader = Reader::new(card);
    let token = token(&reader);
    let session = token.create_session().unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    log_in(&*session, Role::Admin, ADMIN_PIN).unwrap();
    session
        .change_pin(Role::User, AuthSecret::Pin(PIN), b"654321")
        .unwrap();
    let old = log_in(&*session, Role::User, PIN);
    assert_eq!(
        old,
        Err(TokenError::AuthenticationFailed { tries: Some(2) })
    );
    log_in(&*session, Role::User, b"654321").unwrap();
    session.unblock_pin(PIN).unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    let contents = token.contents();
    for key in contents.keys() {
        uses(&*session, key);
    }
}

#[test]
fn a_lost_login_is_no_wrong_padding() {
    let bench = Bench::new(Profile::OpenPgpRsa);
    let reader = Reader::new(card(&bench));
    let token = token(&reader);
    let session = token.create_session().unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    let contents = token.contents();
    let key = contents.keys().nth(1).unwrap();
    let decrypt = || {
        let mut plaintext = vec![0; 256];
        let len = session.decrypt(&key.id, KeyAlgorithm::RsaPkcs1, &[1; 256], &mut plaintext)?;
        plaintext.truncate(len);
        Ok::<_, TokenError>(plaintext)
    };
    let made_up = decrypt().unwrap();
    for _ in 0..2 {
        assert_eq!(decrypt().as_ref(), Ok(&made_up));
    }
    reader.reset();
    assert_eq!(decrypt(), Err(TokenError::StateLost));
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(decrypt().as_ref(), Ok(&made_up));
    // A program that comes later finds the same: it has the same secret from the same key.
    let later = self::token(&reader).create_session().unwrap();
    log_in(&*later, Role::User, PIN).unwrap();
    let mut plaintext = vec![0; 256];
    let len = later.decrypt(&key.id, KeyAlgorithm::RsaPkcs1, &[1; 256], &mut plaintext);
    assert_eq!(plaintext.get(..len.unwrap()), Some(&made_up[..]));
}

#[test]
fn protected_data_are_read_after_a_login() {
    let bench = Bench::new(Profile::OpenPgpEc);
    let mut card = card(&bench);
    let write = [
        "0020008206313233343536",
        "00DA01030461626364",
        "00DA01010377787A",
    ];
    send(&mut card, &[&[SELECT], &write[..]].concat());
    card.reset();
    let reader = Reader::new(card);
    let token = token(&reader);
    let session = token.create_session().unwrap();
    let contents = token.contents();
    let data = |label: &str| {
        let mut items = contents.items.iter().filter_map(|item| match item {
            Item::Data(data) => Some(data),
            Item::Certificate(_) | Item::Key(_) => None,
        });
        items
            .find(|data| data.label == label)
            .expect("it is listed")
    };
    assert_eq!(data("PrivDO1").value.as_deref(), Some(&b"wxz"[..]));
    let protected = data("PrivDO3");
    assert_eq!(protected.value, None);
    let before = session.read(&protected.id);
    assert_eq!(before, Err(TokenError::AuthenticationNeeded));
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(session.read(&protected.id).as_deref(), Ok(&b"abcd"[..]));
}

#[test]
fn what_a_use_costs() {
    let bench = Bench::new(Profile::OpenPgpRsa);
    let mut card = card(&bench);
    send(&mut card, &[SELECT, VERIFY_ADMIN, "00DA00C40101"]);
    card.reset();
    let reader = Reader::new(card);
    let start = reader.commands();
    let count = || reader.commands() - start;
    let token = reader.driver().slots()[0].token().expect("a token");
    assert_eq!(count(), 2, "SELECT, of PIV too");
    let info = token.info();
    assert_eq!(info.label, "OpenPGP card (User PIN)");
    assert_eq!(count(), 3, "6E");
    token.load().unwrap();
    assert_eq!(
        count(),
        15,
        "6E, three keys, four for certificates, four data objects"
    );
    let session = token.create_session().unwrap();
    log_in(&*session, Role::User, PIN).unwrap();
    assert_eq!(
        count(),
        19,
        "is it the applet, how are PINs hashed, PIN in two modes"
    );
    let contents = token.contents();
    for (signatures, key) in [(1, 0), (2, 0), (3, 2)] {
        let key = contents.keys().nth(key).unwrap();
        signature_of(&*session, key, &[7; 51]).unwrap();
        assert_eq!(count(), 19 + signatures);
    }
    let key = contents.keys().nth(1).unwrap();
    assert!(session.supports(Operation::Decrypt, &key.id, KeyAlgorithm::RsaPkcs1));
    let decrypt = |ciphertext: &[u8]| {
        let mut plaintext = vec![0; 256];
        session.decrypt(&key.id, KeyAlgorithm::RsaPkcs1, ciphertext, &mut plaintext)
    };
    decrypt(&[1; 256]).unwrap();
    assert_eq!(count(), 25, "the proof, one for the secret, the decryption");
    decrypt(&[2; 256]).unwrap();
    assert_eq!(count(), 27);
    drop(session);
    assert_eq!(count(), 27, "a reset ends the login");
}
