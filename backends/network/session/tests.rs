//! Tokens of a service in memory keep every rule of the contract, and what a service does wrong stays with it.

use std::sync::Arc;

use ctk_crypto::{PrivateKey, RsaEncryption};
use ctk_token::{
    AuthSecret, Constraint, Curve, Digest, KeyAlgorithm, KeyType, KeychainContents, LoginPolicy,
    ObjectId, PublicKey, PublicKeyMaterial, Reason, Role, Token, TokenDriver, TokenError,
    TokenSession, conformance,
};

use crate::{
    Configuration, Driver,
    certificate::made,
    memory::{Needs, PROTOCOL, Server},
    token::NetworkToken,
};

const PIN: &[u8] = b"123456";

struct Services(Vec<Configuration>, Option<&'static [u8]>);

impl conformance::Fixture for Services {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(Driver::new(&PROTOCOL, self.0.clone()))
    }

    fn pin(&self) -> Option<&[u8]> {
        self.1
    }

    fn wrong_pin(&self) -> &[u8] {
        b"wrong"
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).unwrap()
    }

    fn encrypt(&self, key: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        let how = match how {
            KeyAlgorithm::RsaRaw => RsaEncryption::Raw,
            KeyAlgorithm::RsaOaep(oaep) => RsaEncryption::Oaep {
                digest: oaep.digest,
                mgf: oaep.mgf,
                label: Vec::new(),
            },
            _ => return None,
        };
        let mut ciphertext = vec![0; key.max_signature_len()];
        ctk_crypto::encrypt(&how, key, plaintext, &mut ciphertext).unwrap();
        Some(ciphertext)
    }

    fn peer(&self, key: &PublicKey, how: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let bytes = |key: &PublicKey| match key.material() {
            PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
            PublicKeyMaterial::Raw { bytes, .. } => bytes.to_vec(),
            PublicKeyMaterial::Rsa { .. } => panic!("RSA agrees on nothing"),
        };
        let other = PrivateKey::generate(key.key_type()).unwrap();
        let mut secret = vec![0; key.shared_secret_len()];
        other.key_exchange(how, &bytes(key), &mut secret).unwrap();
        Some((bytes(other.public_key()), secret))
    }
}

const P256: KeyType = KeyType::Ec(Curve::P256);

/// A server with a key of every kind, each with the same needs.
fn server(name: &str, needs: Needs) -> Arc<Server> {
    let server = Server::start(name, PIN);
    let kinds = [
        KeyType::Rsa { bits: 2048 },
        P256,
        KeyType::Ec(Curve::P521),
        KeyType::Ed25519,
        KeyType::X25519,
        KeyType::MlDsa44,
    ];
    for kind in kinds {
        server.add(&kind.to_string(), kind, needs);
    }
    server.certify("P-256", |spki| {
        made::certificate("Alice", "250101000000Z", spki)
    });
    server
}

/// The rules that cannot be broken here, as the suite says.
fn not_applicable(services: &Services) -> Vec<&'static str> {
    conformance::run(services)
        .into_iter()
        .filter(|outcome| outcome.not_applicable.is_some())
        .map(|outcome| outcome.rule)
        .collect()
}

const NEW_SECRETS: [&str; 2] = [
    "a new secret replaces the old one",
    "a new secret of the wrong length is refused",
];

#[test]
fn free_keys_conform() {
    let server = server("free", Needs::Nothing);
    let services = Services(vec![server.configuration()], None);
    let expected = [
        "a wrong secret changes nothing",
        "an abandoned authentication changes nothing",
        "the end of an authentication is its end",
        "sessions do not share authentication",
        "a login that races its end is whole or not at all",
        NEW_SECRETS[0],
        NEW_SECRETS[1],
    ];
    assert_eq!(not_applicable(&services), expected);
    assert_eq!((server.logins(), server.lists()), (0, 0));
}

#[test]
fn keys_with_a_login_conform() {
    let first = server("session", Needs::Session);
    let second = server("another session", Needs::Session);
    let configurations = vec![first.configuration(), second.configuration()];
    let services = Services(configurations, Some(PIN));
    assert_eq!(not_applicable(&services), NEW_SECRETS);
}

