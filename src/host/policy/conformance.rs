//! A driver's tokens keep the rules of the contract behind the layers of the configuration as well.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test reports by panicking

use std::{path::Path, process::Command};

use ctk_crypto::{PrivateKey, RsaEncryption};
use ctk_token::{KeyAlgorithm, PublicKey, PublicKeyMaterial, TokenDriver, Wait, conformance};

use super::*;
use crate::{
    config::{Login, Place, Scope, Setting, Settings},
    drivers::{pkcs12, row},
    pin::PinSource,
    test_folder::TestFolder,
};

const PIN: &str = "correct";

/// A driver whose slots are configured, as a host has them.
#[derive(Debug)]
struct Configured {
    inner: Arc<dyn TokenDriver>,
    slots: Vec<Arc<dyn Slot>>,
}

impl TokenDriver for Configured {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn slots(&self) -> Vec<Arc<dyn Slot>> {
        self.slots.clone()
    }

    fn changed(&self) -> bool {
        self.inner.changed()
    }

    fn wait_for_change(&self, deadline: std::time::Instant) -> Result<Wait> {
        self.inner.wait_for_change(deadline)
    }
}

struct Tokens {
    configs: Vec<TokenConfig>,
    pin: Option<&'static str>,
    new_pin: Option<&'static str>,
}

impl conformance::Fixture for Tokens {
    fn driver(&self) -> Box<dyn TokenDriver> {
        let configs: Vec<_> = self.configs.iter().collect();
        let inner = (row(pkcs12::NAME).unwrap().open)(&configs, &Environment::empty()).unwrap();
        let slots = inner.slots().into_iter().zip(&self.configs);
        let slots = slots.map(|(slot, config)| -> Arc<dyn Slot> {
            let environment = Environment::empty();
            Arc::new(ConfiguredSlot::new(slot, config.clone(), &environment))
        });
        Box::new(Configured {
            slots: slots.collect(),
            inner,
        })
    }

    fn pin(&self) -> Option<&[u8]> {
        self.pin.map(str::as_bytes)
    }

    fn wrong_pin(&self) -> &[u8] {
        b"wrong"
    }

    fn new_pin(&self) -> Option<&[u8]> {
        self.new_pin.map(str::as_bytes)
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).unwrap()
    }

    fn encrypt(&self, key: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        let how = match how {
            KeyAlgorithm::RsaRaw => RsaEncryption::Raw,
            KeyAlgorithm::RsaPkcs1 => RsaEncryption::Pkcs1,
            _ => return None,
        };
        let mut ciphertext = vec![0; key.max_signature_len()];
        ctk_crypto::encrypt(&how, key, plaintext, &mut ciphertext).unwrap();
        Some(ciphertext)
    }

    fn peer(&self, key: &PublicKey, how: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let PublicKeyMaterial::Ec { point, .. } = key.material() else {
            return None;
        };
        let other = PrivateKey::generate(key.key_type()).unwrap();
        let mut secret = vec![0; key.shared_secret_len()];
        other.key_exchange(how, point, &mut secret).unwrap();
        match other.public_key().material() {
            PublicKeyMaterial::Ec { point, .. } => Some((point.to_vec(), secret)),
            _ => None,
        }
    }
}

fn openssl(folder: &Path, line: &str) {
    let mut openssl = Command::new("openssl");
    let made = openssl.args(line.split(' ')).current_dir(folder).output();
    let made = made.expect("apt install openssl");
    assert!(made.status.success(), "openssl {line}: {made:?}");
}

/// A token of a file with one identity.
fn token(folder: &TestFolder, name: &str, algorithm: &str) -> TokenConfig {
    let key = format!("req -x509 -nodes -newkey {algorithm} -keyout key -out crt -subj /CN={name}");
    openssl(folder.path(), &key);
    let file = format!("{name}.p12");
    let export = format!("pkcs12 -export -inkey key -in crt -out {file} -passout pass:{PIN}");
    openssl(folder.path(), &format!("{export} -name {name}"));
    let file = folder.join(&file);
    let found = pkcs12::inspect(&file, PIN.as_bytes()).unwrap();
    TokenConfig {
        name: name.into(),
        driver: pkcs12::NAME.into(),
        label: name.into(),
        serial: "0123456789abcdef".into(),
        order: 0,
        removable: true,
        hidden: Vec::new(),
        programs: Vec::new(),
        not_programs: Vec::new(),
        pin: PinSource::App,
        login: Login::App,
        commands: false,
        settings: Settings([(pkcs12::FILE.into(), Setting::Path(file))].into()),
        contents: found.contents,
        place: Place {
            file: "/test".into(),
            line: 1,
            scope: Scope::User,
        },
    }
}

#[test]
fn files_conform_behind_every_policy() {
    let folder = TestFolder::new();
    let rsa = token(&folder, "rsa", "rsa:2048");
    let ec = token(&folder, "ec", "ec -pkeyopt ec_paramgen_curve:P-256");
    let stored = PinSource::File(folder.write("pin", PIN));
    // What is hidden takes the way through the layer that leaves something out.
    let hiding = vec!["another identity".into()];
    // How many rules do not apply: one is about ML-DSA, two about a new PIN, five more about any.
    for (pin, login, hidden, expected) in [
        (stored.clone(), Login::App, Vec::new(), 3),
        (stored, Login::OnUse, hiding.clone(), 8),
        // Last, because a login takes its time when the file was written with a new password.
        (PinSource::App, Login::App, hiding, 1),
    ] {
        let configs = [&rsa, &ec].map(|config| TokenConfig {
            pin: pin.clone(),
            login,
            hidden: hidden.clone(),
            ..config.clone()
        });
        let tokens = Tokens {
            configs: configs.into(),
            // Keys that are opened on use need nothing of the program.
            pin: (login == Login::App).then_some(PIN),
            // A PIN that is stored is not changed by programs.
            new_pin: (pin == PinSource::App).then_some("another"),
        };
        let outcomes = conformance::run(&tokens);
        let left_out: Vec<_> = outcomes.iter().filter_map(|it| it.not_applicable).collect();
        assert_eq!(left_out.len(), expected, "{pin} {login:?}: {left_out:?}");
    }
}
