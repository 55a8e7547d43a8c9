//! Tokens of a service in memory, as they are configured: what is stored of them, and behind the layers of a configuration.

use ctk_crypto::{PrivateKey, RsaEncryption};
use ctk_network::memory::{self, Needs, Server};
use ctk_token::{
    AuthSecret, Constraint, Curve, KeyAlgorithm, KeyType, LoginPolicy, ObjectId, PublicKey,
    PublicKeyMaterial, Role, Slot, Token, TokenSession, conformance,
};

use super::*;
use crate::{
    config::{Login, Place, Scope},
    pin::PinSource,
    policy::ConfiguredSlot,
    test_folder::TestFolder,
};

const PIN: &str = "123456";
const P256: KeyType = KeyType::Ec(Curve::P256);

/// What a person would have registered of a server.
fn config(server: &Server, pin: PinSource, login: Login) -> TokenConfig {
    let known = server.configuration();
    let name = known.settings.text("server").unwrap().to_owned();
    TokenConfig {
        driver: memory::PROTOCOL.name.to_owned(),
        label: "Test".to_owned(),
        serial: "1".to_owned(),
        order: 0,
        removable: false,
        hidden: Vec::new(),
        programs: Vec::new(),
        not_programs: Vec::new(),
        pin,
        login,
        commands: false,
        settings: Settings([("server".to_owned(), Setting::Text(name.clone()))].into()),
        contents: inspected(known.contents).contents,
        place: Place {
            file: "/test".into(),
            line: 1,
            scope: Scope::User,
        },
        name,
    }
}

/// A slot as a host has it.
fn slot(config: &TokenConfig) -> Arc<dyn Slot> {
    let environment = Environment::empty();
    let driver = (row(&memory::PROTOCOL).open)(&[config], &environment).unwrap();
    let inner = driver.slots().remove(0);
    Arc::new(ConfiguredSlot::new(inner, config.clone(), &environment))
}

fn pin_file(folder: &TestFolder) -> PinSource {
    PinSource::File(folder.write("pin", PIN))
}

#[derive(Debug)]
struct Slots(Vec<Arc<dyn Slot>>);

impl TokenDriver for Slots {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.0.clone()
    }
}

struct Services {
    configs: Vec<TokenConfig>,
    pin: Option<&'static str>,
}

impl conformance::Fixture for Services {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(Slots(self.configs.iter().map(slot).collect()))
    }

    fn pin(&self) -> Option<&[u8]> {
        self.pin.map(str::as_bytes)
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
        let other = PrivateKey::generate(key.key_type()).unwrap();
        let (PublicKeyMaterial::Ec { point, .. }, PublicKeyMaterial::Ec { point: own, .. }) =
            (other.public_key().material(), key.material())
        else {
            return None;
        };
        let mut secret = vec![0; key.shared_secret_len()];
        other.key_exchange(how, own, &mut secret).unwrap();
        Some((point.to_vec(), secret))
    }
}

fn server(name: &str, needs: Needs) -> Arc<Server> {
    let server = Server::start(name, PIN.as_bytes());
    server.add("rsa", KeyType::Rsa { bits: 2048 }, needs);
    server.add("ec", P256, needs);
    server
}

#[test]
fn services_conform_behind_every_policy() {
    let folder = TestFolder::new();
    let (session, each) = (
        server("session", Needs::Session),
        server("each", Needs::Operation),
    );
    let apart = |services: &Services| -> Vec<_> {
        let outcomes = conformance::run(services).into_iter();
        outcomes
            .filter(|outcome| outcome.not_applicable.is_some())
            .map(|outcome| outcome.rule)
            .collect()
    };
    let stored = pin_file(&folder);
    for (pin, login, expected) in [
        (PinSource::App, Login::App, Some(PIN)),
        (stored.clone(), Login::App, Some(PIN)),
        (stored, Login::OnUse, None),
    ] {
        for server in [&session, &each] {
            let services = Services {
                configs: vec![config(server, pin.clone(), login)],
                pin: expected,
            };
            let apart = apart(&services);
            // Nowhere is a key for ML-DSA, or a new secret possible (two rules); where there is none, or one each time,
            // further rules have nothing to break.
            let without = match (expected, Arc::ptr_eq(server, &each)) {
                (Some(_), false) => 3,
                (Some(_), true) => 5,
                (None, _) => 8,
            };
            assert_eq!(apart.len(), without, "{pin} {login:?}: {apart:?}");
        }
    }
}

fn sign(session: &dyn TokenSession, key: &ObjectId) -> Result<usize> {
    session.sign(key, KeyAlgorithm::EcdsaDigest, &[7; 32], &mut [0; 80])
}

fn key_of(token: &dyn Token, label: &str) -> ObjectId {
    let contents = token.contents();
    let mut keys = contents.keys();
    keys.find(|key| key.label == label).unwrap().id.clone()
}