#[test]
fn keys_with_a_login_each_time_conform() {
    let server = server("operation", Needs::Operation);
    let services = Services(vec![server.configuration()], Some(PIN));
    let expected = [
        "a login that races its end is whole or not at all",
        "several threads sign",
        NEW_SECRETS[0],
        NEW_SECRETS[1],
    ];
    assert_eq!(not_applicable(&services), expected);
}

fn token(configuration: Configuration) -> Arc<dyn Token> {
    let driver = Driver::new(&PROTOCOL, vec![configuration]);
    driver.slots()[0].token().unwrap()
}

fn id(contents: &KeychainContents, label: &str) -> ObjectId {
    let mut keys = contents.keys();
    keys.find(|key| key.label == label).unwrap().id.clone()
}

fn sign(session: &dyn TokenSession, key: &ObjectId) -> Result<usize, TokenError> {
    session.sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32], &mut [0; 80])
}

#[test]
fn a_key_that_is_gone_has_the_service_asked_once() {
    let server = Server::start("gone", PIN);
    server.add("stays", P256, Needs::Nothing);
    server.add("goes", P256, Needs::Nothing);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let before = token.contents();
    let (stays, goes) = (id(&before, "stays"), id(&before, "goes"));
    assert!(sign(&*session, &goes).is_ok());
    server.remove("goes");
    server.add("new", P256, Needs::Nothing);
    assert_eq!(server.lists(), 0);

    assert_eq!(sign(&*session, &goes), Err(TokenError::ObjectNotFound));
    assert_eq!(server.lists(), 1);
    let after = token.contents();
    assert!(after.generation > before.generation);
    assert_eq!(after.generation, token.generation());
    let labels: Vec<_> = after.keys().map(|key| &*key.label).collect();
    assert_eq!(labels, ["stays", "new"]);
    assert_eq!(before.keys().count(), 2, "a snapshot never changes");
    assert!(sign(&*session, &stays).is_ok());
    assert!(sign(&*session, &id(&after, "new")).is_ok());

    // It is not in the contents any more, so nobody is asked; and within a minute nobody for another one either.
    let asked = server.operations();
    assert_eq!(sign(&*session, &goes), Err(TokenError::ObjectNotFound));
    assert_eq!(server.operations(), asked);
    server.remove("stays");
    assert_eq!(sign(&*session, &stays), Err(TokenError::ObjectNotFound));
    assert_eq!(server.lists(), 1);
    assert_eq!(token.contents(), after);
}

#[test]
fn what_somebody_has_configured_outlives_a_new_list() {
    let server = Server::start("configured", PIN);
    for label in ["goes", "stays"] {
        server.add(label, P256, Needs::Nothing);
        server.certify(label, |spki| {
            made::certificate("Alice", "250101000000Z", spki)
        });
    }
    let mut configuration = server.configuration();
    configuration.contents.keys[1].label = "a name of mine".to_owned();
    let mut added = configuration.contents.certificates[0].clone();
    let other = PrivateKey::generate(P256).unwrap();
    added.der = made::certificate("CA", "200101000000Z", other.public_key().spki());
    added.identity = b"added".to_vec();
    added.label = "added".to_owned();
    configuration.contents.certificates.push(added);
    let token = token(configuration);
    let session = token.create_session().unwrap();
    let before = token.contents();
    let goes = id(&before, "goes");
    server.remove("goes");
    // Programs were told that nobody logs in.
    server.add("secret", P256, Needs::Session);
    assert_eq!(sign(&*session, &goes), Err(TokenError::ObjectNotFound));
    assert_eq!(server.lists(), 1);
    let after = token.contents();
    let keys: Vec<_> = after.keys().map(|key| &*key.label).collect();
    assert_eq!(keys, ["a name of mine"]);
    assert_eq!(token.login_policy(), LoginPolicy::OnUse);
    let certificates: Vec<_> = after.certificates().map(|one| &*one.label).collect();
    assert_eq!(certificates, ["stays", "added"]);
    assert!(sign(&*session, &id(&after, "a name of mine")).is_ok());
}

fn labels(token: &dyn Token) -> Vec<String> {
    token
        .contents()
        .keys()
        .map(|key| key.label.clone())
        .collect()
}

#[test]
fn a_key_that_is_only_left_out_of_the_list_goes_on_signing() {
    let server = Server::start("left out", PIN);
    for label in ["goes", "left out", "stays"] {
        server.add(label, P256, Needs::Nothing);
        server.certify(label, |spki| {
            made::certificate("Alice", "250101000000Z", spki)
        });
    }
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let before = token.contents();
    server.remove("goes");
    server.remove("left out");
    assert_eq!(
        sign(&*session, &id(&before, "goes")),
        Err(TokenError::ObjectNotFound)
    );
    assert_eq!(server.lists(), 1);
    assert_eq!(labels(&*token), ["left out", "stays"]);
    assert_eq!(token.contents().certificates().count(), 2);
    // It is listed no more, but the service does with it what it is asked for.
    server.answer(Some(Ok(vec![1; 70])));
    assert_eq!(sign(&*session, &id(&before, "left out")), Ok(70));
}

#[test]
fn a_list_of_somebody_else_takes_only_the_denied_key_away() {
    let server = Server::start("somebody else", PIN);
    server.add("denied", P256, Needs::Nothing);
    server.add("known", P256, Needs::Nothing);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let denied = id(&token.contents(), "denied");
    server.remove("denied");
    server.remove("known");
    server.add("other", P256, Needs::Nothing);
    assert_eq!(sign(&*session, &denied), Err(TokenError::ObjectNotFound));
    assert_eq!(labels(&*token), ["known", "other"]);
}

#[test]
fn a_login_takes_no_key_away_unless_the_list_is_of_the_same_keys() {
    for (name, is_same, expected) in [
        ("same keys", true, &["stays", "new"][..]),
        ("other keys", false, &["goes", "stays", "new"]),
    ] {
        let server = Server::start(name, PIN);
        server.add("goes", P256, Needs::Session);
        server.add("stays", P256, Needs::Session);
        let token = NetworkToken::new(server.configuration());
        server.remove("goes");
        if !is_same {
            server.remove("stays");
        }
        server.add("new", P256, Needs::Session);
        token.list_anew(None, token.deadline());
        assert_eq!(server.lists(), 1);
        assert_eq!(labels(&*token), expected, "{name}");
    }
}

#[test]
fn a_list_without_keys_takes_none_away() {
    let server = Server::start("empty", PIN);
    server.add("key", P256, Needs::Nothing);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let key = id(&token.contents(), "key");
    server.remove("key");
    assert_eq!(sign(&*session, &key), Err(TokenError::ObjectNotFound));
    assert_eq!((server.lists(), token.generation()), (1, 0));
    assert_eq!(token.contents().keys().count(), 1);
}

#[test]
fn a_service_that_still_has_the_key_changes_nothing() {
    let server = Server::start("moody", PIN);
    server.add("key", P256, Needs::Nothing);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let before = token.contents();
    server.answer(Some(Err(TokenError::ObjectNotFound)));
    let key = id(&before, "key");
    assert_eq!(sign(&*session, &key), Err(TokenError::ObjectNotFound));
    assert_eq!(server.operations(), 1, "it is not asked once more");
    assert_eq!(server.lists(), 1);
    assert!(Arc::ptr_eq(&before, &token.contents()));
}

#[test]
fn an_answer_of_another_length_is_none() {
    let server = Server::start("liar", PIN);
    server.add("ec", P256, Needs::Nothing);
    server.add("rsa", KeyType::Rsa { bits: 2048 }, Needs::Nothing);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let contents = token.contents();
    let is_corrupted = |answer| matches!(answer, Err(TokenError::Corrupted(_)));
    for (len, wrong) in [(0, true), (1, false), (73, false), (74, true)] {
        server.answer(Some(Ok(vec![1; len])));
        assert_eq!(
            is_corrupted(sign(&*session, &id(&contents, "ec"))),
            wrong,
            "{len} bytes"
        );
        let peer = [&[4][..], &[1; 64]].concat();
        let agreed = session.key_exchange(
            &id(&contents, "ec"),
            KeyAlgorithm::Ecdh,
            &peer,
            &mut [0; 32],
        );
        assert_eq!(agreed, Err(TokenError::BadParameter), "not on the curve");
    }
    let rsa = id(&contents, "rsa");
    for (len, wrong) in [(0, true), (255, true), (256, false), (257, true)] {
        server.answer(Some(Ok(vec![1; len])));
        let how = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
        let signed = session.sign(&rsa, how, &[7; 32], &mut [0; 512]);
        assert_eq!(is_corrupted(signed), wrong, "{len} bytes");
    }
    let oaep = ctk_token::Oaep {
        digest: Digest::Sha256,
        mgf: Digest::Sha256,
    };
    server.answer(Some(Ok(vec![1; 257])));
    let how = KeyAlgorithm::RsaOaep(oaep);
    let decrypted = session.decrypt(&rsa, how, &[1; 256], &mut [0; 256]);
    assert!(is_corrupted(decrypted));
}