#[test]
fn a_stored_pin_opens_keys_when_they_are_used() {
    let folder = TestFolder::new();
    let server = Server::start("on use", PIN.as_bytes());
    server.add("free", P256, Needs::Nothing);
    server.add("session", P256, Needs::Session);
    server.add("each", P256, Needs::Operation);
    let config = config(&server, pin_file(&folder), Login::OnUse);
    let token = slot(&config).token().unwrap();
    assert_eq!(token.login_policy(), LoginPolicy::OnUse);
    let contents = token.contents();
    let constraints: Vec<_> = contents.keys().map(|key| key.sign).collect();
    assert_eq!(constraints, [Constraint::Free; 3]);
    let session = token.create_session().unwrap();
    assert!(sign(&*session, &key_of(&*token, "free")).is_ok());
    assert_eq!(server.logins(), 0);
    for _ in 0..3 {
        assert!(sign(&*session, &key_of(&*token, "session")).is_ok());
    }
    assert_eq!(server.logins(), 1);
    for _ in 0..3 {
        assert!(sign(&*session, &key_of(&*token, "each")).is_ok());
    }
    // The login counts for one operation, and each other one wants its own.
    assert_eq!(server.logins(), 3);
    drop(session);
    assert_eq!(server.logouts(), 1);
}

#[test]
fn a_context_login_takes_the_stored_pin() {
    let folder = TestFolder::new();
    let server = Server::start("context", PIN.as_bytes());
    server.add("each", P256, Needs::Operation);
    let config = config(&server, pin_file(&folder), Login::App);
    let token = slot(&config).token().unwrap();
    assert_eq!(token.login_policy(), LoginPolicy::AppWithoutPin);
    let session = token.create_session().unwrap();
    let key = key_of(&*token, "each");
    let finish = |role, item| {
        let login = session.begin_auth(role, item).unwrap();
        login.finish(AuthSecret::FromToken)
    };
    assert_eq!(sign(&*session, &key), Err(TokenError::AuthenticationNeeded));
    assert_eq!(finish(Role::User, None), Ok(()));
    assert!(sign(&*session, &key).is_ok());
    assert_eq!(sign(&*session, &key), Err(TokenError::AuthenticationNeeded));
    assert_eq!(finish(Role::Context, Some(&key)), Ok(()));
    assert!(sign(&*session, &key).is_ok());
}

#[test]
fn a_wrong_stored_pin_is_sent_to_a_service_once() {
    let folder = TestFolder::new();
    let server = Server::start("wrong", PIN.as_bytes());
    server.add("each", P256, Needs::Operation);
    server.add("session", P256, Needs::Session);
    let file = PinSource::File(folder.write("pin", "wrong"));
    // What a service does not say of tries, it counts all the same.
    let config = TokenConfig {
        driver: "csc".to_owned(),
        ..config(&server, file, Login::OnUse)
    };
    let environment = Environment::empty();
    let driver = (row(&memory::PROTOCOL).open)(&[&config], &environment).unwrap();
    let slot = ConfiguredSlot::new(driver.slots().remove(0), config, &environment);
    let token = slot.token().unwrap();
    let session = token.create_session().unwrap();
    let (each, with_login) = (key_of(&*token, "each"), key_of(&*token, "session"));
    let refused = Err(TokenError::AuthenticationFailed { tries: None });
    for key in [&each, &with_login, &each] {
        assert_eq!(sign(&*session, key), refused);
    }
    assert_eq!((server.logins(), server.operations()), (1, 0));

    // A service that looks at it only when it signs.
    folder.write("pin", PIN);
    server.answer(Some(refused.clone().map(|_: usize| Vec::new())));
    for _ in 0..3 {
        assert_eq!(sign(&*session, &each), refused);
    }
    assert_eq!((server.logins(), server.operations()), (2, 1));

    server.answer(None);
    folder.write("pin", &format!("{PIN}\n"));
    for _ in 0..3 {
        assert!(sign(&*session, &each).is_ok());
    }
    assert_eq!((server.logins(), server.operations()), (5, 4));
    server.answer(Some(refused.clone().map(|_: usize| Vec::new())));
    for _ in 0..3 {
        assert_eq!(sign(&*session, &each), refused);
    }
    assert_eq!((server.logins(), server.operations()), (6, 5));
}