#[test]
fn what_a_service_says_is_handed_on() {
    let server = Server::start("refusing", PIN);
    server.add("key", P256, Needs::Nothing);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let key = id(&token.contents(), "key");
    for error in [
        TokenError::Refused(Reason::new("the key is switched off")),
        TokenError::Unreachable(Reason::new("no way")),
        TokenError::StateLost,
    ] {
        server.answer(Some(Err(error.clone())));
        assert_eq!(sign(&*session, &key), Err(error));
    }
    // A program that hears of a time-out takes it for a dialog that nobody answered.
    server.answer(Some(Err(TokenError::TimedOut)));
    let Err(TokenError::Unreachable(why)) = sign(&*session, &key) else {
        panic!("an answer came")
    };
    assert!(why.as_str().contains("in time"), "{why}");
    assert_eq!(server.lists(), 0);
}

#[test]
fn without_anything_to_log_in_with_nobody_logs_in() {
    let server = Server::start("open", PIN);
    server.add("key", P256, Needs::Nothing);
    let token = token(server.configuration());
    assert_eq!(token.info().login, LoginPolicy::OnUse);
    let session = token.create_session().unwrap();
    let key = id(&token.contents(), "key");
    for role in [Role::User, Role::Context, Role::Admin, Role::Unblock] {
        let item = (role == Role::Context).then_some(&key);
        let begun = session.begin_auth(role, item).map(drop);
        assert_eq!(begun, Err(TokenError::NotSupported), "{role:?}");
    }
}

#[test]
fn a_context_login_is_for_a_key_that_wants_one() {
    let server = Server::start("mixed", PIN);
    server.add("free", P256, Needs::Nothing);
    server.add("session", P256, Needs::Session);
    server.add("operation", P256, Needs::Operation);
    let token = token(server.configuration());
    assert_eq!(token.info().login, LoginPolicy::App);
    assert_eq!(
        (token.info().model, token.info().max_pin_len),
        ("Memory".to_owned(), 255)
    );
    let contents = token.contents();
    let session = token.create_session().unwrap();
    let begin = |role, label: Option<&str>| {
        let key = label.map(|label| id(&contents, label));
        session.begin_auth(role, key.as_ref())
    };
    for (label, expected) in [
        (Some("free"), Some(TokenError::NotSupported)),
        (Some("session"), Some(TokenError::NotSupported)),
        (Some("operation"), None),
        (None, Some(TokenError::BadParameter)),
    ] {
        assert_eq!(begin(Role::Context, label).err(), expected, "{label:?}");
    }
    let nobody = ObjectId::new(b"nobody");
    let begun = session.begin_auth(Role::Context, Some(&nobody)).map(drop);
    assert_eq!(begun, Err(TokenError::ObjectNotFound));
    let begun = begin(Role::Admin, None).map(drop);
    assert_eq!(begun, Err(TokenError::NotSupported));

    assert!(sign(&*session, &id(&contents, "free")).is_ok());
    let long = begin(Role::User, None).unwrap();
    let refused = long.finish(AuthSecret::Pin(&[b'1'; 256]));
    assert_eq!(refused, Err(TokenError::PinLength { min: 1, max: 255 }));
    for role in [None, Some("operation")] {
        let empty = match role {
            None => begin(Role::User, None).unwrap(),
            key => begin(Role::Context, key).unwrap(),
        };
        let refused = empty.finish(AuthSecret::Pin(b""));
        assert_eq!(refused, Err(TokenError::PinLength { min: 1, max: 255 }));
    }
    assert_eq!(token.info().min_pin_len, 1);
    assert_eq!(server.logins(), 0);

    let user = begin(Role::User, None).unwrap();
    assert_eq!(user.finish(AuthSecret::Pin(PIN)), Ok(()));
    assert!(sign(&*session, &id(&contents, "session")).is_ok());
    let each = id(&contents, "operation");
    // Right after a login it counts once.
    assert!(sign(&*session, &each).is_ok());
    assert_eq!(
        sign(&*session, &each),
        Err(TokenError::AuthenticationNeeded)
    );
    let context = begin(Role::Context, Some("operation")).unwrap();
    assert_eq!(context.finish(AuthSecret::Pin(PIN)), Ok(()));
    assert!(sign(&*session, &each).is_ok());
    assert_eq!(
        sign(&*session, &each),
        Err(TokenError::AuthenticationNeeded)
    );

    assert_eq!(server.logouts(), 0);
    drop(session);
    assert_eq!(server.logouts(), 1);
}

#[test]
fn what_is_missing_is_said_in_the_order_of_the_contract() {
    let server = Server::start("order", PIN);
    server.add("key", KeyType::Rsa { bits: 2048 }, Needs::Session);
    let token = token(server.configuration());
    let session = token.create_session().unwrap();
    let key = id(&token.contents(), "key");
    let how = KeyAlgorithm::RsaPkcs1Digest(Digest::Sha256);
    let try_it = |key: &ObjectId, how, input: &[u8], room: usize| {
        session.sign(key, how, input, &mut vec![0; room])
    };
    let nobody = ObjectId::new(b"nobody");
    assert_eq!(
        try_it(&nobody, how, &[], 0),
        Err(TokenError::ObjectNotFound)
    );
    let raw = KeyAlgorithm::RsaRaw;
    assert_eq!(try_it(&key, raw, &[], 0), Err(TokenError::NotSupported));
    assert_eq!(
        try_it(&key, how, &[], 0),
        Err(TokenError::AuthenticationNeeded)
    );
    let login = session.begin_auth(Role::User, None).unwrap();
    login.finish(AuthSecret::Pin(PIN)).unwrap();
    assert_eq!(try_it(&key, how, &[], 0), Err(TokenError::BadParameter));
    assert_eq!(try_it(&key, how, &[], 256), Err(TokenError::DataLength));
    assert_eq!(server.operations(), 0);
    assert_eq!(try_it(&key, how, &[1; 32], 256), Ok(256));
}

#[test]
fn a_record_that_makes_no_sense_costs_itself() {
    let server = Server::start("odd", PIN);
    server.add("good", P256, Needs::Nothing);
    server.certify("good", |spki| {
        made::certificate("Alice", "250101000000Z", spki)
    });
    let mut configuration = server.configuration();
    let good = configuration.contents.keys[0].clone();
    let odd = |change: &dyn Fn(&mut crate::KeyRecord)| {
        let mut record = good.clone();
        record.identity = b"other".to_vec();
        change(&mut record);
        record
    };
    configuration.contents.keys.extend([
        odd(&|record| record.identity = good.identity.clone()),
        odd(&|record| record.identity.clear()),
        odd(&|record| record.identity = vec![1; 256]),
        odd(&|record| record.spki = b"garbage".to_vec()),
    ]);
    let mut certificate = configuration.contents.certificates[0].clone();
    certificate.identity = b"other".to_vec();
    certificate.der = b"garbage".to_vec();
    configuration.contents.certificates.push(certificate);
    let token = token(configuration);
    let contents = token.contents();
    let (keys, certificates) = (contents.keys().count(), contents.certificates().count());
    assert_eq!((keys, certificates), (1, 1));
    let key = contents.keys().next().unwrap();
    assert_eq!(
        (key.sign, key.decrypt),
        (Constraint::Free, Constraint::Never)
    );
    let session = token.create_session().unwrap();
    assert!(sign(&*session, &key.id).is_ok());
}