#[test]
fn a_hidden_key_is_not_there() {
    let server = Server::start("hidden", PIN.as_bytes());
    server.add("shown", P256, Needs::Nothing);
    server.add("kept", P256, Needs::Nothing);
    let open = config(&server, PinSource::App, Login::App);
    let all = slot(&open).token().unwrap();
    let hiding = TokenConfig {
        hidden: vec!["kept".to_owned()],
        ..open
    };
    let token = slot(&hiding).token().unwrap();
    assert_eq!(token.contents().keys().count(), 1);
    let session = token.create_session().unwrap();
    let kept = key_of(&*all, "kept");
    assert_eq!(sign(&*session, &kept), Err(TokenError::ObjectNotFound));
    assert_eq!((server.operations(), server.lists()), (0, 0));
    // What the service has forgotten is asked for once, and what was hidden stays so.
    server.remove("shown");
    let shown = key_of(&*all, "shown");
    assert_eq!(sign(&*session, &shown), Err(TokenError::ObjectNotFound));
    assert_eq!(server.lists(), 1);
    assert_eq!(token.contents().keys().count(), 0);
}

#[test]
fn what_is_stored_of_a_key_is_what_the_service_told() {
    let server = Server::start("stored", PIN.as_bytes());
    server.add("key", KeyType::Rsa { bits: 2048 }, Needs::Session);
    let told = server.inventory();
    let config = config(&server, PinSource::App, Login::App);
    let again = configuration(&memory::PROTOCOL, &config, &Environment::empty());
    assert_eq!(again.contents, told);
    assert_eq!(again.serial_number, "1");
    let stored = &config.contents.keys[0];
    assert_eq!(stored.facts.text("needs"), Some("session"));
    let values = [
        ("text", Value::Text("x".to_owned())),
        ("texts", Value::Texts(vec!["x".to_owned()])),
        ("path", Value::Path("/x".into())),
        ("flag", Value::Flag(true)),
        ("number", Value::Number(-7)),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), value));
    let told = ctk_network::Settings(values.into());
    let stored = facts(told.clone());
    assert_eq!(super::values(&stored, &Environment::empty()), told);
}

#[test]
fn a_command_is_run_only_for_who_allows_it() {
    let server = Server::start("running", PIN.as_bytes());
    let silent = config(&server, PinSource::App, Login::App);
    let allowing = TokenConfig {
        commands: true,
        ..silent.clone()
    };
    let environment = Environment {
        variable: |name| std::env::var_os(name),
        home: Some("/home/u".into()),
        ..Environment::empty()
    };
    let words = ["echo".into(), "hello".into()];
    let output =
        (surroundings(&allowing, &environment).run)(&words, std::time::Duration::MAX).unwrap();
    assert_eq!(*output, b"hello");
    let refused =
        (surroundings(&silent, &environment).run)(&words, std::time::Duration::MAX).unwrap_err();
    assert!(refused.to_string().contains("commands = true"), "{refused}");

    let known = surroundings(&allowing, &environment);
    assert!(known.home.is_some() && (known.variable)("PATH").is_some());
    let secure = Environment {
        secure: true,
        ..environment
    };
    let known = surroundings(&allowing, &secure);
    assert!(known.home.is_none() && (known.variable)("PATH").is_none());
    let refused = (known.run)(&words, std::time::Duration::MAX).unwrap_err();
    assert!(refused.to_string().contains("more rights"), "{refused}");
}

#[test]
fn a_secret_is_read_when_it_is_needed() {
    let folder = TestFolder::new();
    let source = SecretSource::File(folder.write("token", "one\n"));
    let settings = Settings([("bearer".to_owned(), Setting::Secret(source.clone()))].into());
    let values = values(&settings, &Environment::empty());
    let secret = values.secret("bearer").unwrap();
    assert_eq!(secret.source(), source.to_string());
    assert_eq!(**secret.read(std::time::Duration::MAX).unwrap(), *b"one");
    folder.write("token", "two");
    assert_eq!(**secret.read(std::time::Duration::MAX).unwrap(), *b"two");
    assert!(!format!("{values:?}").contains("two"));

    let of = |command: &str| {
        let source = SecretSource::parse(command).unwrap();
        super::secret(source, Environment::empty())
    };
    let command = of("command:vault read s3cret/path");
    assert_eq!(command.source(), "command:vault");
    assert!(!format!("{command:?}").contains("s3cret"));
    assert_ne!(command, of("command:vault read another/path"));
    assert_eq!(command, of("command:vault read s3cret/path"));
}

#[test]
fn only_tokens_of_services_are_asked() {
    let server = Server::start("other", PIN.as_bytes());
    let token = config(&server, PinSource::App, Login::App);
    // The protocol of these tests is none that a person can configure.
    let environment = Environment::empty();
    let listed = list(&token, &environment, &mut |_| {}).map(drop);
    assert_eq!(listed, Err(TokenError::NotSupported));
    let checked = check(&token, &environment, &mut |_| {
        panic!("nothing is looked at")
    });
    assert_eq!(checked, Err(TokenError::NotSupported));
    assert!(protocol("pkcs12").is_none());
    for known in protocols() {
        assert_eq!(protocol(known.name).map(|it| it.title), Some(known.title));
    }
}
